// SPDX-License-Identifier: MIT
/*
 * devices.c - a task that uses devices and looks whether they are the same after a thaw.
 *
 *   devices DIR [LOOP]     open /dev/loop-control twice, duplicate one, map two pages of the
 *                          block device LOOP; then DIR/ready; when DIR/check appears:
 *                          DIR/result has "ok"
 *                          or what is wrong
 *   devices DIR unix FD    keep the socket FD, whose peer is elsewhere; what comes from it is the
 *                          result
 *
 * Alone:  mkdir /tmp/d; build/tests/programs/devices /tmp/d & ls -l /proc/$!/fd
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096 };

static const char *dir;

static void put(const char *name, const char *text)
{
	char path[4096], temp[4100];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(temp, sizeof(temp), "%s.t", path);
	f = fopen(temp, "w");
	if (!f || fputs(text, f) < 0 || fclose(f) || rename(temp, path) < 0)
		exit(1);
}

static void result(const char *text)
{
	put("result", text);
	pause();
}

static int need(int ok, const char *what)
{
	if (!ok)
		result(what);
	return ok;
}

static void await_check(void)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/check", dir);
	put("ready", "");
	while (access(path, F_OK) < 0)
		usleep(10000);
}

static int is_device(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_rdev == b.st_rdev;
}

static void keep_socket(int fd)
{
	char text[100] = "";

	await_check();
	need(read(fd, text, sizeof(text) - 1) >= 0, "read");
	result(text);
}

int main(int argc, char **argv)
{
	static const char path[] = "/dev/loop-control";
	int a = open(path, O_RDONLY), b = open(path, O_RDONLY | O_NONBLOCK), c = dup(a), loop = -1;
	char *map = NULL;

	dir = argv[1];
	if (argc > 3)
		keep_socket(atoi(argv[3]));
	need(a >= 0 && b >= 0 && c >= 0, "open");
	if (argc > 2) {
		loop = open(argv[2], O_RDWR);
		map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, loop, PAGE);
		need(map != MAP_FAILED && madvise(map, PAGE, MADV_DONTFORK) == 0, "map");
		/* Another mapping of it, not next to the first. */
		need(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, loop, 0) != MAP_FAILED, "map again");
		close(loop);
		need(map[0] == 'B', "contents before");
	}
	await_check();
	need(is_device(a, path) && is_device(b, path) && is_device(c, path), "another device");
	/* One open file has one set of flags. */
	need(fcntl(c, F_SETFL, O_NONBLOCK) == 0 && (fcntl(a, F_GETFL) & O_NONBLOCK),
	     "the duplicate is no duplicate");
	need(fcntl(b, F_SETFL, 0) == 0 && (fcntl(a, F_GETFL) & O_NONBLOCK), "two files became one");
	if (map) {
		char text[] = { 'm', map[0], '\0' };

		put("first", text);
		map[1] = 'w';
	}
	result("ok");
	return 0;
}
