/* SPDX-License-Identifier: MIT */
/*
 * clocks.c - CLOCK_MONOTONIC and CLOCK_BOOTTIME of the tree, both directions.
 *
 * Dump:     timens-0.img has what the root task's clocks showed.
 * Restore:  the root task, alone still, makes a time namespace, sets its offsets and enters it:
 *           for the tree no time has passed since the dump, also after a reboot or on
 *           another machine. Without that an absolute timeout would come too soon or never.
 * Rights:   in the root task: CAP_SYS_ADMIN, CAP_SYS_TIME.
 * Holds:    restore: births.clocks, from clocks_read on.
 */
#include "coordinator/clocks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "coordinator/births.h"
#include "coordinator/inherited.h"
#include "coordinator/ops.h"
#include "proto/control/util.h"
#include "proto/images/image.h"
#include "proto/images/namespaces.pb-c.h"
#include "workers/common/log.h"

#define NS INT64_C(1000000000)
#define OFFSETS "/proc/self/timens_offsets"
#define SECONDS_MAX (1ull << 32) /* the kernel takes half of what 64 bits of nanoseconds hold */

/* ---- dump ---- */

static void clock_entry(const struct timespec *ts, Timespec *e)
{
	timespec__init(e);
	e->tv_sec = ts->tv_sec;
	e->tv_nsec = ts->tv_nsec;
}

int clocks_write(struct job *job, const struct clocks *clocks, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_create(job->image_dir, IMG_TIMENS, 0, f);
	TimensEntry e = TIMENS_ENTRY__INIT;
	Timespec monotonic, boottime;

	clock_entry(&clocks->monotonic, &monotonic);
	clock_entry(&clocks->boottime, &boottime);
	e.monotonic = &monotonic;
	e.boottime = &boottime;
	if (!img || image_write(img, &e.base, f) < 0)
		return -1;
	return image_close(&img, f);
}

/* ---- restore ---- */

static int check_clock(const struct image *img, const Timespec *t, struct fault *f)
{
	if (t->tv_sec >= SECONDS_MAX || t->tv_nsec >= NS)
		return fault(f, -EINVAL, "%s: a clock shows %" PRIu64 ".%09" PRIu64
			     " s, which is out of range", image_label(img), t->tv_sec, t->tv_nsec);
	return 0;
}

int clocks_read(struct job *job, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open_optional(job->image_dir, IMG_TIMENS,
							   job->tasks[0]->time_ns_id, f);
	AUTO_MSG ProtobufCMessage *msg = NULL;
	const TimensEntry *e;
	struct clocks *c;

	if (!img)
		return f->code ? -1 : 0;
	if (image_read_one(img, &msg, f) < 0)
		return -1;
	e = (const TimensEntry *)msg;
	if (check_clock(img, e->monotonic, f) < 0 || check_clock(img, e->boottime, f) < 0)
		return -1;
	c = births_of(job)->clocks = xcalloc(1, sizeof(*c));
	c->monotonic = (struct timespec){ e->monotonic->tv_sec, e->monotonic->tv_nsec };
	c->boottime = (struct timespec){ e->boottime->tv_sec, e->boottime->tv_nsec };
	return 0;
}

static int64_t nanoseconds(const struct timespec *t)
{
	return t->tv_sec * NS + t->tv_nsec;
}

/* Our own clocks may be those of a time namespace: by how much one is ahead of the machine's. */
static int64_t own_offset(clockid_t clock)
{
	AUTO_FCLOSE FILE *s = fopen(OFFSETS, "re");
	const char *const name = clock == CLOCK_MONOTONIC ? "monotonic" : "boottime";
	long long sec, ns;
	char word[16];

	while (s && fscanf(s, "%15s %lld %lld", word, &sec, &ns) == 3)
		if (!strcmp(word, name))
			return sec * NS + ns;
	return 0;
}

/* "CLOCK SECONDS NANOSECONDS", the latter not negative, appended to text. */
static void add_offset(char *text, size_t size, clockid_t clock, const struct timespec *want)
{
	size_t used = strlen(text);
	struct timespec now;
	int64_t offset, ns;

	clock_gettime(clock, &now);
	offset = nanoseconds(want) - (nanoseconds(&now) - own_offset(clock));
	ns = offset % NS < 0 ? offset % NS + NS : offset % NS;
	snprintf(text + used, size - used, "%d %" PRId64 " %" PRId64 "\n", clock,
		 (offset - ns) / NS, ns);
}

static bool may_set(const struct births *p)
{
	const uint64_t needed = 1ull << CAP_SYS_ADMIN | 1ull << CAP_SYS_TIME;

	if (access(OFFSETS, F_OK) < 0)
		return false;
	if ((p->ours->status.cap_eff & needed) == needed)
		return true;
	log_warnx("the tree's monotonic clocks jump: to go on from the dump they need "
		  "CAP_SYS_ADMIN and CAP_SYS_TIME");
	return false;
}

int clocks_restore(struct job *job, struct fault *f)
{
	const struct clocks *c = births_of(job)->clocks;
	AUTO_OPS struct ops *o = NULL;
	struct gate_arg offsets, space, at;
	char text[128] = "";

	if (!c || !may_set(births_of(job)))
		return 0;
	o = ops_begin(job->tasks[0]);
	if (ops_reserve(o, 7, 512, f) < 0)
		return -1;
	ops_add(o, 0, "make a time namespace", SYS_unshare, 1, gc(CLONE_NEWTIME));
	ops_add(o, 0, "open " OFFSETS, SYS_openat, 3, gc(AT_FDCWD), ops_put_str(o, OFFSETS),
		gc(O_WRONLY));
	offsets = ops_last(o);
	add_offset(text, sizeof(text), CLOCK_MONOTONIC, &c->monotonic);
	add_offset(text, sizeof(text), CLOCK_BOOTTIME, &c->boottime);
	at = ops_put_str(o, text);
	ops_add(o, 0, "set its monotonic clocks", SYS_write, 3, offsets, at, gc(strlen(text)));
	ops_add(o, 0, "open its time namespace", SYS_openat, 3, gc(AT_FDCWD),
		ops_put_str(o, "/proc/self/ns/time_for_children"), gc(O_RDONLY));
	space = ops_last(o);
	ops_add(o, 0, "enter its time namespace", SYS_setns, 2, space, gc(CLONE_NEWTIME));
	ops_try(o, 0, SYS_close, 1, space);
	ops_try(o, 0, SYS_close, 1, offsets);
	return ops_run(o, f);
}
