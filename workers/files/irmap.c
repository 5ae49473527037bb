/* SPDX-License-Identifier: MIT */
/*
 * irmap.c - the path of a watched file when its handle does not tell it: file systems without
 * usable handles, --force-irmap.
 *
 * Asked first is irmap-cache, which a pre-dump left in the work directory or in the parent of the
 * images. Then directories are read, whole and one after the other until the inode is met: those
 * of --irmap-scan-path, then where programs watch files as a rule. As in CRIU.
 *
 * Rights:   CAP_DAC_READ_SEARCH.
 * Holds:    all inodes met, until the end of the collection.
 */
#include "workers/files/irmap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "proto/images/inventory.pb-c.h"
#include "workers/files/files.h"

#define DEEPEST 64			/* directories below a root */

struct irmap {
	struct known {
		uint32_t dev;
		uint64_t ino;
		char *path;
	} *known;
	size_t n, cap;
	size_t roots_read;		/* of the scan paths, then of the places below */
	bool cache_read;
};

static const char *const places[] = {
	"/etc", "/var/spool", "/var/log", "/usr/share/dbus-1/services",
	"/usr/share/dbus-1/system-services", "/var/lib/polkit-1/localauthority",
	"/usr/share/polkit-1/actions", "/lib/udev",
};

static void add(struct irmap *m, uint32_t dev, uint64_t ino, const char *path)
{
	*(struct known *)grow(&m->known, m->n++, &m->cap, sizeof(*m->known)) =
		(struct known){ dev, ino, xstrdup(path) };
}

/* path has room for PATH_MAX; what is appended is cut off again. */
static void read_dir(struct irmap *m, char *path, int depth)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	const size_t len = strlen(path);
	struct dirent *de;
	struct stat st;

	if (lstat(path, &st) < 0)
		return;
	add(m, major(st.st_dev) << 20 | minor(st.st_dev), st.st_ino, path);
	if (!S_ISDIR(st.st_mode) || depth == DEEPEST)
		return;
	dir = opendir(path);
	while (dir && (de = readdir(dir)) != NULL) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, "..") ||
		    len + 1 + strlen(de->d_name) >= PATH_MAX)
			continue;
		snprintf(path + len, PATH_MAX - len, "%s%s", len > 1 ? "/" : "", de->d_name);
		read_dir(m, path, depth + 1);
		path[len] = '\0';
	}
}

/* The next root to read, NULL when there is none left. */
static const char *next_root(struct files *fs)
{
	const Options *o = files_opts(fs);
	const size_t i = fs->irmap->roots_read++;

	if (i < o->n_irmap_scan_path)
		return o->irmap_scan_path[i];
	return i - o->n_irmap_scan_path < ARRAY_LEN(places) ? places[i - o->n_irmap_scan_path] :
							      NULL;
}

static int read_cache_of(struct irmap *m, int dir, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open_optional(dir, IMG_IRMAP_CACHE, 0, f);
	const IrmapCacheEntry *e;
	ProtobufCMessage *msg;
	int r;

	if (!img)
		return f->code ? -1 : 0;
	while ((r = image_read(img, &msg, f)) > 0) {
		e = (const IrmapCacheEntry *)msg;
		add(m, e->dev, e->inode, e->path);
		protobuf_c_message_free_unpacked(msg, NULL);
	}
	return r;
}

static int read_cache(struct files *fs, struct fault *f)
{
	struct irmap *m = fs->irmap;
	AUTO_CLOSE int parent = -1;

	if (m->cache_read)
		return 0;
	m->cache_read = true;
	if (read_cache_of(m, fs->worker->set.work_dir, f) < 0)
		return -1;
	parent = m->n ? -1 : openat(files_image_dir(fs), "parent",
				    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return parent < 0 ? 0 : read_cache_of(m, parent, f);
}

/* A path known for the inode that still leads there; looks at those from number *from on. */
static char *find_known(const struct irmap *m, uint32_t dev, uint64_t ino, size_t *from)
{
	const struct known *k;
	struct stat st;

	for (; *from < m->n; (*from)++) {
		k = &m->known[*from];
		if (k->dev == dev && k->ino == ino && lstat(k->path, &st) == 0 &&
		    st.st_ino == ino && (major(st.st_dev) << 20 | minor(st.st_dev)) == dev)
			return xstrdup(k->path);
	}
	return NULL;
}

char *irmap_find(struct files *fs, uint32_t dev, uint64_t ino, struct fault *f)
{
	char path[PATH_MAX], *found;
	const char *root;
	size_t from = 0;

	if (!fs->irmap)
		fs->irmap = xcalloc(1, sizeof(*fs->irmap));
	if (read_cache(fs, f) < 0)
		return NULL;
	while (!(found = find_known(fs->irmap, dev, ino, &from)) && (root = next_root(fs))) {
		snprintf(path, sizeof(path), "%s", root);
		read_dir(fs->irmap, path, 0);
	}
	return found;
}

void irmap_end(struct files *fs)
{
	struct irmap *m = fs->irmap;
	size_t i;

	for (i = 0; m && i < m->n; i++)
		free(m->known[i].path);
	if (m)
		free(m->known);
	free(m);
	fs->irmap = NULL;
}
