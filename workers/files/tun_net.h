/* SPDX-License-Identifier: MIT */
/*
 * tun_net.h - what the network knows of a device: settings, addresses, routes.
 */
#ifndef STASIS_FILES_TUN_NET_H
#define STASIS_FILES_TUN_NET_H

#include "proto/control/fault.h"
#include "proto/images/files.pb-c.h"

/* Read them into an entry; tun_net_free releases what it filled. */
int tun_net_read(TunDevice *d, struct fault *f);
void tun_net_free(TunDevice *d);

/* Give a device made just now what the entry says. Names and sizes were checked. */
int tun_net_apply(const TunDevice *d, struct fault *f);

#endif
