/* SPDX-License-Identifier: MIT */
/*
 * adopt.c - restore: shared anonymous memory in the form CRIU 4.2 writes it.
 *
 * CRIU sees that shared anonymous memory and memfds live on the same internal tmpfs and writes
 * both as memfds; the former have the name "/dev/zero", or "/anon_hugepage".
 *
 * Rights:   the image directory.
 * Holds:    the table of such files, until adoption_free.
 */
#include "workers/mem/adopt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/control/util.h"
#include "proto/images/files.pb-c.h"
#include "proto/images/image.h"
#include "workers/common/hugetlb.h"
#include "workers/mem/vma.h"

static void add_file(struct adoption *a, const FileEntry *e)
{
	struct adopted *file;

	if (e->type != FD_TYPES__MEMFD || !e->memfd)
		return;
	file = grow(&a->file, a->n++, &a->cap, sizeof(*file));
	file->file_id = e->id;
	file->inode_id = e->memfd->inode_id;
}

static void add_inode(struct adoption *a, const MemfdInodeEntry *e)
{
	size_t i;

	if (strcmp(e->name, e->has_hugetlb_flag ? ANON_HUGE_NAME : "/dev/zero"))
		return;
	for (i = 0; i < a->n; i++)
		if (a->file[i].inode_id == e->inode_id)
			a->file[i].shmid = e->shmid;
}

static int load(struct adoption *a, int image_dir, enum img_type type, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	ProtobufCMessage *msg;
	int r;

	img = image_open(image_dir, type, 0, f);
	if (!img)
		return -1;
	while ((r = image_read(img, &msg, f)) > 0) {
		if (type == IMG_FILES)
			add_file(a, (FileEntry *)msg);
		else
			add_inode(a, (MemfdInodeEntry *)msg);
		protobuf_c_message_free_unpacked(msg, NULL);
	}
	return r;
}

int adopt_vma(struct adoption *a, int image_dir, VmaEntry *e, struct fault *f)
{
	size_t i;

	if (!vma_is(e, VMA_MEMFD | VMA_FILE_SHARED))
		return 0;
	if (!a->loaded) {
		if (load(a, image_dir, IMG_FILES, f) < 0 ||
		    load(a, image_dir, IMG_MEMFD_INODE, f) < 0)
			return -1;
		a->loaded = true;
	}
	for (i = 0; i < a->n; i++) {
		if (a->file[i].file_id != e->shmid || !a->file[i].shmid)
			continue;
		e->status = (e->status & ~(VMA_MEMFD | VMA_FILE_SHARED)) | VMA_ANON_SHARED;
		e->flags |= MAP_ANONYMOUS;
		e->shmid = a->file[i].shmid;
		e->has_fdflags = false;
		e->fdflags = 0;
		break;
	}
	return 0;
}

void adoption_free(struct adoption *a)
{
	free(a->file);
	*a = (struct adoption){ 0 };
}
