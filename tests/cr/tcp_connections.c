/* SPDX-License-Identifier: MIT */
/*
 * TCP connections keep what is on its way: read or not, sent or not, closed in one direction or
 * both. Both ends are in the task; IPv4, IPv6 and IPv4 through an IPv6 socket.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

#define MUCH (1 << 20)

enum kind { V4, V6, MAPPED, KINDS };

struct pair {
	int listener, server, client;
	size_t sent;			/* to the server, not read yet */
};

static struct pair plain[KINDS], half[KINDS], full[KINDS], reset;
static struct sockaddr_storage names[KINDS][2];

static void set(int fd, int level, int name, int v)
{
	CHECK(setsockopt(fd, level, name, &v, sizeof(v)) == 0);
}

static int get(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(getsockopt(fd, level, name, &v, &len) == 0);
	return v;
}

static int state(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
	return info.tcpi_state;
}

static void wait_state(int fd, int want)
{
	int i;

	for (i = 0; i < 2000 && state(fd) != want; i++)
		case_sleep_ms(1);
	CHECK(state(fd) == want);
}

static void name_of(int fd, struct sockaddr_storage *a)
{
	socklen_t len = sizeof(*a);

	memset(a, 0, sizeof(*a));
	CHECK(getsockname(fd, (struct sockaddr *)a, &len) == 0);
}

static void make_pair(struct pair *p, enum kind kind)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct sockaddr_in four = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr *at = kind == V4 ? (void *)&four : (void *)&six;
	socklen_t len = kind == V4 ? sizeof(four) : sizeof(six);

	if (kind == V6)
		six.sin6_addr = in6addr_loopback;
	p->listener = socket(at->sa_family, SOCK_STREAM, 0);
	CHECK(p->listener >= 0 && bind(p->listener, at, len) == 0 && listen(p->listener, 5) == 0);
	CHECK(getsockname(p->listener, at, &len) == 0);
	four.sin_port = kind == V4 ? four.sin_port : six.sin6_port;
	p->client = socket(kind == V6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	if (kind == V6)
		CHECK(connect(p->client, (void *)&six, sizeof(six)) == 0);
	else
		CHECK(connect(p->client, (void *)&four, sizeof(four)) == 0);
	p->server = accept(p->listener, NULL, NULL);
	CHECK(p->server >= 0);
}

/* Until nothing more fits: some of it is on the way, some waits to be sent. */
static size_t stuff(int fd)
{
	static char block[4096];
	size_t i, n = 0;
	ssize_t r;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	do {
		for (i = 0; i < sizeof(block); i++)
			block[i] = (n + i) * 31 >> 3;
		r = send(fd, block, sizeof(block), MSG_NOSIGNAL);
		n += r > 0 ? r : 0;
	} while (r > 0 && n < 8 * MUCH);
	fcntl(fd, F_SETFL, 0);
	return n;
}

static bool drain(int fd, size_t n)
{
	static char block[65536];
	size_t at = 0;
	ssize_t r, i;

	while (at < n && (r = recv(fd, block, sizeof(block), 0)) > 0) {
		for (i = 0; i < r; i++)
			if (block[i] != (char)((at + i) * 31 >> 3))
				return false;
		at += r;
	}
	return at == n;
}

static void before(void)
{
	struct linger hard = { 1, 0 };
	enum kind k;

	for (k = V4; k < KINDS; k++) {
		make_pair(&plain[k], k);
		name_of(plain[k].client, &names[k][0]);
		name_of(plain[k].server, &names[k][1]);
		plain[k].sent = stuff(plain[k].client);
		CHECK(send(plain[k].server, "back", 4, 0) == 4);
		make_pair(&half[k], k);
		CHECK(send(half[k].client, "last", 4, 0) == 4 &&
		      shutdown(half[k].client, SHUT_WR) == 0);
		wait_state(half[k].server, TCP_CLOSE_WAIT);
		wait_state(half[k].client, TCP_FIN_WAIT2);
		make_pair(&full[k], k);
		full[k].sent = stuff(full[k].client);
		CHECK(shutdown(full[k].client, SHUT_WR) == 0);
		CHECK(shutdown(full[k].server, SHUT_WR) == 0);
		wait_state(full[k].client, TCP_CLOSING);
	}
	set(plain[V4].client, IPPROTO_TCP, TCP_NODELAY, 1);
	set(plain[V4].client, IPPROTO_TCP, TCP_KEEPIDLE, 123);
	set(plain[V4].client, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(plain[V4].server, IPPROTO_TCP, TCP_CORK, 1);
	make_pair(&reset, V4);
	setsockopt(reset.client, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(reset.client);
	wait_state(reset.server, TCP_CLOSE);
}

static void check_options(void)
{
	CHECK(get(plain[V4].client, IPPROTO_TCP, TCP_NODELAY) == 1);
	CHECK(get(plain[V4].client, IPPROTO_TCP, TCP_KEEPIDLE) == 123);
	CHECK(get(plain[V4].client, SOL_SOCKET, SO_KEEPALIVE) == 1);
	CHECK(get(plain[V4].client, SOL_SOCKET, SO_REUSEADDR) == 0);
	CHECK(get(plain[V4].listener, SOL_SOCKET, SO_REUSEADDR) == 0);
	CHECK(get(plain[V4].server, IPPROTO_TCP, TCP_CORK) == 1);
}

static void check_pair(enum kind k)
{
	struct sockaddr_storage a;
	char buf[16];

	name_of(plain[k].client, &a);
	CHECK(memcmp(&a, &names[k][0], sizeof(a)) == 0);
	name_of(plain[k].server, &a);
	CHECK(memcmp(&a, &names[k][1], sizeof(a)) == 0);
	CHECK(drain(plain[k].server, plain[k].sent));
	CHECK(recv(plain[k].client, buf, sizeof(buf), 0) == 4 && memcmp(buf, "back", 4) == 0);
	CHECK(recv(half[k].server, buf, sizeof(buf), 0) == 4 && memcmp(buf, "last", 4) == 0);
	CHECK(recv(half[k].server, buf, sizeof(buf), 0) == 0);
	CHECK(send(half[k].server, "more", 4, 0) == 4 &&
	      recv(half[k].client, buf, sizeof(buf), 0) == 4);
	CHECK(drain(full[k].server, full[k].sent));
	CHECK(recv(full[k].server, buf, sizeof(buf), 0) == 0);
	CHECK(recv(full[k].client, buf, sizeof(buf), 0) == 0);
	CHECK(send(full[k].client, "no", 2, MSG_NOSIGNAL) < 0 && errno == EPIPE);
}

static void after(void)
{
	struct pair again;
	char byte;
	enum kind k;

	check_options();
	for (k = V4; k < KINDS; k++)
		check_pair(k);
	CHECK(state(reset.server) == TCP_CLOSE && recv(reset.server, &byte, 1, MSG_DONTWAIT) <= 0);
	/* A new one can be made: the listeners listen. */
	for (k = V4; k < KINDS; k++) {
		struct sockaddr_storage at;

		name_of(plain[k].listener, &at);
		if (k == MAPPED)
			((struct sockaddr_in6 *)&at)->sin6_addr = in6addr_loopback;
		again.client = socket(at.ss_family, SOCK_STREAM, 0);
		CHECK(connect(again.client, (void *)&at, k == V4 ? sizeof(struct sockaddr_in) :
			      sizeof(struct sockaddr_in6)) == 0);
		again.server = accept(plain[k].listener, NULL, NULL);
		CHECK(again.server >= 0);
		close(again.client);
		close(again.server);
	}
}

const struct test_case test_case = {
	.proves = "TCP connections keep data, direction and options",
	.options = "--tcp-established",
	.before = before,
	.after = after,
};
