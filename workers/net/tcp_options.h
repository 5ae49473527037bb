/* SPDX-License-Identifier: MIT */
/*
 * tcp_options.h - options of TCP sockets that have fields of their own, both directions.
 */
#ifndef STASIS_NET_TCP_OPTIONS_H
#define STASIS_NET_TCP_OPTIONS_H

#include <netinet/tcp.h>

#include "workers/net/inet.h"

/* Learn what tcp_options_read needs; after it, several threads may read at once. */
int tcp_options_learn(struct net *net, struct fault *f);
/*
 * Into x->tcp, which x->e refers to then; inet_free releases it. info: as it was before repair
 * mode.
 */
int tcp_options_read(struct net *net, const struct sock *s, const struct tcp_info *info,
		     struct inet_entry *x, struct fault *f);
/* Also from fields of older images. */
int tcp_options_apply(struct sock *s, struct fault *f);

#endif
