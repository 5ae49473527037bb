/* SPDX-License-Identifier: MIT */
/*
 * child.c - something that may hang or crash is done by a child, whose words are read.
 *
 * The child has a process group of its own (a terminal's ^C is not for it) and no signal blocked.
 * It is not killed when we die: what it does to a task should be whole.
 *
 * Rights:   to fork.
 * Holds:    nothing between calls.
 */
#include "workers/gpu/nvidia/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "proto/control/util.h"
#include "workers/common/procfs.h"

#define SLICE_MS 100
#define BUSY_PART 20		/* of the time, at least: then it works */
#define BUSY_PAGES 256		/* or so much memory came or went */
#define LOW 10			/* our descriptors lie above what the child moves about */

struct words {
	char *text;
	size_t size, len;
};

int child_pipe(int ends[2], const char *what, struct fault *f)
{
	int low[2], i, r = 0;

	ends[0] = ends[1] = -1;
	if (pipe2(low, O_CLOEXEC) < 0)
		return fault(f, errno, "make a pipe %s", what);
	for (i = 0; i < 2; i++) {
		ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, LOW);
		if (ends[i] < 0)
			r = fault(f, errno, "make a pipe %s", what);
		close(low[i]);
	}
	for (i = 0; i < 2 && r < 0; i++)
		auto_close(&ends[i]);
	return r;
}

static _Noreturn void become(void (*body)(void *arg), void *arg, int out, int busy_fd)
{
	sigset_t none;
	int zero;

	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	zero = open("/dev/null", O_RDONLY);
	if (zero > 0)
		dup2(zero, STDIN_FILENO);
	if (busy_fd >= 0)
		dup2(busy_fd, CHILD_BUSY);
	close_range(busy_fd >= 0 ? CHILD_BUSY + 1 : CHILD_BUSY, ~0u, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	body(arg);
	_exit(127);
}

static unsigned now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000u + t.tv_nsec / 1000000;
}

static uint64_t cpu_of(pid_t pid, pid_t tid)
{
	struct fault none = { 0 };
	struct proc_stat st;

	return pid > 0 && procfs_stat(pid, tid, &st, &none) == 0 ? st.cpu : 0;
}

static long resident(pid_t pid)
{
	AUTO_FREE char *statm = NULL;
	struct fault none = { 0 };
	long pages = 0;

	statm = pid > 0 ? procfs_read(pid, 0, "statm", NULL, &none) : NULL;
	return statm && sscanf(statm, "%*d %ld", &pages) == 1 ? pages : 0;
}

/* What has been done so far. */
struct sign {
	unsigned at_ms;
	uint64_t cpu;		/* ticks */
	long pages;
};

static struct sign look(pid_t child, const struct child_limits *lim)
{
	return (struct sign){
		now_ms(), cpu_of(child, 0) + cpu_of(lim->pid, lim->tid), resident(lim->pid)
	};
}

/* A thread that looks for work now and then is idle; so is not one that moves memory by DMA. */
static bool is_idle(const struct sign *then, const struct sign *now)
{
	unsigned tick_ms = 1000 / sysconf(_SC_CLK_TCK);

	return (now->cpu - then->cpu) * tick_ms * BUSY_PART < now->at_ms - then->at_ms &&
	       labs(now->pages - then->pages) < BUSY_PAGES;
}

/* What is there now; what has no room is dropped. */
static void hear(int fd, struct words *w)
{
	char buf[512], *line;
	ssize_t n;
	size_t room;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		room = w->size - 1 - w->len;
		memcpy(w->text + w->len, buf, (size_t)n < room ? (size_t)n : room);
		w->len += (size_t)n < room ? (size_t)n : room;
	}
	w->text[w->len] = '\0';
	/* A sentence has one line. */
	while (w->len && w->text[w->len - 1] == '\n')
		w->text[--w->len] = '\0';
	for (line = w->text; (line = strchr(line, '\n')); )
		*line = ';';
}

/* Wait until the child has ended: 0, or the limit (ms) that it exceeded. */
static unsigned watch(pid_t child, int pidfd, int out, const struct child_limits *lim,
		      struct words *w)
{
	struct pollfd p[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = out, .events = POLLIN } };
	struct sign begun = look(child, lim), before = begun, now;

	for (;;) {
		if (poll(p, 2, SLICE_MS) > 0) {
			hear(out, w);
			if (p[0].revents)
				return 0;
			if (p[1].revents & POLLHUP)
				p[1].fd = -1;
		}
		/* Also a sign of life of ours, for the coordinator: it counts what we read. */
		now = look(child, lim);
		if (lim->max_ms && now.at_ms - begun.at_ms > lim->max_ms)
			return lim->max_ms;
		if (!lim->idle_ms || now.at_ms - before.at_ms < lim->idle_ms)
			continue;
		if (is_idle(&before, &now))
			return lim->idle_ms;
		before = now;
	}
}

int child_run(void (*body)(void *arg), void *arg, int busy_fd, const struct child_limits *lim,
	      char *said, size_t size, struct fault *f)
{
	AUTO_CLOSE int out = -1, pidfd = -1;
	struct words w = { said, size, 0 };
	unsigned over;
	int ends[2], status = 0;
	pid_t child;

	said[0] = '\0';
	if (child_pipe(ends, "from a child", f) < 0)
		return -1;
	out = ends[0];
	fcntl(out, F_SETFL, O_NONBLOCK);
	child = fork();
	if (child == 0)
		become(body, arg, ends[1], busy_fd);
	close(ends[1]);
	if (child < 0)
		return fault(f, errno, "fork");
	pidfd = syscall(SYS_pidfd_open, child, 0);
	if (pidfd < 0)
		fault(f, errno, "watch a child");
	over = pidfd < 0 ? 1 : watch(child, pidfd, out, lim, &w);
	if (over)
		kill(child, SIGKILL);
	waitpid(child, &status, 0);
	if (pidfd < 0)
		return -1;
	hear(out, &w);
	if (over)
		return fault(f, -ETIMEDOUT, "no end after %u s%s%s", (over + 999) / 1000,
			     *said ? "; it said: " : "", said);
	if (WIFSIGNALED(status))
		return fault(f, -EIO, "it was killed by signal %d (%s)%s%s", WTERMSIG(status),
			     strsignal(WTERMSIG(status)), *said ? "; it said: " : "", said);
	return WEXITSTATUS(status);
}
