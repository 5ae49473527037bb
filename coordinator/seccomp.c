/* SPDX-License-Identifier: MIT */
/*
 * seccomp.c - seccomp modes and filters, both directions.
 *
 * Dump:     the tracer reads the programs of each stopped thread, newest first. They become a
 *           list in which each names the one installed before it.
 * Restore:  installed by the thread itself while it still has all rights. From then on its agent
 *           goes on working only because tracing suspends the filters, which ends when we let the
 *           thread go.
 * Rights:   CAP_SYS_ADMIN, and no seccomp of our own.
 * Holds:    dump: the list.
 */
#include "coordinator/seccomp.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "coordinator/ops.h"
#include "coordinator/stops.h"
#include "proto/control/util.h"
#include "proto/images/image.h"

#define TIMEOUT_MS 10000
#define TRACE_OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP)
#define NO_FILTER UINT32_MAX
#define KNOWN_FLAGS (SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | \
		     SECCOMP_FILTER_FLAG_SPEC_ALLOW)

/* struct seccomp_metadata of <linux/ptrace.h>, which cannot be had beside <sys/ptrace.h>. */
struct metadata {
	uint64_t index, flags;
};

struct filters {
	SeccompFilter **list;
	pid_t *owner;			/* the task of each: lists are not shared between tasks */
	size_t n, cap, owner_cap;
};

bool seccomp_can_suspend(void)
{
	cap_flag_value_t has = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	if (caps) {
		cap_get_flag(caps, CAP_SYS_ADMIN, CAP_EFFECTIVE, &has);
		cap_free(caps);
	}
	return has == CAP_SET && prctl(PR_GET_SECCOMP) == SECCOMP_MODE_DISABLED;
}

/* ---- dump ---- */

struct filters *filters_new(void)
{
	return xcalloc(1, sizeof(struct filters));
}

void filters_free(struct filters *s)
{
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->n; i++)
		seccomp_filter__free_unpacked(s->list[i], NULL);
	free(s->list);
	free(s->owner);
	free(s);
}

/* The program number `index` of a thread, counted from the newest. */
static int read_filter(pid_t tid, unsigned long index, size_t n, SeccompFilter *e, struct fault *f)
{
	struct metadata meta = { .index = index };

	seccomp_filter__init(e);
	e->filter.len = n * sizeof(struct sock_filter);
	e->filter.data = xcalloc(n, sizeof(struct sock_filter));
	if (ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, e->filter.data) != (long)n)
		return fault(f, errno, "read seccomp filter %lu of thread %d", index, tid);
	e->has_flags = true;
	if (ptrace(PTRACE_SECCOMP_GET_METADATA, tid, sizeof(meta), &meta) == sizeof(meta))
		e->flags = meta.flags;
	return 0;
}

static bool same_filter(const SeccompFilter *a, const SeccompFilter *b)
{
	return a->has_prev == b->has_prev && a->prev == b->prev && a->flags == b->flags &&
	       a->filter.len == b->filter.len &&
	       !memcmp(a->filter.data, b->filter.data, a->filter.len);
}

/* The number of e in the list, which it joins when it is new (e is emptied then). */
static uint32_t add_filter(struct filters *s, pid_t pid, SeccompFilter *e)
{
	SeccompFilter **slot;
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->owner[i] == pid && same_filter(s->list[i], e))
			return i;
	slot = grow(&s->list, s->n, &s->cap, sizeof(*slot));
	*slot = xcalloc(1, sizeof(**slot));
	**slot = *e;
	e->filter.data = NULL;
	*(pid_t *)grow(&s->owner, s->n, &s->owner_cap, sizeof(pid_t)) = pid;
	return s->n++;
}

/* How many programs a thread has; fills size[], their lengths, when it is not NULL. */
static long count_filters(pid_t tid, size_t *size)
{
	long n, count;

	for (count = 0;; count++) {
		n = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, count, NULL);
		if (n <= 0)
			return count;
		if (size)
			size[count] = n;
	}
}

int filters_dump(struct filters *s, pid_t pid, pid_t tid, ThreadCoreEntry *tc, struct fault *f)
{
	AUTO_FREE size_t *size = NULL;
	long count = count_filters(tid, NULL);
	uint32_t number = NO_FILTER;

	if (!count)
		return 0;
	size = xcalloc(count, sizeof(*size));
	count_filters(tid, size);
	while (count-- > 0) {
		SeccompFilter e;
		int r = read_filter(tid, count, size[count], &e, f);

		if (number != NO_FILTER) {
			e.has_prev = true;
			e.prev = number;
		}
		if (r == 0)
			number = add_filter(s, pid, &e);
		free(e.filter.data);
		if (r < 0)
			return -1;
	}
	tc->has_seccomp_mode = tc->has_seccomp_filter = true;
	tc->seccomp_mode = SECCOMP_MODE__filter;
	tc->seccomp_filter = number;
	return 0;
}

void filters_share(struct filters *s, const struct task *t)
{
	const ThreadCoreEntry *leader = t->threads[0].core->thread_core;
	uint32_t number;
	size_t i;

	if (!leader->has_seccomp_filter)
		return;
	for (i = 1; i < t->nthreads; i++) {
		const ThreadCoreEntry *tc = t->threads[i].core->thread_core;

		if (!tc->has_seccomp_filter || tc->seccomp_filter != leader->seccomp_filter)
			return;
	}
	for (i = 1; i < t->nthreads; i++) {
		ThreadCoreEntry *tc = t->threads[i].core->thread_core;

		tc->has_seccomp_mode = tc->has_seccomp_filter = false;
	}
	for (number = leader->seccomp_filter;; number = s->list[number]->prev) {
		s->list[number]->flags |= SECCOMP_FILTER_FLAG_TSYNC;
		if (!s->list[number]->has_prev)
			break;
	}
}

int filters_write(const struct filters *s, int image_dir, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	SeccompEntry e = SECCOMP_ENTRY__INIT;

	if (!s->n)
		return 0;
	e.seccomp_filters = s->list;
	e.n_seccomp_filters = s->n;
	img = image_create(image_dir, IMG_SECCOMP, 0, f);
	if (!img || image_write(img, &e.base, f) < 0)
		return -1;
	return image_close(&img, f);
}

/* ---- restore ---- */

static SeccompMode mode_of(const struct thread *th)
{
	const ThreadCoreEntry *tc = th->core->thread_core;

	return tc && tc->has_seccomp_mode ? tc->seccomp_mode : SECCOMP_MODE__disabled;
}

unsigned long seccomp_thread_options(const struct thread *th)
{
	return mode_of(th) != SECCOMP_MODE__disabled ? PTRACE_O_SUSPEND_SECCOMP : 0;
}

unsigned long seccomp_trace_options(const struct task *t)
{
	size_t i;

	for (i = 0; t->state != TASK_ZOMBIE && i < t->nthreads; i++)
		if (mode_of(&t->threads[i]) != SECCOMP_MODE__disabled)
			return PTRACE_O_SUSPEND_SECCOMP;
	return 0;
}

static bool any_seccomp(const struct job *job)
{
	size_t i;

	for (i = 0; i < job->ntasks; i++)
		if (seccomp_trace_options(job->tasks[i]))
			return true;
	return false;
}

static SeccompEntry *no_filters(void)
{
	SeccompEntry *e = xcalloc(1, sizeof(*e));

	seccomp_entry__init(e);
	return e;
}

/*
 * seccomp.img, which is not there when all are strict; every program has a length that the kernel
 * takes, and its prev comes earlier.
 */
static SeccompEntry *load_filters(struct job *job, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open_optional(job->image_dir, IMG_SECCOMP, 0, f);
	AUTO_MSG ProtobufCMessage *msg = NULL;
	const SeccompEntry *e;
	size_t i;

	if (!img)
		return f->code ? NULL : no_filters();
	if (image_read_one(img, &msg, f) < 0)
		return NULL;
	e = (const SeccompEntry *)msg;
	for (i = 0; i < e->n_seccomp_filters; i++) {
		const SeccompFilter *one = e->seccomp_filters[i];
		size_t n = one->filter.len / sizeof(struct sock_filter);

		if (!n || n > BPF_MAXINSNS || one->filter.len % sizeof(struct sock_filter) ||
		    (one->has_prev && one->prev >= i) || (one->flags & ~KNOWN_FLAGS)) {
			fault(f, -EBADMSG, "%s: filter %zu is damaged", image_label(img), i);
			return NULL;
		}
	}
	return take_ptr(&msg);
}

static int check_thread(const SeccompEntry *e, const struct thread *th, struct fault *f)
{
	const ThreadCoreEntry *tc = th->core->thread_core;

	if (mode_of(th) != SECCOMP_MODE__filter)
		return 0;
	if (!tc->has_seccomp_filter || tc->seccomp_filter >= e->n_seccomp_filters)
		return fault(f, -EBADMSG, "core-%d.img: its seccomp filter %u is not in "
			     "seccomp.img", th->vtid, tc->seccomp_filter);
	return 0;
}

int seccomp_check(struct job *job, struct fault *f)
{
	AUTO_MSG SeccompEntry *e = NULL;
	size_t i, k;

	if (!any_seccomp(job))
		return 0;
	if (!seccomp_can_suspend())
		return fault(f, -EPERM, "a task has seccomp filters: restoring them needs "
			     "CAP_SYS_ADMIN and a stasis that has none itself");
	e = load_filters(job, f);
	if (!e)
		return -1;
	for (i = 0; i < job->ntasks; i++)
		for (k = 0; job->tasks[i]->state != TASK_ZOMBIE && k < job->tasks[i]->nthreads; k++)
			if (check_thread(e, &job->tasks[i]->threads[k], f) < 0)
				return -1;
	return 0;
}

/* Leaders are traced already, without the option: it can be set in a stop only. */
static int suspend_leader(struct thread *th, struct fault *f)
{
	int status;

	if (ptrace(PTRACE_INTERRUPT, th->tid, NULL, NULL) < 0 ||
	    stop_wait_event(th->tid, TIMEOUT_MS, &status) <= 0 ||
	    ptrace(PTRACE_SETOPTIONS, th->tid, NULL, TRACE_OPTIONS) < 0 ||
	    ptrace(PTRACE_CONT, th->tid, NULL, 0) < 0)
		return fault(f, errno, "suspend the seccomp filters of thread %d", th->tid);
	return 0;
}

static int suspend(struct task *t, struct fault *f)
{
	size_t k;

	for (k = 0; k < t->nthreads; k++) {
		struct thread *th = &t->threads[k];

		if (th->seized) {
			if (suspend_leader(th, f) < 0)
				return -1;
			continue;
		}
		if (ptrace(PTRACE_SEIZE, th->tid, NULL, TRACE_OPTIONS) < 0)
			return fault(f, errno, "seize thread %d", th->tid);
		th->seized = true;
	}
	return 0;
}

/* The oldest first: each program is installed upon its prev. */
static int add_chain(struct ops *o, const struct task *t, uint32_t thread, const SeccompEntry *e,
		     uint32_t number, struct fault *f)
{
	const SeccompFilter *one = e->seccomp_filters[number];
	struct sock_fprog prog = { .len = one->filter.len / sizeof(struct sock_filter) };
	struct gate_arg code;

	if (one->has_prev && add_chain(o, t, thread, e, one->prev, f) < 0)
		return -1;
	if (ops_reserve(o, 1, one->filter.len + sizeof(prog) + 32, f) < 0)
		return -1;
	code = ops_put(o, one->filter.data, one->filter.len);
	prog.filter = (struct sock_filter *)(gate_arena_address(t->gate) + code.value);
	ops_add(o, thread, "install its seccomp filters", SYS_seccomp, 3,
		gc(SECCOMP_SET_MODE_FILTER), gc(one->flags), ops_put(o, &prog, sizeof(prog)));
	ops_expect(o, 0);
	return 0;
}

static int install(struct task *t, const SeccompEntry *e, struct fault *f)
{
	AUTO_OPS struct ops *o = ops_begin(t);
	size_t k;

	for (k = 0; k < t->nthreads; k++) {
		const ThreadCoreEntry *tc = t->threads[k].core->thread_core;

		if (mode_of(&t->threads[k]) == SECCOMP_MODE__filter &&
		    add_chain(o, t, k, e, tc->seccomp_filter, f) < 0)
			return -1;
		if (mode_of(&t->threads[k]) != SECCOMP_MODE__strict)
			continue;
		if (ops_reserve(o, 1, 0, f) < 0)
			return -1;
		ops_add(o, k, "enter the strict seccomp mode", SYS_seccomp, 3,
			gc(SECCOMP_SET_MODE_STRICT), gc(0), gc(0));
		ops_expect(o, 0);
	}
	return ops_run(o, f);
}

int seccomp_restore(struct job *job, struct fault *f)
{
	AUTO_MSG SeccompEntry *e = NULL;
	size_t i;

	if (!any_seccomp(job))
		return 0;
	e = load_filters(job, f);
	if (!e)
		return -1;
	stop_prepare();
	for (i = 0; i < job->ntasks; i++)
		if (seccomp_trace_options(job->tasks[i]) &&
		    (suspend(job->tasks[i], f) < 0 || install(job->tasks[i], e, f) < 0))
			return -1;
	return 0;
}
