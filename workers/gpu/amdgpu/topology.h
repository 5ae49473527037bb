/* SPDX-License-Identifier: MIT */
/*
 * topology.h - the nodes of a machine (processors and GPUs) and their links, as KFD shows them in
 * sysfs.
 */
#ifndef STASIS_AMDGPU_TOPOLOGY_H
#define STASIS_AMDGPU_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/images/amdgpu.pb-c.h"
#include "workers/gpu/amdgpu/device.h"

#define TOPOLOGY_ROOT "/sys/class/kfd/kfd/topology"
#define LINK_PCIE 2u
#define LINK_XGMI 11u
#define TOPOLOGY_NODES_MAX 1024

/* Ordered by node id. The entries are messages: protobuf_c_message_free_unpacked. */
struct topology {
	KfdDeviceEntry **node;
	size_t n;
};

/* The lines of a node's properties that are kept: 32 bits each. The last row is empty. */
struct node_property {
	const char *name;		/* as in the sysfs and in the messages */
	size_t at;			/* in KfdDeviceEntry */
	bool must_match;		/* on the GPU that takes a GPU's place: match.c */
};

extern const struct node_property node_properties[];

/*
 * Read root (TOPOLOGY_ROOT, or a recorded tree). Nodes that may not be read (masked by a cgroup)
 * are left out, as are links to them. No such directory: no nodes.
 */
int topology_read(const struct device *d, const char *root, struct topology *t, struct fault *f);
void topology_free(struct topology *t);

bool node_is_gpu(const KfdDeviceEntry *e);
/* NULL: there is none. */
KfdDeviceEntry *topology_gpu(KfdDeviceEntry *const *node, size_t n, uint32_t gpu_id);
KfdDeviceEntry *topology_minor(KfdDeviceEntry *const *node, size_t n, uint32_t render_minor);
KfdDeviceEntry *topology_node(KfdDeviceEntry *const *node, size_t n, uint32_t node_id);

#endif
