/* SPDX-License-Identifier: MIT */
/*
 * covered.c - open files and directories below a directory that another mount covers.
 *
 * A path cannot lead there, but in a copy of the mount without the mounts upon it (open_tree(2))
 * it does. The file is then opened by its handle, so that it belongs to the mount and not to the
 * copy; where the file system has no handles, that of the copy has to do.
 * Images name the mount in below_mount, a field of ours: CRIU has no such thing.
 *
 * Rights:   CAP_SYS_ADMIN to copy a mount, CAP_DAC_READ_SEARCH for handles.
 * Holds:    nothing.
 */
#include "workers/files/covered.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/files/facts.h"
#include "workers/files/watched.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif

/* The part of path below the mount; NULL: it is not there. */
static const char *below(const char *mount, const char *path)
{
	size_t n = strlen(mount);

	if (strcmp(mount, "/") == 0)
		return path + 1;
	if (strncmp(path, mount, n) || (path[n] != '/' && path[n]))
		return NULL;
	return path[n] ? path + n + 1 : ".";
}

/* The file in a copy of the mount, for its path only. -1 with errno. */
static int find_there(const char *mount, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT,
	};
	const char *rest = below(mount, path);
	AUTO_CLOSE int tree = -1;

	if (!rest) {
		errno = ENOENT;
		return -1;
	}
	tree = syscall(SYS_open_tree, AT_FDCWD, mount, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	return tree < 0 ? -1 :
			  (int)syscall(SYS_openat2, tree, *rest ? rest : ".", &how, sizeof(how));
}

static bool is_mount(const char *path, int id)
{
	struct statx stx;

	return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &stx) == 0 &&
	       stx.stx_mask & STATX_MNT_ID && (int)stx.stx_mnt_id == id;
}

int covered_find(const struct facts *x, const char *path, char **mount, struct fault *f)
{
	AUTO_FREE char *where = NULL;
	AUTO_CLOSE int fd = -1;
	char who[400];
	struct stat st;
	uint32_t dev;

	where = x->mnt_id < 0 ? NULL : watched_mount(x->mnt_id, &dev);
	if (!where || !below(where, path))
		return 0;
	if (!is_mount(where, x->mnt_id))
		return fault(f, -ENOTSUP, "%s: it is on a mount (%s) that another one covers; "
			     "unmount that", facts_name(x, who, sizeof(who)), where);
	fd = find_there(where, path);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != x->st.st_ino || st.st_dev != x->st.st_dev)
		return 0;
	*mount = take_ptr(&where);
	return 1;
}

/* Open what copy is in the mount itself; -1 when handles cannot do that. */
static int open_in_mount(const char *mount, int copy, int flags)
{
	AUTO_FREE struct file_handle *h = xcalloc(1, sizeof(*h) + MAX_HANDLE_SZ);
	AUTO_CLOSE int dir = open(mount, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int id;

	h->handle_bytes = MAX_HANDLE_SZ;
	if (dir < 0 || name_to_handle_at(copy, "", h, &id, AT_EMPTY_PATH) < 0)
		return -1;
	return open_by_handle_at(dir, h, flags);
}

int covered_open(const char *mount, const char *path, int flags, struct fault *f)
{
	AUTO_CLOSE int copy = find_there(mount, path);
	int fd;

	if (copy < 0)
		return fault(f, errno, "open %s below the mounts on %s", path, mount);
	flags |= O_CLOEXEC;
	if (!(flags & O_PATH))
		flags |= O_NONBLOCK | O_NOCTTY;
	fd = open_in_mount(mount, copy, flags);
	return fd < 0 ? files_reopen(copy, flags, f) : fd;
}
