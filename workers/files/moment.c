/* SPDX-License-Identifier: MIT */
/*
 * moment.c - restore: names that exist for a moment only, and do not stay when we are killed in it.
 *
 * A deleted file gets a name to be opened by. Before anything is made it is noted in memory that a
 * keeper shares: the directories that are missing, then the name, which must be free, then the
 * inode.
 *
 * Rights:   write the directories.
 * Holds:    the shared memory.
 */
#include "workers/files/moment.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/files/ghost.h"

#define NESTED 2

struct moment {
	char path[PATH_MAX + 64];
	size_t made;		/* so long is the first directory that was missing; 0: none */
	bool putting;		/* the name was free, and is not ours before its inode is known */
	dev_t dev;
	ino_t ino;			/* 0: not known */
};

struct moments {
	size_t n;
	struct moment at[NESTED];
};

struct moments *moments_open(struct fault *f)
{
	struct moments *m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (m != MAP_FAILED)
		return m;
	fault(f, errno, "share what is known of names for a moment");
	return NULL;
}

void moments_close(struct moments *m)
{
	if (m)
		munmap(m, sizeof(*m));
}

/* ---- removal ---- */

static void remove_name(const char *path, mode_t mode)
{
	if (S_ISDIR(mode))
		rmdir(path);
	else
		unlink(path);
}

/* Those that were not empty when we came were not missing. */
static void remove_parents(const struct moment *m)
{
	char path[sizeof(m->path)];
	char *slash;

	strcpy(path, m->path);
	while (m->made && (slash = strrchr(path, '/')) && (size_t)(slash - path) >= m->made) {
		*slash = '\0';
		rmdir(path);
	}
}

/* Killed while it was put: a new file is empty, a linked one has another name. */
static bool is_ours(const struct moment *m, const struct stat *st)
{
	if (m->ino)
		return st->st_ino == m->ino && st->st_dev == m->dev;
	return m->putting && (!S_ISREG(st->st_mode) || st->st_size == 0 || st->st_nlink > 1);
}

void moments_undo(const struct moments *m)
{
	struct stat st;
	size_t i;

	for (i = m->n; i-- > 0;) {
		if (lstat(m->at[i].path, &st) == 0 && is_ours(&m->at[i], &st))
			remove_name(m->at[i].path, st.st_mode);
		remove_parents(&m->at[i]);
	}
}

/* ---- making ---- */

static int make_parent(struct moment *m, size_t len)
{
	const bool first = !m->made;

	if (first && access(m->path, F_OK) == 0)
		return 0;
	if (first)
		m->made = len;
	if (mkdir(m->path, 0700) == 0)
		return 0;
	if (first)
		m->made = 0;
	return -1;
}

/* Make the directories of path that are missing, first noted. -1 with errno. */
static int make_parents(struct moment *m)
{
	char *end = strrchr(m->path, '/'), *slash = m->path;
	int r = 0;

	if (!end || end == m->path)
		return 0;
	*end = '\0';
	r = access(m->path, F_OK);
	*end = '/';
	if (r == 0)
		return 0;
	for (r = 0; r == 0 && slash != end;) {
		slash = strchr(slash + 1, '/');
		*slash = '\0';
		r = make_parent(m, slash - m->path);
		*slash = '/';
	}
	return r;
}

int moment_begin(struct moments *m, const char *path)
{
	struct moment *now = &m->at[m->n];

	now->made = now->ino = 0;
	now->putting = false;
	snprintf(now->path, sizeof(now->path), "%s", path);
	m->n++;
	return make_parents(now);
}

void moment_end(struct moments *m)
{
	remove_parents(&m->at[m->n - 1]);
	m->n--;
}

static int put_noted(struct moment *m, put_name put, void *arg)
{
	struct stat st;

	if (lstat(m->path, &st) == 0) {
		errno = EEXIST;
		return -1;
	}
	m->putting = true;
	if (put(m->path, arg) < 0) {
		m->putting = false;
		return -1;
	}
	if (lstat(m->path, &st) < 0)
		return -1;
	m->dev = st.st_dev;
	m->ino = st.st_ino;
	m->putting = false;
	return 0;
}

static int open_and_remove(struct moment *m, struct fault *f)
{
	int fd = open(m->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return fault(f, errno, "open deleted file %s", m->path);
	if (fstat(fd, &st) == 0)
		remove_name(m->path, st.st_mode);
	m->ino = 0;
	return fd;
}

int moment_name(struct moments *m, const char *name, uint32_t id, put_name put, void *arg,
		struct fault *f)
{
	char path[PATH_MAX];
	struct moment *now = &m->at[m->n];
	int fd = -1, r;

	if (m->n == NESTED || snprintf(path, sizeof(path), "%s", name) >= PATH_MAX)
		return fault(f, -ENAMETOOLONG, "path of file %u", id);
	for (;;) {	/* what was a directory may be a file now */
		r = moment_begin(m, path) < 0 ? -1 : put_noted(now, put, arg);
		if (r == 0 || errno != ENOTDIR || !ghost_drop_parent(path))
			break;
		moment_end(m);
	}
	if (r < 0 && errno == EEXIST && strlen(now->path) < PATH_MAX) {
		snprintf(now->path + strlen(now->path), 64, ".cr.%x.ghost", id);
		r = put_noted(now, put, arg);
	}
	if (r < 0)
		fault(f, errno, "make deleted file %s", now->path);
	else
		fd = open_and_remove(now, f);
	moment_end(m);
	return fd;
}
