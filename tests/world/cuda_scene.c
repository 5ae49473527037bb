/* SPDX-License-Identifier: MIT */
/*
 * cuda_scene.c - CUDA tasks made of the stand-ins of tests/cuda (libcuda, cuda-checkpoint, a task),
 * in a mount namespace with a /dev of our own: no NVIDIA device is touched.
 *
 * Rights:   root.
 * Holds:    a directory below /tmp, the tasks of a scene.
 */
#include "tests/world/cuda_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"

static char base[64] = "/tmp/stasis-cuda-XXXXXX";	/* of this run */
static char parts[PATH_MAX];				/* build/tests/cuda */
static const char *kind;			/* what asks the driver: a stand-in's name */

char *scene_tool(void)
{
	return scene_part(kind);
}

static bool make_device(const char *dir, const char *name, int major_nr, int minor_nr)
{
	AUTO_FREE char *path = xasprintf("%s/%s", dir, name);

	return mknod(path, S_IFCHR | 0666, makedev(major_nr, minor_nr)) == 0;
}

static bool make_world(void)
{
	AUTO_FREE char *dev = NULL;
	char self[PATH_MAX] = "";

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 || !mkdtemp(base))
		return false;
	dev = xasprintf("%s/dev", base);
	snprintf(parts, sizeof(parts), "%.4000s/../cuda", dirname(self));
	if (mkdir(dev, 0755) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("dev", dev, "tmpfs", 0, "mode=755") < 0)
		return false;
	/* What can be opened and mapped: null twice, zero. */
	return make_device(dev, "null", 1, 3) && make_device(dev, "nvidiactl", 1, 3) &&
	       make_device(dev, "nvidia0", 1, 3) && make_device(dev, "nvidia-uvm", 1, 5) &&
	       mount(dev, "/dev", NULL, MS_MOVE, NULL) == 0;
}

char *scene_part(const char *name)
{
	return xasprintf("%s/%s", parts, name);
}

static char *read_text(const char *name, size_t size)
{
	AUTO_FREE char *path = xasprintf("%s/%s", base, name);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = xcalloc(1, size);

	if (fd >= 0 && read_full(fd, text, size - 1) < 0)
		text[0] = '\0';
	return text;
}

int scene_calls(const char *deed)
{
	AUTO_FREE char *log = read_text("log", 65536);
	char *line;
	int n = 0;

	for (line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
		n += !strncmp(line, deed, strlen(deed));
	return n;
}

/* The good calls of a task so far; -1: its memory is bad. */
static long progress(pid_t pid)
{
	AUTO_FREE char *name = xasprintf("count-%d", pid);
	AUTO_FREE char *text = read_text(name, 32);

	return strstr(text, "bad") ? -1 : atol(text);
}

bool scene_works(pid_t pid)
{
	long before = progress(pid), now = before;
	int i;

	for (i = 0; i < 1000 && now >= 0 && now < before + 3; i++) {
		usleep(5000);
		now = progress(pid);
	}
	return before >= 0 && now >= before + 3;
}

bool scene_stands(pid_t pid)
{
	long before = -1, now = progress(pid);
	int i;

	/* What was under way ends, soon or on a busy machine later. */
	for (i = 0; i < 20 && now != before; i++) {
		before = now;
		usleep(50000);
		now = progress(pid);
	}
	return before == now;
}

unsigned scene_state(pid_t pid)
{
	struct standin s;

	return standin_read(pid, &s) == OK ? s.state : 99;
}

static pid_t start_task(void)
{
	AUTO_FREE char *task = scene_part("task"), *lib = scene_part("libcuda.so.1");
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(task, task, lib, base, (char *)NULL);
		_exit(127);
	}
	CHECK(scene_works(pid));
	return pid;
}

void scene_script(const char *script)
{
	AUTO_FREE char *log = xasprintf("%s/log", base);

	unlink(log);
	setenv("STANDIN_LOG", log, 1);
	setenv("STANDIN_SCRIPT", script, 1);
}

void scene_begin(struct scene *s, const char *script)
{
	AUTO_FREE char *tool = scene_tool();
	size_t i;

	memset(s, 0, sizeof(*s));
	options__init(&s->opts);
	s->opts.timeout_s = 1;
	setenv("STASIS_CUDA", tool, 1);
	scene_script(script);
	for (i = 0; i < TASKS; i++)
		s->pid[i] = start_task();
	s->cuda = cuda_new(&s->opts);
}

void scene_finish(struct scene *s, bool alive)
{
	size_t i;

	cuda_free(s->cuda);
	for (i = 0; i < TASKS; i++) {
		if (alive)
			CHECK(scene_works(s->pid[i]));
		kill(s->pid[i], SIGKILL);
		waitpid(s->pid[i], NULL, 0);
	}
}

size_t scene_for_all(struct scene *s, int (*deed)(struct cuda *, pid_t, struct fault *))
{
	size_t i;

	for (i = 0; i < TASKS && deed(s->cuda, s->pid[i], &s->f) > 0; i++)
		;
	return i;
}

bool scene_says(const struct scene *s, const char *word)
{
	bool good = strstr(s->f.text, word);

	if (!good)
		fprintf(stderr, "said: %s\n", s->f.text);
	return good;
}

void scene_slow(const struct scene *s)
{
	AUTO_FREE char *path = xasprintf("%s/slow", base), *line = xasprintf("%d\n", s->pid[0]);
	bool is_slow = false;
	int i;

	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	for (i = 0; i < 5000 && !is_slow; i++) {
		AUTO_FREE char *text = read_text("slow", 4096);

		is_slow = strstr(text, line);
		usleep(1000);
	}
	CHECK(is_slow);
}

void scene_fast(void)
{
	AUTO_FREE char *path = xasprintf("%s/slow", base);

	CHECK(unlink(path) == 0);
}

static void by(const char *name, scene_tests *tests)
{
	kind = name;
	printf("# by %s\n", name);
	tests();
}

int scene_main(scene_tests *each, scene_tests *once)
{
	AUTO_FREE char *rm = NULL;

	if (geteuid() || !make_world()) {
		printf("skip - all: needs root, and a mount namespace of its own (%s)\n",
		       strerror(errno));
		return 77;
	}
	by("cuda-checkpoint", each);
	by("libcuda.so.1", each);
	by("cuda-checkpoint", once);
	rm = xasprintf("/bin/rm -r %s", base);
	if (system(rm) != 0)
		die("%s cannot be removed", base);
	return check_done();
}
