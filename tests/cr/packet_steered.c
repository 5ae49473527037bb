/* SPDX-License-Identifier: MIT */
/* A group of packet sockets that a program steers is refused. */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

#include "../case.h"

static void before(void)
{
	struct sockaddr_ll a = {
		.sll_family = AF_PACKET, .sll_protocol = htons(0x88b5),
		.sll_ifindex = if_nametoindex("lo"),
	};
	int fd = socket(AF_PACKET, SOCK_DGRAM, 0), group = 0x5354 | PACKET_FANOUT_CBPF << 16;

	if (fd < 0)
		case_skip("no packet sockets here");
	CHECK(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &group, sizeof(group)) == 0);
}

static void after(void)
{
}

const struct test_case test_case = {
	.proves = "a packet socket in a group steered by a program is refused",
	.before = before,
	.after = after,
	.later = "steered by a program",
	.criu_fails = "it loses the program",
};
