/* SPDX-License-Identifier: MIT */
/*
 * libcuda.c - one call of cuCheckpointProcess*, in a process that ends with it.
 *
 * The functions are those of CUDA's driver API since 12.8 (driver 570). Each takes a pid and a
 * block of 64 bytes, zero but for what is set. Restoring needs cuInit first where persistence
 * mode is off; the others do not, and it is slow. (Facts: the driver API's manual, "CUDA
 * Checkpointing".)
 *
 * Words go by dprintf: stdio may hold some of the process that we were forked from.
 *
 * Rights:   what the driver asks for: ptrace access to the task.
 * Holds:    nothing.
 */
#include "workers/gpu/nvidia/libcuda.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/control/util.h"

#define MIN_VERSION 12080		/* as cuDriverGetVersion says it */
#define CUDA_SUCCESS 0
#define CUDA_ERROR_INVALID_VALUE 1
#define CUDA_ERROR_NOT_INITIALIZED 3

struct args {
	uint32_t timeout_ms;		/* of a lock */
	uint32_t zero[15];
};

static const char *const symbols[] = {
	[TOOL_GET_STATE] = "cuCheckpointProcessGetState",
	[TOOL_GET_TID] = "cuCheckpointProcessGetRestoreThreadId",
	[TOOL_LOCK] = "cuCheckpointProcessLock",
	[TOOL_CHECKPOINT] = "cuCheckpointProcessCheckpoint",
	[TOOL_RESTORE] = "cuCheckpointProcessRestore",
	[TOOL_UNLOCK] = "cuCheckpointProcessUnlock",
};

/* A function of the library; its end when there is none. */
static void *symbol(void *lib, const char *name)
{
	void *p = dlsym(lib, name);

	if (p)
		return p;
	dprintf(STDOUT_FILENO, "it has no %s", name);
	_exit(LIBCUDA_FAILED);
}

static void *load(const char *path)
{
	void *lib = dlopen(path, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);

	if (lib)
		return lib;
	dprintf(STDOUT_FILENO, "%s", dlerror());
	_exit(LIBCUDA_FAILED);
}

/* Say what a result means; returns whether it is success. */
static bool good(void *lib, const char *what, int result)
{
	int (*name_of)(int, const char **) =
		(int (*)(int, const char **))dlsym(lib, "cuGetErrorName");
	const char *name = NULL;

	if (result == CUDA_SUCCESS)
		return true;
	if (!name_of || name_of(result, &name) != CUDA_SUCCESS || !name)
		name = "CUDA error";
	dprintf(STDOUT_FILENO, "%s: %s (%d)", what, name, result);
	return false;
}

_Noreturn void libcuda_probe(const char *path)
{
	void *lib = load(path);
	int (*version_of)(int *) = (int (*)(int *))symbol(lib, "cuDriverGetVersion");
	int version = 0;
	size_t i;

	for (i = 0; i < ARRAY_LEN(symbols); i++)
		symbol(lib, symbols[i]);
	if (!good(lib, "cuDriverGetVersion", version_of(&version)))
		_exit(LIBCUDA_FAILED);
	dprintf(STDOUT_FILENO, "CUDA %d.%d", version / 1000, version % 1000 / 10);
	if (version < MIN_VERSION)
		dprintf(STDOUT_FILENO, " is too old");
	_exit(version < MIN_VERSION ? LIBCUDA_FAILED : LIBCUDA_DONE);
}

/* Those that tell a number. */
static int ask(void *lib, enum tool_deed deed, pid_t pid)
{
	int (*call)(int, int *) = (int (*)(int, int *))symbol(lib, symbols[deed]);
	int number = 0, r = call(pid, &number);

	if (good(lib, symbols[deed], r)) {
		dprintf(STDOUT_FILENO, "%d", number);
		return LIBCUDA_DONE;
	}
	return r == CUDA_ERROR_INVALID_VALUE || r == CUDA_ERROR_NOT_INITIALIZED ?
	       LIBCUDA_NO_CUDA_TASK : LIBCUDA_FAILED;
}

_Noreturn void libcuda_call(const char *path, enum tool_deed deed, pid_t pid, unsigned timeout_ms)
{
	struct args args = { .timeout_ms = deed == TOOL_LOCK ? timeout_ms : 0 };
	void *lib = load(path);
	int (*init)(unsigned), (*call)(int, struct args *);

	if (deed == TOOL_GET_STATE || deed == TOOL_GET_TID)
		_exit(ask(lib, deed, pid));
	if (deed == TOOL_RESTORE) {
		init = (int (*)(unsigned))symbol(lib, "cuInit");
		if (!good(lib, "cuInit", init(0)))
			_exit(LIBCUDA_FAILED);
	}
	call = (int (*)(int, struct args *))symbol(lib, symbols[deed]);
	_exit(good(lib, symbols[deed], call(pid, &args)) ? LIBCUDA_DONE : LIBCUDA_FAILED);
}
