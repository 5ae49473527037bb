/* SPDX-License-Identifier: MIT */
/*
 * busy.h - the page that programs/busy publishes, for harnesses.
 *
 * It is at BUSY_ADDRESS in the program (read /proc/PID/mem there), and, when
 * busy was given a file, the same bytes are in that file (mapped shared).
 * All fields are little endian; offsets in bytes are part of the contract:
 *
 *      0  u64  magic          BUSY_MAGIC once everything runs
 *      8  u32  version        1
 *     12  u32  threads        how many entries of worker[] count
 *     16  u64  errors         must stay 0
 *     24  char error[200]     the first error, as a sentence
 *    224  u64  port        of its listening socket, with -c
 *    232  u64  reserved[3]
 *    256  worker[BUSY_MAX], 64 bytes each:
 *           0  u64  rounds    grows for ever: progress
 *           8  u64  state     the hash chain, or the last counter received
 *          16  u32  kind      enum busy_kind
 *          20  i32  tid
 *          24  char name[16]
 *          40  u64  reserved[3]
 */
#ifndef TESTS_BUSY_H
#define TESTS_BUSY_H

#include <stdint.h>

#define BUSY_ADDRESS 0x200000000000ull
#define BUSY_MAGIC 0x2153495359535542ull	/* "BUSYSIS!" */

enum { BUSY_VERSION = 1, BUSY_MAX = 60 };

enum busy_kind {
	BUSY_GENERAL,		/* hash chain in general registers, red zone canary */
	BUSY_VECTOR,		/* hash chain in AVX-512, AVX2 or SSE registers */
	BUSY_NANOSLEEP,
	BUSY_POLL,
	BUSY_FUTEX,
	BUSY_SIGNAL,		/* receives queued RT signals, counts them */
	BUSY_SENDER,		/* queues them */
	BUSY_TCP,		/* talks to itself */
	BUSY_UNIX,		/* looks at what waits in sockets */
};

struct busy_worker {
	uint64_t rounds;
	uint64_t state;
	uint32_t kind;
	int32_t tid;
	char name[16];
	uint64_t reserved[3];
};

struct busy_page {
	uint64_t magic;
	uint32_t version;
	uint32_t threads;
	uint64_t errors;
	char error[200];
	uint64_t port;
	uint64_t reserved[3];
	struct busy_worker worker[BUSY_MAX];
};

#endif
