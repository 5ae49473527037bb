/* SPDX-License-Identifier: MIT */
/*
 * Rings that receive: the kernel goes on where it was, and what the program had not read is there;
 * by frames, twice round, and by blocks.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "../case.h"

#define OURS 0x88b5			/* for experiments (IEEE 802) */
#define BLOCK 8192
#define BLOCKS 4
#define FRAME 2048
#define FRAMES (BLOCK * BLOCKS / FRAME)

struct reader {
	int fd;
	char *ring;
	int next;			/* frame or block the program looks at next */
};

static struct reader frames, ahead, blocks;
static int sender;

static void make(struct reader *r, int version, int protocol)
{
	struct tpacket_req3 req = { BLOCK, BLOCKS, FRAME, FRAMES, 20, 0, 0 };
	struct sockaddr_ll a = {
		.sll_family = AF_PACKET, .sll_protocol = htons(protocol),
		.sll_ifindex = if_nametoindex("lo"),
	};

	r->fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	if (r->fd < 0)
		case_skip("no packet sockets here");
	CHECK(setsockopt(r->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) == 0);
	CHECK(setsockopt(r->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)) == 0);
	r->ring = mmap(NULL, BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	CHECK(r->ring != MAP_FAILED && bind(r->fd, (struct sockaddr *)&a, sizeof(a)) == 0);
}

static void say(int protocol, char mark)
{
	struct sockaddr_ll a = {
		.sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_halen = 6,
		.sll_ifindex = if_nametoindex("lo"),
	};
	char text[64] = { mark, 'x' };

	CHECK(sendto(sender, text, sizeof(text), 0, (struct sockaddr *)&a, sizeof(a)) ==
	      sizeof(text));
}

static bool came(unsigned int *status)
{
	int i;

	for (i = 0; i < 2000 && !(__atomic_load_n(status, __ATOMIC_ACQUIRE) & TP_STATUS_USER); i++)
		case_sleep_ms(1);
	return i < 2000;
}

/* The next frame must be that packet. */
static void read_frame(struct reader *r, char mark)
{
	struct tpacket2_hdr *h = (struct tpacket2_hdr *)(r->ring + r->next * FRAME);

	CHECK(came(&h->tp_status) && ((char *)h)[h->tp_net] == mark);
	__atomic_store_n(&h->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	r->next = (r->next + 1) % FRAMES;
}

/* The next block must have that packet alone. */
static void read_block(struct reader *r, char mark)
{
	struct tpacket_block_desc *b = (struct tpacket_block_desc *)(r->ring + r->next * BLOCK);
	struct tpacket3_hdr *h;

	if (!came(&b->hdr.bh1.block_status)) {
		CHECK(!"the block comes");
		return;
	}
	h = (struct tpacket3_hdr *)((char *)b + b->hdr.bh1.offset_to_first_pkt);
	CHECK(b->hdr.bh1.num_pkts == 1 && ((char *)h)[h->tp_net] == mark);
	__atomic_store_n(&b->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	r->next = (r->next + 1) % BLOCKS;
}

static void before(void)
{
	int i;

	sender = socket(AF_PACKET, SOCK_DGRAM, 0);
	make(&frames, TPACKET_V2, OURS);
	make(&ahead, TPACKET_V2, OURS + 2);
	make(&blocks, TPACKET_V3, OURS + 3);
	for (i = 0; i < FRAMES + 5; i++) {
		say(OURS, 'a' + i);
		read_frame(&frames, 'a' + i);
	}
	say(OURS + 2, '0');
	say(OURS + 2, '1');
	say(OURS + 2, '2');
	read_frame(&ahead, '0');
	for (i = 0; i < BLOCKS + 2; i++) {
		say(OURS + 3, 'A' + i);
		read_block(&blocks, 'A' + i);
	}
	say(OURS + 3, 'Z');
	CHECK(came(&((struct tpacket_block_desc *)(blocks.ring + blocks.next * BLOCK))
			    ->hdr.bh1.block_status));
}

static void after(void)
{
	int i;

	for (i = 0; i < FRAMES + 2; i++) {
		say(OURS, 'a' + i);
		read_frame(&frames, 'a' + i);
	}
	say(OURS + 2, '3');
	read_frame(&ahead, '1');
	read_frame(&ahead, '2');
	read_frame(&ahead, '3');
	read_block(&blocks, 'Z');
	for (i = 0; i < BLOCKS + 1; i++) {
		say(OURS + 3, 'A' + i);
		read_block(&blocks, 'A' + i);
	}
}

const struct test_case test_case = {
	.proves = "the kernel goes on where it was in a ring; what was unread is there",
	.criu_fails = "begins at the first frame again and empties the ring",
	.needs_root = true,
	.before = before,
	.after = after,
};
