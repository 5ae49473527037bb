/* SPDX-License-Identifier: MIT */
/*
 * match.h - which GPU of this machine takes the place of which GPU of the dump.
 */
#ifndef STASIS_AMDGPU_MATCH_H
#define STASIS_AMDGPU_MATCH_H

#include "workers/gpu/amdgpu/topology.h"

/* What must be at least as good as it was; all true by default. Named as CRIU's environment
 * variables. */
struct match_switches {
	bool fw_version;	/* KFD_FW_VER_CHECK */
	bool sdma_fw_version;	/* KFD_SDMA_FW_VER_CHECK */
	bool caches;		/* KFD_CACHES_COUNT_CHECK */
	bool gws;		/* KFD_NUM_GWS_CHECK */
	bool vram_size;		/* KFD_VRAM_SIZE_CHECK */
	bool numa;		/* KFD_NUMA_CHECK */
	bool capability;	/* KFD_CAPABILITY_CHECK */
	uint64_t buffer_max; /* KFD_MAX_BUFFER_SIZE: bytes, K, M or G; 0: no bound of the user's */
};

struct gpu_place {
	uint32_t old_gpu_id, old_minor, old_actual_id;
	uint32_t new_gpu_id, new_minor;
};

struct gpu_map {
	struct gpu_place *place;
	size_t n;
};

/* From the environment; -1 with f set when a value is neither 0, NO, 1 nor YES (no size). */
int match_switches_read(struct match_switches *s, struct fault *f);

/*
 * Find a place for each GPU of src among those of dst. all: dst must not have more GPUs (KFD
 * restores a process only where it sees as many). -1 with f naming what does not fit. map_free
 * frees.
 */
int gpu_map_find(KfdDeviceEntry *const *src, size_t nsrc, const struct topology *dst,
		 const struct match_switches *s, bool all, struct gpu_map *map, struct fault *f);
const struct gpu_place *gpu_map_of(const struct gpu_map *map, uint32_t old_gpu_id);
void gpu_map_free(struct gpu_map *map);

#endif
