/* SPDX-License-Identifier: MIT */
/*
 * operation.c - what happens at each hook.
 *
 * Dump:     files become known one by one (op_wants_trace), then what the tracer was told, then
 * each is read (op_dump_file). With the last of them owners are elected and contents begin to be
 * copied, beside what the other workers write; op_dump_late waits for them and writes the images.
 * Restore:  op_prepare plans; files are made as far as what they import is there; contents are
 * copied meanwhile; op_barrier waits for them.
 *
 * Rights:   the image directory; to open device nodes.
 * Holds:    struct amd.
 */
#include "workers/gpu/amdgpu/operation.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/around.h"
#include "workers/gpu/amdgpu/copy.h"
#include "workers/gpu/amdgpu/drm.h"
#include "workers/gpu/amdgpu/elect.h"
#include "workers/gpu/amdgpu/kfd.h"
#include "workers/gpu/amdgpu/maps.h"
#include "workers/gpu/amdgpu/plan.h"
#include "workers/gpu/amdgpu/uapi.h"

int op_begin(struct amd *a, const struct device *d, int image_dir, struct fdstore *store,
	     struct botable *table, struct fault *f)
{
	*a = (struct amd){ .dev = *d, .image_dir = image_dir, .store = store, .table = table };
	a->kfd_major = kfd_major(d);
	return match_switches_read(&a->switches, f);
}

void op_end(struct amd *a)
{
	copier_cancel(a->copier);
	a->copier = NULL;
	around_free(take_ptr(&a->around));
	amd_clear(a);
}

static int refuse_primary(struct fault *f)
{
	return fault(f, -ENOTSUP,
		     "a primary node (/dev/dri/cardN), whose state cannot be dumped; have the "
		     "program use"
		     " the render node");
}

/* Buffers of other drivers are dmabufs as well. */
static int check_exporter(struct amd *a, int fd, struct fault *f)
{
	char exporter[32];

	if (!device_fdinfo(&a->dev, fd, "exp_name", exporter, sizeof(exporter)) ||
	    strcmp(exporter, "drm") == 0)
		return 0;
	return fault(f, -ENOTSUP,
		     "it is a buffer of \"%s\", not of a GPU's driver, and cannot be dumped",
		     exporter);
}

enum hook_answer op_notice_file(struct amd *a, int fd, struct fault *f)
{
	struct device_id id;

	if (device_classify(&a->dev, fd, a->kfd_major, &id, f) < 0 ||
	    (id.kind != DEVICE_OTHER && around_note(a, fd, &id, f) < 0))
		return HOOK_FAILED;
	return id.kind == DEVICE_OTHER ? HOOK_NOT_MINE : HOOK_DONE;
}

static enum hook_answer judge_dmabuf(struct amd *a, int fd, uint64_t inode, const char **deed,
				     struct fault *f)
{
	int r = check_exporter(a, fd, f) < 0 ? -1 : around_owner(a, inode, f);

	*deed = r > 0 || !a->around ?
		"buffer of a GPU, exported: comes back with the file that has it" :
		"buffer of a GPU, exported: comes back with the file that has it, if KFD has: it "
		"tells a dump alone";
	return r < 0 ? HOOK_FAILED : HOOK_DONE;
}

enum hook_answer op_judge_file(struct amd *a, int fd, const char **deed, struct fault *f)
{
	struct device_id id;

	if (device_classify(&a->dev, fd, a->kfd_major, &id, f) < 0)
		return HOOK_FAILED;
	switch (id.kind) {
	case DEVICE_KFD:
		*deed = "AMD GPUs by KFD: queues stop, contents are copied, a like GPU is needed "
			"to restore";
		return HOOK_DONE;
	case DEVICE_RENDER:
		*deed = "render node of an AMD GPU: buffers are copied, and made again on a like "
			"GPU";
		return drm_judge(&a->dev, fd, f) < 0 || around_imports(a, fd, f) < 0 ? HOOK_FAILED
										       : HOOK_DONE;
	case DEVICE_DMABUF:
		return judge_dmabuf(a, fd, id.inode, deed, f);
	case DEVICE_PRIMARY:
		return refuse_primary(f);
	default:
		return HOOK_NOT_MINE;
	}
}

static int read_topology(struct amd *a, struct fault *f)
{
	return a->topo.n ? 0 : topology_read(&a->dev, TOPOLOGY_ROOT, &a->topo, f);
}

/* Nodes of this driver: those of files that are ours, and of GPUs in the topology. */
static bool our_minor(struct amd *a, uint32_t minor, struct fault *f)
{
	size_t i;

	if (read_topology(a, f) < 0)
		return false;
	for (i = 0; i < a->nfiles; i++)
		if (a->file[i]->kind == DEVICE_RENDER && a->file[i]->minor == minor)
			return true;
	return topology_minor(a->topo.node, a->topo.n, minor);
}

enum hook_answer op_judge_map(struct amd *a, const DeviceMap *map, const char **deed,
			      struct fault *f)
{
	uint32_t node;
	enum device_kind kind = map_kind(map->path, &node);

	if (kind == DEVICE_OTHER || (kind == DEVICE_KFD && a->kfd_major < 0) ||
	    (kind == DEVICE_RENDER && !our_minor(a, node, f)))
		return f->code ? HOOK_FAILED : HOOK_NOT_MINE;
	*deed = "memory of an AMD GPU: mapped again from the restored buffer";
	return HOOK_DONE;
}

/* The row of a file of ours, new when it was not seen before; NULL: another's, or f is set. */
static struct amd_file *know(struct amd *a, const DeviceFile *file, int fd, struct fault *f)
{
	struct amd_file *row = amd_file_find(a, file->id);
	struct device_id id;

	if (row)
		return row;
	if (device_classify(&a->dev, fd, a->kfd_major, &id, f) < 0)
		return NULL;
	if (id.kind == DEVICE_PRIMARY)
		refuse_primary(f);
	if (id.kind == DEVICE_PRIMARY || id.kind == DEVICE_OTHER)
		return NULL;
	if (id.kind == DEVICE_KFD && !a->version_checked) {
		if (kfd_check_version(&a->dev, f) < 0)
			return NULL;
		a->version_checked = true;
	}
	row = amd_file_add(a, file->id, id.kind, file->pid, file->name);
	row->minor = id.minor;
	a->expected++;
	return row;
}

enum hook_answer op_wants_trace(struct amd *a, const DeviceFile *file, int fd, struct fault *f)
{
	const struct amd_file *row = know(a, file, fd, f);

	if (!row && f->code)
		return HOOK_FAILED;
	return row && row->kind == DEVICE_KFD ? HOOK_DONE : HOOK_NOT_MINE;
}

enum hook_answer op_handle_vma(struct amd *a, const DeviceMap *map, const struct stat *st,
			       struct fault *f)
{
	uint32_t node;
	enum device_kind kind = map_kind(map->path, &node);

	if (S_ISCHR(st->st_mode) && a->kfd_major >= 0 && (int)major(st->st_rdev) == a->kfd_major)
		kind = DEVICE_KFD;
	else if (S_ISCHR(st->st_mode) && major(st->st_rdev) == DRM_MAJOR &&
		 our_minor(a, minor(st->st_rdev), f))
		kind = DEVICE_RENDER;
	else if (kind != DEVICE_DMABUF)
		kind = DEVICE_OTHER;
	if (f->code)
		return HOOK_FAILED;
	if (kind == DEVICE_OTHER)
		return HOOK_NOT_MINE;
	*(DeviceMap **)grow(&a->map, a->nmaps++, &a->maps_cap, sizeof(DeviceMap *)) =
		message_copy(&map->base);
	return HOOK_DONE;
}

enum hook_answer op_traced(struct amd *a, const GpuTraced *t, int *fds, struct fault *f)
{
	struct amd_file *file = amd_file_find(a, t->id);
	uint32_t i;

	if (file && file->kind == DEVICE_KFD && read_topology(a, f) == 0)
		return kfd_collect(a, file, t, fds, f) < 0 ? HOOK_FAILED : HOOK_DONE;
	for (i = 0; file && i < t->nfds; i++)
		dev_close(&a->dev, fds[i]);
	return file ? HOOK_FAILED : HOOK_NOT_MINE;
}

static int collect_dmabuf(struct amd *a, struct amd_file *file, struct fault *f)
{
	struct device_id id = { 0 };

	if (device_dmabuf(&a->dev, file->fd, &id, f) < 0 ||
	    botable_reserve(a->table, botable_count(a->table) + 1, f) < 0 ||
	    check_exporter(a, file->fd, f) < 0)
		return -1;
	file->dmabuf = xcalloc(1, sizeof(*file->dmabuf));
	criu_dmabuf_node__init(file->dmabuf);
	file->dmabuf->has_inode = file->dmabuf->has_size = true;
	file->dmabuf->inode = id.inode;
	file->dmabuf->size = id.size;
	return botable_import(a->table, id.inode, file->id, f) ? 0 : -1;
}

static int collect(struct amd *a, struct amd_file *file, int fd, struct fault *f)
{
	if (read_topology(a, f) < 0)
		return -1;
	file->fd = dev_dup(&a->dev, fd);
	if (file->fd < 0)
		return fault(
			f, errno,
			"duplicate its descriptor (raise the limit of open files: ulimit -Hn)");
	if (file->kind == DEVICE_RENDER)
		return drm_collect(a, file, f);
	if (file->kind == DEVICE_DMABUF)
		return collect_dmabuf(a, file, f);
	if (!file->kfd)
		return fault(f, -EPROTO, "its state was not asked for");
	return 0;
}

enum hook_answer op_dump_file(struct amd *a, const DeviceFile *msg, int fd, struct fault *f)
{
	struct amd_file *file = know(a, msg, fd, f);

	if (!file)
		return f->code ? HOOK_FAILED : HOOK_NOT_MINE;
	if (file->collected)
		return HOOK_DONE;
	if (collect(a, file, fd, f) < 0)
		return HOOK_FAILED;
	file->collected = true;
	a->expected--;
	/* What is wrong with all together is no fault of this file: told late. */
	if (!a->expected)
		elect(a, &a->late);
	return HOOK_DONE;
}

enum hook_answer op_dump_late(struct amd *a, struct fault *f)
{
	struct copier *c;
	int r;

	if (a->expected)
		return fault(f, -EPROTO, "%zu devices were announced and not shown", a->expected);
	/* Mappings alone: no file is open. */
	if (!a->elected)
		elect(a, &a->late);
	if (a->late.code)
		return fault(f, -a->late.code, "%s", a->late.text);
	c = a->copier;
	a->copier = NULL;
	r = copier_end(c, &a->watch, f);
	return r < 0 || elect_write(a, f) < 0 ? HOOK_FAILED : HOOK_DONE;
}

enum hook_answer op_prepare(struct amd *a, const GpuPrepare *req, struct fault *f)
{
	if (plan(a, req, f) < 0)
		return HOOK_FAILED;
	if (!a->nfiles)
		return HOOK_NOT_MINE;
	a->copier = copier_new(&a->dev, a->image_dir, true, a->switches.buffer_max);
	return HOOK_DONE;
}

pid_t op_task_of(struct amd *a, uint32_t id)
{
	const struct amd_file *file = amd_file_find(a, id);

	if (!file)
		return -1;
	return file->kfd ? file->pid : 0;
}

static enum hook_answer restore_dmabuf(struct amd *a, struct amd_file *file, int *fd,
				       struct fault *f)
{
	int64_t id = botable_want(a->table, amd_bo_key(file, 0));

	if (id < 0)
		return HOOK_RETRY;
	*fd = fdstore_take(a->store, id, f);
	if (*fd < 0)
		return fault_prefix(f, "%s", file->name);
	file->made = true;
	return HOOK_DONE;
}

enum hook_answer op_restore_file(struct amd *a, uint32_t id, struct gate *gate, int spare_fd,
				 int *fd, struct fault *f)
{
	struct amd_file *file = amd_file_find(a, id);

	if (!file)
		return HOOK_NOT_MINE;
	if (file->node)
		return drm_restore(a, file, fd, f);
	if (file->dmabuf)
		return restore_dmabuf(a, file, fd, f);
	return kfd_restore(a, file, gate, spare_fd, fd, f) < 0 ? HOOK_FAILED : HOOK_DONE;
}

/* A mapping of a device of ours: our images have a file of the kind. */
enum hook_answer op_update_map(struct amd *a, const DeviceMap *map, uint64_t *offset, int *fd,
			       struct fault *f)
{
	uint32_t node;

	if (!a->nfiles || map_kind(map->path, &node) == DEVICE_OTHER)
		return HOOK_NOT_MINE;
	return map_translate(a, map, offset, fd, f) < 0 ? HOOK_FAILED : HOOK_DONE;
}

int op_barrier(struct amd *a, struct fault *f)
{
	struct copier *c = a->copier;

	a->copier = NULL;
	return copier_end(c, &a->watch, f);
}

enum hook_answer op_resume(struct amd *a, pid_t pid, struct fault *f)
{
	enum hook_answer r = HOOK_NOT_MINE;
	size_t i;

	for (i = 0; i < a->nfiles; i++) {
		if (!a->file[i]->kfd || a->file[i]->pid != pid)
			continue;
		if (kfd_resume(a, a->file[i], f) < 0)
			return HOOK_FAILED;
		r = HOOK_DONE;
	}
	return r;
}
