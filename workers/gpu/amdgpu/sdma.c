/* SPDX-License-Identifier: MIT */
/*
 * sdma.c - contents of buffers the processor does not see, moved by the GPU's copy engine.
 *
 * An engine works on a render node that nobody else has open: its address space is empty, so
 * nothing of ours collides with what the tasks have mapped. It holds a staging buffer in system
 * memory and a page for commands, both in halves: per chunk one submission copies between the
 * buffer and one half, while the contents of the other are read from their file or written to it.
 * The last packet of each submission copies a number that grows: a chunk is done when the number
 * has arrived, not when a fence says that something ended.
 *
 * libdrm_amdgpu is loaded by the first engine: linked, it would cost every start of every program
 * of ours.
 *
 * Rights:   none beyond the node.
 * Holds:    the library; per engine what is said above.
 */
#include "workers/gpu/amdgpu/sdma.h"

#include <dlfcn.h>
#include <errno.h>
#include <libdrm/amdgpu.h>
#include <libdrm/amdgpu_drm.h>
#include <string.h>

#include "proto/control/util.h"

#define LIBRARY "libdrm_amdgpu.so.1"
#define FAMILY_AI 141u			/* the first whose count field holds n - 1 */
#define PACKET_WORDS 7
#define PACKET_COPY 1u			/* opcode; sub-opcode 0: linear */
#define ROUND_WORDS 8			/* an indirect buffer is a multiple of it */
#define VA_ALIGN (2ul << 20)
#define CHUNK_MIN (2ul << 20)
#define WAIT_NS (30ull * 1000000000)	/* one chunk */

struct drm_calls {
	__typeof__(amdgpu_device_initialize) *device_initialize;
	__typeof__(amdgpu_device_deinitialize) *device_deinitialize;
	__typeof__(amdgpu_query_gpu_info) *query_gpu_info;
	__typeof__(amdgpu_bo_alloc) *bo_alloc;
	__typeof__(amdgpu_bo_import) *bo_import;
	__typeof__(amdgpu_bo_free) *bo_free;
	__typeof__(amdgpu_bo_cpu_map) *bo_cpu_map;
	__typeof__(amdgpu_bo_va_op) *bo_va_op;
	__typeof__(amdgpu_va_range_alloc) *va_range_alloc;
	__typeof__(amdgpu_va_range_free) *va_range_free;
	__typeof__(amdgpu_bo_list_create) *bo_list_create;
	__typeof__(amdgpu_bo_list_destroy) *bo_list_destroy;
	__typeof__(amdgpu_cs_ctx_create) *cs_ctx_create;
	__typeof__(amdgpu_cs_ctx_free) *cs_ctx_free;
	__typeof__(amdgpu_cs_submit) *cs_submit;
	__typeof__(amdgpu_cs_query_fence_status) *cs_query_fence_status;
};

static const struct {
	const char *name;
	size_t at;
} symbols[] = {
	{ "amdgpu_device_initialize", offsetof(struct drm_calls, device_initialize) },
	{ "amdgpu_device_deinitialize", offsetof(struct drm_calls, device_deinitialize) },
	{ "amdgpu_query_gpu_info", offsetof(struct drm_calls, query_gpu_info) },
	{ "amdgpu_bo_alloc", offsetof(struct drm_calls, bo_alloc) },
	{ "amdgpu_bo_import", offsetof(struct drm_calls, bo_import) },
	{ "amdgpu_bo_free", offsetof(struct drm_calls, bo_free) },
	{ "amdgpu_bo_cpu_map", offsetof(struct drm_calls, bo_cpu_map) },
	{ "amdgpu_bo_va_op", offsetof(struct drm_calls, bo_va_op) },
	{ "amdgpu_va_range_alloc", offsetof(struct drm_calls, va_range_alloc) },
	{ "amdgpu_va_range_free", offsetof(struct drm_calls, va_range_free) },
	{ "amdgpu_bo_list_create", offsetof(struct drm_calls, bo_list_create) },
	{ "amdgpu_bo_list_destroy", offsetof(struct drm_calls, bo_list_destroy) },
	{ "amdgpu_cs_ctx_create", offsetof(struct drm_calls, cs_ctx_create) },
	{ "amdgpu_cs_ctx_free", offsetof(struct drm_calls, cs_ctx_free) },
	{ "amdgpu_cs_submit", offsetof(struct drm_calls, cs_submit) },
	{ "amdgpu_cs_query_fence_status", offsetof(struct drm_calls, cs_query_fence_status) },
};

/* A buffer in the engine's address space. */
struct placed {
	amdgpu_bo_handle bo;
	amdgpu_va_handle range;
	uint64_t va;
	uint64_t size;
	bool mapped;
};

/* One chunk on its way. */
struct half {
	void *bytes;			/* staging, here, and */
	uint64_t bytes_va;		/* there */
	uint32_t *words;		/* commands: the mark twice, then packets */
	uint64_t words_va;
	uint64_t at, n;			/* what of the buffer is on its way; n 0: nothing */
	uint32_t mark;
	uint64_t fence;
};

struct engine {
	struct drm_calls call;
	void *library;
	amdgpu_device_handle dev;
	amdgpu_context_handle ctx;
	uint32_t family;
	struct placed staging, commands;
	struct half half[2];
	uint64_t chunk;			/* bytes of a half: at most */
	uint32_t mark;			/* number of the last submission */
};

uint64_t sdma_packet_max(uint32_t family)
{
	return (1ul << 21) - (family >= FAMILY_AI ? 0 : 1);
}

uint32_t sdma_count(uint32_t family, uint64_t n)
{
	return family >= FAMILY_AI ? n - 1 : n;
}

static int load_library(struct engine *e, struct fault *f)
{
	size_t i;
	void *p;

	e->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!e->library)
		return fault(f, -ENOSYS, "%s cannot be loaded (%s): install libdrm-amdgpu1",
			     LIBRARY, dlerror());
	for (i = 0; i < ARRAY_LEN(symbols); i++) {
		p = dlsym(e->library, symbols[i].name);
		if (!p)
			return fault(f, -ENOSYS, "%s has no %s: it is too old", LIBRARY,
				     symbols[i].name);
		memcpy((char *)&e->call + symbols[i].at, &p, sizeof(p));
	}
	return 0;
}

static void unplace(struct engine *e, struct placed *p)
{
	if (p->mapped)
		e->call.bo_va_op(p->bo, 0, p->size, p->va, 0, AMDGPU_VA_OP_UNMAP);
	if (p->range)
		e->call.va_range_free(p->range);
	if (p->bo)
		e->call.bo_free(p->bo);
	*p = (struct placed){ 0 };
}

/* Give p->bo an address. */
static int place(struct engine *e, struct placed *p, struct fault *f)
{
	int r = e->call.va_range_alloc(e->dev, amdgpu_gpu_va_range_general, p->size, VA_ALIGN, 0,
				       &p->va, &p->range, 0);

	if (r < 0)
		return fault(f, -r, "find an address for %llu bytes in the GPU's space",
			     (unsigned long long)p->size);
	r = e->call.bo_va_op(p->bo, 0, p->size, p->va, 0, AMDGPU_VA_OP_MAP);
	if (r < 0)
		return fault(f, -r, "map a buffer of %llu bytes for the copy engine",
			     (unsigned long long)p->size);
	p->mapped = true;
	return 0;
}

static int place_new(struct engine *e, struct placed *p, uint64_t size, void **here,
		     struct fault *f)
{
	struct amdgpu_bo_alloc_request req = { .alloc_size = size, .phys_alignment = STASIS_PAGE,
					       .preferred_heap = AMDGPU_GEM_DOMAIN_GTT };
	int r = e->call.bo_alloc(e->dev, &req, &p->bo);

	if (r < 0)
		return fault(
			f, -r,
			"allocate %llu bytes for the copy engine (KFD_MAX_BUFFER_SIZE bounds it)",
			(unsigned long long)size);
	p->size = size;
	r = e->call.bo_cpu_map(p->bo, here);
	if (r < 0)
		return fault(f, -r, "map the copy engine's memory");
	return place(e, p, f);
}

/* What we put in a packet: whole pages. */
static uint64_t packet_bytes(const struct engine *e)
{
	return sdma_packet_max(e->family) & ~(STASIS_PAGE - 1);
}

/* Of one half. */
static uint64_t commands_size(const struct engine *e)
{
	uint64_t packets = e->chunk / packet_bytes(e) + 2;
	uint64_t bytes = (packets * PACKET_WORDS + 2 * ROUND_WORDS) * sizeof(uint32_t);

	return (bytes + STASIS_PAGE - 1) / STASIS_PAGE * STASIS_PAGE;
}

static int make_halves(struct engine *e, uint64_t staging, struct fault *f)
{
	void *bytes = NULL, *words = NULL;
	uint64_t size;
	size_t i;

	e->chunk = staging / 2 & ~(STASIS_PAGE - 1);
	if (!e->chunk)
		e->chunk = STASIS_PAGE;
	size = commands_size(e);
	if (place_new(e, &e->staging, 2 * e->chunk, &bytes, f) < 0 ||
	    place_new(e, &e->commands, 2 * size, &words, f) < 0)
		return -1;
	for (i = 0; i < ARRAY_LEN(e->half); i++)
		e->half[i] = (struct half){ .bytes = (char *)bytes + i * e->chunk,
					    .bytes_va = e->staging.va + i * e->chunk,
					    .words = (uint32_t *)((char *)words + i * size),
					    .words_va = e->commands.va + i * size };
	return 0;
}

static int start(struct engine *e, int drm_fd, size_t staging, struct fault *f)
{
	struct amdgpu_gpu_info info = { 0 };
	uint32_t major, minor;
	int r;

	if (load_library(e, f) < 0)
		return -1;
	r = e->call.device_initialize(drm_fd, &major, &minor, &e->dev);
	if (r < 0)
		return fault(f, -r, "libdrm_amdgpu does not take the render node");
	r = e->call.query_gpu_info(e->dev, &info);
	if (r < 0)
		return fault(f, -r, "ask which GPU it is");
	e->family = info.family_id;
	r = e->call.cs_ctx_create(e->dev, &e->ctx);
	if (r < 0)
		return fault(f, -r, "make a context for the copy engine");
	return make_halves(e, staging, f);
}

struct engine *sdma_open(void *ctx, int drm_fd, size_t staging, struct fault *f)
{
	struct engine *e = xcalloc(1, sizeof(*e));

	if (start(e, drm_fd, staging, f) == 0)
		return e;
	sdma_close(ctx, e);
	return NULL;
}

void sdma_close(void *ctx, struct engine *e)
{
	(void)ctx;
	if (!e)
		return;
	if (e->dev) {
		unplace(e, &e->staging);
		unplace(e, &e->commands);
	}
	if (e->ctx)
		e->call.cs_ctx_free(e->ctx);
	if (e->dev)
		e->call.device_deinitialize(e->dev);
	if (e->library)
		dlclose(e->library);
	free(e);
}

static uint32_t *packet(const struct engine *e, uint32_t *w, uint64_t src, uint64_t dst, uint64_t n)
{
	*w++ = PACKET_COPY;
	*w++ = sdma_count(e->family, n);
	*w++ = 0;
	*w++ = src;
	*w++ = src >> 32;
	*w++ = dst;
	*w++ = dst >> 32;
	return w;
}

/*
 * Write the packets that copy n bytes, then the one that copies the mark from the first word of the
 * half to the second. Returns the number of words, padded with NOPs (0).
 */
static uint32_t write_commands(struct engine *e, struct half *h, uint64_t src, uint64_t dst,
			       uint64_t n)
{
	uint32_t *first = h->words + ROUND_WORDS, *w = first;
	uint64_t done, part, most = packet_bytes(e);

	for (done = 0; done < n; done += part) {
		part = n - done < most ? n - done : most;
		w = packet(e, w, src + done, dst + done, part);
	}
	h->mark = ++e->mark;
	h->words[0] = h->mark;
	h->words[1] = 0;
	w = packet(e, w, h->words_va, h->words_va + sizeof(uint32_t), sizeof(uint32_t));
	while ((w - first) % ROUND_WORDS)
		*w++ = 0;
	return w - first;
}

static int submit(struct engine *e, struct half *h, amdgpu_bo_list_handle list, uint32_t words,
		  struct fault *f)
{
	struct amdgpu_cs_ib_info ib = {
		.ib_mc_address = h->words_va + ROUND_WORDS * sizeof(uint32_t), .size = words
	};
	struct amdgpu_cs_request req = {
		.ip_type = AMDGPU_HW_IP_DMA, .resources = list, .number_of_ibs = 1, .ibs = &ib
	};
	int r = e->call.cs_submit(e->ctx, 0, &req, 1);

	if (r < 0)
		return fault(f, -r, "the copy engine refuses work");
	h->fence = req.seq_no;
	return 0;
}

static int await(struct engine *e, const struct half *h, struct fault *f)
{
	struct amdgpu_cs_fence fence = {
		.context = e->ctx, .ip_type = AMDGPU_HW_IP_DMA, .fence = h->fence
	};
	uint32_t expired = 0;
	int r = e->call.cs_query_fence_status(&fence, WAIT_NS, 0, &expired);

	if (r < 0)
		return fault(f, -r, "wait for the copy engine");
	if (!expired)
		return fault(f, -ETIMEDOUT, "the copy engine did not end in %llu s",
			     WAIT_NS / 1000000000);
	if (__atomic_load_n(&h->words[1], __ATOMIC_ACQUIRE) != h->mark)
		return fault(f, -EIO, "the copy engine ended without having copied all");
	return 0;
}

/* A buffer on its way through both halves. */
struct passage {
	struct engine *e;
	const struct placed *buffer;
	amdgpu_bo_list_handle list;
	bool to_gpu;
	const struct copy_ends *ends;
	uint64_t chunk;
};

/*
 * Some four in a buffer, so that there is something beside; a small one is not worth a submission.
 */
static uint64_t chunk_of(const struct engine *e, uint64_t size)
{
	uint64_t n = (size / 4 + STASIS_PAGE - 1) & ~(STASIS_PAGE - 1);

	n = n < CHUNK_MIN ? CHUNK_MIN : n;
	return n < e->chunk ? n : e->chunk;
}

static int in_chunk(const struct half *h, struct fault *f)
{
	return fault_prefix(f, "bytes %#llx to %#llx", (unsigned long long)h->at,
			    (unsigned long long)(h->at + h->n));
}

/* The next chunk, from `at` on, by a half that is free. */
static int begin_chunk(struct passage *p, struct half *h, uint64_t at, struct fault *f)
{
	uint64_t there = p->buffer->va + at;
	uint32_t words;

	h->at = at;
	h->n = p->buffer->size - at < p->chunk ? p->buffer->size - at : p->chunk;
	if (p->to_gpu && p->ends->move(p->ends->ctx, h->bytes, h->n, f) < 0) {
		h->n = 0;
		return -1;
	}
	words = p->to_gpu ? write_commands(p->e, h, h->bytes_va, there, h->n) :
		write_commands(p->e, h, there, h->bytes_va, h->n);
	if (submit(p->e, h, p->list, words, f) == 0)
		return 0;
	in_chunk(h, f);
	h->n = 0;
	return -1;
}

/* The half is free again, whatever happened. */
static int end_chunk(struct passage *p, struct half *h, struct fault *f)
{
	int r = 0;

	if (!h->n)
		return 0;
	if (await(p->e, h, f) < 0)
		r = in_chunk(h, f);
	else if (!p->to_gpu)
		r = p->ends->move(p->ends->ctx, h->bytes, h->n, f);
	h->n = 0;
	return r;
}

/* After a fault: what is still on its way comes to its end, and nobody wants it. */
static void drain(struct passage *p, struct half *h)
{
	struct fault none = { 0 };

	if (h->n)
		await(p->e, h, &none);
	h->n = 0;
}

/*
 * In the order of the buffer: into the GPU a half is filled when its last chunk is through; out of
 * it a half is emptied when the engine is at the next. After a fault nothing may be on its way any
 * more.
 */
static int copy_chunks(struct passage *p, struct fault *f)
{
	struct half *h = p->e->half, *other = h + 1, *swap;
	uint64_t at;
	int r = 0;

	for (at = 0; at < p->buffer->size && r == 0; at += p->chunk) {
		if (p->to_gpu)
			r = end_chunk(p, h, f);
		if (r == 0)
			r = begin_chunk(p, h, at, f);
		if (r == 0 && !p->to_gpu)
			r = end_chunk(p, other, f);
		swap = h;
		h = other;
		other = swap;
	}
	if (r == 0)
		r = end_chunk(p, h, f);
	if (r == 0)
		r = end_chunk(p, other, f);
	drain(p, h);
	drain(p, other);
	return r;
}

int sdma_copy(void *ctx, struct engine *e, int dmabuf, uint64_t size, bool to_gpu,
	      const struct copy_ends *ends, struct fault *f)
{
	struct amdgpu_bo_import_result in = { 0 };
	amdgpu_bo_list_handle list = NULL;
	struct placed p = { 0 };
	int r = e->call.bo_import(e->dev, amdgpu_bo_handle_type_dma_buf_fd, dmabuf, &in);

	(void)ctx;
	if (r < 0)
		return fault(f, -r, "import it for the copy engine");
	p.bo = in.buf_handle;
	p.size = size;
	if (in.alloc_size < size) {
		r = fault(f, -EINVAL, "it has %llu bytes, not %llu",
			  (unsigned long long)in.alloc_size, (unsigned long long)size);
	} else {
		r = place(e, &p, f);
	}
	if (r == 0) {
		amdgpu_bo_handle all[] = { p.bo, e->staging.bo, e->commands.bo };
		int err = e->call.bo_list_create(e->dev, ARRAY_LEN(all), all, NULL, &list);

		/* list is set, and not to be used, when it fails. */
		r = err < 0 ? fault(f, -err, "list buffers for the copy engine") :
		    copy_chunks(&(struct passage){ e, &p, list, to_gpu, ends, chunk_of(e, size) },
				f);
		if (err == 0)
			e->call.bo_list_destroy(list);
	}
	unplace(e, &p);
	return r;
}
