/* SPDX-License-Identifier: MIT */
/*
 * tree_load.c - read who the tasks were: inventory, pstree, ids, core.
 *
 * Rights:   the image directory; /proc for the ids in use.
 * Holds:    nothing; the messages read stay with the job's threads.
 */
#include "coordinator/tree_load.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "coordinator/core_check.h"
#include "coordinator/task_image.h"
#include "proto/control/util.h"
#include "proto/images/image.h"
#include "proto/images/inventory.pb-c.h"
#include "workers/common/parallel.h"
#include "workers/common/procfs.h"

#define MAX_PID (1 << 22)	/* PID_MAX_LIMIT */
#define IMAGES_OLDEST 1
#define IMAGES_NEWEST 2

/* What is known while the tree is read. */
struct loader {
	struct job *job;
	InventoryEntry *inventory;
	uint8_t *seen;		/* one bit per id */
	struct task **by_pid;
};

/* ---- inventory ---- */

/* For the gpu worker to look for. */
static void take_plugins(struct loader *l)
{
	PluginsEntry *e = l->inventory->plugins_entry;

	l->job->plugins.known = e;
	if (!e)
		return;
	l->job->plugins.list = take_ptr(&e->plugins);
	l->job->plugins.n = e->n_plugins;
	e->n_plugins = 0;
}

static int read_inventory(struct loader *l, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open(l->job->image_dir, IMG_INVENTORY, 0, f);
	ProtobufCMessage *msg = NULL;

	if (!img)
		return f->code == ENOENT ?
			fault_prefix(f, "this directory holds no complete dump") : -1;
	if (image_read_one(img, &msg, f) < 0)
		return -1;
	l->inventory = (InventoryEntry *)msg;
	l->job->has_sockets = l->inventory->has_sockets;
	if (l->inventory->has_network_lock_method)
		l->job->network_lock = l->inventory->network_lock_method;
	if (l->inventory->dump_criu_run_id)
		snprintf(l->job->run_id, sizeof(l->job->run_id), "%s",
			 l->inventory->dump_criu_run_id);
	if (l->inventory->img_version < IMAGES_OLDEST || l->inventory->img_version > IMAGES_NEWEST)
		return fault(f, -EINVAL, "inventory.img: image version %u is not known here",
			     l->inventory->img_version);
	if (!l->inventory->has_fdinfo_per_id || !l->inventory->fdinfo_per_id ||
	    !l->inventory->has_ns_per_id || !l->inventory->ns_per_id)
		return fault(f, -EINVAL, "inventory.img: images of this age are not supported; "
			     "restore and dump them with CRIU 2 or later first");
	if (l->inventory->allow_uprobes && !l->job->opts->allow_uprobes)
		return fault(f, -EINVAL, "a task of this dump ran under uprobes: give "
			     "--allow-uprobes, and have the same probes active here");
	take_plugins(l);
	if (!l->inventory->root_ids)
		return fault(f, -EINVAL, "inventory.img: root_ids is missing");
	return 0;
}

/* ---- pstree ---- */

/* Mark an id as belonging to the tree. */
static int claim(struct loader *l, uint32_t id, struct fault *f)
{
	if (!id || id > MAX_PID)
		return fault(f, -EINVAL, "pstree.img: id %u is out of range", id);
	if (l->seen[id / 8] & (1 << id % 8))
		return fault(f, -EINVAL, "pstree.img: id %u occurs twice", id);
	l->seen[id / 8] |= 1 << id % 8;
	return 0;
}

static int check_group(const PstreeEntry *e, struct fault *f)
{
	if (e->pgid > MAX_PID || e->sid > MAX_PID)
		return fault(f, -EINVAL, "pstree.img: task %u has group %u and session %u, out of "
			     "range", e->pid, e->pgid, e->sid);
	if (!e->pgid || !e->sid)
		return fault(f, -ENOTSUP, "task %u belongs to a session outside of its pid "
			     "namespace; such a tree cannot be restored", e->pid);
	if (e->sid == e->pid && e->pgid != e->pid)
		return fault(f, -EINVAL, "pstree.img: task %u leads a session but not its group",
			     e->pid);
	return 0;
}

static int find_parent(struct loader *l, const PstreeEntry *e, struct task **parent,
		       struct fault *f)
{
	*parent = NULL;
	if (!e->ppid && l->job->ntasks)
		return fault(f, -EINVAL, "pstree.img: task %u has no parent, but is not the first",
			     e->pid);
	if (!e->ppid)
		return 0;
	if (e->ppid <= MAX_PID)
		*parent = l->by_pid[e->ppid];
	if (!*parent)
		return fault(f, -EINVAL, "pstree.img: the parent %u of task %u does not come "
			     "before it", e->ppid, e->pid);
	return 0;
}

static int add_task(struct loader *l, const PstreeEntry *e, struct fault *f)
{
	struct task *parent, *t;
	size_t i;

	if (find_parent(l, e, &parent, f) < 0 || claim(l, e->pid, f) < 0 || check_group(e, f) < 0)
		return -1;
	/* CRIU leaves the single thread id of a zombie uninitialised. */
	if (e->n_threads > 1 && e->threads[0] != e->pid)
		return fault(f, -EINVAL, "pstree.img: the first thread of task %u is not its "
			     "leader", e->pid);
	for (i = 1; i < e->n_threads; i++)
		if (claim(l, e->threads[i], f) < 0)
			return -1;
	t = job_add_task(l->job, parent);
	t->pid = t->tgid = t->vpid = e->pid;
	t->ppid = e->ppid;
	t->pgid = e->pgid;
	t->sid = e->sid;
	task_add_thread(t, e->pid, e->pid);
	for (i = 1; i < e->n_threads; i++)
		task_add_thread(t, e->threads[i], e->threads[i]);
	l->by_pid[e->pid] = t;
	return 0;
}

static int read_pstree(struct loader *l, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open(l->job->image_dir, IMG_PSTREE, 0, f);
	int r;

	if (!img)
		return -1;
	for (;;) {
		AUTO_MSG ProtobufCMessage *msg = NULL;

		r = image_read(img, &msg, f);
		if (r < 0)
			return -1;
		if (!r)
			break;
		if (add_task(l, (PstreeEntry *)msg, f) < 0)
			return -1;
	}
	if (!l->job->ntasks)
		return fault(f, -EINVAL, "pstree.img: there is no task in it");
	return 0;
}

/* ---- core and ids ---- */

static int read_core(struct job *job, struct thread *th, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open(job->image_dir, IMG_CORE, th->vtid, f);
	ProtobufCMessage *msg = NULL;

	if (!img || image_read_one(img, &msg, f) < 0)
		return -1;
	th->core = (CoreEntry *)msg;
	return 0;
}

static void set_state(struct task *t)
{
	const TaskCoreEntry *tc = t->threads[0].core->tc;

	t->state = TASK_RUNNING;
	if (tc->task_state == IMAGE_TASK_STOPPED) {
		t->state = TASK_STOPPED;
		t->stop_signal = tc->has_stop_signo && tc->stop_signo ? (int)tc->stop_signo :
									SIGSTOP;
	} else if (tc->task_state == IMAGE_TASK_LEADERLESS) {
		t->leader_dead = true;
		t->exit_status = tc->exit_code;
		t->state = tc->has_stop_signo ? TASK_STOPPED : TASK_RUNNING;
		t->stop_signal = tc->stop_signo ? (int)tc->stop_signo : SIGSTOP;
	} else if (tc->task_state != IMAGE_TASK_ALIVE) {
		t->state = TASK_ZOMBIE;
		t->exit_status = tc->exit_code;
	}
}

static int read_leader(struct loader *l, struct task *t, struct fault *f)
{
	struct thread *th = &t->threads[0];

	if (read_core(l->job, th, f) < 0)
		return -1;
	if (!th->core->tc)
		return fault(f, -EINVAL, "core-%d.img: the part on the whole task is missing",
			     t->vpid);
	set_state(t);
	if (core_check_leader(t->vpid, th->core, t->state != TASK_ZOMBIE, f) < 0)
		return -1;
	if (t->leader_dead && t->nthreads == 1)
		return fault(f, -EINVAL, "pstree.img: the leader of task %d is dead and there is "
			     "no other thread", t->vpid);
	if (t->state != TASK_ZOMBIE)
		return 0;
	if (!t->parent)
		return fault(f, -EINVAL, "pstree.img: the root task %d is dead", t->vpid);
	if (t->nchildren)
		return fault(f, -EINVAL, "pstree.img: task %d is dead but has children", t->vpid);
	t->nthreads = 1;
	return 0;
}

/*
 * Our reach is the namespaces we are in: those of the dumping tool must be the task's own. A time
 * namespace is made for every tree (clocks.c).
 */
static int check_namespaces(const struct loader *l, const struct task *t,
			    const TaskKobjIdsEntry *ids, struct fault *f)
{
	const TaskKobjIdsEntry *own = l->inventory->root_ids;
	const struct {
		const char *name;
		bool differs;
	} spaces[] = {
		{ "pid", ids->has_pid_ns_id && ids->pid_ns_id != own->pid_ns_id },
		{ "net", ids->has_net_ns_id && ids->net_ns_id != own->net_ns_id },
		{ "ipc", ids->has_ipc_ns_id && ids->ipc_ns_id != own->ipc_ns_id },
		{ "uts", ids->has_uts_ns_id && ids->uts_ns_id != own->uts_ns_id },
		{ "mnt", ids->has_mnt_ns_id && ids->mnt_ns_id != own->mnt_ns_id },
		{ "user", ids->has_user_ns_id && ids->user_ns_id != own->user_ns_id },
		{ "cgroup", ids->has_cgroup_ns_id && own->has_cgroup_ns_id &&
		  ids->cgroup_ns_id != own->cgroup_ns_id },
		{ "time", t->time_ns_id != l->job->tasks[0]->time_ns_id },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(spaces); i++)
		if (spaces[i].differs)
			return fault(f, -ENOTSUP, "task %d was in a %s namespace of its own, which "
				     "is not restored yet; dump it from within that namespace",
				     t->vpid, spaces[i].name);
	return 0;
}

static int read_ids(struct loader *l, struct task *t, struct fault *f)
{
	struct fault own = { 0 };
	AUTO_IMAGE struct image *img = image_open_optional(l->job->image_dir, IMG_IDS, t->vpid,
							   &own);
	AUTO_MSG ProtobufCMessage *msg = NULL;
	const TaskKobjIdsEntry *ids = t->threads[0].core->ids;

	if (own.code) {
		*f = own;
		return -1;
	}
	if (img && image_read_one(img, &msg, f) < 0)
		return -1;
	if (msg)
		ids = (const TaskKobjIdsEntry *)msg;
	if (!ids && t->state == TASK_ZOMBIE)
		return 0;
	if (!ids)
		return fault(f, -EINVAL, "ids-%d.img is missing", t->vpid);
	t->vm_id = ids->vm_id;
	t->files_id = ids->files_id;
	t->fs_id = ids->fs_id;
	t->sighand_id = ids->sighand_id;
	if (ids->has_time_ns_id && l->inventory->root_ids->has_time_ns_id &&
	    ids->time_ns_id != l->inventory->root_ids->time_ns_id)
		t->time_ns_id = ids->time_ns_id;
	return t->state == TASK_ZOMBIE ? 0 : check_namespaces(l, t, ids, f);
}

/* ---- who shares what ---- */

struct by_id {
	uint32_t id;
	size_t index;
	struct task *task;
};

static int compare_ids(const void *a, const void *b)
{
	const struct by_id *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* Mark the tasks whose object (the id at this offset) an earlier task has too. */
static void mark_shared(struct job *job, size_t id_at, size_t mark_at)
{
	AUTO_FREE struct by_id *v = xcalloc(job->ntasks, sizeof(*v));
	size_t i, n = 0;

	for (i = 0; i < job->ntasks; i++) {
		if (job->tasks[i]->state == TASK_ZOMBIE)
			continue;
		v[n].id = *(const uint32_t *)((const char *)job->tasks[i] + id_at);
		v[n].index = i;
		v[n++].task = job->tasks[i];
	}
	qsort(v, n, sizeof(*v), compare_ids);
	for (i = 1; i < n; i++)
		*(bool *)((char *)v[i].task + mark_at) = v[i].id == v[i - 1].id;
}

static int check_sharing(const struct job *job, struct fault *f)
{
	const struct task *t;
	size_t i;

	for (i = 0; i < job->ntasks; i++) {
		t = job->tasks[i];
		if (t->vm_shared)
			return fault(f, -ENOTSUP, "task %d shares its address space with another "
				     "process (vfork or CLONE_VM), which cannot be restored",
				     t->vpid);
		if (t->files_shared && (!t->parent || t->parent->files_id != t->files_id))
			return fault(f, -ENOTSUP, "task %d shares its descriptor table with a task "
				     "that is not its parent, which cannot be restored", t->vpid);
		if (t->fs_shared && (!t->parent || t->parent->fs_id != t->fs_id))
			return fault(f, -ENOTSUP, "task %d shares its working directory (CLONE_FS) "
				     "with a task that is not its parent, which cannot be restored",
				     t->vpid);
	}
	return 0;
}

static void mark_all(struct job *job)
{
	mark_shared(job, offsetof(struct task, vm_id), offsetof(struct task, vm_shared));
	mark_shared(job, offsetof(struct task, files_id), offsetof(struct task, files_shared));
	mark_shared(job, offsetof(struct task, fs_id), offsetof(struct task, fs_shared));
}

static int read_tasks(struct loader *l, struct fault *f)
{
	size_t i;

	for (i = 0; i < l->job->ntasks; i++)
		if (read_leader(l, l->job->tasks[i], f) < 0 || read_ids(l, l->job->tasks[i], f) < 0)
			return -1;
	mark_all(l->job);
	return check_sharing(l->job, f);
}

int tree_load(struct job *job, struct fault *f)
{
	struct loader l = { .job = job };
	int r = 0;

	l.seen = xcalloc(MAX_PID / 8 + 1, 1);
	l.by_pid = xcalloc(MAX_PID + 1, sizeof(*l.by_pid));
	if (read_inventory(&l, f) < 0 || read_pstree(&l, f) < 0 || read_tasks(&l, f) < 0)
		r = -1;
	if (l.inventory)
		inventory_entry__free_unpacked(l.inventory, NULL);
	free(l.seen);
	free(l.by_pid);
	return r;
}

/* All threads but leaders, in one list for parallel work. */
struct thread_list {
	struct job *job;
	struct one_thread {
		struct task *task;
		struct thread *thread;
	} *item;
	size_t n, cap;
};

static int read_thread(void *ctx, size_t i, struct fault *f)
{
	const struct thread_list *l = ctx;
	const struct one_thread *o = &l->item[i];

	if (read_core(l->job, o->thread, f) < 0)
		return -1;
	return core_check_thread(o->task->vpid, o->thread->vtid, o->thread->core, f);
}

int tree_load_threads(struct job *job, struct fault *f)
{
	struct thread_list l = { .job = job };
	struct task *t;
	size_t i, k;
	int r;

	for (i = 0; i < job->ntasks; i++) {
		t = job->tasks[i];
		for (k = 1; k < t->nthreads; k++) {
			struct one_thread *o = grow(&l.item, l.n, &l.cap, sizeof(*o));

			*o = (struct one_thread){ t, &t->threads[k] };
			l.n++;
		}
	}
	r = parallel_join(parallel_start(l.n, read_thread, &l), f);
	free(l.item);
	return r;
}

/* ---- ids in use ---- */

/* A directory look-up in /proc costs some microseconds for each of thousands of threads. */
bool id_in_use(pid_t id)
{
	return sched_getscheduler(id) >= 0 || errno != ESRCH;
}

/*
 * May no new task have this number? Also when it is that of a session or group whose leader is
 * gone, or of a task reaped a moment ago: since Linux 6.15 the number is free a little later.
 * F_SETOWN of any file looks for the number alone.
 */
static bool number_taken(int probe, pid_t id)
{
	return fcntl(probe, F_SETOWN, id) == 0 || errno != ESRCH;
}

/*
 * The number may be that of a zombie, or of its session, which was killed by the dump a moment ago
 * and which init, its new parent, has not reaped yet. True when it is free within three seconds.
 */
static bool wait_for_reaper(int probe, pid_t id, struct fault *f)
{
	const struct timespec pause = { 0, 1000000 };
	struct proc_stat st = { 0 };
	struct fault own = { 0 };
	int i;

	for (i = 0; i < 3000; i++) {
		if (procfs_stat(id, 0, &st, &own) == 0 && st.state != 'Z' && st.state != 'X')
			return false;
		nanosleep(&pause, NULL);
		if (!number_taken(probe, id))
			return true;
	}
	if (id_in_use(id))
		fault(f, -EEXIST, "id %d still belongs to the dead task %s: its parent (task %d) "
		      "does not reap it; try again later", id, st.comm, st.ppid);
	else
		fault(f, -EEXIST, "id %d is the session or group of other tasks (ps -eo "
		      "pid,pgid,sid shows them); end them, or restore elsewhere", id);
	return false;
}

static int check_free(int probe, pid_t id, long long pid_max, struct fault *f)
{
	struct fault own = { 0 };
	struct proc_status st;

	if (id >= pid_max)
		return fault(f, -ERANGE, "id %d is above the largest this machine gives out "
			     "(%lld); raise /proc/sys/kernel/pid_max", id, pid_max);
	if (!number_taken(probe, id) || wait_for_reaper(probe, id, f))
		return 0;
	if (f->code)
		return -1;
	if (procfs_status(id, 0, &st, &own) < 0)
		return fault(f, -EEXIST, "id %d is in use by another task; end it, or restore "
			     "elsewhere", id);
	fault(f, -EEXIST, "id %d is in use by task %d (%s); end it, or restore elsewhere", id,
	      st.tgid, st.name);
	proc_status_free(&st);
	return -1;
}

static int read_pid_max(long long *value, struct fault *f)
{
	AUTO_FCLOSE FILE *s = fopen("/proc/sys/kernel/pid_max", "re");

	if (!s || fscanf(s, "%lld", value) != 1)
		return fault(f, errno, "read /proc/sys/kernel/pid_max");
	return 0;
}

int tree_ids_free(struct job *job, struct fault *f)
{
	AUTO_CLOSE int probe = eventfd(0, EFD_CLOEXEC);
	long long pid_max;
	size_t i, k;

	if (probe < 0)
		return fault(f, errno, "make an eventfd");
	if (read_pid_max(&pid_max, f) < 0)
		return -1;
	for (i = 0; i < job->ntasks; i++)
		for (k = 0; k < job->tasks[i]->nthreads; k++)
			if (check_free(probe, job->tasks[i]->threads[k].tid, pid_max, f) < 0)
				return -1;
	return 0;
}

struct task *tree_find(const struct job *job, pid_t pid)
{
	size_t i;

	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->vpid == pid)
			return job->tasks[i];
	return NULL;
}
