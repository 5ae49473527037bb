/* SPDX-License-Identifier: MIT */
/*
 * revive.c - restore of open files whose name is gone: remap-fpath.img, ghost-file-N.img.
 *
 * Each such file gets an anchor: the inode, linked at the path the task knew, opened with
 * O_PATH, and unlinked again at once. From then on /proc shows the old path with
 * "(deleted)", and every opening goes through /proc/self/fd/ANCHOR. The name is in the
 * file system for the few system calls between; when it is taken by another file, or its
 * directory is gone, a name beside it or a directory for the moment is made.
 *
 * Rights:   write the directories; CAP_CHOWN, CAP_FOWNER, CAP_MKNOD for what ghosts were.
 * Holds:    one descriptor per remapped file and one per ghost until the end; a keeper. It removes
 *           the names that the dump gave when the tasks run, so that a restore that fails can be
 *           repeated, and those there are for a moment (moment.c) when we are killed.
 */
#include "workers/files/revive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/keeper.h"
#include "workers/files/deadproc.h"
#include "workers/files/files.h"
#include "workers/files/ghost.h"
#include "workers/files/moment.h"
#include "workers/files/regular.h"

#define OLD_GHOST_BIT (1u << 31)	/* before remap_type: a ghost, not a link */

struct ghost {
	uint32_t id;
	GhostFileEntry *entry;
	int fd;				/* -1 until made; good for /proc/self/fd */
	int born;			/* as O_TMPFILE opened it; -1: had a name, or given away */
};

struct revival {
	uint32_t orig_id;
	struct ghost *ghost;		/* or */
	struct file *link;		/* the name a dump gave it */
	int anchor;			/* -1 until asked for */
};

struct revivals {
	struct revival *list;
	size_t n, cap;
	struct ghost **ghost;
	size_t nghosts, ghosts_cap;
	struct keeper keeper;
	struct moments *moments;	/* the names there are now */
};

static bool is_nameless(const RegFileEntry *r)
{
	return (r->flags & O_TMPFILE) == O_TMPFILE;
}

static struct revival *find(struct files *fs, uint32_t id)
{
	size_t i;

	for (i = 0; fs->revivals && i < fs->revivals->n; i++)
		if (fs->revivals->list[i].orig_id == id)
			return &fs->revivals->list[i];
	return NULL;
}

bool revive_has(struct files *fs, const struct file *file)
{
	return find(fs, file->id);
}

bool revive_is_ghost(struct files *fs, const struct file *file)
{
	struct revival *r = find(fs, file->id);

	return r && r->ghost;
}

/* Reading */

static int check_ghost(const GhostFileEntry *e, uint32_t id, struct fault *f)
{
	const uint32_t type = e->mode & S_IFMT;

	if (type != S_IFREG && type != S_IFDIR && type != S_IFIFO && type != S_IFLNK &&
	    type != S_IFCHR && type != S_IFBLK && type != S_IFSOCK)
		return fault(f, -EBADMSG, "ghost-file-%x.img: mode %#o is of no known type", id,
			     e->mode);
	if (e->chunks && !e->has_size)
		return fault(f, -EBADMSG, "ghost-file-%x.img: has chunks but no size", id);
	if (type == S_IFLNK && !e->symlnk_target)
		return fault(f, -EBADMSG, "ghost-file-%x.img: symbolic link without target", id);
	if ((type == S_IFCHR || type == S_IFBLK) && !e->has_rdev)
		return fault(f, -EBADMSG, "ghost-file-%x.img: device without number", id);
	if (!e->atim != !e->mtim)
		return fault(f, -EBADMSG, "ghost-file-%x.img: one of two times is missing", id);
	return 0;
}

/* Walk the chunks so that damage is found before any task exists. */
static int check_chunks(struct image *img, const GhostFileEntry *e, struct fault *f)
{
	AUTO_MSG ProtobufCMessage *msg = NULL;
	GhostChunkEntry *c;
	int r;

	while ((r = image_read_as(img, &ghost_chunk_entry__descriptor, &msg, f)) > 0) {
		c = (GhostChunkEntry *)msg;
		if (c->off > e->size || c->len > e->size - c->off)
			return fault(f, -EBADMSG, "%s: a chunk lies outside the file's %llu bytes",
				     image_label(img), (unsigned long long)e->size);
		if (image_skip_data(img, c->len, f) < 0)
			return -1;
		auto_msg(&msg);
		msg = NULL;
	}
	return r;
}

static struct ghost *read_ghost(struct files *fs, uint32_t id, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	AUTO_MSG ProtobufCMessage *msg = NULL;
	struct revivals *s = fs->revivals;
	struct ghost *g;
	size_t i;

	for (i = 0; i < s->nghosts; i++)
		if (s->ghost[i]->id == id)
			return s->ghost[i];
	img = image_open(files_image_dir(fs), IMG_GHOST_FILE, id, f);
	if (!img || image_read_one(img, &msg, f) < 0 ||
	    check_ghost((GhostFileEntry *)msg, id, f) < 0)
		return NULL;
	if (((GhostFileEntry *)msg)->chunks && check_chunks(img, (GhostFileEntry *)msg, f) < 0)
		return NULL;
	g = xcalloc(1, sizeof(*g));
	*g = (struct ghost){ .id = id, .entry = take_ptr(&msg), .fd = -1, .born = -1 };
	*(struct ghost **)grow(&s->ghost, s->nghosts++, &s->ghosts_cap, sizeof(g)) = g;
	return g;
}

static int add_remap(struct files *fs, const RemapFilePathEntry *e, struct fault *f)
{
	RemapType type = e->remap_type;
	uint32_t id = e->remap_id;
	struct revival r = { .orig_id = e->orig_id, .anchor = -1 };
	char who[64];

	if (!e->has_remap_type) {
		type = id & OLD_GHOST_BIT ? REMAP_TYPE__GHOST : REMAP_TYPE__LINKED;
		id &= ~OLD_GHOST_BIT;
	}
	snprintf(who, sizeof(who), "remap-fpath.img: remap of file %u", e->orig_id);
	if (!regular_find(fs, e->orig_id, who, f))
		return -1;
	if (find(fs, e->orig_id))
		return fault(f, -EBADMSG, "%s appears twice", who);
	if (type == REMAP_TYPE__PROCFS) {
		deadproc_expect(fs, id);
		return 0;
	}
	if (type == REMAP_TYPE__GHOST)
		r.ghost = read_ghost(fs, id, f);
	else
		r.link = regular_find(fs, id, who, f);
	if (!r.ghost && !r.link)
		return -1;
	if (r.link && (r.link->id == e->orig_id || !r.link->entry->reg))
		return fault(f, -EBADMSG, "%s: remapped to itself", who);
	*(struct revival *)grow(&fs->revivals->list, fs->revivals->n, &fs->revivals->cap,
				sizeof(r)) = r;
	fs->revivals->n++;
	return 0;
}

static void remove_links(void *arg)
{
	const struct revivals *s = arg;
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->list[i].link)
			unlink(s->list[i].link->entry->reg->name);
}

bool revive_any(const struct files *fs)
{
	return fs->revivals && fs->revivals->n;
}

static void remove_names(void *arg)
{
	const struct revivals *s = arg;

	moments_undo(s->moments);
}

/* Now, that the keeper gets no descriptors of the tasks. */
static int keep_names(struct files *fs, struct fault *f)
{
	struct revivals *s = fs->revivals;

	if (!revive_any(fs))
		return 0;
	s->moments = moments_open(f);
	s->keeper.settle = remove_links;
	return s->moments ? keeper_start(&s->keeper, remove_names, s, -1, f) : -1;
}

int revive_prepare(struct files *fs, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	ProtobufCMessage *msg;
	int r, bad = 0;

	img = image_open_optional(files_image_dir(fs), IMG_REMAP_FPATH, 0, f);
	if (!img)
		return f->code ? -1 : 0;
	fs->revivals = xcalloc(1, sizeof(*fs->revivals));
	fs->revivals->keeper = KEEPER_NONE;
	while (!bad && (r = image_read(img, &msg, f)) > 0) {
		bad = add_remap(fs, (RemapFilePathEntry *)msg, f);
		protobuf_c_message_free_unpacked(msg, NULL);
	}
	return bad < 0 || r < 0 ? -1 : keep_names(fs, f);
}

/* Making */

static int put_ghost(const char *path, void *arg)
{
	const struct ghost *g = arg;
	const GhostFileEntry *e = g->entry;
	int fd;

	switch (e->mode & S_IFMT) {
	case S_IFDIR:
		return mkdir(path, 0700);
	case S_IFLNK:
		return symlink(e->symlnk_target, path);
	case S_IFREG:
		/* A program must be executable when a task is given it. */
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			  e->mode & 0111 ? 0700 : 0600);
		if (fd >= 0)
			close(fd);
		return fd < 0 ? -1 : 0;
	default:
		return mknod(path, (e->mode & S_IFMT) | 0600, e->has_rdev ? e->rdev : 0);
	}
}

static int put_link(const char *path, void *arg)
{
	return linkat(AT_FDCWD, arg, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

static int copy_in(struct image *img, int to, uint64_t off, uint64_t len, struct fault *f)
{
	char buf[65536];
	size_t n;

	while (len > 0) {
		n = len < sizeof(buf) ? len : sizeof(buf);
		if (image_read_data(img, buf, n, f) < 0)
			return -1;
		if (pwrite(to, buf, n, off) != (ssize_t)n)
			return fault(f, errno, "write the contents of %s", image_label(img));
		off += n;
		len -= n;
	}
	return 0;
}

static int copy_chunks_in(struct image *img, int to, struct fault *f)
{
	ProtobufCMessage *msg;
	GhostChunkEntry c;
	int r;

	while ((r = image_read_as(img, &ghost_chunk_entry__descriptor, &msg, f)) > 0) {
		c = *(GhostChunkEntry *)msg;
		protobuf_c_message_free_unpacked(msg, NULL);
		if (copy_in(img, to, c.off, c.len, f) < 0)
			return -1;
	}
	return r;
}

static int fill(struct files *fs, const struct ghost *g, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open(files_image_dir(fs), IMG_GHOST_FILE, g->id, f);
	AUTO_MSG ProtobufCMessage *msg = NULL;
	AUTO_CLOSE int to = -1;

	if (!img || image_read_one(img, &msg, f) < 0)
		return -1;
	to = files_reopen(g->fd, O_WRONLY, f);
	if (to < 0)
		return -1;
	if (!g->entry->chunks)
		return copy_in(img, to, 0, image_left(img), f);
	if (ftruncate(to, g->entry->size) < 0)
		return fault(f, errno, "give a deleted file its %llu bytes",
			     (unsigned long long)g->entry->size);
	return copy_chunks_in(img, to, f);
}

/*
 * A deleted inode with no link left cannot be linked again: all names it had in the tasks are
 * given while the first one is still there.
 */
struct ghost_names {
	struct files *fs;
	struct ghost *ghost;
	const char *first;
	struct fault *f;
};

static int put_ghost_and_names(const char *path, void *arg)
{
	struct ghost_names *a = arg;
	struct revival *r = a->fs->revivals->list;
	const bool is_dir = S_ISDIR(a->ghost->entry->mode);
	const char *name;
	size_t i;

	if (put_ghost(path, a->ghost) < 0)
		return -1;
	for (i = 0; i < a->fs->revivals->n && !is_dir; i++) {
		if (r[i].ghost != a->ghost || r[i].anchor >= 0)
			continue;
		name = files_find(a->fs, r[i].orig_id)->entry->reg->name;
		if (strcmp(name, a->first) != 0)
			r[i].anchor = moment_name(a->fs->revivals->moments, name, r[i].orig_id,
						  put_link, (void *)path, a->f);
	}
	return 0;
}

/*
 * A file of O_TMPFILE never had a name, and may still get one by linkat(2): nothing can give that
 * right to a file that was unlinked. Returns its descriptor, -1 without fault where the file system
 * has no such files, or the directory is none now.
 */
static int make_nameless(struct moments *m, const RegFileEntry *r, struct fault *f)
{
	const int keep = O_ACCMODE | O_APPEND | O_DSYNC | O_SYNC | O_DIRECT | O_NOATIME;
	char path[PATH_MAX];
	int fd = -1;

	if (snprintf(path, sizeof(path), "%s", r->name) >= PATH_MAX)
		return fault(f, -ENAMETOOLONG, "path of file %u", r->id);
	*strrchr(path, '/') = '\0';
	if (moment_begin(m, r->name) == 0)
		fd = open(*path ? path : "/", O_TMPFILE | O_CLOEXEC | (r->flags & keep), 0600);
	moment_end(m);
	return fd;
}

int revive_born(struct files *fs, const struct file *file)
{
	struct revival *r = find(fs, file->id);

	if (!r->ghost || !is_nameless(file->entry->reg))
		return -1;
	return take_fd(&r->ghost->born);
}

static int make_ghost(struct files *fs, const struct file *file, struct revival *r, struct fault *f)
{
	struct ghost *g = r->ghost;
	struct ghost_names arg = { fs, g, file->entry->reg->name, f };

	if (g->fd < 0 && S_ISREG(g->entry->mode) && is_nameless(file->entry->reg)) {
		g->born = make_nameless(fs->revivals->moments, file->entry->reg, f);
		g->fd = g->born < 0 ? -1 : files_reopen(g->born, O_PATH, f);
		if (f->code || (g->fd >= 0 && fill(fs, g, f) < 0))
			return -1;
	}
	if (g->fd < 0) {
		g->fd = moment_name(fs->revivals->moments, arg.first, g->id, put_ghost_and_names,
				    &arg, f);
		if (g->fd < 0 || f->code)
			return -1;
		if (S_ISREG(g->entry->mode) && fill(fs, g, f) < 0)
			return -1;
	}
	return r->anchor >= 0 ? r->anchor : g->fd;
}

/* The name the dump left, linked at the old path. */
static int make_linked(struct moments *m, const struct file *file, struct revival *r,
		       struct fault *f)
{
	if (r->anchor < 0)
		r->anchor = moment_name(m, file->entry->reg->name, file->id, put_link,
					r->link->entry->reg->name, f);
	return r->anchor;
}

int revive_anchor(struct files *fs, const struct file *file, struct fault *f)
{
	struct revival *r = find(fs, file->id);

	return r->ghost ? make_ghost(fs, file, r, f) :
			  make_linked(fs->revivals->moments, file, r, f);
}

int revive_by_inode(struct files *fs, uint32_t dev, uint64_t ino, struct fault *f)
{
	struct revivals *s = fs->revivals;
	size_t i;
	int fd;

	for (i = 0; s && i < s->n; i++) {
		const struct ghost *g = s->list[i].ghost;

		if (!g || !g->entry->has_dev || !g->entry->has_ino || g->entry->dev != dev ||
		    g->entry->ino != ino)
			continue;
		fd = revive_anchor(fs, files_find(fs, s->list[i].orig_id), f);
		return fd < 0 ? -2 : fd;
	}
	return -1;
}

/* The end */

/* After all openings: a mode without permissions would have been in their way. */
static int dress_ghost(const struct ghost *g, struct fault *f)
{
	const GhostFileEntry *e = g->entry;
	struct timespec times[2];
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", g->fd);
	if (fchownat(g->fd, "", e->uid, e->gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return fault(f, errno, "give a deleted file to uid %u, gid %u", e->uid, e->gid);
	if (S_ISLNK(e->mode))
		return 0;
	if (chmod(self, e->mode & 07777) < 0)
		return fault(f, errno, "give a deleted file mode %#o", e->mode);
	if (!e->atim)
		return 0;
	times[0] = (struct timespec){ e->atim->tv_sec, e->atim->tv_usec * 1000 };
	times[1] = (struct timespec){ e->mtim->tv_sec, e->mtim->tv_usec * 1000 };
	if (utimensat(AT_FDCWD, self, times, 0) < 0)
		return fault(f, errno, "give a deleted file its times");
	return 0;
}

int revive_finish(struct files *fs, struct fault *f)
{
	struct revivals *s = fs->revivals;
	size_t i;

	for (i = 0; s && i < s->nghosts; i++)
		if (s->ghost[i]->fd >= 0 && dress_ghost(s->ghost[i], f) < 0)
			return -1;
	return 0;
}

/* With a keeper they stay noted, for revive_hand_over. */
void revive_end(struct files *fs)
{
	struct revivals *s = fs->revivals;
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->n; i++)
		auto_close(&s->list[i].anchor);
	for (i = 0; i < s->nghosts; i++) {
		auto_close(&s->ghost[i]->fd);
		auto_close(&s->ghost[i]->born);
		protobuf_c_message_free_unpacked(&s->ghost[i]->entry->base, NULL);
		free(s->ghost[i]);
	}
	free(s->ghost);
	free(s->list);
	moments_close(s->moments);
	if (s->keeper.pid > 0) {
		*s = (struct revivals){ .keeper = s->keeper };
		return;
	}
	free(s);
	fs->revivals = NULL;
}

int revive_hand_over(struct files *fs)
{
	int fd = fs->revivals ? keeper_hand_over(&fs->revivals->keeper) : -1;

	revive_end(fs);
	return fd;
}
