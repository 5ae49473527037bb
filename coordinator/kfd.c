/* SPDX-License-Identifier: MIT */
/*
 * kfd.c - AMDKFD_IOC_CRIU_OP of a dump: PROCESS_INFO, CHECKPOINT, UNPAUSE.
 *
 * The kernel takes them from the owner of the file and from the thread that traces the owner's
 * leader. PROCESS_INFO stops the queues until UNPAUSE, whatever becomes of the dump. If we are
 * killed meanwhile a keeper does it: it seizes the task, once the kernel has let go of it for us,
 * and leaves it running as it was. The keeper is there before the queues stop.
 *
 * Rights:   to trace; CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN in the initial user namespace.
 * Holds:    per process a duplicate of its /dev/kfd, and a keeper.
 */
#include "coordinator/kfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "proto/control/kfd_criu.h"
#include "proto/control/util.h"
#include "workers/common/keeper.h"
#include "workers/common/procfs.h"

#define COUNT_MAX (1u << 24)		/* of buckets; more is nonsense */
#define PRIV_MAX (1ull << 31)
#define SEIZE_TRIES 400			/* of SEIZE_WAIT_MS: our own death takes a moment */
#define SEIZE_WAIT_MS 5
#define UNPAUSE_TRIES 20		/* of UNPAUSE_WAIT_MS */
#define UNPAUSE_WAIT_MS 5

struct pause {
	pid_t pid;
	int fd;
	bool paused;
	struct keeper keeper;
	int (*ask)(int fd, unsigned long nr, void *arg);
};

struct kfd_traces {
	struct pause **list;		/* keepers have the address */
	size_t n, cap;
	int (*ask)(int fd, unsigned long nr, void *arg);
};

struct kfd_traces *kfd_traces_new(int (*ask)(int fd, unsigned long nr, void *arg))
{
	struct kfd_traces *t = xcalloc(1, sizeof(*t));

	t->ask = ask;
	return t;
}

/*
 * Tried again: a process whose queues do not start stays paused. Returns 0 or the last errno;
 * EINVAL: it was not paused.
 */
static int let_run(const struct pause *p)
{
	const struct timespec moment = { .tv_nsec = UNPAUSE_WAIT_MS * 1000000l };
	int i, err = EAGAIN;

	for (i = 0; err && err != EINVAL && i < UNPAUSE_TRIES; i++) {
		struct kfd_criu_args args = { .op = KFD_CRIU_UNPAUSE };

		if (i)
			nanosleep(&moment, NULL);
		err = p->ask(p->fd, KFD_IOC_CRIU_OP, &args) < 0 ? errno : 0;
	}
	return err;
}

/* In the keeper. */
static void unpause_for_dead(void *arg)
{
	const struct pause *p = arg;
	const struct timespec moment = { .tv_nsec = SEIZE_WAIT_MS * 1000000l };
	int i;

	for (i = 0; i < SEIZE_TRIES && ptrace(PTRACE_SEIZE, p->pid, 0, 0) < 0; i++) {
		if (errno == ESRCH && i)
			return;		/* it is dead as well */
		nanosleep(&moment, NULL);
	}
	let_run(p);
	/* The end of this process ends the tracing. */
}

static bool is_dead(pid_t pid)
{
	struct fault f = { 0 };
	struct proc_stat s;

	return procfs_stat(pid, 0, &s, &f) < 0 || s.state == 'Z' || s.state == 'X';
}

/* Let its queues run, if they stand; the keeper goes. Of a dead task there are none. */
static int release(struct pause *p, struct fault *f)
{
	int r = 0, err = p->paused && !is_dead(p->pid) ? let_run(p) : 0;

	if (err && !is_dead(p->pid))
		r = fault(f, err, "task %d: KFD does not let its queues run again, asked %d times "
			  "(see the kernel's log): its work on the GPU stands still; end the task "
			  "(kill -9), and restore it if this was a complete dump", p->pid,
			  UNPAUSE_TRIES);
	p->paused = false;
	if (keeper_dismiss(&p->keeper, f) < 0)
		r = -1;
	auto_close(&p->fd);
	return r;
}

int kfd_unpause(struct kfd_traces *t, struct fault *f)
{
	int r = 0;

	while (t->n) {
		struct pause *p = t->list[--t->n];

		if (release(p, f) < 0)
			r = -1;
		free(p);
	}
	return r;
}

void kfd_traces_free(struct kfd_traces *t)
{
	struct fault f = { 0 };

	if (!t)
		return;
	kfd_unpause(t, &f);
	free(t->list);
	free(t);
}

void kfd_traced_clear(GpuTraced *out)
{
	free(out->devices.data);
	free(out->bos.data);
	free(out->priv_data.data);
	out->devices = out->bos = out->priv_data = (ProtobufCBinaryData){ 0 };
}

static struct pause *add(struct kfd_traces *t, pid_t pid, int kfd_fd, struct fault *f)
{
	struct pause *p = xcalloc(1, sizeof(*p));

	p->pid = pid;
	p->ask = t->ask;
	p->keeper = KEEPER_NONE;
	p->fd = fcntl(kfd_fd, F_DUPFD_CLOEXEC, 0);
	if (p->fd < 0)
		fault(f, errno, "task %d: keep its /dev/kfd", pid);
	else if (keeper_start(&p->keeper, unpause_for_dead, p, p->fd, f) == 0)
		return *(struct pause **)grow(&t->list, t->n++, &t->cap, sizeof(p)) = p;
	auto_close(&p->fd);
	free(p);
	return NULL;
}

/* Room for n things of a size, never none: the kernel wants an address for each. */
static void make_room(ProtobufCBinaryData *b, uint64_t n, size_t size)
{
	b->len = n * size;
	b->data = xcalloc(1, b->len + size);
}

static int read_counts(struct pause *p, struct kfd_criu_args *args, struct fault *f)
{
	*args = (struct kfd_criu_args){ .op = KFD_CRIU_PROCESS_INFO };
	if (p->ask(p->fd, KFD_IOC_CRIU_OP, args) < 0) {
		if (errno == ENODEV)
			return 0;	/* it uses no GPU */
		if (errno == EACCES || errno == EPERM)
			return fault(f, -errno,
				     "task %d: KFD tells its state to who has "
				     "CAP_CHECKPOINT_RESTORE in the"
				     " initial user namespace",
				     p->pid);
		if (errno == EBADF)
			return fault(
				f, -errno,
				"task %d: its /dev/kfd was opened by another process; dump that one"
				" as well, or close it here",
				p->pid);
		return fault(f, errno, "task %d: ask KFD what it has", p->pid);
	}
	p->paused = true;
	if (args->num_devices > COUNT_MAX || args->num_bos > COUNT_MAX ||
	    args->priv_data_size > PRIV_MAX)
		return fault(f, -EPROTO,
			     "task %d: KFD names %u GPUs, %u buffers, %llu bytes of state", p->pid,
			     args->num_devices, args->num_bos,
			     (unsigned long long)args->priv_data_size);
	return 0;
}

/* The descriptors came without close-on-exec. */
static int take_fds(const GpuTraced *out, int *fds, struct fault *f)
{
	const struct kfd_bo_bucket *b = (const void *)out->bos.data;
	uint32_t i, n = 0;
	int r = 0;

	for (i = 0; i < out->num_bos; i++) {
		if (b[i].dmabuf_fd == KFD_NO_DMABUF)
			continue;
		fds[n] = b[i].dmabuf_fd;
		if (fcntl(fds[n++], F_SETFD, FD_CLOEXEC) < 0)
			r = fault(f, errno, "task %u: the descriptor of a buffer", out->pid);
	}
	return r < 0 ? r : (int)n;
}

static int checkpoint(struct pause *p, struct kfd_criu_args *args, GpuTraced *out, int **fds,
		      struct fault *f)
{
	int n;

	make_room(&out->devices, args->num_devices, sizeof(struct kfd_device_bucket));
	make_room(&out->bos, args->num_bos, sizeof(struct kfd_bo_bucket));
	make_room(&out->priv_data, args->priv_data_size, 1);
	out->num_devices = args->num_devices;
	out->num_bos = args->num_bos;
	out->num_objects = args->num_objects;
	if (!p->paused)
		return 0;
	args->op = KFD_CRIU_CHECKPOINT;
	args->devices = (uintptr_t)out->devices.data;
	args->bos = (uintptr_t)out->bos.data;
	args->priv_data = (uintptr_t)out->priv_data.data;
	if (p->ask(p->fd, KFD_IOC_CRIU_OP, args) < 0)
		return fault(f, errno, "task %d: KFD does not tell its state", p->pid);
	*fds = xcalloc(args->num_bos + 1, sizeof(int));
	n = take_fds(out, *fds, f);
	if (n < 0)
		return -1;
	out->nfds = n;
	return 0;
}

static bool known(const struct kfd_traces *t, pid_t pid)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (t->list[i]->pid == pid)
			return true;
	return false;
}

/* A failure after CHECKPOINT: the buffers must not stay open here. */
static void drop_fds(const GpuTraced *out, int **fds)
{
	const struct kfd_bo_bucket *b = (const void *)out->bos.data;
	uint32_t i;

	for (i = 0; *fds && i < out->num_bos; i++)
		if (b[i].dmabuf_fd != KFD_NO_DMABUF)
			close(b[i].dmabuf_fd);
	free(*fds);
	*fds = NULL;
}

int kfd_trace(struct kfd_traces *t, pid_t pid, int kfd_fd, GpuTraced *out, int **fds,
	      struct fault *f)
{
	struct kfd_criu_args args = { 0 };
	struct fault ignored = { 0 };
	struct pause *p;

	*fds = NULL;
	out->pid = pid;
	if (known(t, pid)) {
		make_room(&out->devices, 0, 1);
		make_room(&out->bos, 0, 1);
		make_room(&out->priv_data, 0, 1);
		return 0;
	}
	p = add(t, pid, kfd_fd, f);
	if (!p)
		return -1;
	if (read_counts(p, &args, f) == 0 && checkpoint(p, &args, out, fds, f) == 0)
		return 0;
	drop_fds(out, fds);
	kfd_traced_clear(out);
	t->n--;
	release(p, &ignored);
	free(p);
	return -1;
}
