/* SPDX-License-Identifier: MIT */
/*
 * packet_fill.c - how far the kernel and the program have come in a ring that receives.
 *
 * Both go round the ring without telling each other where they are: a program would wait for a
 * frame while the kernel fills another. The kernel's place can be seen by ages and states of
 * frames, but not set: as many packets of our own are sent through lo as bring it there. What the
 * program has not read is written back then.
 *
 * A "unit" is a frame, of TPACKET_V3 a block.
 *
 * Rights:   CAP_NET_RAW.
 * Holds:    nothing.
 */
#include "workers/net/packet_fill.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "proto/control/util.h"
#include "workers/common/log.h"

#define LOOPBACK 1			/* the index of lo */
#define OURS 0x88b6			/* a protocol for experiments (IEEE 802) */
#define NOBODYS 0x00ef			/* none that a packet can have: lower ones are lengths */
#define LARGEST 60000			/* bytes of a packet: lo takes 64 KiB */
#define PATIENCE_MS 3000
#define LOOKS 4

struct view {
	char *map;		/* all rings of the socket; the one that receives is first */
	size_t map_size;
	const PacketRing *ring;
	uint32_t version, n;		/* units */
};

static bool by_block(const struct view *v)
{
	return v->version == TPACKET_V3;
}

static uint64_t bytes_of(const PacketRing *r)
{
	return r ? (uint64_t)r->block_size * r->block_nr : 0;
}

static size_t unit_size(const struct view *v)
{
	return by_block(v) ? v->ring->block_size : v->ring->frame_size;
}

static char *unit(const struct view *v, uint32_t i)
{
	uint32_t per_block = by_block(v) ? 1 : v->ring->block_size / v->ring->frame_size;

	return v->map + (size_t)(i / per_block) * v->ring->block_size +
	       i % per_block * unit_size(v);
}

/* The word that says whose the unit is; 0 (TP_STATUS_KERNEL): the kernel's. */
static uint32_t *status(const struct view *v, uint32_t i)
{
	char *at = unit(v, i);

	return by_block(v) ? &((struct tpacket_block_desc *)at)->hdr.bh1.block_status :
			     (uint32_t *)at;
}

static bool is_unread(const struct view *v, uint32_t i)
{
	return __atomic_load_n(status(v, i), __ATOMIC_ACQUIRE) & TP_STATUS_USER;
}

/* Grows in the order in which units are filled; 0: never filled. */
static uint64_t age(const struct view *v, uint32_t i)
{
	const char *at = unit(v, i);
	const struct tpacket_hdr *one = (const struct tpacket_hdr *)at;
	const struct tpacket2_hdr *two = (const struct tpacket2_hdr *)at;

	if (by_block(v))
		return ((const struct tpacket_block_desc *)at)->hdr.bh1.seq_num;
	return v->version == TPACKET_V1 ? one->tp_sec * 1000000ull + one->tp_usec :
					  two->tp_sec * 1000000000ull + two->tp_nsec;
}

static int open_view(struct view *v, int fd, const PacketSockEntry *e, struct fault *f)
{
	*v = (struct view){ .ring = e->rx_ring, .version = e->version };
	v->n = by_block(v) ? v->ring->block_nr : v->ring->frame_nr;
	v->map_size = bytes_of(e->rx_ring) + bytes_of(e->tx_ring);
	v->map = mmap(NULL, v->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return v->map == MAP_FAILED ? fault(f, errno, "map the rings of a packet socket") : 0;
}

static void close_view(struct view *v)
{
	munmap(v->map, v->map_size);
}

/* ---- dump ---- */

/* The unit the kernel fills next. */
static uint32_t find_head(const struct view *v)
{
	uint32_t i, newest = 0, head, steps;
	bool any = false;

	for (i = 1; i < v->n; i++)
		if (age(v, i) >= age(v, newest))
			newest = i;
	if (!age(v, newest) || (by_block(v) && !is_unread(v, newest)))
		return age(v, newest) ? newest : 0;
	head = (newest + 1) % v->n;
	for (i = 0; i < v->n && !any; i++)
		any = is_unread(v, i);
	/* One that is being filled now is still the kernel's. */
	for (steps = 0; any && steps < v->n && !is_unread(v, (head + v->n - 1) % v->n); steps++)
		head = (head + v->n - 1) % v->n;
	return head;
}

/* The tasks stand, the kernel goes on: look until nothing moves; with unread units it may. */
static uint32_t settled_head(const struct view *v)
{
	uint32_t head = find_head(v), again;
	int i;

	for (i = 0; i < LOOKS; i++) {
		again = find_head(v);
		if (again == head)
			break;
		head = again;
	}
	return head;
}

static void keep_unread(const struct view *v, PacketRing *r, uint32_t i)
{
	PacketUnread *u = xcalloc(1, sizeof(*u));

	packet_unread__init(u);
	u->index = i;
	u->data.len = unit_size(v);
	u->data.data = xcalloc(1, u->data.len);
	memcpy(u->data.data, unit(v, i), u->data.len);
	r->unread[r->n_unread++] = u;
}

/* The place in a ring that sends cannot be seen once it went round. */
static void warn_of_sending(const struct view *v, const PacketSockEntry *e)
{
	const char *first = v->map + bytes_of(e->rx_ring);
	uint32_t length = 0;

	if (!e->tx_ring)
		return;
	length = e->version == TPACKET_V1 ? ((const struct tpacket_hdr *)first)->tp_len :
		 e->version == TPACKET_V2 ? ((const struct tpacket2_hdr *)first)->tp_len :
					    ((const struct tpacket3_hdr *)first)->tp_len;
	if (length)
		log_warnx("packet socket %u has sent by its ring: the kernel begins at the first "
			  "frame again", e->id);
}

int packet_fill_read(int fd, PacketSockEntry *e, struct fault *f)
{
	PacketRing *r = e->rx_ring;
	uint32_t i, head;
	struct view v;

	if (!r && !e->tx_ring)
		return 0;
	if (!r) {
		v = (struct view){ .map_size = bytes_of(e->tx_ring) };
		v.map = mmap(NULL, v.map_size, PROT_READ, MAP_SHARED, fd, 0);
		if (v.map == MAP_FAILED)
			return fault(f, errno, "map the ring of a packet socket");
		warn_of_sending(&v, e);
		close_view(&v);
		return 0;
	}
	if (open_view(&v, fd, e, f) < 0)
		return -1;
	head = settled_head(&v);
	r->has_head = head != 0;
	r->head = head;
	r->unread = xcalloc(v.n, sizeof(*r->unread));
	for (i = 0; i < v.n; i++)
		if (is_unread(&v, i))
			keep_unread(&v, r, i);
	warn_of_sending(&v, e);
	close_view(&v);
	return 0;
}

void packet_fill_free(PacketRing *r)
{
	if (r)
		packet_ring__free_unpacked(r, NULL);
}

/* ---- restore ---- */

static bool wait_for(const struct view *v, uint32_t i)
{
	const int64_t end = monotonic_ms() + PATIENCE_MS + (by_block(v) ? v->ring->retire_tmo : 0);
	const struct timespec pause = { 0, 200000 };

	while (!is_unread(v, i) && monotonic_ms() < end)
		nanosleep(&pause, NULL);
	return is_unread(v, i);
}

static int send_one(int fd, size_t bytes)
{
	static const char nothing[LARGEST];
	const struct sockaddr_ll a = {
		.sll_family = AF_PACKET, .sll_protocol = htons(OURS), .sll_ifindex = LOOPBACK,
		.sll_halen = 6,
	};

	return sendto(fd, nothing, bytes, 0, (const struct sockaddr *)&a, sizeof(a)) < 0 ? -1 : 0;
}

static int feed_frames(int sender, uint32_t n)
{
	while (n-- > 0)
		if (send_one(sender, 64) < 0)
			return -1;
	return 0;
}

/*
 * Delivery may lag behind: wait until the socket has counted as many packets; that clears the
 * count.
 */
static bool have_come(int fd, uint64_t n)
{
	const int64_t end = monotonic_ms() + PATIENCE_MS;
	struct tpacket_stats_v3 now;
	uint64_t sum = 0;

	do {
		socklen_t len = sizeof(now);

		if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &now, &len) < 0)
			return false;
		sum += now.tp_packets;
	} while (sum < n && monotonic_ms() < end);
	return sum >= n;
}

/*
 * Large packets until the last block but one is closed, by the next packet or by time. Then the
 * last one must have a packet, for time to close it; while it has none it stays open.
 */
static int feed_blocks(const struct view *v, int fd, int sender, uint32_t n)
{
	const struct tpacket_block_desc *last = (const struct tpacket_block_desc *)unit(v, n - 1);
	uint64_t most = (uint64_t)n * (v->ring->block_size / 4096 + 2);

	for (; n > 1 && !is_unread(v, n - 2); most--)
		if (!most || send_one(sender, LARGEST) < 0 || !have_come(fd, 1))
			return -1;
	if (!__atomic_load_n(&last->hdr.bh1.num_pkts, __ATOMIC_ACQUIRE))
		return send_one(sender, 64);
	return 0;
}

static int feed(const struct view *v, int fd, int sender, uint32_t head)
{
	if ((by_block(v) ? feed_blocks(v, fd, sender, head) : feed_frames(sender, head)) < 0)
		return -1;
	return wait_for(v, head - 1) ? 0 : -1;
}

/* What we sent is nobody's; ages stay where nothing tells them, for the next dump. */
static void forget(const struct view *v, uint32_t head, bool ages)
{
	uint32_t i;

	for (i = 0; i < head; i++) {
		if (ages && !by_block(v))
			memset(unit(v, i), 0, sizeof(struct tpacket2_hdr));
		__atomic_store_n(status(v, i), TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	}
}

static void put_back(const struct view *v, const PacketUnread *u, uint32_t head)
{
	uint64_t sequence = u->index < head ? age(v, u->index) : 0;
	uint32_t *s = status(v, u->index), was;

	if (u->index == head && by_block(v))
		return;			/* the kernel has it open */
	memcpy(unit(v, u->index), u->data.data, u->data.len);
	was = *s;
	if (by_block(v))
		((struct tpacket_block_desc *)unit(v, u->index))->hdr.bh1.seq_num = sequence;
	__atomic_store_n(s, was, __ATOMIC_RELEASE);
}

static int listen_to(int fd, int protocol)
{
	const struct sockaddr_ll a = {
		.sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = LOOPBACK,
	};

	return bind(fd, (const struct sockaddr *)&a, sizeof(a));
}

/* It hears nothing of what others are fed afterwards. */
static int bring_there(const struct view *v, int fd, uint32_t head)
{
	AUTO_CLOSE int sender = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r;

	if (sender < 0 || listen_to(fd, OURS) < 0)
		return -1;
	r = feed(v, fd, sender, head);
	if (listen_to(fd, NOBODYS) < 0)
		return -1;
	have_come(fd, 0);		/* the program has counted nothing */
	return r;
}

static int check_unread(const struct view *v, uint32_t id, struct fault *f)
{
	size_t i;

	if (v->ring->head >= v->n)
		return fault(f, -EBADMSG, "files.img: packet socket %u has a ring of %u with its "
			     "head at %u", id, v->n, v->ring->head);
	for (i = 0; i < v->ring->n_unread; i++)
		if (v->ring->unread[i]->index >= v->n ||
		    v->ring->unread[i]->data.len != unit_size(v))
			return fault(f, -EBADMSG, "files.img: packet socket %u has %zu bytes "
				     "unread at %u of a ring of %u", id,
				     v->ring->unread[i]->data.len, v->ring->unread[i]->index, v->n);
	return 0;
}

int packet_fill_apply(int fd, const PacketSockEntry *e, struct fault *f)
{
	const PacketRing *r = e->rx_ring;
	struct view v;
	int done = 0;
	size_t i;

	if (!r || (!r->head && !r->n_unread))
		return 0;
	if (open_view(&v, fd, e, f) < 0)
		return -1;
	if (check_unread(&v, e->id, f) < 0) {
		close_view(&v);
		return -1;
	}
	if (r->head)
		done = bring_there(&v, fd, r->head);
	if (done < 0)
		log_warnx("packet socket %u: the kernel begins at the first unit of its ring "
			  "again, what was unread is lost (is lo up?)", e->id);
	forget(&v, r->head, r->n_unread && done == 0);
	for (i = 0; done == 0 && i < r->n_unread; i++)
		put_back(&v, r->unread[i], r->head);
	close_view(&v);
	return 0;
}
