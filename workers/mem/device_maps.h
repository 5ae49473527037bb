/* SPDX-License-Identifier: MIT */
/*
 * device_maps.h - mappings of devices: gpu knows what is in them, here they have a place.
 */
#ifndef STASIS_MEM_DEVICE_MAPS_H
#define STASIS_MEM_DEVICE_MAPS_H

#include "proto/control/control.pb-c.h"
#include "workers/mem/collect.h"
#include "workers/mem/maps.h"
#include "workers/mem/target.h"

/* Dump: one was found. refusal: what the dump fails with when nobody takes it. */
void device_maps_add(struct collection *all, pid_t pid, const struct map *m, const char *refusal);
/* Dump: those found since the last call, for a reply; the caller frees all. */
size_t device_maps_take(struct collection *all, DeviceMap ***list);
void device_maps_free(struct collection *all);

/* Restore: where gpu shall map them. */
void device_maps_places(const struct target *t, MemPrepared *out);

#endif
