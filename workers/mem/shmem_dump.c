/* SPDX-License-Identifier: MIT */
/*
 * shmem_dump.c - dump: shared anonymous memory and memory files (memfd), each object once.
 *
 * The object is opened through map_files of a task that maps it, or
 * through a descriptor. All its pages are stored, also
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
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/hugetlb.h"

#define HUGE_CHUNK (1ul << 20)

bool shmems_add(struct shmems *all, const struct shmem_seen *one)
{
	struct shmem_seen *s;
	size_t i;

	for (i = 0; i < all->n; i++)
		if (all->seen[i].id == one->id)
			return false;
	s = grow(&all->seen, all->n++, &all->cap, sizeof(*s));
	*s = *one;
	return true;
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

static bool is_zero(const char *page)
{
	return !*page && !memcmp(page, page + 1, STASIS_PAGE - 1);
}

/* hugetlbfs tells no holes: pages of zeros are taken for such. */
static int find_huge_data(int fd, off_t size, struct runs *runs)
{
	AUTO_FREE char *buf = xcalloc(1, HUGE_CHUNK);
	off_t at, i;
	ssize_t n;

	for (at = 0; at < size; at += n) {
		n = pread(fd, buf, HUGE_CHUNK, at) & -(ssize_t)STASIS_PAGE;
		if (n <= 0)
			return -1;
		for (i = 0; i < n; i += STASIS_PAGE)
			if (!is_zero(buf + i))
				runs_add(runs, (struct run){ .start = at + i,
							     .end = at + i + STASIS_PAGE });
	}
	return 0;
}

static long fill(void *ctx, const struct runs *runs, struct cursor *at, char *buf, size_t len,
		 struct fault *f)
{
	int fd = *(int *)ctx;
	struct run piece;
	size_t n = 0;
	ssize_t got;

	while (n < len && runs_next(runs, at, len - n, &piece)) {
		uint64_t size = piece.end - piece.start;

		got = pread(fd, buf + n, size, piece.start);
		if (got <= 0)
			return fault(f, got < 0 ? errno : EIO,
				     "read shared memory at offset %#" PRIx64, piece.start);
		memset(buf + n + got, 0, size - got);	/* a file need not end with a page */
		n += size;
	}
	return n;
}

static int write_object(uint64_t id, const char *path, struct page_writer *w, struct fault *f)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct page_source src = { fill, &fd };
	struct runs runs = { 0 };
	struct stat st;
	int r = -1;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fault(f, errno, "open the shared memory %s", path);
	if (!st.st_size)
		return 0;		/* no images of what is empty */
	if ((hugetlb_size_bits(st.st_dev) ? find_huge_data(fd, st.st_size, &runs) :
					    find_data(fd, &runs)) < 0)
		fault(f, errno, "find the data of the shared memory %s", path);
	else
		r = pages_write(w, IMG_SHMEM_PAGEMAP, id, &runs, &src, f);
	w->shared_scanned += (st.st_size + STASIS_PAGE - 1) / STASIS_PAGE;
	w->shared_written += runs_bytes(&runs) / STASIS_PAGE;
	free(runs.run);
	return r;
}

int shmems_write(const struct shmems *all, struct page_writer *w, struct fault *f)
{
	char path[80];
	size_t i;

	for (i = 0; i < all->n; i++) {
		const struct shmem_seen *s = &all->seen[i];

		snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, s->pid,
			 s->start, s->end);
		if (write_object(s->id, path, w, f) < 0)
			return -1;
	}
	return 0;
}

int shmem_write_file(struct shmems *all, const MemoryFile *m, struct page_writer *w,
		     struct fault *f)
{
	const struct shmem_seen seen = {
		.id = m->shmid, .pid = m->pid, .start = m->start, .end = m->end
	};
	char path[80];

	if (!shmems_add(all, &seen))
		return 0;
	if (m->has_fd)
		snprintf(path, sizeof(path), "/proc/%u/fd/%u", m->pid, m->fd);
	else if (m->has_start)
		snprintf(path, sizeof(path), "/proc/%u/map_files/%" PRIx64 "-%" PRIx64, m->pid,
			 m->start, m->end);
	else
		snprintf(path, sizeof(path), "/proc/%u/exe", m->pid);
	return write_object(m->shmid, path, w, f);
}
