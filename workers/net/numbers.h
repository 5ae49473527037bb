/* SPDX-License-Identifier: MIT */
/*
 * numbers.h - options of sockets that are one int or two and have no field of CRIU's.
 */
#ifndef STASIS_NET_NUMBERS_H
#define STASIS_NET_NUMBERS_H

#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"

/* The list of an entry that is being made: NUMBERS(e) names its field "number". */
struct number_list {
	SocketNumber ***at;
	size_t *n;
};

#define NUMBERS(e) ((struct number_list){ &(e)->number, &(e)->n_number })

/* Look at a fresh socket like s; numbers_read does so too, but not while several threads read. */
int numbers_learn(struct net *net, const struct sock *s, struct fault *f);

/* What the caller knows of a socket. */
enum number_facts { SOCK_CONNECTED = 1, SOCK_FILTERED = 2 };

/* Read those of a socket that are not as in a fresh one; numbers_free frees the list. */
int numbers_read(struct net *net, const struct sock *s, unsigned facts, struct number_list list,
		 struct fault *f);
void numbers_free(struct number_list list);

/* Restore: are they options we know? Then: set them, the filter (SO_LOCK_FILTER) before. */
int numbers_check(uint32_t id, SocketNumber *const *list, size_t n, struct fault *f);
int numbers_apply(int fd, SocketNumber *const *list, size_t n, struct fault *f);

/* Forget what fresh sockets have: net->numbers. */
void numbers_end(struct net *net);

#endif
