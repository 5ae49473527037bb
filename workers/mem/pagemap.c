/* SPDX-License-Identifier: MIT */
/*
 * pagemap.c - restore: read pagemap-*.img and map pages-N.img.
 *
 * A small pages image is read instead: a process has 65,530 mappings at most (vm.max_map_count),
 * and there may be a pages image for each of many small areas of shared memory.
 *
 * Rights:   the image directory.
 * Holds:    the mapping or the copy of the pages image, until pages_image_close.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/mem/target.h"
#include "workers/mem/vma.h"

#define READ_MAX (16 << 10)	/* bytes of a pages image; larger ones are mapped */

#define KNOWN_FLAGS (PAGE_IN_PARENT | PAGE_LAZY | PAGE_STORED)

static int bad(const struct image *img, size_t entry, struct fault *f, const char *what)
{
	return fault(f, -EBADMSG, "%s, entry %zu: %s", image_label(img), entry, what);
}

/* Old images have neither flags nor nr_pages. */
static int add_entry(const struct image *img, size_t n, const PagemapEntry *e,
		     struct stored_list *out, uint64_t *offset, struct fault *f)
{
	uint64_t pages = e->has_nr_pages && e->nr_pages ? e->nr_pages : e->compat_nr_pages;
	struct stored *last = out->n ? &out->run[out->n - 1] : NULL, *r;

	if (e->in_parent || (e->flags & PAGE_IN_PARENT))
		return fault(f, -ENOTSUP,
			     "%s, entry %zu: its pages are in a parent image, which cannot "
			     "be restored yet; dump without --prev-images-dir",
			     image_label(img), n);
	if (e->has_flags && (e->flags & ~KNOWN_FLAGS))
		return bad(img, n, f, "unknown flags");
	if (e->has_flags && !(e->flags & PAGE_STORED))
		return bad(img, n, f, "its pages are not in the image but on a page server "
				      "(dumped with --lazy-pages)");
	if (e->vaddr % STASIS_PAGE)
		return bad(img, n, f, "vaddr is not a page's");
	if (!pages || pages > (USER_END - STASIS_PAGE) / STASIS_PAGE ||
	    e->vaddr > USER_END - pages * STASIS_PAGE)
		return bad(img, n, f, "nr_pages is out of range");
	if (last && e->vaddr < last->end)
		return bad(img, n, f, "not in address order");
	r = grow(&out->run, out->n++, &out->cap, sizeof(*r));
	*r = (struct stored){ e->vaddr, e->vaddr + pages * STASIS_PAGE, *offset, 0 };
	*offset += pages * STASIS_PAGE;
	return 0;
}

static int read_entries(struct image *img, struct stored_list *out, struct pages_image *pages,
			uint64_t *size, struct fault *f)
{
	ProtobufCMessage *msg = NULL;
	size_t n = 1;
	int r;

	if (image_read_one(img, &msg, f) < 0)
		return -1;
	pages->id = ((PagemapHead *)msg)->pages_id;
	protobuf_c_message_free_unpacked(msg, NULL);
	while ((r = image_read(img, &msg, f)) > 0) {
		r = add_entry(img, n++, (PagemapEntry *)msg, out, size, f);
		protobuf_c_message_free_unpacked(msg, NULL);
		if (r < 0)
			break;
	}
	return r;
}

static int read_pages(int fd, uint64_t size, const char *name, struct pages_image *p,
		      struct fault *f)
{
	AUTO_FREE char *data = xcalloc(1, size);
	ssize_t n = read(fd, data, size);

	if (n < 0)
		return fault(f, errno, "read %s", name);
	if ((uint64_t)n != size)
		return fault(f, -EBADMSG, "%s has become shorter", name);
	p->data = take_ptr(&data);
	p->size = size;
	return 0;
}

static int map_pages(int image_dir, uint64_t size, struct pages_image *p, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	char name[64];
	struct stat st;
	void *data;

	image_name(IMG_PAGES, p->id, name, sizeof(name));
	fd = openat(image_dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fault(f, errno, "open %s", name);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
		return fault(f, -EBADMSG, "%s has %lld bytes, its pagemap says %" PRIu64, name,
			     (long long)st.st_size, size);
	if (!size)
		return 0;
	if (size <= READ_MAX)
		return read_pages(fd, size, name, p, f);
	data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return fault(f, errno, "map %s", name);
	p->data = data;
	p->size = size;
	return 0;
}

int pagemap_load(int image_dir, int type, uint64_t id, struct stored_list *out,
		 struct pages_image *pages, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	uint64_t size = 0;

	img = image_open(image_dir, type, id, f);
	if (!img || read_entries(img, out, pages, &size, f) < 0)
		return -1;
	return map_pages(image_dir, size, pages, f);
}

void pages_image_close(struct pages_image *p)
{
	if (p->data && p->size > READ_MAX)
		munmap((void *)p->data, p->size);
	else
		free((void *)p->data);
	p->data = NULL;
}
