/* SPDX-License-Identifier: MIT */
/*
 * main.c - the stasis command: options, directories, log, then one operation.
 *
 * Rights:   whatever the caller has.
 * Holds:    the image and work directories and the log, for the whole run.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "coordinator/check.h"
#include "coordinator/crew.h"
#include "coordinator/job.h"
#include "coordinator/options.h"
#include "coordinator/replay.h"
#include "coordinator/survey.h"
#include "coordinator/timeline.h"
#include "coordinator/trace.h"
#include "proto/control/util.h"
#include "proto/images/show.h"
#include "workers/common/log.h"

/* The version of CRIU whose images, options and behaviour we speak; tools compare it. */
#define CRIU_VERSION "4.2"

/* After an operation met a state that passes: a try that begins later than so long is the last. */
#define TRY_FOR_MS 1000
#define TRY_UNTIL "STASIS_TRY_UNTIL"	/* CLOCK_MONOTONIC in milliseconds */

static const char *command_name(const struct cmdline *c)
{
	static const char *const names[] = {
		[CMD_DUMP] = "dump", [CMD_RESTORE] = "restore", [CMD_CHECK] = "check",
		[CMD_SHOW] = "show", [CMD_REPLAY] = "replay", [CMD_TIMELINE] = "timeline",
	};

	return names[c->command];
}

static int open_directory(const char *what, const char *path, struct fault *f)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? fault(f, errno, "%s %s", what, path) : fd;
}

/* Until when an earlier try of this operation allows more; 0: this is the first. */
static int64_t try_until_ms(void)
{
	const char *until = getenv(TRY_UNTIL);

	return until ? atoll(until) : 0;
}

/*
 * May this operation be tried again, should it meet a state that passes by itself? Scripts would
 * run for each try, and workers started by hand serve one.
 */
static bool may_repeat(const struct cmdline *c)
{
	int64_t until = try_until_ms();

	return (c->command == CMD_DUMP || c->command == CMD_CHECK) && !c->opts->action_script &&
	       !c->opts->n_worker && (!until || monotonic_ms() <= until);
}

static int open_log(struct job *job, struct fault *f)
{
	const Options *o = job->opts;
	char path[4096];
	int fd;

	if (!o->log_file)
		return 2;
	if (o->log_pid)
		snprintf(path, sizeof(path), "%s.%d", o->log_file, getpid());
	else
		snprintf(path, sizeof(path), "%s", o->log_file);
	fd = openat(job->work_dir, path, O_WRONLY | O_CREAT | (try_until_ms() ? 0 : O_TRUNC) |
		    O_APPEND | O_CLOEXEC, 0600);
	return fd < 0 ? fault(f, errno, "log file %s", path) : fd;
}

/* A descriptor that the options speak of, kept close-on-exec above the standard ones. */
static int add_option_fd(struct job *job, int fd, struct fault *f)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return fault(f, errno, "descriptor %d named on the command line", fd);
	job->opt_fds = xrealloc(job->opt_fds, job->nopt_fds + 1, sizeof(int));
	job->opt_fds[job->nopt_fds++] = copy;
	return 0;
}

static int add_option_fds(struct job *job, const struct cmdline *c, struct fault *f)
{
	size_t i;

	for (i = 0; i < c->ninherit; i++)
		if (add_option_fd(job, c->inherit_fds[i], f) < 0)
			return -1;
	if (!job->opts->shell_job || !isatty(0))
		return 0;
	job->opts->has_tty_fd_index = 1;
	job->opts->tty_fd_index = job->nopt_fds;
	return add_option_fd(job, 0, f);
}

/* What we change of ourselves and --exec-cmd's command is to find as it was. */
struct start {
	struct rlimit descriptors;
	sigset_t mask;
	void (*on_sigpipe)(int);
};

/*
 * Many descriptors of ours. Those of restored tasks are put at the numbers they had before the
 * tasks' own limits are: until then tasks have ours.
 */
static void set_out(struct start *s)
{
	struct rlimit lim;

	sigprocmask(SIG_BLOCK, NULL, &s->mask);
	s->on_sigpipe = signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &s->descriptors) == 0) {
		lim = s->descriptors;
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

/* --exec-cmd: the command takes our place; the tree is its child. */
static int become_command(const struct cmdline *c, const struct start *s, struct fault *f)
{
	signal(SIGPIPE, s->on_sigpipe);
	sigprocmask(SIG_SETMASK, &s->mask, NULL);
	setrlimit(RLIMIT_NOFILE, &s->descriptors);
	execvp(c->args[0], c->args);
	return fault(f, errno, "the tree runs, but not --exec-cmd's command %s", c->args[0]);
}

/* Directories, log, descriptors. */
static int prepare(struct job *job, const struct cmdline *c, struct fault *f)
{
	Options *o = job->opts;
	int log;

	if (!o->images_dir)
		o->images_dir = xstrdup(".");
	if (!o->libdir && getenv("CRIU_LIBS_DIR"))
		o->libdir = xstrdup(getenv("CRIU_LIBS_DIR"));
	job->image_dir = open_directory("images directory", o->images_dir, f);
	if (job->image_dir < 0)
		return -1;
	job->work_dir = open_directory("work directory", o->work_dir ? o->work_dir : o->images_dir,
				       f);
	if (job->work_dir < 0)
		return -1;
	log = open_log(job, f);
	if (log < 0)
		return -1;
	log_init(log, o->log_level, "stasis", &job->start);
	log_info("Stasis (CRIU %s images), %s", CRIU_VERSION, command_name(c));
	if (o->trace && c->command != CMD_CHECK) {
		job->trace = trace_open(job, o->trace, f);
		if (!job->trace)
			return -1;
	}
	return add_option_fds(job, c, f);
}

/* The status: of "check PID", would a dump succeed? Of "replay", was all the same? */
static int run(struct job *job, const struct cmdline *c, struct fault *f)
{
	int r;

	if (c->command == CMD_DUMP)
		return dump(job, f);
	if (c->command == CMD_RESTORE)
		return restore(job, f);
	if (c->command == CMD_REPLAY)
		return replay(job, c->args[0], f);
	r = survey(job, f);
	return r > 0 ? 1 : r;
}

/*
 * Some states pass by themselves and cannot be dumped (EAGAIN): under load there is always a
 * connection that waits to be accepted, or a vfork. Then all was undone, the tree runs on for a
 * moment, and a fresh stasis tries again: workers can only be forked before the bus is open. Until
 * when is in the environment.
 */
static void try_again(char **argv, const struct fault *f)
{
	struct timespec pause = { 0 }, now;
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)monotonic_ms() + TRY_FOR_MS);
	setenv(TRY_UNTIL, text, 0);
	log_info("trying again, for this may pass: %s", f->text);
	/* Not in step with the program. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	pause.tv_nsec = 5000000 + now.tv_nsec % 50000000;
	nanosleep(&pause, NULL);
	execv("/proc/self/exe", argv);
}

static int operate(const struct cmdline *c, char **argv)
{
	struct job job = { .opts = c->opts, .image_dir = -1, .work_dir = -1,
			   .network_lock = -1, .may_repeat = may_repeat(c) };
	struct fault f = { 0 };
	struct start start;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &job.start);
	log_init(STDERR_FILENO, job.opts->log_level, "stasis", &job.start);
	set_out(&start);
	r = prepare(&job, c, &f);
	if (r == 0)
		r = run(&job, c, &f);
	crew_stop(job.crew);
	trace_close(job.trace);
	if (r == 0 && c->exec_cmd)
		r = become_command(c, &start, &f);
	if (r >= 0)
		return r;
	if (f.code == EAGAIN && job.may_repeat)
		try_again(argv, &f);
	/* Once: in the log, and last on stderr. */
	if (log_fd() != STDERR_FILENO)
		log_error("%s FAILED: %s", c->command == CMD_DUMP ? "Dumping" :
			  c->command == CMD_RESTORE ? "Restoring" : c->command == CMD_CHECK ?
			  "Checking" : "Replaying", f.text);
	fprintf(stderr, "stasis %s: %s\n", command_name(c), f.text);
	return 1;
}

static int show(const struct cmdline *c)
{
	struct fault f = { 0 };
	struct stat st;
	int i, r = 0;

	for (i = 0; i < c->nargs && r == 0; i++) {
		if (stat(c->args[i], &st) < 0)
			r = fault(&f, errno, "%s", c->args[i]);
		else if (S_ISDIR(st.st_mode))
			r = show_dir(c->args[i], c->json, stdout, &f);
		else
			r = show_file(c->args[i], c->json, stdout, &f);
	}
	if (!c->nargs)
		r = fault(&f, -EINVAL, "name an image file or a directory of images");
	if (r == 0 && fflush(stdout))
		r = fault(&f, errno, "standard output");
	if (r < 0)
		fprintf(stderr, "stasis show: %s\n", f.text);
	return r < 0 ? 1 : 0;
}

static int draw(const struct cmdline *c)
{
	struct fault f = { 0 };

	if (timeline(c->args[0], c->opts->log_file, &f) == 0)
		return 0;
	fprintf(stderr, "stasis timeline: %s\n", f.text);
	return 1;
}

int main(int argc, char **argv)
{
	struct fault f = { 0 };
	struct cmdline c;

	if (argc == 4 && !strcmp(argv[1], CREW_BECOME))
		crew_become(argv[2], atoi(argv[3]));
	if (options_parse(&c, argc, argv, &f) < 0) {
		fprintf(stderr, "stasis: %s\n", f.text);
		return f.code == EOPNOTSUPP ? 1 : 2;
	}
	switch (c.command) {
	case CMD_HELP:
		options_usage();
		return 0;
	case CMD_VERSION:
		printf("Version: %s\n", CRIU_VERSION);
		return 0;
	case CMD_CHECK:
		return c.opts->has_pid ? operate(&c, argv) : check(&c);
	case CMD_SHOW:
		return show(&c);
	case CMD_TIMELINE:
		return draw(&c);
	default:
		return operate(&c, argv);
	}
}
