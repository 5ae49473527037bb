// SPDX-License-Identifier: MIT
/*
 * shm_sysv_huge.c - System V segments of huge pages: one that two tasks have attached and that is
 * marked for removal, one that outlives them, whose size is no multiple of a page.
 */
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>
#include <unistd.h>

#include "../huge.h"

static char *gone, *stays;
static int gone_id, stays_id;
static pid_t child;

static void before(void)
{
	huge_reserve(HUGE, 6);
	gone_id = shmget(IPC_PRIVATE, 2 * HUGE, 0600 | IPC_CREAT | SHM_HUGETLB);
	stays_id = shmget(IPC_PRIVATE, HUGE + 4096, 0600 | IPC_CREAT | SHM_HUGETLB);
	gone = shmat(gone_id, NULL, 0);
	stays = shmat(stays_id, NULL, 0);
	CHECK(gone != (void *)-1 && stays != (void *)-1);
	memset(gone, 'g', HUGE);
	strcpy(stays + HUGE, "end");
	CHECK(shmctl(gone_id, IPC_RMID, NULL) == 0);
	child = fork();
	if (!child) {
		case_child_wait();
		CHECK(gone[0] == 'P' && gone[1] == 'g' && gone[HUGE] == 0);
		_exit(0);
	}
}

static void after(void)
{
	struct shmid_ds ds;

	CHECK(gone[0] == 'g' && gone[HUGE - 1] == 'g' && gone[HUGE] == 0);
	CHECK(!strcmp(stays + HUGE, "end") && stays[0] == 0);
	CHECK(huge_page_size(gone) == HUGE && huge_page_size(stays) == HUGE);
	gone[0] = 'P';
	case_release();
	case_child_ok(child);
	CHECK(shmctl(stays_id, IPC_STAT, &ds) == 0 && ds.shm_segsz == HUGE + 4096 &&
	      ds.shm_nattch == 1);
	CHECK(shmdt(stays) == 0 && shmctl(stays_id, IPC_RMID, NULL) == 0);
	CHECK(shmdt(gone) == 0 && shmctl(gone_id, IPC_STAT, &ds) < 0);
	huge_put_back();
}

const struct test_case test_case = {
	.proves = "System V segments of huge pages keep contents, page size and sharing",
	.criu_fails = "does not dump segments of the host's IPC namespace",
	.needs_root = true,
	.before = before,
	.after = after,
};
