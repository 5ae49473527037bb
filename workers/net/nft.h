/* SPDX-License-Identifier: MIT */
/*
 * nft.h - batches for nf_tables, as far as a network lock needs them: all of a batch is done or
 * nothing.
 *
 * A library: knows the kernel's netlink protocol, nothing of sockets or workers.
 */
#ifndef STASIS_NET_NFT_H
#define STASIS_NET_NFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"

struct nft;

struct nft *nft_begin(void);
void nft_free(struct nft *b);
#define AUTO_NFT __attribute__((cleanup(nft_auto)))
void nft_auto(struct nft **b);

/* A table for IPv4 and IPv6; a fault when it exists. */
void nft_table(struct nft *b, const char *table);
void nft_delete_table(struct nft *b, const char *table);

/* A set of what nft calls "addr . service . addr . service"; bytes: of an address, 4 or 16. */
void nft_connections(struct nft *b, const char *table, const char *set, uint32_t id, size_t bytes);

/* A filter chain, name and hook being "input" or "output". */
enum nft_hook { NFT_HOOK_INPUT = 1, NFT_HOOK_OUTPUT = 3 };
void nft_chain(struct nft *b, const char *table, const char *chain, enum nft_hook hook);

/* Rules: packets with that mark pass; packets of a connection in the set are dropped. */
void nft_accept_mark(struct nft *b, const char *table, const char *chain, uint32_t mark);
void nft_drop_connections(struct nft *b, const char *table, const char *chain, const char *set,
			  uint32_t id, size_t bytes);

/* Put keys into a set: n of them, each nft_key_size(bytes) long, made by nft_key. */
#define NFT_KEY_MAX 40
size_t nft_key_size(size_t bytes);
void nft_key(unsigned char *key, size_t bytes, const void *from, uint16_t from_port, const void *to,
	     uint16_t to_port);
void nft_elements(struct nft *b, const char *table, const char *set, uint32_t id,
		  const unsigned char *keys, size_t n, size_t bytes);

/*
 * A socket to nf_tables. To close one after a table was deleted takes the kernel 10 ms: it waits
 * for those who use the table.
 */
int nft_open(struct fault *f);
/* Do it, through that socket. f->code is ENOENT, EEXIST, ... as the kernel says. */
int nft_commit(int fd, struct nft *b, struct fault *f);

/* Is there a table of that name? To delete one that is not there takes 10 ms, too. */
bool nft_has_table(int fd, const char *table);

/* The finished batch, to be sent by somebody else; belongs to b. */
const void *nft_bytes(struct nft *b, size_t *len);

#endif
