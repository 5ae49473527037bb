/* SPDX-License-Identifier: MIT */
/*
 * stand_in.c - do something as a process that is dead: the kernel records who did it.
 *
 * Rights:   CAP_CHECKPOINT_RESTORE, to choose a pid.
 * Holds:    nothing.
 */
#include "workers/net/stand_in.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int stand_in(pid_t pid, int (*act)(void *arg), void *arg)
{
	const struct clone_args how = {
		.flags = CLONE_FILES, .exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&pid, .set_tid_size = 1,
	};
	pid_t child = syscall(SYS_clone3, &how, sizeof(how));
	int status;

	if (child == 0)
		_exit(act(arg) < 0 ? errno : 0);
	if (child < 0) {
		errno = ESRCH;
		return -1;
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
	return errno ? -1 : 0;
}
