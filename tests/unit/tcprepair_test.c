/* SPDX-License-Identifier: MIT */
/*
 * tcprepair_test.c - a TCP connection goes through save and restore; its peer notices nothing.
 *
 * Both ends are here, over the loopback device of a network namespace of our own. The network
 * lock is a classic BPF filter on each socket: the peer's drops all, so not even the RST with
 * which the kernel answers a retransmission to the missing socket reaches it; the fresh
 * socket's lets only marked packets in. That needs no nftables and no module.
 */
#include "workers/net/tcprepair/tcprepair.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"

#define MIB (1u << 20)

/* Two ends of one connection; a is the one that is saved. */
struct pair {
	int a;
	int b;
};

enum kind { V4, V6, MAPPED };

static const char *fault_text(const struct fault *f)
{
	if (f->code)
		fprintf(stderr, "fault %d: %s\n", f->code, f->text);
	return f->text;
}

static void lock(int fd)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog prog = { 1, &drop };

	CHECK(!setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)));
}

static void lock_unmarked(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_MARK),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TCPREPAIR_MARK, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog prog = { ARRAY_LEN(code), code };

	CHECK(!setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)));
}

static void unlock(int fd)
{
	int zero = 0;

	CHECK(!setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &zero, sizeof(zero)));
}

/* An address of the loopback device; port 0 for a listener. Returns its length. */
static socklen_t loopback(enum kind kind, union tcprepair_addr *a)
{
	static const unsigned char mapped[16] = { [10] = 0xff, 0xff, 127, 0, 0, 1 };

	memset(a, 0, sizeof(*a));
	if (kind == V4) {
		a->v4.sin_family = AF_INET;
		a->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof(a->v4);
	}
	a->v6.sin6_family = AF_INET6;
	if (kind == V6)
		a->v6.sin6_addr = in6addr_loopback;
	else
		memcpy(&a->v6.sin6_addr, mapped, sizeof(mapped));
	return sizeof(a->v6);
}

static int fresh(enum kind kind)
{
	int fd = socket(kind == V4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	return fd;
}

static int listener(enum kind kind, union tcprepair_addr *at)
{
	socklen_t len = loopback(kind, at);
	int fd = fresh(kind);

	CHECK(!bind(fd, &at->sa, len) && !listen(fd, 200) && !getsockname(fd, &at->sa, &len));
	return fd;
}

static struct pair connected(enum kind kind)
{
	union tcprepair_addr at;
	AUTO_CLOSE int l = listener(kind, &at);
	struct pair p = { .a = fresh(kind) };

	CHECK(!connect(p.a, &at.sa, kind == V4 ? sizeof(at.v4) : sizeof(at.v6)));
	p.b = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	CHECK(p.b >= 0);
	return p;
}

static void hang_up(struct pair *p)
{
	close(p->a);
	close(p->b);
}

static uint32_t state_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	CHECK(!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	return info.tcpi_state;
}

static bool reaches(int fd, uint32_t state)
{
	int ms;

	for (ms = 0; ms < 3000 && state_of(fd) != state; ms++)
		poll(NULL, 0, 1);
	if (state_of(fd) != state)
		fprintf(stderr, "state %s, not %s\n", tcprepair_state_name(state_of(fd)),
			tcprepair_state_name(state));
	return state_of(fd) == state;
}

/* Save and close a socket. */
static void take(int fd, struct tcprepair_state *s)
{
	struct fault f = { 0 };
	struct tcprepair *c = NULL;

	if (!CHECK(!tcprepair_pause(fd, &c, &f)) || !CHECK(!tcprepair_save(c, s, &f)))
		fault_text(&f);
	close(fd);
	tcprepair_release(c);
}

/* Restore into a fresh socket, locked; *out is its paused handle. Returns the socket. */
static int put(enum kind kind, const struct tcprepair_state *s, const struct tcprepair_how *how,
	       struct tcprepair **out)
{
	struct fault f = { 0 };
	int fd = fresh(kind);

	lock_unmarked(fd);
	if (!CHECK(!tcprepair_pause(fd, out, &f)) || !CHECK(!tcprepair_restore(*out, s, how, &f)))
		fault_text(&f);
	return fd;
}

static void run_on(int fd, struct tcprepair *c)
{
	struct fault f = { 0 };

	unlock(fd);
	if (!CHECK(!tcprepair_resume(c, &f)))
		fault_text(&f);
}

/* One end goes away and comes back. The peer's network may be locked already. */
static void cycle(enum kind kind, struct pair *p)
{
	struct tcprepair_state s;
	struct tcprepair *c;

	lock(p->b);
	lock(p->a);
	take(p->a, &s);
	p->a = put(kind, &s, NULL, &c);
	CHECK(state_of(p->a) == s.state);
	unlock(p->b);
	run_on(p->a, c);
	tcprepair_clear(&s);
}

static unsigned char byte_at(size_t i)
{
	return i * 2654435761u >> 11;
}

static unsigned char *pattern(size_t n)
{
	unsigned char *p = xcalloc(n, 1);
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = byte_at(i);
	return p;
}

/* Read n bytes, which must be those of the pattern from the given place on. */
static bool reads(int fd, size_t from, size_t n)
{
	AUTO_FREE unsigned char *buf = xcalloc(n, 1);
	struct timeval patience = { .tv_sec = 20 };
	size_t got = 0, i;
	ssize_t r;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (got < n) {
		r = recv(fd, buf + got, n - got, 0);
		if (r <= 0) {
			fprintf(stderr, "%zu of %zu bytes: %s\n", got, n, r ? strerror(errno) : "end");
			return false;
		}
		got += r;
	}
	for (i = 0; i < n; i++)
		if (buf[i] != byte_at(from + i))
			return false;
	return true;
}

static bool says(int from, int to, size_t n)
{
	AUTO_FREE unsigned char *bytes = pattern(n);

	return send(from, bytes, n, MSG_NOSIGNAL) == (ssize_t)n && reads(to, 0, n);
}

static bool ends(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	char c;

	return poll(&p, 1, 5000) == 1 && recv(fd, &c, 1, 0) == 0;
}

/* Write without blocking as much as fits; returns the count. */
static size_t stuff(int fd, size_t most)
{
	AUTO_FREE unsigned char *bytes = pattern(most);
	size_t n = 0;
	ssize_t r;

	while (n < most && (r = send(fd, bytes + n, most - n, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
		n += r;
	return n;
}

static void both_directions_of(enum kind kind)
{
	struct pair p = connected(kind);

	cycle(kind, &p);
	CHECK(says(p.a, p.b, 5000) && says(p.b, p.a, 5000));
	cycle(kind, &p);
	CHECK(says(p.b, p.a, 70000) && says(p.a, p.b, 70000));
	hang_up(&p);
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
	struct pair p = connected(V4);

	CHECK(stuff(p.b, 3000) == 3000);
	poll(NULL, 0, 20);
	cycle(V4, &p);
	CHECK(reads(p.a, 0, 3000));
	CHECK(says(p.b, p.a, 100));
	hang_up(&p);
}

/* Sent, never acknowledged: the peer's lock has dropped it. */
static void unacknowledged_data(void)
{
	struct pair p = connected(V4);

	lock(p.b);
	CHECK(stuff(p.a, 20000) == 20000);
	cycle(V4, &p);
	CHECK(reads(p.b, 0, 20000));
	CHECK(says(p.a, p.b, 100));
	hang_up(&p);
}

/* The peer does not read: its window closes and the rest stays here. */
static void unsent_of(enum kind kind)
{
	struct pair p = connected(kind);
	struct tcprepair_state s;
	struct tcprepair *c;
	int small = 8192, large = 2 * MIB;
	size_t n;

	setsockopt(p.b, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(p.a, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large));
	n = stuff(p.a, 300000);
	poll(NULL, 0, 50);
	lock(p.b);
	lock(p.a);
	take(p.a, &s);
	CHECK(s.unsq_len > 0 && s.unsq_len <= s.outq_len);
	p.a = put(kind, &s, NULL, &c);
	tcprepair_clear(&s);
	unlock(p.b);
	run_on(p.a, c);
	CHECK(n == 300000 && reads(p.b, 0, n));
	CHECK(says(p.b, p.a, 1000));
	hang_up(&p);
}

static void unsent_data(void)
{
	unsent_of(V4);
	unsent_of(V6);
}

/* What is restored is, read back at once, what was saved: also the part that is unsent. */
static void same_again(void)
{
	struct pair p = connected(V4);
	struct tcprepair_state s, t;
	struct tcprepair *c;
	struct fault f = { 0 };
	int small = 8192;

	setsockopt(p.b, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	CHECK(stuff(p.a, 100000) > 50000 && stuff(p.b, 700) == 700);
	poll(NULL, 0, 50);
	lock(p.b);
	lock(p.a);
	take(p.a, &s);
	p.a = put(V4, &s, NULL, &c);
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
	unlock(p.b);
	run_on(p.a, c);
	CHECK(reads(p.a, 0, 700));
	tcprepair_clear(&s);
	tcprepair_clear(&t);
	hang_up(&p);
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
		p = connected(V4);
		cycle(V4, &p);
		CHECK(says(p.a, p.b, 5000) && says(p.b, p.a, 5000));
		hang_up(&p);
	}
}

static void large_queues(void)
{
	struct pair p = connected(V4);
	int large = 4 * MIB;

	setsockopt(p.a, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large));
	setsockopt(p.a, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large));
	setsockopt(p.b, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large));
	CHECK(stuff(p.b, MIB) == MIB);
	CHECK(stuff(p.a, MIB) == MIB);
	poll(NULL, 0, 100);
	cycle(V4, &p);
	CHECK(reads(p.a, 0, MIB) && reads(p.b, 0, MIB));
	CHECK(says(p.a, p.b, 5000) && says(p.b, p.a, 5000));
	hang_up(&p);
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
		p = connected(kinds[i]);
		before = segment_of(p.a);
		lock(p.b);
		lock(p.a);
		take(p.a, &s);
		p.a = put(kinds[i], &s, NULL, &c);
		CHECK(segment_of(p.a) + 64 > before);
		unlock(p.b);
		run_on(p.a, c);
		tcprepair_clear(&s);
		hang_up(&p);
	}
}

static void close_wait(void)
{
	struct pair p = connected(V4);

	CHECK(stuff(p.b, 1000) == 1000 && !shutdown(p.b, SHUT_WR));
	CHECK(reaches(p.a, TCP_CLOSE_WAIT));
	cycle(V4, &p);
	CHECK(reads(p.a, 0, 1000) && ends(p.a));
	CHECK(says(p.a, p.b, 4000));
	CHECK(!shutdown(p.a, SHUT_WR) && ends(p.b) && reaches(p.a, TCP_CLOSE));
	hang_up(&p);
}

static void fin_wait2(void)
{
	struct pair p = connected(V6);

	CHECK(!shutdown(p.a, SHUT_WR) && reaches(p.a, TCP_FIN_WAIT2));
	cycle(V6, &p);
	CHECK(says(p.b, p.a, 4000));
	CHECK(ends(p.b) && !shutdown(p.b, SHUT_WR) && ends(p.a) && reaches(p.b, TCP_CLOSE));
	hang_up(&p);
}

static void fin_wait1(void)
{
	struct pair p = connected(V4);

	lock(p.b);
	CHECK(stuff(p.a, 1000) == 1000 && !shutdown(p.a, SHUT_WR));
	CHECK(state_of(p.a) == TCP_FIN_WAIT1);
	cycle(V4, &p);
	CHECK(reads(p.b, 0, 1000) && ends(p.b) && reaches(p.a, TCP_FIN_WAIT2));
	CHECK(says(p.b, p.a, 100));
	hang_up(&p);
}

/* The FIN waits behind data that the peer has no window for. */
static void fin_wait1_unsent(void)
{
	struct pair p = connected(V4);
	int small = 8192;
	size_t n;

	setsockopt(p.b, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	n = stuff(p.a, 200000);
	CHECK(!shutdown(p.a, SHUT_WR));
	poll(NULL, 0, 50);
	cycle(V4, &p);
	CHECK(state_of(p.a) == TCP_FIN_WAIT1);
	CHECK(reads(p.b, 0, n) && ends(p.b) && reaches(p.a, TCP_FIN_WAIT2));
	CHECK(says(p.b, p.a, 100));
	hang_up(&p);
}

/* Both FINs under way at once; ours and the data before it are lost. */
static void closing(void)
{
	struct pair p = connected(V4);

	lock(p.b);
	CHECK(stuff(p.a, 500) == 500 && !shutdown(p.a, SHUT_WR));
	CHECK(stuff(p.b, 600) == 600 && !shutdown(p.b, SHUT_WR));
	CHECK(reaches(p.a, TCP_CLOSING));
	cycle(V4, &p);
	CHECK(reads(p.a, 0, 600) && ends(p.a) && reads(p.b, 0, 500) && ends(p.b));
	CHECK(reaches(p.a, TCP_CLOSE) && reaches(p.b, TCP_CLOSE));
	hang_up(&p);
}

static void last_ack(void)
{
	struct pair p = connected(MAPPED);

	CHECK(stuff(p.b, 600) == 600 && !shutdown(p.b, SHUT_WR));
	CHECK(reaches(p.a, TCP_CLOSE_WAIT));
	lock(p.b);
	CHECK(stuff(p.a, 500) == 500 && !shutdown(p.a, SHUT_WR));
	CHECK(reaches(p.a, TCP_LAST_ACK));
	cycle(MAPPED, &p);
	CHECK(reads(p.a, 0, 600) && ends(p.a) && reads(p.b, 0, 500) && ends(p.b));
	CHECK(reaches(p.a, TCP_CLOSE) && reaches(p.b, TCP_CLOSE));
	hang_up(&p);
}

static void closed(void)
{
	struct pair p = connected(V4);
	struct linger reset = { .l_onoff = 1 };

	CHECK(stuff(p.b, 600) == 600);
	poll(NULL, 0, 20);
	setsockopt(p.b, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(p.b);
	CHECK(reaches(p.a, TCP_CLOSE));
	p.b = fresh(V4);
	cycle(V4, &p);
	CHECK(reads(p.a, 0, 600) && ends(p.a));
	CHECK(send(p.a, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	hang_up(&p);
}

static void syn_sent(void)
{
	union tcprepair_addr at;
	AUTO_CLOSE int l = listener(V4, &at);
	struct pair p = { .a = fresh(V4) };
	struct tcprepair_state s;
	struct tcprepair *c;

	lock(l);
	CHECK(!fcntl(p.a, F_SETFL, O_NONBLOCK));
	CHECK(connect(p.a, &at.sa, sizeof(at.v4)) < 0 && errno == EINPROGRESS);
	CHECK(state_of(p.a) == TCP_SYN_SENT);
	take(p.a, &s);
	CHECK(s.peer.v4.sin_port == at.v4.sin_port);
	p.a = put(V4, &s, NULL, &c);
	CHECK(state_of(p.a) == TCP_SYN_SENT && !(fcntl(p.a, F_GETFL) & O_NONBLOCK));
	tcprepair_clear(&s);
	unlock(l);
	run_on(p.a, c);
	p.b = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	CHECK(p.b >= 0 && says(p.a, p.b, 100) && says(p.b, p.a, 100));
	hang_up(&p);
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
	struct pair p = connected(kind);
	struct tcprepair_state s[2];
	struct tcprepair *c[2];
	union tcprepair_addr now;
	socklen_t len = sizeof(now);
	int calls = 0;
	const struct tcprepair_how how = { .map = other_ports, .ctx = &calls };

	CHECK(stuff(p.a, 900) == 900 && stuff(p.b, 800) == 800);
	lock(p.b);
	lock(p.a);
	take(p.a, &s[0]);
	take(p.b, &s[1]);
	p.a = put(kind, &s[0], &how, &c[0]);
	p.b = put(kind, &s[1], &how, &c[1]);
	run_on(p.a, c[0]);
	run_on(p.b, c[1]);
	CHECK(calls == 4 && !getsockname(p.a, &now.sa, &len));
	CHECK(now.v4.sin_port == htons(ntohs(s[0].local.v4.sin_port) ^ 1));
	CHECK(reads(p.b, 0, 900) && reads(p.a, 0, 800));
	CHECK(says(p.a, p.b, 5000) && says(p.b, p.a, 5000));
	tcprepair_clear(&s[0]);
	tcprepair_clear(&s[1]);
	hang_up(&p);
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
		p[i] = connected(i % 3);
		CHECK(stuff(p[i].a, 100 + i) == 100 + i && stuff(p[i].b, 200 + i) == 200 + i);
	}
	for (i = 0; i < ARRAY_LEN(p); i++) {
		lock(p[i].b);
		lock(p[i].a);
		take(p[i].a, &s[i]);
	}
	for (i = 0; i < ARRAY_LEN(p); i++) {
		p[i].a = put(i % 3, &s[i], NULL, &c);
		unlock(p[i].b);
		run_on(p[i].a, c);
		tcprepair_clear(&s[i]);
	}
	for (i = 0; i < ARRAY_LEN(p); i++) {
		CHECK(reads(p[i].b, 0, 100 + i) && reads(p[i].a, 0, 200 + i));
		CHECK(says(p[i].a, p[i].b, 50) && says(p[i].b, p[i].a, 50));
		hang_up(&p[i]);
	}
}

/* A dump that leaves the program running: nothing is lost, no option has changed. */
static void after_save(int (*leave)(struct tcprepair *c, struct fault *f))
{
	struct pair p = connected(V4);
	struct tcprepair_state s;
	struct tcprepair *c;
	struct fault f = { 0 };
	int one = 1, value = 0, offset = 10;
	socklen_t len = sizeof(value);

	setsockopt(p.a, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(p.a, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset));
	CHECK(stuff(p.b, 500) == 500);
	poll(NULL, 0, 20);
	CHECK(!tcprepair_pause(p.a, &c, &f) && !tcprepair_save(c, &s, &f));
	CHECK(s.inq_len == 500 && s.inq && s.inq[0] == byte_at(0) && s.inq[499] == byte_at(499));
	CHECK(!leave(c, &f));
	CHECK(!getsockopt(p.a, SOL_SOCKET, SO_REUSEADDR, &value, &len) && value == 1);
	CHECK(reads(p.a, 0, 500) && says(p.b, p.a, 100) && says(p.a, p.b, 100));
	fault_text(&f);
	tcprepair_clear(&s);
	hang_up(&p);
}

static void run_on_after_save(void)
{
	after_save(tcprepair_resume);
}

static void cancel_after_save(void)
{
	after_save(tcprepair_cancel);
}

static bool refused(int fd, const char *word)
{
	struct fault f = { 0 };
	struct tcprepair *c = NULL;
	struct tcprepair_state s;
	bool no = tcprepair_pause(fd, &c, &f) < 0;

	if (!no)
		no = tcprepair_save(c, &s, &f) < 0;
	tcprepair_release(c);
	close(fd);
	if (!no || !strstr(f.text, word))
		fprintf(stderr, "not refused for '%s': %s\n", word, f.text);
	return no && strstr(f.text, word);
}

static void refuses_by_name(void)
{
	union tcprepair_addr at;
	struct pair p = connected(V4);
	int mptcp = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);

	CHECK(refused(listener(V4, &at), "listens"));
	CHECK(refused(socket(AF_INET, SOCK_DGRAM, 0), "not plain TCP"));
	CHECK(refused(socket(AF_UNIX, SOCK_STREAM, 0), "not plain TCP"));
	CHECK(refused(fresh(V6), "not connected"));
	if (mptcp >= 0)
		CHECK(refused(mptcp, "MPTCP"));
	CHECK(send(p.b, "x", 1, MSG_OOB) == 1);
	poll(NULL, 0, 20);
	CHECK(refused(dup(p.a), "urgent"));
	hang_up(&p);
}

struct damage {
	size_t offset;			/* of a uint32_t */
	uint32_t value;
	const char *word;
};

#define FIELD(name) offsetof(struct tcprepair_state, name)

static const struct damage damages[] = {
	{ FIELD(state), TCP_LISTEN, "LISTEN" },
	{ FIELD(state), TCP_TIME_WAIT, "state" },
	{ FIELD(state), 0, "state" },
	{ FIELD(state), 0xffffffff, "state" },
	{ FIELD(state), TCP_FIN_WAIT2, "must be empty" },
	{ FIELD(state), TCP_SYN_SENT, "no data" },
	{ FIELD(inq_len), 0x80000000, "1 GiB" },
	{ FIELD(outq_len), 0xffffffff, "1 GiB" },
	{ FIELD(unsq_len), 11, "unsent" },
	{ FIELD(snd_wscale), 15, "scale" },
	{ FIELD(rcv_wscale), 0x10000, "scale" },
	{ FIELD(mss_clamp), 0, "segment size" },
	{ FIELD(mss_clamp), 65536, "segment size" },
	{ FIELD(snd_wnd), 0xffffffff, "send window" },
	{ FIELD(rcv_wnd), 0xffffffff, "1 GiB" },
	{ FIELD(local), 0xffff0000 | AF_UNIX, "neither" },
	{ FIELD(local), AF_INET, "port is 0" },
	{ FIELD(peer), AF_INET, "port is 0" },
	{ FIELD(peer), 0xffff0000 | AF_INET6, "different families" },
};

static void refuses_damage(void)
{
	struct pair p = connected(V4);
	struct tcprepair_state s, bad;
	struct tcprepair *c;
	size_t i;
	int fd;

	lock(p.b);
	CHECK(stuff(p.a, 10) == 10 && stuff(p.b, 20) == 20);
	poll(NULL, 0, 20);
	take(p.a, &s);
	for (i = 0; i < ARRAY_LEN(damages); i++) {
		struct fault f = { 0 };

		bad = s;
		memcpy((char *)&bad + damages[i].offset, &damages[i].value, sizeof(uint32_t));
		fd = fresh(V4);
		f.code = 0;
		CHECK(!tcprepair_pause(fd, &c, &f) && tcprepair_restore(c, &bad, NULL, &f) < 0);
		if (!CHECK(strstr(f.text, damages[i].word)))
			fprintf(stderr, "damage %zu: %s\n", i, f.text);
		tcprepair_release(c);
		close(fd);
	}
	bad = s;
	bad.inq = NULL;
	CHECK(tcprepair_check(&bad, &(struct fault){ 0 }) < 0);
	bad = s;
	bad.rcv_wup = s.inq_seq + 1;
	CHECK(tcprepair_check(&bad, &(struct fault){ 0 }) < 0);
	bad = s;
	bad.snd_wl1 = s.inq_seq + s.rcv_wnd + 1;
	CHECK(tcprepair_check(&bad, &(struct fault){ 0 }) < 0);

	/* None of it has hurt the connection. */
	p.a = put(V4, &s, NULL, &c);
	unlock(p.b);
	run_on(p.a, c);
	CHECK(reads(p.b, 0, 10) && reads(p.a, 0, 20));
	tcprepair_clear(&s);
	hang_up(&p);
}

static void elsewhere(void *ctx, bool local, union tcprepair_addr *a)
{
	(void)ctx;
	if (local)
		a->v4.sin_addr.s_addr = htonl(0x0a636363);
}

static void names_the_remedy(void)
{
	struct pair p = connected(V4);
	struct tcprepair_state s;
	struct tcprepair_how how = { .map = elsewhere };
	struct fault gone = { 0 }, twice = { 0 }, lost = { 0 };
	struct tcprepair *c;
	int fd;

	lock(p.b);
	take(p.a, &s);
	fd = fresh(V4);
	CHECK(!tcprepair_pause(fd, &c, &gone) && tcprepair_restore(c, &s, &how, &gone) < 0);
	CHECK(gone.code == EADDRNOTAVAIL && strstr(gone.text, "10.99.99.99:") &&
	      strstr(gone.text, "map the connection"));
	tcprepair_release(c);
	close(fd);

	p.a = put(V4, &s, NULL, &c);
	tcprepair_release(c);		/* in repair mode: close() will send nothing */
	fd = fresh(V4);
	CHECK(!tcprepair_pause(fd, &c, &twice) && tcprepair_restore(c, &s, NULL, &twice) < 0);
	CHECK(strstr(twice.text, "exists already"));
	tcprepair_release(c);
	close(fd);
	close(p.a);

	how = (struct tcprepair_how){ .mark = 0x77 };
	s.state = TCP_CLOSE_WAIT;
	fd = fresh(V4);
	lock_unmarked(fd);
	CHECK(!tcprepair_pause(fd, &c, &lost) && tcprepair_restore(c, &s, &how, &lost) < 0);
	CHECK(strstr(lost.text, "ESTABLISHED instead of CLOSE_WAIT") && strstr(lost.text, "0x77"));
	tcprepair_release(c);
	close(fd);
	tcprepair_clear(&s);
	close(p.b);
}

/* A network of our own with its loopback device up; false where that is not allowed. */
static bool enter_network(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	AUTO_CLOSE int fd = -1;

	if (unshare(CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &lo);
}

int main(void)
{
	if (!enter_network()) {
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
	check_run("CLOSE_WAIT stays and ends in order", close_wait);
	check_run("FIN_WAIT1 stays and ends in order", fin_wait1);
	check_run("FIN_WAIT1 with an unsent FIN stays and ends in order", fin_wait1_unsent);
	check_run("FIN_WAIT2 stays and ends in order", fin_wait2);
	check_run("CLOSING stays and ends in order", closing);
	check_run("LAST_ACK stays and ends in order", last_ack);
	check_run("a closed connection keeps its unread data and its end", closed);
	check_run("SYN_SENT connects after the restore", syn_sent);
	check_run("both ends move to other addresses and ports", moved);
	check_run("a hundred connections at once", hundred);
	check_run("a connection that was only saved runs on unchanged", run_on_after_save);
	check_run("so does one whose pause was cancelled", cancel_after_save);
	check_run("what cannot be saved is refused by name", refuses_by_name);
	check_run("damaged state is refused and hurts nothing", refuses_damage);
	check_run("a fault names the connection, the reason and the remedy", names_the_remedy);
	return check_done();
}
