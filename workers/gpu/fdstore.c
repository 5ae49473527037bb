/* SPDX-License-Identifier: MIT */
/*
 * fdstore.c - descriptors by number: buffers that were published, until the operation ends.
 *
 * Rights:   none; the hard limit of open files bounds it.
 * Holds:    every descriptor put here.
 */
#include "workers/gpu/fdstore.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "proto/control/util.h"

#define FIRST_FD 64		/* low numbers stay free for the others */

struct fdstore {
	int *fds;
	size_t n, cap;
};

struct fdstore *fdstore_new(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
	return xcalloc(1, sizeof(struct fdstore));
}

void fdstore_free(struct fdstore *s)
{
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->n; i++)
		close(s->fds[i]);
	free(s->fds);
	free(s);
}

int fdstore_put(struct fdstore *s, int fd, struct fault *f)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);

	/* EINVAL: the limit is below FIRST_FD. */
	if (copy < 0 && errno == EINVAL)
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return fault(f, errno,
			     "keep a descriptor beside %zu others (raise the limit of open files: "
			     "ulimit -Hn)",
			     s->n);
	*(int *)grow(&s->fds, s->n, &s->cap, sizeof(int)) = copy;
	return s->n++;
}

int fdstore_take(const struct fdstore *s, int64_t id, struct fault *f)
{
	int fd;

	if (id < 0 || (uint64_t)id >= s->n)
		return fault(f, -EINVAL, "descriptor %lld was never stored (there are %zu)",
			     (long long)id, s->n);
	fd = fcntl(s->fds[id], F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return fault(f, errno,
			     "duplicate stored descriptor %lld (raise the limit of open files: "
			     "ulimit -Hn)",
			     (long long)id);
	return fd;
}
