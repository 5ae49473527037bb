// SPDX-License-Identifier: MIT
/* shm_sysv.c - System V shared memory: attaches of every kind, in several tasks, removed ones. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "../case.h"

enum { PAGE = 4096, SIZE = 5 * PAGE + 100 };

static int named, gone, torn;
static key_t key;
static volatile char *rw, *again, *ro, *removed, *holes;
static pid_t child;

static void child_body(void)
{
	CHECK(shmdt((void *)again) == 0);
	rw[1] = 'C';
	case_child_wait();
	CHECK(rw[2] == 'P' && ro[2] == 'P' && removed[5] == 'Q');
	rw[3] = 'D';
	CHECK(shmdt((void *)rw) == 0 && shmdt((void *)removed) == 0);
	exit(0);
}

static void before(void)
{
	key = 0x57000000 | (getpid() & 0xffff);
	named = shmget(key, SIZE, IPC_CREAT | IPC_EXCL | 0640);
	if (named < 0 && errno == ENOSYS)
		case_skip("no System V shared memory");
	gone = shmget(IPC_PRIVATE, 3 * PAGE, IPC_CREAT | 0600);
	torn = shmget(IPC_PRIVATE, 8 * PAGE, IPC_CREAT | 0600);
	CHECK(named >= 0 && gone >= 0 && torn >= 0);
	rw = shmat(named, NULL, 0);
	again = shmat(named, NULL, 0);
	ro = shmat(named, NULL, SHM_RDONLY);
	removed = shmat(gone, NULL, 0);
	holes = shmat(torn, NULL, 0);
	CHECK(rw != (void *)-1 && again != (void *)-1 && ro != (void *)-1);
	CHECK(removed != (void *)-1 && holes != (void *)-1);
	for (int i = 0; i < SIZE; i += PAGE)
		rw[i] = 'a' + i / PAGE;
	rw[SIZE - 1] = 'z';
	memset((char *)removed, 'r', 2 * PAGE);
	memset((char *)holes, 'h', 8 * PAGE);
	CHECK(munmap((char *)holes + 2 * PAGE, PAGE) == 0);
	CHECK(mprotect((char *)holes + 4 * PAGE, PAGE, PROT_READ | PROT_EXEC) == 0);
	CHECK(munmap((char *)holes + 7 * PAGE, PAGE) == 0);
	CHECK(mprotect((char *)again, SIZE, PROT_READ) == 0);
	child = fork();
	if (child == 0)
		child_body();
	case_children_wait(1);
	CHECK(rw[1] == 'C');
	CHECK(shmctl(gone, IPC_RMID, NULL) == 0);
}

static void check_removed(void)
{
	struct shmid_ds ds;

	CHECK(shmctl(gone, IPC_STAT, &ds) == 0 && (ds.shm_perm.mode & SHM_DEST));
	CHECK(removed[0] == 'r' && removed[2 * PAGE - 1] == 'r' && removed[2 * PAGE] == 0);
	CHECK(shmdt((void *)removed) == 0);
	CHECK(shmctl(gone, IPC_STAT, &ds) < 0 && (errno == EINVAL || errno == EIDRM));
}

static void check_holes(void)
{
	unsigned char in;

	CHECK(holes[0] == 'h' && holes[3 * PAGE] == 'h' && holes[7 * PAGE - 1] == 'h');
	CHECK(mincore((char *)holes + 2 * PAGE, PAGE, &in) < 0 && errno == ENOMEM);
	CHECK(mincore((char *)holes + 7 * PAGE, PAGE, &in) < 0 && errno == ENOMEM);
	CHECK(mprotect((char *)holes + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
	holes[4 * PAGE] = 'H';
	CHECK(shmdt((void *)holes) == 0);
	CHECK(mincore((char *)holes, PAGE, &in) < 0 && errno == ENOMEM);
	CHECK(mincore((char *)holes + 6 * PAGE, PAGE, &in) < 0 && errno == ENOMEM);
	holes = shmat(torn, NULL, 0);
	CHECK(holes != (void *)-1 && holes[4 * PAGE] == 'H' && holes[7 * PAGE] == 'h');
	CHECK(shmctl(torn, IPC_RMID, NULL) == 0 && shmdt((void *)holes) == 0);
}

static void after(void)
{
	struct shmid_ds ds;

	CHECK(shmget(key, SIZE, 0) == named && shmctl(named, IPC_STAT, &ds) == 0);
	CHECK(ds.shm_segsz == SIZE && ds.shm_perm.mode == 0640 && ds.shm_perm.uid == geteuid());
	CHECK(ds.shm_nattch == 5);
	for (int i = PAGE; i < SIZE; i += PAGE)
		CHECK(rw[i] == 'a' + i / PAGE && again[i] == rw[i] && ro[i] == rw[i]);
	CHECK(ro[1] == 'C' && ro[SIZE - 1] == 'z' && ro[SIZE] == 0);
	rw[2] = 'P';
	removed[5] = 'Q';
	CHECK(again[2] == 'P' && ro[2] == 'P');
	CHECK(mprotect((char *)ro, PAGE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
	CHECK(mprotect((char *)again, SIZE, PROT_READ | PROT_WRITE) == 0);
	case_release();
	case_child_ok(child);
	CHECK(again[3] == 'D');
	removed[5] = 'r';
	check_removed();
	check_holes();
	CHECK(shmdt((void *)rw) == 0 && shmdt((void *)again) == 0 && shmdt((void *)ro) == 0);
	CHECK(shmctl(named, IPC_RMID, NULL) == 0);
	CHECK(shmctl(named, IPC_STAT, &ds) < 0);
}

const struct test_case test_case = {
	.proves = "System V segments stay attached where and how they were, also removed ones",
	.criu_fails = "CRIU refuses attached segments outside an IPC namespace",
	.before = before,
	.after = after,
};
