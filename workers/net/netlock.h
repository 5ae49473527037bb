/* SPDX-License-Identifier: MIT */
/*
 * netlock.h - packets of given TCP connections are dropped, from a dump until its restore.
 *
 * One table of nf_tables for a dump, named and laid out as CRIU's: each tool's restore removes the
 * other's. Packets marked TCPREPAIR_MARK pass.
 */
#ifndef STASIS_NET_NETLOCK_H
#define STASIS_NET_NETLOCK_H

#include "workers/net/inet.h"

/* As in inventory.img. */
enum netlock_method { NETLOCK_IPTABLES, NETLOCK_NFTABLES, NETLOCK_SKIP };

struct netlock_connection {
	union inet_addr own, peer;
};

/* Dump: drop the packets of n more connections. The guard undoes it when this worker dies. */
int netlock_block(struct net *net, const struct netlock_connection *c, size_t n, struct fault *f);
/* Dump: what is to be told in inventory.img; -1: nothing was locked. */
int netlock_used(const struct net *net);

/* Restore: these connections were locked by CRIU through iptables, rule by rule. */
void netlock_expect(struct net *net, const struct netlock_connection *c, size_t n);
/*
 * The input of iptables-restore (ip6tables-restore) that removes those rules; handed over. NULL:
 * none.
 */
char *netlock_rules(struct net *net, bool v6);

/* Remove the table of this dump, or of the dump that is restored. There may be none. */
void netlock_lift(struct net *net);

/* Forget all. The table stays. */
void netlock_end(struct net *net);

#endif
