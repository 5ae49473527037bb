/* SPDX-License-Identifier: MIT */
/*
 * memfd.c - files of memory: what memfd_create makes, and shared anonymous memory that is open.
 *
 * Dump:     an entry per open file, and one per inode in memfd.img. The contents are the mem
 *           worker's, whom FilesWritten tells where to open each inode.
 * Restore:  mem makes the inodes with their contents; here they become open files. Owner, mode
 *           and seals come last: a seal forbids mappings that exist already.
 * Rights:   CAP_CHOWN, CAP_FOWNER for files of other users.
 * Holds:    a descriptor per inode, from FilesTakeMemory to the end.
 */
#include "workers/files/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/hugetlb.h"
#include "workers/files/external.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"

#define PREFIX "/memfd:"
#define ZERO "/dev/zero (deleted)"
#define LARGEFILE_BIT 0100000		/* O_LARGEFILE of the kernel; glibc says 0 */

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20		/* Linux 6.3 */
#endif
#define KNOWN_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | \
		     F_SEAL_FUTURE_WRITE | F_SEAL_EXEC)

struct inode {
	MemfdInodeEntry *e;		/* restore */
	int fd;				/* restore: of the mem worker's making; -1: not there yet */
	bool given;			/* to a file, which closes it */
	uint64_t shmid;			/* dump */
};

struct memfds {
	struct inode *inode;		/* dump: entry i has inode_id i + 1 */
	size_t n, cap;
	struct image *img;		/* dump: memfd.img */
	MemoryFile **memory;		/* dump: by inode */
};

static struct memfds *memfds_of(struct files *fs)
{
	if (!fs->memfds)
		fs->memfds = xcalloc(1, sizeof(*fs->memfds));
	return fs->memfds;
}

/* Dump */

/* Where the kernel keeps all memory without a path; a memfd of our own tells. 0: not known. */
static dev_t shmem_dev(void)
{
	static dev_t dev;
	struct stat st;
	int fd;

	if (dev)
		return dev;
	fd = memfd_create("stasis", MFD_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0)
		dev = st.st_dev;
	auto_close(&fd);
	return dev;
}

static bool match(const struct facts *x)
{
	if (!x->link || !S_ISREG(x->st.st_mode))
		return false;
	if (!strncmp(x->link, PREFIX, strlen(PREFIX)))
		return x->st.st_dev == shmem_dev() || hugetlb_size_bits(x->st.st_dev);
	return (!strcmp(x->link, ZERO) && x->st.st_dev == shmem_dev()) ||
	       (!strncmp(x->link, ANON_HUGE_NAME, strlen(ANON_HUGE_NAME)) &&
		hugetlb_size_bits(x->st.st_dev));
}

/* The number of the contents. */
static uint64_t shmid_of(const struct facts *x)
{
	return hugetlb_size_bits(x->st.st_dev) ? hugetlb_shmid(x->st.st_ino) : x->st.st_ino;
}

static int write_inode(struct files *fs, const struct facts *x, uint64_t id, struct fault *f)
{
	MemfdInodeEntry e = MEMFD_INODE_ENTRY__INIT;
	struct memfds *m = memfds_of(fs);
	AUTO_CLOSE int fd = -1;
	char name[PATH_MAX + 16], who[400];
	size_t len;
	int seals;

	fd = files_reopen(x->dup, O_RDONLY, f);		/* O_PATH ones do not tell */
	if (fd < 0)
		return fault_prefix(f, "%s", facts_name(x, who, sizeof(who)));
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return fault(f, errno, "%s: read its seals", facts_name(x, who, sizeof(who)));
	snprintf(name, sizeof(name), "%s", x->link);
	if (link_deleted(name, &len))
		name[len] = '\0';
	e.name = strncmp(name, PREFIX, strlen(PREFIX)) ? name : name + strlen(PREFIX);
	e.inode_id = id;
	e.shmid = shmid_of(x);
	e.has_hugetlb_flag = hugetlb_size_bits(x->st.st_dev) != 0;
	e.hugetlb_flag = MFD_HUGETLB | hugetlb_size_bits(x->st.st_dev);
	e.uid = x->st.st_uid;
	e.gid = x->st.st_gid;
	e.size = x->st.st_size;
	e.seals = seals;
	e.has_mode = true;
	e.mode = x->st.st_mode;
	if (!m->img)
		m->img = image_create(files_image_dir(fs), IMG_MEMFD_INODE, 0, f);
	return m->img ? image_write(m->img, &e.base, f) : -1;
}

/* The inode_id; 0 with f set. m: seen in a mapping, else in a descriptor. */
static uint64_t find_inode(struct files *fs, const struct facts *x, const MappedFile *m,
			   struct fault *f)
{
	const uint64_t shmid = shmid_of(x);
	struct memfds *all = memfds_of(fs);
	MemoryFile *where;
	size_t i;

	for (i = 0; i < all->n; i++)
		if (all->inode[i].shmid == shmid)
			return i + 1;
	if (write_inode(fs, x, i + 1, f) < 0)
		return 0;
	where = xcalloc(1, sizeof(*where));
	memory_file__init(where);
	where->shmid = shmid;
	where->pid = x->pid;
	where->has_fd = !m;
	where->fd = m ? 0 : x->fd;
	where->has_start = where->has_end = m && m->has_start;
	where->start = m ? m->start : 0;
	where->end = m ? m->end : 0;
	all->memory = xrealloc(all->memory, i + 1, sizeof(*all->memory));
	all->memory[i] = where;
	*(struct inode *)grow(&all->inode, all->n++, &all->cap, sizeof(struct inode)) =
		(struct inode){ .fd = -1, .shmid = shmid };
	return i + 1;
}

static int write_file(struct files *fs, const struct facts *x, uint32_t flags, const MappedFile *m,
		      struct fault *f)
{
	MemfdFileEntry e = MEMFD_FILE_ENTRY__INIT;
	FileEntry file = FILE_ENTRY__INIT;

	e.inode_id = find_inode(fs, x, m, f);
	if (!e.inode_id)
		return -1;
	e.id = x->id;
	e.flags = flags;
	e.pos = x->pos;
	e.fown = x->fown;
	file.type = FD_TYPES__MEMFD;
	file.id = x->id;
	file.memfd = &e;
	return files_write_entry(fs, &file, f);
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	return write_file(fs, x, x->flags, NULL, f);
}

int memfd_dump_mapped(struct files *fs, const struct facts *x, const MappedFile *m,
		      struct fault *f)
{
	return write_file(fs, x, m->flags | LARGEFILE_BIT, m, f);
}

int memfd_written(struct files *fs, FilesWritten **out, struct fault *f)
{
	struct memfds *m = fs->memfds;

	*out = NULL;
	if (!m)
		return 0;
	*out = xcalloc(1, sizeof(**out));
	files_written__init(*out);
	(*out)->memory = take_ptr(&m->memory);
	(*out)->n_memory = m->n;
	return image_close(&m->img, f);
}

/* Restore */

static struct inode *find(struct files *fs, uint64_t id)
{
	struct memfds *m = fs->memfds;
	size_t i;

	for (i = 0; m && i < m->n; i++)
		if (m->inode[i].e->inode_id == id)
			return &m->inode[i];
	return NULL;
}

static int prepare_inodes(struct files *fs, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	ProtobufCMessage *msg;
	MemfdInodeEntry *e;
	struct inode *one;
	bool twice;
	int r;

	img = image_open_optional(files_image_dir(fs), IMG_MEMFD_INODE, 0, f);
	if (!img)
		return f->code ? -1 : 0;
	while ((r = image_read(img, &msg, f)) > 0) {
		struct memfds *m = memfds_of(fs);

		e = (MemfdInodeEntry *)msg;
		twice = find(fs, e->inode_id) != NULL;
		one = grow(&m->inode, m->n++, &m->cap, sizeof(*one));
		*one = (struct inode){ .e = e, .fd = -1 };
		if (twice)
			return fault(f, -EBADMSG, "memfd.img: two files have the id %llu",
				     (unsigned long long)e->inode_id);
		if (e->seals & ~KNOWN_SEALS)
			return fault(f, -ENOTSUP, "memfd.img: file %llu has unknown seals (%#x)",
				     (unsigned long long)e->inode_id, e->seals);
	}
	return r;
}

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const MemfdFileEntry *e = file->entry->memfd;

	if (!e || e->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete memory file",
			     file->id);
	if (!find(fs, e->inode_id))
		return fault(f, -EBADMSG, "files.img: file %u: memfd.img has no file %u",
			     file->id, e->inode_id);
	return 0;
}

int memfd_take(struct files *fs, const FilesTakeMemory *req, int *fds, struct fault *f)
{
	struct inode *one;
	size_t i;
	int r = 0;

	for (i = 0; i < req->n_inode_id; i++) {
		one = find(fs, req->inode_id[i]);
		if (one && one->fd < 0)
			one->fd = take_fd(&fds[i]);
		else
			r = fault(f, -EPROTO, "unexpected memory file %llu",
				  (unsigned long long)req->inode_id[i]);
		auto_close(&fds[i]);
	}
	return r;
}

static struct inode *inode_of(struct files *fs, const struct file *file, struct fault *f)
{
	struct inode *one = find(fs, file->entry->memfd->inode_id);

	if (one && one->fd >= 0)
		return one;
	fault(f, -EPROTO, "the memory file %u was not made", file->id);
	return NULL;
}

static int duplicate(int fd, struct fault *f)
{
	int new = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return new < 0 ? fault(f, errno, "duplicate a memory file") : new;
}

/*
 * The file as memfd_create returned it does not count as one being written to: only while no other
 * is open for writing the memory can be executed, so that one is used where it may be.
 */
int memfd_open_mapped(struct files *fs, struct file *file, int access, struct fault *f)
{
	struct inode *one = inode_of(fs, file, f);

	if (!one)
		return -1;
	/* The seal is denied while a mapping could become writable. */
	if (one->e->seals & F_SEAL_WRITE)
		access = O_RDONLY;
	return access == O_RDWR ? duplicate(one->fd, f) : files_reopen(one->fd, access, f);
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	const int keep = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_DIRECT |
			 LARGEFILE_BIT | O_NOATIME | O_PATH;
	const MemfdFileEntry *e = file->entry->memfd;
	struct inode *one = inode_of(fs, file, f);
	int flags = e->flags & keep, given;
	char key[PATH_MAX + 16];

	if (!one)
		return CREATE_FAILED;
	/* As with CRIU: what the user gives is taken as it is. */
	snprintf(key, sizeof(key), PREFIX "%s", one->e->name);
	given = external_inherited(fs, key);
	if (given >= 0) {
		file->fd = fcntl(given, F_DUPFD_CLOEXEC, 0);
		return file->fd < 0 ? fault(f, errno, "duplicate what is given for %s", key) :
				      CREATED;
	}
	if ((flags & (O_ACCMODE | O_PATH)) == O_RDWR && !one->given) {
		one->given = true;	/* one number for both: many fit */
		file->fd = one->fd;
	} else {
		file->fd = files_reopen(one->fd, flags, f);
	}
	if (file->fd < 0)
		return CREATE_FAILED;
	if (flags & O_PATH)
		return CREATED;
	if (files_set_flags(file->fd, flags | (e->flags & O_ASYNC), f) < 0)
		return CREATE_FAILED;
	if (lseek(file->fd, e->pos, SEEK_SET) < 0)
		return fault(f, errno, "memory file %u: go to position %llu", file->id,
			     (unsigned long long)e->pos);
	return CREATED;
}

static int settle(const struct inode *one, struct fault *f)
{
	const MemfdInodeEntry *e = one->e;
	struct stat st;
	int have;

	if (fstat(one->fd, &st) < 0)
		return fault(f, errno, "look at a memory file");
	if ((st.st_uid != e->uid || st.st_gid != e->gid) && fchown(one->fd, e->uid, e->gid) < 0)
		return fault(f, errno, "give it the owner %u:%u", e->uid, e->gid);
	if (e->has_mode && ((st.st_mode ^ e->mode) & 07777) && fchmod(one->fd, e->mode & 07777) < 0)
		return fault(f, errno, "give it the mode %#o", e->mode & 07777);
	have = fcntl(one->fd, F_GET_SEALS);
	if (have < 0)
		return fault(f, errno, "read its seals");
	if ((e->seals & ~have) && fcntl(one->fd, F_ADD_SEALS, e->seals & ~have) < 0)
		return fault(f, errno, "seal it (%#x)", e->seals & ~have);
	return 0;
}

/* All mappings exist. */
static int installed(struct files *fs, struct fault *f)
{
	struct memfds *m = fs->memfds;
	size_t i;

	for (i = 0; m && i < m->n; i++)
		if (m->inode[i].fd >= 0 && settle(&m->inode[i], f) < 0)
			return fault_prefix(f, "memory file \"%.100s\"", m->inode[i].e->name);
	return 0;
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->memfd->fown;
}

static void end(struct files *fs)
{
	struct memfds *m = fs->memfds;
	size_t i;

	if (!m)
		return;
	for (i = 0; i < m->n; i++) {
		if (!m->inode[i].given)
			auto_close(&m->inode[i].fd);
		if (m->inode[i].e)
			memfd_inode_entry__free_unpacked(m->inode[i].e, NULL);
		if (m->memory)
			memory_file__free_unpacked(m->memory[i], NULL);
	}
	auto_image(&m->img);
	free(m->memory);
	free(m->inode);
	free(m);
	fs->memfds = NULL;
}

const struct file_type memfd_type = {
	.name = "memory file",
	.deed = "stored with its contents",
	.type = FD_TYPES__MEMFD,
	.match = match,
	.dump = dump,
	.prepare = prepare_inodes,
	.check = check,
	.create = create,
	.installed = installed,
	.fown = fown,
	.end = end,
};
