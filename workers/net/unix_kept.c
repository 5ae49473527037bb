/* SPDX-License-Identifier: MIT */
/*
 * unix_kept.c - restore: the names that were bound in the file system stay only if it succeeds.
 *
 * A child (the keeper) knows each from shared memory. When the restore fails, whoever was killed,
 * it removes the names that still belong to the sockets made here, latest first, and gives those
 * back that were in the way: they wait beside it, as ".stasis-PID-N". When the tasks run it removes
 * these. It finds the directories as the worker did, without going there.
 *
 * Rights:   CAP_DAC_OVERRIDE, CAP_FOWNER.
 * Holds:    the shared memory, the keeper.
 */
#include "workers/net/unix_kept.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/keeper.h"
#include "workers/net/unix_name.h"

/* ino 0: none. */
struct inode {
	dev_t dev;
	ino_t ino;
};

struct kept {
	const UnixSkEntry *e;
	bool binding;			/* a socket at its name is ours */
	struct inode own;		/* what was bound */
	struct inode aside[2];		/* what was in the way, by kept_path */
};

struct unix_kept {
	struct keeper keeper;
	pid_t maker;
	size_t n, max;
	struct kept list[];
};

/* ---- where names are ---- */

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The name of what is put aside, in the directory of path. */
static void aside_of(const struct unix_kept *k, const struct kept *one, enum kept_path which,
		     const char *path, char to[PATH_MAX])
{
	const int dir = base_of(path) - path;

	snprintf(to, PATH_MAX, "%.*s.stasis-%d-%zu", dir, path, k->maker,
		 2 * (size_t)(one - k->list) + which);
}

static bool is_inode(int dir, const char *name, const struct inode *i)
{
	struct stat st;

	return i->ino && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == i->ino &&
	       st.st_dev == i->dev;
}

static bool is_socket(int dir, const char *name, struct inode *i)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	*i = (struct inode){ st.st_dev, st.st_ino };
	return true;
}

/* ---- the keeper ---- */

/* The directory of a path, as seen from where the name was bound: a directory or a root. */
static int open_dir(const UnixSkEntry *e, const char *path)
{
	const char *from = e->name_dir && e->name_dir[0] ? e->name_dir : NULL;
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC };
	AUTO_CLOSE int at = from ? open(from, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	char dir[PATH_MAX];

	if (from && at < 0)
		return -1;
	if (from && e->name.data[0] == '/')
		how.resolve = RESOLVE_IN_ROOT;
	snprintf(dir, sizeof(dir), "%.*s", (int)(base_of(path) - path), path);
	return syscall(SYS_openat2, from ? at : AT_FDCWD, dir[0] ? dir : ".", &how, sizeof(how));
}

/* What is in the way of a link now is not ours. */
static void take_back(struct unix_kept *k, struct kept *one, enum kept_path which, const char *path)
{
	AUTO_CLOSE int dir = open_dir(one->e, path);
	const char *base = base_of(path);
	char aside[PATH_MAX];
	struct inode any;

	if (dir < 0)
		return;
	if (is_inode(dir, base, &one->own) || (which == KEPT_NAME && one->binding &&
					       is_socket(dir, base, &any)))
		unlinkat(dir, base, 0);
	aside_of(k, one, which, base, aside);
	if (!is_inode(dir, aside, &one->aside[which]))
		return;
	linkat(dir, aside, dir, base, 0);
	unlinkat(dir, aside, 0);
}

static void drop_aside(struct unix_kept *k, struct kept *one, enum kept_path which,
		       const char *path)
{
	AUTO_CLOSE int dir = one->aside[which].ino ? open_dir(one->e, path) : -1;
	char aside[PATH_MAX];

	aside_of(k, one, which, base_of(path), aside);
	if (dir >= 0 && is_inode(dir, aside, &one->aside[which]))
		unlinkat(dir, aside, 0);
}

/* Latest first: a name that was moved away may have been bound again. */
static void each(struct unix_kept *k, void (*visit)(struct unix_kept *k, struct kept *one,
						    enum kept_path which, const char *path))
{
	char name[UNIX_NAME_MAX + 1];
	size_t i;

	for (i = k->n; i-- > 0;) {
		const UnixSkEntry *e = k->list[i].e;

		unix_name_text(e, name);
		if (e->moved_to)
			visit(k, &k->list[i], KEPT_MOVED, e->moved_to);
		visit(k, &k->list[i], KEPT_NAME, name);
	}
}

static void undo(void *arg)
{
	each(arg, take_back);
}

static void settle(void *arg)
{
	each(arg, drop_aside);
}

/* ---- the worker ---- */

struct unix_kept *unix_kept_open(size_t max, struct fault *f)
{
	struct unix_kept *k = mmap(NULL, sizeof(*k) + max * sizeof(k->list[0]),
				   PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (k == MAP_FAILED) {
		fault(f, errno, "share what is known of %zu names of sockets", max);
		return NULL;
	}
	k->max = max;
	k->maker = getpid();
	k->keeper = KEEPER_NONE;
	k->keeper.settle = settle;
	if (keeper_start(&k->keeper, undo, k, -1, f) == 0)
		return k;
	unix_kept_close(k);
	return NULL;
}

void unix_kept_close(struct unix_kept *k)
{
	if (!k)
		return;
	keeper_undo(&k->keeper);
	munmap(k, sizeof(*k) + k->max * sizeof(k->list[0]));
}

int unix_kept_hand_over(struct unix_kept *k)
{
	return k ? keeper_hand_over(&k->keeper) : -1;
}

int unix_kept_next(struct unix_kept *k, const UnixSkEntry *e, struct fault *f)
{
	if (k->n == k->max)
		return fault(f, -EOVERFLOW, "more than %zu sockets are bound", k->max);
	k->list[k->n].e = e;
	k->n++;
	return 0;
}

void unix_kept_before(struct unix_kept *k, enum kept_path which, const char *path)
{
	struct kept *one = &k->list[k->n - 1];
	char aside[PATH_MAX];

	aside_of(k, one, which, path, aside);
	if (is_socket(AT_FDCWD, path, &one->aside[which]))
		rename(path, aside);
	one->binding = which == KEPT_NAME;
}

void unix_kept_bound(struct unix_kept *k, const char *path)
{
	struct kept *one = &k->list[k->n - 1];

	is_socket(AT_FDCWD, path, &one->own);
	one->binding = false;
}

void unix_kept_unbound(struct unix_kept *k)
{
	k->list[k->n - 1].binding = false;
}
