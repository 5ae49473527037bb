/* SPDX-License-Identifier: MIT */
/*
 * copy.c - contents of buffers, beside all else that a dump or restore does.
 *
 * A lane per GPU: a thread with a queue of buffers. A buffer is mapped and written to (read from)
 * its file directly where the processor sees it; reading VRAM over the bus is slow, so large
 * buffers there go by the GPU's engine, as do those that cannot be mapped. read(2) and write(2) on
 * the mapping tell by EFAULT what a memcpy would die of. Contents that are compressed go through
 * pack.c on the way. The first fault ends all lanes.
 *
 * Rights:   the image directory; to open render nodes.
 * Holds:    what was added; per lane one image file, and once needed a private render node with an
 * engine, a packer.
 */
#include "workers/gpu/amdgpu/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/pack.h"
#include "workers/gpu/amdgpu/uapi.h"

#define WINDOW (64ul << 20)		/* bytes mapped at a time */
#define STAGING (16ul << 20)		/* two chunks, some 0.3 ms of an engine each */
#define SMALL (64ul << 10)		/* not worth an engine */
#define CONTENTS_MODE 0600
#define NICE (-15)
#define PENDING_MAX 256			/* each holds a descriptor */

struct lane {
	struct copier *c;
	uint32_t minor;
	pthread_t thread;
	bool threaded;
	struct copy_job *job;
	size_t n, cap, next;
	struct lane *after;
	/* the thread's own */
	struct timespec begun, done;	/* CLOCK_MONOTONIC: the first job, the last */
	int node;
	struct engine *engine;
	struct fault no_engine;		/* why there is none */
	int file;
	char file_name[64];
	bool packed;			/* the file has blocks */
	uint64_t end;			/* of those so far */
	struct packer *packer;
};

struct copier {
	struct device dev;
	int image_dir;
	bool to_gpu;
	uint64_t staging;
	pthread_mutex_t lock;
	pthread_cond_t more, less;
	bool closing, failed;
	struct fault fault;
	struct lane *lanes;
};

void contents_name_kfd(char *buf, size_t size, uint32_t id, uint32_t gpu_id)
{
	snprintf(buf, size, "amdgpu-pages-%u-%04x.img", id, gpu_id);
}

void contents_name_drm(char *buf, size_t size, uint32_t id, uint32_t minor, size_t index)
{
	snprintf(buf, size, "amdgpu-drm-pages-%u-%u-%04zx.img", id, minor, index);
}

/* The length in the header is not asked: CRIU 4.2 leaves it to chance. */
int contents_check(int image_dir, const char *name, uint64_t size, struct fault *f)
{
	struct stat st;

	if (fstatat(image_dir, name, &st, 0) < 0)
		return fault(f, errno, "look at image %s", name);
	if (!S_ISREG(st.st_mode) || st.st_size < CONTENTS_HEADER ||
	    (uint64_t)st.st_size - CONTENTS_HEADER < size)
		return fault(f, -EBADMSG,
			     "%s: %lld bytes long, %llu of contents are announced: the image is"
			     " truncated or damaged; dump again",
			     name, (long long)st.st_size, (unsigned long long)size);
	return 0;
}

struct copier *copier_new(const struct device *d, int image_dir, bool to_gpu, uint64_t staging)
{
	struct copier *c = xcalloc(1, sizeof(*c));

	c->dev = *d;
	c->image_dir = image_dir;
	c->to_gpu = to_gpu;
	c->staging = staging && staging < STAGING ? (staging + STASIS_PAGE - 1) & ~(STASIS_PAGE - 1)
						  : STAGING;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->more, NULL);
	pthread_cond_init(&c->less, NULL);
	return c;
}

/* The n bytes of the buffer at `at`: all are asked for, in order. */
static int move(struct lane *l, const struct copy_job *j, void *bytes, size_t n, uint64_t at,
		struct fault *f)
{
	uint64_t plain = CONTENTS_HEADER + j->at + at;
	ssize_t r;

	if (j->contents)
		return l->c->to_gpu ? pack_get(l->packer, bytes, n, f) :
				      pack_put(l->packer, bytes, n, f);
	if (!l->c->to_gpu)
		return pack_plain(l->packer, bytes, n, plain, f);
	r = pread_full(l->file, bytes, n, plain);
	if (r < 0)
		return fault(f, errno, "read image %s", l->file_name);
	if ((size_t)r < n)
		return fault(f, -EBADMSG, "%s: it ends too early", l->file_name);
	return 0;
}

/* What an engine calls for its next bytes. */
struct stream {
	struct lane *lane;
	const struct copy_job *job;
	uint64_t at;
};

static int stream_move(void *ctx, void *bytes, size_t n, struct fault *f)
{
	struct stream *s = ctx;

	if (move(s->lane, s->job, bytes, n, s->at, f) < 0)
		return -1;
	s->at += n;
	return 0;
}

static int sync_dmabuf(struct lane *l, const struct copy_job *j, uint64_t end, struct fault *f)
{
	uint64_t flags = (l->c->to_gpu ? U_SYNC_WRITE : U_SYNC_READ) | end;

	if (j->dmabuf >= 0 && dev_ioctl(&l->c->dev, j->dmabuf, IOC_DMABUF_SYNC, &flags) < 0)
		return fault(f, errno, "wait for the GPU's work on it");
	return 0;
}

/* One window. 1: it cannot be mapped. */
static int map_and_move(struct lane *l, const struct copy_job *j, uint64_t at, size_t n,
			struct fault *f)
{
	const struct device *d = &l->c->dev;
	int prot = l->c->to_gpu ? PROT_READ | PROT_WRITE : PROT_READ;
	int fd = j->dmabuf >= 0 ? j->dmabuf : j->node;
	uint64_t base = j->dmabuf >= 0 ? 0 : j->node_offset;
	void *p = d->ops->mmap(d->ctx, n, prot, MAP_SHARED, fd, base + at);
	int r;

	if (p == MAP_FAILED)
		return 1;
	r = move(l, j, p, n, at, f);
	d->ops->munmap(d->ctx, p, n);
	return r;
}

/* 0, -1, or 1: the processor does not see it. */
static int by_cpu(struct lane *l, const struct copy_job *j, struct fault *f)
{
	uint64_t at;
	size_t n;
	int r = 0;

	if (sync_dmabuf(l, j, 0, f) < 0)
		return -1;
	for (at = 0; at < j->size && r == 0; at += n) {
		n = j->size - at < WINDOW ? j->size - at : WINDOW;
		r = map_and_move(l, j, at, n, f);
		if (r == 1 && at)
			r = fault(f, errno, "map bytes from %#llx on", (unsigned long long)at);
	}
	return sync_dmabuf(l, j, U_SYNC_END, f) < 0 ? -1 : r;
}

/* Tried once. */
static int open_engine(struct lane *l)
{
	const struct device *d = &l->c->dev;
	struct fault *f = &l->no_engine;
	char path[40];

	if (l->engine || f->code)
		return l->engine ? 0 : -1;
	snprintf(path, sizeof(path), "/dev/dri/renderD%u", l->minor);
	if (l->node < 0)
		l->node = dev_open(d, path, O_RDWR | O_CLOEXEC);
	if (l->node < 0)
		return fault(f, errno, "open %s", path);
	l->engine = d->ops->engine_open(d->ctx, l->node, l->c->staging, f);
	return l->engine ? 0 : -1;
}

static int by_engine(struct lane *l, const struct copy_job *j, struct fault *f)
{
	const struct device *d = &l->c->dev;
	struct stream s = { l, j, 0 };
	const struct copy_ends ends = { stream_move, &s };

	if (sync_dmabuf(l, j, 0, f) < 0)
		return -1;
	if (d->ops->engine_copy(d->ctx, l->engine, j->dmabuf, j->size, l->c->to_gpu, &ends, f) < 0)
		return -1;
	return sync_dmabuf(l, j, U_SYNC_END, f);
}

/* The first bytes of a file say what it has. */
static int head(struct lane *l, const struct copy_job *j, struct fault *f)
{
	uint64_t word = j->contents ? PACK_MAGIC : j->total, found = 0;

	l->packed = j->contents;
	l->end = PACK_START;
	if (!l->c->to_gpu)
		return pwrite_full(l->file, &word, sizeof(word), 0) < 0 ||
		       (!l->packed && ftruncate(l->file, CONTENTS_HEADER + j->total) < 0) ?
		       fault(f, errno, "write image %s", l->file_name) : 0;
	if (pread_full(l->file, &found, sizeof(found), 0) < 0)
		return fault(f, errno, "read image %s", l->file_name);
	l->packed = found == PACK_MAGIC;
	return 0;
}

/* A file of an older dump may have a second name (elect.c), so it is not written to. */
static int open_file(struct lane *l, const struct copy_job *j, struct fault *f)
{
	bool new = !l->c->to_gpu && !j->at;
	int flags = l->c->to_gpu ? O_RDONLY : new ? O_WRONLY | O_CREAT | O_EXCL : O_WRONLY;

	if (l->file < 0 || strcmp(l->file_name, j->file) != 0) {
		auto_close(&l->file);
		snprintf(l->file_name, sizeof(l->file_name), "%s", j->file);
		if (new && unlinkat(l->c->image_dir, j->file, 0) < 0 && errno != ENOENT)
			return fault(f, errno, "remove the %s of an older dump", j->file);
		l->file = openat(l->c->image_dir, j->file, flags | O_NOFOLLOW | O_CLOEXEC,
				 CONTENTS_MODE);
		if (l->file < 0)
			return fault(f, errno, "open image %s", j->file);
		if (head(l, j, f) < 0)
			return -1;
	}
	if (l->packed != !!j->contents)
		return fault(f, -EBADMSG,
			     "%s has %s contents, not %s: it is of another dump, or the image "
			     "of its buffers was changed by a program that does not know of "
			     "compression; dump again",
			     j->file, l->packed ? "compressed" : "plain",
			     l->packed ? "plain" : "compressed");
	return 0;
}

/* Have file and packer ready for it. */
static int begin(struct lane *l, const struct copy_job *j, struct fault *f)
{
	if (open_file(l, j, f) < 0)
		return -1;
	if (!j->contents && l->c->to_gpu)
		return 0;
	if (!l->packer)
		l->packer = packer_new(f);
	if (!l->packer)
		return -1;
	if (j->contents && !l->c->to_gpu)
		j->contents->offset = l->end;
	packer_begin(l->packer, l->file, l->file_name, j->contents, j->size);
	return 0;
}

/* An engine that cannot be had is no fault where the processor sees the buffer. */
static int by_any(struct lane *l, const struct copy_job *j, struct fault *f)
{
	bool large = j->vram && !l->c->to_gpu && j->size > SMALL && j->dmabuf >= 0;
	int r;

	if (large && open_engine(l) == 0)
		return by_engine(l, j, f);
	r = by_cpu(l, j, f);
	if (r <= 0)
		return r;
	if (j->dmabuf < 0)
		return fault(f, -EPERM,
			     "the processor does not see it, and it cannot be exported for the GPU "
			     "to copy");
	if (open_engine(l) == 0)
		return by_engine(l, j, f);
	return fault(f, -l->no_engine.code, "the processor does not see it, and: %s",
		     l->no_engine.text);
}

static int copy(struct lane *l, const struct copy_job *j, struct fault *f)
{
	if (begin(l, j, f) < 0 || by_any(l, j, f) < 0)
		return -1;
	if (j->contents)
		l->end = pack_end(j->contents);
	return 0;
}

/* The next job, or false at the end. It is the caller's; others may be added meanwhile. */
static bool next_job(struct lane *l, struct copy_job *j)
{
	struct copier *c = l->c;
	bool any;

	pthread_mutex_lock(&c->lock);
	while (l->next == l->n && !c->closing)
		pthread_cond_wait(&c->more, &c->lock);
	any = l->next < l->n;
	if (any)
		*j = l->job[l->next++];
	pthread_cond_signal(&c->less);
	pthread_mutex_unlock(&c->lock);
	return any;
}

static void do_job(struct lane *l, const struct copy_job *j)
{
	struct copier *c = l->c;
	struct fault f = { 0 };
	bool skip;

	pthread_mutex_lock(&c->lock);
	skip = c->failed;
	pthread_mutex_unlock(&c->lock);
	if (!skip && copy(l, j, &f) < 0) {
		fault_prefix(&f, "contents of %s", j->what);
		pthread_mutex_lock(&c->lock);
		if (!c->failed)
			c->fault = f;
		c->failed = true;
		pthread_mutex_unlock(&c->lock);
	}
	dev_close(&c->dev, j->dmabuf);
	dev_close(&c->dev, j->node);
}

/*
 * Before those of mem that use the processors alone, where we may: an engine waits for us, and a
 * GPU's contents come from one thread.
 */
static void hurry(void)
{
	setpriority(PRIO_PROCESS, gettid(), NICE);
}

static void *run(void *arg)
{
	struct lane *l = arg;
	struct copy_job j;

	if (l->threaded)
		hurry();
	while (next_job(l, &j)) {
		if (!l->begun.tv_sec)
			clock_gettime(CLOCK_MONOTONIC, &l->begun);
		do_job(l, &j);
		clock_gettime(CLOCK_MONOTONIC, &l->done);
	}
	if (l->engine)
		l->c->dev.ops->engine_close(l->c->dev.ctx, l->engine);
	dev_close(&l->c->dev, l->node);
	packer_free(l->packer);
	auto_close(&l->file);
	return NULL;
}

/* Signals are the main thread's. Without a thread the work is done by copier_end. */
static void start(struct lane *l)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	l->threaded = pthread_create(&l->thread, NULL, run, l) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static struct lane *lane_of(struct copier *c, uint32_t minor)
{
	struct lane *l;

	for (l = c->lanes; l; l = l->after)
		if (l->minor == minor)
			return l;
	l = xcalloc(1, sizeof(*l));
	l->c = c;
	l->minor = minor;
	l->node = l->file = -1;
	l->after = c->lanes;
	c->lanes = l;
	start(l);
	return l;
}

void copier_add(struct copier *c, const struct copy_job *job)
{
	struct lane *l = lane_of(c, job->minor);

	pthread_mutex_lock(&c->lock);
	while (l->threaded && l->n - l->next >= PENDING_MAX)
		pthread_cond_wait(&c->less, &c->lock);
	*(struct copy_job *)grow(&l->job, l->n, &l->cap, sizeof(*job)) = *job;
	l->n++;
	pthread_cond_broadcast(&c->more);
	pthread_mutex_unlock(&c->lock);
}

int copier_end(struct copier *c, const struct copy_watch *watch, struct fault *f)
{
	struct lane *l;
	int r = 0;

	if (!c)
		return 0;
	pthread_mutex_lock(&c->lock);
	c->closing = true;
	pthread_cond_broadcast(&c->more);
	pthread_mutex_unlock(&c->lock);
	while ((l = c->lanes)) {
		if (l->threaded)
			pthread_join(l->thread, NULL);
		else
			run(l);
		if (watch && watch->tell)
			watch->tell(watch->ctx, l->minor, &l->begun, &l->done);
		c->lanes = l->after;
		free(l->job);
		free(l);
	}
	if (c->failed)
		r = fault(f, -c->fault.code, "%s", c->fault.text);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->more);
	pthread_cond_destroy(&c->less);
	free(c);
	return r;
}

void copier_cancel(struct copier *c)
{
	struct fault f = { 0 };

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->failed = true;
	pthread_mutex_unlock(&c->lock);
	copier_end(c, NULL, &f);
}
