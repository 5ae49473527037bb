/* SPDX-License-Identifier: MIT */
/*
 * semaphores.c - System V semaphores that tasks use.
 *
 * Sets are objects of the host and stay when their users end, with their values. But what a task
 * did with SEM_UNDO the kernel takes back when it ends, so also when a dump ends it, and no
 * interface tells what that is. So a set that a task of the tree was the last to operate on is
 * worth a warning.
 *
 * Rights:   CAP_IPC_OWNER: sets of other users.
 * Holds:    nothing.
 */
#include "workers/mem/semaphores.h"

#include <stdbool.h>
#include <sys/sem.h>

#include "workers/common/log.h"

#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20			/* Linux 4.17 */
#endif
#define LOOKS_MAX 4096			/* more are not worth the time a tree stands still */

union semun {
	int val;
	struct semid_ds *buf;
	struct seminfo *info;
};

static bool is_one_of(const pid_t *pid, size_t n, pid_t who)
{
	while (n-- > 0)
		if (pid[n] == who)
			return true;
	return false;
}

/* *looks counts down. */
static void look_at_set(int id, unsigned long nsems, const pid_t *pid, size_t n, int *looks)
{
	unsigned long i;
	int who;

	for (i = 0; i < nsems && (*looks)-- > 0; i++) {
		who = semctl(id, i, GETPID);
		if (who <= 0 || !is_one_of(pid, n, who))
			continue;
		log_warnx("task %d operates on the System V semaphores %d, which stay as they are: "
			  "what it did with SEM_UNDO is undone when it ends, and not done again by "
			  "a restore", who, id);
		return;
	}
}

void semaphores_warn(const pid_t *pid, size_t n)
{
	struct seminfo info;
	struct semid_ds ds;
	int top = semctl(0, 0, SEM_INFO, (union semun){ .info = &info }), looks = LOOKS_MAX, i, id;

	for (i = 0; i <= top && looks-- > 0; i++) {
		id = semctl(i, 0, SEM_STAT_ANY, (union semun){ .buf = &ds });
		if (id >= 0 && ds.sem_otime)
			look_at_set(id, ds.sem_nsems, pid, n, &looks);
	}
}
