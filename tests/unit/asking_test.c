/* SPDX-License-Identifier: MIT */
/*
 * asking_test.c - many questions at once are answered as one by one, with rings, without, and when
 * a ring fails midway.
 */
#include "workers/net/asking.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"

#define ROUNDS 500

struct answers {
	int priority, unknown, short_room, keepalive;
	struct timeval send;
	struct ucred cred;
	char device[16];
};

/* Good ones of several sizes, one that does not exist, one without room. */
static void prepare(struct question q[7], struct answers *a)
{
	memset(a, 0, sizeof(*a));
	q[0] = (struct question){ SOL_SOCKET, SO_PRIORITY, &a->priority, sizeof(int), 1 };
	q[1] = (struct question){ SOL_SOCKET, 9999, &a->unknown, sizeof(int), 1 };
	q[2] = (struct question){ SOL_SOCKET, SO_SNDTIMEO, &a->send, sizeof(a->send), 1 };
	q[3] = (struct question){ SOL_SOCKET, SO_PEERCRED, &a->cred, sizeof(a->cred), 1 };
	q[4] = (struct question){ SOL_SOCKET, SO_BINDTODEVICE, a->device, sizeof(a->device), 1 };
	q[5] = (struct question){ SOL_SOCKET, SO_KEEPALIVE, &a->keepalive, sizeof(int), 1 };
	q[6] = (struct question){ SOL_SOCKET, SO_BINDTODEVICE, &a->short_room, 1, 1 };
}

static int make(int i)
{
	const struct timeval limit = { i + 1, 0 };
	int fd = socket(i % 2 ? AF_UNIX : AF_INET, SOCK_STREAM, 0), priority = i % 6,
	    on = i % 3 == 0;

	CHECK(setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0);
	if (i % 4 == 0)
		CHECK(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0);
	return fd;
}

/* Are the answers those of the plain call? */
static bool same(struct asking *asking, int fd)
{
	struct question q[7], plain[7];
	struct answers a, b;
	size_t i, bad = 0;
	socklen_t len;

	prepare(q, &a);
	prepare(plain, &b);
	ask_all(asking, fd, q, ARRAY_LEN(q));
	for (i = 0; i < ARRAY_LEN(q); i++) {
		len = plain[i].room;
		if (getsockopt(fd, plain[i].level, plain[i].name, plain[i].value, &len) < 0)
			bad += q[i].got != -errno;
		else
			bad += q[i].got != (int)len;
	}
	return !bad && memcmp(&a, &b, sizeof(a)) == 0 && a.send.tv_sec > 0;
}

static void ask_many(struct asking *asking)
{
	size_t bad = 0;
	int i, fd;

	for (i = 0; i < ROUNDS; i++) {
		fd = make(i);
		bad += !same(asking, fd);
		close(fd);
	}
	CHECK(!bad);
	CHECK(!asking || ask_by_rings(asking));
}

static void test_plain(void)
{
	ask_many(NULL);
}

/* In a child, for what a filter denies stays denied. */
static void in_child(void (*act)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		act();
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void deny(int call)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_LEN(code), code };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}

static bool have_rings(struct asking *asking)
{
	int fd = make(1), type;
	struct question q = { SOL_SOCKET, SO_TYPE, &type, sizeof(type), 0 };

	ask_all(asking, fd, &q, 1);
	close(fd);
	return ask_by_rings(asking);
}

static void *ask_in_thread(void *asking)
{
	ask_many(asking);
	return NULL;
}

static void test_rings(void)
{
	struct asking *asking = asking_new();
	pthread_t thread[3];
	size_t i;

	if (!have_rings(asking)) {
		check_skip("this kernel has no rings to ask sockets by");
	} else {
		for (i = 0; i < ARRAY_LEN(thread); i++)
			CHECK(pthread_create(&thread[i], NULL, ask_in_thread, asking) == 0);
		for (i = 0; i < ARRAY_LEN(thread); i++)
			CHECK(pthread_join(thread[i], NULL) == 0);
	}
	asking_free(asking);
}

static void ask_forbidden(void)
{
	struct asking *asking = asking_new();
	int fd = make(4);

	deny(SYS_io_uring_setup);
	CHECK(same(asking, fd) && same(asking, fd) && !ask_by_rings(asking));
	asking_free(asking);
}

static void test_forbidden(void)
{
	in_child(ask_forbidden);
}

static void ask_broken(void)
{
	struct asking *asking = asking_new();
	int fd = make(4);

	CHECK(same(asking, fd));
	deny(SYS_io_uring_enter);
	CHECK(same(asking, fd) && same(asking, fd) && !ask_by_rings(asking));
	asking_free(asking);
}

static void test_broken(void)
{
	in_child(ask_broken);
}

int main(void)
{
	check_run("each question by a call", test_plain);
	check_run("many questions by rings, in several threads", test_rings);
	check_run("where rings are forbidden each is a call", test_forbidden);
	check_run("a ring that fails is not asked again", test_broken);
	return check_done();
}
