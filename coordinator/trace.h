/* SPDX-License-Identifier: MIT */
/*
 * trace.h - --trace FILE: write down stages and control messages (proto/control/trace.proto).
 *
 * Nothing here can fail the operation: a file that takes no more is cut to its whole records, with
 * a warning. A NULL trace costs a call.
 */
#ifndef STASIS_TRACE_H
#define STASIS_TRACE_H

#include <stddef.h>

#include "coordinator/job.h"
#include "proto/control/trace.pb-c.h"

#define TRACE_MAGIC "STASISt1"
#define TRACE_MAGIC_SIZE 8

/*
 * Create the file or empty it; path is relative to the job's work directory. NULL with f set; the
 * caller closes it, which NULL may be.
 */
struct trace *trace_open(const struct job *job, const char *path, struct fault *f);
void trace_close(struct trace *t);

void trace_edge(struct trace *t, const char *stage, Edge edge, const char *text);
void trace_request(struct trace *t, const char *worker, const Request *req, size_t nfds);
void trace_reply(struct trace *t, const char *worker, const Reply *rep);
void trace_fds(struct trace *t, const char *worker, uint64_t id, size_t nfds);

#endif
