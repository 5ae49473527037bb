/* SPDX-License-Identifier: MIT */
/*
 * around.c - `check PID`: does any file of the tree own the buffer of a dmabuf, or of an import?
 *
 * Buffers are identified as in a dump: those of the tree's render nodes are exported through our
 * duplicates, and their inode numbers put into a table of buffers. It is made when the first
 * dmabuf or import asks, and made again for one that is not in it, since the tasks run: a buffer
 * may be new, or on its way from one file to another. The buffers of KFD are told to the tracer of
 * a task that stands, so of them nothing is known here.
 *
 * Rights:   none beyond the descriptors.
 * Holds:    duplicates of the tree's render nodes, until the operation ends.
 */
#include "workers/gpu/amdgpu/around.h"

#include <errno.h>

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/drm.h"
#include "workers/gpu/amdgpu/elect.h"

#define LOOKS 3			/* at a buffer that no file has */

struct around {
	const struct device *dev;
	int *node;
	size_t n, cap;
	bool kfd;
	struct botable *seen;		/* owner: index of the node */
};

int around_note(struct amd *a, int fd, const struct device_id *id, struct fault *f)
{
	struct around *r = a->around;
	int copy;

	if (!r) {
		r = a->around = xcalloc(1, sizeof(*r));
		r->dev = &a->dev;
	}
	r->kfd = r->kfd || id->kind == DEVICE_KFD;
	if (id->kind != DEVICE_RENDER)
		return 0;
	copy = dev_dup(r->dev, fd);
	if (copy < 0)
		return fault(
			f, errno,
			"duplicate its descriptor (raise the limit of open files: ulimit -Hn)");
	*(int *)grow(&r->node, r->n++, &r->cap, sizeof(int)) = copy;
	return 0;
}

void around_free(struct around *r)
{
	size_t i;

	if (!r)
		return;
	for (i = 0; i < r->n; i++)
		dev_close(r->dev, r->node[i]);
	free(r->node);
	botable_free(r->seen);
	free(r);
}

struct look {
	struct around *r;
	size_t node;
};

static int see(void *ctx, uint32_t handle, uint64_t inode, bool import, struct fault *f)
{
	struct look *l = ctx;
	struct botable *t = l->r->seen;

	(void)handle;
	if (botable_reserve(t, botable_count(t) + 1, f) < 0)
		return -1;
	return botable_claim(t, inode, l->node, import ? BO_RANK_IMPORT : BO_RANK_OWN, 0, f) ? 0 :
											       -1;
}

static int look(struct around *r, struct fault *f)
{
	struct look l = { .r = r };

	botable_free(r->seen);
	r->seen = botable_new(f);
	if (!r->seen)
		return -1;
	for (; l.node < r->n; l.node++)
		if (drm_identities(r->dev, r->node[l.node], false, see, &l, f) < 0)
			return -1;
	return 0;
}

/* The row that the last look found, or a new one finds. */
static const struct bo *find(struct around *r, uint64_t inode, struct fault *f)
{
	const struct bo *row = r->seen ? botable_find(r->seen, inode) : NULL;
	int i;

	for (i = 0; i < LOOKS && (!row || row->rank == BO_RANK_IMPORT); i++) {
		if (look(r, f) < 0)
			return NULL;
		row = botable_find(r->seen, inode);
	}
	return row;
}

int around_owner(struct amd *a, uint64_t inode, struct fault *f)
{
	const struct bo *row = a->around ? find(a->around, inode, f) : NULL;

	if (f->code)
		return -1;
	if (row && row->rank == BO_RANK_OWN)
		return 1;
	if (!a->around || a->around->kfd)
		return 0;
	return row ? refuse_foreign(inode, f) : refuse_orphan(inode, f);
}

static int ask_owner(void *ctx, uint32_t handle, uint64_t inode, bool import, struct fault *f)
{
	(void)handle;
	(void)import;
	return around_owner(ctx, inode, f) < 0 ? -1 : 0;
}

int around_imports(struct amd *a, int fd, struct fault *f)
{
	/*
	 * One that no render node has may be KFD's, of which nothing is known: nothing to be found
	 * out.
	 */
	return a->around && !a->around->kfd ? drm_identities(&a->dev, fd, true, ask_owner, a, f) :
					      0;
}
