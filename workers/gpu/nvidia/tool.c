/* SPDX-License-Identifier: MIT */
/*
 * tool.c - NVIDIA's checkpoint interface: libcuda's cuCheckpointProcess* or the program cuda-
 * checkpoint.
 *
 * What the program is told and says: its --help of driver 570, and what CRIU's plugin relies on.
 *
 * Rights:   to fork, to run the program; ptrace access to the tasks, which the child inherits.
 * Holds:    nothing between calls.
 */
#include "workers/gpu/nvidia/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/gpu/nvidia/child.h"
#include "workers/gpu/nvidia/libcuda.h"

#define LIBRARY "libcuda.so.1"
#define PROGRAM "cuda-checkpoint"
#define SWITCH "STASIS_CUDA"
#define SAID 300		/* of its words in a fault */
#define HELP 4096
#define SLACK_MS 5000		/* a tool that limits the time itself may be so late */
#define ASK_MS 10000		/* to tell a number, or about itself */

struct call {
	const struct tool *tool;
	enum tool_deed deed;
	pid_t pid;
	bool probe;
};

static const char *const names[] = {
	[TOOL_LOCK] = "lock",
	[TOOL_CHECKPOINT] = "checkpoint",
	[TOOL_RESTORE] = "restore",
	[TOOL_UNLOCK] = "unlock",
};

/* ---- in the child ---- */

static _Noreturn void run_program(const struct call *c)
{
	const char *argv[9] = { PROGRAM };
	char pid[16], timeout[16];
	size_t n = 1;

	snprintf(pid, sizeof(pid), "%d", c->pid);
	snprintf(timeout, sizeof(timeout), "%u", c->tool->patience_ms);
	if (c->probe) {
		argv[n++] = "--help";
	} else if (c->deed == TOOL_GET_STATE || c->deed == TOOL_GET_TID) {
		argv[n++] = c->deed == TOOL_GET_STATE ? "--get-state" : "--get-restore-tid";
	} else {
		argv[n++] = "--action";
		argv[n++] = names[c->deed];
	}
	if (!c->probe) {
		argv[n++] = "--pid";
		argv[n++] = pid;
	}
	if (!c->probe && c->deed == TOOL_LOCK && c->tool->has_timeout && c->tool->patience_ms) {
		argv[n++] = "--timeout";
		argv[n++] = timeout;
	}
	execv(c->tool->path, (char **)argv);
	dprintf(STDOUT_FILENO, "cannot be run: %s", strerror(errno));
	_exit(127);
}

static void body(void *arg)
{
	const struct call *c = arg;

	if (c->tool->kind == TOOL_PROGRAM)
		run_program(c);
	if (c->probe)
		libcuda_probe(c->tool->path);
	libcuda_call(c->tool->path, c->deed, c->pid, c->tool->patience_ms);
}

/* ---- which ---- */

static int probe(struct tool *t, char *said, size_t size, struct fault *f)
{
	struct child_limits lim = { .max_ms = ASK_MS };
	struct call c = { t, TOOL_GET_STATE, 0, true };

	return child_run(body, &c, -1, &lim, said, size, f);
}

/* 0, or why it is of no use. */
static int try_library(struct tool *t, const char *path, char *why, size_t size)
{
	struct fault f = { 0 };
	char said[SAID];
	int r;

	t->kind = TOOL_LIBCUDA;
	t->path = xstrdup(path);
	t->has_timeout = true;
	r = probe(t, said, sizeof(said), &f);
	if (r == LIBCUDA_DONE)
		return 0;
	snprintf(why, size, "%s: %.160s", path, r < 0 ? f.text : said);
	tool_forget(t);
	return -1;
}

static int try_program(struct tool *t, const char *path, char *why, size_t size)
{
	struct fault f = { 0 };
	char said[HELP];
	int r;

	t->kind = TOOL_PROGRAM;
	t->path = xstrdup(path);
	r = probe(t, said, sizeof(said), &f);
	t->has_timeout = r >= 0 && strstr(said, "--timeout");
	if (r >= 0 && strstr(said, "--action"))
		return 0;
	if (r < 0)
		snprintf(why, size, "%s: %.160s", path, f.text);
	else if (r)
		snprintf(why, size, "%s: status %d (%.100s)", path, r, said);
	else
		snprintf(why, size, "%s is too old: it has no --action", path);
	tool_forget(t);
	return -1;
}

static bool is_program(const char *path)
{
	struct stat st;

	return access(path, X_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int search_program(struct tool *t, char *why, size_t size)
{
	const char *dir = getenv("PATH"), *end;
	char path[PATH_MAX];

	for (; dir && *dir; dir = *end ? end + 1 : end) {
		end = strchrnul(dir, ':');
		if (*dir != '/' || snprintf(path, sizeof(path), "%.*s/" PROGRAM, (int)(end - dir),
					    dir) >= (int)sizeof(path))
			continue;
		if (is_program(path))
			return try_program(t, path, why, size);
	}
	snprintf(why, size, PROGRAM " is not in PATH");
	return -1;
}

int tool_find(struct tool *t, struct fault *f)
{
	const char *choice = getenv(SWITCH), *base;
	char library[SAID] = "", program[SAID] = "";
	int r = -1;

	if (choice && *choice == '/') {
		base = strrchr(choice, '/') + 1;
		r = !strncmp(base, "libcuda.so", 10) ? try_library(t, choice, library, SAID) :
		    try_program(t, choice, program, SAID);
	} else if (choice && strcmp(choice, "libcuda") && strcmp(choice, "program")) {
		return fault(f, -EINVAL, SWITCH "=%s: it may be libcuda, program, or the absolute "
			     "path of a " LIBRARY " or a " PROGRAM, choice);
	} else {
		if (!choice || !strcmp(choice, "libcuda"))
			r = try_library(t, LIBRARY, library, SAID);
		if (r < 0 && (!choice || !strcmp(choice, "program")))
			r = search_program(t, program, SAID);
	}
	if (r == 0)
		return 0;
	return fault(f, -ENOTSUP, "NVIDIA's checkpoint interface is not to be had "
		     "(%.120s%s%.120s): install driver 570 or later, or put cuda-checkpoint of 555 "
		     "or later in PATH", library, *library && *program ? "; " : "", program);
}

void tool_forget(struct tool *t)
{
	free(take_ptr(&t->path));
	t->kind = TOOL_NONE;
	t->has_timeout = false;
}

/* ---- calls ---- */

/* Its exit status; -1 with f set. */
static int call(const struct tool *t, enum tool_deed deed, pid_t pid, pid_t tid, char *said,
		struct fault *f)
{
	struct call c = { t, deed, pid, false };
	struct child_limits lim = { .pid = tid ? pid : 0, .tid = tid };

	if (deed == TOOL_GET_STATE || deed == TOOL_GET_TID)
		lim.max_ms = ASK_MS;
	else if (deed == TOOL_LOCK)
		lim.max_ms = t->patience_ms ? t->patience_ms + SLACK_MS : 0;
	else
		lim.idle_ms = t->patience_ms;
	return child_run(body, &c, t->busy_fd, &lim, said, SAID, f);
}

/* How the tool is named in a fault. */
static const char *name_of(const struct tool *t)
{
	return t->kind == TOOL_PROGRAM ? PROGRAM : "libcuda";
}

static int not_understood(const struct tool *t, int r, const char *said, struct fault *f)
{
	return fault(f, -EIO, "%s: %s (status %d)", name_of(t), *said ? said : "not a word", r);
}

/* The program says a word; libcuda.c says the number. */
static int parse_state(const char *said)
{
	static const char *const words[] = { "running", "locked", "checkpointed", "failed" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(words); i++)
		if (!strncmp(said, words[i], strlen(words[i])) ||
		    (said[0] == (char)('0' + i) && !said[1]))
			return i;
	return CUDA_CHANGING;
}

int tool_state(const struct tool *t, pid_t pid, struct fault *f)
{
	char said[SAID];
	int r = call(t, TOOL_GET_STATE, pid, 0, said, f);

	if (r < 0)
		return fault_prefix(f, "ask %s for its CUDA state", name_of(t));
	if (r || !*said) {
		not_understood(t, r, said, f);
		return fault_prefix(f, "its CUDA state");
	}
	return parse_state(said);
}

int tool_restore_tid(const struct tool *t, pid_t pid, pid_t *tid, struct fault *f)
{
	char said[SAID], *end;
	int r = call(t, TOOL_GET_TID, pid, 0, said, f);
	long n;

	if (r < 0)
		return fault_prefix(f, "ask %s for its restore thread", name_of(t));
	n = r == 0 ? strtol(said, &end, 10) : 0;
	if (r == 0 && n > 0 && n < INT_MAX && (!*end || *end == ';')) {
		*tid = n;
		return 1;
	}
	not_understood(t, r, said, f);
	/* The program has one status for all that goes wrong, as CRIU takes it. */
	if (r && (t->kind == TOOL_PROGRAM || r == LIBCUDA_NO_CUDA_TASK))
		return 0;
	return fault_prefix(f, "its restore thread");
}

int tool_do(const struct tool *t, enum tool_deed deed, pid_t pid, pid_t tid, struct fault *f)
{
	char said[SAID];
	int r = call(t, deed, pid, tid, said, f);

	if (r > 0)
		r = not_understood(t, r, said, f);
	return r < 0 ? fault_prefix(f, "CUDA's %s", names[deed]) : 0;
}
