/* SPDX-License-Identifier: MIT */
/*
 * inject_test.c - freeze, inject, eject and thaw a busy task, killed at any moment: it never
 * notices.
 *
 * Usage: inject_test [RANDOM-KILLS]	(default 40 for each kind of target)
 */
#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/freeze.h"
#include "coordinator/inject.h"
#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "tests/programs/inject_target.h"
#include "workers/common/procfs.h"

/* Each run of the sequence is a process of its own, the one that is killed. */
enum { RUN_OK = 0, RUN_FAULT = 9 };

/* The target and what it was like before. */
struct subject {
	struct target_page *page;
	pid_t pid;
	char *maps;
	uint64_t blocked;		/* of the main thread */
	uint64_t sent;			/* signals */
	enum target_work lead;
	enum target_kind kind;
};

static int random_kills = 40;
static char program[512];		/* inject_target */

/* ---- the sequence under test ---- */

static int sequence(pid_t pid, struct fault *f)
{
	Options opts = OPTIONS__INIT;
	struct job job = { .opts = &opts };

	opts.has_pid = opts.has_timeout_s = true;
	opts.pid = pid;
	opts.timeout_s = 10;
	if (freeze_tree(&job, f) < 0)
		return -1;
	if (inject_all(&job, f) == 0)
		inject_thread_facts(&job, NULL, NULL, f);
	eject_all(&job);
	thaw_tree(&job, THAW_RUN);
	return f->code ? -1 : 0;
}

static pid_t start_sequence(pid_t pid, const char *kill_at)
{
	struct fault f = { 0 };
	pid_t p = fork();

	if (p)
		return p;
	if (kill_at)
		setenv("STASIS_KILL_AT", kill_at, 1);
	if (sequence(pid, &f) == 0)
		_exit(RUN_OK);
	fprintf(stderr, "sequence: %s\n", f.text);
	_exit(RUN_FAULT);
}

/* ---- the target ---- */

static pid_t target_start(int page_fd, enum target_work lead, enum target_kind kind)
{
	char a[3][16];
	pid_t pid = fork();

	if (pid)
		return pid;
	snprintf(a[0], sizeof(a[0]), "%d", lead);
	snprintf(a[1], sizeof(a[1]), "%d", kind);
	snprintf(a[2], sizeof(a[2]), "%d", page_fd);
	execl(program, program, a[0], a[1], a[2], NULL);
	fprintf(stderr, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

static void subject_end(struct subject *s)
{
	if (s->pid) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	free(s->maps);
	munmap(s->page, 4096);
}

/* Wait until it is ready, however long it takes to start. */
static bool await_ready(struct subject *s)
{
	while (!s->page->ready && waitpid(s->pid, NULL, WNOHANG) == 0)
		usleep(1000);
	return s->page->ready == 1;
}

static bool subject_start(struct subject *s, enum target_work lead, enum target_kind kind)
{
	struct proc_status st = { 0 };
	struct fault f = { 0 };
	AUTO_CLOSE int fd = -1;

	memset(s, 0, sizeof(*s));
	s->lead = lead;
	s->kind = kind;
	fd = memfd_create("page", 0);
	if (ftruncate(fd, 4096) < 0)
		return false;
	s->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	s->pid = target_start(fd, lead, kind);
	if (!await_ready(s)) {
		subject_end(s);
		return false;
	}
	s->maps = procfs_read(s->pid, 0, "maps", NULL, &f);
	procfs_status(s->pid, 0, &st, &f);
	s->blocked = st.sig_blocked;
	proc_status_free(&st);
	return true;
}

static bool all_moved(const struct subject *s, const uint64_t before[TARGET_THREADS])
{
	int i;

	for (i = 0; i < TARGET_THREADS; i++)
		if (s->page->count[i] == before[i])
			return false;
	return s->page->signals == s->sent;
}

/* Every thread goes on, and every signal arrived. */
static bool goes_on(const struct subject *s)
{
	uint64_t before[TARGET_THREADS];
	int i;

	for (i = 0; i < TARGET_THREADS; i++)
		before[i] = s->page->count[i];
	for (i = 0; i < 1000 && !all_moved(s, before) && !s->page->wrong; i++)
		usleep(2000);
	for (i = 0; i < TARGET_THREADS; i++)
		if (s->page->count[i] == before[i])
			fprintf(stderr, "thread %d stands still\n", i);
	if (s->page->signals != s->sent)
		fprintf(stderr, "signals sent %lu, arrived %lu\n", s->sent, s->page->signals);
	return all_moved(s, before);
}

static bool same_maps(const struct subject *s)
{
	AUTO_FREE char *maps = NULL;
	struct fault f = { 0 };
	int i;

	/* Its own way home may take a moment. */
	for (i = 0; i < 500; i++) {
		free(take_ptr(&maps));
		maps = procfs_read(s->pid, 0, "maps", NULL, &f);
		if (maps && !strcmp(maps, s->maps))
			return true;
		usleep(1000);
	}
	fprintf(stderr, "maps now:\n%s", maps ? maps : "(none)");
	return false;
}

/* The first thing found wrong, or NULL. */
static const char *harm(struct subject *s)
{
	struct proc_status st = { 0 };
	struct fault f = { 0 };
	struct proc_stat stat;
	AUTO_FREE pid_t *ids = NULL;
	size_t n;

	if (waitpid(s->pid, NULL, WNOHANG) != 0) {
		s->pid = 0;
		if (s->page->wrong)
			fprintf(stderr, "inject_target.c:%u detail %ld\n", s->page->wrong,
				(long)s->page->detail);
		return s->page->wrong ? "the target noticed" : "the target died";
	}
	if (!goes_on(s))
		return "it does not go on";
	if (procfs_status(s->pid, 0, &st, &f) < 0 || procfs_stat(s->pid, 0, &stat, &f) < 0)
		return "it is gone";
	proc_status_free(&st);
	if (st.tracer || stat.state == 'T' || stat.state == 't')
		return "it is traced or stopped";
	if (st.sig_blocked != s->blocked)
		return "its signal mask changed";
	if (procfs_threads(s->pid, &ids, &n, &f) < 0 || n != TARGET_THREADS)
		return "its number of threads changed";
	return same_maps(s) ? NULL : "its mappings changed";
}

/* Report harm and replace the target. */
static bool unharmed(struct subject *s, const char *when, long at)
{
	const char *what = harm(s);

	if (!what)
		return true;
	fprintf(stderr, "%s %ld (lead %d, kind %d): %s\n", when, at, s->lead, s->kind, what);
	subject_end(s);
	subject_start(s, s->lead, s->kind);
	return false;
}

/* ---- properties ---- */

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int finish(pid_t p)
{
	int status;

	waitpid(p, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void try_whole(enum target_work lead, enum target_kind kind)
{
	struct subject s;
	int i;

	if (!subject_start(&s, lead, kind)) {
		check_skip("this kernel has no such protection");
		return;
	}
	for (i = 0; i < 5; i++) {
		CHECK(finish(start_sequence(s.pid, NULL)) == RUN_OK);
		CHECK(unharmed(&s, "run", i));
	}
	subject_end(&s);
}

static void whole(void)
{
	int lead;

	for (lead = 0; lead < WORK_COUNT; lead++)
		try_whole(lead, TARGET_PLAIN);
}

static void whole_mdwe(void)
{
	try_whole(WORK_CALLS, TARGET_MDWE);
}

static void whole_seccomp(void)
{
	try_whole(WORK_CALLS, TARGET_SECCOMP);
	try_whole(WORK_CALLS, TARGET_STRICT);
}

static void try_steps(enum target_work lead, enum target_kind kind, int stride)
{
	struct subject s;
	char at[16];
	int n, r;

	if (!subject_start(&s, lead, kind)) {
		check_skip("this kernel has no such protection");
		return;
	}
	for (n = 1;; n += stride) {
		snprintf(at, sizeof(at), "%d", n);
		r = finish(start_sequence(s.pid, at));
		CHECK(r == RUN_OK || r == -SIGKILL);
		CHECK(unharmed(&s, "step", n));
		if (r != -SIGKILL)
			break;
	}
	subject_end(&s);
}

static void every_step(void)
{
	try_steps(WORK_SLEEP, TARGET_PLAIN, 1);
}

static void many_steps(void)
{
	try_steps(WORK_COMPUTE, TARGET_PLAIN, 7);
	try_steps(WORK_READ, TARGET_PLAIN, 7);
	try_steps(WORK_RSEQ, TARGET_PLAIN, 7);
}

static void steps_mdwe(void)
{
	try_steps(WORK_CALLS, TARGET_MDWE, 3);
}

static void steps_seccomp(void)
{
	try_steps(WORK_CALLS, TARGET_STRICT, 3);
}

/* Kill it somewhere within the time it takes; in a storm the target gets signals meanwhile. */
static int kill_somewhere(struct subject *s, double span_us, bool storm)
{
	double end;
	pid_t p = start_sequence(s->pid, NULL);

	end = now_us() + span_us * rand() / RAND_MAX;
	while (now_us() < end) {
		if (storm && s->sent - s->page->signals < 100 &&
		    sigqueue(s->pid, SIGRTMIN, (union sigval){ 0 }) == 0)
			s->sent++;
		usleep(storm ? 3 : 20);
	}
	kill(p, SIGKILL);
	return finish(p);
}

static void try_random(enum target_work lead, bool storm)
{
	struct subject s;
	double start, span;
	int i, r, killed = 0;

	CHECK(subject_start(&s, lead, TARGET_PLAIN));
	start = now_us();
	CHECK(finish(start_sequence(s.pid, NULL)) == RUN_OK);
	span = 1.3 * (now_us() - start);
	for (i = 0; i < random_kills; i++) {
		r = kill_somewhere(&s, span, storm);
		CHECK(r == RUN_OK || r == -SIGKILL);
		killed += r == -SIGKILL;
		CHECK(unharmed(&s, storm ? "storm kill" : "random kill", i));
	}
	fprintf(stderr, "lead %d%s: %d of %d killed midway, %lu signals\n", lead,
		storm ? " in a storm" : "", killed, random_kills, s.sent);
	subject_end(&s);
}

static void random_moments(void)
{
	try_random(WORK_SLEEP, false);
	try_random(WORK_COMPUTE, false);
}

static void random_storm(void)
{
	try_random(WORK_CALLS, true);
}

/* Wait until it is: a tracer that dies leaves it to get there by itself. */
static bool is_stopped(const struct subject *s)
{
	struct fault f = { 0 };
	struct proc_stat st;
	int i;

	for (i = 0; i < 5000; i++) {
		if (procfs_stat(s->pid, 0, &st, &f) == 0 && st.state == 'T')
			return true;
		usleep(1000);
	}
	return false;
}

/* A stopped target stays stopped, and goes on when it is continued. */
static void stopped_target(void)
{
	struct subject s;
	struct proc_stat st;
	struct fault f = { 0 };
	char at[16];
	int n, r;

	CHECK(subject_start(&s, WORK_SLEEP, TARGET_PLAIN));
	for (n = 1;; n += 3) {
		kill(s.pid, SIGSTOP);
		waitpid(s.pid, NULL, WUNTRACED);
		snprintf(at, sizeof(at), "%d", n);
		r = finish(start_sequence(s.pid, at));
		CHECK(r == RUN_OK || r == -SIGKILL);
		if (!CHECK(is_stopped(&s)))
			break;
		usleep(2000);
		CHECK(procfs_stat(s.pid, 0, &st, &f) == 0 && st.state == 'T');
		CHECK(waitpid(s.pid, NULL, WUNTRACED | WNOHANG) == 0);
		kill(s.pid, SIGCONT);
		CHECK(unharmed(&s, "stopped, step", n));
		if (r != -SIGKILL)
			break;
	}
	subject_end(&s);
}

/* SIGSTOP cannot be blocked: it reaches agents and guests too. Every other time we are killed. */
static void stopped_meanwhile(void)
{
	struct subject s;
	double end;
	pid_t p;
	int i, r;

	CHECK(subject_start(&s, WORK_SLEEP, TARGET_PLAIN));
	for (i = 0; i < random_kills; i++) {
		p = start_sequence(s.pid, NULL);
		end = now_us() + 4000.0 * rand() / RAND_MAX;
		while (now_us() < end)
			;
		kill(s.pid, SIGSTOP);
		if (i % 2) {
			usleep(rand() % 1000);
			kill(p, SIGKILL);
		}
		r = finish(p);
		CHECK(r == RUN_OK || r == -SIGKILL);
		if (!CHECK(is_stopped(&s)))
			break;
		while (waitpid(s.pid, NULL, WUNTRACED | WNOHANG) > 0)
			;
		kill(s.pid, SIGCONT);
		CHECK(unharmed(&s, "stop", i));
	}
	subject_end(&s);
}

int main(int argc, char **argv)
{
	if (geteuid()) {
		printf("skip - all: needs root\n");
		return 77;
	}
	if (argc > 1)
		random_kills = atoi(argv[1]);
	snprintf(program, sizeof(program), "%s/../programs/inject_target", dirname(argv[0]));
	srand(getpid());
	check_run("a whole sequence alters nothing", whole);
	check_run("nor in a task that refuses writable code (MDWE)", whole_mdwe);
	check_run("nor in a task with a seccomp filter", whole_seccomp);
	check_run("killed after every step, nothing is altered", every_step);
	check_run("killed after some steps, whatever the main thread does", many_steps);
	check_run("killed after some steps, with MDWE", steps_mdwe);
	check_run("killed after some steps, with seccomp", steps_seccomp);
	check_run("killed at random moments, nothing is altered", random_moments);
	check_run("killed in a signal storm, no signal is lost", random_storm);
	check_run("a stopped task stays stopped, and goes on later", stopped_target);
	check_run("a stop that comes meanwhile takes effect, and alters nothing",
		  stopped_meanwhile);
	return check_done();
}
