/* SPDX-License-Identifier: MIT */
/*
 * packet.c - packet sockets, both directions.
 *
 * Packets that wait in the queue are lost, as those are that pass while the tasks do not run. Rings
 * are packet_ring.c's.
 *
 * Rights:   CAP_NET_RAW; CAP_NET_ADMIN for memberships.
 * Holds:    nothing.
 */
#include "workers/net/packet.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/net/net.h"
#include "workers/net/numbers.h"
#include "workers/net/options.h"
#include "workers/net/packet_diag.h"
#include "workers/net/packet_fill.h"
#include "workers/net/packet_ring.h"

#ifndef PACKET_VNET_HDR_SZ
#define PACKET_VNET_HDR_SZ 24		/* Linux 6.6 */
#endif
#define LOOPBACK 1			/* the index of lo, everywhere */
#define VNET_HDR_SIZE 10		/* of PACKET_VNET_HDR */
#define ADDR_MAX 32			/* the kernel's MAX_ADDR_LEN */
#define FANOUT_TYPE(fanout) ((fanout) >> 16 & 0xff)

static bool match_packet(const struct sock *s)
{
	return s->family == AF_PACKET;
}

/* ---- dump ---- */

/* A group that is steered by a program: the kernel does not give it out. */
static int check_fanout(struct net *net, struct sock *s, struct fault *f)
{
	char who[SOCK_NAME_MAX];
	int fanout;

	(void)net;
	if (s->type == SOCK_PACKET ||
	    ask_number(s->fd, SOL_PACKET, PACKET_FANOUT, &fanout) < 0 || !fanout)
		return 0;
	if (FANOUT_TYPE(fanout) != PACKET_FANOUT_CBPF && FANOUT_TYPE(fanout) != PACKET_FANOUT_EBPF)
		return 0;
	return fault(f, -ENOTSUP, "%s: its group (PACKET_FANOUT) is steered by a program, which "
		     "cannot be read: close it before the dump", sock_name(s, who, sizeof(who)));
}

/* Indices change when devices are made again; that of lo does not. */
static char *name_device(uint32_t index)
{
	char name[IF_NAMESIZE];

	return index > LOOPBACK && if_indextoname(index, name) ? xstrdup(name) : NULL;
}

static void add_member(PacketSockEntry *e, const struct packet_diag_mclist *from)
{
	bool has_address = from->pdmc_type == PACKET_MR_MULTICAST ||
			   from->pdmc_type == PACKET_MR_UNICAST;
	PacketMclist *m = xcalloc(1, sizeof(*m));

	packet_mclist__init(m);
	m->index = from->pdmc_index;
	m->ifname = name_device(from->pdmc_index);
	m->type = from->pdmc_type;
	m->addr.len = has_address && from->pdmc_alen <= sizeof(from->pdmc_addr) ? from->pdmc_alen :
										  0;
	m->addr.data = xcalloc(1, sizeof(from->pdmc_addr));
	memcpy(m->addr.data, from->pdmc_addr, m->addr.len);
	m->has_count = from->pdmc_count != 1;
	m->count = from->pdmc_count;
	e->mclist[e->n_mclist++] = m;
}

static void fill_in(const struct packet_told *t, PacketSockEntry *e)
{
	size_t i;

	e->protocol = t->protocol;
	e->ifindex = t->info.pdi_index;
	e->ifname = name_device(t->info.pdi_index);
	e->version = t->info.pdi_version;
	e->reserve = t->info.pdi_reserve;
	e->timestamp = t->info.pdi_tstamp;
	e->copy_thresh = t->info.pdi_copy_thresh;
	e->aux_data = t->info.pdi_flags & PDI_AUXDATA;
	e->orig_dev = t->info.pdi_flags & PDI_ORIGDEV;
	e->vnet_hdr = t->info.pdi_flags & PDI_VNETHDR;
	e->loss = t->info.pdi_flags & PDI_LOSS;
	e->has_fanout = t->has_fanout;
	e->fanout = t->fanout;
	e->mclist = xcalloc(t->nmembers, sizeof(*e->mclist));
	for (i = 0; i < t->nmembers; i++)
		add_member(e, &t->member[i]);
}

/* Kernels before 6.6 know one size only. */
static void read_vnet_size(int fd, PacketSockEntry *e)
{
	int size;

	if (!e->vnet_hdr || ask_number(fd, SOL_PACKET, PACKET_VNET_HDR_SZ, &size) < 0)
		return;
	e->has_vnet_hdr_size = size != VNET_HDR_SIZE;
	e->vnet_hdr_size = size;
}

static void free_entry(PacketSockEntry *e)
{
	size_t i;

	for (i = 0; i < e->n_mclist; i++)
		packet_mclist__free_unpacked(e->mclist[i], NULL);
	free(e->mclist);
	free(e->ifname);
	packet_fill_free(e->rx_ring);
	packet_fill_free(e->tx_ring);
	numbers_free(NUMBERS(e));
	sock_opts_free(e->opts);
}

static int read_all(struct net *net, struct sock *s, PacketSockEntry *e, struct fault *f)
{
	const struct packet_told *t = packet_diag(net, s->ino, f);
	char who[SOCK_NAME_MAX];

	if (!t)
		return fault_prefix(f, "%s", sock_name(s, who, sizeof(who)));
	fill_in(t, e);
	if (sock_opts_read(s->fd, e->opts, f) < 0 ||
	    numbers_read(net, s, e->opts->n_so_filter ? SOCK_FILTERED : 0, NUMBERS(e), f) < 0)
		return -1;
	read_vnet_size(s->fd, e);
	if (e->ifindex > INT32_MAX) {
		log_warnx("%s: its device is gone: it will receive nothing",
			  sock_name(s, who, sizeof(who)));
		e->ifindex = e->protocol = 0;
	}
	packet_ring_describe(t, e);
	return packet_fill_read(s->fd, e, f);
}

static int write_packet(struct net *net, struct sock *s, struct fault *f)
{
	PacketSockEntry e = PACKET_SOCK_ENTRY__INIT;
	SkOptsEntry opts = SK_OPTS_ENTRY__INIT;
	FileEntry file = FILE_ENTRY__INIT;
	int r = -1;

	e.id = s->id;
	e.type = s->type;
	e.flags = s->flags;
	e.has_ns_id = true;
	e.ns_id = net->ns_id;
	e.fown = &s->fown;
	e.opts = &opts;
	file.type = FD_TYPES__PACKETSK;
	file.id = s->id;
	file.psk = &e;
	if (check_fanout(net, s, f) == 0 && read_all(net, s, &e, f) == 0)
		r = net_write_entry(net, &file, f);
	free_entry(&e);
	return r;
}

/* ---- restore ---- */

static int check_device(uint32_t id, const char *name, struct fault *f)
{
	if (name && !if_nametoindex(name))
		return fault(f, -ENODEV, "files.img: packet socket %u is of device %.16s, which is "
			     "not here: create the device first", id, name);
	return 0;
}

static int check_packet(struct net *net, struct sock *s, struct fault *f)
{
	const PacketSockEntry *e = s->entry->psk;
	size_t i;

	(void)net;
	if (!e || e->id != s->id)
		return fault(f, -EBADMSG, "files.img: file %u has no packet socket entry of its "
			     "own", s->id);
	if ((e->type != SOCK_RAW && e->type != SOCK_DGRAM && e->type != SOCK_PACKET) ||
	    e->protocol > 0xffff || e->ifindex > INT32_MAX)
		return fault(f, -EBADMSG, "files.img: packet socket %u has type %u, protocol %#x, "
			     "device %u", s->id, e->type, e->protocol, e->ifindex);
	if (e->type == SOCK_PACKET && (e->rx_ring || e->tx_ring || e->n_mclist || e->has_fanout))
		return fault(f, -EBADMSG, "files.img: packet socket %u is of the old kind, which "
			     "has no rings, members or group", s->id);
	for (i = 0; i < e->n_mclist; i++)
		if (e->mclist[i]->addr.len > ADDR_MAX || e->mclist[i]->count > UINT16_MAX)
			return fault(f, -EBADMSG, "files.img: packet socket %u has a member with "
				     "an address of %zu bytes, %u times", s->id,
				     e->mclist[i]->addr.len, e->mclist[i]->count);
		else if (check_device(s->id, e->mclist[i]->ifname, f) < 0)
			return -1;
	s->type = e->type;
	if (check_device(s->id, e->ifname, f) < 0 ||
	    numbers_check(s->id, e->number, e->n_number, f) < 0)
		return -1;
	return packet_ring_check(e, f);
}

static uint32_t index_of(uint32_t index, const char *name)
{
	return name ? if_nametoindex(name) : index;
}

static int set(int fd, int name, uint32_t value, const char *what, struct fault *f)
{
	if (value && setsockopt(fd, SOL_PACKET, name, &value, sizeof(value)) < 0)
		return fault(f, errno, "set %s to %u", what, value);
	return 0;
}

static int join(int fd, const PacketMclist *m, struct fault *f)
{
	struct {
		int index;
		unsigned short type, len;
		unsigned char address[ADDR_MAX];
	} req = {
		.index = index_of(m->index, m->ifname), .type = m->type, .len = m->addr.len,
	};
	uint32_t i;

	if (m->addr.len)
		memcpy(req.address, m->addr.data, m->addr.len);
	for (i = 0; i < (m->has_count ? m->count : 1); i++)
		if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &req, sizeof(req)) < 0)
			return fault(f, errno, "add a membership of type %u on device %u", m->type,
				     m->index);
	return 0;
}

/* All of SOL_PACKET that must be set before there are rings, and the rings. */
static int apply(int fd, const PacketSockEntry *e, struct fault *f)
{
	size_t i;

	if (set(fd, PACKET_VERSION, e->version, "PACKET_VERSION", f) < 0 ||
	    set(fd, PACKET_RESERVE, e->reserve, "PACKET_RESERVE", f) < 0 ||
	    set(fd, PACKET_TIMESTAMP, e->timestamp, "PACKET_TIMESTAMP", f) < 0 ||
	    set(fd, PACKET_COPY_THRESH, e->copy_thresh, "PACKET_COPY_THRESH", f) < 0 ||
	    set(fd, PACKET_AUXDATA, e->aux_data, "PACKET_AUXDATA", f) < 0 ||
	    set(fd, PACKET_ORIGDEV, e->orig_dev, "PACKET_ORIGDEV", f) < 0 ||
	    set(fd, PACKET_VNET_HDR, e->vnet_hdr, "PACKET_VNET_HDR", f) < 0 ||
	    set(fd, PACKET_VNET_HDR_SZ, e->has_vnet_hdr_size ? e->vnet_hdr_size : 0,
		"PACKET_VNET_HDR_SZ", f) < 0 ||
	    set(fd, PACKET_LOSS, e->loss, "PACKET_LOSS", f) < 0 ||
	    numbers_apply(fd, e->number, e->n_number, f) < 0 || packet_ring_make(fd, e, f) < 0)
		return -1;
	for (i = 0; i < e->n_mclist; i++)
		if (join(fd, e->mclist[i], f) < 0)
			return -1;
	return packet_fill_apply(fd, e, f);
}

/* The old kind is bound by name, and hears its protocol from the start. */
static int bind_old(int fd, const PacketSockEntry *e, struct fault *f)
{
	struct sockaddr a = { .sa_family = AF_PACKET };
	char name[IF_NAMESIZE] = "";

	if (!e->ifindex)
		return 0;
	if (!if_indextoname(index_of(e->ifindex, e->ifname), name))
		return fault(f, errno, "find device %u", e->ifindex);
	memcpy(a.sa_data, name, sizeof(a.sa_data) - 1);
	return bind(fd, &a, sizeof(a)) < 0 ? fault(f, errno, "bind it to device %s", name) : 0;
}

static int bind_new(int fd, const PacketSockEntry *e, struct fault *f)
{
	const struct sockaddr_ll a = {
		.sll_family = AF_PACKET, .sll_protocol = e->protocol,
		.sll_ifindex = index_of(e->ifindex, e->ifname),
	};

	if ((e->protocol || e->ifindex || e->rx_ring) &&
	    bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return fault(f, errno, "bind it to device %u, protocol %#x", e->ifindex,
			     __builtin_bswap16(e->protocol));
	if (e->has_fanout && e->fanout != UINT32_MAX &&
	    setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &e->fanout, sizeof(e->fanout)) < 0)
		return fault(f, errno, "join group %#x (PACKET_FANOUT)", e->fanout);
	return 0;
}

/* It hears nothing until it is bound: nothing that its filter would refuse gets in. */
static int open_packet(struct net *net, struct sock *s, struct fault *f)
{
	const PacketSockEntry *e = s->entry->psk;
	bool old = e->type == SOCK_PACKET;

	(void)net;
	s->fd = socket(AF_PACKET, e->type | SOCK_CLOEXEC, old ? e->protocol : 0);
	if (s->fd < 0)
		return fault(f, errno, "create it, type %u, protocol %#x", e->type, e->protocol);
	return old ? numbers_apply(s->fd, e->number, e->n_number, f) : apply(s->fd, e, f);
}

/*
 * What fills rings (packet_fill.h) is sent before any socket of ours hears: all are opened first.
 */
static enum sock_created create_packet(struct net *net, struct sock *s, struct fault *f)
{
	const PacketSockEntry *e = s->entry->psk;

	if (s->fd < 0 && net_each_sock(net, &packet_kind, open_packet, f) < 0)
		return SOCK_FAILED;
	if (sock_opts_apply(s->fd, e->opts, f) < 0 ||
	    (e->type == SOCK_PACKET ? bind_old(s->fd, e, f) : bind_new(s->fd, e, f)) < 0)
		return SOCK_FAILED;
	return net_set_flags(s->fd, e->flags, f) < 0 ? SOCK_FAILED : SOCK_CREATED;
}

static void end_packets(struct net *net, bool run_on)
{
	(void)run_on;
	packet_diag_end(net);
	packet_ring_end(net);
}

const struct sock_kind packet_kind = {
	.name = "packet socket",
	.type = FD_TYPES__PACKETSK,
	.match = match_packet,
	.preflight = check_fanout,
	.write = write_packet,
	.check = check_packet,
	.create = create_packet,
	.fill = packet_ring_map,
	.end = end_packets,
};
