// SPDX-License-Identifier: MIT
/* sessions.c - a tree of tasks with groups and sessions of its own and an orphan. */
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../case.h"

struct ids {
	pid_t pid, parent, group, session;
};

static struct ids mine;
static pid_t kids[3];

static struct ids look(void)
{
	return (struct ids){ getpid(), getppid(), getpgid(0), getsid(0) };
}

static void check_same(const struct ids *then)
{
	struct ids now = look();

	CHECK(now.pid == then->pid);
	CHECK(now.parent == then->parent);
	CHECK(now.group == then->group);
	CHECK(now.session == then->session);
}

static void wait_and_check(void)
{
	struct ids then = look();

	case_child_wait();
	check_same(&then);
}

static void leader_body(void)
{
	pid_t grandchild;

	CHECK(setsid() == getpid());
	grandchild = fork();
	if (grandchild == 0) {
		CHECK(setpgid(0, 0) == 0);
		wait_and_check();
		exit(0);
	}
	wait_and_check();
	case_child_ok(grandchild);
	exit(0);
}

/* Its child outlives it and comes to us, the subreaper. */
static void orphan_maker(void)
{
	pid_t maker = getpid();

	if (fork() == 0) {
		while (getppid() == maker)
			case_sleep_ms(1);
		wait_and_check();
		exit(0);
	}
	exit(0);
}

static void before(void)
{
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	kids[0] = fork();
	if (kids[0] == 0)
		leader_body();
	kids[1] = fork();
	if (kids[1] == 0) {
		CHECK(setpgid(0, 0) == 0);
		wait_and_check();
		exit(0);
	}
	kids[2] = fork();
	if (kids[2] == 0)
		orphan_maker();
	case_child_ok(kids[2]);
	mine = look();
	case_children_wait(4);
}

static void after(void)
{
	int status;
	pid_t orphan;

	CHECK(getpid() == mine.pid && getpgid(0) == mine.group && getsid(0) == mine.session);
	CHECK(getpgid(kids[1]) == kids[1]);
	case_release();
	case_child_ok(kids[0]);
	case_child_ok(kids[1]);
	orphan = wait(&status);
	CHECK(orphan > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

const struct test_case test_case = {
	.proves = "every task keeps its pid, parent, group and session",
	.before = before,
	.after = after,
};
