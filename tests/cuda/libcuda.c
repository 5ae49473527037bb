/* SPDX-License-Identifier: MIT */
/*
 * libcuda.c - a stand-in for libcuda.so.1: see standin.h. Built as a shared object.
 *
 * cuInit opens /dev/nvidiactl, /dev/nvidia0 and /dev/nvidia-uvm (whatever these are), maps device
 * memory from the last and starts the restore thread. standin_call is any call of the API: it
 * waits while locked.
 */
#include "tests/cuda/standin.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

int cuInit(unsigned flags);
int cuDriverGetVersion(int *version);
int cuGetErrorName(int result, const char **name);
int cuCheckpointProcessGetState(int pid, int *state);
int cuCheckpointProcessGetRestoreThreadId(int pid, int *tid);
int cuCheckpointProcessLock(int pid, const unsigned *args);
int cuCheckpointProcessCheckpoint(int pid, const void *args);
int cuCheckpointProcessRestore(int pid, const void *args);
int cuCheckpointProcessUnlock(int pid, const void *args);
void standin_call(void (*work)(uint8_t *memory));

static struct standin *const self = (struct standin *)STANDIN_AT;
static const char *const paths[] = { "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm" };

/* ---- in the task ---- */

static int open_devices(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		self->devices[i] = open(paths[i], O_RDWR | O_CLOEXEC);
		if (self->devices[i] < 0)
			return UNKNOWN;
	}
	return mmap((void *)STANDIN_MEMORY, STANDIN_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_FIXED, self->devices[2], 0) == MAP_FAILED ?
		       UNKNOWN : OK;
}

static int lock_calls(void)
{
	unsigned waited = 0;

	if (self->state != RUNNING)
		return ILLEGAL_STATE;
	__atomic_store_n(&self->locked, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&self->in_call, __ATOMIC_SEQ_CST)) {
		if (self->timeout_ms && waited++ > self->timeout_ms) {
			self->locked = 0;
			return NOT_READY;
		}
		usleep(1000);
	}
	self->state = LOCKED;
	return OK;
}

static int leave_devices(void)
{
	int i;

	if (self->state != LOCKED)
		return ILLEGAL_STATE;
	self->saved = mmap(NULL, STANDIN_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	if (self->saved == MAP_FAILED)
		return UNKNOWN;
	memcpy(self->saved, (void *)STANDIN_MEMORY, STANDIN_SIZE);
	munmap((void *)STANDIN_MEMORY, STANDIN_SIZE);
	for (i = 0; i < 3; i++) {
		close(self->devices[i]);
		self->devices[i] = -1;
	}
	self->state = CHECKPOINTED;
	return OK;
}

static int take_devices(void)
{
	if (self->state != CHECKPOINTED)
		return ILLEGAL_STATE;
	if (open_devices() != OK)
		return UNKNOWN;
	memcpy((void *)STANDIN_MEMORY, self->saved, STANDIN_SIZE);
	munmap(self->saved, STANDIN_SIZE);
	self->state = LOCKED;
	return OK;
}

static int unlock_calls(void)
{
	if (self->state != LOCKED)
		return ILLEGAL_STATE;
	self->state = RUNNING;
	__atomic_store_n(&self->locked, 0, __ATOMIC_SEQ_CST);
	return OK;
}

static int give_up(void)
{
	self->state = FAILED;
	return OK;
}

static void *restore_thread(void *arg)
{
	static int (*const deeds[NDEEDS])(void) = {
		[LOCK] = lock_calls, [CHECKPOINT] = leave_devices, [RESTORE] = take_devices,
		[UNLOCK] = unlock_calls, [BREAK] = give_up,
	};
	uint32_t request;

	__atomic_store_n(&self->tid, syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	for (;;) {
		request = __atomic_load_n(&self->request, __ATOMIC_SEQ_CST);
		if (request == self->done) {
			usleep(1000);
			continue;
		}
		self->result = self->deed < NDEEDS ? deeds[self->deed]() : INVALID_VALUE;
		__atomic_store_n(&self->done, request, __ATOMIC_SEQ_CST);
	}
	return arg;
}

int cuInit(unsigned flags)
{
	sigset_t all, old;
	pthread_t thread;
	int r;

	if (flags || mmap(self, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
			  MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
		return flags ? INVALID_VALUE : OK;
	r = open_devices();
	if (r != OK)
		return r;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, restore_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	while (r == 0 && !__atomic_load_n(&self->tid, __ATOMIC_SEQ_CST))
		usleep(100);
	self->magic = STANDIN_MAGIC;
	return r ? UNKNOWN : OK;
}

void standin_call(void (*work)(uint8_t *memory))
{
	for (;;) {
		__atomic_store_n(&self->in_call, 1, __ATOMIC_SEQ_CST);
		if (!__atomic_load_n(&self->locked, __ATOMIC_SEQ_CST))
			break;
		__atomic_store_n(&self->in_call, 0, __ATOMIC_SEQ_CST);
		usleep(1000);
	}
	work((uint8_t *)STANDIN_MEMORY);
	__atomic_store_n(&self->in_call, 0, __ATOMIC_SEQ_CST);
}

/* ---- outside ---- */

int cuDriverGetVersion(int *version)
{
	const char *said = getenv("STANDIN_VERSION");

	*version = said ? atoi(said) : 12080;
	return OK;
}

int cuGetErrorName(int result, const char **name)
{
	*name = result == ILLEGAL_STATE ? "CUDA_ERROR_ILLEGAL_STATE" :
		result == NOT_READY ? "CUDA_ERROR_NOT_READY" : "CUDA_ERROR_UNKNOWN";
	return OK;
}

int cuCheckpointProcessGetState(int pid, int *state)
{
	struct standin s;
	int r = standin_read(pid, &s);

	standin_scripted("state", pid);
	*state = s.state;
	return r;
}

int cuCheckpointProcessGetRestoreThreadId(int pid, int *tid)
{
	struct standin s;
	int r = standin_read(pid, &s);

	standin_scripted("tid", pid);
	*tid = s.tid;
	return r;
}

int cuCheckpointProcessLock(int pid, const unsigned *args)
{
	return standin_act(pid, LOCK, args[0]);
}

int cuCheckpointProcessCheckpoint(int pid, const void *args)
{
	(void)args;
	return standin_act(pid, CHECKPOINT, 0);
}

int cuCheckpointProcessRestore(int pid, const void *args)
{
	(void)args;
	return standin_act(pid, RESTORE, 0);
}

int cuCheckpointProcessUnlock(int pid, const void *args)
{
	(void)args;
	return standin_act(pid, UNLOCK, 0);
}
