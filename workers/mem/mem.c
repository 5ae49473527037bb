/* SPDX-License-Identifier: MIT */
/*
 * mem.c - the worker that owns address spaces: its messages and its rights.
 *
 * Rights:   CAP_SYS_PTRACE: read and write tasks' memory, smaps, pagemap, pidfd_getfd.
 *           CAP_CHECKPOINT_RESTORE: map_files. CAP_SYS_ADMIN: opening those on Linux before 5.9.
 *           CAP_DAC_READ_SEARCH: /proc of tasks of other users.
 *           CAP_IPC_OWNER, CAP_IPC_LOCK: System V segments.
 * Holds:    struct mem.
 */
#include "workers/mem/mem.h"

#include "proto/control/util.h"
#include "workers/mem/dump.h"
#include "workers/mem/restore.h"
#include "workers/mem/state.h"
#include "workers/mem/survey.h"

static const struct handler handlers[] = {
	[REQUEST__BODY_MEM_PREFLIGHT] = { STAGE__PREPARE, on_mem_preflight },
	[REQUEST__BODY_MEM_SURVEY] = { STAGE__PREPARE, on_mem_survey },
	[REQUEST__BODY_MEM_COLLECT] = { STAGE__COLLECT, on_mem_collect },
	[REQUEST__BODY_MEM_WRITE] = { STAGE__WRITE, on_mem_write },
	[REQUEST__BODY_MEM_WRITE_FILES] = { STAGE__WRITE, on_mem_write_files },
	[REQUEST__BODY_MEM_PREPARE] = { STAGE__PREPARE, on_mem_prepare },
	[REQUEST__BODY_GATES] = { STAGE__FORKING, on_gates },
	[REQUEST__BODY_MEM_MAKE_FILES] = { STAGE__RESTORE, on_mem_make_files },
	[REQUEST__BODY_MEM_BUILD] = { STAGE__RESTORE, on_mem_build },
	[REQUEST__BODY_MEM_FINISH] = { STAGE__RELEASE, on_mem_finish },
	[REQUEST__BODY_MEM_KEEP] = { STAGE__RELEASE, on_mem_keep },
};

static const cap_value_t caps[] = { CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE, CAP_DAC_READ_SEARCH,
				   CAP_IPC_OWNER, CAP_IPC_LOCK };

static struct mem mem;

struct worker mem_worker = {
	.name = "mem",
	.caps = caps,
	.ncaps = ARRAY_LEN(caps),
	.handlers = handlers,
	.nhandlers = ARRAY_LEN(handlers),
	.ctx = &mem,
};
