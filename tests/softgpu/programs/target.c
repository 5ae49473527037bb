// SPDX-License-Identifier: MIT
/*
 * target.c - see target.h: readiness, verdict, children, patterns, descriptors over sockets.
 */
#include "target.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int failures;
static pid_t first;		/* who says "ok" */

bool target_check(bool ok, const char *text, const char *file, int line)
{
	if (!ok) {
		printf("failed: [%d] %s:%d: %s (errno %d %s)\n", (int)getpid(), file, line, text,
		       errno, strerror(errno));
		fflush(stdout);
		failures++;
	}
	return ok;
}

void target_need(bool ok, const char *text, const char *file, int line)
{
	if (!target_check(ok, text, file, line))
		exit(1);
}

void target_begin(void)
{
	sigset_t set;

	first = getpid();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

void target_wait(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	while (sigwaitinfo(&set, NULL) != SIGUSR1)
		;
}

void target_ready(void)
{
	printf("ready\n");
	fflush(stdout);
	target_wait();
}

int target_end(void)
{
	if (!failures && getpid() == first)
		printf("ok\n");
	fflush(stdout);
	return failures ? 1 : 0;
}

pid_t target_fork(void)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	NEED(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		failures = 0;
	}
	return pid;
}

void target_wake(pid_t child)
{
	CHECK(kill(child, SIGUSR1) == 0);
}

void target_join(pid_t child)
{
	int status = -1;
	pid_t r;

	do {
		r = waitpid(child, &status, 0);
	} while (r < 0 && errno == EINTR);
	CHECK(r == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static uint32_t word_at(size_t i, uint32_t seed)
{
	uint32_t x = (uint32_t)i * 2654435761u ^ seed * 2246822519u;

	return x ^ x >> 15;
}

void fill(volatile uint32_t *words, size_t from, size_t size, uint32_t seed)
{
	for (size_t i = from; i < size / 4; i++)
		words[i] = word_at(i, seed);
}

bool is_filled(const volatile uint32_t *words, size_t from, size_t size, uint32_t seed)
{
	for (size_t i = from; i < size / 4; i++)
		if (words[i] != word_at(i, seed)) {
			printf("failed: [%d] word %zu of %zu is %08x, was %08x\n", (int)getpid(), i,
			       size / 4, words[i], word_at(i, seed));
			return false;
		}
	return true;
}

static bool appears(volatile uint32_t *word, uint32_t value)
{
	const struct timespec pause = { .tv_nsec = 2000000 };

	for (int i = 0; i < 10000 && *word != value; i++)
		nanosleep(&pause, NULL);
	return *word == value;
}

bool call_through(volatile uint32_t *words, uint32_t token)
{
	words[0] = token;
	return appears(&words[1], ~token);
}

bool answer_through(volatile uint32_t *words, uint32_t token)
{
	if (!appears(&words[0], token))
		return false;
	words[1] = ~token;
	return true;
}

void fd_send(int sock, int fd)
{
	char byte = 'f', space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space,
			      .msg_controllen = sizeof(space) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	NEED(sendmsg(sock, &msg, 0) == 1);
}

int fd_receive(int sock)
{
	char byte, space[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space,
			      .msg_controllen = sizeof(space) };
	struct cmsghdr *c;
	int fd;

	NEED(recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) == 1);
	c = CMSG_FIRSTHDR(&msg);
	NEED(c && c->cmsg_type == SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}
