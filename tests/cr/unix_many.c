// SPDX-License-Identifier: MIT
/*
 * unix_many.c - hundreds of unix sockets among other descriptors: numbers, flags, owners, filters.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

#define PAIRS 150
#define SHORT 4				/* bytes the filter lets through */

static int ends[PAIRS][2], pipes[PAIRS / 10][2], files[PAIRS / 10], udp, filtered[2];

/* Each third pair is closed on exec, each fifth does not block, each seventh has an owner. */
static void make_pair(int i)
{
	const int type = i % 2 ? SOCK_DGRAM : i % 4 ? SOCK_STREAM : SOCK_SEQPACKET;
	const int flags = (i % 3 ? 0 : SOCK_CLOEXEC) | (i % 5 ? 0 : SOCK_NONBLOCK);

	CHECK(socketpair(AF_UNIX, type | flags, 0, ends[i]) == 0);
	CHECK(write(ends[i][0], &i, sizeof(i)) == sizeof(i));
	if (i % 7)
		return;
	CHECK(fcntl(ends[i][0], F_SETOWN, getpid()) == 0);
	CHECK(fcntl(ends[i][0], F_SETSIG, SIGUSR1) == 0);
}

static void before(void)
{
	struct sock_filter code[] = { { BPF_RET | BPF_K, 0, 0, SHORT } };
	const struct sock_fprog prog = { 1, code };
	int i;

	for (i = 0; i < PAIRS; i++) {
		make_pair(i);
		if (i % 10)
			continue;
		CHECK(pipe2(pipes[i / 10], O_CLOEXEC) == 0 &&
		      write(pipes[i / 10][1], &i, sizeof(i)) > 0);
		files[i / 10] = open("/proc/self/exe", O_RDONLY);
		CHECK(files[i / 10] >= 0 && lseek(files[i / 10], i, SEEK_SET) == i);
	}
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(udp >= 0 && fcntl(udp, F_SETOWN, getpid()) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, filtered) == 0);
	CHECK(setsockopt(filtered[1], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) == 0);
	/* Numbers with gaps: a closed one, and one far away. */
	CHECK(dup2(ends[1][0], 900) == 900 && close(ends[1][0]) == 0);
	ends[1][0] = 900;
}

static void check_pair(int i)
{
	int got = -1, type = 0, answer = i + 1;
	socklen_t len = sizeof(type);

	CHECK(getsockopt(ends[i][0], SOL_SOCKET, SO_TYPE, &type, &len) == 0);
	CHECK(type == (i % 2 ? SOCK_DGRAM : i % 4 ? SOCK_STREAM : SOCK_SEQPACKET));
	CHECK(read(ends[i][1], &got, sizeof(got)) == sizeof(got) && got == i);
	CHECK(write(ends[i][1], &answer, sizeof(answer)) == sizeof(answer));
	CHECK(read(ends[i][0], &got, sizeof(got)) == sizeof(got) && got == answer);
	CHECK(!(fcntl(ends[i][1], F_GETFD) & FD_CLOEXEC) == (i % 3 != 0));
	CHECK(!(fcntl(ends[i][1], F_GETFL) & O_NONBLOCK) == (i % 5 != 0));
	CHECK(fcntl(ends[i][0], F_GETOWN) == (i % 7 ? 0 : getpid()));
	CHECK(fcntl(ends[i][0], F_GETSIG) == (i % 7 ? 0 : SIGUSR1));
}

static void after(void)
{
	int i, got;

	for (i = 0; i < PAIRS; i++) {
		check_pair(i);
		if (i % 10)
			continue;
		CHECK(read(pipes[i / 10][0], &got, sizeof(got)) == sizeof(got) && got == i);
		CHECK(lseek(files[i / 10], 0, SEEK_CUR) == i);
	}
	CHECK(fcntl(udp, F_GETOWN) == getpid() && fcntl(udp, F_GETFD) & FD_CLOEXEC);
	CHECK(write(filtered[0], "too long", 8) == 8);
	CHECK(recv(filtered[1], &got, sizeof(got), MSG_TRUNC) == SHORT);
}

const struct test_case test_case = {
	.proves = "hundreds of unix sockets keep their numbers, flags, owners and filters",
	.before = before,
	.after = after,
};
