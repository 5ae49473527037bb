// SPDX-License-Identifier: GPL-2.0
/*
 * topology.c - /sys/class/kfd/kfd/topology: one CPU node, then one node per GPU, as text "name
 * value".
 *
 * The tree is described by a list of directories and one of files, made when the module loads;
 * the counts in "properties" equal the numbers of subdirectories, which libhsakmt relies on.
 * Every GPU has a PCIe link to the CPU and XGMI links to the other GPUs of its hive.
 */
#include "softgpu.h"

#include <linux/slab.h>
#include <linux/sysfs.h>
#include <linux/kobject.h>

#define LINK_PCIE 2
#define LINK_XGMI 11

/* A file with fixed contents; one of a GPU's node is for those who may use the GPU. */
struct text {
	struct kobj_attribute attr;
	struct softgpu_dev *dev;
	struct list_head in;
	char *contents;
};

struct dir {
	struct kobject kobj;
	struct list_head in;
};

static LIST_HEAD(texts);
static LIST_HEAD(dirs);		/* children before their parents */

static void dir_release(struct kobject *kobj)
{
	kfree(container_of(kobj, struct dir, kobj));
}

static const struct kobj_type dir_type = {
	.release = dir_release,
	.sysfs_ops = &kobj_sysfs_ops,
};

static struct kobject *dir_add(struct kobject *parent, const char *name)
{
	struct dir *dir;

	if (!parent)
		return NULL;
	dir = kzalloc(sizeof(*dir), GFP_KERNEL);
	if (!dir)
		return NULL;
	if (kobject_init_and_add(&dir->kobj, &dir_type, parent, "%s", name)) {
		kobject_put(&dir->kobj);
		return NULL;
	}
	list_add(&dir->in, &dirs);
	return &dir->kobj;
}

static struct kobject *dir_add_nr(struct kobject *parent, unsigned int nr)
{
	char name[12];

	snprintf(name, sizeof(name), "%u", nr);
	return dir_add(parent, name);
}

static ssize_t text_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	struct text *text = container_of(attr, struct text, attr);

	if (text->dev && !softgpu_permitted(text->dev))
		return -EPERM;
	return sysfs_emit(buf, "%s", text->contents);
}

/* Takes over contents, which may be NULL after a failed allocation. */
static int text_add(struct kobject *kobj, const char *name, struct softgpu_dev *dev, char *contents)
{
	struct text *text = kzalloc(sizeof(*text), GFP_KERNEL);

	if (!text || !kobj || !contents) {
		kfree(text);
		kfree(contents);
		return -ENOMEM;
	}
	text->contents = contents;
	text->dev = dev;
	sysfs_attr_init(&text->attr.attr);
	text->attr.attr.name = name;
	text->attr.attr.mode = 0444;
	text->attr.show = text_show;
	list_add(&text->in, &texts);
	return sysfs_create_file(kobj, &text->attr.attr);
}

static char *format(const char *fmt, ...)
{
	va_list args;
	char *text;

	va_start(args, fmt);
	text = kvasprintf(GFP_KERNEL, fmt, args);
	va_end(args);
	return text;
}

static unsigned int gpu_links(const struct softgpu_dev *dev)
{
	unsigned int n = 1, i;

	for (i = 0; i < softgpu.gpus; i++)
		n += dev->hive && i != dev->index && softgpu_devs[i]->hive == dev->hive;
	return n;
}

static int add_bank(struct kobject *node, struct softgpu_dev *dev, int heap, u64 size)
{
	struct kobject *bank = dir_add(dir_add(node, "mem_banks"), "0");

	return text_add(
		bank, "properties", dev,
		format("heap_type %d\nsize_in_bytes %llu\nflags 0\nwidth %d\nmem_clk_max 1000\n",
		       heap, size, heap ? 4096 : 64));
}

static int add_link(struct kobject *links, struct softgpu_dev *dev, unsigned int nr, int type,
		    unsigned int from, unsigned int to)
{
	return text_add(
		dir_add_nr(links, nr), "properties", dev,
		format("type %d\nversion_major 0\nversion_minor 0\nnode_from %u\nnode_to "
		       "%u\nweight %d\n"
		       "min_latency 0\nmax_latency 0\nmin_bandwidth 312\nmax_bandwidth 2048\n"
		       "recommended_transfer_size 0\nrecommended_sdma_engine_id_mask 0\nflags %d\n",
		       type, from, to, type == LINK_XGMI ? 15 : 20, type == LINK_XGMI ? 1 : 0));
}

static int add_links(struct kobject *node, struct softgpu_dev *dev)
{
	struct kobject *links = dir_add(node, "io_links");
	unsigned int n = 0, i;
	int r;

	r = add_link(links, dev, n++, LINK_PCIE, dev->index + 1, 0);
	for (i = 0; i < softgpu.gpus && r == 0; i++)
		if (dev->hive && i != dev->index && softgpu_devs[i]->hive == dev->hive)
			r = add_link(links, dev, n++, LINK_XGMI, dev->index + 1, i + 1);
	return r;
}

/* The files of a node: of a GPU, or of the processors (dev NULL). Takes over properties. */
static int add_texts(struct kobject *node, struct softgpu_dev *dev, const char *name,
		     char *properties)
{
	int r = text_add(node, "properties", dev, properties);

	if (r == 0)
		r = text_add(node, "gpu_id", dev, format("%u\n", dev ? dev->gpu_id : 0));
	return r ? r : text_add(node, "name", dev, format("%s\n", name));
}

static int add_gpu(struct kobject *nodes, struct softgpu_dev *dev)
{
	struct kobject *node = dir_add_nr(nodes, dev->index + 1);
	int r;

	r = add_texts(node, dev, "vega20",
		      format("cpu_cores_count 0\nsimd_count %u\nmem_banks_count "
			     "1\ncaches_count 0\nio_links_count %u\n"
			     "p2p_links_count 0\ncpu_core_id_base 0\nsimd_id_base "
			     "2147487744\nmax_waves_per_simd 10\n"
			     "lds_size_in_kb 64\ngds_size_in_kb 0\nnum_gws "
			     "64\nwave_front_size 64\narray_count 4\n"
			     "simd_arrays_per_engine 1\ncu_per_simd_array 16\nsimd_per_cu "
			     "4\nmax_slots_scratch_cu 32\n"
			     "gfx_target_version 90006\nvendor_id 4098\ndevice_id "
			     "26273\nlocation_id %u\ndomain 0\n"
			     "drm_render_minor %d\nhive_id %u\nnum_sdma_engines "
			     "2\nnum_sdma_xgmi_engines 0\n"
			     "num_sdma_queues_per_engine 8\nnum_cp_queues "
			     "24\nmax_engine_clk_fcompute 1725\n"
			     "local_mem_size 0\nfw_version %u\ncapability "
			     "745480832\nsdma_fw_version 145\n"
			     "unique_id %u\nnum_xcc 1\nmax_engine_clk_ccompute 3000\n",
			     dev->simd_count, gpu_links(dev), (dev->index + 1) << 8,
			     dev->drm.render->index, dev->hive, dev->fw_version,
			     dev->gpu_id));
	if (r == 0)
		r = add_bank(node, dev, 1, dev->vram_size);
	if (r == 0)
		r = add_links(node, dev);
	if (r == 0 && !(dir_add(node, "caches") && dir_add(node, "p2p_links")))
		r = -ENOMEM;
	return r;
}

static int add_cpu(struct kobject *nodes)
{
	struct kobject *node = dir_add(nodes, "0"), *links;
	unsigned int i;
	int r;

	r = add_texts(node, NULL, "",
		      format("cpu_cores_count %u\nsimd_count 0\nmem_banks_count "
			     "1\ncaches_count 0\nio_links_count %u\n"
			     "p2p_links_count 0\ncpu_core_id_base 0\nsimd_id_base "
			     "0\nmax_waves_per_simd 0\n"
			     "lds_size_in_kb 0\ngds_size_in_kb 0\nnum_gws "
			     "0\nwave_front_size 0\narray_count 0\n"
			     "simd_arrays_per_engine 0\ncu_per_simd_array 0\nsimd_per_cu "
			     "0\nmax_slots_scratch_cu 0\n"
			     "gfx_target_version 0\nvendor_id 0\ndevice_id 0\nlocation_id "
			     "0\ndomain 0\n"
			     "drm_render_minor 0\nhive_id 0\nnum_sdma_engines "
			     "0\nnum_sdma_xgmi_engines 0\n"
			     "num_sdma_queues_per_engine 0\nnum_cp_queues "
			     "0\nmax_engine_clk_ccompute 3000\n",
			     num_online_cpus(), softgpu.gpus));
	if (r == 0)
		r = add_bank(node, NULL, 0, (u64)totalram_pages() << PAGE_SHIFT);
	links = dir_add(node, "io_links");
	for (i = 0; i < softgpu.gpus && r == 0; i++)
		r = add_link(links, NULL, i, LINK_PCIE, 0, i + 1);
	if (r == 0 && !(dir_add(node, "caches") && dir_add(node, "p2p_links")))
		r = -ENOMEM;
	return r;
}

int softgpu_topology_add(struct kobject *parent)
{
	struct kobject *top = dir_add(parent, "topology"), *nodes;
	unsigned int i;
	int r;

	r = text_add(top, "generation_id", NULL, format("2\n"));
	if (r == 0)
		r = text_add(top, "system_properties", NULL, format(
			"platform_oem 0\nplatform_id 0\nplatform_rev 0\n"));
	nodes = dir_add(top, "nodes");
	if (r == 0)
		r = add_cpu(nodes);
	for (i = 0; i < softgpu.gpus && r == 0; i++)
		r = add_gpu(nodes, softgpu_devs[i]);
	if (r)
		softgpu_topology_remove();
	return r;
}

void softgpu_topology_remove(void)
{
	struct text *text, *t;
	struct dir *dir, *d;

	list_for_each_entry_safe(dir, d, &dirs, in) {
		list_del(&dir->in);
		kobject_del(&dir->kobj);
		kobject_put(&dir->kobj);
	}
	list_for_each_entry_safe(text, t, &texts, in) {
		list_del(&text->in);
		kfree(text->contents);
		kfree(text);
	}
}
