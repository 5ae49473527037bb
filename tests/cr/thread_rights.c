// SPDX-License-Identifier: MIT
/*
 * thread_rights.c - what threads and processes have that CRIU's images have no field for: deadline
 * scheduling, I/O priority, processors, and the switches of prctl(2) and /proc.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

#define BEST_EFFORT_1 (2 << 13 | 1)	/* ioprio: class, level */
#define IDLE_CLASS (3 << 13)
#define SET_MDWE 65
#define GET_MDWE 66
#define DEADLINE 6
#define MS 1000000ull

struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static pthread_t thread, urgent;
static pid_t kid;
static atomic_int ready, look;
static bool has_deadline;

static int ioprio(void)
{
	return syscall(SYS_ioprio_get, 1, 0);
}

static int only_cpu(void)
{
	cpu_set_t set;
	int i;

	CHECK(sched_getaffinity(0, sizeof(set), &set) == 0);
	for (i = 0; CPU_COUNT(&set) == 1 && i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			return i;
	return -1;
}

static void *body(void *arg)
{
	cpu_set_t set;
	int cpu;

	CHECK(sched_getaffinity(0, sizeof(set), &set) == 0);
	for (cpu = CPU_SETSIZE - 1; !CPU_ISSET(cpu, &set); cpu--)
		;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
	CHECK(syscall(SYS_ioprio_set, 1, 0, BEST_EFFORT_1) == 0);
	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&look))
		case_sleep_ms(1);
	CHECK(only_cpu() == cpu);
	CHECK(ioprio() == BEST_EFFORT_1);
	return arg;
}

static void *hurry(void *arg)
{
	struct attr want = { sizeof(want), DEADLINE, 1 | 4, 0, 0, 2 * MS, 20 * MS, 40 * MS },
		    have = { 0 };

	signal(SIGXCPU, SIG_IGN);		/* of a slow machine that overruns */
	has_deadline = syscall(SYS_sched_setattr, 0, &want, 0) == 0;
	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&look))
		case_sleep_ms(1);
	CHECK(syscall(SYS_sched_getattr, 0, &have, sizeof(have), 0) == 0);
	if (has_deadline)
		CHECK(have.policy == DEADLINE && have.flags == want.flags &&
		      have.runtime == want.runtime && have.deadline == want.deadline &&
		      have.period == want.period);
	return arg;
}

/* A number in /proc/self; text is what stands before it. */
static long number(const char *name, const char *format)
{
	char path[64];
	long value = -1000;
	FILE *s;

	snprintf(path, sizeof(path), "/proc/self/%s", name);
	s = fopen(path, "re");
	CHECK(s && fscanf(s, format, &value) == 1);
	if (s)
		fclose(s);
	return value;
}

static void put(const char *name, const char *text)
{
	char path[64];
	FILE *s;

	snprintf(path, sizeof(path), "/proc/self/%s", name);
	s = fopen(path, "we");
	CHECK(s && fputs(text, s) >= 0);
	CHECK(s && fclose(s) == 0);
}

static bool may_execute(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	return p != MAP_FAILED && munmap(p, 4096) == 0;
}

static void child(atomic_int *mark)
{
	CHECK(setsid() == getpid());
	if (access("/proc/self/autogroup", F_OK) == 0)
		put("autogroup", "7");
	CHECK(prctl(SET_MDWE, 1, 0, 0, 0) == 0 && !may_execute());
	atomic_store(mark, 1);
	case_child_wait();
	if (access("/proc/self/autogroup", F_OK) == 0)
		CHECK(number("autogroup", "/autogroup-%*d nice %ld") == 7);
	CHECK(prctl(GET_MDWE, 0, 0, 0, 0) == 1 && !may_execute());
	exit(0);
}

static void before(void)
{
	atomic_int *mark = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
				0);

	CHECK(mark != MAP_FAILED);
	kid = fork();
	if (kid == 0)
		child(mark);
	CHECK(syscall(SYS_ioprio_set, 1, 0, IDLE_CLASS) == 0);
	put("coredump_filter", "0x17");
	CHECK(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) == 0);
	CHECK(prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0);
	CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
	CHECK(pthread_create(&urgent, NULL, hurry, NULL) == 0);
	while (atomic_load(&ready) != 2 || !atomic_load(mark))
		case_sleep_ms(1);
}

static void after(void)
{
	int tsc = 0;

	CHECK(ioprio() == IDLE_CLASS);
	CHECK(number("coredump_filter", "%lx") == 0x17);
	CHECK(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) == PR_MCE_KILL_EARLY);
	CHECK(prctl(PR_GET_TSC, &tsc) == 0 && tsc == PR_TSC_SIGSEGV);
	atomic_store(&look, 1);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(pthread_join(urgent, NULL) == 0);
	case_release();
	case_child_ok(kid);
}

const struct test_case test_case = {
	.proves = "deadlines, I/O priorities, processors and the switches of threads and processes "
		  "stay",
	.criu_fails = "CRIU 4.2 images have no fields for them",
	.before = before,
	.after = after,
};
