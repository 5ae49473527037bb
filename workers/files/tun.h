/* SPDX-License-Identifier: MIT */
/*
 * tun.h - tun and tap devices.
 */
#ifndef STASIS_FILES_TUN_H
#define STASIS_FILES_TUN_H

#include "workers/files/type.h"

extern const struct file_type tun_type;

/* The restore has succeeded: devices that were persistent are so again. */
int tun_keep(struct files *fs, struct fault *f);
/* Is there such a device? Then tun_keep is due. */
bool tun_any_persistent(const struct files *fs);

#endif
