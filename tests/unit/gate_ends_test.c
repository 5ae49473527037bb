/* SPDX-License-Identifier: MIT */
/*
 * gate_ends_test.c - the agent and its client when the other one dies or is silent.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "tests/world/gate_subject.h"

static bool ends_within(pid_t pid, int ms)
{
	struct pollfd p = { .fd = syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	bool ended = p.fd < 0 || poll(&p, 1, ms) > 0;

	auto_close(&p.fd);
	return ended;
}

/* The subject must not die by PDEATHSIG here, so its parent is not the one that is killed. */
static void a_killed_driver_ends_the_task(void)
{
	struct subject s;
	pid_t driver;
	int report[2], status = 0;
	char byte;
	double t;

	if (pipe(report) < 0)
		die("pipe");
	gate_subject_start(&s, 1, 65536);
	driver = fork();
	if (!driver) {
		if (gate_guard(s.gate, &s.f) < 0)
			_exit(1);
		batch_end(batch_begin(s.gate));
		byte = write(report[1], "", 1);
		for (;;)
			pause();
	}
	close(report[1]);
	CHECK(read(report[0], &byte, 1) == 1);
	CHECK(!ends_within(s.pid, 50));
	t = gate_now_us();
	kill(driver, SIGKILL);
	CHECK(ends_within(s.pid, 1000));
	printf("# a killed driver was noticed in %.0f us\n", gate_now_us() - t);
	waitpid(driver, NULL, 0);
	CHECK(waitpid(s.pid, &status, 0) == s.pid && WIFEXITED(status) && WEXITSTATUS(status) == 1);
	gate_close(s.gate);
	close(s.memory);
	close(report[0]);
}

/* A driver with one subject and many more gates that lie before it in the list. */
static void guard_many(struct subject *s, int n, int report)
{
	struct gate_place place = *gate_place(s->gate);
	struct gate *g;
	int i;

	place.nmailboxes = 1;
	place.size = gate_region_size(1, 4096);
	for (i = 0; i < n; i++) {
		int fd = memfd_create("more", MFD_CLOEXEC);

		if (ftruncate(fd, place.size) < 0)
			_exit(2);
		g = gate_open(fd, &place, true, GATE_MODE_RESTORE, &s->f);
		close(fd);
		if (!g || gate_guard(g, &s->f) < 0)
			_exit(3);
		if (i % 2)
			gate_unguard(g);
	}
	if (gate_guard(s->gate, &s->f) < 0)
		_exit(4);
	if (write(report, "", 1) != 1)
		_exit(5);
	for (;;)
		pause();
}

static void very_many_tasks(void)
{
	struct subject s;
	pid_t driver;
	int report[2];
	char byte;

	if (pipe(report) < 0)
		die("pipe");
	gate_subject_start(&s, 1, 65536);
	driver = fork();
	if (!driver)
		guard_many(&s, 4500, report[1]);
	close(report[1]);
	CHECK(read(report[0], &byte, 1) == 1);
	kill(driver, SIGKILL);
	CHECK(ends_within(s.pid, 2000));
	waitpid(driver, NULL, 0);
	close(report[0]);
	gate_subject_stop(&s);
}

static void a_dead_task_is_a_fault(void)
{
	struct subject s;
	double t;

	gate_subject_start(&s, 1, 65536);
	{
		AUTO_BATCH struct batch *b = batch_begin(s.gate);

		batch_op(b, 0, 0, SYS_exit_group, 1, gc(3));
		t = gate_now_us();
		CHECK(batch_run(b, 5000, &s.f) < 0);
		CHECK(gate_now_us() - t < 1e6);
		CHECK(s.f.code == ESRCH && strstr(s.f.text, "died"));
		memset(&s.f, 0, sizeof(s.f));
	}
	gate_subject_stop(&s);
}

static void a_silent_agent_is_named(void)
{
	struct subject s;

	gate_subject_start(&s, 1, 65536);
	{
		AUTO_BATCH struct batch *b = batch_begin(s.gate);

		batch_op(b, 0, 0, SYS_getpid, 0);
		batch_op(b, 0, 0, SYS_pause, 0);
		CHECK(batch_run(b, 200, &s.f) < 0);
		CHECK(s.f.code == ETIMEDOUT);
		CHECK(strstr(s.f.text, "operation 2 of 2, system call 34"));
		memset(&s.f, 0, sizeof(s.f));
	}
	gate_subject_stop(&s);
}

static void a_dead_holder_is_named(void)
{
	struct subject s;
	pid_t holder;
	char want[64];

	gate_subject_start(&s, 1, 65536);
	holder = fork();
	if (!holder) {
		batch_begin(s.gate);
		_exit(0);
	}
	ends_within(holder, 5000);	/* and stays a zombie */
	{
		AUTO_BATCH struct batch *b = batch_begin(s.gate);

		batch_op(b, 0, 0, SYS_getpid, 0);
		CHECK(batch_run(b, 1000, &s.f) < 0);
		snprintf(want, sizeof(want), "process %d died", holder);
		CHECK(strstr(s.f.text, want));
		memset(&s.f, 0, sizeof(s.f));
	}
	waitpid(holder, NULL, 0);
	gate_subject_stop(&s);
}

int main(void)
{
	check_run("a killed driver ends the task", a_killed_driver_ends_the_task);
	check_run("more tasks than a robust list holds are guarded", very_many_tasks);
	check_run("a dead task is a fault within a second", a_dead_task_is_a_fault);
	check_run("a silent agent and its call are named", a_silent_agent_is_named);
	check_run("a dead holder of the gate is named", a_dead_holder_is_named);
	return check_done();
}
