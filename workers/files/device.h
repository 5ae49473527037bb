/* SPDX-License-Identifier: MIT */
/*
 * device.h - files of devices, as far as the files worker knows them: as descriptors with an id.
 */
#ifndef STASIS_FILES_DEVICE_H
#define STASIS_FILES_DEVICE_H

#include "proto/control/control.pb-c.h"
#include "workers/files/type.h"

/* In images only: on a dump the rows with `device` set are such files. */
extern const struct file_type device_type;

/* Dump: name a file of row t to the gpu worker; x->id is 0 before the freeze. */
void device_name(struct files *fs, const struct file_type *t, const struct facts *x);
/* Dump: the same, and write its entry. */
int device_dump(struct files *fs, const struct file_type *t, const struct facts *x,
		struct fault *f);
/* Dump: the entry of a device that is mapped is a path. */
int device_dump_mapped(struct files *fs, const struct facts *x, uint32_t flags, struct fault *f);
/* Dump: what was named since the last call, for a reply; the caller frees all. */
size_t device_found(struct files *fs, DeviceFile ***list);

/* Restore: the entries, with the descriptors that refer to them; the caller frees all. */
size_t device_entries(struct files *fs, DeviceEntry ***list);

#endif
