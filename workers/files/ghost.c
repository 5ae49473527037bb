/* SPDX-License-Identifier: MIT */
/*
 * ghost.c - dump of open files whose name is gone or taken by another file.
 *
 *	no name left		ghost: the contents go to ghost-file-N.img
 *	another name left	link remap: a hard link "link_remap.N" beside the old name
 *				keeps the file alive until the restore (--link-remap)
 *	a file of /proc		the pid of its task, which has ended: deadproc.c
 *
 * remap-fpath.img says which reg file entry has which. The way back is in revive.c.
 *
 * Rights:   read the file; write its directory for a link remap.
 * Holds:    the ghosts and links of one dump.
 */
#include "workers/files/ghost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/files/covered.h"
#include "workers/files/deadproc.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"

#define CHUNKS_FROM (3 * 4096)		/* smaller ghosts are stored in one piece */

struct ghost_id {
	dev_t dev;
	ino_t ino;
	uint32_t id;
};

struct ghosts {
	struct image *img;		/* remap-fpath.img */
	struct ghost_id *ghost;
	size_t nghosts, ghosts_cap;
	char **link;			/* link remaps made */
	size_t nlinks, links_cap;
};

static struct ghosts *ghosts(struct files *fs)
{
	if (!fs->ghosts)
		fs->ghosts = xcalloc(1, sizeof(*fs->ghosts));
	return fs->ghosts;
}

/* The kernel's own encoding of a device number. */
static uint32_t kernel_dev(dev_t dev)
{
	return major(dev) << 20 | minor(dev);
}

static int write_remap(struct files *fs, uint32_t orig_id, uint32_t remap_id, RemapType type,
		       struct fault *f)
{
	RemapFilePathEntry e = REMAP_FILE_PATH_ENTRY__INIT;
	struct ghosts *g = ghosts(fs);

	if (!g->img)
		g->img = image_append(files_image_dir(fs), IMG_REMAP_FPATH, 0, f);
	if (!g->img)
		return -1;
	e.orig_id = orig_id;
	e.remap_id = remap_id;
	e.has_remap_type = true;
	e.remap_type = type;
	return image_write(g->img, &e.base, f);
}

static int copy_range(int from, off_t off, uint64_t len, struct image *img, struct fault *f)
{
	int to = image_fd(img, f);
	ssize_t n;

	if (to < 0)
		return -1;
	while (len > 0) {
		n = sendfile(to, from, &off, len);
		if (n < 0)
			return fault(f, errno, "copy a deleted file to %s", image_label(img));
		if (n == 0)
			return fault(f, EIO, "%s: the deleted file became shorter",
				     image_label(img));
		len -= n;
	}
	return 0;
}

/* Each extent with data behind a chunk entry; holes are left out. */
static int copy_chunks(int fd, uint64_t size, struct image *img, struct fault *f)
{
	GhostChunkEntry c = GHOST_CHUNK_ENTRY__INIT;
	off_t data, hole = 0;

	while ((uint64_t)hole < size) {
		data = lseek(fd, hole, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0;
		hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return fault(f, errno, "find the holes of a deleted file");
		c.off = data;
		c.len = hole - data;
		if (image_write(img, &c.base, f) < 0 || copy_range(fd, data, c.len, img, f) < 0)
			return -1;
	}
	return 0;
}

static int write_contents(const struct facts *x, bool chunks, struct image *img, struct fault *f)
{
	AUTO_CLOSE int fd = -1;

	/* The duplicate may be for writing only, and its position is the task's. */
	fd = files_reopen(x->dup, O_RDONLY | O_NOATIME, &(struct fault){ 0 });
	if (fd < 0)
		fd = files_reopen(x->dup, O_RDONLY, f);
	if (fd < 0)
		return -1;
	if (chunks)
		return copy_chunks(fd, x->st.st_size, img, f);
	return copy_range(fd, 0, x->st.st_size, img, f);
}

static Timeval time_entry(struct timespec ts)
{
	Timeval t = TIMEVAL__INIT;

	t.tv_sec = ts.tv_sec;
	t.tv_usec = ts.tv_nsec / 1000;
	return t;
}

/* ghost-file-ID.img: what the inode was, then its contents. */
static int write_ghost(struct files *fs, const struct facts *x, uint32_t id, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_create(files_image_dir(fs), IMG_GHOST_FILE, id, f);
	Timeval atim = time_entry(x->st.st_atim), mtim = time_entry(x->st.st_mtim);
	GhostFileEntry e = GHOST_FILE_ENTRY__INIT;
	char target[PATH_MAX];
	ssize_t n;

	if (!img)
		return -1;
	e.uid = x->st.st_uid;
	e.gid = x->st.st_gid;
	e.mode = x->st.st_mode;
	e.atim = &atim;
	e.mtim = &mtim;
	e.has_dev = e.has_ino = true;
	e.dev = kernel_dev(x->st.st_dev);
	e.ino = x->st.st_ino;
	if (S_ISCHR(x->st.st_mode) || S_ISBLK(x->st.st_mode)) {
		e.has_rdev = true;
		e.rdev = x->st.st_rdev;
	}
	if (S_ISREG(x->st.st_mode) && x->st.st_size >= CHUNKS_FROM) {
		e.has_chunks = e.chunks = true;
		e.has_size = true;
		e.size = x->st.st_size;
	}
	if (S_ISLNK(x->st.st_mode)) {
		n = readlinkat(x->dup, "", target, sizeof(target) - 1);
		if (n < 0)
			return fault(f, errno, "read a deleted symbolic link");
		target[n] = '\0';
		e.symlnk_target = target;
	}
	if (image_write(img, &e.base, f) < 0)
		return -1;
	if (S_ISREG(x->st.st_mode) && write_contents(x, e.chunks, img, f) < 0)
		return -1;
	return image_close(&img, f);
}

static bool on_fs(const struct facts *x, long magic)
{
	struct statfs s;

	return fstatfs(x->dup, &s) == 0 && s.f_type == magic;
}

/* The name is gone for good: keep the contents. */
static int dump_ghost(struct files *fs, const struct facts *x, struct fault *f)
{
	struct ghosts *g = ghosts(fs);
	struct ghost_id *id;
	char who[400];
	size_t i;

	for (i = 0; i < g->nghosts; i++)
		if (g->ghost[i].dev == x->st.st_dev && g->ghost[i].ino == x->st.st_ino)
			return write_remap(fs, x->id, g->ghost[i].id, REMAP_TYPE__GHOST, f);
	if (remap_preflight(fs, x, f) < 0)
		return -1;
	id = grow(&g->ghost, g->nghosts, &g->ghosts_cap, sizeof(*id));
	*id = (struct ghost_id){ x->st.st_dev, x->st.st_ino, g->nghosts + 1 };
	if (write_ghost(fs, x, id->id, f) < 0)
		return fault_prefix(f, "%s", facts_name(x, who, sizeof(who)));
	g->nghosts++;
	return write_remap(fs, x->id, id->id, REMAP_TYPE__GHOST, f);
}

bool ghost_drop_parent(char *path)
{
	char *name = strrchr(path, '/'), *up;

	if (!name || name == path)
		return false;
	*name = '\0';
	up = strrchr(path, '/');
	*name = '/';
	memmove(up, name, strlen(name) + 1);
	return true;
}

/*
 * Give the file a name beside its old one, "link_remap.ID", or in the nearest directory
 * above that still exists. *id is the link's own entry; name receives the path.
 */
static int make_link(struct files *fs, const struct facts *x, const char *path, uint32_t *id,
		     char *name, size_t size)
{
	char self[32], dir[PATH_MAX];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", x->dup);
	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
	*id = files_new_id(fs);
	snprintf(name, size, "%s/link_remap.%u", dir, *id);
	while (linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) < 0) {
		if (errno == EEXIST) {		/* left by an earlier dump */
			*id = files_new_id(fs);
			sprintf(strrchr(name, '/'), "/link_remap.%u", *id);
		} else if (errno != ENOENT || !ghost_drop_parent(name)) {
			return -1;
		}
	}
	return 0;
}

static int write_link_entry(struct files *fs, uint32_t id, char *name, struct fault *f)
{
	RegFileEntry r = REG_FILE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	FownEntry fown = FOWN_ENTRY__INIT;

	r.id = id;
	r.fown = &fown;
	r.name = name;
	e.type = FD_TYPES__REG;
	e.id = id;
	e.reg = &r;
	return files_write_entry(fs, &e, f);
}

static int dump_link(struct files *fs, const struct facts *x, const char *path, struct fault *f)
{
	struct ghosts *g = ghosts(fs);
	char name[PATH_MAX + 32], who[400];
	uint32_t id;

	/* Not all file systems count a directory's links: overlays do not. */
	if (S_ISDIR(x->st.st_mode) && link_deleted(x->link, NULL))
		return dump_ghost(fs, x, f);
	if (S_ISDIR(x->st.st_mode))
		return fault(f, -ENOTSUP, "%s: the directory is no longer found under that path;"
			     " move it back", facts_name(x, who, sizeof(who)));
	if (!files_opts(fs)->link_remap)
		return fault(f, -ENOTSUP, "%s: the file was deleted but has another name; give"
			     " --link-remap to keep it by a hard link in its directory",
			     facts_name(x, who, sizeof(who)));
	if (make_link(fs, x, path, &id, name, sizeof(name)) < 0) {
		/* A file of a lower layer shows the link count it had there. */
		if ((errno == ENOENT || errno == EXDEV) && on_fs(x, OVERLAYFS_SUPER_MAGIC))
			return dump_ghost(fs, x, f);
		return fault(f, errno, "%s: link it as %s", facts_name(x, who, sizeof(who)), name);
	}
	*(char **)grow(&g->link, g->nlinks, &g->links_cap, sizeof(char *)) = xstrdup(name);
	g->nlinks++;
	if (write_link_entry(fs, id, name, f) < 0)
		return -1;
	return write_remap(fs, x->id, id, REMAP_TYPE__LINKED, f);
}

static int dump_proc(struct files *fs, const struct facts *x, char *path, struct fault *f)
{
	const int pid = deadproc_pid(fs, x, path, f);

	return pid > 0 ? write_remap(fs, x->id, pid, REMAP_TYPE__PROCFS, f) : pid;
}

/* NFS hides a deleted file that is open under this name, and removes it with the last close. */
static bool silly_renamed(const struct facts *x, const char *path)
{
	const char *name = strrchr(path, '/');

	return name && strncmp(name, "/.nfs", 5) == 0 && on_fs(x, NFS_SUPER_MAGIC);
}

int remap_dump(struct files *fs, const struct facts *x, char *path, char **below, struct fault *f)
{
	const Options *o = files_opts(fs);
	struct stat st;
	char who[400];
	size_t len;
	int r;

	r = fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW);
	if (r == 0 && st.st_ino == x->st.st_ino && st.st_dev == x->st.st_dev &&
	    !silly_renamed(x, path))
		return 0;
	if (r < 0 && errno != ENOENT && errno != ENOTDIR)
		return fault(f, errno, "%s: stat %s", facts_name(x, who, sizeof(who)), path);
	if (on_fs(x, PROC_SUPER_MAGIC))
		return dump_proc(fs, x, path, f);
	if (r == 0 && o->evasive_devices && (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) &&
	    st.st_mode == x->st.st_mode && st.st_rdev == x->st.st_rdev)
		return 0;
	if (link_deleted(path, &len))
		path[len] = '\0';
	if (on_fs(x, DEVPTS_SUPER_MAGIC))
		return 0;
	if (x->st.st_nlink == 0)
		return dump_ghost(fs, x, f);
	r = covered_find(x, path, below, f);
	if (r != 0)
		return r < 0 ? -1 : 0;
	return dump_link(fs, x, path, f);
}

int remap_preflight(struct files *fs, const struct facts *x, struct fault *f)
{
	const Options *o = files_opts(fs);
	uint64_t bytes = x->st.st_blocks * 512ull;
	char who[400];

	if (x->st.st_nlink == 0 && S_ISREG(x->st.st_mode) && on_fs(x, HUGETLBFS_MAGIC))
		return fault(f, -ENOTSUP, "%s: it is a deleted file of a hugetlbfs, which cannot "
			     "be written again; let the program keep its name, or use memfd_create",
			     facts_name(x, who, sizeof(who)));
	if (x->st.st_nlink == 0 && bytes > o->ghost_limit)
		return fault(f, -EFBIG, "%s: the file was deleted and holds %llu bytes; give"
			     " --ghost-limit %llu or more to store them in the dump",
			     facts_name(x, who, sizeof(who)), (unsigned long long)bytes,
			     (unsigned long long)bytes);
	if (x->st.st_nlink && !o->link_remap && link_deleted(x->link, NULL) &&
	    strncmp(x->link, "/proc/", 6) && access(x->link, F_OK) < 0 && !S_ISDIR(x->st.st_mode))
		return fault(f, -ENOTSUP, "%s: the file was deleted but has another name; give"
			     " --link-remap to keep it by a hard link in its directory",
			     facts_name(x, who, sizeof(who)));
	return 0;
}

int ghost_flush(struct files *fs, struct fault *f)
{
	return fs->ghosts ? image_close(&fs->ghosts->img, f) : 0;
}

bool ghost_has(const struct files *fs, dev_t dev, ino_t ino)
{
	size_t i;

	for (i = 0; fs->ghosts && i < fs->ghosts->nghosts; i++)
		if (fs->ghosts->ghost[i].dev == dev && fs->ghosts->ghost[i].ino == ino)
			return true;
	return false;
}

void ghost_end(struct files *fs, bool remove_links)
{
	struct ghosts *g = fs->ghosts;
	size_t i;

	if (!g)
		return;
	for (i = 0; i < g->nlinks; i++) {
		if (remove_links)
			unlink(g->link[i]);
		free(g->link[i]);
	}
	free(g->link);
	free(g->ghost);
	auto_image(&g->img);
	free(g);
	fs->ghosts = NULL;
}
