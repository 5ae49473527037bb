/* SPDX-License-Identifier: MIT */
/*
 * scripts_test.c - action scripts learn what happens; one that fails is a fault, the others run.
 */
#include "coordinator/scripts.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"

#define DIR "/tmp/stasis-scripts-test-XXXXXX"

static char dir[sizeof(DIR)];

/* A script in our directory; returns its path. */
static char *script(const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", dir, name);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);

	CHECK(fd >= 0 && write_full(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return path;
}

static void run(const char *const *paths, size_t n, struct fault *f)
{
	Options opts = OPTIONS__INIT;
	struct job job = { .opts = &opts };

	opts.mode = MODE__MODE_DUMP;
	opts.has_pid = true;
	opts.pid = 4711;
	opts.action_script = (char **)paths;
	opts.n_action_script = n;
	job.image_dir = open(dir, O_RDONLY | O_DIRECTORY);
	CHECK((scripts_run(&job, "pre-dump", f) < 0) == (f->code != 0));
	close(job.image_dir);
}

static bool exists(const char *name)
{
	AUTO_FREE char *path = xasprintf("%s/%s", dir, name);

	return access(path, F_OK) == 0;
}

static void test_environment(void)
{
	AUTO_FREE char *path = script("env", "#!/bin/sh\n"
				      "[ \"$CRTOOLS_SCRIPT_ACTION\" = pre-dump ] &&\n"
				      "[ \"$CRTOOLS_INIT_PID\" = 4711 ] &&\n"
				      "touch \"$CRTOOLS_IMAGE_DIR/seen\"\n");
	struct fault f = { 0 };

	run((const char *[]){ path }, 1, &f);
	CHECK(f.code == 0 && exists("seen"));
}

static void test_failure(void)
{
	AUTO_FREE char *bad = script("bad", "#!/bin/sh\nexit 7\n");
	AUTO_FREE char *good = script("good", "#!/bin/sh\ntouch \"$CRTOOLS_IMAGE_DIR/after\"\n");
	struct fault f = { 0 };

	run((const char *[]){ bad, good }, 2, &f);
	CHECK(f.code && strstr(f.text, "bad exited with 7 at pre-dump"));
	CHECK(exists("after"));
}

static void test_absent(void)
{
	struct fault f = { 0 };

	run((const char *[]){ "/nonexistent/script" }, 1, &f);
	CHECK(f.code && strstr(f.text, "/nonexistent/script"));
}

int main(void)
{
	AUTO_FREE char *clean = NULL;

	strcpy(dir, DIR);
	if (!mkdtemp(dir))
		return 1;
	check_run("a script knows the action, the root task and the image directory",
		  test_environment);
	check_run("a script that fails is named, and the next one runs", test_failure);
	check_run("a script that does not exist is named", test_absent);
	clean = xasprintf("rm -r %s", dir);
	return system(clean) ? 1 : check_done();
}
