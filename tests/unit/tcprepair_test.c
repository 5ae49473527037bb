/* SPDX-License-Identifier: MIT */
/*
 * tcprepair_test.c - a TCP connection goes through save and restore; its peer notices nothing.
 */
#include "workers/net/tcprepair/tcprepair.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "tests/world/tcp_pairs.h"

#define MIB (1u << 20)

static void both_directions_of(enum kind kind)
{
	struct pair p = pair_connected(kind);

	pair_cycle(kind, &p);
	CHECK(pair_says(p.a, p.b, 5000) && pair_says(p.b, p.a, 5000));
	pair_cycle(kind, &p);
	CHECK(pair_says(p.b, p.a, 70000) && pair_says(p.a, p.b, 70000));
	pair_hang_up(&p);
}

static void both_directions_v4(void)
{
	both_directions_of(V4);
}

static void both_directions_v6(void)
{
	both_directions_of(V6);
}

static void both_directions_mapped(void)
{
	both_directions_of(MAPPED);
}

static void unread_data(void)
{
	struct pair p = pair_connected(V4);

	CHECK(pair_stuff(p.b, 3000) == 3000);
	poll(NULL, 0, 20);
	pair_cycle(V4, &p);
	CHECK(pair_reads(p.a, 0, 3000));
	CHECK(pair_says(p.b, p.a, 100));
	pair_hang_up(&p);
}

/* Sent, never acknowledged: the peer's lock has dropped it. */
static void unacknowledged_data(void)
{
	struct pair p = pair_connected(V4);

	pair_lock(p.b);
	CHECK(pair_stuff(p.a, 20000) == 20000);
	pair_cycle(V4, &p);
	CHECK(pair_reads(p.b, 0, 20000));
	CHECK(pair_says(p.a, p.b, 100));
	pair_hang_up(&p);
}

/* The peer does not read: its window closes and the rest stays here. */
static void unsent_of(enum kind kind)
{
	struct pair p = pair_connected(kind);
	struct tcprepair_state s;
	struct tcprepair *c;
	int small = 8192, large = 2 * MIB;
	size_t n;

	setsockopt(p.b, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(p.a, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large));
	n = pair_stuff(p.a, 300000);
	poll(NULL, 0, 50);
	pair_lock(p.b);
	pair_lock(p.a);
	pair_take(p.a, &s);
	CHECK(s.unsq_len > 0 && s.unsq_len <= s.outq_len);
	p.a = pair_put(kind, &s, NULL, &c);
	tcprepair_clear(&s);
	pair_unlock(p.b);
	pair_run_on(p.a, c);
	CHECK(n == 300000 && pair_reads(p.b, 0, n));
	CHECK(pair_says(p.b, p.a, 1000));
	pair_hang_up(&p);
}

static void unsent_data(void)
{
	unsent_of(V4);
	unsent_of(V6);
}

/* What is restored is, read back at once, what was saved: also the part that is unsent. */
static void same_again(void)
{
	struct pair p = pair_connected(V4);
	struct tcprepair_state s, t;
	struct tcprepair *c;
	struct fault f = { 0 };
	int small = 8192;

	setsockopt(p.b, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	CHECK(pair_stuff(p.a, 100000) > 50000 && pair_stuff(p.b, 700) == 700);
	poll(NULL, 0, 50);
	pair_lock(p.b);
	pair_lock(p.a);
	pair_take(p.a, &s);
	p.a = pair_put(V4, &s, NULL, &c);
	tcprepair_release(c);
	CHECK(!tcprepair_pause(p.a, &c, &f) && !tcprepair_save(c, &t, &f));
	CHECK(s.inq_seq == t.inq_seq && s.outq_seq == t.outq_seq && s.inq_len == 700);
	CHECK(s.inq_len == t.inq_len && s.outq_len == t.outq_len && s.unsq_len == t.unsq_len);
	CHECK(!memcmp(s.inq, t.inq, s.inq_len) && !memcmp(s.outq, t.outq, s.outq_len));
	CHECK(s.opt_mask == t.opt_mask && s.mss_clamp == t.mss_clamp);
	CHECK((s.opt_mask & 7) == (TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE));
	CHECK(s.snd_wscale == t.snd_wscale && s.rcv_wscale == t.rcv_wscale);
	CHECK(t.timestamp - s.timestamp < 5000000);
	CHECK(t.has_window && s.snd_wnd == t.snd_wnd && s.snd_wl1 == t.snd_wl1);
	CHECK(s.max_window == t.max_window && s.rcv_wnd == t.rcv_wnd && s.rcv_wup == t.rcv_wup);
	pair_unlock(p.b);
	pair_run_on(p.a, c);
	CHECK(pair_reads(p.a, 0, 700));
	tcprepair_clear(&s);
	tcprepair_clear(&t);
	pair_hang_up(&p);
}

/* First with all three off, then, putting the namespace back, on. */
static void without_options(void)
{
	static const char *const knobs[] = { "tcp_timestamps", "tcp_sack", "tcp_window_scaling" };
	struct pair p;
	size_t i;
	int on;

	for (on = 0; on < 2; on++) {
		for (i = 0; i < ARRAY_LEN(knobs); i++) {
			AUTO_FREE char *path = xasprintf("/proc/sys/net/ipv4/%s", knobs[i]);
			AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

			CHECK(fd >= 0 && write(fd, on ? "1" : "0", 1) == 1);
		}
		p = pair_connected(V4);
		pair_cycle(V4, &p);
		CHECK(pair_says(p.a, p.b, 5000) && pair_says(p.b, p.a, 5000));
		pair_hang_up(&p);
	}
}

static void large_queues(void)
{
	struct pair p = pair_connected(V4);
	int large = 4 * MIB;

	setsockopt(p.a, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large));
	setsockopt(p.a, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large));
	setsockopt(p.b, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large));
	CHECK(pair_stuff(p.b, MIB) == MIB);
	CHECK(pair_stuff(p.a, MIB) == MIB);
	poll(NULL, 0, 100);
	pair_cycle(V4, &p);
	CHECK(pair_reads(p.a, 0, MIB) && pair_reads(p.b, 0, MIB));
	CHECK(pair_says(p.a, p.b, 5000) && pair_says(p.b, p.a, 5000));
	pair_hang_up(&p);
}

static uint32_t segment_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	CHECK(!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	return info.tcpi_snd_mss;
}

/* From the start: looked at before a packet of the peer can make the kernel think again. */
static void segment_size(void)
{
	static const enum kind kinds[] = { V4, V6, MAPPED };
	struct tcprepair_state s;
	struct tcprepair *c;
	struct pair p;
	uint32_t before;
	size_t i;

	for (i = 0; i < ARRAY_LEN(kinds); i++) {
		p = pair_connected(kinds[i]);
		before = segment_of(p.a);
		pair_lock(p.b);
		pair_lock(p.a);
		pair_take(p.a, &s);
		p.a = pair_put(kinds[i], &s, NULL, &c);
		CHECK(segment_of(p.a) + 64 > before);
		pair_unlock(p.b);
		pair_run_on(p.a, c);
		tcprepair_clear(&s);
		pair_hang_up(&p);
	}
}

/* Shift both ports of a connection whose two ends move. */
static void other_ports(void *ctx, bool local, union tcprepair_addr *a)
{
	int *calls = ctx;

	(*calls)++;
	(void)local;
	a->v4.sin_port = htons(ntohs(a->v4.sin_port) ^ 1);
	if (a->sa.sa_family == AF_INET)
		a->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
}

static void moved_of(enum kind kind)
{
	struct pair p = pair_connected(kind);
	struct tcprepair_state s[2];
	struct tcprepair *c[2];
	union tcprepair_addr now;
	socklen_t len = sizeof(now);
	int calls = 0;
	const struct tcprepair_how how = { .map = other_ports, .ctx = &calls };

	CHECK(pair_stuff(p.a, 900) == 900 && pair_stuff(p.b, 800) == 800);
	pair_lock(p.b);
	pair_lock(p.a);
	pair_take(p.a, &s[0]);
	pair_take(p.b, &s[1]);
	p.a = pair_put(kind, &s[0], &how, &c[0]);
	p.b = pair_put(kind, &s[1], &how, &c[1]);
	pair_run_on(p.a, c[0]);
	pair_run_on(p.b, c[1]);
	CHECK(calls == 4 && !getsockname(p.a, &now.sa, &len));
	CHECK(now.v4.sin_port == htons(ntohs(s[0].local.v4.sin_port) ^ 1));
	CHECK(pair_reads(p.b, 0, 900) && pair_reads(p.a, 0, 800));
	CHECK(pair_says(p.a, p.b, 5000) && pair_says(p.b, p.a, 5000));
	tcprepair_clear(&s[0]);
	tcprepair_clear(&s[1]);
	pair_hang_up(&p);
}

static void moved(void)
{
	moved_of(V4);
	moved_of(V6);
	moved_of(MAPPED);
}

static void hundred(void)
{
	struct pair p[100];
	struct tcprepair_state s[ARRAY_LEN(p)];
	struct tcprepair *c;
	size_t i;

	for (i = 0; i < ARRAY_LEN(p); i++) {
		p[i] = pair_connected(i % 3);
		CHECK(pair_stuff(p[i].a, 100 + i) == 100 + i);
		CHECK(pair_stuff(p[i].b, 200 + i) == 200 + i);
	}
	for (i = 0; i < ARRAY_LEN(p); i++) {
		pair_lock(p[i].b);
		pair_lock(p[i].a);
		pair_take(p[i].a, &s[i]);
	}
	for (i = 0; i < ARRAY_LEN(p); i++) {
		p[i].a = pair_put(i % 3, &s[i], NULL, &c);
		pair_unlock(p[i].b);
		pair_run_on(p[i].a, c);
		tcprepair_clear(&s[i]);
	}
	for (i = 0; i < ARRAY_LEN(p); i++) {
		CHECK(pair_reads(p[i].b, 0, 100 + i) && pair_reads(p[i].a, 0, 200 + i));
		CHECK(pair_says(p[i].a, p[i].b, 50) && pair_says(p[i].b, p[i].a, 50));
		pair_hang_up(&p[i]);
	}
}

/* A dump that leaves the program running: nothing is lost, no option has changed. */
static void after_save(int (*leave)(struct tcprepair *c, struct fault *f))
{
	struct pair p = pair_connected(V4);
	struct tcprepair_state s;
	struct tcprepair *c;
	struct fault f = { 0 };
	int one = 1, value = 0, offset = 10;
	socklen_t len = sizeof(value);

	setsockopt(p.a, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(p.a, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset));
	CHECK(pair_stuff(p.b, 500) == 500);
	poll(NULL, 0, 20);
	CHECK(!tcprepair_pause(p.a, &c, &f) && !tcprepair_save(c, &s, &f));
	CHECK(s.inq_len == 500 && s.inq && s.inq[0] == pair_byte_at(0) &&
	      s.inq[499] == pair_byte_at(499));
	CHECK(!leave(c, &f));
	CHECK(!getsockopt(p.a, SOL_SOCKET, SO_REUSEADDR, &value, &len) && value == 1);
	CHECK(pair_reads(p.a, 0, 500) && pair_says(p.b, p.a, 100) && pair_says(p.a, p.b, 100));
	pair_fault_text(&f);
	tcprepair_clear(&s);
	pair_hang_up(&p);
}

static void run_on_after_save(void)
{
	after_save(tcprepair_resume);
}

static void cancel_after_save(void)
{
	after_save(tcprepair_cancel);
}

int main(void)
{
	if (!pair_enter_network()) {
		printf("skip - tcprepair: a network namespace needs root: %s\n", strerror(errno));
		return 77;
	}
	check_run("an IPv4 connection carries data both ways after two cycles", both_directions_v4);
	check_run("an IPv6 connection does", both_directions_v6);
	check_run("an IPv4-mapped connection does", both_directions_mapped);
	check_run("unread data is kept", unread_data);
	check_run("data sent and not acknowledged is kept", unacknowledged_data);
	check_run("unsent data is kept", unsent_data);
	check_run("numbers, options and windows read back as they were saved", same_again);
	check_run("a connection without timestamps, SACK and scaling works", without_options);
	check_run("queues of 1 MiB in both directions are kept", large_queues);
	check_run("the segment size is kept", segment_size);
	check_run("both ends move to other addresses and ports", moved);
	check_run("a hundred connections at once", hundred);
	check_run("a connection that was only saved runs on unchanged", run_on_after_save);
	check_run("so does one whose pause was cancelled", cancel_after_save);
	return check_done();
}
