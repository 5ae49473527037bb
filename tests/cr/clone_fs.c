// SPDX-License-Identifier: MIT
/* clone_fs.c - tasks that share working directory and umask (CLONE_FS). */
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

static pid_t child;

static void child_body(void)
{
	char cwd[600] = "";

	case_child_wait();
	/* the parent changed both after the thaw */
	CHECK(getcwd(cwd, sizeof(cwd)) && strcmp(cwd, "/") == 0);
	CHECK(umask(0) == 055);
	syscall(SYS_exit_group, 0);
}

static void before(void)
{
	child = syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0);
	if (child == 0)
		child_body();
	CHECK(child > 0);
}

static void after(void)
{
	CHECK(syscall(SYS_kcmp, getpid(), child, 3 /* KCMP_FS */, 0, 0) == 0);
	CHECK(chdir("/") == 0);
	case_release();
	umask(055);
	case_child_ok(child);
	umask(022);
}

const struct test_case test_case = {
	.proves = "a working directory and umask shared between tasks stay shared",
	.criu_fails = "CRIU 4.2 refuses tasks that share fs (Can't make FS id)",
	.before = before,
	.after = after,
};
