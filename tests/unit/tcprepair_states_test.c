/* SPDX-License-Identifier: MIT */
/*
 * tcprepair_states_test.c - connections that are being opened or closed go through save and
 * restore, and end in order.
 */
#include "workers/net/tcprepair/tcprepair.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "tests/world/tcp_pairs.h"

static void close_wait(void)
{
	struct pair p = pair_connected(V4);

	CHECK(pair_stuff(p.b, 1000) == 1000 && !shutdown(p.b, SHUT_WR));
	CHECK(pair_reaches(p.a, TCP_CLOSE_WAIT));
	pair_cycle(V4, &p);
	CHECK(pair_reads(p.a, 0, 1000) && pair_ends(p.a));
	CHECK(pair_says(p.a, p.b, 4000));
	CHECK(!shutdown(p.a, SHUT_WR) && pair_ends(p.b) && pair_reaches(p.a, TCP_CLOSE));
	pair_hang_up(&p);
}

static void fin_wait2(void)
{
	struct pair p = pair_connected(V6);

	CHECK(!shutdown(p.a, SHUT_WR) && pair_reaches(p.a, TCP_FIN_WAIT2));
	pair_cycle(V6, &p);
	CHECK(pair_says(p.b, p.a, 4000));
	CHECK(pair_ends(p.b) && !shutdown(p.b, SHUT_WR));
	CHECK(pair_ends(p.a) && pair_reaches(p.b, TCP_CLOSE));
	pair_hang_up(&p);
}

static void fin_wait1(void)
{
	struct pair p = pair_connected(V4);

	pair_lock(p.b);
	CHECK(pair_stuff(p.a, 1000) == 1000 && !shutdown(p.a, SHUT_WR));
	CHECK(pair_state_of(p.a) == TCP_FIN_WAIT1);
	pair_cycle(V4, &p);
	CHECK(pair_reads(p.b, 0, 1000) && pair_ends(p.b) && pair_reaches(p.a, TCP_FIN_WAIT2));
	CHECK(pair_says(p.b, p.a, 100));
	pair_hang_up(&p);
}

/* The FIN waits behind data that the peer has no window for. */
static void fin_wait1_unsent(void)
{
	struct pair p = pair_connected(V4);
	int small = 8192;
	size_t n;

	setsockopt(p.b, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	n = pair_stuff(p.a, 200000);
	CHECK(!shutdown(p.a, SHUT_WR));
	poll(NULL, 0, 50);
	pair_cycle(V4, &p);
	CHECK(pair_state_of(p.a) == TCP_FIN_WAIT1);
	CHECK(pair_reads(p.b, 0, n) && pair_ends(p.b) && pair_reaches(p.a, TCP_FIN_WAIT2));
	CHECK(pair_says(p.b, p.a, 100));
	pair_hang_up(&p);
}

/* Both FINs under way at once; ours and the data before it are lost. */
static void closing(void)
{
	struct pair p = pair_connected(V4);

	pair_lock(p.b);
	CHECK(pair_stuff(p.a, 500) == 500 && !shutdown(p.a, SHUT_WR));
	CHECK(pair_stuff(p.b, 600) == 600 && !shutdown(p.b, SHUT_WR));
	CHECK(pair_reaches(p.a, TCP_CLOSING));
	pair_cycle(V4, &p);
	CHECK(pair_reads(p.a, 0, 600) && pair_ends(p.a));
	CHECK(pair_reads(p.b, 0, 500) && pair_ends(p.b));
	CHECK(pair_reaches(p.a, TCP_CLOSE) && pair_reaches(p.b, TCP_CLOSE));
	pair_hang_up(&p);
}

static void last_ack(void)
{
	struct pair p = pair_connected(MAPPED);

	CHECK(pair_stuff(p.b, 600) == 600 && !shutdown(p.b, SHUT_WR));
	CHECK(pair_reaches(p.a, TCP_CLOSE_WAIT));
	pair_lock(p.b);
	CHECK(pair_stuff(p.a, 500) == 500 && !shutdown(p.a, SHUT_WR));
	CHECK(pair_reaches(p.a, TCP_LAST_ACK));
	pair_cycle(MAPPED, &p);
	CHECK(pair_reads(p.a, 0, 600) && pair_ends(p.a));
	CHECK(pair_reads(p.b, 0, 500) && pair_ends(p.b));
	CHECK(pair_reaches(p.a, TCP_CLOSE) && pair_reaches(p.b, TCP_CLOSE));
	pair_hang_up(&p);
}

static void closed(void)
{
	struct pair p = pair_connected(V4);
	struct linger reset = { .l_onoff = 1 };

	CHECK(pair_stuff(p.b, 600) == 600);
	poll(NULL, 0, 20);
	setsockopt(p.b, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(p.b);
	CHECK(pair_reaches(p.a, TCP_CLOSE));
	p.b = pair_fresh(V4);
	pair_cycle(V4, &p);
	CHECK(pair_reads(p.a, 0, 600) && pair_ends(p.a));
	CHECK(send(p.a, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	pair_hang_up(&p);
}

static void syn_sent(void)
{
	union tcprepair_addr at;
	AUTO_CLOSE int l = pair_listener(V4, &at);
	struct pair p = { .a = pair_fresh(V4) };
	struct tcprepair_state s;
	struct tcprepair *c;

	pair_lock(l);
	CHECK(!fcntl(p.a, F_SETFL, O_NONBLOCK));
	CHECK(connect(p.a, &at.sa, sizeof(at.v4)) < 0 && errno == EINPROGRESS);
	CHECK(pair_state_of(p.a) == TCP_SYN_SENT);
	pair_take(p.a, &s);
	CHECK(s.peer.v4.sin_port == at.v4.sin_port);
	p.a = pair_put(V4, &s, NULL, &c);
	CHECK(pair_state_of(p.a) == TCP_SYN_SENT && !(fcntl(p.a, F_GETFL) & O_NONBLOCK));
	tcprepair_clear(&s);
	pair_unlock(l);
	pair_run_on(p.a, c);
	p.b = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	CHECK(p.b >= 0 && pair_says(p.a, p.b, 100) && pair_says(p.b, p.a, 100));
	pair_hang_up(&p);
}

int main(void)
{
	if (!pair_enter_network()) {
		printf("skip - tcprepair: a network namespace needs root: %s\n", strerror(errno));
		return 77;
	}
	check_run("CLOSE_WAIT stays and ends in order", close_wait);
	check_run("FIN_WAIT1 stays and ends in order", fin_wait1);
	check_run("FIN_WAIT1 with an unsent FIN stays and ends in order", fin_wait1_unsent);
	check_run("FIN_WAIT2 stays and ends in order", fin_wait2);
	check_run("CLOSING stays and ends in order", closing);
	check_run("LAST_ACK stays and ends in order", last_ack);
	check_run("a closed connection keeps its unread data and its end", closed);
	check_run("SYN_SENT connects after the restore", syn_sent);
	return check_done();
}
