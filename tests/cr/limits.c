// SPDX-License-Identifier: MIT
/* limits.c - resource limits and the small per-task settings of prctl and procfs. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static struct rlimit want[RLIM_NLIMITS];
static pid_t child;

static long read_long(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY);

	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return atol(text);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) > 0);
	close(fd);
}

static void lower(int resource, rlim_t soft, rlim_t hard)
{
	struct rlimit r = { soft, hard };

	CHECK(setrlimit(resource, &r) == 0);
}

static void child_body(void)
{
	struct sched_param param = { 0 };
	char name[17] = "";
	int sig = 0;

	/* before the freeze */
	CHECK(prctl(PR_SET_PDEATHSIG, SIGURG) == 0);
	CHECK(prctl(PR_SET_NAME, "odd) name (x") == 0);
	CHECK(sched_setscheduler(0, SCHED_BATCH, &param) == 0);
	CHECK(setpriority(PRIO_PROCESS, 0, 7) == 0);
	case_child_wait();
	/* after the thaw */
	CHECK(prctl(PR_GET_PDEATHSIG, &sig) == 0 && sig == SIGURG);
	CHECK(prctl(PR_GET_NAME, name) == 0 && !strcmp(name, "odd) name (x"));
	CHECK(sched_getscheduler(0) == SCHED_BATCH);
	CHECK(getpriority(PRIO_PROCESS, 0) == 7);
	CHECK(read_long("/proc/self/oom_score_adj") == 321);
	CHECK(umask(0) == 027);
	exit(0);
}

static void before(void)
{
	lower(RLIMIT_CORE, 4096, 1 << 20);
	lower(RLIMIT_NOFILE, 200, 300);
	lower(RLIMIT_STACK, 3 << 20, 5 << 20);
	lower(RLIMIT_FSIZE, 1 << 30, RLIM_INFINITY);
	lower(RLIMIT_SIGPENDING, 500, 600);
	lower(RLIMIT_MSGQUEUE, 1000, 2000);
	CHECK(prctl(PR_SET_NAME, "limits-case") == 0);
	CHECK(prctl(PR_SET_TIMERSLACK, 123456) == 0);
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
	write_text("/proc/self/oom_score_adj", "321");
	umask(027);
	for (int i = 0; i < RLIM_NLIMITS; i++)
		CHECK(getrlimit(i, &want[i]) == 0);
	child = fork();
	if (child == 0)
		child_body();
	CHECK(child > 0);
	case_children_wait(1);
}

static void after(void)
{
	struct rlimit now;
	char name[17] = "";
	int on = 0;

	for (int i = 0; i < RLIM_NLIMITS; i++) {
		CHECK(getrlimit(i, &now) == 0);
		CHECK(now.rlim_cur == want[i].rlim_cur && now.rlim_max == want[i].rlim_max);
	}
	CHECK(prctl(PR_GET_NAME, name) == 0 && !strcmp(name, "limits-case"));
	CHECK(prctl(PR_GET_CHILD_SUBREAPER, &on) == 0 && on == 1);
	CHECK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1);
	CHECK(read_long("/proc/self/oom_score_adj") == 321);
	CHECK(umask(022) == 027);
	case_release();
	case_child_ok(child);
}

const struct test_case test_case = {
	.proves = "limits, umask, name, scheduling, oom score and prctl settings are kept",
	.before = before,
	.after = after,
};
