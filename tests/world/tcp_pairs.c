/* SPDX-License-Identifier: MIT */
/*
 * tcp_pairs.c - both ends of TCP connections over the loopback device; one is saved and restored.
 *
 * That device is one of a network namespace of our own. The network lock is a classic BPF filter
 * on each socket: the peer's drops all, so not even the RST with which the kernel answers a
 * retransmission to the missing socket reaches it; the fresh socket's lets only marked packets
 * in. That needs no nftables and no module.
 *
 * Rights:   root.
 * Holds:    nothing.
 */
#include "tests/world/tcp_pairs.h"

#include <errno.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"

const char *pair_fault_text(const struct fault *f)
{
	if (f->code)
		fprintf(stderr, "fault %d: %s\n", f->code, f->text);
	return f->text;
}

void pair_lock(int fd)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog prog = { 1, &drop };

	CHECK(!setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)));
}

void pair_lock_unmarked(int fd)
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

void pair_unlock(int fd)
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

int pair_fresh(enum kind kind)
{
	int fd = socket(kind == V4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	return fd;
}

int pair_listener(enum kind kind, union tcprepair_addr *at)
{
	socklen_t len = loopback(kind, at);
	int fd = pair_fresh(kind);

	CHECK(!bind(fd, &at->sa, len) && !listen(fd, 200) && !getsockname(fd, &at->sa, &len));
	return fd;
}

struct pair pair_connected(enum kind kind)
{
	union tcprepair_addr at;
	AUTO_CLOSE int l = pair_listener(kind, &at);
	struct pair p = { .a = pair_fresh(kind) };

	CHECK(!connect(p.a, &at.sa, kind == V4 ? sizeof(at.v4) : sizeof(at.v6)));
	p.b = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	CHECK(p.b >= 0);
	return p;
}

void pair_hang_up(struct pair *p)
{
	close(p->a);
	close(p->b);
}

uint32_t pair_state_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	CHECK(!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	return info.tcpi_state;
}

bool pair_reaches(int fd, uint32_t state)
{
	int ms;

	for (ms = 0; ms < 3000 && pair_state_of(fd) != state; ms++)
		poll(NULL, 0, 1);
	if (pair_state_of(fd) != state)
		fprintf(stderr, "state %s, not %s\n", tcprepair_state_name(pair_state_of(fd)),
			tcprepair_state_name(state));
	return pair_state_of(fd) == state;
}

/* Save and close a socket. */
void pair_take(int fd, struct tcprepair_state *s)
{
	struct fault f = { 0 };
	struct tcprepair *c = NULL;

	if (!CHECK(!tcprepair_pause(fd, &c, &f)) || !CHECK(!tcprepair_save(c, s, &f)))
		pair_fault_text(&f);
	close(fd);
	tcprepair_release(c);
}

/* Restore into a fresh socket, locked; *out is its paused handle. Returns the socket. */
int pair_put(enum kind kind, const struct tcprepair_state *s, const struct tcprepair_how *how,
	     struct tcprepair **out)
{
	struct fault f = { 0 };
	int fd = pair_fresh(kind);

	pair_lock_unmarked(fd);
	if (!CHECK(!tcprepair_pause(fd, out, &f)) || !CHECK(!tcprepair_restore(*out, s, how, &f)))
		pair_fault_text(&f);
	return fd;
}

void pair_run_on(int fd, struct tcprepair *c)
{
	struct fault f = { 0 };

	pair_unlock(fd);
	if (!CHECK(!tcprepair_resume(c, &f)))
		pair_fault_text(&f);
}

/* One end goes away and comes back. The peer's network may be locked already. */
void pair_cycle(enum kind kind, struct pair *p)
{
	struct tcprepair_state s;
	struct tcprepair *c;

	pair_lock(p->b);
	pair_lock(p->a);
	pair_take(p->a, &s);
	p->a = pair_put(kind, &s, NULL, &c);
	CHECK(pair_state_of(p->a) == s.state);
	pair_unlock(p->b);
	pair_run_on(p->a, c);
	tcprepair_clear(&s);
}

unsigned char pair_byte_at(size_t i)
{
	return i * 2654435761u >> 11;
}

static unsigned char *pattern(size_t n)
{
	unsigned char *p = xcalloc(n, 1);
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = pair_byte_at(i);
	return p;
}

/* Read n bytes, which must be those of the pattern from the given place on. */
bool pair_reads(int fd, size_t from, size_t n)
{
	AUTO_FREE unsigned char *buf = xcalloc(n, 1);
	struct timeval patience = { .tv_sec = 20 };
	size_t got = 0, i;
	ssize_t r;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (got < n) {
		r = recv(fd, buf + got, n - got, 0);
		if (r <= 0) {
			fprintf(stderr, "%zu of %zu bytes: %s\n", got, n,
				r ? strerror(errno) : "end");
			return false;
		}
		got += r;
	}
	for (i = 0; i < n; i++)
		if (buf[i] != pair_byte_at(from + i))
			return false;
	return true;
}

bool pair_says(int from, int to, size_t n)
{
	AUTO_FREE unsigned char *bytes = pattern(n);

	return send(from, bytes, n, MSG_NOSIGNAL) == (ssize_t)n && pair_reads(to, 0, n);
}

bool pair_ends(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	char c;

	return poll(&p, 1, 5000) == 1 && recv(fd, &c, 1, 0) == 0;
}

/* Write without blocking as much as fits; returns the count. */
size_t pair_stuff(int fd, size_t most)
{
	AUTO_FREE unsigned char *bytes = pattern(most);
	size_t n = 0;
	ssize_t r;

	while (n < most && (r = send(fd, bytes + n, most - n, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
		n += r;
	return n;
}

/* A network of our own with its loopback device up; false where that is not allowed. */
bool pair_enter_network(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	AUTO_CLOSE int fd = -1;

	if (unshare(CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &lo);
}
