// SPDX-License-Identifier: MIT
/*
 * trace.c - a plugin that has all 15 hooks, writes down every call, and takes character devices of
 * major 10, mappings of loop devices and unix sockets.
 *
 *   PLUGIN_TRACE=FILE   a line for each call: its name, its arguments, and in what state the
 *                       task PLUGIN_PID is
 *   PLUGIN_PID=PID      that task; the hooks that name one set it themselves
 *   PLUGIN_DO=WHAT      "retry" (say so twice), "crash HOOK", "fail HOOK", "shift" (mappings move
 *                       by a page), "none" (take nothing), "await FILE" (PAUSE_DEVICES lasts
 *                       until FILE has something in it)
 *
 * Built by tests/harness/plugins.py. With -DMAX_HOOKS=10 it is one of an older release; with
 * -DVERSION=0x300 a newer.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "abi.h"

#ifndef MAX_HOOKS
#define MAX_HOOKS HOOKS
#endif
#ifndef VERSION
#define VERSION VERSION_02
#endif
#ifndef NAME
#define NAME "trace_plugin"
#endif

extern struct desc CR_PLUGIN_DESC;

static int task;		/* whose state is told */
static int kept = -1;		/* in the store of descriptors */
static int retries;
static bool named;		/* CRIU minds names that are given twice */

static char state_of(int pid)
{
	char path[64], text[512], *end;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = pid > 0 ? fopen(path, "r") : NULL;
	if (!f)
		return '-';
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	end = strrchr(text, ')');
	return end ? end[2] : '?';
}

static const char *what(void)
{
	const char *text = getenv("PLUGIN_DO");

	return text ? text : "";
}

static bool is_told(const char *deed, const char *hook)
{
	char text[80];

	snprintf(text, sizeof(text), "%s %s", deed, hook);
	return !strcmp(what(), text);
}

/* Write the line. 0, or -5 when this hook is to fail. */
static int trace(const char *hook, const char *format, ...)
{
	const char *path = getenv("PLUGIN_TRACE"), *pid = getenv("PLUGIN_PID");
	char text[400];
	va_list ap;
	FILE *f;

	if (!task && pid)
		task = atoi(pid);
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	f = path ? fopen(path, "a") : NULL;
	if (f) {
		fprintf(f, "%s%s%s state=%c\n", hook, *text ? " " : "", text, state_of(task));
		fclose(f);
	}
	print_on_level(3, "trace: %s %s\n", hook, text);
	if (is_told("crash", hook)) {
		signal(SIGSEGV, SIG_DFL);	/* the sanitizer's is not the end we want */
		raise(SIGSEGV);
	}
	return is_told("fail", hook) ? -5 : 0;
}

static bool takes(void)
{
	return strcmp(what(), "none");
}

/* ---- begin and end ---- */

static int init(int stage)
{
	int r = trace("init", "%d", stage);

	if (stage == STAGE_DUMP)
		return r;
	/* A dump without devices does not name us. */
	check_and_remove_inventory_plugin(NAME, strlen(NAME));
	return r;
}

static void fini(int stage, int result)
{
	trace("exit", "%d %d", stage, result);
}

/* ---- dump ---- */

static int await(const char *path)
{
	struct stat st;
	int i;

	for (i = 0; i < 10000; i++) {
		if (stat(path, &st) == 0 && st.st_size > 0)
			return 0;
		usleep(1000);
	}
	return -ETIMEDOUT;
}

static int pause_devices(int pid)
{
	int r;

	task = pid;
	r = trace("PAUSE_DEVICES", "%d", pid);
	return r || strncmp(what(), "await ", 6) ? r : await(what() + 6);
}

static int checkpoint(int pid)
{
	task = pid;
	return trace("CHECKPOINT_DEVICES", "%d", pid);
}

static int need_us(void)
{
	int r = named ? 0 : add_inventory_plugin(NAME);

	named = true;
	return r;
}

static int handle_vma(int fd, const struct stat *st)
{
	int r = trace("HANDLE_DEVICE_VMA", "%u:%u open=%d", major(st->st_rdev), minor(st->st_rdev),
		      (fcntl(fd, F_GETFL) & O_PATH) == 0);

	if (r || !takes() || !S_ISBLK(st->st_mode) || major(st->st_rdev) != 7)
		return r ? r : -ENOTSUP;
	return need_us();
}

static int write_file(const char *name, const char *text)
{
	int fd = openat(criu_get_image_dir(), name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int r = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;

	if (fd >= 0)
		close(fd);
	return r;
}

static int dump_file(int fd, int id)
{
	char self[40], path[200], name[40];
	struct stat st;
	ssize_t n;
	int r;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	r = trace("DUMP_EXT_FILE", "%s %s", path, id > 0 ? "id" : "?");
	if (r || !takes() || fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || major(st.st_rdev) != 10)
		return r ? r : -ENOTSUP;
	if (need_us())
		return -1;
	snprintf(name, sizeof(name), "trace-%d.img", id);
	return write_file(name, path);
}

static int dump_unix(int fd, int id)
{
	struct stat st;
	char name[40];
	int r = trace("DUMP_UNIX_SK", "%s", fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) &&
		      st.st_ino == (ino_t)id ? "ino" : "?");

	if (r || !takes())
		return r ? r : -ENOTSUP;
	snprintf(name, sizeof(name), "trace-sk-%d.img", id);
	return need_us() ? -1 : write_file(name, "unix");
}

static int dump_mount(char *mountpoint, int id)
{
	trace("DUMP_EXT_MOUNT", "%s %d", mountpoint, id);
	return -ENOTSUP;
}

static int dump_link(int index, int type, char *kind)
{
	trace("DUMP_EXT_LINK", "%d %d %s", index, type, kind);
	return -ENOTSUP;
}

static int dump_late(int pid)
{
	task = pid;
	return trace("DUMP_DEVICES_LATE", "%d", pid);
}

/* ---- restore ---- */

static int restore_init(void)
{
	kept = fdstore_add(criu_get_image_dir());
	return trace("RESTORE_INIT", "%s", kept >= 0 ? "stored" : "?");
}

static int post_forking(void)
{
	return trace("POST_FORKING", "%s", "");
}

static int restore_file(int id, bool *retry)
{
	/* < 0: there was no RESTORE_INIT. */
	int dir = kept < 0 ? dup(criu_get_image_dir()) : fdstore_get(kept), fd, r;
	char name[40], path[200] = "";
	ssize_t n;

	snprintf(name, sizeof(name), "trace-%d.img", id);
	fd = openat(dir, name, O_RDONLY);
	n = fd >= 0 ? read(fd, path, sizeof(path) - 1) : 0;
	close(dir);
	if (fd >= 0)
		close(fd);
	path[n > 0 ? n : 0] = '\0';
	r = trace("RESTORE_EXT_FILE", "%s", path);
	if (r || !*path)
		return r ? r : -ENOTSUP;
	if (!strcmp(what(), "retry") && retries++ < 2) {
		*retry = true;
		return 0;
	}
	return open(path, O_RDONLY);
}

static int update_map(const char *path, uint64_t address, uint64_t old, uint64_t *new, int *fd)
{
	int r = trace("UPDATE_VMA_MAP", "%s %s %llx", path, address ? "address" : "?",
		      (unsigned long long)old);

	if (r || strncmp(path, "/dev/loop", 9))
		return r ? r : -ENOTSUP;
	if (strcmp(what(), "shift"))
		return 0;
	*new = old + 4096;
	*fd = open(path, O_RDWR);
	return 1;
}

static int restore_unix(int id)
{
	int ends[2], r = trace("RESTORE_UNIX_SK", "%s", id ? "ino" : "?");

	if (r || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		return r ? r : -1;
	/* What the other end says when it is gone. */
	if (write(ends[1], "plugin", 6) != 6)
		return -1;
	close(ends[1]);
	return ends[0];
}

static int restore_mount(int id, char *mountpoint, char *old_root, int *is_file)
{
	trace("RESTORE_EXT_MOUNT", "%d %s %s %d", id, mountpoint, old_root, *is_file);
	return -ENOTSUP;
}

static int resume(int pid)
{
	task = pid;
	return trace("RESUME_DEVICES_LATE", "%d", pid);
}

struct desc CR_PLUGIN_DESC = {
	.name = NAME, .init = init, .exit = fini, .version = VERSION, .max_hooks = MAX_HOOKS,
	.hooks = {
		[DUMP_UNIX_SK] = dump_unix, [RESTORE_UNIX_SK] = restore_unix,
		[DUMP_EXT_FILE] = dump_file,
		[RESTORE_EXT_FILE] = restore_file, [DUMP_EXT_MOUNT] = dump_mount,
		[RESTORE_EXT_MOUNT] = restore_mount, [DUMP_EXT_LINK] = dump_link,
		[HANDLE_DEVICE_VMA] = handle_vma, [UPDATE_VMA_MAP] = update_map,
		[RESUME_DEVICES_LATE] = resume,
		[PAUSE_DEVICES] = pause_devices, [CHECKPOINT_DEVICES] = checkpoint,
		[POST_FORKING] = post_forking, [RESTORE_INIT] = restore_init,
		[DUMP_DEVICES_LATE] = dump_late,
	},
};
