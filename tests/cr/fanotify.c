// SPDX-License-Identifier: MIT
/* fanotify.c - marks on a file and ignored events of a mount. */
#include <fcntl.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include "../case.h"

static int fd;

static void use(const char *name)
{
	int f = open(case_path(name), O_RDWR | O_CREAT, 0644);

	CHECK(f >= 0 && write(f, "x", 1) == 1);
	close(f);
}

/* All kinds of the events read by now. */
static unsigned int seen(void)
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

static void before(void)
{
	use("marked");
	use("other");
	fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC, O_RDONLY);
	CHECK(fd >= 0);
	CHECK(fanotify_mark(fd, FAN_MARK_ADD, FAN_MODIFY | FAN_CLOSE_WRITE, AT_FDCWD,
			    case_path("marked")) == 0);
	CHECK(fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY,
			    FAN_CLOSE_WRITE, AT_FDCWD, case_path("marked")) == 0);
}

static void after(void)
{
	seen();
	use("other");
	CHECK(seen() == 0);
	use("marked");
	CHECK(seen() == FAN_MODIFY);			/* FAN_CLOSE_WRITE is ignored */
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

const struct test_case test_case = {
	.proves = "fanotify marks and ignored events stay",
	.needs_root = true,
	.before = before,
	.after = after,
};
