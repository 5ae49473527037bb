/* SPDX-License-Identifier: MIT */
/*
 * maps.h - which buffer does a mapping of a device show, and through which file?
 */
#ifndef STASIS_AMDGPU_MAPS_H
#define STASIS_AMDGPU_MAPS_H

#include "workers/gpu/amdgpu/state.h"

struct map_index;

void map_index_free(struct map_index *x);

/* What a path in /proc/PID/maps is: kind, and minor of a render node. */
enum device_kind map_kind(const char *path, uint32_t *minor);
/* dump: does it show a buffer that is dumped? -1 with f naming the mapping. */
int map_check(struct amd *a, const DeviceMap *m, struct fault *f);
/* restore: where to map it. *fd is a duplicate, the caller's. -1 with f naming the mapping. */
int map_translate(struct amd *a, const DeviceMap *m, uint64_t *offset, int *fd, struct fault *f);

#endif
