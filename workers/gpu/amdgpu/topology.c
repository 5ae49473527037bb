/* SPDX-License-Identifier: MIT */
/*
 * topology.c - read /sys/class/kfd/kfd/topology.
 *
 * nodes/N/gpu_id (0: a processor), nodes/N/properties ("name value" lines),
 * nodes/N/mem_banks/K/properties and nodes/N/io_links/K/properties.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/gpu/amdgpu/topology.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/control/util.h"

#define TEXT 8192
#define PATH_SIZE 1024
#define HEAP_PUBLIC 1u
#define HEAP_PRIVATE 2u

const struct node_property node_properties[] = {
	{ "cpu_cores_count", offsetof(KfdDeviceEntry, cpu_cores_count), false },
	{ "simd_count", offsetof(KfdDeviceEntry, simd_count), true },
	{ "mem_banks_count", offsetof(KfdDeviceEntry, mem_banks_count), true },
	{ "caches_count", offsetof(KfdDeviceEntry, caches_count), false },
	{ "io_links_count", offsetof(KfdDeviceEntry, io_links_count), true },
	{ "max_waves_per_simd", offsetof(KfdDeviceEntry, max_waves_per_simd), true },
	{ "lds_size_in_kb", offsetof(KfdDeviceEntry, lds_size_in_kb), true },
	{ "num_gws", offsetof(KfdDeviceEntry, num_gws), false },
	{ "wave_front_size", offsetof(KfdDeviceEntry, wave_front_size), true },
	{ "array_count", offsetof(KfdDeviceEntry, array_count), true },
	{ "simd_arrays_per_engine", offsetof(KfdDeviceEntry, simd_arrays_per_engine), true },
	{ "cu_per_simd_array", offsetof(KfdDeviceEntry, cu_per_simd_array), true },
	{ "simd_per_cu", offsetof(KfdDeviceEntry, simd_per_cu), true },
	{ "max_slots_scratch_cu", offsetof(KfdDeviceEntry, max_slots_scratch_cu), true },
	{ "vendor_id", offsetof(KfdDeviceEntry, vendor_id), true },
	{ "device_id", offsetof(KfdDeviceEntry, device_id), true },
	{ "domain", offsetof(KfdDeviceEntry, domain), false },
	{ "drm_render_minor", offsetof(KfdDeviceEntry, drm_render_minor), false },
	{ "num_sdma_engines", offsetof(KfdDeviceEntry, num_sdma_engines), true },
	{ "num_sdma_xgmi_engines", offsetof(KfdDeviceEntry, num_sdma_xgmi_engines), true },
	{ "num_sdma_queues_per_engine", offsetof(KfdDeviceEntry, num_sdma_queues_per_engine),
	  true },
	{ "num_cp_queues", offsetof(KfdDeviceEntry, num_cp_queues), true },
	{ "fw_version", offsetof(KfdDeviceEntry, fw_version), false },
	{ "capability", offsetof(KfdDeviceEntry, capability), false },
	{ "sdma_fw_version", offsetof(KfdDeviceEntry, sdma_fw_version), false },
	{ 0 }
};

bool node_is_gpu(const KfdDeviceEntry *e)
{
	return e->gpu_id != 0;
}

KfdDeviceEntry *topology_gpu(KfdDeviceEntry *const *node, size_t n, uint32_t gpu_id)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (node_is_gpu(node[i]) && node[i]->gpu_id == gpu_id)
			return node[i];
	return NULL;
}

KfdDeviceEntry *topology_minor(KfdDeviceEntry *const *node, size_t n, uint32_t render_minor)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (node_is_gpu(node[i]) && node[i]->drm_render_minor == render_minor)
			return node[i];
	return NULL;
}

KfdDeviceEntry *topology_node(KfdDeviceEntry *const *node, size_t n, uint32_t node_id)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (node[i]->node_id == node_id)
			return node[i];
	return NULL;
}

void topology_free(struct topology *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		protobuf_c_message_free_unpacked(&t->node[i]->base, NULL);
	free(t->node);
	*t = (struct topology){ 0 };
}

/* The value of a "name value" line; false: there is none. */
static bool property(const char *text, const char *name, uint64_t *value)
{
	size_t n = strlen(name);

	for (; text && *text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL)
		if (strncmp(text, name, n) == 0 && text[n] == ' ')
			return sscanf(text + n, "%" SCNu64, value) == 1;
	return false;
}

static ssize_t read_file(const struct device *d, char *text, const char *dir, const char *name)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return d->ops->read_text(d->ctx, path, text, TEXT);
}

static void free_names(char **names, int n)
{
	while (n-- > 0)
		free(names[n]);
	free(names);
}

/* Did a cgroup keep us from reading, rather than a fault? */
static bool masked(void)
{
	return errno == EPERM || errno == EACCES || errno == ENOENT;
}

/* Call each for the properties of dir/sub/K. */
static int each_part(const struct device *d, const char *dir, const char *sub, KfdDeviceEntry *e,
		     void (*each)(KfdDeviceEntry *e, const char *text))
{
	char path[PATH_SIZE / 2], part[PATH_SIZE - 32], text[TEXT];
	char **names = NULL;
	int i, n, r = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, sub);
	n = d->ops->list(d->ctx, path, &names);
	for (i = 0; i < n && r == 0; i++) {
		snprintf(part, sizeof(part), "%s/%.256s", path, names[i]);
		if (read_file(d, text, part, "properties") > 0)
			each(e, text);
		else if (!masked())
			r = -1;
	}
	free_names(names, n);
	return n < 0 ? -1 : r;
}

static void add_bank(KfdDeviceEntry *e, const char *text)
{
	uint64_t heap = 0, size = 0;

	property(text, "heap_type", &heap);
	property(text, "size_in_bytes", &size);
	if ((heap != HEAP_PUBLIC && heap != HEAP_PRIVATE) || e->vram_size)
		return;
	e->vram_public = heap == HEAP_PUBLIC;
	e->vram_size = size;
}

static void add_link(KfdDeviceEntry *e, const char *text)
{
	uint64_t type = 0, to = 0;
	DevIolink *l;

	if (!property(text, "type", &type) || !property(text, "node_to", &to) ||
	    (type != LINK_PCIE && type != LINK_XGMI))
		return;
	l = xcalloc(1, sizeof(*l));
	dev_iolink__init(l);
	l->type = type;
	l->node_to_id = to;
	e->iolinks = xrealloc(e->iolinks, e->n_iolinks + 1, sizeof(*e->iolinks));
	e->iolinks[e->n_iolinks++] = l;
}

/* NULL without a fault: the node may not be seen. */
static KfdDeviceEntry *read_node(const struct device *d, const char *root, const char *name,
				 struct fault *f)
{
	char dir[PATH_SIZE / 4], text[TEXT];
	KfdDeviceEntry *e;
	const struct node_property *p;
	uint64_t value;

	snprintf(dir, sizeof(dir), "%.128s/nodes/%.64s", root, name);
	if (read_file(d, text, dir, "gpu_id") <= 0) {
		if (!masked())
			fault(f, errno, "read %s", dir);
		return NULL;
	}
	e = xcalloc(1, sizeof(*e));
	kfd_device_entry__init(e);
	e->node_id = strtoul(name, NULL, 10);
	e->gpu_id = strtoul(text, NULL, 10);
	if (read_file(d, text, dir, "properties") <= 0) {
		if (!masked())
			fault(f, errno, "read %s", dir);
		protobuf_c_message_free_unpacked(&e->base, NULL);
		return NULL;
	}
	for (p = node_properties; p->name; p++)
		if (property(text, p->name, &value))
			*(uint32_t *)((char *)e + p->at) = value;
	if (property(text, "hive_id", &value))
		e->hive_id = value;
	if (each_part(d, dir, "io_links", e, add_link) < 0 ||
	    (node_is_gpu(e) && each_part(d, dir, "mem_banks", e, add_bank) < 0)) {
		fault(f, errno, "read %s", dir);
		protobuf_c_message_free_unpacked(&e->base, NULL);
		return NULL;
	}
	return e;
}

static int by_node_id(const void *a, const void *b)
{
	const KfdDeviceEntry *x = *(KfdDeviceEntry *const *)a, *y = *(KfdDeviceEntry *const *)b;

	return x->node_id < y->node_id ? -1 : x->node_id > y->node_id;
}

/* Links to nodes that we do not see are none. */
static void drop_links(struct topology *t, KfdDeviceEntry *e)
{
	size_t i, n = 0;

	for (i = 0; i < e->n_iolinks; i++) {
		if (topology_node(t->node, t->n, e->iolinks[i]->node_to_id))
			e->iolinks[n++] = e->iolinks[i];
		else
			protobuf_c_message_free_unpacked(&e->iolinks[i]->base, NULL);
	}
	e->n_iolinks = n;
}

int topology_read(const struct device *d, const char *root, struct topology *t, struct fault *f)
{
	char path[PATH_SIZE / 4], **names = NULL;
	KfdDeviceEntry *e;
	size_t j;
	int i, n;

	*t = (struct topology){ 0 };
	snprintf(path, sizeof(path), "%.128s/nodes", root);
	n = d->ops->list(d->ctx, path, &names);
	if (n < 0)
		return errno == ENOENT ? 0 : fault(f, errno, "read %s", path);
	if (n > TOPOLOGY_NODES_MAX) {
		free_names(names, n);
		return fault(f, -E2BIG, "%s: %d nodes are too many", path, n);
	}
	t->node = xcalloc(n + 1, sizeof(*t->node));
	for (i = 0; i < n && !f->code; i++) {
		e = read_node(d, root, names[i], f);
		if (e)
			t->node[t->n++] = e;
	}
	free_names(names, n);
	if (f->code) {
		topology_free(t);
		return -1;
	}
	if (t->n)
		qsort(t->node, t->n, sizeof(*t->node), by_node_id);
	for (j = 0; j < t->n; j++)
		drop_links(t, t->node[j]);
	return 0;
}
