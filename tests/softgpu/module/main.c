// SPDX-License-Identifier: GPL-2.0
/*
 * main.c - the module: its parameters, and the order of setting up.
 *
 * One GPU is added per "gpus"; arrays give what differs among them, in order. A short array
 * repeats its last value for the topology's numbers; gpu_ids not given are counted up from
 * gpu_id_base.
 */
#include "softgpu.h"

#include <linux/module.h>

struct softgpu_settings softgpu = { .gpus = 1, .level = 618, .strict = 1 };
struct softgpu_counters softgpu_count;

module_param_named(gpus, softgpu.gpus, uint, 0444);
MODULE_PARM_DESC(gpus, "number of GPUs (0 to 64; default 1)");
module_param_named(level, softgpu.level, uint, 0644);
MODULE_PARM_DESC(level, "kernel generation: 612 lacks GEM_LIST_HANDLES and mapping query, 618 has "
			"both (default); at 701 the query is "
			"ENOENT where nothing is mapped");
module_param_named(strict, softgpu.strict, uint, 0644);
MODULE_PARM_DESC(strict,
		 "1: a copy may not leave its mappings by a byte (default); 0: its last byte may");
module_param_named(fail_mode, softgpu.fail_mode, uint, 0644);
MODULE_PARM_DESC(
	fail_mode,
	"a bad copy shows 0: at submission (EFAULT), 1: in WAIT_CS (ETIME), 2: by never ending");
module_param_named(slow_us, softgpu.slow_us, uint, 0644);
MODULE_PARM_DESC(slow_us, "microseconds that every 64 KiB of a copy take in addition");
module_param_named(release_ms, softgpu.release_ms, uint, 0644);
MODULE_PARM_DESC(release_ms, "milliseconds that a KFD process outlives its mm");

static unsigned int gpu_id_base = 0x1a01, minor_base = 128;
module_param(gpu_id_base, uint, 0444);
MODULE_PARM_DESC(gpu_id_base, "gpu_id of the first GPU; the next are counted up (default 0x1a01)");
module_param(minor_base, uint, 0444);
MODULE_PARM_DESC(minor_base, "minor of the first render node (default 128)");

static unsigned int gpu_ids[SOFTGPU_MAX], vram_mb[SOFTGPU_MAX], hives[SOFTGPU_MAX],
	simd_counts[SOFTGPU_MAX], fw_versions[SOFTGPU_MAX];
static int n_ids, n_vram, n_hives, n_simd, n_fw;
module_param_array(gpu_ids, uint, &n_ids, 0444);
MODULE_PARM_DESC(gpu_ids, "gpu_id of each GPU, 1 to 65535");
module_param_array(vram_mb, uint, &n_vram, 0444);
MODULE_PARM_DESC(vram_mb, "device memory of each GPU in MiB; more is ENOMEM (default 4096)");
module_param_array(hives, uint, &n_hives, 0444);
MODULE_PARM_DESC(
	hives,
	"XGMI hive of each GPU; those of one hive are linked with each other (default 0: none)");
module_param_array(simd_counts, uint, &n_simd, 0444);
MODULE_PARM_DESC(simd_counts, "simd_count of each GPU in the topology (default 240)");
module_param_array(fw_versions, uint, &n_fw, 0444);
MODULE_PARM_DESC(fw_versions, "fw_version of each GPU in the topology (default 455)");

static char *faults;
module_param(faults, charp, 0444);
MODULE_PARM_DESC(faults,
		 "injected failures, as in debugfs softgpu/faults: KIND.NR[.OP]:N:ERRNO,...");

static unsigned int nth(const unsigned int *values, int n, int i, unsigned int otherwise)
{
	return n == 0 ? otherwise : values[min(i, n - 1)];
}

/* Fill what the parameters say of GPU number dev->index. */
void softgpu_describe(struct softgpu_dev *dev)
{
	int i = dev->index;

	dev->gpu_id = i < n_ids ? gpu_ids[i] : gpu_id_base + i;
	dev->vram_size = (u64)nth(vram_mb, n_vram, i, 4096) << 20;
	dev->hive = nth(hives, n_hives, i, 0);
	dev->simd_count = nth(simd_counts, n_simd, i, 240);
	dev->fw_version = nth(fw_versions, n_fw, i, 455);
}

static int __init softgpu_init(void)
{
	int r;

	if (softgpu.gpus > SOFTGPU_MAX || minor_base < 128 || minor_base + softgpu.gpus > 256)
		return -EINVAL;
	softgpu_bo_init();
	r = softgpu_debug_init(faults);
	if (r)
		return r;
	r = softgpu_devices_add(minor_base);
	if (r)
		goto no_debug;
	r = kfd_init();
	if (r)
		goto no_devices;
	return 0;
no_devices:
	softgpu_devices_remove();
no_debug:
	softgpu_debug_exit();
	return r;
}

static void __exit softgpu_exit(void)
{
	kfd_exit();
	softgpu_devices_remove();
	softgpu_debug_exit();
}

module_init(softgpu_init);
module_exit(softgpu_exit);
MODULE_DESCRIPTION("software AMD GPU for tests of checkpoint and restore");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS(DMA_BUF);
