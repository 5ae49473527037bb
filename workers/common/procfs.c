/* SPDX-License-Identifier: MIT */
/*
 * procfs.c - read and parse what /proc says of a task or a thread.
 *
 * The kernel writes these files, yet the parsers trust nothing: a text that is not understood
 * is a fault, never a guess. A file is read with one read(2) where it fits, so that its lines
 * belong to one moment.
 *
 * Rights:   /proc of the tasks; for other users' tasks CAP_SYS_PTRACE.
 * Holds:    nothing.
 */
#include "workers/common/procfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "proto/control/util.h"

#define OF_A_THREAD O_EXCL		/* PIDFD_THREAD */

#define MANY_THREADS 256	/* from here on one look at all of /proc is cheaper than theirs */
#define FIRST_READ 4096		/* enough for stat, status, limits of nearly every task */

/* All the rest of a descriptor, NUL-terminated. NULL with errno set. */
static char *read_all(int fd, size_t *len)
{
	AUTO_FREE char *buf = NULL;
	size_t n = 0, cap = FIRST_READ;
	ssize_t r;

	buf = xcalloc(1, cap);
	while ((r = read(fd, buf + n, cap - n - 1)) != 0) {
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return NULL;
		n += r;
		if (n + 1 == cap) {
			cap *= 2;
			buf = xrealloc(buf, cap, 1);
		}
	}
	buf[n] = '\0';
	if (len)
		*len = n;
	return take_ptr(&buf);
}

static void task_path(char *path, size_t size, pid_t pid, pid_t tid, const char *name)
{
	if (tid)
		snprintf(path, size, "/proc/%d/task/%d/%s", pid, tid, name);
	else
		snprintf(path, size, "/proc/%d/%s", pid, name);
}

char *procfs_read(pid_t pid, pid_t tid, const char *name, size_t *len, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	char path[80];
	char *text;

	task_path(path, sizeof(path), pid, tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		fault(f, errno, "open %s", path);
		return NULL;
	}
	text = read_all(fd, len);
	if (!text)
		fault(f, errno, "read %s", path);
	return text;
}

static int not_understood(struct fault *f, pid_t pid, pid_t tid, const char *name)
{
	char path[80];

	task_path(path, sizeof(path), pid, tid, name);
	return fault(f, -EPROTO, "%s has a form this version does not know; a newer kernel?", path);
}

/* ---- stat ---- */

/* The name stands in parentheses and may hold anything: it ends at the last one. */
int parse_stat(const char *text, struct proc_stat *s)
{
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	uint64_t user, system;
	const char *p;
	size_t n;
	int field;

	memset(s, 0, sizeof(*s));
	if (!open || !close || close < open || sscanf(text, "%d", &s->pid) != 1)
		return -1;
	n = close - open - 1;
	if (n >= sizeof(s->comm))
		n = sizeof(s->comm) - 1;
	memcpy(s->comm, open + 1, n);
	if (sscanf(close + 1, " %c %d %d %d %*d %*d %" SCNu32 " %*u %*u %*u %*u %" SCNu64
		   " %" SCNu64 " %*d %*d %*d %*d %*d %*d %" SCNu64, &s->state, &s->ppid, &s->pgid,
		   &s->sid, &s->flags, &user, &system, &s->started) != 8)
		return -1;
	s->cpu = user + system;
	/* The state is field 3, the exit code field 52. */
	p = close + 1;
	for (field = 2; *p; p++)
		if (*p == ' ' && ++field == 52)
			return sscanf(p, "%" SCNd32, &s->exit_code) == 1 ? 0 : -1;
	return -1;
}

int procfs_stat(pid_t pid, pid_t tid, struct proc_stat *s, struct fault *f)
{
	AUTO_FREE char *text = procfs_read(pid, tid, "stat", NULL, f);

	if (!text)
		return -1;
	return parse_stat(text, s) < 0 ? not_understood(f, pid, tid, "stat") : 0;
}

/* ---- status ---- */

static int status_ids(const char *v, uint32_t ids[4])
{
	return sscanf(v, "%" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32, &ids[0], &ids[1], &ids[2],
		      &ids[3]) == 4 ? 0 : -1;
}

static int status_groups(const char *v, struct proc_status *s)
{
	size_t cap = 0;
	char *end;

	for (;;) {
		unsigned long g = strtoul(v, &end, 10);
		uint32_t *slot;

		if (end == v)
			return *v == '\n' || *v == '\0' || *v == ' ' ? 0 : -1;
		if (g > UINT32_MAX)
			return -1;
		slot = grow(&s->groups, s->ngroups, &cap, sizeof(*slot));
		*slot = g;
		s->ngroups++;
		v = end + strspn(end, " \t");
	}
}

/* The kernel escapes a newline as \n and a backslash as \\ (string_escape_str). */
static int status_name(const char *v, char *name, size_t size)
{
	size_t n = 0;

	for (; *v && *v != '\n' && n + 1 < size; v++) {
		char c = *v;

		if (c == '\\' && v[1] && v[1] != '\n') {
			v++;
			c = *v == 'n' ? '\n' : *v;
		}
		name[n++] = c;
	}
	name[n] = '\0';
	return 0;
}

/*
 * What prctl(2) set, in the words of one mitigation or the other; others are for the whole machine.
 */
static uint32_t status_speculation(const char *v)
{
	static const struct { const char *words; uint32_t set; } known[] = {
		{ "thread force mitigated\n", PR_SPEC_FORCE_DISABLE },
		{ "conditional force disabled\n", PR_SPEC_FORCE_DISABLE },
		{ "thread mitigated\n", PR_SPEC_DISABLE },
		{ "conditional disabled\n", PR_SPEC_DISABLE },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(known); i++)
		if (!strncmp(v, known[i].words, strlen(known[i].words)))
			return known[i].set;
	return 0;
}

enum value_kind { V_NAME, V_DEC, V_OCT, V_HEX, V_IDS, V_GROUPS, V_SPECULATION };

struct status_line {
	const char *key;
	enum value_kind kind;
	size_t offset;		/* in struct proc_status */
};

#define LINE(key, kind, member) { key, kind, offsetof(struct proc_status, member) }

/* In the order of the file: the search goes on where the last one ended. */
static const struct status_line status_lines[] = {
	LINE("Name:", V_NAME, name),
	LINE("Umask:", V_OCT, umask),
	LINE("Tgid:", V_DEC, tgid),
	LINE("PPid:", V_DEC, ppid),
	LINE("TracerPid:", V_DEC, tracer),
	LINE("Uid:", V_IDS, uid),
	LINE("Gid:", V_IDS, gid),
	LINE("Groups:", V_GROUPS, groups),
	LINE("SigPnd:", V_HEX, sig_pending),
	LINE("ShdPnd:", V_HEX, shared_pending),
	LINE("SigBlk:", V_HEX, sig_blocked),
	LINE("CapInh:", V_HEX, cap_inh),
	LINE("CapPrm:", V_HEX, cap_prm),
	LINE("CapEff:", V_HEX, cap_eff),
	LINE("CapBnd:", V_HEX, cap_bnd),
	LINE("CapAmb:", V_HEX, cap_amb),
	LINE("NoNewPrivs:", V_DEC, no_new_privs),
	LINE("Seccomp:", V_DEC, seccomp),
	LINE("Speculation_Store_Bypass:", V_SPECULATION, store_bypass),
	LINE("SpeculationIndirectBranch:", V_SPECULATION, indirect_branch),
};

static int status_value(const struct status_line *l, const char *v, struct proc_status *s)
{
	void *at = (char *)s + l->offset;
	char *end;

	switch (l->kind) {
	case V_NAME:
		return status_name(v, at, sizeof(s->name));
	case V_IDS:
		return status_ids(v, at);
	case V_GROUPS:
		return status_groups(v, s);
	case V_SPECULATION:
		*(uint32_t *)at = status_speculation(v);
		return 0;
	case V_HEX:
		*(uint64_t *)at = strtoull(v, &end, 16);
		break;
	case V_OCT:
		*(uint32_t *)at = strtoul(v, &end, 8);
		break;
	default:
		*(uint32_t *)at = strtoul(v, &end, 10);
	}
	return end == v ? -1 : 0;
}

/* The value of a line, searched from p on; NULL when there is none. */
static const char *find_line(const char *p, const char *key)
{
	size_t n = strlen(key);

	while (p && *p) {
		if (strncmp(p, key, n) == 0)
			return p + n + strspn(p + n, "\t ");
		p = strchr(p, '\n');
		if (p)
			p++;
	}
	return NULL;
}

int parse_status(const char *text, struct proc_status *s)
{
	size_t i, found = 0;
	const char *p = text;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < ARRAY_LEN(status_lines); i++) {
		const char *v = find_line(p, status_lines[i].key);

		if (!v)
			continue;
		if (status_value(&status_lines[i], v, s) < 0)
			break;
		found++;
		p = v;
	}
	/* Umask is absent for a zombie, Seccomp, CapAmb and Speculation* with some kernels. */
	if (i == ARRAY_LEN(status_lines) && found + 5 >= i)
		return 0;
	proc_status_free(s);
	return -1;
}

int procfs_status(pid_t pid, pid_t tid, struct proc_status *s, struct fault *f)
{
	AUTO_FREE char *text = procfs_read(pid, tid, "status", NULL, f);

	if (!text)
		return -1;
	return parse_status(text, s) < 0 ? not_understood(f, pid, tid, "status") : 0;
}

void proc_status_free(struct proc_status *s)
{
	free(s->groups);
	s->groups = NULL;
	s->ngroups = 0;
}

/* ---- limits ---- */

/* Names as the kernel writes them, by RLIMIT_*. */
static const char *const limit_names[PROC_RLIMITS] = {
	[RLIMIT_CPU] = "Max cpu time",
	[RLIMIT_FSIZE] = "Max file size",
	[RLIMIT_DATA] = "Max data size",
	[RLIMIT_STACK] = "Max stack size",
	[RLIMIT_CORE] = "Max core file size",
	[RLIMIT_RSS] = "Max resident set",
	[RLIMIT_NPROC] = "Max processes",
	[RLIMIT_NOFILE] = "Max open files",
	[RLIMIT_MEMLOCK] = "Max locked memory",
	[RLIMIT_AS] = "Max address space",
	[RLIMIT_LOCKS] = "Max file locks",
	[RLIMIT_SIGPENDING] = "Max pending signals",
	[RLIMIT_MSGQUEUE] = "Max msgqueue size",
	[RLIMIT_NICE] = "Max nice priority",
	[RLIMIT_RTPRIO] = "Max realtime priority",
	[RLIMIT_RTTIME] = "Max realtime timeout",
};

/* One limit: a number or "unlimited". Returns where it ends, NULL when it is neither. */
static const char *parse_limit(const char *p, rlim64_t *v)
{
	char *end;

	p += strspn(p, " ");
	if (strncmp(p, "unlimited", 9) == 0) {
		*v = RLIM64_INFINITY;
		return p + 9;
	}
	*v = strtoull(p, &end, 10);
	return end == p ? NULL : end;
}

int parse_limits(const char *text, struct rlimit64 limits[PROC_RLIMITS])
{
	size_t i;

	for (i = 0; i < PROC_RLIMITS; i++) {
		const char *p = strstr(text, limit_names[i]);

		if (!p)
			return -1;
		p = parse_limit(p + strlen(limit_names[i]), &limits[i].rlim_cur);
		if (!p || !parse_limit(p, &limits[i].rlim_max))
			return -1;
	}
	return 0;
}

int procfs_limits(pid_t pid, struct rlimit64 limits[PROC_RLIMITS], struct fault *f)
{
	AUTO_FREE char *text = procfs_read(pid, 0, "limits", NULL, f);

	if (!text)
		return -1;
	return parse_limits(text, limits) < 0 ? not_understood(f, pid, 0, "limits") : 0;
}

/* ---- timers ---- */

static int notify_value(const char *how, const char *who, pid_t id, struct proc_timer *t)
{
	static const struct { const char *name; int value; } ways[] = {
		{ "signal", SIGEV_SIGNAL },
		{ "none", SIGEV_NONE },
		{ "thread", SIGEV_THREAD },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(ways); i++)
		if (strcmp(how, ways[i].name) == 0)
			break;
	if (i == ARRAY_LEN(ways))
		return -1;
	t->notify = ways[i].value;
	if (strcmp(who, "tid") == 0) {
		t->notify |= SIGEV_THREAD_ID;
		t->notify_tid = id;
	}
	return 0;
}

/* Four lines a timer; the value is printed by %px: 16 hex digits. */
int parse_timers(const char *text, struct proc_timer **timers, size_t *n)
{
	AUTO_FREE struct proc_timer *list = NULL;
	size_t count = 0, cap = 0;
	const char *p = text;

	while (*p) {
		char how[8], who[4];
		struct proc_timer *t = grow(&list, count, &cap, sizeof(*t));
		int used = 0, id;

		if (sscanf(p, "ID: %" SCNd32 " signal: %" SCNd32 "/%" SCNx64
			   " notify: %7[a-z]/%3[a-z].%d ClockID: %" SCNd32 "%n",
			   &t->id, &t->signo, &t->value, how, who, &id, &t->clock, &used) != 7 ||
		    notify_value(how, who, id, t) < 0)
			return -1;
		count++;
		p += used;
		p += strspn(p, " \n");
	}
	*timers = take_ptr(&list);
	*n = count;
	return 0;
}

int procfs_timers(pid_t pid, struct proc_timer **timers, size_t *n, struct fault *f)
{
	AUTO_FREE char *text = procfs_read(pid, 0, "timers", NULL, f);

	if (!text)
		return -1;
	return parse_timers(text, timers, n) < 0 ? not_understood(f, pid, 0, "timers") : 0;
}

/* ---- single numbers, lists of ids ---- */

int procfs_number(pid_t pid, const char *name, int base, long long *value, struct fault *f)
{
	AUTO_FREE char *text = procfs_read(pid, 0, name, NULL, f);
	char *end;

	if (!text)
		return -1;
	*value = strtoll(text, &end, base);
	return end == text ? not_understood(f, pid, 0, name) : 0;
}

static void add_id(pid_t **ids, size_t *n, size_t *cap, pid_t id)
{
	pid_t *slot = grow(ids, *n, cap, sizeof(**ids));

	*slot = id;
	(*n)++;
}

int procfs_threads(pid_t pid, pid_t **ids, size_t *n, struct fault *f)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	char path[80];
	struct dirent *de;
	size_t cap = 0;

	*ids = NULL;
	*n = 0;
	task_path(path, sizeof(path), pid, 0, "task");
	dir = opendir(path);
	if (!dir)
		return fault(f, errno, "open %s", path);
	while ((de = readdir(dir)))
		if (isdigit((unsigned char)de->d_name[0]))
			add_id(ids, n, &cap, atoi(de->d_name));
	return 0;
}

pid_t procfs_living_thread(pid_t pid)
{
	AUTO_FREE pid_t *ids = NULL;
	struct fault gone = { 0 };
	struct proc_stat st;
	size_t i, n;

	if (procfs_stat(pid, 0, &st, &gone) < 0 || st.state != 'Z' ||
	    procfs_threads(pid, &ids, &n, &gone) < 0)
		return pid;
	for (i = 0; i < n; i++)
		if (ids[i] != pid && procfs_stat(pid, ids[i], &st, &gone) == 0 && st.state != 'Z' &&
		    st.state != 'X')
			return ids[i];
	return pid;
}

int procfs_pidfd(pid_t pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0 && (errno == EINVAL || errno == ENOENT))
		fd = syscall(SYS_pidfd_open, pid, OF_A_THREAD);
	return fd;
}

int procfs_fetch(pid_t pid, int fd, struct fault *f)
{
	AUTO_CLOSE int pidfd = procfs_pidfd(pid);
	int own = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	return own < 0 ? fault(f, errno, "fetch descriptor %d of task %d", fd, pid) : own;
}

/* The children of one thread, added to the list. A thread that is gone has none. */
static int thread_children(pid_t pid, int taskfd, const char *tid, pid_t **ids, size_t *n,
			   size_t *cap, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	AUTO_FREE char *text = NULL;
	char path[32], *p, *end;

	snprintf(path, sizeof(path), "%.15s/children", tid);
	fd = openat(taskfd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd >= 0)
		text = read_all(fd, NULL);
	if (!text)
		return errno == ESRCH ? 0 : fault(f, errno, "read /proc/%d/task/%s", pid, path);
	for (p = text;; p = end) {
		pid_t id = strtol(p, &end, 10);

		if (end == p)
			return 0;
		add_id(ids, n, cap, id);
	}
}

/* The same from the other side: everybody whose parent is pid. */
static int children_by_parent(pid_t pid, pid_t **ids, size_t *n, size_t *cap)
{
	AUTO_CLOSEDIR DIR *dir = opendir("/proc");
	struct dirent *de;

	while (dir && (de = readdir(dir))) {
		struct fault gone = { 0 };
		struct proc_stat st;

		if (isdigit((unsigned char)de->d_name[0]) &&
		    procfs_stat(atoi(de->d_name), 0, &st, &gone) == 0 && st.ppid == pid)
			add_id(ids, n, cap, st.pid);
	}
	return dir ? 0 : -1;
}

int procfs_children(pid_t pid, pid_t **ids, size_t *n, struct fault *f)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	char path[80];
	struct dirent *de;
	struct stat st;
	size_t cap = 0;

	*ids = NULL;
	*n = 0;
	task_path(path, sizeof(path), pid, 0, "task");
	dir = opendir(path);
	if (!dir)
		return fault(f, errno, "open %s", path);
	if (fstat(dirfd(dir), &st) == 0 && st.st_nlink > MANY_THREADS + 2)
		return children_by_parent(pid, ids, n, &cap) < 0 ?
			       fault(f, errno, "open /proc") : 0;
	while ((de = readdir(dir)))
		if (isdigit((unsigned char)de->d_name[0]) &&
		    thread_children(pid, dirfd(dir), de->d_name, ids, n, &cap, f) < 0)
			return -1;
	return 0;
}

/* ---- namespaces ---- */

const char *const proc_namespace_names[PROC_NAMESPACES] = {
	"mnt", "pid", "pid_for_children", "net", "ipc", "uts", "user", "cgroup", "time",
	"time_for_children",
};

int procfs_namespaces(pid_t pid, uint64_t inodes[PROC_NAMESPACES], struct fault *f)
{
	AUTO_CLOSE int dir = -1;
	char path[80];
	size_t i;

	task_path(path, sizeof(path), pid, 0, "ns");
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return fault(f, errno, "open %s", path);
	for (i = 0; i < PROC_NAMESPACES; i++) {
		struct stat st;

		inodes[i] = 0;
		if (fstatat(dir, proc_namespace_names[i], &st, 0) == 0)
			inodes[i] = st.st_ino;
		else if (errno != ENOENT)
			return fault(f, errno, "read %s/%s", path, proc_namespace_names[i]);
	}
	return 0;
}
