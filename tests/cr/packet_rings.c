/* SPDX-License-Identifier: MIT */
/*
 * Rings of a packet socket that are mapped in part, with parts protected, and by a child that
 * closed the socket; options and counts that CRIU has no field for.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

#define PAGE 4096
#define PAGES 8

static int sock;
static pid_t child;
static char *map;

static void set(int name, int v)
{
	CHECK(setsockopt(sock, SOL_PACKET, name, &v, sizeof(v)) == 0);
}

static int get(int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(getsockopt(sock, SOL_PACKET, name, &v, &len) == 0);
	return v;
}

/* The protection of the mapping at an address, as in maps: "rw-s". */
static void protection(const char *at, char perms[5])
{
	char line[256];
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	char is[5];

	strcpy(perms, "none");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %4s", &start, &end, is) == 3 &&
		    start <= (unsigned long)at && (unsigned long)at < end)
			strcpy(perms, strstr(line, "socket:[") ? is : "none");
	if (f)
		fclose(f);
}

static void expect(const char *at, const char *perms)
{
	char now[5];

	protection(at, now);
	CHECK(!strcmp(now, perms));
}

/* What one writes the other sees: both have the socket's own pages. */
static void run_child(void)
{
	close(sock);
	case_child_wait();
	CHECK(map[5 * PAGE + 100] == 'x');
	map[5 * PAGE + 101] = 'y';
	_exit(0);
}

static void before(void)
{
	struct tpacket_req3 req = { PAGE, PAGES, 1024, 4 * PAGES, 100, 0, 0 };
	struct packet_mreq multi = { .mr_ifindex = if_nametoindex("lo"),
				     .mr_type = PACKET_MR_PROMISC };

	sock = socket(AF_PACKET, SOCK_RAW, 0);
	if (sock < 0)
		case_skip("no packet sockets here");
	set(PACKET_VERSION, TPACKET_V3);
	set(PACKET_IGNORE_OUTGOING, 1);
	set(PACKET_QDISC_BYPASS, 1);
	set(PACKET_TX_HAS_OFF, 1);
	CHECK(setsockopt(sock, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &multi, sizeof(multi)) == 0);
	CHECK(setsockopt(sock, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &multi, sizeof(multi)) == 0);
	CHECK(setsockopt(sock, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)) == 0);
	map = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, sock, 0);
	CHECK(map != MAP_FAILED);
	CHECK(munmap(map + 2 * PAGE, PAGE) == 0);
	CHECK(mprotect(map + 6 * PAGE, PAGE, PROT_READ) == 0);
	child = fork();
	if (child == 0)
		run_child();
	CHECK(child > 0);
}

static void after(void)
{
	struct packet_mreq multi = { .mr_ifindex = if_nametoindex("lo"),
				     .mr_type = PACKET_MR_PROMISC };

	CHECK(get(PACKET_IGNORE_OUTGOING) == 1 && get(PACKET_QDISC_BYPASS) == 1);
	CHECK(get(PACKET_TX_HAS_OFF) == 1 && get(PACKET_VERSION) == TPACKET_V3);
	expect(map, "rw-s");
	expect(map + 2 * PAGE, "none");
	expect(map + 3 * PAGE, "rw-s");
	expect(map + 6 * PAGE, "r--s");
	expect(map + 7 * PAGE, "rw-s");
	map[5 * PAGE + 100] = 'x';
	case_release();
	case_child_ok(child);
	CHECK(map[5 * PAGE + 101] == 'y');
	CHECK(setsockopt(sock, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &multi, sizeof(multi)) == 0);
	CHECK(setsockopt(sock, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &multi, sizeof(multi)) == 0);
}

const struct test_case test_case = {
	.proves = "rings of packet sockets stay mapped in part, protected, shared with a child",
	.criu_fails = "maps whole rings only, of sockets that the task has open; members count "
		      "once",
	.needs_root = true,
	.before = before,
	.after = after,
};
