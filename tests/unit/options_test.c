/* SPDX-License-Identifier: MIT */
/*
 * options_test.c - what the command line may look like, and what is refused.
 */
#include "coordinator/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"

#define WORDS_MAX 16

/* What a program parses once it never frees. */
static struct kept {
	char *line;
	struct cmdline parsed;
} *kept;
static size_t nkept, kept_cap;

/* The words of a command line, "stasis" before them. */
static int parse(struct cmdline *c, const char *line, struct fault *f)
{
	char *copy = xstrdup(line), *argv[WORDS_MAX + 2] = { "stasis" };
	int argc = 1, r;

	grow(&kept, nkept, &kept_cap, sizeof(*kept));
	memset(f, 0, sizeof(*f));
	for (char *word = strtok(copy, " "); word && argc <= WORDS_MAX; word = strtok(NULL, " "))
		argv[argc++] = word;
	r = options_parse(c, argc, argv, f);
	kept[nkept++] = (struct kept){ copy, *c };
	return r;
}

static void test_refused(void)
{
	static const struct {
		const char *line;
		int code;
		const char *says;
	} rows[] = {
		{ "", EINVAL, "no command" },
		{ "-v4 -D x", EINVAL, "no command" },
		{ "-D x frob", EINVAL, "frob" },
		{ "dump", EINVAL, "-t PID" },
		{ "dump -t 1 --leave-running=no", EINVAL, "--leave-running takes no value" },
		{ "dump -t 1 --images-dir", EINVAL, "--images-dir needs a value" },
		{ "dump -t 1 --frob", EINVAL, "--frob" },
		{ "dump -t 1 -x12,y", EINVAL, "--ext-unix-sk" },
		{ "dump -t 1 --cpu-cap", EOPNOTSUPP, "--cpu-cap" },
		{ "dump -t 1 --cpu-cap=all", EOPNOTSUPP, "--cpu-cap" },
		{ "dump -t 1 --tls-cert x", EOPNOTSUPP, "--tls-cert" },
		{ "dump -t 1 --join-ns=net:1", EOPNOTSUPP, "--join-ns" },
		{ "dump -t 1 --exec-cmd -- a", EINVAL, "restore only" },
		{ "restore --exec-cmd", EINVAL, "which command" },
		{ "restore -d --exec-cmd a", EINVAL, "exclude" },
		{ "restore a", EINVAL, "a: not an option" },
		{ "restore --trace", EINVAL, "--trace needs a value" },
		{ "replay --worker mem=ipc://x", EINVAL, "name one file" },
		{ "replay a -t 1", EINVAL, "--tree has no meaning" },
		{ "timeline a b", EINVAL, "name one file" },
		{ "show --compress a", EINVAL, "--compress has no meaning" },
		{ "timeline a --worker mem=ipc://x", EINVAL, "--worker has no meaning" },
	};
	struct cmdline c;
	struct fault f;
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK(parse(&c, rows[i].line, &f) < 0);
		CHECK(f.code == rows[i].code);
		CHECK(strstr(f.text, rows[i].says));
	}
}

/* The command may stand anywhere. */
static void test_order(void)
{
	static const char *const lines[] = {
		"dump -t 12 -D dump -v4", "-t 12 -D dump -v4 dump", "-t 12 dump -D dump -v4",
		"-jt12 -v4 --images-dir dump dump",
		"-Ddump --verbosity=4 -t12 dump --cpu-cap=none --libdir x",
	};
	struct cmdline c;
	struct fault f;
	size_t i;

	for (i = 0; i < ARRAY_LEN(lines); i++) {
		CHECK(parse(&c, lines[i], &f) == 0);
		CHECK(c.command == CMD_DUMP && c.opts->pid == 12 && c.opts->log_level == 4);
		CHECK(!strcmp(c.opts->images_dir, "dump"));
	}
}

static void test_values(void)
{
	struct cmdline c;
	struct fault f;

	CHECK(parse(&c, "dump -t 1 -x12,345 -j", &f) == 0);
	CHECK(c.opts->ext_unix_sk && c.opts->shell_job && c.opts->n_external == 2);
	CHECK(!strcmp(c.opts->external[0], "unix[12]") && !strcmp(c.opts->external[1],
								  "unix[345]"));
	CHECK(parse(&c, "dump -t 1 -xj --no-ext-unix-sk", &f) == 0);
	CHECK(!c.opts->ext_unix_sk && c.opts->shell_job && !c.opts->n_external);
	CHECK(parse(&c, "restore --manage-cgroups -D x", &f) == 0);
	CHECK(!strcmp(c.opts->manage_cgroups, "soft") && !strcmp(c.opts->images_dir, "x"));
	CHECK(parse(&c, "restore --exec-cmd -v4 -- a --config b", &f) == 0);
	CHECK(c.exec_cmd && c.nargs == 3 && !strcmp(c.args[1], "--config") && !c.args[3]);
	CHECK(c.opts->restore_detached && c.opts->log_level == 4);
	CHECK(parse(&c, "dump -t 1", &f) == 0 && !c.opts->compress);
	CHECK(parse(&c, "dump -t 1 --compress", &f) == 0 && c.opts->compress);
	CHECK(parse(&c, "dump -t 1 --compress --no-compress", &f) == 0 && !c.opts->compress);
}

/* A line of a configuration file has its value behind a blank or "=". */
static void test_config(void)
{
	char path[] = "/tmp/options_test.XXXXXX", line[64];
	struct cmdline c;
	struct fault f;
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	dprintf(fd, "# none\nmanage-cgroups ignore\n\tverbosity=4 # all\nimages-dir = "
		"x\nleave-running\n");
	snprintf(line, sizeof(line), "dump -t 1 --config %s", path);
	CHECK(parse(&c, line, &f) == 0);
	CHECK(!strcmp(c.opts->manage_cgroups, "ignore") && c.opts->log_level == 4);
	CHECK(!strcmp(c.opts->images_dir, "x") && c.opts->leave_running);
	dprintf(fd, "leave-running no\n");
	CHECK(parse(&c, line, &f) < 0);
	CHECK(strstr(f.text, path) && strstr(f.text, "takes no value"));
	close(fd);
	unlink(path);
}

int main(void)
{
	check_run("what is refused", test_refused);
	check_run("the command among options", test_order);
	check_run("values of options", test_values);
	check_run("configuration files", test_config);
	return check_done();
}
