/* SPDX-License-Identifier: MIT */
/*
 * tcp_pairs.h - both ends of TCP connections over the loopback device; one is saved and restored.
 */
#ifndef STASIS_TCP_PAIRS_H
#define STASIS_TCP_PAIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workers/net/tcprepair/tcprepair.h"

/* Two ends of one connection; a is the one that is saved. */
struct pair {
	int a;
	int b;
};

enum kind { V4, V6, MAPPED };

/* Says a fault on standard error; its text. */
const char *pair_fault_text(const struct fault *f);
/* A filter that drops all, or all but marked packets; none. */
void pair_lock(int fd);
void pair_lock_unmarked(int fd);
void pair_unlock(int fd);
/* A socket, a listening one and its address, a connection. */
int pair_fresh(enum kind kind);
int pair_listener(enum kind kind, union tcprepair_addr *at);
struct pair pair_connected(enum kind kind);
void pair_hang_up(struct pair *p);
/* The state of a socket (TCP_*); whether it comes to one within three seconds. */
uint32_t pair_state_of(int fd);
bool pair_reaches(int fd, uint32_t state);
/* Save and close a socket. */
void pair_take(int fd, struct tcprepair_state *s);
/* Restore into a fresh socket, locked; *out is its paused handle. Returns the socket. */
int pair_put(enum kind kind, const struct tcprepair_state *s, const struct tcprepair_how *how,
	     struct tcprepair **out);
/* Unlock and resume. */
void pair_run_on(int fd, struct tcprepair *c);
/* One end goes away and comes back. The peer's network may be locked already. */
void pair_cycle(enum kind kind, struct pair *p);
/* What is written is always this pattern. */
unsigned char pair_byte_at(size_t i);
/* Read n bytes, which must be those of the pattern from the given place on. */
bool pair_reads(int fd, size_t from, size_t n);
/* The pattern's first n bytes go from one to the other. */
bool pair_says(int from, int to, size_t n);
/* Whether the end of the stream comes. */
bool pair_ends(int fd);
/* Write without blocking as much as fits; returns the count. */
size_t pair_stuff(int fd, size_t most);
/* A network of our own with its loopback device up; false where that is not allowed. */
bool pair_enter_network(void);

#endif
