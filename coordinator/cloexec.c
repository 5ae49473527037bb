/* SPDX-License-Identifier: MIT */
/*
 * cloexec.c - which descriptors of a task exec closes: thousands of questions in one batch.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "coordinator/cloexec.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"

#define DEADLINE_MS 10000

static struct gate *gate_of(const struct job *job, pid_t pid)
{
	size_t i = 0;

	while (i < job->ntasks && job->tasks[i]->pid != pid)
		i++;
	return i < job->ntasks ? job->tasks[i]->gate : NULL;
}

/*
 * As many of fd as one batch holds. Those that exec closes go to *closed on. Returns how many were
 * asked.
 */
static long ask_some(struct batch *b, const FdNumbers *of, size_t first, size_t *closed,
		     struct fault *f)
{
	size_t n = 0, i;
	int64_t r;

	batch_reset(b);
	while (first + n < of->n_fd &&
	       batch_op(b, 0, 0, SYS_fcntl, 2, gc(of->fd[first + n]), gc(F_GETFD)) >= 0)
		n++;
	if (!n)
		return fault(f, -ENOSPC, "task %u: its agent's arena is too small", of->pid);
	if (batch_run(b, DEADLINE_MS, f) < 0)
		return -1;
	for (i = 0; i < n; i++) {
		r = batch_result(b, 0, i);
		if (r < 0)
			return fault(f, -r, "task %u: ask for the flags of descriptor %u", of->pid,
				     of->fd[first + i]);
		if (r & FD_CLOEXEC)
			of->fd[(*closed)++] = of->fd[first + i];
	}
	return n;
}

static int ask_task(struct job *job, FdNumbers *of, struct fault *f)
{
	struct gate *gate = gate_of(job, of->pid);
	AUTO_BATCH struct batch *b = gate ? batch_begin(gate) : NULL;
	size_t done = 0, closed = 0;
	long n;

	if (!b)
		return fault(f, -EPROTO, "task %u, whose descriptors are asked for, has no agent",
			     of->pid);
	for (; done < of->n_fd; done += n) {
		n = ask_some(b, of, done, &closed, f);
		if (n < 0)
			return -1;
	}
	of->n_fd = closed;
	return 0;
}

int cloexec_ask(struct job *job, FilesCollected *found, struct fault *f)
{
	size_t i;

	for (i = 0; i < found->n_owed; i++)
		if (ask_task(job, found->owed[i], f) < 0)
			return -1;
	return 0;
}
