/* SPDX-License-Identifier: MIT */
/*
 * Raw sockets: a peer without a port, IP_HDRINCL switched off, checksums by the kernel; options of
 * sockets in general that CRIU has no field for.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

#include "../case.h"

#define PROTOCOL 253
#define CHECKSUM 7			/* IPV6_CHECKSUM */
#define TXTIME 61			/* SO_TXTIME */

static int sender, no_header, summed, timed;
static struct sock_filter accept_all[] = { { BPF_RET | BPF_K, 0, 0, 0xffff } };

static int get(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(getsockopt(fd, level, name, &v, &len) == 0);
	return v;
}

static void set(int fd, int level, int name, int v)
{
	CHECK(setsockopt(fd, level, name, &v, sizeof(v)) == 0);
}

static int raw(int family, int protocol)
{
	int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK, protocol);

	if (fd < 0 && errno == EPERM)
		case_skip("no raw sockets here");
	CHECK(fd >= 0);
	return fd;
}

static void before(void)
{
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000009) };
	struct sock_txtime txtime = { .clockid = CLOCK_TAI, .flags = SOF_TXTIME_REPORT_ERRORS };
	struct sock_fprog prog = { 1, accept_all };

	sender = raw(AF_INET, PROTOCOL);
	CHECK(connect(sender, (struct sockaddr *)&peer, sizeof(peer)) == 0);
	no_header = raw(AF_INET, IPPROTO_RAW);
	set(no_header, IPPROTO_IP, IP_HDRINCL, 0);
	summed = raw(AF_INET6, PROTOCOL);
	set(summed, IPPROTO_IPV6, CHECKSUM, 4);
	timed = raw(AF_INET, PROTOCOL);
	CHECK(setsockopt(timed, SOL_SOCKET, TXTIME, &txtime, sizeof(txtime)) == 0);
	set(timed, SOL_SOCKET, SO_TIMESTAMPING,
	    SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE);
	set(timed, SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1);
	set(timed, SOL_SOCKET, SO_MAX_PACING_RATE, 1000000);
	CHECK(setsockopt(timed, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) == 0);
	set(timed, SOL_SOCKET, SO_LOCK_FILTER, 1);
}

static void after(void)
{
	struct sock_txtime txtime = { 0 };
	socklen_t len = sizeof(txtime);

	CHECK(send(sender, "x", 1, 0) == 1);
	CHECK(get(no_header, IPPROTO_IP, IP_HDRINCL) == 0);
	CHECK(get(summed, IPPROTO_IPV6, CHECKSUM) == 4);
	CHECK(getsockopt(timed, SOL_SOCKET, TXTIME, &txtime, &len) == 0);
	CHECK(txtime.clockid == CLOCK_TAI && txtime.flags == SOF_TXTIME_REPORT_ERRORS);
	CHECK(get(timed, SOL_SOCKET, SO_TIMESTAMPING) ==
	      (SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE));
	CHECK(get(timed, SOL_SOCKET, SO_SELECT_ERR_QUEUE) == 1);
	CHECK(get(timed, SOL_SOCKET, SO_MAX_PACING_RATE) == 1000000);
	CHECK(get(timed, SOL_SOCKET, SO_LOCK_FILTER) == 1);
	CHECK(setsockopt(timed, SOL_SOCKET, SO_DETACH_FILTER, &len, sizeof(len)) < 0 &&
	      errno == EPERM);
}

const struct test_case test_case = {
	.proves = "raw sockets keep peers without port, checksums, times, locked filters",
	.criu_fails = "has no fields for these options, and no peers without port",
	.needs_root = true,
	.before = before,
	.after = after,
};
