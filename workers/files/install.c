/* SPDX-License-Identifier: MIT */
/*
 * install.c - create the files, give tasks their descriptors, directories and umask.
 *
 * Each file is created once, here, whoever uses it; a table is then passed to its task in one
 * go, together with the working and the root directory at numbers that are free there.
 * Our duplicates stay until files_finish: owners of files are named last, when all threads exist.
 *
 * Rights:   ptrace access to the tasks (gate_channel_open); CAP_SYS_RESOURCE for a table
 *           larger than the task's hard limit.
 * Holds:    the created descriptors, in struct file.
 */
#include "workers/files/install.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/files/files.h"
#include "workers/files/fown.h"
#include "workers/files/regular.h"

#define SETFL_BITS (O_APPEND | O_ASYNC | O_NONBLOCK | O_DIRECT | O_NOATIME)
#define GATE_TIMEOUT_MS 10000

/* Services for types */

int files_set_flags(int fd, uint32_t flags, struct fault *f)
{
	int now = fcntl(fd, F_GETFL);
	int want = (now & ~SETFL_BITS) | ((int)flags & SETFL_BITS);

	if (now < 0 || (now != want && fcntl(fd, F_SETFL, want) < 0))
		return fault(f, errno, "set flags %#x of a file", flags);
	return 0;
}

int files_reopen(int fd, int flags, struct fault *f)
{
	char self[32];
	int new;

	/* O_NOFOLLOW would stop at the link in /proc. */
	flags = (flags & ~O_NOFOLLOW) | O_CLOEXEC;
	if (!(flags & O_PATH))
		flags |= O_NOCTTY | O_NONBLOCK;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	new = open(self, flags);
	return new < 0 ? fault(f, errno, "open a file again") : new;
}

int files_fetch(pid_t pid, int fd, struct fault *f)
{
	AUTO_CLOSE int pidfd = syscall(SYS_pidfd_open, pid, 0);
	int own = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	return own < 0 ? fault(f, errno, "fetch descriptor %d of task %d", fd, pid) : own;
}

/* Creation */

/* Name a user of the file: what the person looks for when it cannot be made. */
static int explain(const struct file *file, struct fault *f)
{
	if (!file->nusers)
		return -1;
	return fault_prefix(f, "descriptor %u (%s %u, table %u)", file->users[0].entry->fd,
			    file->type->name, file->id, file->users[0].table->id);
}

/* Ask each file not made yet once. Returns how many are left, *made how many succeeded; or -1. */
static long create_round(struct files *fs, size_t *made, struct fault *f)
{
	struct restore *r = fs->restore;
	long left = 0;
	size_t i;

	for (i = 0; i < r->nfiles; i++) {
		struct file *file = &r->file[i];
		enum created c;

		if (file->created || !file->nusers)
			continue;
		c = file->type->create(fs, file, f);
		if (c == CREATE_FAILED)
			return explain(file, f);
		file->created = c == CREATED;
		if (file->created)
			(*made)++;
		else
			left++;
	}
	return left;
}

static int create_all(struct files *fs, struct fault *f)
{
	size_t made;
	long left;

	do {
		made = 0;
		left = create_round(fs, &made, f);
		if (left > 0 && !made)
			return fault(f, -EDEADLK, "%ld files of files.img wait for each other", left);
	} while (left > 0);
	return left;
}

/* Passing */

/* Let the task use descriptor numbers below n: the limit of its image comes later. */
static int allow_numbers(struct task_files *t, uint32_t n, struct fault *f)
{
	AUTO_BATCH struct batch *b = NULL;
	struct rlimit *old, *new;
	uint64_t old_at, new_at;
	int get, set;

	if (n <= t->allowed)
		return 0;
	b = batch_begin(t->gate);
	old_at = batch_alloc(b, sizeof(*old), (void **)&old);
	new_at = batch_alloc(b, sizeof(*new), (void **)&new);
	get = batch_op(b, 0, 0, SYS_prlimit64, 4, gc(0), gc(RLIMIT_NOFILE), gc(0), ga(old_at));
	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	if (batch_result(b, 0, get) < 0)
		return fault(f, -batch_result(b, 0, get), "task %d: read RLIMIT_NOFILE", t->pid);
	t->allowed = old->rlim_cur > UINT32_MAX ? UINT32_MAX : old->rlim_cur;
	if (n <= t->allowed)
		return 0;
	new->rlim_cur = n;
	new->rlim_max = old->rlim_max > n ? old->rlim_max : n;
	set = batch_op(b, 0, 0, SYS_prlimit64, 4, gc(0), gc(RLIMIT_NOFILE), ga(new_at), gc(0));
	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	if (batch_result(b, 0, set) < 0)
		return fault(f, -batch_result(b, 0, set), "task %d uses descriptor numbers up to %u,"
			     " above the limit here of %llu; raise it (ulimit -Hn)", t->pid, n - 1,
			     (unsigned long long)old->rlim_max);
	t->allowed = n;
	return 0;
}

int install_fds(struct task_files *t, const struct placement *p, size_t n, uint32_t top,
		struct fault *f)
{
	AUTO_FREE int *fds = xcalloc(n, sizeof(int));
	AUTO_FREE int *at = xcalloc(n, sizeof(int));
	AUTO_FREE int *flags = xcalloc(n, sizeof(int));
	struct gate_channel *c;
	size_t i;
	int r;

	/* The channel itself passes through the two numbers above its place. */
	if (allow_numbers(t, top + 3, f) < 0)
		return -1;
	for (i = 0; i < n; i++) {
		fds[i] = p[i].fd;
		at[i] = p[i].at;
		flags[i] = p[i].flags;
	}
	c = gate_channel_open(t->gate, top, f);
	if (!c)
		return -1;
	r = gate_send_fds(c, fds, at, flags, n, f);
	if (gate_channel_close(c, f) < 0)
		r = -1;
	return r < 0 ? fault_prefix(f, "task %d: place its descriptors", t->pid) : 0;
}

/* Directories */

static int open_dir(struct files *fs, const struct task_files *t, uint32_t id, const char *what,
		    struct fault *f)
{
	struct file *file = files_find(fs, id);
	int fd = regular_open(fs, file, O_PATH | O_DIRECTORY, f);

	return fd < 0 ? fault_prefix(f, "%s of task %d", what, t->pid) : fd;
}

static bool is_our_root(int fd)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat("/", &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/*
 * Enter the directories placed at numbers cwd and root of the task (root < 0: keep), set the
 * umask, close those numbers.
 */
static int enter_dirs(struct task_files *t, int cwd, int root, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(t->gate);
	uint64_t dot = batch_put_str(b, ".");
	const unsigned int stop = GATE_STOP_ON_ERROR;
	int i, last;

	if (root >= 0) {
		batch_op(b, 0, stop, SYS_fchdir, 1, gc(root));
		batch_op(b, 0, stop, SYS_chroot, 1, ga(dot));
		batch_op(b, 0, stop, SYS_close, 1, gc(root));
	}
	batch_op(b, 0, stop, SYS_fchdir, 1, gc(cwd));
	if (t->fs->has_umask)
		batch_op(b, 0, stop, SYS_umask, 1, gc(t->fs->umask & 0777));
	last = batch_op(b, 0, stop, SYS_close, 1, gc(cwd));
	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return fault_prefix(f, "task %d: enter its directories", t->pid);
	for (i = 0; i <= last && i < batch_executed(b, 0); i++)
		if (batch_result(b, 0, i) < 0)
			return fault(f, -batch_result(b, 0, i), "task %d: enter its working or root"
				     " directory (step %d)", t->pid, i);
	return 0;
}

static int install_task(struct files *fs, struct task_files *t, struct fault *f)
{
	struct table *tab = t->table;
	AUTO_FREE struct placement *p = xcalloc(tab->n + 2, sizeof(*p));
	AUTO_CLOSE int cwd = -1, root = -1;
	int spare = files_spare_fd(fs, t->pid);
	bool chroot = false;
	size_t i, n = 0;

	for (i = 0; i < tab->n && !tab->installed; i++)
		p[n++] = (struct placement){ tab->file[i]->fd, tab->entry[i]->fd,
					     tab->entry[i]->flags & FD_CLOEXEC ? O_CLOEXEC : 0 };
	if (!t->fs_shared) {
		cwd = open_dir(fs, t, t->fs->cwd_id, "working directory", f);
		root = cwd < 0 ? -1 : open_dir(fs, t, t->fs->root_id, "root directory", f);
		if (root < 0)
			return -1;
		chroot = !is_our_root(root);
		p[n++] = (struct placement){ cwd, spare, 0 };
		if (chroot)
			p[n++] = (struct placement){ root, spare + 1, 0 };
	}
	if (n && install_fds(t, p, n, spare + FILES_SPARE - 1, f) < 0)
		return -1;
	tab->installed = true;
	return t->fs_shared ? 0 : enter_dirs(t, spare, chroot ? spare + 1 : -1, f);
}

int install(struct files *fs, const uint32_t *pids, size_t n, struct fault *f)
{
	size_t i;

	if (!fs->restore)
		return fault(f, -EPROTO, "nothing is prepared to be restored");
	if (create_all(fs, f) < 0)
		return -1;
	for (i = 0; i < n; i++) {
		struct task_files *t = prepare_task(fs, pids[i]);

		if (!t || !t->gate)
			return fault(f, -EPROTO, "task %u has no gate", pids[i]);
		if (install_task(fs, t, f) < 0)
			return -1;
	}
	for (i = 0; file_types[i]; i++)
		if (file_types[i]->installed && file_types[i]->installed(fs, f) < 0)
			return -1;
	return 0;
}

int install_owners(struct files *fs, struct fault *f)
{
	struct restore *r = fs->restore;
	const FownEntry *e;
	size_t i;

	if (!r)
		return fault(f, -EPROTO, "nothing was restored");
	for (i = 0; i < r->nfiles; i++) {
		struct file *file = &r->file[i];

		if (!file->created || !file->type->fown)
			continue;
		e = file->type->fown(fs, file);
		if (e && fown_is_set(e) && fown_apply(file->fd, e, f) < 0)
			return explain(file, f);
	}
	return 0;
}
