/* SPDX-License-Identifier: MIT */
/*
 * netlock_test.c - the network lock drops what it should and nothing else, and can be lifted;
 * addresses are mapped.
 */
#include "workers/net/netlock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "workers/net/guard.h"
#include "workers/net/net.h"
#include "workers/net/nft.h"
#include "workers/net/tcp_map.h"

struct pair {
	int one, other;
	struct netlock_connection addresses;	/* of one */
};

static void make_pair(struct pair *p, int family)
{
	union inet_addr a = { .sa.sa_family = family };
	int listener = socket(family, SOCK_STREAM, 0);
	socklen_t len = inet_addr_len(&a);
	struct fault f = { 0 };

	if (family == AF_INET)
		a.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		a.v6.sin6_addr = in6addr_loopback;
	CHECK(bind(listener, &a.sa, len) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, &a.sa, &len) == 0);
	p->one = socket(family, SOCK_STREAM, 0);
	CHECK(connect(p->one, &a.sa, len) == 0);
	p->other = accept(listener, NULL, NULL);
	CHECK(inet_names(p->one, family, &p->addresses.own, &p->addresses.peer, &f) == 0);
	close(listener);
}

static void close_pair(struct pair *p)
{
	close(p->one);
	close(p->other);
}

static bool passes(const struct pair *p, int ms)
{
	struct pollfd ready = { .fd = p->other, .events = POLLIN };
	char byte;

	send(p->one, "x", 1, MSG_NOSIGNAL);
	if (poll(&ready, 1, ms) != 1)
		return false;
	return recv(p->other, &byte, 1, 0) == 1;
}

static void begin(struct net *net, struct worker *w, Options *o, const char *run)
{
	*net = (struct net){ .worker = w, .run_id = xasprintf("%s-%d", run, getpid()) };
	options__init(o);
	w->set.opts = o;
}

static void test_lock(int family)
{
	struct pair locked, more, open;
	struct worker w = { 0 };
	struct fault f = { 0 };
	struct net net;
	Options o;

	begin(&net, &w, &o, "test");
	make_pair(&locked, family);
	make_pair(&more, family);
	make_pair(&open, family);
	if (netlock_block(&net, &locked.addresses, 1, &f) < 0 && f.code == EPERM) {
		check_skip("needs CAP_NET_ADMIN");
		return;
	}
	CHECK(netlock_block(&net, &more.addresses, 1, &f) == 0);
	CHECK(netlock_used(&net) == NETLOCK_NFTABLES);
	CHECK(!passes(&locked, 50) && !passes(&more, 50) && passes(&open, 1000));
	netlock_lift(&net);
	CHECK(passes(&locked, 5000) && passes(&more, 5000));
	netlock_lift(&net);
	netlock_end(&net);
	guard_end(&net, true);
	free(net.run_id);
	close_pair(&locked);
	close_pair(&more);
	close_pair(&open);
}

static void test_lock_v4(void)
{
	test_lock(AF_INET);
}

static void test_lock_v6(void)
{
	test_lock(AF_INET6);
}

static void test_skip(void)
{
	struct netlock_connection c = { 0 };
	struct worker w = { 0 };
	struct fault f = { 0 };
	struct net net;
	Options o;

	begin(&net, &w, &o, "skip");
	o.network_lock = "skip";
	CHECK(netlock_block(&net, &c, 1, &f) == 0 && netlock_used(&net) == NETLOCK_SKIP);
	o.network_lock = "magic";
	CHECK(netlock_block(&net, &c, 1, &f) < 0 && strstr(f.text, "--network-lock magic"));
	netlock_end(&net);
	free(net.run_id);
}

/* The table is there once, and not left half made. */
static void test_batch(void)
{
	AUTO_NFT struct nft *make = nft_begin(), *again = nft_begin(), *end = nft_begin();
	struct fault f = { 0 };
	AUTO_CLOSE int sk = nft_open(&f);

	nft_table(make, "stasis-test");
	nft_connections(make, "stasis-test", "set", 1, 4);
	nft_table(again, "stasis-test");
	nft_delete_table(end, "stasis-test");
	if (sk < 0 || nft_commit(sk, make, &f) < 0) {
		check_skip("no nf_tables, or no right to change them");
		return;
	}
	CHECK(nft_has_table(sk, "stasis-test") && !nft_has_table(sk, "stasis-tesT"));
	CHECK(nft_commit(sk, again, &f) < 0 && f.code == EEXIST);
	f = (struct fault){ 0 };
	CHECK(nft_commit(sk, end, &f) == 0);
	CHECK(nft_commit(sk, end, &f) < 0 && f.code == ENOENT);
}

static void test_rules(void)
{
	struct netlock_connection c[2] = { 0 };
	struct net net = { 0 };
	AUTO_FREE char *v4 = NULL, *v6 = NULL;

	c[0].own = c[0].peer = (union inet_addr){ .v4 = { .sin_family = AF_INET,
							  .sin_port = htons(5) } };
	c[1].own = c[1].peer = (union inet_addr){ .v6 = { .sin6_family = AF_INET6 } };
	netlock_expect(&net, c, 1);
	v4 = netlock_rules(&net, false);
	CHECK(v4 && strstr(v4, "-D INPUT --protocol tcp -m mark ! --mark 0xc114 --source 0.0.0.0 "
			       "--sport 5 --destination 0.0.0.0 --dport 5 -j DROP\n"));
	CHECK(!netlock_rules(&net, true));
	netlock_expect(&net, c + 1, 1);
	v6 = netlock_rules(&net, true);
	CHECK(v6 && strstr(v6, "-D OUTPUT") && strstr(v6, "--source :: "));
	netlock_end(&net);
}

static void test_map(void)
{
	char *pairs[] = { "10.0.0.1=10.0.0.2", "fd00::1=fd00::2" }, *bad[] = { "10.0.0.1=fd00::2" };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = 7 };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	Options o = OPTIONS__INIT;
	struct fault f = { 0 };

	o.tcp_map = pairs;
	o.n_tcp_map = 2;
	CHECK(tcp_map_check(&o, &f) == 0);
	v4.sin_addr.s_addr = inet_addr("10.0.0.1");
	tcp_map(&o, (struct sockaddr *)&v4);
	CHECK(v4.sin_addr.s_addr == inet_addr("10.0.0.2") && v4.sin_port == 7);
	tcp_map(&o, (struct sockaddr *)&v4);
	CHECK(v4.sin_addr.s_addr == inet_addr("10.0.0.2"));
	inet_pton(AF_INET6, "::ffff:10.0.0.1", &v6.sin6_addr);
	tcp_map(&o, (struct sockaddr *)&v6);
	CHECK(IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) && v6.sin6_addr.s6_addr[15] == 2);
	o.tcp_map = bad;
	o.n_tcp_map = 1;
	CHECK(tcp_map_check(&o, &f) < 0);
}

int main(void)
{
	check_run("packets of locked IPv4 connections are dropped, others are not", test_lock_v4);
	check_run("the same with IPv6", test_lock_v6);
	check_run("--network-lock skip locks nothing, an unknown method is refused", test_skip);
	check_run("a batch is done whole, its errors are told", test_batch);
	check_run("rules that CRIU gave to iptables are taken back", test_rules);
	check_run("--tcp-map replaces addresses of all kinds", test_map);
	return check_done();
}
