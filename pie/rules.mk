# SPDX-License-Identifier: MIT
# The agent's blob. Include from the Makefile; link build/pie/agent_blob.o into
# every program that contains workers/common/gate_client.c.
PIE_ARCH := x86_64
PIE_CFLAGS := -std=gnu11 -O2 -I. -Wall -Wextra -Wshadow -Wmissing-prototypes -Werror \
	-ffreestanding -fPIE -mgeneral-regs-only -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-builtin -fvisibility=hidden -nostdlib
PIE_OBJS := build/pie/entry.o build/pie/agent.o

build/pie:
	@mkdir -p $@

build/pie/agent.o: pie/agent.c pie/arch/$(PIE_ARCH)/syscall.h pie/include/gate.h pie/rules.mk | build/pie
	$(CC) $(PIE_CFLAGS) -c -o $@ $<

build/pie/entry.o: pie/arch/$(PIE_ARCH)/entry.S pie/rules.mk | build/pie
	$(CC) $(PIE_CFLAGS) -c -o $@ $<

build/pie/agent.elf: $(PIE_OBJS) pie/agent.lds
	$(LD) -T pie/agent.lds --orphan-handling=error -o $@ $(PIE_OBJS)

build/pie/agent.bin: build/pie/agent.elf
	objcopy -O binary $< $@

# Symbols stasis_agent_blob and stasis_agent_blob_end.
build/pie/agent_blob.o: build/pie/agent.bin
	cd build/pie && $(LD) -r -b binary -z noexecstack -o agent_blob.tmp agent.bin
	objcopy --rename-section .data=.rodata,alloc,load,readonly,data,contents \
		--redefine-sym _binary_agent_bin_start=stasis_agent_blob \
		--redefine-sym _binary_agent_bin_end=stasis_agent_blob_end \
		--strip-symbol=_binary_agent_bin_size build/pie/agent_blob.tmp $@
