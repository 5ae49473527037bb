// SPDX-License-Identifier: MIT
/*
 * vforks.c - a child that borrows its parent's memory half of the time, until it is released: what
 * a dump cannot keep, and what passes by itself.
 */
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../case.h"

enum { BORROWED_MS = 600, OWN_MS = 600 };

static struct shared {
	atomic_int began, ended, enough;
} *shared;
static pid_t child;

static void borrow_and_return(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		atomic_fetch_add(&shared->began, 1);
		case_sleep_ms(BORROWED_MS);
		_exit(0);
	}
	atomic_fetch_add(&shared->ended, 1);
	case_child_ok(pid);
}

static void before(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	CHECK(shared != MAP_FAILED);
	child = fork();
	if (child == 0) {
		while (!atomic_load(&shared->enough)) {
			borrow_and_return();
			case_sleep_ms(OWN_MS);
		}
		_exit(0);
	}
	while (!atomic_load(&shared->began))
		case_sleep_ms(1);
}

static void after(void)
{
	int ended = atomic_load(&shared->ended);

	while (atomic_load(&shared->ended) == ended)
		case_sleep_ms(1);
	atomic_store(&shared->enough, 1);
	case_child_ok(child);
	CHECK(atomic_load(&shared->began) == atomic_load(&shared->ended));
}

const struct test_case test_case = {
	.proves = "a tree whose tasks share memory for a moment (vfork) is dumped when they have "
		  "parted, and check PID says so",
	.before = before,
	.after = after,
};
