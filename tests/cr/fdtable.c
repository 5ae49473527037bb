// SPDX-License-Identifier: MIT
/* fdtable.c - tasks that share one descriptor table (CLONE_FILES). */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

static pid_t shares, alone;
static int late_fd = 77;

static pid_t clone_with(unsigned long flags)
{
	return syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
}

static void child_body(int has_it)
{
	case_child_wait();
	/* the parent opened late_fd after the thaw */
	CHECK((fcntl(late_fd, F_GETFD) >= 0) == has_it);
	if (has_it)
		CHECK(write(late_fd, "from the child", 14) == 14);
	syscall(SYS_exit_group, 0);
}

static void before(void)
{
	alone = clone_with(0);
	if (alone == 0)
		child_body(0);
	shares = clone_with(CLONE_FILES);
	if (shares == 0)
		child_body(1);
	CHECK(shares > 0 && alone > 0);
}

static void after(void)
{
	char text[20] = "";
	int fd = open(case_path("late"), O_RDWR | O_CREAT, 0644);

	CHECK(fd >= 0 && dup2(fd, late_fd) == late_fd);
	CHECK(syscall(SYS_kcmp, getpid(), shares, 2 /* KCMP_FILES */, 0, 0) == 0);
	CHECK(syscall(SYS_kcmp, getpid(), alone, 2, 0, 0) != 0);
	case_release();
	case_child_ok(shares);
	case_child_ok(alone);
	CHECK(pread(fd, text, 19, 0) == 14);
}

const struct test_case test_case = {
	.proves = "a descriptor table shared between tasks stays shared",
	.before = before,
	.after = after,
};
