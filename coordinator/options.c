/* SPDX-License-Identifier: MIT */
/*
 * options.c - one table of options; what CRIU has and Stasis does not is refused by name.
 *
 * Configuration files (--config FILE, or /etc/criu/default.conf and ~/.criu/default.conf) have
 * an option per line without its dashes and are read before the command line, as in CRIU.
 *
 * Rights:   none.
 * Holds:    nothing; strings live as long as the process.
 */
#include "coordinator/options.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>

#include "coordinator/cgroup_fs.h"
#include "proto/control/util.h"

#define FOR(cmd) (1u << (cmd))
#define BOTH (FOR(CMD_DUMP) | FOR(CMD_RESTORE))
#define ANY (BOTH | FOR(CMD_CHECK) | FOR(CMD_SHOW))

enum kind {
	K_FLAG,		/* --x, --no-x */
	K_STRING,
	K_LIST,		/* may be given several times */
	K_PID,
	K_SECONDS,
	K_SIZE,		/* with K, M, G */
	K_LEVEL,	/* -v, -vvv, -v4 */
	K_INHERIT,	/* fd[N]:KEY */
	K_FEATURE, K_CAPS, K_JSON,
	K_NOTHING,	/* accepted, has no meaning here: the help says why */
	K_EXEC,		/* --exec-cmd */
	K_SOCKETS,	/* -x, --ext-unix-sk[=INODE,...] */
	K_CPU,		/* --cpu-cap: only "none" is there */
	K_MODE,		/* --pre-dump-mode: checked, used by pre-dump only */
	K_REFUSED,
};

struct row {
	const char *name;
	char letter;
	enum kind kind;
	unsigned commands;	/* bit set of FOR() */
	size_t has, value;	/* offsets in Options */
	const char *help;	/* or why it is refused */
};

#define AT(field) offsetof(Options, has_##field), offsetof(Options, field)
#define STR(field) 0, offsetof(Options, field)
#define LIST(field) offsetof(Options, n_##field), offsetof(Options, field)
#define NO_LAZY "lazy pages, pre-dump and page servers are not supported by this version"
#define NO_NS "tasks in namespaces of their own are not supported by this version"

static const struct row rows[] = {
	{ "tree", 't', K_PID, FOR(CMD_DUMP), AT(pid), "PID  the root of the tree to dump" },
	{ "images-dir", 'D', K_STRING, BOTH, STR(images_dir), "DIR  where images are" },
	{ "work-dir", 'W', K_STRING, BOTH, STR(work_dir), "DIR  logs, pidfile and statistics" },
	{ "log-file", 'o', K_STRING, BOTH, STR(log_file), "FILE  log, in the work directory" },
	{ "verbosity", 'v', K_LEVEL, ANY, AT(log_level),
	  "[N]  1 errors, 2 warnings, 3 info, 4 debug" },
	{ "log-pid", 0, K_FLAG, BOTH, AT(log_pid), "the log file is FILE.PID, with our pid" },
	{ "pidfile", 0, K_STRING, BOTH, STR(pidfile), "FILE  restore: the root task's pid" },
	{ "restore-detached", 'd', K_FLAG, FOR(CMD_RESTORE), AT(restore_detached),
	  "do not wait for the tree to exit" },
	{ "daemon", 0, K_FLAG, FOR(CMD_RESTORE), AT(restore_detached),
	  "same as --restore-detached" },
	{ "restore-sibling", 'S', K_FLAG, FOR(CMD_RESTORE), AT(restore_sibling),
	  "the root becomes our sibling" },
	{ "leave-stopped", 's', K_FLAG, BOTH, AT(leave_stopped), "tasks are stopped afterwards" },
	{ "leave-running", 'R', K_FLAG, FOR(CMD_DUMP), AT(leave_running),
	  "tasks run on after the dump" },
	{ "shell-job", 'j', K_FLAG, BOTH, AT(shell_job),
	  "the tree belongs to a shell's session and terminal" },
	{ "link-remap", 0, K_FLAG, BOTH, AT(link_remap),
	  "deleted files with other names get a link" },
	{ "ghost-limit", 0, K_SIZE, FOR(CMD_DUMP), AT(ghost_limit),
	  "SIZE  largest deleted file put into the images" },
	{ "ghost-fiemap", 0, K_FLAG, FOR(CMD_DUMP), AT(ghost_fiemap),
	  "accepted: holes are found by lseek(2) either way" },
	{ "file-locks", 'l', K_FLAG, BOTH, AT(file_locks), "dump and restore file locks" },
	{ "ext-unix-sk", 'x', K_SOCKETS, BOTH, AT(ext_unix_sk),
	  "[=INODE,...]  unix sockets may have peers outside" },
	{ "tcp-established", 0, K_FLAG, BOTH, AT(tcp_established),
	  "keep established TCP connections" },
	{ "tcp-close", 0, K_FLAG, BOTH, AT(tcp_close), "TCP connections come back closed" },
	{ "skip-in-flight", 0, K_FLAG, BOTH, AT(skip_in_flight),
	  "drop TCP connections not accepted yet" },
	{ "network-lock", 0, K_STRING, BOTH, STR(network_lock),
	  "METHOD  nftables (also for iptables) or skip" },
	{ "tcp-map", 0, K_LIST, FOR(CMD_RESTORE), LIST(tcp_map),
	  "OLD=NEW  TCP sockets of address OLD get NEW" },
	{ "external", 0, K_LIST, BOTH, LIST(external),
	  "KEY  a resource that is not in the images: file[MNT:INO], tty[RDEV:DEV]" },
	{ "inherit-fd", 0, K_INHERIT, FOR(CMD_RESTORE), 0, 0,
	  "fd[N]:KEY  use our descriptor N for a resource" },
	{ "root", 'r', K_STRING, FOR(CMD_RESTORE), STR(root), "DIR  root of the restored tree" },
	{ "lsm-profile", 0, K_STRING, BOTH, STR(lsm_profile),
	  "TYPE:NAME  restore with this apparmor or selinux label; none:" },
	{ "display-stats", 0, K_FLAG, BOTH, AT(display_stats), "print statistics" },
	{ "action-script", 0, K_LIST, BOTH, LIST(action_script),
	  "FILE  program run at each stage" },
	{ "libdir", 'L', K_NOTHING, BOTH, 0, 0, "DIR  accepted: this version has no plugins" },
	{ "manage-cgroups", 0, K_STRING, BOTH, STR(manage_cgroups),
	  "[MODE]  none, props, soft (the default), full, strict or ignore" },
	{ "cgroup-root", 0, K_LIST, BOTH, LIST(cgroup_root),
	  "[CONTROLLER:]/PATH  the cgroup to dump from, or to restore below" },
	{ "cgroup-props", 0, K_STRING, BOTH, STR(cgroup_props),
	  "TEXT  control files to dump, by controller" },
	{ "cgroup-props-file", 0, K_STRING, BOTH, STR(cgroup_props_file),
	  "FILE  same, from a file in the work directory" },
	{ "cgroup-dump-controller", 0, K_LIST, BOTH, LIST(cgroup_dump_controller),
	  "NAME  dump this hierarchy only" },
	{ "cgroup-yard", 0, K_STRING, BOTH, STR(cgroup_yard),
	  "DIR  where the hierarchies are mounted" },
	{ "timeout", 0, K_SECONDS, FOR(CMD_DUMP), AT(timeout_s),
	  "S  give up freezing after so long" },
	{ "allow-uprobes", 0, K_FLAG, BOTH, AT(allow_uprobes),
	  "leave out areas of active uprobes" },
	{ "evasive-devices", 0, K_FLAG, BOTH, AT(evasive_devices), "use any path to a device" },
	{ "file-validation", 0, K_STRING, BOTH, STR(file_validation),
	  "METHOD  filesize or buildid" },
	{ "force-irmap", 0, K_FLAG, FOR(CMD_DUMP), AT(force_irmap),
	  "look for the paths of watched files that their handles do not tell" },
	{ "irmap-scan-path", 0, K_LIST, FOR(CMD_DUMP), LIST(irmap_scan_path),
	  "DIR  where to look for them first" },
	{ "skip-file-rwx-check", 0, K_FLAG, FOR(CMD_RESTORE), AT(skip_file_rwx_check),
	  "do not compare files' modes" },
	{ "exec-cmd", 0, K_EXEC, FOR(CMD_RESTORE), 0, 0,
	  "-- COMMAND...  run it in our place, as the tree's parent" },
	{ "cpu-cap", 0, K_CPU, BOTH, 0, 0, "=none  processors are not compared" },
	{ "exec-workers", 0, K_FLAG, BOTH, AT(exec_workers), "workers as programs of their own" },
	{ "worker", 0, K_LIST, BOTH, LIST(worker), "NAME=URL  use a worker started by hand" },
	{ "unprivileged", 0, K_FLAG, ANY, AT(unprivileged), "do with the capabilities there are" },
	{ "pre-dump-mode", 0, K_MODE, FOR(CMD_DUMP), 0, 0, "splice or read (pre-dumps only)" },
	{ "no-default-config", 0, K_NOTHING, ANY, 0, 0, "do not read the default configuration" },
	{ "config", 0, K_NOTHING, ANY, 0, 0, "FILE  read options from there" },
	{ "feature", 0, K_FEATURE, FOR(CMD_CHECK), 0, 0, "NAME  check: is this feature there?" },
	{ "caps", 0, K_CAPS, FOR(CMD_CHECK), 0, 0, "check: the capabilities each worker uses" },
	{ "all", 0, K_NOTHING, FOR(CMD_CHECK), 0, 0, "check: everything (the default)" },
	{ "extra", 0, K_NOTHING, FOR(CMD_CHECK), 0, 0, "check: same" },
	{ "experimental", 0, K_NOTHING, FOR(CMD_CHECK), 0, 0, "check: same" },
	{ "ms", 0, K_NOTHING, FOR(CMD_CHECK), 0, 0, "check: same" },
	{ "deprecated", 0, K_NOTHING, ANY, 0, 0,
	  "accepted: it allows nothing that is refused otherwise" },
	{ "json", 0, K_JSON, FOR(CMD_SHOW), 0, 0, "show: as JSON" },
	{ "veth-pair", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "join-ns", 'J', K_REFUSED, ANY, 0, 0, NO_NS },
	{ "ext-mount-map", 'M', K_REFUSED, ANY, 0, 0, NO_NS },
	{ "skip-mnt", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "enable-fs", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "enable-external-sharing", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "enable-external-masters", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "empty-ns", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "mntns-compat-mode", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "weak-sysctls", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "lsm-mount-context", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "track-mem", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "prev-images-dir", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "auto-dedup", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "page-server", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "lazy-pages", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "stream", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "address", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "port", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "ps-socket", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls-cacert", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls-cacrl", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls-cert", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls-key", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls-no-cn-verify", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "freeze-cgroup", 0, K_REFUSED, ANY, 0, 0, "tasks are frozen by ptrace; leave it out" },
	{ "status-fd", 0, K_REFUSED, ANY, 0, 0,
	  "there is no daemon in this version that would report there" },
	{ "pidfd-store", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
};

enum value { NO_VALUE, MAY_HAVE_VALUE, NEEDS_VALUE };	/* the second: glued on only */

static enum value value_of(const struct row *r)
{
	switch (r->kind) {
	case K_FLAG: case K_CAPS: case K_JSON: case K_EXEC:
		return NO_VALUE;
	case K_LEVEL: case K_REFUSED: case K_SOCKETS: case K_CPU:
		return MAY_HAVE_VALUE;
	case K_NOTHING:
		return strcmp(r->name, "config") && strcmp(r->name, "libdir") ? NO_VALUE : NEEDS_VALUE;
	default:
		return strcmp(r->name, "manage-cgroups") ? NEEDS_VALUE : MAY_HAVE_VALUE;
	}
}

/* "--NAME", "--no-NAME": *off tells. NULL: no such option. */
static const struct row *find_long(const char *name, size_t len, bool *off)
{
	size_t i;

	*off = false;
	for (i = 0; i < ARRAY_LEN(rows); i++)
		if (!strncmp(rows[i].name, name, len) && !rows[i].name[len])
			return &rows[i];
	if (len > 3 && !strncmp(name, "no-", 3)) {
		for (i = 0; i < ARRAY_LEN(rows); i++)
			if ((rows[i].kind == K_FLAG || rows[i].kind == K_REFUSED ||
			     rows[i].kind == K_SOCKETS) &&
			    !strncmp(rows[i].name, name + 3, len - 3) && !rows[i].name[len - 3]) {
				*off = true;
				return &rows[i];
			}
	}
	return NULL;
}

static const struct row *find_letter(char letter)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].letter == letter)
			return &rows[i];
	return NULL;
}

static int parse_number(const char *name, const char *text, uint64_t max, bool suffix,
			uint64_t *v, struct fault *f)
{
	char *end;

	errno = 0;
	*v = strtoull(text, &end, 10);
	if (suffix && (*end == 'K' || *end == 'k'))
		*v <<= 10, end++;
	else if (suffix && *end == 'M')
		*v <<= 20, end++;
	else if (suffix && *end == 'G')
		*v <<= 30, end++;
	if (errno || end == text || *end || *v > max || text[0] == '-')
		return fault(f, -EINVAL, "--%s %s: a number up to %llu is needed", name, text,
			     (unsigned long long)max);
	return 0;
}

static int parse_inherit(struct cmdline *c, const char *text, struct fault *f)
{
	Options *o = c->opts;
	InheritFd *i;
	int n = 0, fd;

	if (sscanf(text, "fd[%d]:%n", &fd, &n) != 1 || !n || fd < 0 || !text[n])
		return fault(f, -EINVAL, "--inherit-fd %s: the form is fd[NUMBER]:KEY", text);
	i = xcalloc(1, sizeof(*i));
	inherit_fd__init(i);
	i->key = xstrdup(text + n);
	i->fd_index = c->ninherit;
	c->inherit_fds = xrealloc(c->inherit_fds, c->ninherit + 1, sizeof(int));
	c->inherit_fds[c->ninherit++] = fd;
	o->inherit_fd = xrealloc(o->inherit_fd, o->n_inherit_fd + 1, sizeof(*o->inherit_fd));
	o->inherit_fd[o->n_inherit_fd++] = i;
	return 0;
}

static void add_string(char ***list, size_t *n, const char *text)
{
	*list = xrealloc(*list, *n + 1, sizeof(char *));
	(*list)[(*n)++] = xstrdup(text);
}

/* INODE,INODE,...: the same as --external unix[INODE] for each. */
static int add_sockets(struct cmdline *c, const char *list, struct fault *f)
{
	AUTO_FREE char *copy = xstrdup(list);
	char *one, *rest = copy, key[32];
	uint64_t inode;

	while ((one = strsep(&rest, ","))) {
		if (parse_number("ext-unix-sk", one, UINT32_MAX, false, &inode, f) < 0)
			return -1;
		snprintf(key, sizeof(key), "unix[%u]", (uint32_t)inode);
		add_string(&c->opts->external, &c->opts->n_external, key);
	}
	return 0;
}

/* "" or "vvv" after -v counts, a number is the level, anything else is level 0 as in CRIU. */
static uint32_t parse_level(const char *arg)
{
	uint32_t level = 3;

	if (!arg || !*arg)
		return level;
	if (strspn(arg, "v") == strlen(arg))
		return level + strlen(arg) > 4 ? 4 : level + strlen(arg);
	level = strtoul(arg, NULL, 10);
	return level > 4 ? 4 : level;
}

static int set_number(struct cmdline *c, const struct row *r, const char *arg, struct fault *f)
{
	uint64_t v, max = r->kind == K_SIZE ? INT64_MAX : r->kind == K_PID ? 1 << 22 : 1000000;
	char *o = (char *)c->opts;

	if (parse_number(r->name, arg, max, r->kind == K_SIZE, &v, f) < 0)
		return -1;
	*(protobuf_c_boolean *)(o + r->has) = 1;
	if (r->kind == K_SIZE)
		*(uint64_t *)(o + r->value) = v;
	else
		*(uint32_t *)(o + r->value) = v;
	return 0;
}

static int apply(struct cmdline *c, const struct row *r, bool off, const char *arg,
		 struct fault *f)
{
	char *o = (char *)c->opts;

	/* As in CRIU: what only one of dump and restore uses, the other takes and ignores. */
	unsigned commands = r->commands & BOTH ? r->commands | BOTH | FOR(CMD_CHECK) : r->commands;

	if (!(commands & FOR(c->command)))
		return fault(f, -EINVAL, "--%s has no meaning for this command", r->name);
	switch (r->kind) {
	case K_FLAG:
		*(protobuf_c_boolean *)(o + r->has) = 1;
		*(protobuf_c_boolean *)(o + r->value) = !off;
		return 0;
	case K_STRING:
		*(char **)(o + r->value) = xstrdup(arg ? arg : "soft");
		return 0;
	case K_LIST:
		add_string((char ***)(o + r->value), (size_t *)(o + r->has), arg);
		return 0;
	case K_PID: case K_SECONDS: case K_SIZE:
		return set_number(c, r, arg, f);
	case K_LEVEL:
		*(protobuf_c_boolean *)(o + r->has) = 1;
		*(uint32_t *)(o + r->value) = parse_level(arg);
		return 0;
	case K_INHERIT:
		return parse_inherit(c, arg, f);
	case K_FEATURE:
		add_string(&c->features, &c->nfeatures, arg);
		return 0;
	case K_CAPS:
		c->check_caps = true;
		return 0;
	case K_JSON:
		c->json = true;
		return 0;
	case K_MODE:
		if (strcmp(arg, "splice") && strcmp(arg, "read"))
			return fault(f, -EINVAL, "--pre-dump-mode %s: splice or read", arg);
		return 0;
	case K_NOTHING:
		return 0;
	case K_EXEC:
		c->exec_cmd = true;
		return 0;
	case K_SOCKETS:
		c->opts->has_ext_unix_sk = true;
		c->opts->ext_unix_sk = !off;
		return arg ? add_sockets(c, arg, f) : 0;
	case K_CPU:
		if (arg && !strcmp(arg, "none"))
			return 0;
		return fault(f, -EOPNOTSUPP, "--cpu-cap is refused: this version writes and checks no "
			     "cpuinfo.img; leave it out, or give --cpu-cap=none");
	case K_REFUSED:
		if (off)
			return 0;
		return fault(f, -EOPNOTSUPP, "--%s is refused: %s", r->name, r->help);
	}
	return 0;
}

/* One "--name[=value]" of which the value may be the next word. Returns words used, or -1. */
static int parse_long(struct cmdline *c, int argc, char **argv, struct fault *f)
{
	const char *name = argv[0] + 2, *eq = strchr(name, '='), *arg = eq ? eq + 1 : NULL;
	const struct row *r;
	int used = 1;
	bool off;

	r = find_long(name, eq ? (size_t)(eq - name) : strlen(name), &off);
	if (!r)
		return fault(f, -EINVAL, "unknown option %s (see stasis --help)", argv[0]);
	if (arg && value_of(r) == NO_VALUE)
		return fault(f, -EINVAL, "--%s takes no value", r->name);
	if (!arg && value_of(r) == NEEDS_VALUE) {
		if (argc < 2)
			return fault(f, -EINVAL, "--%s needs a value", r->name);
		arg = argv[1];
		used = 2;
	}
	return apply(c, r, off, arg, f) < 0 ? -1 : used;
}

/* How many words does an option take? 1 for one that is not known. */
static int words_of(int argc, char **argv)
{
	const char *p = argv[0] + 1, *eq;
	const struct row *r;
	bool off;

	if (*p == '-') {
		eq = strchr(++p, '=');
		r = eq ? NULL : find_long(p, strlen(p), &off);
		return r && value_of(r) == NEEDS_VALUE && argc > 1 ? 2 : 1;
	}
	for (r = NULL; *p && !(r && value_of(r) != NO_VALUE); p++)
		r = find_letter(*p);
	return r && value_of(r) == NEEDS_VALUE && !*p && argc > 1 ? 2 : 1;
}

/* A group of letters: "-dv4", "-t 12", "-t12". Returns words used, or -1. */
static int parse_short(struct cmdline *c, int argc, char **argv, struct fault *f)
{
	const char *p;

	for (p = argv[0] + 1; *p; p++) {
		const struct row *r = find_letter(*p);
		const char *arg = p[1] ? p + 1 : argc > 1 ? argv[1] : NULL;

		if (!r)
			return fault(f, -EINVAL, "unknown option -%c (see stasis --help)", *p);
		if (r->kind == K_LEVEL || (r->kind == K_SOCKETS && strspn(p + 1, "0123456789")))
			return apply(c, r, false, p + 1, f) < 0 ? -1 : 1;
		if (value_of(r) != NEEDS_VALUE) {
			if (apply(c, r, false, NULL, f) < 0)
				return -1;
			continue;
		}
		if (!arg)
			return fault(f, -EINVAL, "-%c needs a value", *p);
		return apply(c, r, false, arg, f) < 0 ? -1 : p[1] ? 1 : 2;
	}
	return 1;
}

static int parse_words(struct cmdline *c, int argc, char **argv, struct fault *f)
{
	int i, r;

	for (i = 0; i < argc; i += r) {
		if (!strcmp(argv[i], "--")) {
			while (++i < argc)
				c->args[c->nargs++] = argv[i];
			return 0;
		}
		if (!strncmp(argv[i], "--", 2))
			r = parse_long(c, argc - i, argv + i, f);
		else if (argv[i][0] == '-' && argv[i][1])
			r = parse_short(c, argc - i, argv + i, f);
		else {
			c->args[c->nargs++] = argv[i];
			r = 1;
		}
		if (r < 0)
			return -1;
	}
	return 0;
}

/* "name value # comment" per line. An absent default file is no fault. */
static int parse_config(struct cmdline *c, const char *path, bool optional, struct fault *f)
{
	AUTO_FCLOSE FILE *file = fopen(path, "re");
	char line[4096], word[sizeof(line) + 4], *p, *option = word;
	int n;

	if (!file)
		return optional ? 0 : fault(f, errno, "--config %s", path);
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "#\n")] = '\0';
		p = line + strspn(line, " \t");
		n = strcspn(p, " \t=");
		if (!n)
			continue;
		snprintf(word, sizeof(word), "--%.*s", n, p);
		p += n;
		p += strspn(p, " \t=");
		p[strcspn(p, "\r")] = '\0';
		while (*p && strchr(" \t", p[strlen(p) - 1]))
			p[strlen(p) - 1] = '\0';
		if (*p)
			strcat(strcat(word, "="), p);
		if (parse_long(c, 1, &option, f) < 0)
			return fault_prefix(f, "%s", path);
	}
	return 0;
}

static int parse_configs(struct cmdline *c, int argc, char **argv, struct fault *f)
{
	const char *home = getenv("HOME"), *config = NULL;
	AUTO_FREE char *user = xasprintf("%s/.criu/default.conf", home ? home : "");
	bool defaults = true;
	int i;

	for (i = 0; i < argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "--no-default-config"))
			defaults = false;
		else if (!strcmp(argv[i], "--config") && i + 1 < argc)
			config = argv[i + 1];
		else if (!strncmp(argv[i], "--config=", 9))
			config = argv[i] + 9;
	}
	if (config)
		return parse_config(c, config, false, f);
	if (!defaults || (c->command != CMD_DUMP && c->command != CMD_RESTORE))
		return 0;
	if (parse_config(c, "/etc/criu/default.conf", true, f) < 0)
		return -1;
	return home ? parse_config(c, user, true, f) : 0;
}

/* As in CRIU. The command, which is then the tree's parent, waits for it. */
static int check_exec(struct cmdline *c, struct fault *f)
{
	if (c->command != CMD_RESTORE)
		return fault(f, -EINVAL, "--exec-cmd is for a restore only");
	if (!c->nargs)
		return fault(f, -EINVAL, "--exec-cmd: which command? give it after --");
	if (c->opts->restore_detached)
		return fault(f, -EINVAL, "--exec-cmd and --restore-detached exclude each other");
	c->opts->has_restore_detached = c->opts->restore_detached = true;
	return 0;
}

static int check_together(struct cmdline *c, struct fault *f)
{
	Options *o = c->opts;
	enum cgroup_mode mode;

	if (c->command == CMD_DUMP && !o->pid)
		return fault(f, -EINVAL, "which tree? give its root with -t PID");
	if (o->leave_stopped && o->leave_running)
		return fault(f, -EINVAL, "--leave-stopped and --leave-running exclude each other");
	if (strcmp(o->file_validation, "filesize") && strcmp(o->file_validation, "buildid"))
		return fault(f, -EINVAL, "--file-validation %s: filesize or buildid",
			     o->file_validation);
	if (cgroup_mode_parse(o->manage_cgroups, &mode) < 0)
		return fault(f, -EINVAL, "--manage-cgroups=%s: the modes are none, props, soft, full, "
			     "strict and ignore", o->manage_cgroups);
	/* check PID: the tree that dump -t PID would dump. */
	if (c->command == CMD_CHECK && c->nargs == 1 && !o->has_pid) {
		uint64_t pid;

		if (parse_number("tree", c->args[0], 1 << 22, false, &pid, f) < 0)
			return -1;
		o->has_pid = true;
		o->pid = pid;
		c->nargs = 0;
	}
	if (c->exec_cmd)
		return check_exec(c, f);
	if (c->command != CMD_SHOW && c->nargs)
		return fault(f, -EINVAL, "%s: not an option of this command", c->args[0]);
	return 0;
}

static const struct command_word {
	const char *name;
	enum command command;
	Mode mode;
} commands[] = {
	{ "dump", CMD_DUMP, MODE__MODE_DUMP },
	{ "restore", CMD_RESTORE, MODE__MODE_RESTORE },
	{ "check", CMD_CHECK, MODE__MODE_CHECK },
	{ "show", CMD_SHOW, MODE__MODE_CHECK },
	{ "--help", CMD_HELP, MODE__MODE_CHECK },
	{ "-h", CMD_HELP, MODE__MODE_CHECK },
	{ "--version", CMD_VERSION, MODE__MODE_CHECK },
	{ "-V", CMD_VERSION, MODE__MODE_CHECK },
};

static const struct command_word *find_word(const char *word)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(commands); i++)
		if (!strcmp(word, commands[i].name))
			return &commands[i];
	return NULL;
}

/* The command may stand before the options, after or between them, as in CRIU. Returns where, or -1. */
static int parse_command(struct cmdline *c, int argc, char **argv, struct fault *f)
{
	const struct command_word *w;
	int i = 1;

	while (i < argc && argv[i][0] == '-' && !find_word(argv[i]))
		i += words_of(argc - i, argv + i);
	w = i < argc ? find_word(argv[i]) : NULL;
	if (!w)
		return fault(f, -EINVAL, "%s: the commands are dump, restore, check, show",
			     i < argc ? argv[i] : "no command");
	c->command = w->command;
	c->opts->mode = w->mode;
	return i;
}

int options_parse(struct cmdline *c, int argc, char **argv, struct fault *f)
{
	int i;

	memset(c, 0, sizeof(*c));
	c->opts = xcalloc(1, sizeof(*c->opts));
	options__init(c->opts);
	c->args = xcalloc(argc + 1, sizeof(char *));
	i = parse_command(c, argc, argv, f);
	if (i < 0)
		return -1;
	if (c->command == CMD_HELP || c->command == CMD_VERSION)
		return 0;
	if (parse_configs(c, argc - 1, argv + 1, f) < 0 ||
	    parse_words(c, i - 1, argv + 1, f) < 0 ||
	    parse_words(c, argc - i - 1, argv + i + 1, f) < 0)
		return -1;
	return check_together(c, f);
}

void options_usage(void)
{
	char left[64];
	size_t i;

	printf("usage: stasis dump -t PID [options]     freeze a process tree into images\n"
	       "       stasis restore [options]         thaw it\n"
	       "       stasis check [--feature NAME]    what this kernel and these rights allow\n"
	       "       stasis check PID [options]       would \"dump -t PID\" with these options succeed?\n"
	       "       stasis show [--json] FILE|DIR    print images\n\n");
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];

		if (r->kind == K_REFUSED)
			continue;
		if (r->letter)
			snprintf(left, sizeof(left), "-%c, --%s", r->letter, r->name);
		else
			snprintf(left, sizeof(left), "    --%s", r->name);
		printf("  %-26s %s\n", left, r->help);
	}
}
