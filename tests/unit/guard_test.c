/* SPDX-License-Identifier: MIT */
/*
 * guard_test.c - changes of sockets are undone when their author is killed, and only then.
 */
#include "workers/net/guard.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/check.h"
#include "workers/common/gate_client.h"
#include "workers/net/net.h"

#define CHANGED 7
#define SOCKETS 300

static void set_peek_off(int fd, int value)
{
	setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &value, sizeof(value));
}

static int peek_off(int fd)
{
	socklen_t len = sizeof(int);
	int value = -2;

	getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &value, &len);
	return value;
}

static void undo(int fd, uint64_t arg)
{
	set_peek_off(fd, (int)arg);
}

static void make_sockets(int *sk)
{
	size_t i;

	for (i = 0; i < SOCKETS; i += 2)
		if (!CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, &sk[i]) == 0))
			exit(1);
}

static void close_sockets(const int *sk)
{
	size_t i;

	for (i = 0; i < SOCKETS; i++)
		close(sk[i]);
}

/* Change all; every third is undone by itself. */
static void change(struct net *net, const int *sk)
{
	struct fault f = { 0 };
	int action[SOCKETS];
	size_t i;

	for (i = 0; i < SOCKETS; i++) {
		action[i] = guard_add(net, sk[i], undo, (uint64_t)-1, &f);
		CHECK(action[i] >= 0);
		set_peek_off(sk[i], CHANGED);
	}
	for (i = 0; i < SOCKETS; i += 3)
		guard_drop(net, action[i]);
}

/* How many sockets still have the change. */
static int changed(const int *sk)
{
	int n = 0;
	size_t i;

	for (i = 0; i < SOCKETS; i++)
		n += peek_off(sk[i]) == CHANGED;
	return n;
}

static void test_killed(void)
{
	int sk[SOCKETS], alive[2], status;
	struct pollfd gone;
	pid_t pid;

	make_sockets(sk);
	if (!CHECK(pipe(alive) == 0))
		return;
	pid = fork();
	if (pid == 0) {
		struct net net = { 0 };

		change(&net, sk);
		kill(getpid(), SIGKILL);
	}
	close(alive[1]);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	/* The guard shares the writing end: its hangup tells that the guard is gone. */
	gone = (struct pollfd){ .fd = alive[0], .events = POLLIN };
	CHECK(poll(&gone, 1, 10000) == 1 && gone.revents & POLLHUP);
	CHECK(changed(sk) == SOCKETS / 3);
	close(alive[0]);
	close_sockets(sk);
}

/* A coordinator: its death is told to the guard, and the worker does not outlive it. */
static pid_t start_coordinator(struct gate_herald *h, int told)
{
	pid_t pid = fork();
	char go;

	if (pid)
		return pid;
	gate_herald(h, true);
	if (write(told, "x", 1) == 1 && read(told, &go, 1) >= 0)
		pause();
	_exit(0);
}

static void test_coordinator_killed(void)
{
	struct gate_herald *h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int sk[SOCKETS], alive[2], told[2], status;
	struct pollfd gone;
	pid_t pid, coordinator;
	char go;

	make_sockets(sk);
	if (!CHECK(h != MAP_FAILED && pipe(alive) == 0 &&
		   socketpair(AF_UNIX, SOCK_STREAM, 0, told) == 0))
		return;
	coordinator = start_coordinator(h, told[1]);
	CHECK(read(told[0], &go, 1) == 1);
	pid = fork();
	if (pid == 0) {
		struct net net = { .herald = h };

		change(&net, sk);
		kill(coordinator, SIGKILL);
		for (;;)
			pause();
	}
	close(alive[1]);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	      WTERMSIG(status) == SIGKILL);
	gone = (struct pollfd){ .fd = alive[0], .events = POLLIN };
	CHECK(poll(&gone, 1, 10000) == 1 && gone.revents & POLLHUP);
	CHECK(waitpid(coordinator, &status, 0) == coordinator);
	CHECK(changed(sk) == SOCKETS / 3);
	close(alive[0]);
	close(told[0]);
	close(told[1]);
	munmap(h, sizeof(*h));
	close_sockets(sk);
}

/* What the kernel walks when this thread dies. */
static void *robust_list(void)
{
	void *head = NULL;
	size_t size;

	CHECK(syscall(SYS_get_robust_list, 0, &head, &size) == 0);
	return head;
}

static void end_with(bool undone, int left)
{
	void *own = robust_list();
	struct net net = { 0 };
	int sk[SOCKETS];

	make_sockets(sk);
	change(&net, sk);
	CHECK(robust_list() != own);
	guard_end(&net, undone);
	CHECK(robust_list() == own);
	CHECK(changed(sk) == left);
	CHECK(!net.guard && waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
	close_sockets(sk);
}

static void test_undone(void)
{
	end_with(true, SOCKETS / 3);
}

static void test_left(void)
{
	end_with(false, SOCKETS);
}

static void test_nothing(void)
{
	struct net net = { 0 };

	guard_end(&net, true);
	CHECK(!net.guard);
}

/* Of the coordinator, who has two: they end in any order, the memory of delays with the last. */
static void end_heralds(bool first_ahead, int first)
{
	static struct gate_herald h[2];
	void *own = robust_list();

	gate_herald(&h[0], first_ahead);
	gate_herald(&h[1], true);
	CHECK(robust_list() != own && !(h[0].death & FUTEX_OWNER_DIED));
	gate_herald_end(&h[first]);
	gate_herald_end(&h[first]);
	CHECK(robust_list() != own);
	gate_herald_end(&h[!first]);
	CHECK(robust_list() == own);
	gate_herald_end(&h[!first]);
	CHECK(robust_list() == own);
}

static void test_heralds_end(void)
{
	int i;

	for (i = 0; i < 4; i++)
		end_heralds(i & 1, i >> 1);
}

/* One has ended: the other is heard all the same. */
static void hear(int ended)
{
	struct gate_herald *h = mmap(NULL, 2 * sizeof(*h), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	if (!CHECK(h != MAP_FAILED))
		return;
	pid = fork();
	if (pid == 0) {
		gate_herald(&h[0], true);
		gate_herald(&h[1], true);
		if (ended < 2)
			gate_herald_end(&h[ended]);
		kill(getpid(), SIGKILL);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	      WTERMSIG(status) == SIGKILL);
	CHECK(!(h[0].death & FUTEX_OWNER_DIED) == (ended == 0));
	CHECK(!(h[1].death & FUTEX_OWNER_DIED) == (ended == 1));
	munmap(h, 2 * sizeof(*h));
}

static void test_heralds_heard(void)
{
	int i;

	for (i = 0; i < 3; i++)
		hear(i);
}

int main(void)
{
	check_run("what a killed worker changed is undone, but not what it undid itself",
		  test_killed);
	check_run("what a worker changed whose coordinator is killed is undone, and it ends",
		  test_coordinator_killed);
	check_run("at a bad end what is left is undone, and no process stays", test_undone);
	check_run("at a good end what is left stays, and no process stays", test_left);
	check_run("without a change there is no guard", test_nothing);
	check_run("after the end of its heralds a thread has its own list again", test_heralds_end);
	check_run("every herald that has not ended is heard", test_heralds_heard);
	return check_done();
}
