/* SPDX-License-Identifier: MIT */
/*
 * gate_fds.c - give descriptors to a task: sent over a socket, received and placed by its agent.
 *
 * Rights:   ptrace rights over the task (pidfd_getfd fetches our end of the socket).
 * Holds:    our end of the socket pair; the task's end is parked in its descriptor table.
 *
 * Why placing is safe for any set of targets: the kernel hands out the lowest free numbers, in
 * ascending order. All targets are closed first, so the targets of one message (sorted) are free
 * numbers as well, and the i-th number received is at most the i-th target. Placed from
 * the last to the first, a target can only hit a number that has been moved away already.
 * Most often number and target are equal and there is nothing to do.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"

#define PER_MESSAGE 253			/* the kernel's SCM_MAX_FD */
#define TIMEOUT_MS 30000

struct gate_channel {
	struct gate *gate;
	int sock;
	int park;
};

/* One descriptor on its way. */
struct move {
	int fd, at, flags;
};

/* Where the agent's recvmsg puts things; offsets in the arena. */
struct inbox {
	uint64_t header, control;
	struct msghdr *local_header;
	char *local_control;
};

/*
 * Make the pair in the task; *far receives the number of the end meant for us. Both ends move above
 * `park` first: the numbers socketpair gives may be `park` itself.
 */
static int make_pair(struct gate *g, int park, int *far, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);
	int pid = gate_place(g)->pid, near, theirs, placed;
	void *pair;
	uint64_t at = batch_alloc(b, 2 * sizeof(int), &pair);
	const uint32_t stop = GATE_STOP_ON_ERROR;

	if (!pair)
		return fault(f, -ENOSPC, "task %d: its agent's arena is too small", pid);
	batch_op(b, 0, stop, SYS_socketpair, 4, gc(AF_UNIX), gc(SOCK_SEQPACKET | SOCK_CLOEXEC),
		 gc(0), ga(at));
	near = batch_op(b, 0, stop, SYS_fcntl, 3, gl32(at), gc(F_DUPFD_CLOEXEC), gc(park + 1));
	theirs = batch_op(b, 0, stop, SYS_fcntl, 3, gl32(at + sizeof(int)), gc(F_DUPFD_CLOEXEC),
			  gc(park + 1));
	batch_op(b, 0, stop, SYS_close, 1, gl32(at));
	batch_op(b, 0, stop, SYS_close, 1, gl32(at + sizeof(int)));
	placed = batch_op(b, 0, stop, SYS_dup3, 3, gr(near), gc(park), gc(O_CLOEXEC));
	batch_op(b, 0, stop, SYS_close, 1, gr(near));
	if (batch_run(b, TIMEOUT_MS, f) < 0)
		return -1;
	if (batch_result(b, 0, 0) < 0)
		return fault(f, -batch_result(b, 0, 0), "task %d: socketpair", pid);
	if (batch_executed(b, 0) <= placed || batch_result(b, 0, placed) < 0)
		return fault(f, -EMFILE, "task %d: place a descriptor at %d (its RLIMIT_NOFILE "
			     "may be too low)", pid, park);
	*far = batch_result(b, 0, theirs);
	return 0;
}

static int close_in_task(struct gate *g, int fd, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);

	batch_op(b, 0, 0, SYS_close, 1, gc(fd));
	return batch_run(b, TIMEOUT_MS, f);
}

struct gate_channel *gate_channel_open(struct gate *g, int park, struct fault *f)
{
	pid_t pid = gate_place(g)->pid;
	AUTO_CLOSE int pidfd = -1;
	struct gate_channel *c;
	int far = -1, sock;

	if (make_pair(g, park, &far, f) < 0)
		return NULL;
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	sock = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, far, 0);
	if (sock < 0) {
		fault(f, errno, "task %d: fetch the socket made by its agent", pid);
		return NULL;
	}
	if (close_in_task(g, far, f) < 0) {
		close(sock);
		return NULL;
	}
	c = xcalloc(1, sizeof(*c));
	c->gate = g;
	c->sock = sock;
	c->park = park;
	return c;
}

int gate_channel_close(struct gate_channel *c, struct fault *f)
{
	int r;

	if (!c)
		return 0;
	close(c->sock);
	r = close_in_task(c->gate, c->park, f);
	free(c);
	return r;
}

static int by_target(const void *a, const void *b)
{
	const struct move *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

/* Sorted by target. Two descriptors for one place, or one for the socket's, is a caller's bug. */
static struct move *sort_moves(const struct gate_channel *c, const int *fds, const int *at,
			       const int *flags, size_t n)
{
	struct move *m = xcalloc(n, sizeof(*m));
	size_t i;

	for (i = 0; i < n; i++)
		m[i] = (struct move){ fds[i], at[i], flags[i] };
	qsort(m, n, sizeof(*m), by_target);
	for (i = 0; i < n; i++)
		if (m[i].at < 0 || m[i].at == c->park || (i && m[i].at == m[i - 1].at))
			die("descriptor %d of task %d is asked for twice or not free", m[i].at,
			    gate_place(c->gate)->pid);
	return m;
}

/* Empty all targets; one call per run of neighbours. */
static int clear_targets(struct batch *b, const struct move *m, size_t n, struct fault *f)
{
	size_t first, next;

	for (first = 0; first < n; first = next) {
		for (next = first + 1; next < n && m[next].at == m[next - 1].at + 1; next++)
			;
		if (batch_op(b, 0, 0, SYS_close_range, 3, gc(m[first].at), gc(m[next - 1].at),
			     gc(0)) >= 0)
			continue;
		if (batch_run(b, TIMEOUT_MS, f) < 0)
			return -1;
		next = first;			/* once more, in an empty list */
	}
	return batch_run(b, TIMEOUT_MS, f);
}

static int make_inbox(const struct gate *g, struct batch *b, struct inbox *in, struct fault *f)
{
	uint64_t arena = gate_arena_address(g), byte, vec;
	void *p;

	byte = batch_alloc(b, 1, &p);
	vec = batch_put(b, &(struct iovec){ (void *)(arena + byte), 1 }, sizeof(struct iovec));
	in->control = batch_alloc(b, CMSG_SPACE(PER_MESSAGE * sizeof(int)), &p);
	in->local_control = p;
	in->header = batch_alloc(b, sizeof(struct msghdr), &p);
	in->local_header = p;
	if (!p || batch_room(b) < (2 * PER_MESSAGE + 1) * sizeof(struct gate_op))
		return fault(f, -ENOSPC, "task %d: its agent's arena is too small",
			     gate_place(g)->pid);
	in->local_header->msg_iov = (void *)(arena + vec);
	in->local_header->msg_iovlen = 1;
	in->local_header->msg_control = (void *)(arena + in->control);
	return 0;
}

static int send_message(const struct gate_channel *c, const struct move *m, size_t n,
			struct fault *f)
{
	char control[CMSG_SPACE(PER_MESSAGE * sizeof(int))] = { 0 };
	struct iovec vec = { (char[]){ 0 }, 1 };
	struct msghdr h = { .msg_iov = &vec, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *cm = CMSG_FIRSTHDR(&h);
	size_t i;
	ssize_t r;

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (i = 0; i < n; i++)
		memcpy(CMSG_DATA(cm) + i * sizeof(int), &m[i].fd, sizeof(int));
	do
		r = sendmsg(c->sock, &h, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return fault(f, errno, "send %zu descriptors to task %d", n,
			     gate_place(c->gate)->pid);
	return 0;
}

/* Read which numbers the task's kernel gave; the task itself could have written there, so check. */
static int read_numbers(const struct gate_channel *c, const struct inbox *in, int *got, size_t n,
			struct fault *f)
{
	const struct cmsghdr *cm = (const struct cmsghdr *)in->local_control;
	size_t i, came = 0;

	if (in->local_header->msg_controllen >= CMSG_LEN(0) && cm->cmsg_level == SOL_SOCKET &&
	    cm->cmsg_type == SCM_RIGHTS && cm->cmsg_len >= CMSG_LEN(0))
		came = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	if (came != n)
		return fault(f, -EMFILE, "task %d took %zu of %zu descriptors: its "
			     "RLIMIT_NOFILE is too low", gate_place(c->gate)->pid, came, n);
	memcpy(got, CMSG_DATA(cm), n * sizeof(int));
	for (i = 1; i < n; i++)
		if (got[i] <= got[i - 1])
			return fault(f, -EPROTO, "task %d numbered descriptors out of order",
				     gate_place(c->gate)->pid);
	return 0;
}

/* What most of them are to be: O_CLOEXEC or 0. They come like that, the others are changed. */
static int common_flag(const struct move *m, size_t n)
{
	size_t i, closing = 0;

	for (i = 0; i < n; i++)
		closing += !!(m[i].flags & O_CLOEXEC);
	return closing > n / 2 ? O_CLOEXEC : 0;
}

static int receive(const struct gate_channel *c, struct batch *b, const struct inbox *in,
		   const struct move *m, size_t n, int *got, struct fault *f)
{
	int how = common_flag(m, n) ? MSG_CMSG_CLOEXEC : 0;
	int64_t r;

	in->local_header->msg_controllen = CMSG_SPACE(PER_MESSAGE * sizeof(int));
	batch_op(b, 0, 0, SYS_recvmsg, 3, gc(c->park), ga(in->header), gc(how));
	if (batch_run(b, TIMEOUT_MS, f) < 0)
		return -1;
	r = batch_result(b, 0, 0);
	if (r < 0)
		return fault(f, -r, "task %d: receive descriptors at %d",
			     gate_place(c->gate)->pid, c->park);
	return read_numbers(c, in, got, n, f);
}

/* From the last to the first (see the top of this file). */
static int place(const struct gate_channel *c, struct batch *b, const struct move *m,
		 const int *got, size_t n, struct fault *f)
{
	int ops[PER_MESSAGE], came = common_flag(m, n);
	bool any = false;
	size_t i;

	for (i = n; i-- > 0;) {
		ops[i] = -1;
		if (got[i] != m[i].at) {
			ops[i] = batch_op(b, 0, 0, SYS_dup3, 3, gc(got[i]), gc(m[i].at),
					  gc(m[i].flags));
			batch_op(b, 0, 0, SYS_close, 1, gc(got[i]));
		} else if ((m[i].flags & O_CLOEXEC) != came) {
			ops[i] = batch_op(b, 0, 0, SYS_fcntl, 3, gc(got[i]), gc(F_SETFD),
					  gc(came ? 0 : FD_CLOEXEC));
		}
		any = any || ops[i] >= 0;
	}
	if (!any)
		return 0;
	if (batch_run(b, TIMEOUT_MS, f) < 0)
		return -1;
	for (i = 0; i < n; i++)
		if (ops[i] >= 0 && batch_result(b, 0, ops[i]) < 0)
			return fault(f, -batch_result(b, 0, ops[i]),
				     "task %d: place a descriptor at %d (its RLIMIT_NOFILE may "
				     "be too low)", gate_place(c->gate)->pid, m[i].at);
	return 0;
}

int gate_send_fds(struct gate_channel *c, const int *fds, const int *at, const int *flags, size_t n,
		  struct fault *f)
{
	AUTO_FREE struct move *m = sort_moves(c, fds, at, flags, n);
	AUTO_BATCH struct batch *b = batch_begin(c->gate);
	int got[PER_MESSAGE];
	struct inbox in;
	size_t done, part;

	if (make_inbox(c->gate, b, &in, f) < 0 || clear_targets(b, m, n, f) < 0)
		return -1;
	for (done = 0; done < n; done += part) {
		part = n - done < PER_MESSAGE ? n - done : PER_MESSAGE;
		if (send_message(c, m + done, part, f) < 0 ||
		    receive(c, b, &in, m + done, part, got, f) < 0 ||
		    place(c, b, m + done, got, part, f) < 0)
			return -1;
	}
	return 0;
}

int gate_pass_fds(struct gate *g, int park, const int *fds, const int *at, const int *flags,
		  size_t n, struct fault *f)
{
	struct gate_channel *c = gate_channel_open(g, park, f);
	int r;

	if (!c)
		return -1;
	r = gate_send_fds(c, fds, at, flags, n, f);
	return gate_channel_close(c, f) < 0 ? -1 : r;
}
