// SPDX-License-Identifier: MIT
/*
 * pty_hasty.c - a child that makes and closes ptys all the time: who looks for the master of a
 * slave while tasks run may have a list that is older than both.
 */
#include <pty.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../case.h"

enum { PTYS = 200 };

static struct shared {
	atomic_int rounds, enough;
} *shared;
static pid_t child;

static void make_and_close(void)
{
	int master[PTYS], slave[PTYS], i;

	for (i = 0; i < PTYS; i++)
		CHECK(openpty(&master[i], &slave[i], NULL, NULL, NULL) == 0);
	for (i = 0; i < PTYS; i++) {
		close(slave[i]);
		close(master[i]);
	}
	atomic_fetch_add(&shared->rounds, 1);
}

static void before(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	CHECK(shared != MAP_FAILED);
	child = fork();
	if (child == 0) {
		while (!atomic_load(&shared->enough))
			make_and_close();
		_exit(0);
	}
	while (!atomic_load(&shared->rounds))
		case_sleep_ms(1);
}

static void after(void)
{
	int rounds = atomic_load(&shared->rounds);

	while (atomic_load(&shared->rounds) == rounds)
		case_sleep_ms(1);
	atomic_store(&shared->enough, 1);
	case_child_ok(child);
}

const struct test_case test_case = {
	.criu_fails = "CRIU 4.2 finds a pty's number only when fewer than 32 below it are free",
	.proves = "ptys that come and go while a dump begins are no obstacle to it",
	.before = before,
	.after = after,
};
