/* SPDX-License-Identifier: MIT */
/*
 * packet_diag.c - dump: what only sock_diag tells of packet sockets.
 *
 * Rights:   none.
 * Holds:    net->packets: what was told of all of the network, until packet_diag_end.
 */
#include "workers/net/packet_diag.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/net/diag.h"
#include "workers/net/net.h"

struct packets {
	struct packet_told *list;
	size_t n, cap;
};

static bool take_ring(const struct nlattr *attr, size_t bytes, int type,
		      struct packet_diag_ring *out)
{
	const void *ring = diag_attr(attr, bytes, type, sizeof(*out), NULL);

	if (ring)
		memcpy(out, ring, sizeof(*out));
	return ring;
}

static void note(void *ctx, const void *msg, const struct nlattr *attr, size_t bytes)
{
	struct packets *all = ctx;
	const struct packet_diag_msg *m = msg;
	const void *info = diag_attr(attr, bytes, PACKET_DIAG_INFO, sizeof(struct packet_diag_info),
				     NULL);
	const uint32_t *fanout = diag_attr(attr, bytes, PACKET_DIAG_FANOUT, sizeof(*fanout), NULL);
	struct packet_told *t;
	const void *members;
	size_t size = 0;

	if (!info)
		return;
	t = grow(&all->list, all->n++, &all->cap, sizeof(*t));
	*t = (struct packet_told){ .ino = m->pdiag_ino,
				   .protocol = __builtin_bswap16(m->pdiag_num) };
	memcpy(&t->info, info, sizeof(t->info));
	t->has_fanout = fanout;
	t->fanout = fanout ? *fanout : 0;
	t->has_rx = take_ring(attr, bytes, PACKET_DIAG_RX_RING, &t->rx);
	t->has_tx = take_ring(attr, bytes, PACKET_DIAG_TX_RING, &t->tx);
	members = diag_attr(attr, bytes, PACKET_DIAG_MCLIST, sizeof(*t->member), &size);
	t->nmembers = size / sizeof(*t->member);
	t->member = xcalloc(t->nmembers, sizeof(*t->member));
	if (t->nmembers)
		memcpy(t->member, members, t->nmembers * sizeof(*t->member));
}

static int learn(struct packets *all, struct fault *f)
{
	const struct packet_diag_req req = {
		.sdiag_family = AF_PACKET,
		.pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG |
			      PACKET_SHOW_FANOUT,
	};
	int r = diag_dump(&req, sizeof(req), sizeof(struct packet_diag_msg), note, all, f);

	if (r == 1)
		return fault(f, -ENOTSUP, "this kernel does not tell of packet sockets: load its "
			     "module packet_diag");
	return r;
}

const struct packet_told *packet_diag(struct net *net, uint64_t ino, struct fault *f)
{
	struct packets *all = net->packets;
	const struct packet_told *t;

	if (!all) {
		all = net->packets = xcalloc(1, sizeof(*all));
		if (learn(all, f) < 0)
			return NULL;
		diag_sort(all->list, all->n, sizeof(*all->list));
	}
	t = diag_find(all->list, all->n, sizeof(*all->list), ino);
	if (t)
		return t;
	fault(f, -ENOENT, "the kernel's list of packet sockets lacks it: is it of another network "
	      "namespace?");
	return NULL;
}

void packet_diag_end(struct net *net)
{
	struct packets *all = net->packets;
	size_t i;

	for (i = 0; all && i < all->n; i++)
		free(all->list[i].member);
	if (all)
		free(all->list);
	free(all);
	net->packets = NULL;
}
