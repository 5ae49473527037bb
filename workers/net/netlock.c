/* SPDX-License-Identifier: MIT */
/*
 * netlock.c - packets of given TCP connections are dropped, from a dump until its restore.
 *
 * The table consists of two chains, which let marked packets pass and drop those in two sets (IPv4
 * and IPv6), and of both directions of each connection in the sets: a packet costs the same with
 * one connection and with a thousand.
 *
 * Rights:   CAP_NET_ADMIN.
 * Holds:    a memory file with the batch that removes the table, for the guard; the socket to
 *           nf_tables, to the end of the process: closing it takes long (nft.h), and nobody waits
 *           then.
 */
#include "workers/net/netlock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/net/guard.h"
#include "workers/net/net.h"
#include "workers/net/nft.h"
#include "workers/net/tcprepair/tcprepair.h"

#define SET4 "conns4"
#define SET6 "conns6"
#define ID4 1u
#define ID6 2u
#define UNDO_MAX 256

struct netlock {
	int method;			/* NETLOCK_*; -1: none was needed */
	bool blocked;			/* the table is there */
	int undo;			/* memory file: the batch that removes it */
	int action;			/* the guard's; -1: none */
	char *rules[2];			/* restore: for iptables-restore, IPv4 and IPv6 */
};

/* Both directions of the connections of one family. */
struct keys {
	unsigned char *key;
	size_t n;
};

static struct netlock *netlock_of(struct net *net)
{
	if (!net->netlock) {
		net->netlock = xcalloc(1, sizeof(*net->netlock));
		net->netlock->undo = net->netlock->action = net->netlock->method = -1;
	}
	return net->netlock;
}

/* CRIU 4.2 has room for so much of a run's id; another version may use all of it. */
static char *table_name(const struct net *net)
{
	return xasprintf("CRIU-%.21s", net->run_id);
}

/* Runs in the guard too: system calls only. No answer is asked for; there may be no table. */
static void remove_table(int fd, uint64_t arg)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	char batch[UNDO_MAX];
	ssize_t n = pread(fd, batch, sizeof(batch), 0);
	int sk = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	(void)arg;
	if (n > 0 && sk >= 0)
		sendto(sk, batch, n, 0, (struct sockaddr *)&kernel, sizeof(kernel));
	close(sk);
}

static int filter_of(struct net *net, struct fault *f)
{
	int fd;

	if (!net->filter) {
		fd = nft_open(f);
		net->filter = fd < 0 ? 0 : fd;
	}
	return net->filter ? net->filter : -1;
}

static int write_undo(struct netlock *lock, const char *table, struct fault *f)
{
	AUTO_NFT struct nft *b = nft_begin();
	const void *batch;
	size_t len;

	nft_delete_table(b, table);
	batch = nft_bytes(b, &len);
	lock->undo = memfd_create("network unlock", MFD_CLOEXEC);
	if (len > UNDO_MAX || lock->undo < 0 || write_full(lock->undo, batch, len) < 0)
		return fault(f, errno, "write down how to unlock the network");
	return 0;
}

static void add_keys(struct keys *k, size_t bytes, const void *own, uint16_t own_port,
		     const void *peer, uint16_t peer_port)
{
	size_t size = nft_key_size(bytes);

	nft_key(k->key + size * k->n++, bytes, own, own_port, peer, peer_port);
	nft_key(k->key + size * k->n++, bytes, peer, peer_port, own, own_port);
}

static void sort_out(const struct netlock_connection *c, size_t n, struct keys *k4, struct keys *k6)
{
	size_t i;

	for (i = 0; i < n; i++) {
		const union inet_addr *own = &c[i].own, *peer = &c[i].peer;

		if (own->sa.sa_family == AF_INET)
			add_keys(k4, 4, &own->v4.sin_addr, own->v4.sin_port, &peer->v4.sin_addr,
				 peer->v4.sin_port);
		else if (inet_is_mapped(own))
			add_keys(k4, 4, &own->v6.sin6_addr.s6_addr[12], own->v6.sin6_port,
				 &peer->v6.sin6_addr.s6_addr[12], peer->v6.sin6_port);
		else
			add_keys(k6, 16, &own->v6.sin6_addr, own->v6.sin6_port,
				 &peer->v6.sin6_addr, peer->v6.sin6_port);
	}
}

static void build_table(struct nft *b, const char *table)
{
	static const struct { const char *name; enum nft_hook hook; } chains[] = {
		{ "output", NFT_HOOK_OUTPUT }, { "input", NFT_HOOK_INPUT },
	};
	size_t i;

	nft_table(b, table);
	nft_connections(b, table, SET4, ID4, 4);
	nft_connections(b, table, SET6, ID6, 16);
	for (i = 0; i < ARRAY_LEN(chains); i++) {
		nft_chain(b, table, chains[i].name, chains[i].hook);
		nft_accept_mark(b, table, chains[i].name, TCPREPAIR_MARK);
		nft_drop_connections(b, table, chains[i].name, SET4, ID4, 4);
		nft_drop_connections(b, table, chains[i].name, SET6, ID6, 16);
	}
}

static int choose_method(const struct net *net, struct fault *f)
{
	const char *name = net_opts(net)->network_lock;

	/* Whoever asks for iptables gets a lock too; inventory.img says what it is. */
	if (!name || !strcmp(name, "nftables") || !strcmp(name, "iptables"))
		return NETLOCK_NFTABLES;
	if (!strcmp(name, "skip"))
		return NETLOCK_SKIP;
	return fault(f, -EOPNOTSUPP, "--network-lock %s: nftables, iptables (the same) or skip",
		     name);
}

static int lock_failed(const struct fault *why, struct fault *f)
{
	const char *remedy = "";

	if (why->code == EOPNOTSUPP || why->code == EPROTONOSUPPORT)
		remedy = " (--network-lock skip does without, at the connections' risk)";
	return fault(f, -why->code, "lock the network for TCP connections: %s%s", why->text,
		     remedy);
}

int netlock_block(struct net *net, const struct netlock_connection *c, size_t n, struct fault *f)
{
	struct netlock *lock = netlock_of(net);
	AUTO_FREE char *table = table_name(net);
	AUTO_FREE unsigned char *bytes4 = xcalloc(2 * n, nft_key_size(4));
	AUTO_FREE unsigned char *bytes6 = xcalloc(2 * n, nft_key_size(16));
	struct keys k4 = { bytes4, 0 }, k6 = { bytes6, 0 };
	AUTO_NFT struct nft *b = nft_begin();
	struct fault why = { 0 };
	int filter;

	lock->method = choose_method(net, f);
	if (lock->method < 0)
		return -1;
	if (lock->method == NETLOCK_SKIP)
		return 0;
	if (lock->undo < 0 && write_undo(lock, table, f) < 0)
		return -1;
	if (lock->action < 0)
		lock->action = guard_add(net, lock->undo, remove_table, 0, f);
	if (lock->action < 0)
		return -1;
	sort_out(c, n, &k4, &k6);
	if (!lock->blocked)
		build_table(b, table);
	nft_elements(b, table, SET4, lock->blocked ? 0 : ID4, k4.key, k4.n, 4);
	nft_elements(b, table, SET6, lock->blocked ? 0 : ID6, k6.key, k6.n, 16);
	filter = filter_of(net, &why);
	if (filter < 0 || nft_commit(filter, b, &why) < 0)
		return lock_failed(&why, f);
	lock->blocked = true;
	return 0;
}

int netlock_used(const struct net *net)
{
	return net->netlock ? net->netlock->method : -1;
}

/* ---- what CRIU's iptables method left ---- */

/* As CRIU gave it to iptables: a rule is found by its matches in their order. */
static void put_rule(FILE *to, const char *chain, const union inet_addr *from,
		     const union inet_addr *dest)
{
	const void *a = &from->v4.sin_addr, *b = &dest->v4.sin_addr;
	char source[INET6_ADDRSTRLEN], target[INET6_ADDRSTRLEN];
	int family = from->sa.sa_family;

	if (family == AF_INET6) {
		a = &from->v6.sin6_addr;
		b = &dest->v6.sin6_addr;
	}
	if (inet_is_mapped(from)) {
		family = AF_INET;
		a = &from->v6.sin6_addr.s6_addr[12];
		b = &dest->v6.sin6_addr.s6_addr[12];
	}
	/* Ports lie at the same place in both kinds of address. */
	fprintf(to, "-D %s --protocol tcp -m mark ! --mark %#x --source %s --sport %u "
		"--destination %s --dport %u -j DROP\n", chain, TCPREPAIR_MARK,
		inet_ntop(family, a, source, sizeof(source)), ntohs(from->v4.sin_port),
		inet_ntop(family, b, target, sizeof(target)), ntohs(dest->v4.sin_port));
}

static char *write_rules(const struct netlock_connection *c, size_t n, bool v6)
{
	char *text = NULL;
	size_t len, i, count = 0;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		die("out of memory");
	fprintf(to, "*filter\n");
	for (i = 0; i < n; i++) {
		bool is_v6 = c[i].own.sa.sa_family == AF_INET6 && !inet_is_mapped(&c[i].own);

		if (is_v6 != v6)
			continue;
		put_rule(to, "INPUT", &c[i].peer, &c[i].own);
		put_rule(to, "OUTPUT", &c[i].own, &c[i].peer);
		count++;
	}
	fprintf(to, "COMMIT\n");
	fclose(to);
	if (!count)
		free(take_ptr(&text));
	return text;
}

void netlock_expect(struct net *net, const struct netlock_connection *c, size_t n)
{
	struct netlock *lock = netlock_of(net);

	lock->rules[0] = write_rules(c, n, false);
	lock->rules[1] = write_rules(c, n, true);
}

char *netlock_rules(struct net *net, bool v6)
{
	return net->netlock ? take_ptr(&net->netlock->rules[v6]) : NULL;
}

static void delete_table(struct net *net, const char *table)
{
	AUTO_NFT struct nft *b = nft_begin();
	struct fault f = { 0 };
	int filter = filter_of(net, &f);

	if (filter >= 0 && !nft_has_table(filter, table))
		return;
	nft_delete_table(b, table);
	if (filter < 0 || nft_commit(filter, b, &f) < 0)
		log_warnx("the network stays locked (nft delete table inet %s): %s", table, f.text);
}

void netlock_lift(struct net *net)
{
	AUTO_FREE char *table = table_name(net), *whole = xasprintf("CRIU-%s", net->run_id);

	delete_table(net, table);
	if (net->tasks && strcmp(whole, table))
		delete_table(net, whole);
	if (!net->netlock)
		return;
	net->netlock->blocked = false;
	if (net->netlock->action >= 0)
		guard_drop(net, net->netlock->action);
	net->netlock->action = -1;
}

void netlock_end(struct net *net)
{
	if (!net->netlock)
		return;
	auto_close(&net->netlock->undo);
	free(net->netlock->rules[0]);
	free(net->netlock->rules[1]);
	free(net->netlock);
	net->netlock = NULL;
}
