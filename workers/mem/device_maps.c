/* SPDX-License-Identifier: MIT */
/*
 * device_maps.c - mappings of devices: gpu knows what is in them, here they have a place.
 *
 * Rights:   none.
 * Holds:    dump: those not told yet, in the collection.
 */
#include "workers/mem/device_maps.h"

#include <sys/mman.h>

#include "proto/control/util.h"
#include "workers/mem/vma.h"

static DeviceMap *new_map(pid_t pid, uint64_t start, uint64_t end)
{
	DeviceMap *d = xcalloc(1, sizeof(*d));

	device_map__init(d);
	d->pid = pid;
	d->start = start;
	d->end = end;
	return d;
}

void device_maps_add(struct collection *all, pid_t pid, const struct map *m, const char *refusal)
{
	DeviceMap *d = new_map(pid, m->start, m->end);

	d->offset = m->pgoff;
	d->prot = m->prot;
	d->flags = m->shared ? MAP_SHARED : MAP_PRIVATE;
	d->path = xstrdup(m->name);
	d->has_dev = d->has_ino = true;
	d->dev = m->dev;
	d->ino = m->ino;
	d->refusal = xstrdup(refusal);
	*(DeviceMap **)grow(&all->device, all->ndevices++, &all->devices_cap, sizeof(d)) = d;
}

size_t device_maps_take(struct collection *all, DeviceMap ***list)
{
	size_t n = all->ndevices;

	*list = take_ptr(&all->device);
	all->ndevices = all->devices_cap = 0;
	return n;
}

void device_maps_free(struct collection *all)
{
	size_t i;

	for (i = 0; i < all->ndevices; i++)
		device_map__free_unpacked(all->device[i], NULL);
	free(take_ptr(&all->device));
}

/* Its path is in files.img, which is not ours to read. */
void device_maps_places(const struct target *t, MemPrepared *out)
{
	DeviceMap *d;
	size_t i;

	for (i = 0; i < t->n; i++) {
		const VmaEntry *e = t->vma[i];

		if (!vma_is_device(e))
			continue;
		d = new_map(t->pid, e->start, e->end);
		d->offset = e->pgoff;
		d->prot = e->prot;
		d->flags = e->flags;
		d->path = xstrdup("");
		d->has_open_flags = d->has_madv = d->has_file = true;
		d->open_flags = target_open_flags(e);
		d->madv = e->madv;
		d->file = e->shmid;
		out->device = xrealloc(out->device, out->n_device + 1, sizeof(d));
		out->device[out->n_device++] = d;
	}
}
