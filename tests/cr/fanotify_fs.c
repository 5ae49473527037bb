// SPDX-License-Identifier: MIT
/* fanotify_fs.c - marks of a mount and of a whole file system. */
#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static int of_mount, of_fs;

static void use(const char *name)
{
	int f = open(case_path(name), O_RDWR | O_CREAT, 0644);

	CHECK(f >= 0 && write(f, "x", 1) == 1 && close(f) == 0);
}

/* All kinds of the events read by now. */
static unsigned int seen(int fd)
{
	_Alignas(struct fanotify_event_metadata) char buf[4096];
	struct fanotify_event_metadata *e = (void *)buf;
	unsigned int mask = 0;
	int n = read(fd, buf, sizeof(buf));

	for (; n > 0 && FAN_EVENT_OK(e, n); e = FAN_EVENT_NEXT(e, n)) {
		mask |= e->mask;
		close(e->fd);
	}
	return mask;
}

static int mark(unsigned int flags, unsigned int mask, const char *name)
{
	int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC, O_RDONLY);

	CHECK(fd >= 0);
	CHECK(fanotify_mark(fd, FAN_MARK_ADD | flags, mask, AT_FDCWD, case_path(name)) == 0);
	return fd;
}

static void before(void)
{
	CHECK(mkdir(case_path("a"), 0755) == 0 && mkdir(case_path("b"), 0755) == 0);
	CHECK(mount("none", case_path("a"), "tmpfs", 0, "size=64k") == 0);
	CHECK(mount(case_path("a"), case_path("b"), NULL, MS_BIND, NULL) == 0);
	of_mount = mark(FAN_MARK_MOUNT, FAN_MODIFY, "b");
	of_fs = mark(FAN_MARK_FILESYSTEM, FAN_OPEN | FAN_MODIFY, "b");
}

static void after(void)
{
	seen(of_mount);
	seen(of_fs);
	use("else");
	CHECK(seen(of_mount) == 0 && seen(of_fs) == 0);
	use("a/file");
	CHECK(seen(of_mount) == 0 && seen(of_fs) == (FAN_OPEN | FAN_MODIFY));
	use("b/file");
	CHECK(seen(of_mount) == FAN_MODIFY && seen(of_fs) == (FAN_OPEN | FAN_MODIFY));
	CHECK(umount2(case_path("b"), MNT_DETACH) == 0 && umount2(case_path("a"), MNT_DETACH) == 0);
}

const struct test_case test_case = {
	.proves = "fanotify marks of mounts and file systems stay",
	.criu_fails = "it has no marks of file systems",
	.needs_root = true,
	.before = before,
	.after = after,
};
