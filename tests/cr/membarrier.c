// SPDX-License-Identifier: MIT
/*
 * membarrier.c - registrations with membarrier(2), of one kind in the parent and others in a child.
 */
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

static pid_t child;

static int membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0);
}

static void before(void)
{
	if (membarrier(MEMBARRIER_CMD_QUERY) < 0)
		case_skip("no membarrier(2)");
	child = fork();
	if (child == 0) {
		CHECK(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE) == 0);
		CHECK(membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0);
		case_child_wait();
		CHECK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE) == 0);
		exit(0);
	}
	CHECK(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0);
	case_children_wait(1);
}

static void after(void)
{
	CHECK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0);
	CHECK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE) < 0);
	case_release();
	case_child_ok(child);
}

const struct test_case test_case = {
	.proves = "a task may go on using the barriers it has registered for, and no others",
	.before = before,
	.after = after,
};
