// SPDX-License-Identifier: MIT
/* sysv_objects.c - semaphores and message queues of System V: host objects that simply stay. */
#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

#include "../case.h"

static int sem, queue;

static void before(void)
{
	struct {
		long type;
		char text[16];
	} m = { 3, "message" };
	struct sembuf up[] = { { 0, 5, 0 }, { 1, 2, 0 } };

	sem = semget(IPC_PRIVATE, 2, 0600);
	queue = msgget(IPC_PRIVATE, 0600);
	if (sem < 0 && errno == ENOSYS)
		case_skip("no System V objects");
	CHECK(sem >= 0 && queue >= 0);
	CHECK(semop(sem, up, 2) == 0 && msgsnd(queue, &m, 8, 0) == 0);
}

static void after(void)
{
	struct {
		long type;
		char text[16];
	} m;

	CHECK(semctl(sem, 0, GETVAL) == 5 && semctl(sem, 1, GETVAL) == 2);
	CHECK(semop(sem, &(struct sembuf){ 0, -5, IPC_NOWAIT }, 1) == 0);
	CHECK(msgrcv(queue, &m, sizeof(m.text), 0, IPC_NOWAIT) == 8 && !strcmp(m.text, "message"));
	CHECK(semctl(sem, 0, IPC_RMID) == 0 && msgctl(queue, IPC_RMID, NULL) == 0);
}

const struct test_case test_case = {
	.proves = "System V semaphores and message queues stay usable",
	.before = before,
	.after = after,
};
