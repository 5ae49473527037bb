/* SPDX-License-Identifier: MIT */
/*
 * unix_name.c - names of unix sockets: where they are in the file system, both directions.
 *
 * Dump:     SIOCUNIXFILE opens the file of a bound socket, wherever it is now. What is before the
 *           name in its path is the directory (relative name) or the root (absolute name) in which
 *           it was bound.
 * Restore:  the name is bound from there. Names that are gone are bound in an empty file system
 *           that only this worker sees: nothing that exists now is touched, and nothing is left.
 *           Others stay only if the restore succeeds (unix_kept.c).
 * Rights:   CAP_NET_ADMIN for SIOCUNIXFILE; CAP_SYS_CHROOT; CAP_SYS_ADMIN for the empty file
 *           system; CAP_CHOWN, CAP_FOWNER, CAP_DAC_OVERRIDE.
 * Holds:    struct unix_places, the caller's.
 */
#include "workers/net/unix_name.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/net/unix_kept.h"

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (0x89E0 + 0)	/* linux/un.h, which clashes with sys/un.h */
#endif

#define DELETED " (deleted)"

void unix_name_text(const UnixSkEntry *e, char path[UNIX_NAME_MAX + 1])
{
	const size_t len = e->name.len < UNIX_NAME_MAX ? e->name.len : UNIX_NAME_MAX;

	memcpy(path, e->name.data, len);
	path[len] = '\0';
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool unix_name_same(const UnixSkEntry *a, const UnixSkEntry *b)
{
	char x[UNIX_NAME_MAX + 1], y[UNIX_NAME_MAX + 1];

	if (!unix_name_is_path(a) || !unix_name_is_path(b))
		return a->name.len == b->name.len &&
		       memcmp(a->name.data, b->name.data, a->name.len) == 0;
	unix_name_text(a, x);
	unix_name_text(b, y);
	return strcmp(x, y) == 0 && same_text(a->name_dir, b->name_dir) && a->deleted == b->deleted;
}

/* ---- dump ---- */

/* Take the name off the end of path, which becomes the directory it is in. */
static bool cut_name(char *path, const char *name)
{
	const size_t all = strlen(path);
	size_t n;

	while (strncmp(name, "./", 2) == 0)
		name += 2;
	n = strlen(name);
	if (n > all || strcmp(path + all - n, name) != 0)
		return false;
	if (name[0] != '/') {
		if (n == all || path[all - n - 1] != '/')
			return false;
		n++;
	}
	path[all - n] = '\0';
	if (!path[0])
		strcpy(path, "/");
	return true;
}

/* Is name, seen from the task's working directory, that file? Then that is the directory. */
static bool in_cwd(const struct sock *s, const char *name, const struct stat *st, char *dir)
{
	char cwd[32], file[32 + UNIX_NAME_MAX + 2];
	struct stat seen;
	ssize_t n;

	snprintf(cwd, sizeof(cwd), "/proc/%d/cwd", s->pid);
	snprintf(file, sizeof(file), "%s/%s", cwd, name);
	if (stat(file, &seen) < 0 || seen.st_ino != st->st_ino || seen.st_dev != st->st_dev)
		return false;
	n = readlink(cwd, dir, PATH_MAX - 1);
	dir[n < 0 ? 0 : n] = '\0';
	return n > 0;
}

/* The directory of a relative name; for an absolute one the root, when that is not ours. */
static void note_place(const struct sock *s, const struct stat *st, char *path, UnixSkEntry *e)
{
	char name[UNIX_NAME_MAX + 1], dir[PATH_MAX];
	const bool relative = e->name.data[0] != '/';
	struct stat seen;

	unix_name_text(e, name);
	if (strcmp(path, name) == 0)
		return;
	strcpy(dir, path);
	if (cut_name(dir, name) || (relative && in_cwd(s, name, st, dir))) {
		if (relative || strcmp(dir, "/") != 0)
			e->name_dir = xstrdup(dir);
	} else if (!e->deleted) {
		/* Renamed, or bound through links: where it is now says which. */
		if (relative) {
			*strrchr(dir, '/') = '\0';
			e->name_dir = xstrdup(dir[0] ? dir : "/");
		}
		if (relative || stat(name, &seen) < 0 || seen.st_ino != st->st_ino ||
		    seen.st_dev != st->st_dev)
			e->moved_to = xstrdup(path);
	}
}

int unix_name_read(const struct sock *s, UnixSkEntry *e, struct fault *f)
{
	AUTO_CLOSE int file = ioctl(s->fd, SIOCUNIXFILE);
	char who[SOCK_NAME_MAX], link[32], path[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (file < 0 || fstat(file, &st) < 0)
		return fault(f, errno, "%s: find the file it is bound to",
			     sock_name(s, who, sizeof(who)));
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return fault(f, errno, "%s: read the path it is bound to",
			     sock_name(s, who, sizeof(who)));
	path[n] = '\0';
	if ((size_t)n > strlen(DELETED) && strcmp(path + n - strlen(DELETED), DELETED) == 0) {
		path[n - strlen(DELETED)] = '\0';
		e->has_deleted = e->deleted = true;
	}
	e->file_perms = xcalloc(1, sizeof(*e->file_perms));
	file_perms_entry__init(e->file_perms);
	e->file_perms->mode = st.st_mode;
	e->file_perms->uid = st.st_uid;
	e->file_perms->gid = st.st_gid;
	note_place(s, &st, path, e);
	return 0;
}

void unix_name_free(UnixSkEntry *e)
{
	free(e->file_perms);
	free(e->name_dir);
	free(e->moved_to);
}

/* ---- restore ---- */

struct unix_places {
	int root, cwd;			/* of the worker */
	int empty;		/* the file system for names that are gone; -1 until needed */
	size_t max;
	struct unix_kept *kept;		/* the names that are not gone; NULL until needed */
};

struct unix_places *unix_places_open(size_t max, struct fault *f)
{
	struct unix_places *p = xcalloc(1, sizeof(*p));

	p->max = max;
	p->empty = -1;
	p->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	p->cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (p->root >= 0 && p->cwd >= 0 && unshare(CLONE_FS) == 0)
		return p;
	fault(f, errno, "prepare to bind names of sockets");
	unix_places_close(p);
	return NULL;
}

void unix_places_close(struct unix_places *p)
{
	if (!p)
		return;
	auto_close(&p->root);
	auto_close(&p->cwd);
	auto_close(&p->empty);
	unix_kept_close(p->kept);
	free(p);
}

int unix_places_hand_over(struct unix_places *p)
{
	return unix_kept_hand_over(p->kept);
}

static int go_back(struct unix_places *p, struct fault *f)
{
	if (fchdir(p->root) < 0 || chroot(".") < 0 || fchdir(p->cwd) < 0)
		die("cannot return to the root directory: errno %d", errno);
	return f->code ? -1 : 0;
}

static int make_empty(struct unix_places *p, struct fault *f)
{
	AUTO_CLOSE int fs = -1;

	if (p->empty >= 0)
		return 0;
	fs = syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	if (fs >= 0 && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		p->empty = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	return p->empty < 0 ?
		       fault(f, errno, "make an empty file system to bind removed names in") : 0;
}

/* Make the directories before the last slash of path (all of it, when whole). */
static int make_dirs(const char *path, bool whole)
{
	char part[PATH_MAX + 1];
	size_t i;

	for (i = 1; path[i - 1]; i++) {
		if (path[i] != '/' && !(whole && !path[i]))
			continue;
		snprintf(part, sizeof(part), "%.*s", (int)i, path);
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return -1;
	}
	return 0;
}

/* Go where the name was bound; in the empty file system that place is made first. */
static int go_to(struct unix_places *p, const UnixSkEntry *e, const char *name, bool hidden,
		 struct fault *f)
{
	const char *dir = e->name_dir && e->name_dir[0] ? e->name_dir : NULL;

	if (hidden) {
		if (make_empty(p, f) < 0)
			return -1;
		if (fchdir(p->empty) < 0 || chroot(".") < 0 || (dir && make_dirs(dir, true) < 0))
			return fault(f, errno, "make directory %s for removed names", dir);
	}
	if (dir && (chdir(dir) < 0 || (name[0] == '/' && chroot(".") < 0)))
		return fault(f, errno, "go to directory %s, where socket %s was bound", dir, name);
	if (hidden && make_dirs(name, false) < 0)
		return fault(f, errno, "make the directories of %s for removed names", name);
	return 0;
}

static int set_perms(const char *name, const FilePermsEntry *perms, struct fault *f)
{
	if (!perms)
		return 0;
	if (lchown(name, perms->uid, perms->gid) < 0 || chmod(name, perms->mode & 07777) < 0)
		return fault(f, errno, "set owner %u:%u and mode %#o of socket %s", perms->uid,
			     perms->gid, perms->mode & 07777, name);
	return 0;
}

static int bind_there(int fd, const UnixSkEntry *e, const char *name, struct fault *f)
{
	struct sockaddr_un addr;
	socklen_t len = unix_name_plain(e->name.data, e->name.len, &addr);

	return bind(fd, (struct sockaddr *)&addr, len) < 0 ?
	       fault(f, errno, "bind a socket to %s", name) : 0;
}

static int bind_hidden(int fd, const UnixSkEntry *e, const char *name, struct fault *f)
{
	if (bind_there(fd, e, name, f) < 0 || set_perms(name, e->file_perms, f) < 0)
		return -1;
	unlink(name);
	return 0;
}

static int bind_kept(struct unix_kept *k, int fd, const UnixSkEntry *e, const char *name,
		     struct fault *f)
{
	unix_kept_before(k, KEPT_NAME, name);
	if (bind_there(fd, e, name, f) < 0) {
		unix_kept_unbound(k);
		return -1;
	}
	unix_kept_bound(k, name);
	return set_perms(name, e->file_perms, f);
}

/* Only what is bound by its own path can be moved: no directory of its own comes before it. */
static int move(struct unix_kept *k, const UnixSkEntry *e, const char *name, struct fault *f)
{
	unix_kept_before(k, KEPT_MOVED, e->moved_to);
	return renameat2(AT_FDCWD, name, AT_FDCWD, e->moved_to, RENAME_NOREPLACE) < 0 ?
	       fault(f, errno, "rename socket %s to %s", name, e->moved_to) : 0;
}

static int keep(struct unix_places *p, const UnixSkEntry *e, struct fault *f)
{
	if (!p->kept)
		p->kept = unix_kept_open(p->max, f);
	return p->kept ? unix_kept_next(p->kept, e, f) : -1;
}

int unix_name_bind(struct unix_places *p, int fd, const UnixSkEntry *e, bool hidden,
		   struct fault *f)
{
	char name[UNIX_NAME_MAX + 1];
	struct sockaddr_un addr;
	socklen_t len;

	hidden = hidden || e->deleted;
	if (!unix_name_is_path(e)) {
		len = unix_name_plain(e->name.data, e->name.len, &addr);
		if (e->name.len && bind(fd, (struct sockaddr *)&addr, len) < 0)
			return fault(f, errno, "bind a socket to the abstract name \"%.*s\"",
				     (int)e->name.len - 1, (char *)e->name.data + 1);
		return 0;
	}
	unix_name_text(e, name);
	if (!hidden && keep(p, e, f) < 0)
		return -1;
	if (go_to(p, e, name, hidden, f) == 0) {
		if (hidden)
			bind_hidden(fd, e, name, f);
		else if (bind_kept(p->kept, fd, e, name, f) == 0 && e->moved_to)
			move(p->kept, e, name, f);
	}
	return go_back(p, f);
}

socklen_t unix_name_plain(const uint8_t *name, size_t len, struct sockaddr_un *addr)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (len > sizeof(addr->sun_path))
		len = sizeof(addr->sun_path);
	memcpy(addr->sun_path, name, len);
	return offsetof(struct sockaddr_un, sun_path) + len;
}

socklen_t unix_name_via(struct sockaddr_un *addr, int via)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return offsetof(struct sockaddr_un, sun_path) + 1 +
	       snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d", via);
}

int unix_name_address(int fd, const UnixSkEntry *e, struct sockaddr_un *addr, socklen_t *len,
		      int *via, struct fault *f)
{
	*via = -1;
	if (!unix_name_is_path(e)) {
		*len = unix_name_plain(e->name.data, e->name.len, addr);
		return 0;
	}
	*via = ioctl(fd, SIOCUNIXFILE);
	if (*via < 0)
		return fault(f, errno, "find the file a socket is bound to");
	*len = unix_name_via(addr, *via);
	return 0;
}
