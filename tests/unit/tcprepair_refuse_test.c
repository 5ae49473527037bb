/* SPDX-License-Identifier: MIT */
/*
 * tcprepair_refuse_test.c - what cannot be saved, damaged state and addresses that are not there
 * are refused by name.
 */
#include "workers/net/tcprepair/tcprepair.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "tests/world/tcp_pairs.h"

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
	struct pair p = pair_connected(V4);
	int mptcp = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);

	CHECK(refused(pair_listener(V4, &at), "listens"));
	CHECK(refused(socket(AF_INET, SOCK_DGRAM, 0), "not plain TCP"));
	CHECK(refused(socket(AF_UNIX, SOCK_STREAM, 0), "not plain TCP"));
	CHECK(refused(pair_fresh(V6), "not connected"));
	if (mptcp >= 0)
		CHECK(refused(mptcp, "MPTCP"));
	CHECK(send(p.b, "x", 1, MSG_OOB) == 1);
	poll(NULL, 0, 20);
	CHECK(refused(dup(p.a), "urgent"));
	pair_hang_up(&p);
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
	struct pair p = pair_connected(V4);
	struct tcprepair_state s, bad;
	struct tcprepair *c;
	size_t i;
	int fd;

	pair_lock(p.b);
	CHECK(pair_stuff(p.a, 10) == 10 && pair_stuff(p.b, 20) == 20);
	poll(NULL, 0, 20);
	pair_take(p.a, &s);
	for (i = 0; i < ARRAY_LEN(damages); i++) {
		struct fault f = { 0 };

		bad = s;
		memcpy((char *)&bad + damages[i].offset, &damages[i].value, sizeof(uint32_t));
		fd = pair_fresh(V4);
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
	p.a = pair_put(V4, &s, NULL, &c);
	pair_unlock(p.b);
	pair_run_on(p.a, c);
	CHECK(pair_reads(p.b, 0, 10) && pair_reads(p.a, 0, 20));
	tcprepair_clear(&s);
	pair_hang_up(&p);
}

static void elsewhere(void *ctx, bool local, union tcprepair_addr *a)
{
	(void)ctx;
	if (local)
		a->v4.sin_addr.s_addr = htonl(0x0a636363);
}

static void names_the_remedy(void)
{
	struct pair p = pair_connected(V4);
	struct tcprepair_state s;
	struct tcprepair_how how = { .map = elsewhere };
	struct fault gone = { 0 }, twice = { 0 }, lost = { 0 };
	struct tcprepair *c;
	int fd;

	pair_lock(p.b);
	pair_take(p.a, &s);
	fd = pair_fresh(V4);
	CHECK(!tcprepair_pause(fd, &c, &gone) && tcprepair_restore(c, &s, &how, &gone) < 0);
	CHECK(gone.code == EADDRNOTAVAIL && strstr(gone.text, "10.99.99.99:") &&
	      strstr(gone.text, "map the connection"));
	tcprepair_release(c);
	close(fd);

	p.a = pair_put(V4, &s, NULL, &c);
	tcprepair_release(c);		/* in repair mode: close() will send nothing */
	fd = pair_fresh(V4);
	CHECK(!tcprepair_pause(fd, &c, &twice) && tcprepair_restore(c, &s, NULL, &twice) < 0);
	CHECK(strstr(twice.text, "exists already"));
	tcprepair_release(c);
	close(fd);
	close(p.a);

	how = (struct tcprepair_how){ .mark = 0x77 };
	s.state = TCP_CLOSE_WAIT;
	fd = pair_fresh(V4);
	pair_lock_unmarked(fd);
	CHECK(!tcprepair_pause(fd, &c, &lost) && tcprepair_restore(c, &s, &how, &lost) < 0);
	CHECK(strstr(lost.text, "ESTABLISHED instead of CLOSE_WAIT") && strstr(lost.text, "0x77"));
	tcprepair_release(c);
	close(fd);
	tcprepair_clear(&s);
	close(p.b);
}

int main(void)
{
	if (!pair_enter_network()) {
		printf("skip - tcprepair: a network namespace needs root: %s\n", strerror(errno));
		return 77;
	}
	check_run("what cannot be saved is refused by name", refuses_by_name);
	check_run("damaged state is refused and hurts nothing", refuses_damage);
	check_run("a fault names the connection, the reason and the remedy", names_the_remedy);
	return check_done();
}
