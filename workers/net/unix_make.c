/* SPDX-License-Identifier: MIT */
/*
 * unix_make.c - restore: what the kernel records with its doer (SO_PEERCRED) is done by the right
 * one.
 *
 * Who calls socketpair, listen or connect is what the other end's SO_PEERCRED tells: process,
 * effective user and group. So the task's agent does it, with these set for a moment; the sockets
 * are fetched. Several deeds go in one batch: a batch costs as much as ten fetches. While a batch
 * lasts nobody else uses the gate, so new sockets may have any number of the task's: they are gone
 * before it ends.
 *
 * Rights:   ptrace access to the tasks; CAP_SETUID, CAP_SETGID where users differ.
 * Holds:    nothing.
 */
#include "workers/net/unix_make.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/common/spare.h"
#include "workers/net/stand_in.h"
#include "workers/net/unix_name.h"

#define TIMEOUT_MS 30000
#define PER_BATCH 32

/* Numbers that may be kept in the task: for what deeds need, the end of a channel. */
#define NEEDS 3
#define PARK NEEDS

_Static_assert(PARK < SPARE_FDS, "the numbers that are net's");

/* Capabilities of a thread, as capget(2) has them; the header comes first. */
struct caps {
	struct __user_cap_header_struct head;
	struct __user_cap_data_struct data[2];
};

static int failed(const struct deed *d, int err, pid_t pid, struct fault *f)
{
	static const char *const what[] = { "make a socket pair", "listen", "connect" };

	return fault(f, err, "%s, as task %d", what[d->kind], pid);
}

static bool other_user(const SkUcredEntry *who)
{
	return who && (who->uid != geteuid() || who->gid != getegid());
}

/* ---- by this worker ---- */

static int do_here(struct deed *d)
{
	int type = d->type | SOCK_CLOEXEC | SOCK_NONBLOCK;

	switch (d->kind) {
	case DEED_PAIR:
		return socketpair(AF_UNIX, d->type | SOCK_CLOEXEC, 0, d->fd);
	case DEED_LISTEN:
		return listen(d->fd[0], d->backlog);
	case DEED_CONNECT:
		d->fd[0] = socket(AF_UNIX, type, 0);
		return d->fd[0] < 0 ? -1 :
				      connect(d->fd[0], (struct sockaddr *)&d->addr, d->addr_len);
	}
	return -1;
}

/*
 * The raw calls change this thread only. A change of the effective user from or to 0 would cost
 * capabilities: they are kept and put back.
 */
static int do_as_user(struct deed *d)
{
	struct caps caps = { .head = { .version = _LINUX_CAPABILITY_VERSION_3 } };
	const uid_t uid = geteuid();
	const gid_t gid = getegid();
	int r = -1, err;

	syscall(SYS_capget, &caps.head, caps.data);
	prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	if (syscall(SYS_setresgid, -1, d->who->gid, -1) == 0 &&
	    syscall(SYS_setresuid, -1, d->who->uid, -1) == 0) {
		syscall(SYS_capset, &caps.head, caps.data);
		r = do_here(d);
	}
	err = errno;
	if (syscall(SYS_setresuid, -1, uid, -1) < 0)
		die("cannot return to user %u", uid);
	syscall(SYS_capset, &caps.head, caps.data);
	if (syscall(SYS_setresgid, -1, gid, -1) < 0)
		die("cannot return to group %u", gid);
	prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	errno = err;
	return r;
}

static int do_as(struct deed *d)
{
	return other_user(d->who) ? do_as_user(d) : do_here(d);
}

static int do_all_here(struct deed *d, size_t n, struct fault *f)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (do_as(&d[i]) < 0)
			return failed(&d[i], errno, getpid(), f);
	return 0;
}

/* ---- by one who is dead ---- */

/* What a passing process does, in memory it shares with us. */
struct legacy {
	size_t n;
	struct deed deed[];
};

static int do_legacy(void *arg)
{
	struct legacy *l = arg;
	size_t i;

	for (i = 0; i < l->n; i++)
		if (do_as(&l->deed[i]) < 0)
			return -1;
	return 0;
}

static int do_as_dead(struct deed *d, size_t n, struct fault *f)
{
	const size_t size = sizeof(struct legacy) + n * sizeof(*d);
	struct legacy *l = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
				0);
	int r;

	if (l == MAP_FAILED)
		die("no memory for %zu sockets", n);
	l->n = n;
	memcpy(l->deed, d, n * sizeof(*d));
	r = stand_in(d->who->pid, do_legacy, l);
	memcpy(d, l->deed, n * sizeof(*d));
	munmap(l, size);
	if (r < 0 && errno == ESRCH)
		return do_all_here(d, n, f);
	return r < 0 ? failed(d, errno, d->who->pid, f) : 0;
}

/* ---- by a task ---- */

/* One batch of deeds in the making. */
struct turn {
	struct batch *b;
	pid_t pid;
	int pidfd;
	int spare;			/* first number that may be used */
	const SkUcredEntry *who;
	uint64_t caps;			/* in the arena */
	int uid, gid, dumpable;		/* operations that ask */
	int check[PER_BATCH];		/* operation that must succeed */
	int made[PER_BATCH];		/* operation that gives a descriptor; -1 */
	uint64_t ends[PER_BATCH];	/* in the arena: the descriptors of a pair */
};

static void become(struct turn *t)
{
	struct batch *b = t->b;
	struct caps *caps;
	void *local;

	if (!other_user(t->who))
		return;
	t->caps = batch_alloc(b, sizeof(*caps), &local);
	if (!local)
		die("an agent's arena is too small");
	caps = local;
	caps->head.version = _LINUX_CAPABILITY_VERSION_3;
	t->uid = batch_op(b, 0, 0, SYS_geteuid, 0);
	t->gid = batch_op(b, 0, 0, SYS_getegid, 0);
	t->dumpable = batch_op(b, 0, 0, SYS_prctl, 1, gc(PR_GET_DUMPABLE));
	batch_op(b, 0, 0, SYS_capget, 2, ga(t->caps), ga(t->caps + offsetof(struct caps, data)));
	batch_op(b, 0, 0, SYS_prctl, 2, gc(PR_SET_KEEPCAPS), gc(1));
	batch_op(b, 0, 0, SYS_setresgid, 3, gc(-1), gc(t->who->gid), gc(-1));
	batch_op(b, 0, 0, SYS_setresuid, 3, gc(-1), gc(t->who->uid), gc(-1));
	batch_op(b, 0, 0, SYS_capset, 2, ga(t->caps), ga(t->caps + offsetof(struct caps, data)));
}

static void be_oneself(struct turn *t)
{
	struct batch *b = t->b;
	const uint64_t data = t->caps + offsetof(struct caps, data);

	if (!other_user(t->who))
		return;
	batch_op(b, 0, 0, SYS_setresuid, 3, gc(-1), gr(t->uid), gc(-1));
	batch_op(b, 0, 0, SYS_capset, 2, ga(t->caps), ga(data));
	batch_op(b, 0, 0, SYS_setresgid, 3, gc(-1), gr(t->gid), gc(-1));
	batch_op(b, 0, 0, SYS_prctl, 2, gc(PR_SET_KEEPCAPS), gc(0));
	batch_op(b, 0, 0, SYS_prctl, 2, gc(PR_SET_DUMPABLE), gr(t->dumpable));
}

/* at: where in the task lies what the deed needs. */
static void add_deed(struct turn *t, size_t i, const struct deed *d, int at)
{
	struct sockaddr_un addr = d->addr;
	socklen_t len = d->addr_len;
	struct batch *b = t->b;
	void *local;

	t->made[i] = -1;
	switch (d->kind) {
	case DEED_PAIR:
		t->ends[i] = batch_alloc(b, 2 * sizeof(int), &local);
		if (!local)
			die("an agent's arena is too small");
		t->check[i] = batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_socketpair, 4, gc(AF_UNIX),
				       gc(d->type | SOCK_CLOEXEC), gc(0), ga(t->ends[i]));
		break;
	case DEED_LISTEN:
		t->check[i] = batch_op(b, 0, 0, SYS_listen, 2, gc(at), gc(d->backlog));
		break;
	case DEED_CONNECT:
		if (d->via >= 0)
			len = unix_name_via(&addr, at);
		t->made[i] = batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_socket, 3, gc(AF_UNIX),
				      gc(d->type | SOCK_CLOEXEC | SOCK_NONBLOCK), gc(0));
		t->check[i] = batch_op(b, 0, 0, SYS_connect, 3, gr(t->made[i]),
				       ga(batch_put(b, &addr, sizeof(addr))), gc(len));
		break;
	}
}

/* The numbers in the task of what a deed made; returns how many. */
static int numbers_made(const struct turn *t, size_t i, const struct deed *d, int fds[2])
{
	if (d->kind == DEED_PAIR)
		memcpy(fds, batch_local(t->b, t->ends[i]), 2 * sizeof(int));
	else if (t->made[i] >= 0)
		fds[0] = batch_result(t->b, 0, t->made[i]);
	return d->kind == DEED_PAIR ? 2 : t->made[i] >= 0;
}

/* The task's own are closed by the next operations. */
static int fetch_all(struct turn *t, struct deed *d, size_t n, struct fault *f)
{
	int fds[2 * PER_BATCH], k, all = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		const int many = numbers_made(t, i, &d[i], fds + all);

		for (k = 0; k < many; k++) {
			d[i].fd[k] = syscall(SYS_pidfd_getfd, t->pidfd, fds[all++], 0);
			if (d[i].fd[k] < 0)
				return fault(f, errno, "fetch a socket from task %d", t->pid);
		}
	}
	if (!all)
		return 0;
	while (all)
		batch_op(t->b, 0, 0, SYS_close, 1, gc(fds[--all]));
	return batch_run(t->b, TIMEOUT_MS, f);
}

/* Up to PER_BATCH deeds; what they need lies at spare + number. */
static int run_turn(struct turn *t, struct gate *g, struct deed *d, size_t n, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);
	size_t i;

	t->b = b;
	become(t);
	for (i = 0; i < n; i++)
		add_deed(t, i, &d[i], t->spare + (int)i);
	be_oneself(t);
	if (batch_run(b, TIMEOUT_MS, f) < 0)
		return -1;
	for (i = 0; i < n; i++) {
		if (batch_executed(b, 0) <= t->check[i])
			return failed(&d[i], ENFILE, t->pid, f);
		if (batch_result(b, 0, t->check[i]) < 0)
			return failed(&d[i], -batch_result(b, 0, t->check[i]), t->pid, f);
	}
	return fetch_all(t, d, n, f);
}

/* Bring what the deeds need to spare + number. Returns how many there were, or -1. */
static int supply(struct gate_channel **c, struct gate *g, const struct turn *t,
		  const struct deed *d, size_t n, struct fault *f)
{
	int fds[NEEDS], at[NEEDS], flags[NEEDS], k = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		int fd = d[i].kind == DEED_LISTEN ? d[i].fd[0] :
			 d[i].kind == DEED_CONNECT ? d[i].via : -1;

		if (fd < 0)
			continue;
		fds[k] = fd;
		at[k] = t->spare + (int)i;
		flags[k++] = O_CLOEXEC;
	}
	if (!k)
		return 0;
	if (!*c)
		*c = gate_channel_open(g, t->spare + PARK, f);
	return !*c || gate_send_fds(*c, fds, at, flags, k, f) < 0 ? -1 : k;
}

static int close_numbers(struct gate *g, const struct turn *t, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);

	batch_op(b, 0, 0, SYS_close_range, 3, gc(t->spare), gc(t->spare + PARK), gc(0));
	return batch_run(b, TIMEOUT_MS, f);
}

/* How many of these deeds make one turn: pairs need nothing. */
static size_t turn_size(const struct deed *d, size_t n)
{
	const bool pairs = d->kind == DEED_PAIR;
	size_t i = 1;

	n = pairs ? n < PER_BATCH ? n : PER_BATCH : n < NEEDS ? n : NEEDS;
	while (i < n && (d[i].kind == DEED_PAIR) == pairs)
		i++;
	return i;
}

static int do_in_task(struct net *net, struct gate *g, struct deed *d, size_t n, struct fault *f)
{
	AUTO_CLOSE int pidfd = syscall(SYS_pidfd_open, d->who->pid, 0);
	struct turn t = { .pid = d->who->pid, .pidfd = pidfd, .who = d->who,
			  .spare = net_spare_fd(net, d->who->pid) };
	struct gate_channel *c = NULL;
	size_t i, m;
	int r = 0;

	if (pidfd < 0)
		return fault(f, errno, "open task %d", t.pid);
	for (i = 0; r == 0 && i < n; i += m) {
		m = turn_size(d + i, n - i);
		if (supply(&c, g, &t, d + i, m, f) < 0 || run_turn(&t, g, d + i, m, f) < 0)
			r = -1;
	}
	if (c && gate_channel_close(c, f) < 0)
		r = -1;
	return r < 0 ? -1 : close_numbers(g, &t, f);
}

static bool same_doer(const SkUcredEntry *a, const SkUcredEntry *b)
{
	return a == b || (a && b && a->pid == b->pid && a->uid == b->uid && a->gid == b->gid);
}

int unix_make(struct net *net, struct deed *d, size_t n, struct fault *f)
{
	struct gate *g;
	size_t i, end;

	for (i = 0; i < n; i = end) {
		for (end = i + 1; end < n && same_doer(d[i].who, d[end].who); end++)
			;
		g = d[i].who ? net_gate(net, d[i].who->pid) : NULL;
		if ((g ? do_in_task(net, g, d + i, end - i, f) :
		     d[i].who ? do_as_dead(d + i, end - i, f) :
				do_all_here(d + i, end - i, f)) < 0)
			return -1;
	}
	return 0;
}
