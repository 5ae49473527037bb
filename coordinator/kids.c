/* SPDX-License-Identifier: MIT */
/*
 * kids.c - which tasks share memory, descriptor table, fs and signal handlers.
 *
 * kcmp(2) orders kernel objects, so the tasks are sorted by each kind of object in turn and
 * neighbours compared: n log n calls. Ids count from KIDS_OWN + 1 in the order of the tasks, so the
 * first task of the list that has an id owns the object, as the images expect.
 *
 * Rights:   CAP_SYS_PTRACE over the tasks.
 * Holds:    nothing.
 */
#include "coordinator/kids.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "proto/images/types.h"

/* The numbers CRIU gives to the namespaces it finds first: its own. */
enum {
	NS_PID = 1, NS_NET, NS_IPC = IMAGE_HOST_IPC_NS, NS_UTS, NS_TIME, NS_MNT, NS_USER, NS_CGROUP,
};

struct kind {
	int type;			/* KCMP_* */
	const char *name;
	size_t id;			/* offset of the id in struct task */
	size_t shared;			/* of the mark; 0: sharing cannot be restored */
};

static const struct kind kinds[] = {
	{ KCMP_VM, "address space", offsetof(struct task, vm_id), 0 },
	{ KCMP_FILES, "descriptor table", offsetof(struct task, files_id),
	  offsetof(struct task, files_shared) },
	{ KCMP_FS, "working directory", offsetof(struct task, fs_id),
	  offsetof(struct task, fs_shared) },
	{ KCMP_SIGHAND, "signal handlers", offsetof(struct task, sighand_id), 0 },
};

/* Negative, 0 or positive as a's object orders against b's. */
static int compare(const struct task *a, const struct task *b, int type, struct fault *f)
{
	long r = syscall(SYS_kcmp, a->pid, b->pid, type, 0, 0);

	if (r < 0)
		return fault(f, errno, "compare tasks %d and %d (kcmp)", a->pid, b->pid);
	return r == 0 ? 0 : r == 1 ? -1 : 1;
}

/* Merge sort of tasks[0..n) by one kind of object; equal ones keep their order. */
static void sort(struct task **tasks, struct task **spare, size_t n, int type, struct fault *f)
{
	size_t half = n / 2, i = 0, j = half, k = 0;

	if (n < 2)
		return;
	sort(tasks, spare, half, type, f);
	sort(tasks + half, spare, n - half, type, f);
	while (i < half && j < n)
		spare[k++] = compare(tasks[i], tasks[j], type, f) <= 0 ? tasks[i++] : tasks[j++];
	while (i < half)
		spare[k++] = tasks[i++];
	memcpy(tasks, spare, k * sizeof(*tasks));
}

static uint32_t *id_of(struct task *t, const struct kind *k)
{
	return (uint32_t *)((char *)t + k->id);
}

/* tasks: sorted. Equal neighbours get the smallest index of the group as their id, 1 based. */
static int group(struct task **tasks, size_t n, const struct kind *k, struct fault *f)
{
	size_t i;

	for (i = 1; i < n; i++) {
		int r = compare(tasks[i - 1], tasks[i], k->type, f);

		if (f->code)
			return -1;
		if (r != 0)
			continue;
		if (!k->shared)
			return fault(f, -EAGAIN, "tasks %d and %d share their %s (clone without "
				     "fork, vfork?): this cannot be restored; dump after they have "
				     "parted", tasks[i - 1]->pid, tasks[i]->pid, k->name);
		*id_of(tasks[i], k) = *id_of(tasks[i - 1], k);
		*(bool *)((char *)tasks[i] + k->shared) = true;
	}
	return 0;
}

static int assign_kind(struct task **all, size_t n, const struct kind *k, struct fault *f)
{
	AUTO_FREE struct task **sorted = xcalloc(n, sizeof(*sorted));
	AUTO_FREE struct task **spare = xcalloc(n, sizeof(*spare));
	size_t i;

	for (i = 0; i < n; i++) {
		*id_of(all[i], k) = KIDS_OWN + 1 + i;
		sorted[i] = all[i];
	}
	sort(sorted, spare, n, k->type, f);
	return f->code ? -1 : group(sorted, n, k, f);
}

int kids_assign(struct job *job, struct fault *f)
{
	AUTO_FREE struct task **live = xcalloc(job->ntasks, sizeof(*live));
	size_t i, n = 0;

	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->state != TASK_ZOMBIE)
			live[n++] = job->tasks[i];
	for (i = 0; i < ARRAY_LEN(kinds); i++)
		if (assign_kind(live, n, &kinds[i], f) < 0)
			return -1;
	return 0;
}

static void namespaces(TaskKobjIdsEntry *e)
{
	e->has_pid_ns_id = e->has_net_ns_id = e->has_ipc_ns_id = e->has_uts_ns_id = 1;
	e->has_time_ns_id = e->has_mnt_ns_id = e->has_user_ns_id = e->has_cgroup_ns_id = 1;
	e->pid_ns_id = NS_PID;
	e->net_ns_id = NS_NET;
	e->ipc_ns_id = NS_IPC;
	e->uts_ns_id = NS_UTS;
	e->time_ns_id = NS_TIME;
	e->mnt_ns_id = NS_MNT;
	e->user_ns_id = NS_USER;
	e->cgroup_ns_id = NS_CGROUP;
}

void kids_namespaces(pid_t pid, NsId ns[KIDS_NAMESPACES])
{
	static char *const names[KIDS_NAMESPACES] = {
		[NS_PID - 1] = "pid", [NS_NET - 1] = "net", [NS_IPC - 1] = "ipc",
		[NS_UTS - 1] = "uts", [NS_TIME - 1] = "time", [NS_MNT - 1] = "mnt",
		[NS_USER - 1] = "user", [NS_CGROUP - 1] = "cgroup",
	};
	uint32_t i;

	for (i = 0; i < KIDS_NAMESPACES; i++) {
		ns_id__init(&ns[i]);
		ns[i].pid = pid;
		ns[i].name = names[i];
		ns[i].id = i + 1;
	}
}

void kids_entry(const struct task *t, TaskKobjIdsEntry *e)
{
	task_kobj_ids_entry__init(e);
	e->vm_id = t->vm_id;
	e->files_id = t->files_id;
	e->fs_id = t->fs_id;
	e->sighand_id = t->sighand_id;
	namespaces(e);
}

void kids_own_entry(TaskKobjIdsEntry *e)
{
	task_kobj_ids_entry__init(e);
	e->vm_id = e->files_id = e->fs_id = e->sighand_id = KIDS_OWN;
	namespaces(e);
}
