/* SPDX-License-Identifier: MIT */
/*
 * uapi.h - ioctls of DRM and amdgpu render nodes, of dmabufs, and the offsets of /dev/kfd: facts of
 * Linux, in our names. (KFD's own: proto/control/kfd_criu.h.)
 */
#ifndef STASIS_AMDGPU_UAPI_H
#define STASIS_AMDGPU_UAPI_H

#include <stdint.h>

#define DRM_MAJOR 226
#define DRM_RENDER_MINOR 128		/* the first */
#define DMABUF_FS 0x444d4142L		/* statfs f_type: DMA_BUF_MAGIC */

#define IOC_PRIME_EXPORT 0xc00c642dul	/* PRIME_HANDLE_TO_FD */
#define IOC_PRIME_IMPORT 0xc00c642eul	/* PRIME_FD_TO_HANDLE */
#define IOC_GEM_CLOSE 0x40086409ul
#define IOC_SYNCOBJ_QUERY 0xc01864cbul
#define IOC_GEM_CREATE 0xc0206440ul
#define IOC_GEM_MMAP 0xc0086441ul
#define IOC_CTX 0xc0106442ul
#define IOC_GEM_METADATA 0xc1206446ul
#define IOC_GEM_VA 0x40286448ul		/* the form before the sync fields, taken by every kernel */
#define IOC_GEM_OP 0xc0186450ul
#define IOC_GEM_LIST 0xc0106459ul	/* since 6.18 */
#define IOC_DMABUF_SYNC 0x40086200ul

struct u_prime {
	uint32_t handle, flags;		/* flags: O_CLOEXEC, O_RDWR */
	int32_t fd;
};

struct u_gem_close {
	uint32_t handle, pad;
};

union u_gem_create {
	struct {
		uint64_t size, alignment, domains, flags;
	} in;
	struct {
		uint32_t handle, pad;
	} out;
};

enum u_domain { U_DOMAIN_CPU = 1, U_DOMAIN_GTT = 2, U_DOMAIN_VRAM = 4 };

/* Those that are memory; the others are GDS, GWS, OA, doorbells. */
#define U_DOMAINS_OF_MEMORY (U_DOMAIN_CPU | U_DOMAIN_GTT | U_DOMAIN_VRAM)
/* Of buffers whose contents are kept. */
#define U_DOMAINS_KEPT (U_DOMAIN_GTT | U_DOMAIN_VRAM)

/* AMDGPU_GEM_CREATE_* */
enum u_create_flags {
	U_NO_CPU_ACCESS = 1u << 1,
	U_VM_ALWAYS_VALID = 1u << 6,
	U_ENCRYPTED = 1u << 10,
	U_CREATE_KNOWN = 0xffff,	/* bits 0 to 15 are defined in 6.18 */
};

union u_gem_mmap {
	struct {
		uint32_t handle, pad;
	} in;
	uint64_t offset;
};

enum u_va_op { U_VA_MAP = 1, U_VA_UNMAP = 2 };

struct u_gem_va {
	uint32_t handle, pad, operation, flags;
	uint64_t va, offset, size;
};

#define U_GEM_OP_MAPPINGS 2u		/* GET_MAPPING_INFO, since 6.18 */

struct u_gem_op {
	uint32_t handle, op;
	uint64_t value;			/* struct u_mapping[num_entries] */
	uint32_t num_entries, pad;
};

struct u_mapping {
	uint64_t va, size, offset, flags;
};

struct u_gem_list {
	uint64_t entries;		/* struct u_list_entry[num_entries] */
	uint32_t num_entries, pad;
};

enum u_list_flags { U_LIST_IMPORT = 1, U_LIST_USERPTR = 2 };

struct u_list_entry {
	uint32_t handle, flags;
	uint64_t size, domains, alloc_flags, alignment;
};

#define U_CTX_GET_PSTATE 5u		/* reads; EINVAL: no such context */
#define U_CTX_MAX 4096u			/* AMDGPU_VM_MAX_NUM_CTX */

union u_ctx {
	struct {
		uint32_t op, flags, ctx_id;
		int32_t priority;
	} in;
	uint64_t out[2];
};

#define U_METADATA_SET 1u
#define U_METADATA_GET 2u

struct u_metadata {
	uint32_t handle, op;
	uint64_t flags, tiling;
	uint32_t size, data[64];
	uint32_t pad;
};

struct u_syncobj_query {
	uint64_t handles, points;
	uint32_t count, flags;
};

enum u_sync { U_SYNC_READ = 1, U_SYNC_WRITE = 2, U_SYNC_END = 4 };

_Static_assert(sizeof(struct u_prime) == 12 && sizeof(union u_gem_create) == 32 &&
	       sizeof(union u_gem_mmap) == 8 && sizeof(struct u_gem_va) == 40 &&
	       sizeof(struct u_gem_op) == 24 && sizeof(struct u_gem_list) == 16 &&
	       sizeof(struct u_list_entry) == 40 && sizeof(union u_ctx) == 16 &&
	       sizeof(struct u_metadata) == 288 && sizeof(struct u_syncobj_query) == 24,
	       "as the kernel's");

/* Offsets of /dev/kfd for mmap: type in bits 63..62, id of the GPU in 61..46. */
#define KFD_OFFSET_GPU_SHIFT 46
#define KFD_OFFSET_GPU_MASK (0xffffull << KFD_OFFSET_GPU_SHIFT)

#endif
