/* SPDX-License-Identifier: MIT */
/*
 * deliver.c - bring descriptors of this worker into tasks.
 *
 * The quick way is one batch per task, all tasks at work together: the task's agent fetches the
 * descriptors from us (pidfd_getfd), keeps them above all numbers in use, then moves each to its
 * place. Large tables are sent over a socket instead, 253 at a time (a fetch costs the kernel an
 * access check each), as is everything where the kernel does not let the task fetch (EPERM: an
 * unprivileged restore) or numbers or arena are too short.
 *
 * Rights:   CAP_SYS_RESOURCE for numbers above a task's hard limit.
 * Holds:    the gates of the tasks while it runs.
 */
#include "workers/files/deliver.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/common/spare.h"
#include "workers/files/files.h"

#define GATE_TIMEOUT_MS 30000
#define OPS_PER_FD 4
#define OPS_BESIDES 20

/*
 * Let the task use numbers below n: the limit of its image is set later. 0 when it may not, for
 * a caller that has another way; explain: then it is a fault.
 */
static int allow_numbers(struct task_files *t, uint32_t n, bool explain, struct fault *f)
{
	struct rlimit old, new;

	if (n <= t->allowed)
		return 1;
	if (prlimit(t->pid, RLIMIT_NOFILE, NULL, &old) < 0)
		return fault(f, errno, "read the limits of task %d", t->pid);
	new.rlim_max = old.rlim_max > n ? old.rlim_max : n;
	new.rlim_cur = old.rlim_cur > n ? old.rlim_cur : n;
	if (old.rlim_cur < n && prlimit(t->pid, RLIMIT_NOFILE, &new, NULL) < 0) {
		if (!explain)
			return 0;
		return fault(f, errno, "task %d uses descriptor numbers up to %u, above the limit"
			     " of %llu here; raise it (ulimit -Hn)", t->pid, n - 1,
			     (unsigned long long)old.rlim_max);
	}
	t->allowed = new.rlim_cur > UINT32_MAX ? UINT32_MAX : new.rlim_cur;
	return 1;
}

/* Fetched */

/*
 * Fetch fd of ours (pidfd: the number of operation "duplicate of our pidfd") and move it above
 * spare. Returns the operation whose result is the new number.
 */
static int fetch_op(struct batch *b, int pidfd, int fd, uint32_t spare)
{
	const uint32_t stop = GATE_STOP_ON_ERROR;
	int got = batch_op(b, 0, stop, SYS_pidfd_getfd, 3, gr(pidfd), gc(fd), gc(0));
	int high = batch_op(b, 0, stop, SYS_fcntl, 3, gr(got), gc(F_DUPFD_CLOEXEC), gc(spare));

	batch_op(b, 0, stop, SYS_close, 1, gr(got));
	return high;
}

static void dirs_ops(struct batch *b, const struct delivery *d, int pidfd)
{
	const uint32_t stop = GATE_STOP_ON_ERROR;
	int high;

	if (d->root >= 0) {
		high = fetch_op(b, pidfd, d->root, d->spare);
		batch_op(b, 0, stop, SYS_fchdir, 1, gr(high));
		batch_op(b, 0, stop, SYS_chroot, 1, ga(batch_put_str(b, ".")));
	}
	high = fetch_op(b, pidfd, d->cwd, d->spare);
	batch_op(b, 0, stop, SYS_fchdir, 1, gr(high));
	if (d->task->fs->has_umask)
		batch_op(b, 0, stop, SYS_umask, 1, gc(d->task->fs->umask & 0777));
}

/*
 * All operations for one task. Nothing is placed before everything has been fetched: the numbers
 * on which things arrive may be places.
 */
static void add_ops(struct batch *b, struct delivery *d)
{
	AUTO_FREE int *high = xcalloc(d->n, sizeof(int));
	const uint32_t stop = GATE_STOP_ON_ERROR;
	int low, pidfd;
	size_t i;

	low = batch_op(b, 0, stop, SYS_pidfd_open, 2, gc(getpid()), gc(0));
	pidfd = batch_op(b, 0, stop, SYS_fcntl, 3, gr(low), gc(F_DUPFD_CLOEXEC), gc(d->spare));
	batch_op(b, 0, stop, SYS_close, 1, gr(low));
	for (i = 0; i < d->n; i++)
		high[i] = fetch_op(b, pidfd, d->p[i].fd, d->spare);
	if (d->dirs)
		dirs_ops(b, d, pidfd);
	if (d->exact && d->spare)
		batch_op(b, 0, stop, SYS_close_range, 3, gc(0), gc(d->spare - 1), gc(0));
	for (i = 0; i < d->n; i++)
		batch_op(b, 0, stop, SYS_dup3, 3, gr(high[i]), gc(d->p[i].at), gc(d->p[i].flags));
	d->last = batch_op(b, 0, stop, SYS_close_range, 3, gc(d->spare), gc(~0u), gc(0));
}

/* Start the batch of one task, if this way can be gone. */
static int start(struct delivery *d, struct fault *f)
{
	const size_t ops = d->n * OPS_PER_FD + OPS_BESIDES;
	int r;

	if (d->n > SPARE_FETCHED)
		return 0;
	r = allow_numbers(d->task, d->spare + d->n + SPARE_BESIDES, false, f);
	if (r <= 0)
		return r;
	d->batch = batch_begin(d->task->gate);
	if (batch_room(d->batch) < ops * sizeof(struct gate_op)) {
		batch_end(d->batch);
		d->batch = NULL;
		return 0;
	}
	add_ops(d->batch, d);
	batch_start(d->batch);
	return 0;
}

/* Which operation failed? -1: none. */
static int failed_op(const struct batch *b, int last)
{
	int i;

	for (i = 0; i <= last; i++)
		if (batch_result(b, 0, i) < 0)
			return i;
	return -1;
}

static int wait(struct files *fs, struct delivery *d, struct fault *f)
{
	int bad, r = batch_wait(d->batch, GATE_TIMEOUT_MS, f);
	int64_t err;

	if (r == 0) {
		bad = failed_op(d->batch, d->last);
		err = bad < 0 ? 0 : batch_result(d->batch, 0, bad);
		d->done = bad < 0;
		/* The first fetch: the task may not do that at all. */
		if (bad >= 0 && bad <= 3)
			fs->restore->no_fetch = true;
		else if (bad >= 0)
			r = fault(f, -err, "task %d: place its descriptors or enter its directories"
				  " (step %d of %d)", d->task->pid, bad, d->last + 1);
	}
	batch_end(d->batch);
	d->batch = NULL;
	return r;
}

/* Sent */

static int send_fds(const struct delivery *d, const struct placement *p, size_t n, struct fault *f)
{
	AUTO_FREE int *fds = xcalloc(n, sizeof(int));
	AUTO_FREE int *at = xcalloc(n, sizeof(int));
	AUTO_FREE int *flags = xcalloc(n, sizeof(int));
	struct gate_channel *c;
	size_t i;
	int r;

	for (i = 0; i < n; i++) {
		fds[i] = p[i].fd;
		at[i] = p[i].at;
		flags[i] = p[i].flags;
	}
	c = gate_channel_open(d->task->gate, d->spare + 2, f);
	if (!c)
		return -1;
	r = gate_send_fds(c, fds, at, flags, n, f);
	if (gate_channel_close(c, f) < 0)
		r = -1;
	return r;
}

/* The directories were placed at spare and spare + 1. Closes those and what is too much. */
static int settle(const struct delivery *d, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(d->task->gate);
	const uint32_t stop = GATE_STOP_ON_ERROR;
	int bad, last;

	if (d->dirs && d->root >= 0) {
		batch_op(b, 0, stop, SYS_fchdir, 1, gc(d->spare + 1));
		batch_op(b, 0, stop, SYS_chroot, 1, ga(batch_put_str(b, ".")));
	}
	if (d->dirs)
		batch_op(b, 0, stop, SYS_fchdir, 1, gc(d->spare));
	if (d->dirs && d->task->fs->has_umask)
		batch_op(b, 0, stop, SYS_umask, 1, gc(d->task->fs->umask & 0777));
	last = batch_op(b, 0, stop, SYS_close_range, 3, gc(d->spare), gc(~0u), gc(0));
	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	bad = failed_op(b, last);
	if (bad >= 0)
		return fault(f, -batch_result(b, 0, bad), "enter its working or root directory"
			     " (step %d)", bad);
	return 0;
}

static int clear_table(const struct delivery *d, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(d->task->gate);

	batch_op(b, 0, 0, SYS_close_range, 3, gc(0), gc(~0u), gc(0));
	return batch_run(b, GATE_TIMEOUT_MS, f);
}

static int deliver_by_socket(struct delivery *d, struct fault *f)
{
	AUTO_FREE struct placement *p = xcalloc(d->n + 2, sizeof(*p));
	size_t i, n = 0;

	if (allow_numbers(d->task, d->spare + 6, true, f) < 0)
		return -1;
	for (i = 0; i < d->n; i++)
		p[n++] = d->p[i];
	if (d->dirs)
		p[n++] = (struct placement){ d->cwd, d->spare, 0 };
	if (d->dirs && d->root >= 0)
		p[n++] = (struct placement){ d->root, d->spare + 1, 0 };
	if ((d->exact && clear_table(d, f) < 0) || (n && send_fds(d, p, n, f) < 0) ||
	    settle(d, f) < 0)
		return fault_prefix(f, "task %d", d->task->pid);
	return 0;
}

int deliver(struct files *fs, struct delivery *d, size_t n, struct fault *f)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n && r == 0 && !fs->restore->no_fetch; i++)
		r = start(&d[i], f);
	for (i = 0; i < n; i++)
		if (d[i].batch && wait(fs, &d[i], f) < 0)
			r = -1;
	for (i = 0; i < n && r == 0; i++)
		if (!d[i].done)
			r = deliver_by_socket(&d[i], f);
	return r;
}
