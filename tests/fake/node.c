/* SPDX-License-Identifier: MIT */
/*
 * node.c - ioctls of a render node, by the rules of Linux's amdgpu and DRM core.
 *
 * Holds:    nothing of its own: struct fake.
 */
#include "tests/fake/model.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"

int model_create(struct fake *w, struct file *f, union u_gem_create *q)
{
	struct bo *b;

	if (!q->in.size || q->in.domains & ~7ull || !q->in.domains)
		return model_no(EINVAL);
	b = model_bo_new(w, f->gpu, (q->in.size + 4095) & ~4095ull);
	b->domains = q->in.domains;
	b->flags = q->in.flags;
	q->out.handle = model_handle_new(f, b);
	return 0;
}

/* The last handle of one that was never shared. */
static void bo_free(struct fake *w, struct bo *b)
{
	struct bo **at = &w->slot[b->ino % SLOTS];

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	close(b->fd);
	free(b);
}

int model_close(struct fake *w, struct file *f, const struct u_gem_close *q)
{
	struct bo *b = model_bo_of(f, q->handle);
	size_t i, n = 0;

	if (!b)
		return model_no(EINVAL);
	f->handle[q->handle] = NULL;
	if (!b->exported)
		bo_free(w, b);
	for (i = 0; i < f->nva; i++)
		if (f->va[i].handle != q->handle)
			f->va[n++] = f->va[i];
	f->nva = n;
	return 0;
}

/* Whether the processor sees it is no matter until it is mapped. */
static int do_mmap(struct file *f, union u_gem_mmap *q)
{
	const struct bo *b = model_bo_of(f, q->in.handle);

	if (!b)
		return model_no(ENOENT);
	if (b->userptr || b->flags & U_NO_CPU_ACCESS)
		return model_no(EPERM);
	q->offset = b->offset;
	return 0;
}

int model_va(struct file *f, const struct u_gem_va *q)
{
	const struct bo *b = model_bo_of(f, q->handle);
	size_t i;

	if (!b)
		return model_no(ENOENT);
	if (q->operation != U_VA_MAP || !q->size || q->offset + q->size > b->size || q->va % 4096)
		return model_no(EINVAL);
	for (i = 0; i < f->nva; i++)
		if (q->va < f->va[i].va + f->va[i].size && f->va[i].va < q->va + q->size)
			return model_no(EINVAL);
	*(struct va *)grow(&f->va, f->nva++, &f->va_cap, sizeof(struct va)) =
		(struct va){ q->handle, q->va, q->size, q->offset, q->flags };
	return 0;
}

static int do_list(struct fake *w, struct file *f, struct u_gem_list *q)
{
	struct u_list_entry *e = (void *)(uintptr_t)q->entries;
	uint32_t h, n = 0, room = q->num_entries;

	if (w->ways.no_list)
		return model_no(EINVAL);
	for (h = 1; h < f->nhandles; h++)
		n += !!f->handle[h];
	q->num_entries = n;
	if (n > room)
		return 0;
	for (h = 1; h < f->nhandles; h++) {
		const struct bo *b = f->handle[h];

		if (b)
			*e++ = (struct u_list_entry) {
				h,	  b->gpu != f->gpu ? U_LIST_IMPORT : 0,
				b->size,  b->domains,
				b->flags, 4096
			};
	}
	return 0;
}

static int do_op(struct fake *w, struct file *f, struct u_gem_op *q)
{
	struct u_mapping *m = (void *)(uintptr_t)q->value;
	uint32_t n = 0, room = q->num_entries;
	size_t i;

	if (w->ways.no_list || q->op != U_GEM_OP_MAPPINGS || q->pad)
		return model_no(EINVAL);
	if (!model_bo_of(f, q->handle))
		return model_no(ENOENT);
	for (i = 0; i < f->nva; i++) {
		if (f->va[i].handle != q->handle)
			continue;
		if (n < room)
			m[n] = (struct u_mapping) { f->va[i].va, f->va[i].size, f->va[i].offset,
						    f->va[i].flags };
		n++;
	}
	q->num_entries = n;
	return !n && w->ways.mapping_enoent ? model_no(ENOENT) : 0;
}

int model_export(struct file *f, struct u_prime *q)
{
	struct bo *b = model_bo_of(f, q->handle);

	if (!b)
		return model_no(ENOENT);
	if (b->userptr || b->flags & U_VM_ALWAYS_VALID)
		return model_no(EPERM);
	q->fd = fcntl(b->fd, F_DUPFD_CLOEXEC, 0);
	b->exported = true;
	return q->fd < 0 ? -1 : 0;
}

int model_import(struct fake *w, struct file *f, struct u_prime *q)
{
	struct bo *b = model_bo_by_ino(w, model_ino_of(q->fd));
	uint32_t h;

	if (!b)
		return model_no(EINVAL);
	for (h = 1; h < f->nhandles; h++)
		if (f->handle[h] == b) {
			q->handle = h;
			return 0;
		}
	q->handle = model_handle_new(f, b);
	return 0;
}

static int do_metadata(struct file *f, struct u_metadata *q)
{
	struct bo *b = model_bo_of(f, q->handle);

	if (!b)
		return model_no(ENOENT);
	if (q->op == U_METADATA_SET)
		b->tiling = q->tiling;
	else
		q->tiling = b->tiling;
	return 0;
}

int model_node_ioctl(struct fake *w, struct file *f, unsigned long nr, void *arg)
{
	const union u_ctx *ctx = arg;

	switch (nr) {
	case IOC_GEM_CREATE:
		return model_create(w, f, arg);
	case IOC_GEM_CLOSE:
		return model_close(w, f, arg);
	case IOC_GEM_MMAP:
		return do_mmap(f, arg);
	case IOC_GEM_VA:
		return model_va(f, arg);
	case IOC_GEM_LIST:
		return do_list(w, f, arg);
	case IOC_GEM_OP:
		return do_op(w, f, arg);
	case IOC_PRIME_EXPORT:
		return model_export(f, arg);
	case IOC_PRIME_IMPORT:
		return model_import(w, f, arg);
	case IOC_GEM_METADATA:
		return do_metadata(f, arg);
	case IOC_CTX:
		return w->ways.no_contexts	       ? model_no(ENOTTY)
		       : ctx->in.ctx_id <= f->contexts ? 0
						       : model_no(EINVAL);
	case IOC_SYNCOBJ_QUERY:
		return w->ways.no_contexts ? model_no(EOPNOTSUPP) : model_no(ENOENT);
	}
	return model_no(EINVAL);
}
