/* SPDX-License-Identifier: MIT */
/*
 * seal.c - the images that describe a dump as a whole: pstree, inventory, statistics.
 *
 * Rights:   the image and work directories.
 * Holds:    nothing.
 */
#include "coordinator/seal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "coordinator/kids.h"
#include "coordinator/labels.h"
#include "proto/control/util.h"
#include "proto/images/image.h"
#include "proto/images/inventory.pb-c.h"
#include "proto/images/stats.pb-c.h"

#define INVENTORY "inventory.img"
#define INVENTORY_TEMP ".inventory.img.new"
#define IMAGES_VERSION 2		/* every file starts with a common magic */
#define OWN_CGROUP_SET 1

static int write_task(struct image *img, const struct task *t, struct fault *f)
{
	AUTO_FREE uint32_t *ids = xcalloc(t->nthreads + 1, sizeof(*ids));
	PstreeEntry e = PSTREE_ENTRY__INIT;
	size_t i;

	if (t->leader_dead)
		ids[e.n_threads++] = t->vpid;
	for (i = 0; i < t->nthreads; i++)
		ids[e.n_threads++] = t->threads[i].vtid;
	e.pid = t->vpid;
	e.ppid = t->parent ? t->parent->vpid : 0;
	e.pgid = t->pgid;
	e.sid = t->sid;
	e.threads = ids;
	return image_write(img, &e.base, f);
}

int seal_tree(struct job *job, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_create(job->image_dir, IMG_PSTREE, 0, f);
	size_t i;

	if (!img)
		return -1;
	for (i = 0; i < job->ntasks; i++)
		if (write_task(img, job->tasks[i], f) < 0)
			return -1;
	return image_close(&img, f);
}

/* ---- inventory ---- */

int seal_run_id(struct job *job, struct fault *f)
{
	uint8_t r[16];

	if (job->run_id[0])
		return 0;
	if (getrandom(r, sizeof(r), 0) != sizeof(r))
		return fault(f, errno, "getrandom");
	r[6] = (r[6] & 0x0f) | 0x40;
	r[8] = (r[8] & 0x3f) | 0x80;
	snprintf(job->run_id, sizeof(job->run_id),
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1],
		 r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14],
		 r[15]);
	return 0;
}

/* Magic, length, message: the whole file in one buffer. */
static int write_inventory(int fd, const InventoryEntry *e, struct fault *f)
{
	uint32_t magic = image_info(IMG_INVENTORY)->magic;
	uint32_t len = inventory_entry__get_packed_size(e);
	AUTO_FREE uint8_t *buf = xcalloc(1, 8 + len);

	memcpy(buf, &magic, 4);
	memcpy(buf + 4, &len, 4);
	inventory_entry__pack(e, buf + 8);
	if (write_full(fd, buf, 8 + len) < 0)
		return fault(f, errno, "write " INVENTORY);
	return 0;
}

static int replace_inventory(int dir, const InventoryEntry *e, struct fault *f)
{
	AUTO_CLOSE int fd = openat(dir, INVENTORY_TEMP,
				   O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return fault(f, errno, "create " INVENTORY);
	if (write_inventory(fd, e, f) < 0) {
		unlinkat(dir, INVENTORY_TEMP, 0);
		return -1;
	}
	if (close(take_fd(&fd)) < 0 || renameat(dir, INVENTORY_TEMP, dir, INVENTORY) < 0)
		return fault(f, errno, "put " INVENTORY " in place");
	return 0;
}

int seal_inventory(struct job *job, struct fault *f)
{
	InventoryEntry e = INVENTORY_ENTRY__INIT;
	PluginsEntry plugins = PLUGINS_ENTRY__INIT;
	TaskKobjIdsEntry own;

	if (seal_run_id(job, f) < 0)
		return -1;
	kids_own_entry(&own);
	e.img_version = IMAGES_VERSION;
	e.has_fdinfo_per_id = e.fdinfo_per_id = true;
	e.has_ns_per_id = e.ns_per_id = true;
	e.root_ids = &own;
	e.has_root_cg_set = true;
	e.root_cg_set = OWN_CGROUP_SET;
	e.has_lsmtype = true;
	e.lsmtype = labels_module();
	e.has_network_lock_method = true;
	e.network_lock_method = job->network_lock < 0 ? NETWORK_LOCK_SKIP : job->network_lock;
	e.has_has_sockets = e.has_sockets = job->has_sockets;
	e.has_tcp_close = e.tcp_close = job->opts->tcp_close;
	e.has_allow_uprobes = e.allow_uprobes = job->uprobes;
	plugins.plugins = job->plugins.list;
	plugins.n_plugins = job->plugins.n;
	e.plugins_entry = &plugins;
	e.dump_criu_run_id = job->run_id;
	return replace_inventory(job->image_dir, &e, f);
}

/*
 * The inventory first. Then the other images: entries are appended to some, and others would be
 * taken for this dump's.
 */
int seal_break(struct job *job, struct fault *f)
{
	AUTO_CLOSE int fd = openat(job->image_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;
	uint64_t id;

	if (unlinkat(job->image_dir, INVENTORY, 0) < 0 && errno != ENOENT)
		return fault(f, errno, "remove the " INVENTORY " of an older dump");
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return fault(f, errno, "list the image directory");
	take_fd(&fd);
	while ((e = readdir(dir)))
		if (image_type_by_name(e->d_name, &id) >= 0 &&
		    unlinkat(job->image_dir, e->d_name, 0) < 0 && errno != ENOENT)
			return fault(f, errno, "remove the %s of an older dump", e->d_name);
	return 0;
}

/* ---- statistics ---- */

static void show_pages(const char *what, uint64_t n)
{
	printf("%s: %" PRIu64 " (0x%" PRIx64 ")\n", what, n, n);
}

static void show_stats(const DumpStatsEntry *d)
{
	printf("Displaying dump stats:\n");
	printf("Freezing time: %u us\n", d->freezing_time);
	printf("Frozen time: %u us\n", d->frozen_time);
	printf("Memory dump time: %u us\n", d->memdump_time);
	printf("Memory write time: %u us\n", d->memwrite_time);
	printf("IRMAP resolve time: %u us\n", d->irmap_resolve);
	show_pages("Memory pages scanned", d->pages_scanned);
	show_pages("Memory pages skipped from parent", d->pages_skipped_parent);
	show_pages("Memory pages written", d->pages_written);
	show_pages("Lazy memory pages", d->pages_lazy);
	fflush(stdout);
}

static void fill_stats(const struct job *job, DumpStatsEntry *d)
{
	const MemWritten *w = job->written;

	d->freezing_time = job->timing.freezing_us;
	d->frozen_time = job->timing.frozen_us;
	d->has_irmap_resolve = true;
	d->has_page_pipes = d->has_page_pipe_bufs = true;
	d->has_shpages_scanned = d->has_shpages_written = d->has_shpages_skipped_parent = true;
	if (!w)
		return;
	d->memdump_time = w->memdump_us;
	d->memwrite_time = w->memwrite_us;
	d->pages_scanned = w->pages_scanned;
	d->pages_written = w->pages_written;
	d->shpages_scanned = w->shpages_scanned;
	d->shpages_written = w->shpages_written;
}

int seal_stats(struct job *job, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_create(job->work_dir, IMG_STATS_DUMP, 0, f);
	DumpStatsEntry d = DUMP_STATS_ENTRY__INIT;
	StatsEntry e = STATS_ENTRY__INIT;

	fill_stats(job, &d);
	e.dump = &d;
	if (!img || image_write(img, &e.base, f) < 0 || image_close(&img, f) < 0)
		return -1;
	if (job->opts->display_stats)
		show_stats(&d);
	return 0;
}
