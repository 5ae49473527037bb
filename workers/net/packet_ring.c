/* SPDX-License-Identifier: MIT */
/*
 * packet_ring.c - rings of packet sockets, and where tasks have mapped them.
 *
 * Mappings:  mem tells where they are and keeps the places; net, which has the sockets, fills them.
 *
 * Rights:   those of packet.c; ptrace access to the tasks.
 * Holds:    net->ring_places, from NetCreate to the end of a restore.
 */
#include "workers/net/packet_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/net/net.h"

#define MAP_TIMEOUT_MS 30000

struct ring_places {
	SocketMap *list;
	size_t n;
};

/* ---- dump ---- */

static PacketRing *describe(const struct packet_diag_ring *from)
{
	PacketRing *r = xcalloc(1, sizeof(*r));

	packet_ring__init(r);
	r->block_size = from->pdr_block_size;
	r->block_nr = from->pdr_block_nr;
	r->frame_size = from->pdr_frame_size;
	r->frame_nr = from->pdr_frame_nr;
	r->retire_tmo = from->pdr_retire_tmo;
	r->sizeof_priv = from->pdr_sizeof_priv;
	r->features = from->pdr_features;
	return r;
}

void packet_ring_describe(const struct packet_told *t, PacketSockEntry *e)
{
	e->rx_ring = t->has_rx ? describe(&t->rx) : NULL;
	e->tx_ring = t->has_tx ? describe(&t->tx) : NULL;
}

int packet_ring_mapped(struct net *net, const uint64_t *ino, size_t n, struct fault *f)
{
	char who[SOCK_NAME_MAX];
	size_t i;

	for (i = 0; i < n; i++) {
		const struct sock *s = net_sock_by_ino(net, ino[i]);

		if (s && s->family != AF_PACKET)
			return fault(f, -ENOTSUP, "%s: it is mapped (TCP_ZEROCOPY_RECEIVE), and "
				     "what it received there cannot be dumped: let the program "
				     "read it in the usual way", sock_name(s, who, sizeof(who)));
	}
	return 0;
}

/* ---- restore ---- */

static uint64_t ring_bytes(const PacketRing *r)
{
	return r ? (uint64_t)r->block_size * r->block_nr : 0;
}

/* The kernel checks how the sizes fit together; here only that they are sizes. */
int packet_ring_check(const PacketSockEntry *e, struct fault *f)
{
	if (ring_bytes(e->rx_ring) > INT64_MAX / 2 || ring_bytes(e->tx_ring) > INT64_MAX / 2)
		return fault(f, -EBADMSG, "files.img: the rings of packet socket %u have %u and %u "
			     "blocks", e->id, e->rx_ring ? e->rx_ring->block_nr : 0,
			     e->tx_ring ? e->tx_ring->block_nr : 0);
	return 0;
}

static int make(int fd, int name, const PacketRing *r, const char *what, struct fault *f)
{
	const struct tpacket_req3 req = {
		.tp_block_size = r ? r->block_size : 0, .tp_block_nr = r ? r->block_nr : 0,
		.tp_frame_size = r ? r->frame_size : 0, .tp_frame_nr = r ? r->frame_nr : 0,
		.tp_retire_blk_tov = r ? r->retire_tmo : 0,
		.tp_sizeof_priv = r ? r->sizeof_priv : 0,
		.tp_feature_req_word = r ? r->features : 0,
	};

	if (r && setsockopt(fd, SOL_PACKET, name, &req, sizeof(req)) < 0)
		return fault(f, errno, "make its ring to %s, %u blocks of %u bytes", what,
			     r->block_nr, r->block_size);
	return 0;
}

int packet_ring_make(int fd, const PacketSockEntry *e, struct fault *f)
{
	if (make(fd, PACKET_RX_RING, e->rx_ring, "receive", f) < 0)
		return -1;
	return make(fd, PACKET_TX_RING, e->tx_ring, "send", f);
}

int packet_ring_places(struct net *net, SocketMap *const *map, size_t n, struct fault *f)
{
	struct ring_places *p;
	size_t i;

	if (net->ring_places)
		return fault(f, -EPROTO, "sockets are created already");
	p = net->ring_places = xcalloc(1, sizeof(*p));
	p->list = xcalloc(n, sizeof(*p->list));
	for (; p->n < n; p->n++)
		p->list[p->n] = *map[p->n];
	for (i = 0; i < n; i++) {
		const struct sock *s = net_sock(net, p->list[i].id);

		if (!s || !s->entry->psk)
			return fault(f, -EBADMSG, "mm-%u.img: the mapping %llx is of socket %u, "
				     "which is no packet socket of files.img", p->list[i].pid,
				     (unsigned long long)p->list[i].start, p->list[i].id);
	}
	return 0;
}

/*
 * A socket is mapped as a whole only. What the task has of it, perhaps a part, is moved to its
 * place; the rest goes.
 */
static int map_place(struct gate *g, const SocketMap *m, uint64_t whole, int spare, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);
	const uint64_t size = m->end - m->start, flags = m->shared ? MAP_SHARED : MAP_PRIVATE;
	int64_t at;
	int map, move;

	map = batch_op(b, 0, 0, SYS_mmap, 6, gc(0), gc(whole), gc(m->prot), gc(flags), gc(spare),
		       gc(0));
	batch_op(b, 0, 0, SYS_close, 1, gc(spare));
	if (batch_run(b, MAP_TIMEOUT_MS, f) < 0)
		return -1;
	at = batch_result(b, 0, map);
	if (at < 0 && at > -4096)
		return fault(f, (int)-at, "task %u: map %llu bytes of rings", m->pid,
			     (unsigned long long)whole);
	move = batch_op(b, 0, 0, SYS_mremap, 5, gc(at + m->offset), gc(size), gc(size),
			gc(MREMAP_MAYMOVE | MREMAP_FIXED), gc(m->start));
	if (m->offset)
		batch_op(b, 0, 0, SYS_munmap, 2, gc(at), gc(m->offset));
	if (m->offset + size < whole)
		batch_op(b, 0, 0, SYS_munmap, 2, gc(at + m->offset + size),
			 gc(whole - m->offset - size));
	if (batch_run(b, MAP_TIMEOUT_MS, f) < 0)
		return -1;
	if (batch_result(b, 0, move) != (int64_t)m->start)
		return fault(f, (int)-batch_result(b, 0, move), "task %u: map rings at %llx",
			     m->pid, (unsigned long long)m->start);
	return 0;
}

static int restore_place(struct net *net, const SocketMap *m, struct fault *f)
{
	struct sock *s = net_sock(net, m->id);
	struct gate *g = net_gate(net, m->pid);
	uint64_t whole = ring_bytes(s->entry->psk->rx_ring) + ring_bytes(s->entry->psk->tx_ring);
	const int flags = O_CLOEXEC;
	char who[SOCK_NAME_MAX];
	int spare;

	if (!g)
		return fault(f, -EPROTO, "task %u is not in the tree", m->pid);
	if (m->end - m->start > whole || m->offset > whole - (m->end - m->start))
		return fault(f, -EBADMSG, "mm-%u.img: the mapping %llx is not inside the rings of "
			     "packet socket %u", m->pid, (unsigned long long)m->start, m->id);
	spare = net_spare_fd(net, m->pid);
	/* The socket stands at the first spare number for a moment, its channel at the second. */
	if (gate_pass_fds(g, spare + 1, &s->fd, &spare, &flags, 1, f) < 0 ||
	    map_place(g, m, whole, spare, f) < 0)
		return fault_prefix(f, "%s", sock_name(s, who, sizeof(who)));
	return 0;
}

int packet_ring_map(struct net *net, struct fault *f)
{
	const struct ring_places *p = net->ring_places;
	size_t i;

	for (i = 0; p && i < p->n; i++)
		if (restore_place(net, &p->list[i], f) < 0)
			return -1;
	return 0;
}

void packet_ring_end(struct net *net)
{
	if (net->ring_places)
		free(net->ring_places->list);
	free(net->ring_places);
	net->ring_places = NULL;
}
