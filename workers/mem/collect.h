/* SPDX-License-Identifier: MIT */
/*
 * collect.h - dump: what a task's address space consists of.
 */
#ifndef STASIS_MEM_COLLECT_H
#define STASIS_MEM_COLLECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"
#include "proto/images/memory.pb-c.h"
#include "workers/mem/mapped.h"
#include "workers/mem/shmem_dump.h"

struct space_vma {
	VmaEntry e;
	bool alone;			/* no page of it is mapped elsewhere too */
	bool stub;			/* the stub lies in it */
};

struct space {
	pid_t pid, vpid;
	uint64_t region, region_end;	/* the agent's: left out */
	struct space_vma *vma;
	size_t n, cap;
	bool probed;			/* may have breakpoints of uprobes */
	uint64_t clean, clean_end;	/* where the stub lies: zeros in the image */
	MmEntry mm;			/* all but vmas and what is in MemTaskState */
	uint64_t auxv[44];
};

/* What one dump gathers over all its tasks. */
struct collection {
	struct mapped_files mapped;
	struct shmems shmems;
	struct shmems segments;		/* of System V */
	bool allow_uprobes, uprobes;	/* may be left out; were */
	bool sockets;			/* some are mapped */
	DeviceMap **device;		/* memory of devices: device_maps.h */
	size_t ndevices, devices_cap;
	dev_t shmem_dev;	/* where all shared memory without a name lives; 0: not known */
};

/* Fill *s (pid, vpid, region are set). What cannot be dumped is a fault that names the mapping. */
int collect_space(struct space *s, struct collection *all, struct fault *f);

/*
 * Of a running task: a mapping whose name tells that it cannot be dumped is a fault that names it.
 */
int collect_preflight(pid_t pid, struct collection *all, struct fault *f);

/* Append an entry with everything but the address range zero. */
VmaEntry *space_add(struct space *s, uint64_t start, uint64_t end);
void space_free(struct space *s);

#endif
