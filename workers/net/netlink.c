/* SPDX-License-Identifier: MIT */
/*
 * netlink.c - netlink sockets, both directions.
 *
 * Rights:   CAP_NET_ADMIN for some groups.
 * Holds:    nothing.
 */
#include "workers/net/netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/net/net.h"
#include "workers/net/options.h"

#define STATE_CLOSE 7			/* TCP_CLOSE: what the kernel says of a socket without peer */
#define STATE_CONNECTED 1
#define MAX_GROUPS 1024

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
	return fault(f, -EBUSY, "%s: messages wait in its queue, which cannot be restored: dump again "
		     "when the program has read them", sock_name(s, who, sizeof(who)));
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

static int read_names(const struct sock *s, NetlinkSkEntry *e, struct fault *f)
{
	struct sockaddr_nl own = { 0 }, peer = { 0 };
	socklen_t len = sizeof(own);

	if (getsockname(s->fd, (struct sockaddr *)&own, &len) < 0)
		return fault(f, errno, "read the name of a netlink socket");
	len = sizeof(peer);
	if (getpeername(s->fd, (struct sockaddr *)&peer, &len) < 0)
		return fault(f, errno, "read the peer of a netlink socket");
	e->portid = own.nl_pid;
	e->dst_portid = peer.nl_pid;
	e->dst_group = peer.nl_groups;
	e->state = peer.nl_pid || peer.nl_groups ? STATE_CONNECTED : STATE_CLOSE;
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
	e.flags = s->flags;
	e.has_ns_id = true;
	e.ns_id = net->ns_id;
	e.fown = s->fown;
	e.opts = &opts;
	file.type = FD_TYPES__NETLINKSK;
	file.id = s->id;
	file.nlsk = &e;
	if (check_queue(s, f) == 0 && read_names(s, &e, f) == 0 && read_groups(s, &e, f) == 0 &&
	    sock_opts_read(s->fd, &opts, f) == 0)
		r = net_write_entry(net, &file, f);
	sock_opts_free(&opts);
	free(e.groups);
	return r;
}

static int check_netlink(struct net *net, struct sock *s, struct fault *f)
{
	const NetlinkSkEntry *e = s->entry->nlsk;

	(void)net;
	if (!e || e->id != s->id)
		return fault(f, -EBADMSG, "files.img: file %u has no netlink entry of its own", s->id);
	if (e->n_groups > MAX_GROUPS / 32 || e->protocol >= MAX_LINKS)
		return fault(f, -EBADMSG, "files.img: netlink socket %u has protocol %u and %zu words of "
			     "groups", s->id, e->protocol, e->n_groups);
	return 0;
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

static enum sock_created create_netlink(struct net *net, struct sock *s, struct fault *f)
{
	const NetlinkSkEntry *e = s->entry->nlsk;
	const struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_pid = e->portid };
	const struct sockaddr_nl peer = { .nl_family = AF_NETLINK, .nl_pid = e->dst_portid,
					  .nl_groups = e->dst_group };

	(void)net;
	s->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, e->protocol);
	if (s->fd < 0)
		return fault(f, errno, "create it, protocol %u", e->protocol);
	if (e->portid && bind(s->fd, (const struct sockaddr *)&own, sizeof(own)) < 0)
		return fault(f, errno, "bind it to port %u", e->portid);
	if (join_groups(s->fd, e, f) < 0 || sock_opts_apply(s->fd, e->opts, f) < 0)
		return SOCK_FAILED;
	if (e->state == STATE_CONNECTED && connect(s->fd, (const struct sockaddr *)&peer, sizeof(peer)) < 0)
		return fault(f, errno, "connect it to port %u, group %u", e->dst_portid, e->dst_group);
	return net_set_flags(s->fd, e->flags, f) < 0 ? SOCK_FAILED : SOCK_CREATED;
}

const struct sock_kind netlink_kind = {
	.name = "netlink socket",
	.type = FD_TYPES__NETLINKSK,
	.match = match_netlink,
	.write = write_netlink,
	.check = check_netlink,
	.create = create_netlink,
};
