/* SPDX-License-Identifier: MIT */
/*
 * worker.h - what all workers share: a table of handlers and one loop around it.
 */
#ifndef STASIS_WORKER_H
#define STASIS_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/capability.h>
#include <time.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"

struct worker;

/*
 * What a handler gets. The reply starts empty with the request's id; a handler that has data to
 * return sets rep->body_case and a message it allocated (freed by the runtime after sending,
 * with protobuf_c_message_free_unpacked: allocate with malloc/xcalloc only).
 */
struct call {
	struct worker *worker;
	void *ctx;			/* the worker's own state */
	const Request *req;
	Reply *rep;
};

struct handler {
	Stage stage;			/* the stage in which the message is legal */
	int (*run)(struct call *c, struct fault *f);	/* 0, or -1 with f set */
};

/* Descriptors and options every worker receives in its first message (Setup). */
struct setting {
	int image_dir;
	int work_dir;
	int log_fd;
	int *fds;			/* what the options speak of: see InheritFd.fd_index */
	size_t nfds;
	Options *opts;
	struct timespec start;		/* of the operation, CLOCK_MONOTONIC */
};

struct worker {
	const char *name;		/* "mem" */
	/* Capabilities to keep; the rest is dropped before the bus opens. */
	const cap_value_t *caps;
	size_t ncaps;
	bool hosts; /* it runs code of others, which may start programs and trace */
	const struct handler *handlers;	/* indexed by Request.body_case */
	size_t nhandlers;
	void *ctx;
	/*
	 * While no request is there: do some of what will be needed anyway, for no longer than a
	 * request can wait. Returns whether there is more. NULL: never anything.
	 */
	bool (*idle)(void *ctx);
	bool busy;			/* idle() has more to do */
	struct setting set;		/* valid from Setup on */
	int fd_plane;			/* SOCK_SEQPACKET to the coordinator */
	uint64_t ticket;		/* of the request being served: names its descriptors */
};

/*
 * The program around a worker: `stasis-mem --listen ipc://mem.sock` serves one coordinator and
 * returns the exit status. Its descriptors come through a socket at the url's path + ".fds".
 * The coordinator itself starts it as `stasis-mem --forked FD` (--exec-workers).
 */
int worker_main(struct worker *w, int argc, char **argv);

/*
 * The loop in a process forked by the coordinator; never returns. It waits for the url to connect
 * to, the first packet of the fd plane, and ends when that is closed instead.
 */
_Noreturn void worker_forked(struct worker *w, int fd_plane);

/*
 * Descriptors that came with the request being handled, in the order the message names them.
 * The caller owns what it receives. -1 with f set when fewer came.
 */
int worker_recv_fds(struct worker *w, int *fds, size_t n, struct fault *f);

/* Send descriptors with the reply being made (still owned by the caller, may be closed at once). */
int worker_send_fds(struct worker *w, const int *fds, size_t n, struct fault *f);

/* Answer MemKeep or FilesKeep: the descriptors go to the coordinator and are closed here. */
int worker_send_keepers(struct call *c, int *fds, size_t n, struct fault *f);

#endif
