/* SPDX-License-Identifier: MIT */
/*
 * sock.c - the sockets known to the worker.
 *
 * Rights:   ptrace access to the tasks (pidfd_getfd); CAP_SETGID (sock_open).
 * Holds:    a duplicate of every socket of a dump; every socket of a restore.
 */
#include "workers/net/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/fown.h"
#include "workers/common/parallel.h"
#include "workers/common/pool.h"
#include "workers/net/asking.h"

#define BUCKETS 4096
#define TURN_MAX 4096		/* sockets duplicated at once: as many tasks may be open */

struct socks {
	struct pool memory;		/* of the list's */
	struct sock **list;
	size_t n, cap;
	struct sock *by_id[BUCKETS], *by_ino[BUCKETS];	/* chains, the newest first */
	pid_t pid;			/* whom pidfd refers to */
	int pidfd;
};

static struct socks *socks_of(struct net *net)
{
	if (!net->socks) {
		net->socks = xcalloc(1, sizeof(*net->socks));
		net->socks->pidfd = -1;
	}
	return net->socks;
}

static struct sock **bucket(struct sock **index, uint64_t key)
{
	return &index[(key * 0x9e3779b97f4a7c15ull) >> 52];
}

struct sock *net_sock(struct net *net, uint32_t id)
{
	struct sock *s = net->socks ? *bucket(net->socks->by_id, id) : NULL;

	while (s && s->id != id)
		s = s->next_by_id;
	return s;
}

struct sock *net_sock_by_ino(struct net *net, uint64_t ino)
{
	struct sock *s = net->socks ? *bucket(net->socks->by_ino, ino) : NULL;

	while (s && s->ino != ino)
		s = s->next_by_ino;
	return s;
}

static struct sock *add(struct net *net, struct sock *s)
{
	struct socks *all = socks_of(net);
	struct sock **same_id = bucket(all->by_id, s->id), **same_ino = bucket(all->by_ino, s->ino);

	*(struct sock **)grow(&all->list, all->n, &all->cap, sizeof(s)) = s;
	all->n++;
	s->next_by_id = *same_id;
	*same_id = s;
	if (s->ino) {
		s->next_by_ino = *same_ino;
		*same_ino = s;
	}
	return s;
}

/* fd of the task, or the task itself, could not be had (errno). */
static int no_duplicate(pid_t pid, int fd, struct fault *f)
{
	if (errno == EMFILE)
		return fault(f, errno, "task %d, descriptor %d: stasis may not have as many "
			     "descriptors as the tree has sockets: raise its limit (ulimit -Hn)",
			     pid, fd);
	return fault(f, errno, "duplicate descriptor %d of task %d", fd, pid);
}

static int open_task(pid_t pid, int fd, struct fault *f)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0);

	return pidfd < 0 ? no_duplicate(pid, fd, f) : pidfd;
}

/* A duplicate of a task's descriptor. Sockets come task by task: its pidfd is kept. */
static int duplicate(struct socks *all, pid_t pid, int fd, struct fault *f)
{
	int dup;

	if (all->pidfd < 0 || all->pid != pid) {
		auto_close(&all->pidfd);
		all->pid = pid;
		all->pidfd = open_task(pid, fd, f);
		if (all->pidfd < 0)
			return -1;
	}
	dup = syscall(SYS_pidfd_getfd, all->pidfd, fd, 0);
	return dup < 0 ? no_duplicate(pid, fd, f) : dup;
}

/* Ask the socket itself what it is. */
static int ask_kind(struct sock *s, struct fault *f)
{
	if (ask_number(s->fd, SOL_SOCKET, SO_DOMAIN, &s->family) < 0 ||
	    ask_number(s->fd, SOL_SOCKET, SO_TYPE, &s->type) < 0 ||
	    ask_number(s->fd, SOL_SOCKET, SO_PROTOCOL, &s->protocol) < 0)
		return fault(f, errno, "task %d, descriptor %d is not the socket it was", s->pid,
			     s->pfd);
	s->kind = kind_of_socket(s);
	return 0;
}

/* A socket and what is known of it without it. */
static struct sock *new_sock(struct net *net, const struct socket_ref *ref)
{
	struct sock *s = pool_take(&socks_of(net)->memory, sizeof(*s));

	*s = (struct sock){ .id = ref->id, .fd = -1, .ino = ref->ino, .pid = ref->pid,
			    .pfd = ref->fd, .flags = ref->flags };
	s->kind = kind_of_known(net, s);
	fown_entry__init(&s->fown);
	return s;
}

int sock_glance(struct net *net, const struct socket_ref *ref, struct fault *f)
{
	struct sock *s = new_sock(net, ref);

	if (!s->kind)
		s->fd = duplicate(socks_of(net), ref->pid, ref->fd, f);
	if (s->kind || (s->fd >= 0 && ask_kind(s, f) == 0)) {
		add(net, s);
		return 0;
	}
	auto_close(&s->fd);
	return -1;
}

/* Duplicates that threads make. */
struct copies {
	const struct socket_ref *ref;
	int *pidfd;			/* of the task of each */
	int *fd;			/* -1: not made */
	FownEntry *fown;
};

static int copy_one(void *ctx, size_t i, struct fault *f)
{
	const struct copies *c = ctx;

	c->fd[i] = syscall(SYS_pidfd_getfd, c->pidfd[i], c->ref[i].fd, 0);
	if (c->fd[i] < 0)
		return no_duplicate(c->ref[i].pid, c->ref[i].fd, f);
	fown_entry__init(&c->fown[i]);
	return fown_read(c->fd[i], c->ref[i].flags, &c->fown[i], f);
}

static int open_tasks(struct copies *c, size_t n, struct fault *f)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (i && c->ref[i].pid == c->ref[i - 1].pid)
			c->pidfd[i] = c->pidfd[i - 1];
		else
			c->pidfd[i] = open_task(c->ref[i].pid, c->ref[i].fd, f);
		if (c->pidfd[i] < 0)
			return -1;
	}
	return 0;
}

static void close_tasks(const struct copies *c, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (c->pidfd[i] >= 0 && (i + 1 == n || c->pidfd[i + 1] != c->pidfd[i]))
			close(c->pidfd[i]);
}

/* The kernel's lists are read while threads make the duplicates. */
static int add_all(struct net *net, struct copies *c, size_t n, struct fault *f)
{
	const size_t first = sock_count(net);
	struct parallel *p = parallel_start(n, copy_one, c);
	size_t i;
	int r = 0;

	for (i = 0; i < n && r == 0; i++) {
		if (net_sock(net, c->ref[i].id))
			r = fault(f, -EPROTO, "socket %u is collected twice", c->ref[i].id);
		else
			add(net, new_sock(net, &c->ref[i]));
	}
	if (parallel_join(p, f) < 0)
		r = -1;
	for (i = first; i < sock_count(net); i++) {
		sock_at(net, i)->fd = take_fd(&c->fd[i - first]);
		sock_at(net, i)->fown = c->fown[i - first];
	}
	for (i = first; i < sock_count(net) && r == 0; i++)
		if (!sock_at(net, i)->kind)
			r = ask_kind(sock_at(net, i), f);
	return r;
}

static int add_some(struct net *net, const struct socket_ref *refs, size_t n, struct fault *f)
{
	struct copies c = { refs, xcalloc(n, sizeof(int)), xcalloc(n, sizeof(int)),
			    xcalloc(n, sizeof(FownEntry)) };
	size_t i;
	int r;

	for (i = 0; i < n; i++)
		c.pidfd[i] = c.fd[i] = -1;
	r = open_tasks(&c, n, f);
	if (r == 0)
		r = add_all(net, &c, n, f);
	for (i = 0; i < n; i++)
		auto_close(&c.fd[i]);
	close_tasks(&c, n);
	free(c.pidfd);
	free(c.fd);
	free(c.fown);
	return r;
}

int sock_add_all(struct net *net, const SocketList *list, struct fault *f)
{
	const size_t n = socket_list_count(list);
	AUTO_FREE struct socket_ref *refs = xcalloc(n, sizeof(*refs));
	size_t i, some;

	if (socket_list_check(list, f) < 0)
		return -1;
	for (i = 0; i < n; i++)
		refs[i] = socket_list_at(list, i);
	for (i = 0; i < n; i += some) {
		some = n - i < TURN_MAX ? n - i : TURN_MAX;
		if (add_some(net, refs + i, some, f) < 0)
			return -1;
	}
	return 0;
}

int sock_add_entry(struct net *net, FileEntry *e, const struct sock_kind *kind, struct fault *f)
{
	struct sock *s;

	if (net_sock(net, e->id)) {
		fault(f, -EBADMSG, "files.img: two files have the id %u", e->id);
		protobuf_c_message_free_unpacked(&e->base, NULL);
		return -1;
	}
	s = pool_take(&socks_of(net)->memory, sizeof(*s));
	*s = (struct sock){ .id = e->id, .kind = kind, .fd = -1, .entry = e };
	add(net, s);
	return 0;
}

/* Who may ping: any group from first to last. */
static bool ping_group(gid_t *first)
{
	AUTO_FCLOSE FILE *file = fopen("/proc/sys/net/ipv4/ping_group_range", "re");
	unsigned long low, high;

	if (!file || fscanf(file, "%lu %lu", &low, &high) != 2 || low > high)
		return false;
	*first = low;
	return true;
}

int sock_open(int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC, protocol), err;
	const gid_t own = getegid();
	gid_t first;

	if (fd >= 0 || errno != EACCES || type != SOCK_DGRAM || !ping_group(&first))
		return fd;
	/* This thread only: the system call itself, not libc's. */
	if (syscall(SYS_setresgid, -1, first, -1) < 0)
		return -1;
	fd = socket(family, type | SOCK_CLOEXEC, protocol);
	err = errno;
	if (syscall(SYS_setresgid, -1, own, -1) < 0)
		die("cannot be of group %u again", own);
	errno = err;
	return fd;
}

size_t sock_count(const struct net *net)
{
	return net->socks ? net->socks->n : 0;
}

struct sock *sock_at(const struct net *net, size_t i)
{
	return net->socks->list[i];
}

int net_each_sock(struct net *net, const struct sock_kind *kind,
		  int (*act)(struct net *net, struct sock *s, struct fault *f), struct fault *f)
{
	size_t i;

	for (i = 0; i < sock_count(net); i++)
		if (sock_at(net, i)->kind == kind && act(net, sock_at(net, i), f) < 0)
			return -1;
	return 0;
}

static int close_one(void *ctx, size_t i, struct fault *f)
{
	const struct socks *all = ctx;

	(void)f;
	auto_close(&all->list[all->n - 1 - i]->fd);
	return 0;
}

void sock_end(struct net *net)
{
	struct socks *all = net->socks;
	struct fault none = { 0 };
	size_t i;

	if (!all)
		return;
	/*
	 * Who closes a socket last has the kernel's work to do. A task that ends begins with its
	 * first, we begin with the last one: each does half of it.
	 */
	parallel_join(parallel_start(all->n, close_one, all), &none);
	for (i = 0; i < all->n; i++)
		if (all->list[i]->entry)
			protobuf_c_message_free_unpacked(&all->list[i]->entry->base, NULL);
	auto_close(&all->pidfd);
	pool_free(&all->memory);
	free(all->list);
	free(all);
	net->socks = NULL;
}
