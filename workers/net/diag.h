/* SPDX-License-Identifier: MIT */
/*
 * diag.h - dump: ask the kernel for all sockets of a family (sock_diag).
 */
#ifndef STASIS_NET_DIAG_H
#define STASIS_NET_DIAG_H

#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"

/* One socket of the answer: the family's message, then its attributes. */
typedef void diag_note(void *ctx, const void *msg, const struct nlattr *attr, size_t attr_bytes);

/*
 * Send the family's request and pass each socket to note. msg_size: of the family's message.
 * Returns 0; 1 when this kernel does not tell of that family; -1 with f set.
 */
int diag_dump(const void *request, size_t size, size_t msg_size, diag_note *note, void *ctx,
	      struct fault *f);

/* The attribute of that type; NULL: there is none of at least that many bytes. */
const void *diag_attr(const struct nlattr *attr, size_t attr_bytes, int type, size_t at_least,
		      size_t *bytes);

/*
 * Lists of what was told, each element beginning with a uint64_t, the inode number: diag_find
 * looks in one that was sorted. NULL: there is none.
 */
void diag_sort(void *list, size_t n, size_t size);
void *diag_find(const void *list, size_t n, size_t size, uint64_t ino);

#endif
