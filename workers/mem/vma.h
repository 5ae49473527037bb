/* SPDX-License-Identifier: MIT */
/*
 * vma.h - how a mapping is described in the images: bits of VmaEntry.status and PagemapEntry.flags.
 */
#ifndef STASIS_MEM_VMA_H
#define STASIS_MEM_VMA_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/images/memory.pb-c.h"

enum vma_status {
	VMA_REGULAR = 1u << 0,
	VMA_STACK = 1u << 1,
	VMA_VSYSCALL = 1u << 2,
	VMA_VDSO = 1u << 3,
	VMA_HEAP = 1u << 5,
	VMA_FILE_PRIVATE = 1u << 6,
	VMA_FILE_SHARED = 1u << 7,
	VMA_ANON_SHARED = 1u << 8,
	VMA_ANON_PRIVATE = 1u << 9,
	VMA_SYSVIPC = 1u << 10,
	VMA_SOCKET = 1u << 11,
	VMA_VVAR = 1u << 12,
	VMA_AIORING = 1u << 13,
	VMA_MEMFD = 1u << 14,
	VMA_SHADOW_STACK = 1u << 15,
	VMA_GUARD = 1u << 16,		/* not a mapping: MADV_GUARD_INSTALL over this range */
	VMA_UPROBES = 1u << 17,
	VMA_PLUGIN = 1u << 27,
	VMA_UNSUPPORTED = 1u << 31, /* CRIU's note to itself; images have it beside VMA_PLUGIN */
};

enum page_flags {
	PAGE_IN_PARENT = 1u << 0,
	PAGE_LAZY = 1u << 1,
	PAGE_STORED = 1u << 2,		/* in pages-N.img */
};

/* The end of user addresses with four-level page tables; only [vsyscall] lies above it. */
#define USER_END 0x7ffffffff000ul

#define MAPPED_ID_FIRST 0x40000000u	/* ids of mapped files; descriptors count from 1 */

/* Absent from Debian 12's headers. */
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

static inline bool vma_is(const VmaEntry *e, uint32_t status)
{
	return (e->status & status) == status;
}

/* Has pages of its own: they are in pagemap-PID.img. */
static inline bool vma_is_private(const VmaEntry *e)
{
	return vma_is(e, VMA_REGULAR) && (e->status & (VMA_ANON_PRIVATE | VMA_FILE_PRIVATE)) &&
	       !(e->status & VMA_PLUGIN) && e->start < USER_END;
}

/* A System V segment; its shmid is the segment's id. */
static inline bool vma_is_sysv(const VmaEntry *e)
{
	return vma_is(e, VMA_REGULAR | VMA_ANON_SHARED | VMA_SYSVIPC);
}

/* Shared anonymous memory of the tree alone. */
static inline bool vma_is_shmem(const VmaEntry *e)
{
	return vma_is(e, VMA_ANON_SHARED) && !vma_is_sysv(e);
}

/* Memory of a device, which gpu maps. Its shmid is that of a file all the same. */
static inline bool vma_is_device(const VmaEntry *e)
{
	return vma_is(e, VMA_REGULAR | VMA_PLUGIN);
}

/* Refers by its shmid to a file that is mapped here. */
static inline bool vma_is_file(const VmaEntry *e)
{
	return vma_is(e, VMA_REGULAR) && (e->status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED)) &&
	       !(e->status & VMA_PLUGIN);
}

/* The ring of a context of asynchronous I/O: its pages are stored too. */
static inline bool vma_is_ring(const VmaEntry *e)
{
	return e->status == VMA_AIORING;
}

/*
 * The rings of a packet socket, which net maps. Its shmid is the socket's id; during a dump, its
 * inode.
 */
static inline bool vma_is_socket(const VmaEntry *e)
{
	return vma_is(e, VMA_REGULAR | VMA_SOCKET);
}

/* One of the areas that every kernel provides itself. */
static inline bool vma_is_special(const VmaEntry *e)
{
	return e->status & (VMA_VDSO | VMA_VVAR);
}

#endif
