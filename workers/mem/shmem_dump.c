/* SPDX-License-Identifier: MIT */
/*
 * shmem_dump.c - dump: shared anonymous memory, each object once.
 *
 * The object is opened through map_files of a task that maps it. All its pages are stored, also
 * those nobody maps any more: a task may map them again with mremap.
 *
 * Rights:   CAP_CHECKPOINT_RESTORE (map_files), CAP_SYS_PTRACE over the task.
 * Holds:    nothing.
 */
#include "workers/mem/shmem_dump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/control/util.h"

void shmems_add(struct shmems *all, const struct shmem_seen *one)
{
	struct shmem_seen *s;
	size_t i;

	for (i = 0; i < all->n; i++)
		if (all->seen[i].id == one->id)
			return;
	s = grow(&all->seen, all->n++, &all->cap, sizeof(*s));
	*s = *one;
}

void shmems_free(struct shmems *all)
{
	free(all->seen);
	*all = (struct shmems){ 0 };
}

/* The parts of the object that exist; holes read as zeros and are not stored. */
static int find_data(int fd, struct runs *runs)
{
	off_t data, hole = 0;

	while ((data = lseek(fd, hole, SEEK_DATA)) >= 0) {
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -1;
		hole = (hole + STASIS_PAGE - 1) & -STASIS_PAGE;
		runs_add(runs, (struct run){ .start = data, .end = hole });
	}
	return errno == ENXIO ? 0 : -1;
}

static long fill(void *ctx, const struct runs *runs, struct cursor *at, char *buf, size_t len,
		 struct fault *f)
{
	int fd = *(int *)ctx;
	struct run piece;
	size_t n = 0;

	while (n < len && runs_next(runs, at, len - n, &piece)) {
		uint64_t size = piece.end - piece.start;

		if (pread(fd, buf + n, size, piece.start) != (ssize_t)size)
			return fault(f, EIO, "read shared memory at offset %#" PRIx64, piece.start);
		n += size;
	}
	return n;
}

static int write_one(const struct shmem_seen *s, struct page_writer *w, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	struct page_source src = { fill, &fd };
	struct runs runs = { 0 };
	struct stat st;
	char path[80];
	int r = -1;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, s->pid, s->start,
		 s->end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fault(f, errno, "open the shared memory mapped by task %d at %#" PRIx64,
			     s->pid, s->start);
	if (find_data(fd, &runs) < 0)
		fault(f, errno, "find the data of the shared memory of task %d", s->pid);
	else
		r = pages_write(w, IMG_SHMEM_PAGEMAP, s->id, &runs, &src, f);
	w->shared_scanned += st.st_size / STASIS_PAGE;
	w->shared_written += runs_bytes(&runs) / STASIS_PAGE;
	free(runs.run);
	return r;
}

int shmems_write(const struct shmems *all, struct page_writer *w, struct fault *f)
{
	size_t i;

	for (i = 0; i < all->n; i++)
		if (write_one(&all->seen[i], w, f) < 0)
			return -1;
	return 0;
}
