/* SPDX-License-Identifier: MIT */
/*
 * match.c - find places for the GPUs of a dump, by trying.
 *
 * A GPU fits on another when the numbers that programs rely on are equal, or at least not smaller.
 * Its links must fit too: XGMI stands in for PCIe, a link in both directions for one in one
 * direction, not the reverse. Links between GPUs count when they are XGMI (a hive); a link to a
 * processor needs one to a processor here, and (numa) a processor of the dump is always the same
 * one here. GPUs with most XGMI links are placed first: hives are what fails early. The search is
 * bounded: images come from strangers.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/gpu/amdgpu/match.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "proto/control/util.h"

#define STEPS_MAX 2000000u
#define NOWHERE SIZE_MAX

struct search {
	KfdDeviceEntry *const *src;	/* all nodes of the dump */
	size_t nsrc;
	const struct topology *dst;
	const struct match_switches *s;
	size_t *order;			/* indices in src: the GPUs, as they are placed */
	size_t ngpus;
	size_t *at;			/* by index in src: index in dst, or NOWHERE */
	bool *taken;			/* by index in dst */
	uint32_t steps;
};

static int read_switch(const char *name, bool *value, struct fault *f)
{
	const char *v = getenv(name);

	*value = true;
	if (!v || !*v || strcmp(v, "1") == 0 || strcasecmp(v, "yes") == 0 ||
	    strcasecmp(v, "y") == 0)
		return 0;
	*value = false;
	if (strcmp(v, "0") == 0 || strcasecmp(v, "no") == 0 || strcasecmp(v, "n") == 0)
		return 0;
	return fault(f, -EINVAL, "%s=%.40s: it must be 0, NO, 1 or YES", name, v);
}

static int read_size(const char *name, uint64_t *value, struct fault *f)
{
	static const char units[] = "KMG";
	const char *v = getenv(name), *unit;
	char *end;

	*value = 0;
	if (!v || !*v)
		return 0;
	errno = 0;
	*value = strtoull(v, &end, 0);
	unit = *end ? strchr(units, *end) : NULL;
	if (unit)
		*value <<= 10 * (unit - units + 1);
	if (errno || end == v || (*end && (!unit || end[1])))
		return fault(f, -EINVAL, "%s=%.40s: it must be a number of bytes, K, M or G", name,
			     v);
	return 0;
}

int match_switches_read(struct match_switches *s, struct fault *f)
{
	if (read_switch("KFD_FW_VER_CHECK", &s->fw_version, f) < 0 ||
	    read_switch("KFD_SDMA_FW_VER_CHECK", &s->sdma_fw_version, f) < 0 ||
	    read_switch("KFD_CACHES_COUNT_CHECK", &s->caches, f) < 0 ||
	    read_switch("KFD_NUM_GWS_CHECK", &s->gws, f) < 0 ||
	    read_switch("KFD_VRAM_SIZE_CHECK", &s->vram_size, f) < 0 ||
	    read_switch("KFD_NUMA_CHECK", &s->numa, f) < 0 ||
	    read_switch("KFD_CAPABILITY_CHECK", &s->capability, f) < 0)
		return -1;
	return read_size("KFD_MAX_BUFFER_SIZE", &s->buffer_max, f);
}

/* NULL: a fits on b, its links aside. Else the property in which it does not. */
static const char *misfit(const KfdDeviceEntry *a, const KfdDeviceEntry *b,
			  const struct match_switches *s)
{
	const struct node_property *p;

	for (p = node_properties; p->name; p++)
		if (p->must_match && *(const uint32_t *)((const char *)a + p->at) !=
				     *(const uint32_t *)((const char *)b + p->at))
			return p->name;
	if (a->vram_public != b->vram_public)
		return "vram_public";
	if (s->vram_size && a->vram_size > b->vram_size)
		return "vram_size (KFD_VRAM_SIZE_CHECK)";
	if (s->gws && a->num_gws > b->num_gws)
		return "num_gws (KFD_NUM_GWS_CHECK)";
	if (s->caches && a->caches_count > b->caches_count)
		return "caches_count (KFD_CACHES_COUNT_CHECK)";
	if (s->fw_version && a->fw_version > b->fw_version)
		return "fw_version (KFD_FW_VER_CHECK)";
	if (s->sdma_fw_version && a->sdma_fw_version > b->sdma_fw_version)
		return "sdma_fw_version (KFD_SDMA_FW_VER_CHECK)";
	if (s->capability && a->capability != b->capability)
		return "capability (KFD_CAPABILITY_CHECK)";
	return b->n_iolinks < a->n_iolinks ? "number of links" : NULL;
}

static const DevIolink *link_to(const KfdDeviceEntry *e, uint32_t node_id)
{
	size_t i;

	for (i = 0; i < e->n_iolinks; i++)
		if (e->iolinks[i]->node_to_id == node_id)
			return e->iolinks[i];
	return NULL;
}

/* Is what connects a and b as good as `wanted` between x and y? */
static bool not_worse(const KfdDeviceEntry *a, const KfdDeviceEntry *b, const DevIolink *wanted,
		      const KfdDeviceEntry *x, const KfdDeviceEntry *y)
{
	const DevIolink *have = link_to(a, b->node_id);

	if (!have || (wanted->type == LINK_XGMI && have->type != LINK_XGMI))
		return false;
	return !link_to(y, x->node_id) || link_to(b, a->node_id);
}

/* XGMI links between GPU i of the dump and those that have a place, both ways. */
static bool hive_fits(const struct search *q, size_t i, size_t d)
{
	const KfdDeviceEntry *x = q->src[i], *to = q->dst->node[d], *y, *b;
	const DevIolink *l, *back;
	size_t k, j;

	for (k = 0; k < q->ngpus; k++) {
		j = q->order[k];
		if (j == i || q->at[j] == NOWHERE)
			continue;
		y = q->src[j];
		b = q->dst->node[q->at[j]];
		l = link_to(x, y->node_id);
		back = link_to(y, x->node_id);
		if (l && l->type == LINK_XGMI && !not_worse(to, b, l, x, y))
			return false;
		if (back && back->type == LINK_XGMI && !not_worse(b, to, back, y, x))
			return false;
	}
	return true;
}

static bool place_gpu(struct search *q, size_t k);

/* Links of GPU number k from its j-th on lead to processors that have, or find, a place. */
static bool place_links(struct search *q, size_t k, size_t j)
{
	size_t i = q->order[k], c, d;
	const KfdDeviceEntry *x = q->src[i], *a = q->dst->node[q->at[i]], *cpu = NULL;
	bool known, fits = false;

	for (; j < x->n_iolinks; j++) {
		cpu = topology_node(q->src, q->nsrc, x->iolinks[j]->node_to_id);
		if (cpu && !node_is_gpu(cpu))
			break;
	}
	if (j == x->n_iolinks)
		return place_gpu(q, k + 1);
	for (c = 0; q->src[c] != cpu; c++)
		;
	known = q->s->numa && q->at[c] != NOWHERE;
	for (d = known ? q->at[c] : 0; d < q->dst->n && !fits; d++) {
		q->steps++;
		if (!node_is_gpu(q->dst->node[d]) &&
		    not_worse(a, q->dst->node[d], x->iolinks[j], x, cpu)) {
			if (!known)
				q->at[c] = d;
			fits = place_links(q, k, j + 1);
			if (!known && !fits)
				q->at[c] = NOWHERE;
		}
		if (known || q->steps > STEPS_MAX)
			break;
	}
	return fits;
}

/* Place GPUs from the k-th on. */
static bool place_gpu(struct search *q, size_t k)
{
	size_t d, i;

	if (k == q->ngpus)
		return true;
	i = q->order[k];
	for (d = 0; d < q->dst->n; d++) {
		if (++q->steps > STEPS_MAX)
			return false;
		if (q->taken[d] || !node_is_gpu(q->dst->node[d]) ||
		    misfit(q->src[i], q->dst->node[d], q->s) || !hive_fits(q, i, d))
			continue;
		q->at[i] = d;
		q->taken[d] = true;
		if (place_links(q, k, 0))
			return true;
		q->at[i] = NOWHERE;
		q->taken[d] = false;
	}
	return false;
}

static size_t xgmi_links(const struct search *q, size_t i)
{
	const KfdDeviceEntry *e = q->src[i];
	size_t k, n = 0;

	for (k = 0; k < e->n_iolinks; k++)
		n += e->iolinks[k]->type == LINK_XGMI;
	return n;
}

/* The GPUs: most XGMI links first, members of a hive together; stable. */
static void set_order(struct search *q)
{
	size_t i, k;

	for (i = 0; i < q->nsrc; i++) {
		if (!node_is_gpu(q->src[i]))
			continue;
		for (k = q->ngpus++; k > 0; k--) {
			const KfdDeviceEntry *before = q->src[q->order[k - 1]];
			size_t mine = xgmi_links(q, i), theirs = xgmi_links(q, q->order[k - 1]);

			if (theirs > mine ||
			    (theirs == mine && before->hive_id <= q->src[i]->hive_id))
				break;
			q->order[k] = q->order[k - 1];
		}
		q->order[k] = i;
	}
}

/* Why not: a GPU that fits nowhere by itself, or else links. */
static int explain(const struct search *q, struct fault *f)
{
	const char *why = NULL;
	size_t k, d;

	for (k = 0; k < q->ngpus; k++) {
		const KfdDeviceEntry *x = q->src[q->order[k]];
		bool any = false;

		for (d = 0; d < q->dst->n && !any; d++) {
			if (!node_is_gpu(q->dst->node[d]))
				continue;
			why = misfit(x, q->dst->node[d], q->s);
			any = !why;
		}
		if (!any)
			return fault(
				f, -ENODEV,
				"GPU %#x of the dump fits on none of this machine: %s differs; "
				"restore on one like it",
				x->gpu_id, why ? why : "everything");
	}
	return fault(f, -ENODEV,
		     "the GPUs of the dump do not fit on those of this machine: each finds its "
		     "like, but "
		     "the links between them and to processors differ (KFD_NUMA_CHECK=0 ignores "
		     "which processor)");
}

static int check_source(KfdDeviceEntry *const *src, size_t n, struct fault *f)
{
	size_t i;

	if (n > TOPOLOGY_NODES_MAX)
		return fault(f, -EBADMSG, "%zu nodes are too many", n);
	for (i = 0; i < n; i++)
		if (topology_node(src, n, src[i]->node_id) != src[i] ||
		    (node_is_gpu(src[i]) && topology_gpu(src, n, src[i]->gpu_id) != src[i]))
			return fault(f, -EBADMSG, "node %u (GPU %#x) is there twice",
				     src[i]->node_id, src[i]->gpu_id);
	return 0;
}

static void fill_map(const struct search *q, struct gpu_map *map)
{
	size_t k;

	map->place = xcalloc(q->ngpus + 1, sizeof(*map->place));
	for (k = 0; k < q->ngpus; k++) {
		const KfdDeviceEntry *x = q->src[q->order[k]],
				     *y = q->dst->node[q->at[q->order[k]]];

		map->place[map->n++] = (struct gpu_place){
			.old_gpu_id = x->gpu_id,
			.old_minor = x->drm_render_minor,
			.old_actual_id = x->has_actual_gpu_id ? x->actual_gpu_id : x->gpu_id,
			.new_gpu_id = y->gpu_id,
			.new_minor = y->drm_render_minor,
		};
	}
}

int gpu_map_find(KfdDeviceEntry *const *src, size_t nsrc, const struct topology *dst,
		 const struct match_switches *s, bool all, struct gpu_map *map, struct fault *f)
{
	struct search q = { .src = src, .nsrc = nsrc, .dst = dst, .s = s };
	size_t i, here = 0;
	int r = 0;

	*map = (struct gpu_map){ 0 };
	if (check_source(src, nsrc, f) < 0)
		return -1;
	q.order = xcalloc(nsrc + 1, sizeof(*q.order));
	q.at = xcalloc(nsrc + 1, sizeof(*q.at));
	q.taken = xcalloc(dst->n + 1, sizeof(*q.taken));
	for (i = 0; i < nsrc; i++)
		q.at[i] = NOWHERE;
	for (i = 0; i < dst->n; i++)
		here += node_is_gpu(dst->node[i]);
	set_order(&q);
	if (q.ngpus > here || (all && q.ngpus != here))
		r = fault(f, -ENODEV,
			  "the dump has %zu GPUs, this machine shows %zu: restore where as many "
			  "are visible",
			  q.ngpus, here);
	else if (!place_gpu(&q, 0))
		r = explain(&q, f);
	else
		fill_map(&q, map);
	free(q.order);
	free(q.at);
	free(q.taken);
	return r;
}

const struct gpu_place *gpu_map_of(const struct gpu_map *map, uint32_t old_gpu_id)
{
	size_t i;

	for (i = 0; i < map->n; i++)
		if (map->place[i].old_gpu_id == old_gpu_id)
			return &map->place[i];
	return NULL;
}

void gpu_map_free(struct gpu_map *map)
{
	free(map->place);
	*map = (struct gpu_map){ 0 };
}
