/* SPDX-License-Identifier: MIT */
/* Packet sockets: protocol, device, options, members, groups, filters; mapped rings receive. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "../case.h"

#define OURS 0x88b5			/* for experiments (IEEE 802) */
#define BLOCK 8192
#define BLOCKS 4
#define FRAME 2048
#define RING (BLOCK * BLOCKS)

static int plain, fan[2], ring, idle, old;
static char *rings;
static struct sock_filter deny[] = { { BPF_RET | BPF_K, 0, 0, 0 } };

static int get(int fd, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(getsockopt(fd, SOL_PACKET, name, &v, &len) == 0);
	return v;
}

static void set(int fd, int name, int v)
{
	CHECK(setsockopt(fd, SOL_PACKET, name, &v, sizeof(v)) == 0);
}

static int bound(int type, int protocol)
{
	struct sockaddr_ll a = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(protocol),
		.sll_ifindex = if_nametoindex("lo"),
	};
	int fd = socket(AF_PACKET, type, 0);

	if (fd < 0 && (errno == EPERM || errno == EAFNOSUPPORT))
		case_skip("no packet sockets here");
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	return fd;
}

static void check_bound(int fd, int protocol)
{
	struct sockaddr_ll a = { 0 };
	socklen_t len = sizeof(a);

	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	CHECK(a.sll_protocol == htons(protocol) && a.sll_ifindex == (int)if_nametoindex("lo"));
}

static void make_rings(void)
{
	struct tpacket_req req = { BLOCK, BLOCKS, FRAME, RING / FRAME };

	ring = bound(SOCK_DGRAM, OURS);
	set(ring, PACKET_VERSION, TPACKET_V2);
	set(ring, PACKET_RESERVE, 32);
	set(ring, PACKET_LOSS, 1);
	CHECK(setsockopt(ring, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)) == 0);
	CHECK(setsockopt(ring, SOL_PACKET, PACKET_TX_RING, &req, sizeof(req)) == 0);
	rings = mmap(NULL, 2 * RING, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
	CHECK(rings != MAP_FAILED);
}

static void before(void)
{
	struct packet_mreq promisc = { .mr_ifindex = if_nametoindex("lo"),
				       .mr_type = PACKET_MR_PROMISC };
	struct sock_fprog prog = { 1, deny };

	plain = bound(SOCK_RAW, ETH_P_IPV6);
	set(plain, PACKET_AUXDATA, 1);
	set(plain, PACKET_ORIGDEV, 1);
	set(plain, PACKET_VNET_HDR, 1);
	set(plain, PACKET_TIMESTAMP, 64);
	CHECK(setsockopt(plain, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promisc, sizeof(promisc)) == 0);
	CHECK(setsockopt(plain, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) == 0);
	fan[0] = bound(SOCK_DGRAM, OURS);
	fan[1] = bound(SOCK_DGRAM, OURS);
	set(fan[0], PACKET_FANOUT, 0x5a53 | PACKET_FANOUT_LB << 16);
	set(fan[1], PACKET_FANOUT, 0x5a53 | PACKET_FANOUT_LB << 16);
	idle = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	old = socket(AF_PACKET, SOCK_PACKET, htons(OURS));
	CHECK(idle >= 0 && old >= 0);
	make_rings();
}

static void send_one(char mark)
{
	struct sockaddr_ll a = {
		.sll_family = AF_PACKET, .sll_protocol = htons(OURS), .sll_halen = 6,
		.sll_ifindex = if_nametoindex("lo"),
	};
	char text[64] = { mark, 'p', 'q' };

	CHECK(sendto(idle, text, sizeof(text), 0, (struct sockaddr *)&a, sizeof(a)) ==
		      sizeof(text) ||
	      errno == EINVAL);
	CHECK(sendto(fan[0], text, sizeof(text), 0, (struct sockaddr *)&a, sizeof(a)) ==
	      sizeof(text));
}

static void check_plain(void)
{
	struct sock_filter now[4];
	socklen_t n = 4;

	check_bound(plain, ETH_P_IPV6);
	CHECK(get(plain, PACKET_AUXDATA) == 1 && get(plain, PACKET_ORIGDEV) == 1);
	CHECK(get(plain, PACKET_VNET_HDR) == 1 && get(plain, PACKET_TIMESTAMP) == 64);
	CHECK(getsockopt(plain, SOL_SOCKET, SO_GET_FILTER, now, &n) == 0 && n == 1);
	CHECK(now[0].code == deny[0].code && now[0].k == 0);
}

/* A packet that is sent now comes in everywhere it should. */
static void check_traffic(void)
{
	struct tpacket2_hdr *h = NULL;
	struct pollfd p = { .fd = ring, .events = POLLIN };
	struct pollfd fans[] = { { .fd = fan[0], .events = POLLIN },
				 { .fd = fan[1], .events = POLLIN } };
	char text[128];
	int i;

	memset(rings, 0, RING);
	send_one('a');
	CHECK(poll(&p, 1, 5000) == 1 && (p.revents & POLLIN));
	for (i = 0; i < RING / FRAME; i++) {
		h = (struct tpacket2_hdr *)(rings + i * FRAME);
		if (h->tp_status & TP_STATUS_USER)
			break;
	}
	CHECK(i < RING / FRAME && !memcmp((char *)h + h->tp_net, "apq", 3));
	/* Each socket gets its copy in its turn. */
	CHECK(poll(fans, 2, 5000) > 0);
	CHECK(recv(fan[0], text, sizeof(text), MSG_DONTWAIT) > 0 ||
	      recv(fan[1], text, sizeof(text), MSG_DONTWAIT) > 0);
	p.fd = old;
	CHECK(poll(&p, 1, 5000) == 1 && recv(old, text, sizeof(text), MSG_DONTWAIT) > 0);
	CHECK(recv(idle, text, sizeof(text), 0) < 0 && errno == EAGAIN);
}

static void after(void)
{
	check_plain();
	check_bound(fan[0], OURS);
	check_bound(ring, OURS);
	CHECK(get(fan[0], PACKET_FANOUT) == (0x5a53 | PACKET_FANOUT_LB << 16));
	CHECK(get(fan[1], PACKET_FANOUT) == (0x5a53 | PACKET_FANOUT_LB << 16));
	CHECK(get(ring, PACKET_VERSION) == TPACKET_V2 && get(ring, PACKET_RESERVE) == 32);
	CHECK(get(ring, PACKET_LOSS) == 1);
	check_traffic();
}

const struct test_case test_case = {
	.proves = "packet sockets keep device, options, groups and filters; their mapped rings "
		  "receive",
	.needs_root = true,
	.before = before,
	.after = after,
};
