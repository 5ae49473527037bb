/* SPDX-License-Identifier: MIT */
/*
 * tun.h - tun and tap devices.
 */
#ifndef STASIS_FILES_TUN_H
#define STASIS_FILES_TUN_H

#include "workers/files/type.h"

extern const struct file_type tun_type;

/* Up to max descriptors that decide whether persistent devices stay; returns how many. */
size_t tun_hand_over(struct files *fs, int *fds, size_t max);
/* How many of those there may be. */
size_t tun_count(const struct files *fs);

#endif
