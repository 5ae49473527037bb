/* SPDX-License-Identifier: MIT */
/*
 * regular.c - regular files, directories, symbolic links (O_PATH), memory devices.
 *
 * Dump:     path, flags, position, and what tells at restore whether the path still leads
 *           to the same file: size and mode.
 * Restore:  open the path again, or reopen what ghost.c made of a file without one.
 * Rights:   whatever opening the paths takes; CAP_DAC_READ_SEARCH for linkat.
 * Holds:    nothing.
 */
#include "workers/files/regular.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/files/buildid.h"
#include "workers/files/covered.h"
#include "workers/files/deadproc.h"
#include "workers/files/external.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/ghost.h"
#include "workers/files/prepare.h"
#include "workers/files/procfd.h"
#include "workers/files/revive.h"

#define MEM_MAJOR 1			/* null, zero, full, random, urandom, kmsg */
#define NO_POSITION UINT64_MAX		/* the file cannot be positioned */
#define LARGEFILE_BIT 0100000		/* O_LARGEFILE of the kernel; glibc says 0 */
#define TMPFILE_BIT (O_TMPFILE & ~O_DIRECTORY)

/* Dump */

static bool match(const struct facts *x)
{
	if (!x->link || x->link[0] != '/')
		return false;
	if (x->flags & O_PATH)
		return true;
	if (S_ISCHR(x->st.st_mode))
		return major(x->st.st_rdev) == MEM_MAJOR;
	return S_ISREG(x->st.st_mode) || S_ISDIR(x->st.st_mode) || S_ISLNK(x->st.st_mode);
}

/* A log that is only appended to may grow after the dump. */
static bool size_matters(const struct facts *x)
{
	if (!S_ISREG(x->st.st_mode))
		return false;
	return (x->flags & O_ACCMODE) != O_WRONLY || !(x->flags & O_APPEND);
}

/* What a restore compares: size, and build id if asked for. r->build_id is freed by the caller. */
static void add_validation(struct files *fs, const struct facts *x, RegFileEntry *r)
{
	if (!size_matters(x))
		return;
	r->has_size = true;
	r->size = x->st.st_size;
	if (strcmp(files_opts(fs)->file_validation, "buildid") == 0)
		r->n_build_id = build_id_read(x->dup, &r->build_id);
}

int regular_dump(struct files *fs, const struct facts *x, struct fault *f)
{
	AUTO_FREE uint32_t *build_id = NULL;
	AUTO_FREE char *below = NULL;
	RegFileEntry r = REG_FILE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	char path[PATH_MAX + 16], who[400];

	if (external_file(fs, x, path, sizeof(path))) {
		r.has_ext = r.ext = true;
	} else {
		if (x->link[0] != '/')
			return fault(f, -ENOTSUP, "%s: its path is outside our root directory",
				     facts_name(x, who, sizeof(who)));
		snprintf(path, sizeof(path), "%s", x->link);
		if (remap_dump(fs, x, path, &below, f) < 0)
			return -1;
		r.below_mount = below;
	}
	r.id = x->id;
	r.flags = x->flags;
	r.pos = x->pos;
	/* The kernel log cannot be positioned when it is open for writing only. */
	if (S_ISCHR(x->st.st_mode) && minor(x->st.st_rdev) == 11 && !x->pos &&
	    (x->flags & O_ACCMODE) == O_WRONLY)
		r.pos = NO_POSITION;
	r.fown = x->fown;
	r.name = path;
	r.has_mode = true;
	r.mode = x->st.st_mode;
	add_validation(fs, x, &r);
	build_id = r.build_id;
	e.type = FD_TYPES__REG;
	e.id = x->id;
	e.reg = &r;
	return files_write_entry(fs, &e, f);
}

/* Restore */

struct file *regular_find(struct files *fs, uint32_t id, const char *who, struct fault *f)
{
	struct file *file = files_find(fs, id);

	if (file && file->type == &regular_type)
		return file;
	fault(f, -EBADMSG, "%s: files.img has no regular file %u", who, id);
	return NULL;
}

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const RegFileEntry *r = file->entry->reg;

	(void)fs;
	if (!r || r->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete regular file",
			     file->id);
	if (r->name[0] != '/' && !r->ext)
		return fault(f, -EBADMSG, "files.img: file %u: the path \"%.200s\" is not absolute",
			     file->id, r->name);
	if (r->below_mount && r->below_mount[0] != '/')
		return fault(f, -EBADMSG, "files.img: file %u: the mount \"%.200s\" is no path",
			     file->id, r->below_mount);
	if (r->has_mnt_id && r->mnt_id != -1 && !r->ext)
		return fault(f, -ENOTSUP, "files.img: file %u (%.200s) is of a mount namespace of"
			     " its own, which cannot be restored yet", file->id, r->name);
	return 0;
}

int regular_open_flags(const RegFileEntry *r)
{
	const int keep = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_DIRECT |
			 LARGEFILE_BIT | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_PATH;
	int flags = r->flags & keep;

	/* A file of O_TMPFILE is no directory; its flag stays in f_flags. */
	if (r->flags & TMPFILE_BIT)
		flags &= ~O_DIRECTORY;
	return flags;
}

/*
 * Open a path. O_NONBLOCK, so that a FIFO or a terminal in its place cannot hold us up; taken
 * back by files_set_flags.
 */
static int open_path(struct files *fs, const char *name, int flags)
{
	const char *root = files_opts(fs)->root;
	struct open_how how = { .resolve = RESOLVE_IN_ROOT };
	AUTO_CLOSE int dir = -1;

	flags |= O_CLOEXEC;
	if (!(flags & O_PATH))
		flags |= O_NONBLOCK | O_NOCTTY;
	if (!root || strcmp(root, "/") == 0)
		return open(name, flags);
	dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -1;
	how.flags = flags;
	return syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

static int check_build_id(int fd, const RegFileEntry *r, struct fault *f)
{
	AUTO_FREE uint32_t *now = NULL;
	size_t n = build_id_read(fd, &now);

	if (!n || (n == r->n_build_id && memcmp(now, r->build_id, n * sizeof(*now)) == 0))
		return 0;
	return fault(f, -ESTALE, "%s is another program than at the dump (build id); put the old "
		     "one back, or restore with --file-validation filesize", r->name);
}

/* Is it still the file that was dumped? */
static int validate(struct files *fs, int fd, const RegFileEntry *r, struct fault *f)
{
	const Options *o = files_opts(fs);
	uint32_t mask = o->skip_file_rwx_check ? ~0777u : ~0u;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fault(f, errno, "stat %s", r->name);
	if (r->has_size && (uint64_t)st.st_size != r->size)
		return fault(f, -ESTALE, "%s has changed since the dump: it was %llu bytes long "
			     "and is %llu now; put the old file back", r->name,
			     (unsigned long long)r->size, (unsigned long long)st.st_size);
	if (r->has_mode && (st.st_mode & mask) != (r->mode & mask))
		return fault(f, -ESTALE, "%s has changed since the dump: its mode was %#o and is "
			     "%#o now; change it back, or give --skip-file-rwx-check", r->name,
			     r->mode, st.st_mode);
	if (r->n_build_id && strcmp(o->file_validation, "buildid") == 0)
		return check_build_id(fd, r, f);
	return 0;
}

/* A file the user passes: by its key for what was dumped as external, else by its path. */
static int open_inherited(struct files *fs, const RegFileEntry *r, int flags, struct fault *f)
{
	int given = external_inherited(fs, r->ext ? r->name : r->name + 1);

	if (given < 0)
		return -1;
	if (r->ext) {
		given = files_reopen(given, flags, f);
		return given < 0 || flags & O_PATH || files_set_flags(given, flags, f) == 0 ?
			       given : -1;
	}
	given = fcntl(given, F_DUPFD_CLOEXEC, 0);
	return given < 0 ? fault(f, errno, "duplicate the descriptor given for %s", r->name) :
			   given;
}

int regular_open(struct files *fs, struct file *file, int flags, struct fault *f)
{
	const RegFileEntry *r = file->entry->reg;
	AUTO_CLOSE int fd = -1;
	int anchor;

	fd = open_inherited(fs, r, flags, f);
	if (fd >= 0 || f->code)
		return take_fd(&fd);
	if (r->ext)
		return fault(f, -ENOENT, "file %s is external: give --inherit-fd fd[N]:%s", r->name,
			     r->name);
	if (revive_has(fs, file)) {
		anchor = revive_anchor(fs, file, f);
		fd = anchor < 0 ? -1 : revive_born(fs, file);
		if (anchor >= 0 && fd < 0)
			fd = files_reopen(anchor, flags, f);
	} else if (r->below_mount) {
		fd = covered_open(r->below_mount, r->name, flags, f);
	} else {
		if (deadproc_provide(fs, r->name, f) < 0)
			return -1;
		fd = open_path(fs, r->name, flags);
		if (fd < 0)
			return fault(f, errno, "open %s", r->name);
	}
	if (fd < 0 || (!revive_is_ghost(fs, file) && validate(fs, fd, r, f) < 0))
		return -1;
	if (!(flags & O_PATH) && files_set_flags(fd, flags, f) < 0)
		return fault_prefix(f, "%s", r->name);
	return take_fd(&fd);
}

/* Not those in /proc, which may be a task's own, and deleted ones, whose names come and go. */
static bool early(struct files *fs, const struct file *file)
{
	return !revive_has(fs, file) && strncmp(file->entry->reg->name, "/proc/", 6) != 0;
}

/* A file of /proc of a thread of the tree, which no one has until the end. */
static bool late(struct files *fs, const struct file *file)
{
	int pid, tid, at = 0;

	return sscanf(file->entry->reg->name, "/proc/%d/task/%d/%n", &pid, &tid, &at) == 2 && at &&
	       pid != tid && prepare_task(fs, pid) && !revive_has(fs, file);
}

static int open_late(struct files *fs, const struct file *file, struct batch *b)
{
	const RegFileEntry *r = file->entry->reg;
	int fd;

	(void)fs;
	fd = batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_openat, 3, gc((uint64_t)AT_FDCWD),
		      ga(batch_put_str(b, r->name)), gc(regular_open_flags(r)));
	if (r->pos && r->pos != NO_POSITION)
		batch_op(b, 0, 0, SYS_lseek, 3, gr(fd), gc(r->pos), gc(SEEK_SET));
	return fd;
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	const RegFileEntry *r = file->entry->reg;
	int flags = regular_open_flags(r);
	bool inherited = !r->ext && external_inherited(fs, r->name + 1) >= 0;

	if (procfd_provide(fs, r->name, f) < 0)
		return CREATE_FAILED;
	file->fd = regular_open(fs, file, flags, f);
	if (file->fd < 0)
		return CREATE_FAILED;
	if ((r->flags & O_ASYNC) && !(flags & O_PATH) &&
	    files_set_flags(file->fd, flags | O_ASYNC, f) < 0)
		return CREATE_FAILED;
	if (inherited || (flags & O_PATH) || !r->pos || r->pos == NO_POSITION)
		return CREATED;
	if (lseek(file->fd, r->pos, SEEK_SET) < 0)
		return fault(f, errno, "%s: go to position %llu", r->name,
			     (unsigned long long)r->pos);
	return CREATED;
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->reg->fown;
}

const struct file_type regular_type = {
	.name = "regular file",
	.type = FD_TYPES__REG,
	.match = match,
	.preflight = remap_preflight,
	.dump = regular_dump,
	.prepare = revive_prepare,
	.check = check,
	.create = create,
	.early = early,
	.late = late,
	.open_late = open_late,
	.installed = deadproc_release,
	.fown = fown,
	.end = deadproc_end,
};
