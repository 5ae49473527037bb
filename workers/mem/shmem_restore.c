/* SPDX-License-Identifier: MIT */
/*
 * shmem_restore.c - restore: shared anonymous memory, each object made once, in this worker.
 *
 * A shared anonymous mapping of our own is the object; map_files gives the descriptor by which
 * tasks map it. It looks there as it did: "/dev/zero (deleted)".
 *
 * Rights:   CAP_CHECKPOINT_RESTORE (map_files); the image directory.
 * Holds:    a descriptor per object in use.
 */
#include "workers/mem/shmem_restore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/mem/vma.h"

static struct shmem *find(struct shmem_pool *pool, uint64_t id)
{
	size_t i;

	for (i = 0; i < pool->n; i++)
		if (pool->shmem[i].id == id)
			return &pool->shmem[i];
	return NULL;
}

static int load(struct shmem_pool *pool, uint64_t id, int image_dir, struct shmem **out,
		struct fault *f)
{
	struct shmem *s = grow(&pool->shmem, pool->n++, &pool->cap, sizeof(*s));

	s->id = id;
	s->fd = -1;
	*out = s;
	if (pagemap_load(image_dir, IMG_SHMEM_PAGEMAP, id, &s->stored, &s->pages, f) < 0)
		return -1;
	if (s->stored.n)
		s->size = s->stored.run[s->stored.n - 1].end;
	return 0;
}

int shmem_pool_add(struct shmem_pool *pool, const struct target *t, int image_dir, struct fault *f)
{
	struct shmem *s;
	uint64_t end;
	size_t i;

	for (i = 0; i < t->n; i++) {
		const VmaEntry *e = t->vma[i];

		if (!vma_is(e, VMA_ANON_SHARED))
			continue;
		s = find(pool, e->shmid);
		if (!s && load(pool, e->shmid, image_dir, &s, f) < 0)
			return -1;
		end = e->pgoff + e->end - e->start;
		if (end > USER_END)
			return fault(f, -EBADMSG, "mm-%d.img: mapping %" PRIx64 "-%" PRIx64
				     ": pgoff is out of range", t->pid, e->start, e->end);
		if (s->size < end)
			s->size = end;
	}
	return 0;
}

void shmem_pool_free(struct shmem_pool *pool)
{
	size_t i;

	for (i = 0; i < pool->n; i++) {
		free(pool->shmem[i].stored.run);
		pages_image_close(&pool->shmem[i].pages);
		auto_close(&pool->shmem[i].fd);
	}
	free(pool->shmem);
	*pool = (struct shmem_pool){ 0 };
}

static int write_contents(const struct shmem *s, struct fault *f)
{
	const struct stored *r;
	uint64_t done;
	ssize_t n;
	size_t i;

	for (i = 0; i < s->stored.n; i++) {
		r = &s->stored.run[i];
		for (done = 0; done < r->end - r->start; done += n) {
			n = pwrite(s->fd, s->pages.data + r->offset + done,
				   r->end - r->start - done, r->start + done);
			if (n <= 0)
				return fault(f, errno, "write the shared memory %" PRIu64, s->id);
		}
	}
	return 0;
}

int shmem_open(struct shmem_pool *pool, uint64_t id, struct fault *f)
{
	struct shmem *s = find(pool, id);
	char path[80];
	char *map;

	if (!s)
		die("the shared memory %" PRIu64 " was not prepared", id);
	if (s->fd >= 0)
		return s->fd;
	/* NORESERVE: the object is as large as an attacker's image says, its pages come when
	 * written. */
	map = mmap(NULL, s->size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return fault(f, errno, "make shared memory of %" PRIu64 " bytes", s->size);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)map,
		 (unsigned long)map + s->size);
	s->fd = open(path, O_RDWR | O_CLOEXEC);
	if (s->fd < 0)
		fault(f, errno, "open shared memory through %s", path);
	munmap(map, s->size);
	if (s->fd < 0 || write_contents(s, f) < 0)
		return -1;
	pages_image_close(&s->pages);
	return s->fd;
}
