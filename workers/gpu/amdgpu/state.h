/* SPDX-License-Identifier: MIT */
/*
 * state.h - what this driver knows of an operation: its files, and what they share.
 */
#ifndef STASIS_AMDGPU_STATE_H
#define STASIS_AMDGPU_STATE_H

#include <stdbool.h>

#include "proto/control/control.pb-c.h"
#include "proto/images/amdgpu.pb-c.h"
#include "workers/gpu/amdgpu/copy.h"
#include "workers/gpu/amdgpu/device.h"
#include "workers/gpu/amdgpu/match.h"
#include "workers/gpu/amdgpu/topology.h"
#include "workers/gpu/botable.h"
#include "workers/gpu/fdstore.h"

/* Handles up to this number are rebuilt: gaps below it are filled, a buffer each. */
#define HANDLE_MAX (1u << 20)

/* Where CRIU has the identity of a buffer: it has none. */
#define NO_HANDLE UINT32_MAX

/* What a number of a file's handle table holds while it is rebuilt. */
enum slot { SLOT_EMPTY, SLOT_FILLER, SLOT_OBJECT };

/* An open file. One of kfd, node, dmabuf is set, by kind; they are as in the images. */
struct amd_file {
	uint32_t id;			/* in files.img */
	enum device_kind kind;
	pid_t pid;			/* dump: as seen here; restore: of the images */
	char *name;			/* how a fault about it begins */
	int fd;				/* dump: a duplicate; restore: what was made. -1 */
	uint32_t minor;			/* of a render node, here */
	CriuKfd *kfd;
	CriuRenderNode *node;
	CriuDmabufNode *dmabuf;

	/* By buffer of kfd or node. */
	int *bo_fd; /* its dmabuf, until its contents are copied: this file is the owner; -1 */
	uint64_t *new_offset;		/* restore: for mmap */

	bool collected;			/* dump: all is known of it */
	/* restore */
	bool made;
	pid_t *users;			/* tasks that have a descriptor of it */
	size_t nusers;
	struct gpu_map map;
	struct amd_file *kfd_first;	/* a node whose address space that file's restore takes */
	size_t *order;			/* buffers of a node by handle */
	uint8_t *slot;			/* enum slot, by handle; NULL: not begun */
	uint32_t nslots;		/* highest handle */
	pid_t real_pid;			/* kfd: of the task, as seen here */
	bool resumed;
};

struct amd {
	struct device dev;
	int image_dir;			/* not ours */
	struct fdstore *store;		/* not ours */
	struct botable *table;		/* not ours */
	struct topology topo;
	struct match_switches switches;
	bool compress;			/* dump: asked for; set after op_begin */
	bool compressed;		/* dump: some contents are */
	struct copier *copier;
	struct copy_watch watch;	/* set after op_begin by who wants to know; else nobody */
	struct amd_file **file;
	size_t nfiles, files_cap;
	int kfd_major;
	bool version_checked;
	/* dump: mappings to be explained, files still to come */
	DeviceMap **map;
	size_t nmaps, maps_cap;
	size_t expected;
	bool elected;
	struct fault late;		/* of the election */
	struct around *around;		/* check: what the tree has */
	/* restore: where a mapping leads, made when first asked */
	struct map_index *maps;
};

struct amd_file *amd_file_find(struct amd *a, uint32_t id);
/* A new row; name is copied. */
struct amd_file *amd_file_add(struct amd *a, uint32_t id, enum device_kind kind, pid_t pid,
			      const char *name);
/* Closes and frees all that the operation held. The copier must be gone. */
void amd_clear(struct amd *a);

/* The number of buffers of a file, and the identity of one (0: it has none). */
size_t amd_bo_count(const struct amd_file *file);
uint64_t amd_bo_key(const struct amd_file *file, size_t i);

/* dump: the index for the contents of a buffer, the caller's; NULL: they stay plain. */
BoContents *amd_contents_new(struct amd *a, uint64_t size);

#endif
