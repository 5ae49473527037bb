/* SPDX-License-Identifier: MIT */
/*
 * keeper.c - a child that puts things right when this process dies.
 *
 * It waits for the other end of a pipe to close without a word. It is forked, so it has everything
 * as it was at the start; what changes later must lie in shared memory. The parent-death signal of a
 * worker is not inherited, and no signal but SIGKILL reaches it.
 *
 * Rights:   those of the process.
 * Holds:    nothing.
 */
#include "workers/common/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"

static void close_between(int after, int before)
{
	if (after + 1 <= before - 1)
		close_range(after + 1, before - 1, 0);
}

static _Noreturn void watch(int end, int keep_fd, void (*undo)(void *arg), void *arg)
{
	int low = keep_fd >= 0 && keep_fd < end ? keep_fd : end;
	int high = keep_fd > end ? keep_fd : end;
	char word;

	prctl(PR_SET_NAME, "stasis-keeper");
	close_between(-1, low);
	close_between(low, high);
	close_range(high + 1, ~0u, 0);
	if (read(end, &word, 1) != 1)
		undo(arg);
	_exit(0);
}

int keeper_start(struct keeper *k, void (*undo)(void *arg), void *arg, int keep_fd, struct fault *f)
{
	sigset_t all, old;
	int ends[2], err;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return fault(f, errno, "make a pipe");
	/* What ends our process group (a terminal that hangs up, timeout(1)) must not end the keeper. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	k->pid = fork();
	if (k->pid == 0) {
		close(ends[1]);
		watch(ends[0], keep_fd, undo, arg);
	}
	err = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(ends[0]);
	k->fd = ends[1];
	if (k->pid > 0)
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

	if (k->pid > 0 && write(k->fd, "k", 1) != 1)
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
