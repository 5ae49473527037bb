// SPDX-License-Identifier: MIT
/*
 * orphans.c - tasks whose creators, session leaders and group leaders are gone: chains of child
 * subreapers, sessions and groups without their leaders, children born before their parents began a
 * session, a session led by a zombie.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../case.h"

enum { STAYS = 19 };			/* tasks that live on */

struct ids {
	pid_t pid, parent, group, session;
};

static struct shared {
	atomic_int here, settled, noted, step;
	struct ids ids[STAYS];
} *shared;

static struct ids look(void)
{
	return (struct ids){ getpid(), getppid(), getpgid(0), getsid(0) };
}

/* Every child, ours and those that came to us, must find itself as it was. */
static void reap_all(void)
{
	int status;

	while (wait(&status) > 0)
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void stay(void)
{
	int me = atomic_fetch_add(&shared->here, 1);
	struct ids *then = &shared->ids[me], now;

	while (!atomic_load(&shared->settled))
		case_sleep_ms(1);
	*then = look();
	atomic_fetch_add(&shared->noted, 1);
	case_child_wait();
	now = look();
	CHECK(now.pid == then->pid);
	CHECK(now.parent == then->parent);
	CHECK(now.group == then->group);
	CHECK(now.session == then->session);
	reap_all();
	_exit(0);
}

/* Run fn in a child; for one that ends soon, wait for it. */
static pid_t child(void (*fn)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		fn();
		_exit(0);
	}
	return pid;
}

static void passing(void (*fn)(void))
{
	pid_t pid = child(fn);
	int status;

	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- a chain of subreapers: the task comes to the nearest ---- */

static void leave_one(void)
{
	child(stay);
}

static void inner_reaper(void)
{
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	passing(leave_one);			/* ours from then on */
	stay();
}

static void outer_reaper(void)
{
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	child(inner_reaper);
	passing(leave_one);
	stay();
}

/* ---- sessions and groups without leaders ---- */

static void group_of_dead(void)
{
	CHECK(setpgid(0, 0) == 0);
	child(stay);
	child(stay);
}

static void session_of_dead(void)
{
	CHECK(setsid() == getpid());
	child(stay);
	passing(group_of_dead);
}

/* A living leader, whose session has a member that came to somebody above. */
static void living_leader(void)
{
	CHECK(setsid() == getpid());
	passing(leave_one);
	stay();
}

/* ---- born before the session began ---- */

static void old_member(void)
{
	child(stay);				/* in the session of all */
	while (atomic_load(&shared->here) < 1)
		case_sleep_ms(1);
	CHECK(setsid() == getpid());
	stay();
}

static void new_session(void)
{
	child(old_member);
	case_sleep_ms(50);
	CHECK(setsid() == getpid());
	stay();
}

/* ---- born as an orphan of a sibling's session, its own begun later ---- */

static void stranger(void)
{
	child(stay);				/* in the sibling's session */
	case_sleep_ms(50);
	CHECK(setsid() == getpid());
	stay();
}

static void leave_stranger(void)
{
	child(stranger);
}

static void sibling(void)
{
	CHECK(setsid() == getpid());
	passing(leave_stranger);
	stay();
}

/* ---- members of one dead session with two heirs, one below the other ---- */

static void leader_of_two(void)
{
	CHECK(setsid() == getpid());
	passing(leave_one);			/* comes to the task at the top */
	atomic_store(&shared->step, 1);
	while (atomic_load(&shared->step) != 2)
		case_sleep_ms(1);
	child(stay);				/* comes to the parent of the leader */
}

static void late_reaper(void)
{
	pid_t leader = child(leader_of_two);
	int status;

	while (atomic_load(&shared->step) != 1)
		case_sleep_ms(1);
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	atomic_store(&shared->step, 2);
	CHECK(waitpid(leader, &status, 0) == leader && status == 0);
	stay();
}

/* ---- a session led by a zombie, which nobody waits for until the end ---- */

static void dead_leader(void)
{
	CHECK(setsid() == getpid());
	child(stay);
}

static void before(void)
{
	siginfo_t info;
	pid_t zombie;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	child(new_session);
	child(outer_reaper);
	passing(session_of_dead);
	child(living_leader);
	child(sibling);
	child(late_reaper);
	zombie = child(dead_leader);
	CHECK(waitid(P_PID, zombie, &info, WEXITED | WNOWAIT) == 0);
	while (atomic_load(&shared->here) != STAYS)
		case_sleep_ms(1);
	case_sleep_ms(100);
	atomic_store(&shared->settled, 1);
	while (atomic_load(&shared->noted) != STAYS)
		case_sleep_ms(1);
}

static void after(void)
{
	case_release();
	reap_all();
}

const struct test_case test_case = {
	.criu_fails = "CRIU 4.2 gives such a tree other parents, or cannot fork it",
	.proves = "tasks whose makers and leaders are gone keep parent, group and session",
	.before = before,
	.after = after,
};
