/* SPDX-License-Identifier: MIT */
/*
 * kfd_trace_test.c - GPU queues that a dump stopped run again: once for each stop, whatever becomes
 * of the dump.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "coordinator/kfd.h"
#include "proto/control/kfd_criu.h"
#include "proto/control/util.h"
#include "tests/unit/check.h"

/* What the kernel would know; shared with keepers. */
static struct kernel {
	int stops, runs, calls, fail_at, fail_errno;
	int stubborn;		/* so often queues do not start */
	uint32_t bos;
	pid_t unpaused_by;
	bool traced_then;	/* the one that let them run was the tracer */
	pid_t task;
} *k;

static bool traces(pid_t task)
{
	char path[40], text[2048], *at;
	AUTO_CLOSE int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", task);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	at = strstr(text, "TracerPid:");
	return at && atoi(at + 10) == getpid();
}

static int checkpoint(struct kfd_criu_args *a)
{
	struct kfd_device_bucket *d = (void *)(uintptr_t)a->devices;
	struct kfd_bo_bucket *b = (void *)(uintptr_t)a->bos;
	uint32_t i;

	if (!a->devices || !a->bos || !a->priv_data || a->num_bos != k->bos) {
		errno = EINVAL;
		return -1;
	}
	d->user_gpu_id = 0x1234;
	for (i = 0; i < a->num_bos; i++) {
		b[i].alloc_flags = i % 2 ? KFD_BO_DOORBELL : KFD_BO_VRAM;
		b[i].dmabuf_fd = i % 2 ? KFD_NO_DMABUF : (uint32_t)dup(2);
	}
	memset((void *)(uintptr_t)a->priv_data, 7, a->priv_data_size);
	return 0;
}

static int ask(int fd, unsigned long nr, void *arg)
{
	struct kfd_criu_args *a = arg;

	CHECK(nr == KFD_IOC_CRIU_OP && fcntl(fd, F_GETFD) >= 0);
	if (a->op != KFD_CRIU_UNPAUSE && ++k->calls == k->fail_at) {
		errno = k->fail_errno;
		return -1;
	}
	switch (a->op) {
	case KFD_CRIU_PROCESS_INFO:
		k->stops++;
		a->num_devices = 1;
		a->num_bos = k->bos;
		a->num_objects = 3;
		a->priv_data_size = 100;
		return 0;
	case KFD_CRIU_CHECKPOINT:
		return checkpoint(a);
	case KFD_CRIU_UNPAUSE:
		if (k->stubborn && k->stubborn--) {
			errno = EIO;
			return -1;
		}
		k->runs++;
		k->unpaused_by = getpid();
		k->traced_then = traces(k->task);
		return 0;
	}
	errno = EINVAL;
	return -1;
}

static void reset(void)
{
	memset(k, 0, sizeof(*k));
	k->bos = 4;
	k->task = getpid();
}

static void clear(GpuTraced *t, int *fds)
{
	uint32_t i;

	for (i = 0; i < t->nfds; i++)
		close(fds[i]);
	free(fds);
	kfd_traced_clear(t);
}

static size_t open_fds(void)
{
	size_t n = 0;
	int i;

	for (i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

static void a_trace_tells_all(void)
{
	struct kfd_traces *t = kfd_traces_new(ask);
	GpuTraced out = GPU_TRACED__INIT, again = GPU_TRACED__INIT;
	struct fault f = { 0 };
	int *fds, *none;

	reset();
	CHECK(kfd_trace(t, getpid(), 0, &out, &fds, &f) == 0);
	CHECK(out.nfds == 2 && out.num_bos == 4 && out.num_devices == 1 && out.num_objects == 3 &&
	      out.priv_data.len == 100 && out.bos.len == 4 * sizeof(struct kfd_bo_bucket));
	CHECK(fcntl(fds[0], F_GETFD) == FD_CLOEXEC && fcntl(fds[1], F_GETFD) == FD_CLOEXEC);
	CHECK(kfd_trace(t, getpid(), 0, &again, &none, &f) == 0 && !again.num_bos && !none &&
	      k->stops == 1);
	clear(&out, fds);
	clear(&again, none);
	CHECK(k->runs == 0 && kfd_unpause(t, &f) == 0 && k->runs == 1);
	kfd_traces_free(t);
	CHECK(k->runs == 1);
}

/* Each call fails with each errno: as many stops as runs, nothing open. */
static void failures_let_queues_run(void)
{
	static const int errnos[] = { EINVAL, EACCES, EBADF, ENOMEM, ENODEV };
	size_t i, before = open_fds();
	int call;

	for (call = 1; call <= 2; call++)
		for (i = 0; i < ARRAY_LEN(errnos); i++) {
			struct kfd_traces *t = kfd_traces_new(ask);
			GpuTraced out = GPU_TRACED__INIT;
			struct fault f = { 0 };
			int *fds, r;

			reset();
			k->fail_at = call;
			k->fail_errno = errnos[i];
			r = kfd_trace(t, getpid(), 0, &out, &fds, &f);
			/* ENODEV of the first: no GPU is used, nothing to tell. */
			CHECK(errnos[i] == ENODEV && call == 1 ? r == 0 && !out.num_bos
							       : r < 0 && *f.text);
			CHECK(k->runs == k->stops);
			clear(&out, fds);
			kfd_traces_free(t);
			CHECK(k->runs == k->stops && open_fds() == before);
		}
}

/* Queues that do not start at first do later; of those that never start a sentence tells. */
static void queues_are_started_again(void)
{
	static const int times[] = { 3, 1000000 };
	size_t i;

	for (i = 0; i < ARRAY_LEN(times); i++) {
		struct kfd_traces *t = kfd_traces_new(ask);
		GpuTraced out = GPU_TRACED__INIT;
		struct fault f = { 0 };
		int *fds, r;

		reset();
		CHECK(kfd_trace(t, getpid(), 0, &out, &fds, &f) == 0);
		k->stubborn = times[i];
		r = kfd_unpause(t, &f);
		CHECK(i ? r < 0 && f.code == EIO && k->runs == 0 : r == 0 && k->runs == 1);
		clear(&out, fds);
		kfd_traces_free(t);
	}
}

/* "The coordinator": traces the task, stops its queues, is killed. */
static void be_coordinator(pid_t task)
{
	struct kfd_traces *t = kfd_traces_new(ask);
	GpuTraced out = GPU_TRACED__INIT;
	struct fault f = { 0 };
	int *fds;

	if (ptrace(PTRACE_SEIZE, task, 0, 0) < 0 || kfd_trace(t, task, 0, &out, &fds, &f) < 0)
		_exit(1);
	raise(SIGKILL);
}

static void a_killed_coordinator_lets_queues_run(void)
{
	pid_t task, coordinator;
	int status, i;

	reset();
	task = fork();
	if (task == 0)
		for (;;)
			pause();
	k->task = task;
	coordinator = fork();
	if (coordinator == 0)
		be_coordinator(task);
	CHECK(waitpid(coordinator, &status, 0) == coordinator && WIFSIGNALED(status));
	for (i = 0; i < 400 && !__atomic_load_n(&k->runs, __ATOMIC_ACQUIRE); i++)
		poll(NULL, 0, 10);
	CHECK(k->stops == 1 && k->runs == 1 && k->traced_then && k->unpaused_by != coordinator);
	poll(NULL, 0, 50);
	CHECK(waitpid(task, &status, WNOHANG) == 0);	/* it lives */
	kill(task, SIGKILL);
	waitpid(task, &status, 0);
}

int main(void)
{
	k = mmap(NULL, sizeof(*k), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (k == MAP_FAILED)
		return 1;
	check_run("a trace tells all, descriptors are close-on-exec, queues run again once",
		  a_trace_tells_all);
	check_run("after a failure at any call queues run again", failures_let_queues_run);
	check_run("queues that do not start at once are started again", queues_are_started_again);
	check_run("a killed coordinator's keeper seizes the task and lets its queues run",
		  a_killed_coordinator_lets_queues_run);
	return check_done();
}
