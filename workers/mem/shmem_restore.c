/* SPDX-License-Identifier: MIT */
/*
 * shmem_restore.c - restore: shared anonymous memory and memory files, each object made once, in
 * this worker.
 *
 * A shared anonymous mapping of our own is the object; map_files gives the descriptor by which
 * tasks map it. It looks there as it did: "/dev/zero (deleted)".
 * memfd.img may name the same object (by its shmid), when descriptors or private mappings of it
 * exist; true memfds are there only. Seals, owner and mode are the files worker's to set.
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
#include <unistd.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/hugetlb.h"
#include "workers/mem/vma.h"

static struct shmem *find(struct shmem_pool *pool, uint64_t id)
{
	size_t i;

	for (i = 0; i < pool->n; i++)
		if (pool->shmem[i].id == id)
			return &pool->shmem[i];
	return NULL;
}

static struct shmem *add(struct shmem_pool *pool, uint64_t id)
{
	struct shmem *s = grow(&pool->shmem, pool->n++, &pool->cap, sizeof(*s));

	*s = (struct shmem){ .id = id, .fd = -1 };
	return s;
}

static int load(struct shmem *s, int image_dir, struct fault *f)
{
	if (pagemap_load(image_dir, IMG_SHMEM_PAGEMAP, s->id, &s->stored, &s->pages, f) < 0)
		return -1;
	if (s->stored.n && s->size < s->stored.run[s->stored.n - 1].end)
		s->size = s->stored.run[s->stored.n - 1].end;
	return 0;
}

/* Shared anonymous memory that is opened too; otherwise a true memfd. */
static bool is_anonymous(const struct shmem *s)
{
	return !s->file || !strcmp(s->file->name, s->huge ? ANON_HUGE_NAME : "/dev/zero");
}

static int set_huge(struct shmem *s, const MemfdInodeEntry *e, struct fault *f)
{
	uint64_t page = hugetlb_page(e->hugetlb_flag);

	if (!e->has_hugetlb_flag)
		return 0;
	if ((e->hugetlb_flag & ~HUGETLB_SIZE_BITS) != MFD_HUGETLB || !page || e->size % page)
		return fault(f, -EBADMSG, "memfd.img: file %" PRIu64 ": size or page size is out "
			     "of range", e->inode_id);
	s->huge = MAP_HUGETLB | (e->hugetlb_flag & HUGETLB_SIZE_BITS);
	return 0;
}

/* The entry becomes the pool's. An empty file has no images of pages. */
static int add_file(struct shmem_pool *pool, MemfdInodeEntry *e, int image_dir, struct fault *f)
{
	struct shmem *s = find(pool, e->shmid);
	bool twice = s != NULL;

	s = add(pool, e->shmid);
	s->file = e;
	s->size = e->size;
	if (twice)
		return fault(f, -EBADMSG, "memfd.img: two files have the contents %u", e->shmid);
	if (set_huge(s, e, f) < 0)
		return -1;
	if (e->size > USER_END)
		return fault(f, -EBADMSG, "memfd.img: file %" PRIu64 ": size is out of range",
			     e->inode_id);
	if (!e->size)
		return 0;
	if (load(s, image_dir, f) < 0)
		return -1;
	if (s->size > ((e->size + STASIS_PAGE - 1) & -STASIS_PAGE))
		return fault(f, -EBADMSG, "pagemap-shmem-%u.img: pages beyond the end of the file",
			     e->shmid);
	s->size = e->size;
	return 0;
}

int shmem_pool_files(struct shmem_pool *pool, int image_dir, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	ProtobufCMessage *msg;
	int r;

	img = image_open_optional(image_dir, IMG_MEMFD_INODE, 0, f);
	if (!img)
		return f->code ? -1 : 0;
	while ((r = image_read(img, &msg, f)) > 0)
		if (add_file(pool, (MemfdInodeEntry *)msg, image_dir, f) < 0)
			return -1;
	return r;
}

int shmem_pool_add(struct shmem_pool *pool, const struct target *t, int image_dir, struct fault *f)
{
	struct shmem *s;
	uint64_t end;
	size_t i;

	for (i = 0; i < t->n; i++) {
		const VmaEntry *e = t->vma[i];

		if (!vma_is_shmem(e))
			continue;
		s = find(pool, e->shmid);
		if (!s) {
			s = add(pool, e->shmid);
			s->huge = e->flags & (MAP_HUGETLB | HUGETLB_SIZE_BITS);
			if (load(s, image_dir, f) < 0)
				return -1;
		}
		if (s->huge != (e->flags & (MAP_HUGETLB | HUGETLB_SIZE_BITS)))
			return fault(f, -EBADMSG, "mm-%d.img: mapping %" PRIx64 "-%" PRIx64
				     ": another page size than its object's", t->pid, e->start,
				     e->end);
		end = e->pgoff + e->end - e->start;
		if (end > USER_END)
			return fault(f, -EBADMSG, "mm-%d.img: mapping %" PRIx64 "-%" PRIx64
				     ": pgoff is out of range", t->pid, e->start, e->end);
		if (is_anonymous(s) && s->size < end)
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
		if (pool->shmem[i].file)
			memfd_inode_entry__free_unpacked(pool->shmem[i].file, NULL);
	}
	free(pool->shmem);
	*pool = (struct shmem_pool){ 0 };
}

/*
 * hugetlbfs knows no write(). The pages are allocated first: where there are too few, an access
 * would be a SIGBUS.
 */
static int copy_huge(const struct shmem *s, char *map, struct fault *f)
{
	const struct stored *r;
	size_t i;

	for (i = 0; i < s->stored.n; i++) {
		r = &s->stored.run[i];
		if (fallocate(s->fd, 0, r->start, r->end - r->start) < 0)
			return fault(f, errno, "allocate huge pages for shared memory %" PRIu64
				     " (raise /proc/sys/vm/nr_hugepages?)", s->id);
		memcpy(map + r->start, s->pages.data + r->offset, r->end - r->start);
	}
	return 0;
}

static int write_huge(const struct shmem *s, struct fault *f)
{
	char *map;
	int r;

	if (!s->size)
		return 0;
	if (s->file && ftruncate(s->fd, s->size) < 0)
		return fault(f, errno, "give shared memory its %" PRIu64 " bytes", s->size);
	map = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->fd, 0);
	if (map == MAP_FAILED)
		return fault(f, errno, "map the shared memory %" PRIu64 " of huge pages", s->id);
	r = copy_huge(s, map, f);
	munmap(map, s->size);
	return r;
}

static int write_contents(const struct shmem *s, struct fault *f)
{
	const struct stored *r;
	uint64_t done;
	ssize_t n;
	size_t i;

	if (s->huge)
		return write_huge(s, f);
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

static int make_anonymous(struct shmem *s, struct fault *f)
{
	char path[80];
	char *map;

	/* NORESERVE: the object is as large as an attacker's image says, its pages come when
	 * written. */
	map = mmap(NULL, s->size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | s->huge, -1, 0);
	if (map == MAP_FAILED)
		return fault(f, errno, "make shared memory of %" PRIu64 " bytes", s->size);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)map,
		 ((unsigned long)map + s->size + STASIS_PAGE - 1) & -STASIS_PAGE);
	s->fd = open(path, O_RDWR | O_CLOEXEC);
	if (s->fd < 0)
		fault(f, errno, "open shared memory through %s", path);
	munmap(map, s->size);
	return s->fd < 0 ? -1 : 0;
}

static int make_memfd(struct shmem *s, struct fault *f)
{
	unsigned flags = s->file->seals == F_SEAL_SEAL ? 0 : MFD_ALLOW_SEALING;

	if (s->huge)
		flags |= MFD_HUGETLB | (s->huge & HUGETLB_SIZE_BITS);
	s->fd = memfd_create(s->file->name, flags | MFD_CLOEXEC);
	if (s->fd < 0)
		return fault(f, errno, "make the memory file \"%s\"", s->file->name);
	return 0;
}

int shmem_open(struct shmem_pool *pool, uint64_t id, struct fault *f)
{
	struct shmem *s = find(pool, id);
	int r;

	if (!s)
		die("the shared memory %" PRIu64 " was not prepared", id);
	if (s->fd >= 0)
		return s->fd;
	r = is_anonymous(s) && s->size ? make_anonymous(s, f) : make_memfd(s, f);
	if (r < 0 || write_contents(s, f) < 0)
		return -1;
	/* The last page of contents may reach beyond the end. */
	if (s->file && ftruncate(s->fd, s->size) < 0)
		return fault(f, errno, "give shared memory its %" PRIu64 " bytes", s->size);
	pages_image_close(&s->pages);
	return s->fd;
}
