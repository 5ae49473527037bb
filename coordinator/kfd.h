/* SPDX-License-Identifier: MIT */
/*
 * kfd.h - what KFD tells of a process, to the thread that traces it and to no other.
 */
#ifndef STASIS_COORDINATOR_KFD_H
#define STASIS_COORDINATOR_KFD_H

#include <sys/types.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"

/* The processes whose queues stand still because of us. */
struct kfd_traces;

/* ask: ioctl(2), or a test's. */
struct kfd_traces *kfd_traces_new(int (*ask)(int fd, unsigned long nr, void *arg));

/*
 * Stop the GPU queues of a traced task and read its state. kfd_fd: a duplicate of its /dev/kfd; not
 * kept. Fills all of *out (initialized) but id; *fds are its buffers in order (out->nfds),
 * close-on-exec. The caller frees *fds, closes them, and clears *out by kfd_traced_clear. A second
 * /dev/kfd of the same task gives an empty *out: the kernel has one state for both. On failure the
 * queues run again.
 */
int kfd_trace(struct kfd_traces *t, pid_t pid, int kfd_fd, GpuTraced *out, int **fds,
	      struct fault *f);
void kfd_traced_clear(GpuTraced *out);

/*
 * Let all queues run again; every process once. Tasks must still be traced by this thread, or dead.
 * -1 with f set when the kernel refuses one; the others run.
 */
int kfd_unpause(struct kfd_traces *t, struct fault *f);
/* Does kfd_unpause first, if need be. NULL is fine. */
void kfd_traces_free(struct kfd_traces *t);

#endif
