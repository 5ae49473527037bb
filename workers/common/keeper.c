/* SPDX-License-Identifier: MIT */
/*
 * keeper.c - a child that puts things right when this process dies.
 *
 * It waits for the other end of a channel to close without a word; its own end closes when it is
 * done. It is forked, so it has everything as it was at the start; what changes later must lie in
 * shared memory. The parent-death signal of a worker is not inherited, and no signal but SIGKILL
 * reaches it.
 *
 * Rights:   those of the process.
 * Holds:    nothing.
 */
#include "workers/common/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"

#define WAIT_MS 1000

static bool tell(int fd)
{
	return send(fd, "k", 1, MSG_NOSIGNAL) == 1;
}

static void close_between(int after, int before)
{
	if (after + 1 <= before - 1)
		close_range(after + 1, before - 1, 0);
}

static _Noreturn void watch(int end, int keep_fd, void (*undo)(void *arg),
			    void (*settle)(void *arg), void *arg)
{
	int low = keep_fd >= 0 && keep_fd < end ? keep_fd : end;
	int high = keep_fd > end ? keep_fd : end;
	char word;

	prctl(PR_SET_NAME, "stasis-keeper");
	close_between(-1, low);
	close_between(low, high);
	close_range(high + 1, ~0u, 0);
	if (read(end, &word, 1) != 1)
		settle = undo;
	if (settle)
		settle(arg);
	_exit(0);
}

int keeper_start(struct keeper *k, void (*undo)(void *arg), void *arg, int keep_fd, struct fault *f)
{
	sigset_t all, old;
	int ends[2], err;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return fault(f, errno, "make a channel to a keeper");
	/*
	 * What ends our process group (a terminal that hangs up, timeout(1)) must not end the
	 * keeper.
	 */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	/* *k may be in shared memory. */
	pid = fork();
	if (pid == 0) {
		close(ends[1]);
		watch(ends[0], keep_fd, undo, k->settle, arg);
	}
	err = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(ends[0]);
	k->pid = pid;
	k->fd = ends[1];
	if (pid > 0)
		return 0;
	auto_close(&k->fd);
	*k = KEEPER_NONE;
	return fault(f, err, "fork a keeper");
}

void keeper_undo(struct keeper *k)
{
	if (k->pid <= 0)
		return;
	auto_close(&k->fd);
	waitpid(k->pid, NULL, 0);
	*k = KEEPER_NONE;
}

int keeper_dismiss(struct keeper *k, struct fault *f)
{
	int r = 0;

	if (k->pid > 0 && !tell(k->fd))
		r = fault(f, errno, "dismiss the keeper");
	keeper_undo(k);
	return r;
}

int keeper_hand_over(struct keeper *k)
{
	int fd = k->pid > 0 ? k->fd : -1;

	*k = KEEPER_NONE;
	return fd;
}

bool keeper_decide(int *fds, size_t n, bool dismiss)
{
	struct pollfd p = { .events = POLLIN };
	bool told = true;
	size_t i;

	for (i = 0; i < n; i++) {
		told = (!dismiss || tell(fds[i])) && told;
		shutdown(fds[i], SHUT_WR);
	}
	for (i = 0; i < n; i++) {
		p.fd = fds[i];
		poll(&p, 1, WAIT_MS);
		auto_close(&fds[i]);
	}
	return told;
}
