/* SPDX-License-Identifier: MIT */
/*
 * netlink.c - netlink sockets, both directions.
 *
 * A port that is taken by now is replaced by one of the kernel's choice, as CRIU does: most
 * programs let the kernel choose in the first place.
 *
 * Rights:   CAP_NET_ADMIN for some groups.
 * Holds:    net->netlinks: what sock_diag told of all netlink sockets, until the end of a dump.
 */
#include "workers/net/netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/net/diag.h"
#include "workers/net/net.h"
#include "workers/net/numbers.h"
#include "workers/net/options.h"

#define MAX_GROUPS 1024
#define NETLINK_CONNECTED_STATE 1	/* NETLINK_CONNECTED; 7 (TCP_CLOSE) or 0: not connected */

/* Sockets that were never bound are not listed. */
struct netlinks {
	struct told {
		uint64_t ino;
		struct netlink_diag_msg m;
		uint32_t flags;			/* NDIAG_FLAG_* */
	} *list;
	size_t n, cap;
};

static bool match_netlink(const struct sock *s)
{
	return s->family == AF_NETLINK;
}

/* A message that waits was meant for now: it could not be given back by its sender, the kernel. */
static int check_queue(const struct sock *s, struct fault *f)
{
	char byte, who[SOCK_NAME_MAX];

	if (recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)
		return 0;
	return fault(f, -EAGAIN, "%s: messages wait in its queue, which cannot be restored: dump "
		     "again when the program has read them", sock_name(s, who, sizeof(who)));
}

static int read_groups(const struct sock *s, NetlinkSkEntry *e, struct fault *f)
{
	socklen_t len = MAX_GROUPS / 8;

	e->groups = xcalloc(1, len);
	if (getsockopt(s->fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, e->groups, &len) < 0)
		return fault(f, errno, "read the groups of a netlink socket");
	if (len > MAX_GROUPS / 8)
		return fault(f, -E2BIG, "a netlink socket with %u bytes of groups", len);
	e->n_groups = len / sizeof(*e->groups);
	while (e->n_groups && !e->groups[e->n_groups - 1])
		e->n_groups--;
	return 0;
}

static void note(void *ctx, const void *msg, const struct nlattr *attr, size_t bytes)
{
	struct netlinks *all = ctx;
	const uint32_t *flags = diag_attr(attr, bytes, NETLINK_DIAG_FLAGS, sizeof(*flags), NULL);
	struct told *t = grow(&all->list, all->n++, &all->cap, sizeof(*t));

	memcpy(&t->m, msg, sizeof(t->m));
	t->ino = t->m.ndiag_ino;
	t->flags = flags ? *flags : 0;
}

/* *t is NULL when it is not listed, or the kernel cannot tell. */
static int look_up(struct net *net, uint64_t ino, const struct told **t, struct fault *f)
{
	const struct netlink_diag_req req = {
		.sdiag_family = AF_NETLINK, .sdiag_protocol = NDIAG_PROTO_ALL,
		.ndiag_show = NDIAG_SHOW_FLAGS,
	};
	struct netlinks *all = net->netlinks;

	if (!all) {
		all = net->netlinks = xcalloc(1, sizeof(*all));
		if (diag_dump(&req, sizeof(req), sizeof(struct netlink_diag_msg), note, all, f) < 0)
			return -1;
		diag_sort(all->list, all->n, sizeof(*all->list));
	}
	*t = diag_find(all->list, all->n, sizeof(*all->list), ino);
	return 0;
}

/* The peer as far as the socket itself tells: whether it is connected to the kernel it does not. */
static int read_peer(const struct sock *s, NetlinkSkEntry *e, struct fault *f)
{
	struct sockaddr_nl peer = { 0 };
	socklen_t len = sizeof(peer);

	if (getpeername(s->fd, (struct sockaddr *)&peer, &len) < 0)
		return fault(f, errno, "read the peer of a netlink socket");
	e->dst_portid = peer.nl_pid;
	e->dst_group = __builtin_ffs(peer.nl_groups);
	e->state = peer.nl_pid || peer.nl_groups ? NETLINK_CONNECTED_STATE : 0;
	return 0;
}

static int read_names(struct net *net, const struct sock *s, NetlinkSkEntry *e, struct fault *f)
{
	struct sockaddr_nl own = { 0 };
	socklen_t len = sizeof(own);
	char who[SOCK_NAME_MAX];
	const struct told *t;

	if (getsockname(s->fd, (struct sockaddr *)&own, &len) < 0)
		return fault(f, errno, "read the name of a netlink socket");
	e->portid = own.nl_pid;
	if (read_peer(s, e, f) < 0 || look_up(net, s->ino, &t, f) < 0)
		return -1;
	if (!t)
		return 0;
	e->state = t->m.ndiag_state;
	if (t->flags & NDIAG_FLAG_CB_RUNNING)
		return fault(f, -EAGAIN, "%s: a list it asked for is not read to the end: dump "
			     "again when it is", sock_name(s, who, sizeof(who)));
	return 0;
}

static int write_netlink(struct net *net, struct sock *s, struct fault *f)
{
	NetlinkSkEntry e = NETLINK_SK_ENTRY__INIT;
	SkOptsEntry opts = SK_OPTS_ENTRY__INIT;
	FileEntry file = FILE_ENTRY__INIT;
	int r = -1;

	e.id = s->id;
	e.ino = s->ino;
	e.protocol = s->protocol;
	e.has_dgram = e.dgram = s->type == SOCK_DGRAM;
	e.flags = s->flags;
	e.has_ns_id = true;
	e.ns_id = net->ns_id;
	e.fown = &s->fown;
	e.opts = &opts;
	file.type = FD_TYPES__NETLINKSK;
	file.id = s->id;
	file.nlsk = &e;
	if (check_queue(s, f) == 0 && read_names(net, s, &e, f) == 0 &&
	    read_groups(s, &e, f) == 0 && sock_opts_read(s->fd, &opts, f) == 0 &&
	    numbers_read(net, s, opts.n_so_filter ? SOCK_FILTERED : 0, NUMBERS(&e), f) == 0)
		r = net_write_entry(net, &file, f);
	sock_opts_free(&opts);
	numbers_free(NUMBERS(&e));
	free(e.groups);
	return r;
}

static int check_netlink(struct net *net, struct sock *s, struct fault *f)
{
	const NetlinkSkEntry *e = s->entry->nlsk;

	(void)net;
	if (!e || e->id != s->id)
		return fault(f, -EBADMSG, "files.img: file %u has no netlink entry of its own",
			     s->id);
	if (e->n_groups > MAX_GROUPS / 32 || e->protocol >= MAX_LINKS || e->dst_group > 32)
		return fault(f, -EBADMSG, "files.img: netlink socket %u has protocol %u, %zu words "
			     "of groups, peer group %u", s->id, e->protocol, e->n_groups,
			     e->dst_group);
	return numbers_check(s->id, e->number, e->n_number, f);
}

static int join_groups(int fd, const NetlinkSkEntry *e, struct fault *f)
{
	size_t i;

	for (i = 0; i < e->n_groups * 32; i++) {
		int group = i + 1;

		if (!(e->groups[i / 32] & 1u << i % 32))
			continue;
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
			return fault(f, errno, "join netlink group %d of protocol %u", group,
				     e->protocol);
	}
	return 0;
}

static int bind_port(const struct sock *s, const NetlinkSkEntry *e, struct fault *f)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_pid = e->portid };
	char who[SOCK_NAME_MAX];

	if (!e->portid || bind(s->fd, (const struct sockaddr *)&own, sizeof(own)) == 0)
		return 0;
	own.nl_pid = 0;
	if (errno != EADDRINUSE || bind(s->fd, (const struct sockaddr *)&own, sizeof(own)) < 0)
		return fault(f, errno, "bind it to port %u", e->portid);
	log_warnx("%s: port %u is taken: it has another", sock_name(s, who, sizeof(who)),
		  e->portid);
	return 0;
}

static int connect_peer(int fd, const NetlinkSkEntry *e, struct fault *f)
{
	const struct sockaddr_nl peer = {
		.nl_family = AF_NETLINK, .nl_pid = e->dst_portid,
		.nl_groups = e->dst_group ? 1u << (e->dst_group - 1) : 0,
	};

	if (e->state == NETLINK_CONNECTED_STATE &&
	    connect(fd, (const struct sockaddr *)&peer, sizeof(peer)) < 0)
		return fault(f, errno, "connect it to port %u, group %u", e->dst_portid,
			     e->dst_group);
	return 0;
}

/* Groups come last but for options: nothing gets in before the filter stands. */
static enum sock_created create_netlink(struct net *net, struct sock *s, struct fault *f)
{
	const NetlinkSkEntry *e = s->entry->nlsk;

	(void)net;
	s->fd = socket(AF_NETLINK, (e->dgram ? SOCK_DGRAM : SOCK_RAW) | SOCK_CLOEXEC, e->protocol);
	if (s->fd < 0)
		return fault(f, errno, "create it, protocol %u", e->protocol);
	if (sock_opts_apply(s->fd, e->opts, f) < 0 || bind_port(s, e, f) < 0 ||
	    connect_peer(s->fd, e, f) < 0 || numbers_apply(s->fd, e->number, e->n_number, f) < 0 ||
	    join_groups(s->fd, e, f) < 0)
		return SOCK_FAILED;
	return net_set_flags(s->fd, e->flags, f) < 0 ? SOCK_FAILED : SOCK_CREATED;
}

static void end_netlink(struct net *net, bool run_on)
{
	(void)run_on;
	if (net->netlinks)
		free(net->netlinks->list);
	free(net->netlinks);
	net->netlinks = NULL;
}

const struct sock_kind netlink_kind = {
	.name = "netlink socket",
	.type = FD_TYPES__NETLINKSK,
	.match = match_netlink,
	.write = write_netlink,
	.check = check_netlink,
	.create = create_netlink,
	.end = end_netlink,
};
