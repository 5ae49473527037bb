/* SPDX-License-Identifier: MIT */
/*
 * Listening, bound and fresh TCP sockets keep port, backlog and options; several share a port. A
 * connection keeps options that CRIU forgets. Sockets that had one before still show its segment
 * size, which over the loopback device is one that nobody may set.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

static int plain, group[2], bound, fresh, elsewhere, client, closed, reused;
static bool filtered;
static struct sockaddr_in at;

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

static int make(struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*a);

	CHECK(fd >= 0);
	set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	CHECK(bind(fd, (struct sockaddr *)a, sizeof(*a)) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)a, &len) == 0);
	return fd;
}

/* A socket that was connected, and whose segments were larger than anybody may ask for. */
static int part(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct sockaddr none = { .sa_family = AF_UNSPEC };
	int peer = socket(AF_INET, SOCK_STREAM, 0), listener = make(&a), fd;

	CHECK(listen(listener, 1) == 0);
	CHECK(connect(peer, (const struct sockaddr *)&a, sizeof(a)) == 0);
	fd = accept(listener, NULL, NULL);
	CHECK(connect(fd, &none, sizeof(none)) == 0);
	CHECK(get(fd, IPPROTO_TCP, TCP_MAXSEG) > 32767);
	close(listener);
	close(peer);
	return fd;
}

static void before(void)
{
	struct sock_filter pass[] = { BPF_STMT(BPF_RET | BPF_K, 0xffff) };
	struct sock_fprog prog = { 1, pass };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
			   b = a;

	plain = make(&b);
	set(plain, SOL_SOCKET, SO_REUSEPORT, 0);
	set(plain, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5);
	set(plain, IPPROTO_TCP, TCP_FASTOPEN, 11);
	set(plain, IPPROTO_TCP, TCP_MAXSEG, 1200);
	set(plain, SOL_SOCKET, SO_RCVBUF, 70000);
	/* Some kernels let nobody but root attach one. */
	filtered = setsockopt(plain, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) == 0;
	CHECK(filtered || geteuid() != 0);
	CHECK(listen(plain, 7) == 0);
	closed = part();
	reused = part();
	CHECK(listen(reused, 2) == 0);
	group[0] = make(&a);
	group[1] = make(&a);
	CHECK(listen(group[0], 3) == 0 && listen(group[1], 3) == 0);
	at = a;
	client = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(connect(client, (struct sockaddr *)&at, sizeof(at)) == 0);
	set(client, IPPROTO_TCP, TCP_USER_TIMEOUT, 45678);
	CHECK(setsockopt(client, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
	a.sin_port = 0;
	bound = make(&a);
	fresh = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CHECK(fresh >= 0);
	elsewhere = socket(AF_INET, SOCK_STREAM, 0);
	set(elsewhere, IPPROTO_IP, IP_FREEBIND, 1);
	a.sin_addr.s_addr = htonl(0xc0000201);		/* 192.0.2.1, nobody's */
	a.sin_port = 0;
	CHECK(bind(elsewhere, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(elsewhere, 1) == 0);
}

static int backlog(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
	return info.tcpi_state == TCP_LISTEN ? (int)info.tcpi_sacked : -1;
}

static void check_client(void)
{
	char name[16] = "";
	socklen_t len = sizeof(name);

	CHECK(get(client, IPPROTO_TCP, TCP_USER_TIMEOUT) == 45678);
	CHECK(getsockopt(client, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0);
	CHECK(strncmp(name, "reno", 4) == 0);
}

static void after(void)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a), n = 0;
	int i;

	CHECK(backlog(plain) == 7 && backlog(group[0]) == 3 && backlog(bound) == -1);
	CHECK(backlog(closed) == -1 && backlog(reused) == 2);
	CHECK(get(plain, SOL_SOCKET, SO_REUSEPORT) == 0 &&
	      get(plain, SOL_SOCKET, SO_REUSEADDR) == 0);
	CHECK(get(plain, IPPROTO_TCP, TCP_DEFER_ACCEPT) >= 5);
	CHECK(get(plain, IPPROTO_TCP, TCP_FASTOPEN) == 11);
	CHECK(get(plain, IPPROTO_TCP, TCP_MAXSEG) == 1200);
	CHECK(get(plain, SOL_SOCKET, SO_RCVBUF) == 140000);
	CHECK(getsockopt(plain, SOL_SOCKET, SO_GET_FILTER, NULL, &n) == 0 && n == filtered);
	CHECK(fcntl(plain, F_GETFD) & FD_CLOEXEC);
	for (i = 0; i < 2; i++) {
		CHECK(getsockname(group[i], (struct sockaddr *)&a, &len) == 0 &&
		      a.sin_port == at.sin_port);
		CHECK(get(group[i], SOL_SOCKET, SO_REUSEPORT) == 1);
	}
	check_client();
	CHECK(fcntl(fresh, F_GETFL) & O_NONBLOCK);
	CHECK(get(elsewhere, IPPROTO_IP, IP_FREEBIND) == 1 && backlog(elsewhere) == 1);
	CHECK(listen(bound, 1) == 0);
	CHECK(connect(closed, (struct sockaddr *)&at, sizeof(at)) == 0);
	close(closed);
	i = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(connect(i, (struct sockaddr *)&at, sizeof(at)) == 0);
	close(i);
}

const struct test_case test_case = {
	.proves = "TCP sockets without connection keep their ports and options",
	.options = "--tcp-established --skip-in-flight",
	.before = before,
	.after = after,
	.criu_fails = "TCP_DEFER_ACCEPT, TCP_FASTOPEN, TCP_MAXSEG and others are not kept",
};
