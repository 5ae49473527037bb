/* SPDX-License-Identifier: MIT */
/*
 * timerfd.c - timers that are read, timerfd_create(2).
 *
 * The image holds the time left, also of a timer set to a moment; that moment is now plus
 * the time left. Timers run again when all tables are filled.
 *
 * The kernel arms a periodic timer that has expired again only when it is read, or asked
 * for its time: so our duplicate is asked first, and fdinfo then shows the expirations so
 * far and the time to the next one. CRIU 4.2 shows such a timer as having no time left.
 *
 * Rights:   CAP_WAKE_ALARM for the clocks that wake a sleeping machine.
 * Holds:    nothing.
 */
#include "workers/files/timerfd.h"

#include <errno.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>

#include "proto/control/util.h"
#include "workers/files/anon.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"

#define NSEC 1000000000ull
#define SET_TICKS _IOW('T', 0, __u64)	/* TFD_IOC_SET_TICKS */

static bool match(const struct facts *x)
{
	return anon_is(x, "[timerfd]");
}

static bool read_pair(const char *text, uint64_t *sec, uint64_t *nsec)
{
	unsigned long long s, n;

	if (!text || sscanf(text, "(%llu, %llu)", &s, &n) != 2)
		return false;
	*sec = s;
	*nsec = n;
	return true;
}

static bool parse(const char *info, TimerfdEntry *p)
{
	const char *clock = anon_field(info, "clockid");
	const char *ticks = anon_field(info, "ticks");
	const char *flags = anon_field(info, "settime flags");

	if (!clock || !ticks || !flags)
		return false;
	p->clockid = strtoul(clock, NULL, 10);
	p->ticks = strtoull(ticks, NULL, 10);
	p->settime_flags = strtoul(flags, NULL, 8);
	return read_pair(anon_field(info, "it_value"), &p->vsec, &p->vnsec) &&
	       read_pair(anon_field(info, "it_interval"), &p->isec, &p->insec);
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	AUTO_FREE char *info = NULL;
	TimerfdEntry p = TIMERFD_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	struct itimerspec now;
	char who[400];

	if (timerfd_gettime(x->dup, &now) < 0)
		return fault(f, errno, "%s: read its time", facts_name(x, who, sizeof(who)));
	info = anon_info(x, f);
	if (!info)
		return -1;
	if (!parse(info, &p))
		return anon_unknown(x, "time", f);
	p.id = x->id;
	p.flags = x->flags;
	p.fown = x->fown;
	e.type = FD_TYPES__TIMERFD;
	e.id = x->id;
	e.tfd = &p;
	return files_write_entry(fs, &e, f);
}

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const TimerfdEntry *p = file->entry->tfd;

	(void)fs;
	if (!p || p->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete timerfd", file->id);
	if (p->vnsec >= NSEC || p->insec >= NSEC || p->vsec > INT64_MAX || p->isec > INT64_MAX)
		return fault(f, -EBADMSG, "files.img: timerfd %u: impossible time", file->id);
	return 0;
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	const TimerfdEntry *p = file->entry->tfd;

	(void)fs;
	file->fd = timerfd_create((int)p->clockid, TFD_CLOEXEC);
	if (file->fd < 0)
		return fault(f, errno, "make timerfd %u of clock %u", file->id, p->clockid);
	return files_set_flags(file->fd, p->flags, f) < 0 ? CREATE_FAILED : CREATED;
}

/* The time to set: relative, or a moment when the timer had been set to one. */
static int find_time(const TimerfdEntry *p, struct itimerspec *its, struct fault *f)
{
	struct timespec now;

	its->it_value = (struct timespec){ p->vsec, p->vnsec };
	its->it_interval = (struct timespec){ p->isec, p->insec };
	/* Overdue and not armed again, as CRIU's images have it: the period goes on. */
	if (!p->vsec && !p->vnsec && p->ticks)
		its->it_value = its->it_interval;
	if (!(p->settime_flags & TFD_TIMER_ABSTIME) ||
	    (!its->it_value.tv_sec && !its->it_value.tv_nsec))
		return 0;
	if (clock_gettime((clockid_t)p->clockid, &now) < 0)
		return fault(f, errno, "read clock %u", p->clockid);
	its->it_value.tv_nsec += now.tv_nsec;
	if (__builtin_add_overflow(its->it_value.tv_sec, now.tv_sec +
				   (its->it_value.tv_nsec >= (long)NSEC), &its->it_value.tv_sec))
		its->it_value.tv_sec = INT64_MAX;
	its->it_value.tv_nsec %= NSEC;
	return 0;
}

static int arm(const struct file *file, struct fault *f)
{
	const TimerfdEntry *p = file->entry->tfd;
	const uint64_t ticks = p->ticks;
	struct itimerspec its;

	if (find_time(p, &its, f) < 0)
		return -1;
	if (timerfd_settime(file->fd, (int)p->settime_flags, &its, NULL) < 0)
		return fault(f, errno, "set timerfd %u", file->id);
	if (ticks && ioctl(file->fd, SET_TICKS, &ticks) < 0)
		return fault(f, errno, "give timerfd %u its %llu expirations (needs a kernel with"
			     " CONFIG_CHECKPOINT_RESTORE)", file->id, (unsigned long long)ticks);
	return 0;
}

static int installed(struct files *fs, struct fault *f)
{
	struct restore *r = fs->restore;
	size_t i;

	for (i = 0; i < r->nfiles; i++)
		if (r->file[i].created && r->file[i].type == &timerfd_type &&
		    arm(&r->file[i], f) < 0)
			return -1;
	return 0;
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->tfd->fown;
}

const struct file_type timerfd_type = {
	.name = "timerfd",
	.deed = "goes on with the time left",
	.type = FD_TYPES__TIMERFD,
	.match = match,
	.dump = dump,
	.check = check,
	.create = create,
	.installed = installed,
	.fown = fown,
};
