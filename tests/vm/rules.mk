# SPDX-License-Identifier: MIT
# The virtual machine and the software GPU: `make check-vm`, `make softgpu`. Included from the Makefile.
# Another folder for the unpacked kernel than build/vm, shared by several trees: VM_CACHE=DIR.
VM_CACHE ?= build/vm
export VM_CACHE
SOFTGPU_SOURCES = $(wildcard tests/softgpu/module/*)

.PHONY: check-vm check-vm-all softgpu gpu-programs vm-deps
vm-deps:
	@tests/harness/deps.sh vm

$(VM_CACHE)/complete: tests/vm/kernel.sh | vm-deps
	tests/vm/kernel.sh $(VM_CACHE)

# kbuild writes beside the sources, so it gets copies.
build/softgpu/softgpu.ko: $(SOFTGPU_SOURCES) $(VM_CACHE)/complete
	@mkdir -p $(@D)
	cp -p $(SOFTGPU_SOURCES) $(@D)
	$(MAKE) -s -C $(VM_CACHE)/headers M=$(abspath $(@D)) CONFIG_DEBUG_INFO_BTF_MODULES= modules

softgpu: build/softgpu/softgpu.ko

# Programs that run in the machine: targets with the parts they share, and checks of the module itself.
GPU_PACKAGES = libdrm libdrm_amdgpu libhsakmt
GPU_SHARED = tests/softgpu/programs/target.c tests/softgpu/programs/amd.c
GPU_TARGETS = $(patsubst tests/softgpu/programs/%.c,build/softgpu/programs/%,\
	$(filter-out $(GPU_SHARED),$(wildcard tests/softgpu/programs/*.c)))

build/softgpu/programs/%: tests/softgpu/programs/%.c $(GPU_SHARED) $(wildcard tests/softgpu/programs/*.h) | vm-deps
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARN) -D_GNU_SOURCE -o $@ $< $(GPU_SHARED) -Wl,--as-needed \
		$$(pkg-config --cflags --libs $(GPU_PACKAGES))

gpu-programs: $(GPU_TARGETS)

# Debian's linux/kfd_ioctl.h wants drm/drm.h, which no package of it has: the kernel's own, after all others.
KERNEL_UAPI = $$(echo $(VM_CACHE)/root/usr/src/*-common)/include/uapi
CHECK_FLAGS = -std=gnu11 -O2 -g $(WARN) -D_GNU_SOURCE -D__user= -idirafter $(KERNEL_UAPI)
CHECK_SHARED = $(GPU_SHARED) tests/softgpu/checks/kfd_raw.c
CHECKS = $(patsubst %,build/softgpu/checks/%,criu calls node masked) build/softgpu/checks/abi build/softgpu/checks/abi-kernel

build/softgpu/checks/abi-kernel: tests/softgpu/checks/abi.c | $(VM_CACHE)/complete
	@mkdir -p $(@D)
	$(CC) $(CHECK_FLAGS) -DKERNEL_UAPI -iquote $(KERNEL_UAPI) -o $@ $<

build/softgpu/checks/abi: tests/softgpu/checks/abi.c | $(VM_CACHE)/complete
	@mkdir -p $(@D)
	$(CC) $(CHECK_FLAGS) -o $@ $< $$(pkg-config --cflags libdrm)

build/softgpu/checks/%: tests/softgpu/checks/%.c $(CHECK_SHARED) $(wildcard tests/softgpu/*/*.h) | $(VM_CACHE)/complete
	@mkdir -p $(@D)
	$(CC) $(CHECK_FLAGS) -o $@ $< $(CHECK_SHARED) -Wl,--as-needed \
		$$(pkg-config --cflags --libs $(GPU_PACKAGES))

gpu-programs: $(CHECKS)

# What needs another kernel than this machine's. Under 10 minutes with software emulation.
check-vm: all
	@mkdir -p build
	@tests/vm/check.sh

# Every position at which the device can fail and a process of ours be killed, instead of samples.
check-vm-all: all
	@mkdir -p build
	@tests/vm/check.sh --every
