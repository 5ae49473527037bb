/* SPDX-License-Identifier: MIT */
/*
 * options.c - the command line and configuration files into one Options message.
 *
 * Configuration files (--config FILE, or /etc/criu/default.conf and ~/.criu/default.conf) have
 * an option per line without its dashes and are read before the command line, as in CRIU.
 *
 * Rights:   none.
 * Holds:    nothing; strings live as long as the process.
 */
#include "coordinator/options.h"

#include <errno.h>
#include <string.h>

#include "coordinator/cgroup_fs.h"
#include "coordinator/option_table.h"
#include "proto/control/util.h"

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
		return fault(f, -EOPNOTSUPP, "--cpu-cap is refused: this version writes and checks "
			     "no cpuinfo.img; leave it out, or give --cpu-cap=none");
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

	r = option_long(name, eq ? (size_t)(eq - name) : strlen(name), &off);
	if (!r)
		return fault(f, -EINVAL, "unknown option %s (see stasis --help)", argv[0]);
	if (arg && option_value(r) == NO_VALUE)
		return fault(f, -EINVAL, "--%s takes no value", r->name);
	if (!arg && option_value(r) == NEEDS_VALUE) {
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
		r = eq ? NULL : option_long(p, strlen(p), &off);
		return r && option_value(r) == NEEDS_VALUE && argc > 1 ? 2 : 1;
	}
	for (r = NULL; *p && !(r && option_value(r) != NO_VALUE); p++)
		r = option_letter(*p);
	return r && option_value(r) == NEEDS_VALUE && !*p && argc > 1 ? 2 : 1;
}

/* A group of letters: "-dv4", "-t 12", "-t12". Returns words used, or -1. */
static int parse_short(struct cmdline *c, int argc, char **argv, struct fault *f)
{
	const char *p;

	for (p = argv[0] + 1; *p; p++) {
		const struct row *r = option_letter(*p);
		const char *arg = p[1] ? p + 1 : argc > 1 ? argv[1] : NULL;

		if (!r)
			return fault(f, -EINVAL, "unknown option -%c (see stasis --help)", *p);
		if (r->kind == K_LEVEL || (r->kind == K_SOCKETS && strspn(p + 1, "0123456789")))
			return apply(c, r, false, p + 1, f) < 0 ? -1 : 1;
		if (option_value(r) != NEEDS_VALUE) {
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
		return fault(f, -EINVAL, "--manage-cgroups=%s: the modes are none, props, soft, "
			     "full, strict and ignore", o->manage_cgroups);
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
	if (c->command == CMD_REPLAY || c->command == CMD_TIMELINE)
		return c->nargs == 1 ? 0 : fault(f, -EINVAL, "name one file that --trace has "
						 "written");
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
	{ "replay", CMD_REPLAY, MODE__MODE_CHECK },
	{ "timeline", CMD_TIMELINE, MODE__MODE_CHECK },
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

/*
 * The command may stand before the options, after or between them, as in CRIU. Returns where, or
 * -1.
 */
static int parse_command(struct cmdline *c, int argc, char **argv, struct fault *f)
{
	const struct command_word *w;
	int i = 1;

	while (i < argc && argv[i][0] == '-' && !find_word(argv[i]))
		i += words_of(argc - i, argv + i);
	w = i < argc ? find_word(argv[i]) : NULL;
	if (!w)
		return fault(f, -EINVAL, "%s: the commands are dump, restore, check, show, replay, "
			     "timeline",
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
