/* SPDX-License-Identifier: MIT */
/*
 * watched.c - find a watched file again, from its handle or by its path.
 *
 * Dump:     the handle is opened on each mount of its file system. The path it then shows goes
 *           to the image when it leads to the file, since inode numbers may change on the way
 *           to another machine. Without a usable handle a search finds it (irmap.c). A deleted
 *           file must be among the deleted files of the dump.
 * Restore:  a deleted file that was made anew, else the path, else the handle.
 * Rights:   CAP_DAC_READ_SEARCH for handles.
 * Holds:    dump: deleted files met, until the end of the collection.
 */
#include "workers/files/watched.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/files/files.h"
#include "workers/files/ghost.h"
#include "workers/files/irmap.h"
#include "workers/files/revive.h"

#define HANDLE_WORDS 16

struct gone {
	char *who;
	dev_t dev;
	ino_t ino;
};

struct watched {
	struct gone *gone;
	size_t n, cap;
};

FhEntry *watched_new(void)
{
	FhEntry *h = xcalloc(1, sizeof(*h));

	fh_entry__init(h);
	h->handle = xcalloc(HANDLE_WORDS, sizeof(*h->handle));
	h->n_handle = HANDLE_WORDS;
	return h;
}

void watched_free(FhEntry *h)
{
	if (h) {
		free(h->handle);
		free(h->path);
	}
	free(h);
}

bool watched_parse(const char *text, FhEntry *h)
{
	unsigned char *to = (unsigned char *)h->handle;
	unsigned int i, byte;
	int at = 0;

	if (!text ||
	    sscanf(text, "fhandle-bytes:%x fhandle-type:%x f_handle:%n", &h->bytes, &h->type,
		   &at) != 2 ||
	    !at || h->bytes > HANDLE_WORDS * sizeof(*h->handle))
		return false;
	for (i = 0; i < h->bytes; i++, at += 2) {
		if (sscanf(text + at, "%2x", &byte) != 1)
			return false;
		to[i] = byte;
	}
	return true;
}

int watched_check(const char *who, const FhEntry *h, struct fault *f)
{
	if (h->bytes > HANDLE_WORDS * sizeof(*h->handle) ||
	    h->n_handle * sizeof(*h->handle) < h->bytes)
		return fault(f, -EBADMSG, "%s: a file handle is not complete", who);
	return 0;
}

/* Undo \040 and the like, in place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*to++ = (s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0');
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

struct mount {
	unsigned int id;
	uint32_t dev;
	char path[PATH_MAX];
};

/* The next line of mountinfo. */
static bool next_mount(FILE *mounts, struct mount *m)
{
	char line[PATH_MAX * 3];
	unsigned int high, low;

	while (fgets(line, sizeof(line), mounts)) {
		if (sscanf(line, "%u %*u %u:%u %*s %4095s", &m->id, &high, &low, m->path) != 4)
			continue;
		m->dev = high << 20 | low;
		unescape(m->path);
		return true;
	}
	return false;
}

char *watched_mount(uint32_t id, uint32_t *dev)
{
	AUTO_FCLOSE FILE *mounts = fopen("/proc/self/mountinfo", "re");
	struct mount m;

	while (mounts && next_mount(mounts, &m)) {
		if (m.id != id)
			continue;
		*dev = m.dev;
		return xstrdup(m.path);
	}
	return NULL;
}

/* The directory where the mount is; -1 when it is no directory, or another mount lies upon it. */
static int open_mount(const char *path, unsigned int id)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
	struct statx stx;

	if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0 ||
	    !(stx.stx_mask & STATX_MNT_ID) || stx.stx_mnt_id != id)
		return -1;
	return take_fd(&fd);
}

char *watched_filesystem(uint32_t dev)
{
	AUTO_FCLOSE FILE *mounts = fopen("/proc/self/mountinfo", "re");
	struct mount m;

	while (mounts && next_mount(mounts, &m)) {
		AUTO_CLOSE int fd = m.dev == dev ? open_mount(m.path, m.id) : -1;

		if (fd >= 0)
			return xstrdup(m.path);
	}
	return NULL;
}

static int open_handle_there(int mount, const FhEntry *h)
{
	AUTO_FREE struct file_handle *fh = xcalloc(1, sizeof(*fh) + MAX_HANDLE_SZ);

	fh->handle_bytes = h->bytes;
	fh->handle_type = (int)h->type;
	memcpy(fh->f_handle, h->handle, h->bytes);
	return open_by_handle_at(mount, fh, O_PATH | O_CLOEXEC);
}

/* Open the handle on the first mount of the device that takes it. -1 with errno. */
static int open_handle(uint32_t dev, const FhEntry *h)
{
	AUTO_FCLOSE FILE *mounts = fopen("/proc/self/mountinfo", "re");
	int fd = -1, why = ENODEV;
	struct mount m;

	while (mounts && fd < 0 && next_mount(mounts, &m)) {
		AUTO_CLOSE int mount = -1;

		if (m.dev != dev)
			continue;
		mount = open_mount(m.path, m.id);
		if (mount < 0)
			continue;
		fd = open_handle_there(mount, h);
		why = errno;
	}
	errno = why;
	return fd;
}

/* The path that leads to the file opened as fd, or NULL. */
static char *path_of(int fd, const struct stat *st)
{
	char self[32], path[PATH_MAX];
	AUTO_CLOSE int again = -1;
	struct stat there;
	ssize_t n;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, path, sizeof(path) - 1);
	if (n <= 0)
		return NULL;
	path[n] = '\0';
	again = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (again < 0 || fstat(again, &there) < 0 || there.st_ino != st->st_ino ||
	    there.st_dev != st->st_dev)
		return NULL;
	return xstrdup(path);
}

static void add_gone(struct files *fs, const char *who, const struct stat *st)
{
	struct watched *w;

	if (!fs->watched)
		fs->watched = xcalloc(1, sizeof(*fs->watched));
	w = fs->watched;
	*(struct gone *)grow(&w->gone, w->n, &w->cap, sizeof(struct gone)) =
		(struct gone){ xstrdup(who), st->st_dev, st->st_ino };
	w->n++;
}

/* The handle is of no use, or not wanted: look for the file. */
static int find_path(struct files *fs, const char *who, uint32_t dev, uint64_t ino, FhEntry *h,
		     struct fault *f)
{
	h->path = irmap_find(fs, dev, ino, f);
	if (h->path || f->code)
		return h->path ? 0 : -1;
	return fault(f, -ENOENT, "%s: it watches inode %llu of device %u:%u, which neither its "
		     "handle nor a search leads to; name its directory with --irmap-scan-path", who,
		     (unsigned long long)ino, dev >> 20, dev & 0xfffff);
}

int watched_dump(struct files *fs, const char *who, uint32_t dev, uint64_t ino, FhEntry *h,
		 struct fault *f)
{
	AUTO_CLOSE int fd = open_handle(dev, h);
	struct stat st;

	if (fd < 0)
		return find_path(fs, who, dev, ino, h, f);
	if (fstat(fd, &st) < 0)
		return fault(f, errno, "%s: stat what it watches", who);
	h->path = path_of(fd, &st);
	if (!h->path && st.st_nlink == 0)
		add_gone(fs, who, &st);
	else if (!h->path && files_opts(fs)->force_irmap)
		return find_path(fs, who, dev, ino, h, f);
	return 0;
}

int watched_dump_done(struct files *fs, struct fault *f)
{
	struct watched *w = fs->watched;
	size_t i;

	for (i = 0; w && i < w->n; i++)
		if (!ghost_has(fs, w->gone[i].dev, w->gone[i].ino))
			return fault(f, -ENOTSUP, "%s: it watches a deleted file (inode %llu) that "
				     "no descriptor of the tasks keeps; let the program take the "
				     "watch away", w->gone[i].who,
				     (unsigned long long)w->gone[i].ino);
	return 0;
}

void watched_end(struct files *fs)
{
	struct watched *w = fs->watched;
	size_t i;

	for (i = 0; w && i < w->n; i++)
		free(w->gone[i].who);
	if (w)
		free(w->gone);
	free(w);
	fs->watched = NULL;
	irmap_end(fs);
}

int watched_open(struct files *fs, const char *who, uint32_t dev, uint64_t ino, const FhEntry *h,
		 struct fault *f)
{
	char self[32];
	int fd = -1, anchor = revive_by_inode(fs, dev, ino, f);

	if (anchor < -1)
		return -1;
	if (anchor >= 0) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", anchor);
		fd = open(self, O_PATH | O_CLOEXEC);
		return fd < 0 ? fault(f, errno, "%s: open a deleted file it watched", who) : fd;
	}
	if (h->path)
		fd = open(h->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && h->bytes)
		fd = open_handle(dev, h);
	if (fd < 0)
		return fault(f, errno, "%s: open what it watched: %s", who,
			     h->path ? h->path : "a file known by its handle alone");
	return fd;
}
