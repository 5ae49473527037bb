/* SPDX-License-Identifier: MIT */
/*
 * task_image.h - numbers that core-*.img and pstree.img use, as CRIU does.
 */
#ifndef STASIS_TASK_IMAGE_H
#define STASIS_TASK_IMAGE_H

#define SIGNALS 64
#define SIGINFO_SIZE 128
#define COMM_SIZE 16		/* with its NUL */
#define LIMITS 16
#define CAP_WORDS 2
#define GROUPS_MAX 65536
#define COREDUMP_FILTER_USUAL 0x33
#define TIMER_SLACK_USUAL 50000	/* ns, of a task that never asked for another */

/* task_core_entry.task_state */
enum image_task_state {
	IMAGE_TASK_ALIVE = 1,
	IMAGE_TASK_DEAD = 2,	/* a zombie */
	IMAGE_TASK_STOPPED = 3,
	IMAGE_TASK_ZOMBIE = 6,
	IMAGE_TASK_LEADERLESS = 1000,	/* ours: the main thread is dead; with stop_signo stopped */
};

#endif
