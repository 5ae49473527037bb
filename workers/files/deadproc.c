/* SPDX-License-Identifier: MIT */
/*
 * deadproc.c - open files of /proc, and working directories there, whose task has ended.
 *
 * Dump:     such a file is told by its path; the remap "procfs" names the pid. CRIU writes one
 *           remap for the first file of each pid, we write one for each.
 * Restore:  the files exist only where a task has that pid: a child of ours has it while they are
 *           opened and placed, then it is killed, and they are again what they were.
 * Rights:   CAP_CHECKPOINT_RESTORE to choose a pid; CAP_SYS_PTRACE for the files of the child.
 * Holds:    restore: the children, from the first opening until all tables are filled.
 */
#include "workers/files/deadproc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"

struct deadprocs {
	struct stand_in {
		pid_t pid;
		bool lives;
	} *list;
	size_t n, cap;
};

/* The task a path is about; 0: none. */
static pid_t pid_of_path(const char *path)
{
	int pid, at = 0;

	if (sscanf(path, "/proc/%d%n", &pid, &at) != 1 || pid <= 0)
		return 0;
	return path[at] == '/' || path[at] == '\0' ? pid : 0;
}

/* Dump */

/*
 * Does the path lead to the file still? A task's files keep their inodes as long as they are open:
 * with another one it is the file of another task, which has the number now.
 */
static bool leads_there(const struct facts *x, const char *path, bool deleted, bool *taken)
{
	struct stat st;

	*taken = false;
	if (fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	if (st.st_dev != x->st.st_dev)		/* another mount of /proc */
		return !deleted;
	*taken = !deleted && pid_of_path(path) && st.st_ino != x->st.st_ino;
	return st.st_ino == x->st.st_ino || (!deleted && !*taken);
}

int deadproc_pid(struct files *fs, const struct facts *x, char *path, struct fault *f)
{
	bool deleted, taken;
	char who[400], dir[32];
	size_t len;
	pid_t pid;

	/* So show files below net, of living tasks too, as soon as anybody looks them up again. */
	deleted = link_deleted(path, &len);
	if (deleted)
		path[len] = '\0';
	if (leads_there(x, path, deleted, &taken))
		return 0;
	pid = pid_of_path(path);
	snprintf(dir, sizeof(dir), "/proc/%d", pid);
	if (!pid || (!deleted && !taken && access(dir, F_OK) == 0))
		return fault(f, -ENOTSUP, "%s: what it shows is gone; close it in task %d",
			     facts_name(x, who, sizeof(who)), x->pid);
	if (fs->collect && facts_task(fs, pid))
		return fault(f, -ENOTSUP, "%s: belongs to a task that has ended, and its number is "
			     "now that of another task of the tree; close it in task %d",
			     facts_name(x, who, sizeof(who)), x->pid);
	return pid;
}

/* Restore */

static struct stand_in *find(struct files *fs, pid_t pid)
{
	struct deadprocs *d = fs->deadprocs;
	size_t i;

	for (i = 0; d && i < d->n; i++)
		if (d->list[i].pid == pid)
			return &d->list[i];
	return NULL;
}

void deadproc_expect(struct files *fs, uint32_t pid)
{
	struct deadprocs *d;

	if (!fs->deadprocs)
		fs->deadprocs = xcalloc(1, sizeof(*fs->deadprocs));
	d = fs->deadprocs;
	if (find(fs, pid))
		return;
	*(struct stand_in *)grow(&d->list, d->n++, &d->cap, sizeof(*d->list)) =
		(struct stand_in){ .pid = pid };
}

/* In the child: hold nothing of ours, and end with us. */
static void stand_in(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	syscall(SYS_close_range, 0, ~0u, 0);
	for (;;)
		pause();
}

static int make(struct stand_in *s, struct fault *f)
{
	const pid_t parent = getpid();
	struct clone_args args = {
		.set_tid = (uint64_t)(uintptr_t)&s->pid,
		.set_tid_size = 1,
	};
	long pid = syscall(SYS_clone3, &args, sizeof(args));	/* no signal at its end */

	if (pid == 0)
		stand_in(parent);
	if (pid < 0)
		return fault(f, errno, "make a task %d, whose files in /proc the tree has open "
			     "although it had ended%s", s->pid,
			     errno == EEXIST ? ": the number is in use" : "");
	s->lives = true;
	return 0;
}

int deadproc_provide(struct files *fs, const char *path, struct fault *f)
{
	struct stand_in *s = fs->deadprocs ? find(fs, pid_of_path(path)) : NULL;

	/* Images of CRIU may mean a task of the tree that got the number. */
	if (!s || s->lives || prepare_task(fs, s->pid))
		return 0;
	return make(s, f);
}

int deadproc_release(struct files *fs, struct fault *f)
{
	struct deadprocs *d = fs->deadprocs;
	size_t i;

	(void)f;
	for (i = 0; d && i < d->n; i++) {
		if (!d->list[i].lives)
			continue;
		kill(d->list[i].pid, SIGKILL);
		while (waitpid(d->list[i].pid, NULL, __WALL) < 0 && errno == EINTR)
			;
		d->list[i].lives = false;
	}
	return 0;
}

void deadproc_end(struct files *fs)
{
	deadproc_release(fs, NULL);
	if (fs->deadprocs)
		free(fs->deadprocs->list);
	free(fs->deadprocs);
	fs->deadprocs = NULL;
}
