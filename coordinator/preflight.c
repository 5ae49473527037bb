/* SPDX-License-Identifier: MIT */
/*
 * preflight.c - what can be refused before anything is stopped.
 *
 * Files and memory are the workers' to judge; here are the properties of a task as a
 * whole: its namespaces, its tracer, seccomp, its machine type, its security label.
 *
 * Rights:   /proc of the tasks.
 * Holds:    nothing.
 */
#include "coordinator/preflight.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "coordinator/seccomp.h"
#include "proto/control/util.h"
#include "workers/common/procfs.h"

#define KERNEL_THREAD 0x200000u		/* PF_KTHREAD */
#define EXITING 0x4u			/* PF_EXITING */

static bool is_time(size_t i)
{
	return strncmp(proc_namespace_names[i], "time", 4) == 0;
}

int preflight_begin(struct preflight *pf, pid_t root, struct fault *f)
{
	uint64_t roots[PROC_NAMESPACES], time = 0;
	size_t i;

	pf->module = labels_module();
	pf->can_suspend = seccomp_can_suspend();
	if (procfs_namespaces(getpid(), pf->namespaces, f) < 0 ||
	    procfs_namespaces(root, roots, f) < 0)
		return -1;
	for (i = 0; i < PROC_NAMESPACES; i++) {
		if (strcmp(proc_namespace_names[i], "time") == 0)
			time = roots[i];
		if (is_time(i))
			pf->namespaces[i] = time;
	}
	return 0;
}

static int add_children(pid_t pid, pid_t **pids, size_t *n, size_t *cap, struct fault *f)
{
	AUTO_FREE pid_t *ids = NULL;
	struct fault gone = { 0 };
	size_t i, count;

	if (procfs_children(pid, &ids, &count, &gone) < 0)
		return gone.code == ENOENT || gone.code == ESRCH ? 0 :
			fault(f, -gone.code, "%s", gone.text);
	for (i = 0; i < count; i++) {
		pid_t *slot = grow(pids, *n, cap, sizeof(*slot));

		*slot = procfs_living_thread(ids[i]);
		(*n)++;
	}
	return 0;
}

int preflight_walk(pid_t root, pid_t **pids, size_t *n, struct fault *f)
{
	AUTO_FREE pid_t *list = NULL;
	size_t count = 1, cap = 16, i;

	list = xcalloc(cap, sizeof(*list));
	list[0] = procfs_living_thread(root);
	for (i = 0; i < count; i++) {
		if (list[i] == getpid())
			return fault(f, -EINVAL, "task %d cannot be dumped: stasis itself runs "
				     "below it; start stasis from elsewhere", root);
		if (add_children(list[i], &list, &count, &cap, f) < 0)
			return -1;
	}
	*pids = take_ptr(&list);
	*n = count;
	return 0;
}

static int check_namespaces(const struct preflight *pf, pid_t pid, const char *comm,
			    struct fault *f)
{
	uint64_t theirs[PROC_NAMESPACES];
	size_t i;

	if (procfs_namespaces(pid, theirs, f) < 0)
		return -1;
	/* A task about to die has left its namespaces: no number. */
	for (i = 0; i < PROC_NAMESPACES; i++)
		if (theirs[i] && theirs[i] != pf->namespaces[i])
			return fault(f, -ENOTSUP, "task %d (%s) is in a %s namespace other than "
				     "%s: dumping namespaces is not supported", pid, comm,
				     proc_namespace_names[i], is_time(i) ? "the root's" : "ours");
	return 0;
}

/* A 32-bit program runs an ELF file of its class. */
static int check_machine(pid_t pid, const char *comm, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	unsigned char ident[EI_NIDENT];
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, ident, sizeof(ident), 0) != sizeof(ident))
		return 0;	/* the workers will name what is wrong with the file */
	if (memcmp(ident, ELFMAG, SELFMAG) == 0 && ident[EI_CLASS] == ELFCLASS32)
		return fault(f, -ENOTSUP, "task %d (%s) is a 32-bit program: only 64-bit ones are "
			     "supported", pid, comm);
	return 0;
}

/* A label that has no form in the images. */
static int check_label(const struct preflight *pf, pid_t pid, const char *comm, struct fault *f)
{
	AUTO_FREE CredsEntry *c = NULL;

	if (pf->module == LSMTYPE__NO_LSM)
		return 0;
	c = xcalloc(1, sizeof(*c));
	creds_entry__init(c);
	if (labels_dump(pf->module, pid, pid, c, f) < 0)
		return fault_prefix(f, "%s", comm);
	free(c->lsm_profile);
	free(c->lsm_sockcreate);
	return 0;
}

static int check_seccomp(const struct preflight *pf, pid_t pid, const char *comm, uint32_t mode,
			 struct fault *f)
{
	if (!mode || pf->can_suspend)
		return 0;
	return fault(f, -EPERM, "task %d (%s) is under seccomp (mode %u): dumping it needs "
		     "CAP_SYS_ADMIN and a stasis that is not under seccomp itself", pid, comm,
		     mode);
}

/* Without the right to suspend filters no thread that has some may be made to do anything. */
static int check_threads(const struct preflight *pf, pid_t pid, const char *comm, struct fault *f)
{
	AUTO_FREE pid_t *tids = NULL;
	struct proc_status s;
	size_t i, n;
	int r = 0;

	if (pf->can_suspend)
		return 0;
	if (procfs_threads(pid, &tids, &n, f) < 0)
		return -1;
	for (i = 0; i < n && r == 0; i++) {
		if (procfs_status(pid, tids[i], &s, f) < 0)
			return -1;
		r = check_seccomp(pf, pid, comm, s.seccomp, f);
		proc_status_free(&s);
	}
	return r;
}

static int check_status(const struct preflight *pf, pid_t pid, const char *comm, struct fault *f)
{
	struct proc_status s;
	int r;

	if (procfs_status(pid, 0, &s, f) < 0)
		return -1;
	if (s.tracer && s.tracer != getpid())
		r = fault(f, -EBUSY, "task %d (%s) is traced by task %d (a debugger, strace?): "
			  "end that first", pid, comm, s.tracer);
	else
		r = check_seccomp(pf, pid, comm, s.seccomp, f);
	proc_status_free(&s);
	return r < 0 ? -1 : check_threads(pf, pid, comm, f);
}

static int check_live(const struct preflight *pf, pid_t pid, const struct proc_stat *st,
		      struct fault *f)
{
	if (st->flags & KERNEL_THREAD)
		return fault(f, -EINVAL, "task %d (%s) is a thread of the kernel", pid, st->comm);
	if (check_status(pf, pid, st->comm, f) < 0 || check_namespaces(pf, pid, st->comm, f) < 0 ||
	    check_machine(pid, st->comm, f) < 0)
		return -1;
	return check_label(pf, pid, st->comm, f);
}

/* A task on its way out has no namespaces any more (EACCES), among other things. */
static bool is_ending(pid_t pid, struct proc_stat *st, struct fault *f)
{
	if (procfs_stat(pid, 0, st, f) < 0)
		return f->code == ENOENT || f->code == ESRCH;
	return st->state == 'Z' || st->state == 'X' || st->flags & EXITING;
}

int preflight_task(const struct preflight *pf, pid_t pid, struct fault *f)
{
	struct fault own = { 0 }, again = { 0 };
	struct proc_stat st;

	if (is_ending(pid, &st, &own) || (!own.code && check_live(pf, pid, &st, &own) == 0))
		return 0;
	if (is_ending(pid, &st, &again))
		return 0;
	return fault(f, -own.code, "%s", own.text);
}

int preflight_session(pid_t root, pid_t sid, const Options *opts, struct fault *f)
{
	if (sid == root || opts->shell_job)
		return 0;
	return fault(f, -EINVAL, "task %d does not lead its session (task %d does): dump the "
		     "leader, or use --shell-job", root, sid);
}
