/* SPDX-License-Identifier: MIT */
/*
 * sysv.c - System V shared memory segments in the host's IPC namespace, both directions.
 *
 * A segment is an object of the host that outlives its users; the tasks' attaches are theirs.
 * Dump:     the segments that a task has attached, in CRIU's ipcns-shm image, contents as pages.
 *           Which others the tree made cannot be known.
 * Restore:  a segment that still exists (same id, key, size) is used. It gets the contents of the
 *           dump when nobody has it attached, as all users were in the tree then; otherwise it
 *           keeps what it has, for its users go on with it. One that is gone is made anew under
 *           its id. Tasks attach at their old addresses with shmat, so that shmdt knows the attach.
 *           What was made is removed when the restore fails: by a child (the keeper) that sees our
 *           end of a pipe close, so that it happens also when we are killed.
 *
 * Rights:   CAP_CHECKPOINT_RESTORE (shm_next_id), CAP_IPC_OWNER (attach to others' segments).
 * Holds:    restore: the image's entries, the keeper.
 */
#include "workers/mem/sysv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/hugetlb.h"
#include "workers/common/log.h"
#include "workers/mem/vma.h"

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15			/* Linux 4.17 */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23		/* Linux 5.14 */
#endif
#define TRIES 16			/* another program may take the id we asked for */

/*
 * What there is under an id, without any right to it. The index is the low part of the id: 15 bits,
 * or 24 with ipcmni_extend. False: nothing.
 */
static bool look_at(int id, struct shmid_ds *ds)
{
	return shmctl(id & 0x7fff, SHM_STAT_ANY, ds) == id ||
	       shmctl(id & 0xffffff, SHM_STAT_ANY, ds) == id;
}

/* ---- dump ---- */

static int write_segment(struct image *img, const struct shmem_seen *seen, struct fault *f)
{
	int id = seen->id;
	IpcDescEntry desc = IPC_DESC_ENTRY__INIT;
	IpcShmEntry e = IPC_SHM_ENTRY__INIT;
	struct shmid_ds ds;

	if (!look_at(id, &ds))
		return fault(f, -ENOENT, "task %d: its System V segment %d is not in our IPC "
			     "namespace", seen->pid, id);
	desc.key = ds.shm_perm.__key;
	desc.uid = ds.shm_perm.uid;
	desc.gid = ds.shm_perm.gid;
	desc.cuid = ds.shm_perm.cuid;
	desc.cgid = ds.shm_perm.cgid;
	desc.mode = ds.shm_perm.mode;
	desc.id = id;
	e.desc = &desc;
	e.size = ds.shm_segsz;
	e.has_in_pagemaps = e.in_pagemaps = true;
	e.has_hugetlb_flag = seen->huge != 0;
	e.hugetlb_flag = SHM_HUGETLB | seen->huge;
	return image_write(img, &e.base, f);
}

int sysv_write(const struct shmems *segments, const struct shmems *others, int image_dir,
	       struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	size_t i, k;

	if (!segments->n)
		return 0;
	img = image_create(image_dir, IMG_IPCNS_SHM, IMAGE_HOST_IPC_NS, f);
	for (i = 0; img && i < segments->n; i++) {
		const struct shmem_seen *s = &segments->seen[i];

		for (k = 0; k < others->n; k++)
			if (others->seen[k].id == s->id)
				return fault(f, -ENOTSUP, "task %d: its System V segment %" PRIu64
					     " has the same number as other shared memory in the "
					     "images", s->pid, s->id);
		if (write_segment(img, s, f) < 0)
			return -1;
	}
	return img ? image_close(&img, f) : -1;
}

/* ---- restore: what the images say ---- */

static struct segment *find(const struct segments *s, uint64_t id)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->segment[i].e->desc->id == id)
			return &s->segment[i];
	return NULL;
}

static uint64_t page_of(const struct segment *s)
{
	return s->e->has_hugetlb_flag ? hugetlb_page(s->e->hugetlb_flag) : STASIS_PAGE;
}

static uint64_t room_of(const struct segment *s)
{
	return (s->e->size + page_of(s) - 1) & -page_of(s);
}

static bool is_flag_known(const IpcShmEntry *e)
{
	return !e->has_hugetlb_flag || ((e->hugetlb_flag & ~HUGETLB_SIZE_BITS) == SHM_HUGETLB &&
					hugetlb_page(e->hugetlb_flag));
}

static int load(struct segments *s, int image_dir, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	ProtobufCMessage *msg;
	IpcShmEntry *e;
	int r;

	s->loaded = true;
	img = image_open_optional(image_dir, IMG_IPCNS_SHM, IMAGE_HOST_IPC_NS, f);
	if (!img)
		return f->code ? -1 : 0;
	while ((r = image_read(img, &msg, f)) > 0) {
		bool twice;

		e = (IpcShmEntry *)msg;
		twice = find(s, e->desc->id);
		*(struct segment *)grow(&s->segment, s->n++, &s->cap, sizeof(struct segment)) =
			(struct segment){ .e = e };
		if (twice || !e->in_pagemaps || !is_flag_known(e) || !e->size ||
		    e->size > USER_END || e->desc->id > INT32_MAX)
			return fault(f, -EBADMSG, "%s: segment %u is there twice or not of a form "
				     "that can be restored", image_label(img), e->desc->id);
	}
	return r;
}

/* Read the contents, and look whether the host has the segment, and whether it is the same. */
static int examine(struct segment *s, int image_dir, struct fault *f)
{
	const IpcDescEntry *d = s->e->desc;
	struct shmid_ds ds;

	s->needed = true;
	if (pagemap_load(image_dir, IMG_SHMEM_PAGEMAP, d->id, &s->stored, &s->pages, f) < 0)
		return -1;
	if (s->stored.n && s->stored.run[s->stored.n - 1].end > room_of(s))
		return fault(f, -EBADMSG, "pagemap-shmem-%u.img: pages beyond the end of the "
			     "segment", d->id);
	s->exists = look_at(d->id, &ds);
	if (s->exists && ((uint32_t)ds.shm_perm.__key != d->key || ds.shm_segsz != s->e->size))
		return fault(f, -EEXIST, "the System V segment %u has key %#x and %" PRIu64
			     " bytes in the images, but key %#x and %zu bytes now: remove it "
			     "(ipcrm -m %u)", d->id, d->key, s->e->size, ds.shm_perm.__key,
			     ds.shm_segsz, d->id);
	return 0;
}

int sysv_need(struct segments *s, const struct target *t, int image_dir, struct fault *f)
{
	struct segment *seg;
	size_t i;

	for (i = 0; i < t->n; i++) {
		const VmaEntry *e = t->vma[i];

		if (!vma_is_sysv(e))
			continue;
		if (!s->loaded && load(s, image_dir, f) < 0)
			return -1;
		seg = find(s, e->shmid);
		if (!seg || e->pgoff + (e->end - e->start) > room_of(seg) ||
		    e->start < e->pgoff + STASIS_PAGE)
			return fault(f, -EBADMSG, "mm-%d.img: mapping %" PRIx64 "-%" PRIx64
				     " is no part of a System V segment of the images", t->pid,
				     e->start, e->end);
		if (!seg->needed && examine(seg, image_dir, f) < 0)
			return -1;
	}
	return 0;
}

bool sysv_any_needed(const struct segments *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->segment[i].needed)
			return true;
	return false;
}

/* ---- restore: the objects ---- */

/* Run by the keeper. Ours are known by their maker: another program may have an id by now. */
static void remove_made(void *arg)
{
	const struct segments *s = arg;
	struct shmid_ds ds;
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->segment[i].needed && !s->segment[i].exists &&
		    look_at(s->segment[i].e->desc->id, &ds) && ds.shm_cpid == s->maker)
			shmctl(s->segment[i].e->desc->id, IPC_RMID, NULL);
}

static int ask_for_id(uint32_t id, struct fault *f)
{
	AUTO_CLOSE int fd = open("/proc/sys/kernel/shm_next_id", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || dprintf(fd, "%u", id) < 0)
		return fault(f, errno, "ask for the System V segment %u "
			     "(/proc/sys/kernel/shm_next_id)", id);
	return 0;
}

static int make_segment(const struct segment *s, struct fault *f)
{
	const IpcDescEntry *d = s->e->desc;
	int id, i;

	for (i = 0; i < TRIES; i++) {
		if (ask_for_id(d->id, f) < 0)
			return -1;
		id = shmget(d->key, s->e->size, IPC_CREAT | IPC_EXCL | (d->mode & 0777) |
			    (s->e->has_hugetlb_flag ? s->e->hugetlb_flag : 0));
		if (id < 0 && errno == EEXIST)
			return fault(f, EEXIST, "make the System V segment %u: another has its key "
				     "%#x: remove that (ipcrm -M %#x)", d->id, d->key, d->key);
		if (id < 0)
			return fault(f, errno, "make the System V segment %u of %" PRIu64 " bytes"
				     " (kernel.shmmax and shmall limit them%s)", d->id, s->e->size,
				     s->e->has_hugetlb_flag ? ", vm.nr_hugepages and "
				     "vm.hugetlb_shm_group those of huge pages" : "");
		if (id == (int)d->id)
			return 0;
		shmctl(id, IPC_RMID, NULL);
	}
	return fault(f, -EEXIST, "make the System V segment %u: the kernel gives another id",
		     d->id);
}

/* Where there are too few huge pages, an access would be a SIGBUS. */
static int bring_in(const struct segment *s, char *p, const struct stored *r, struct fault *f)
{
	uint64_t page = page_of(s), start = r->start & -page;

	if (page != STASIS_PAGE &&
	    madvise(p + start, ((r->end + page - 1) & -page) - start, MADV_POPULATE_WRITE) < 0)
		return fault(f, errno, "allocate huge pages for the System V segment %u (raise "
			     "/proc/sys/vm/nr_hugepages?)", s->e->desc->id);
	return 0;
}

/* A hole made in huge pages would lose its reservation. */
static int clear(const struct segment *s, char *p, struct fault *f)
{
	const struct stored all = { .end = room_of(s) };

	if (s->e->has_hugetlb_flag) {
		if (bring_in(s, p, &all, f) < 0)
			return -1;
		memset(p, 0, all.end);
		return 0;
	}
	if (madvise(p, room_of(s), MADV_REMOVE) < 0)
		return fault(f, errno, "empty the System V segment %u", s->e->desc->id);
	return 0;
}

/* One that exists may have smaller pages than the image says, and end earlier. */
static int check_room(const struct segment *s, const char *p, struct fault *f)
{
	const uint64_t start = (uintptr_t)p;
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/map_files/%" PRIx64 "-%" PRIx64, start,
		 start + room_of(s));
	if (lstat(path, &st) < 0)
		return fault(f, errno == ENOENT ? EEXIST : errno, "the System V segment %u has "
			     "pages of another size than in the images: remove it (ipcrm -m %u)",
			     s->e->desc->id, s->e->desc->id);
	return 0;
}

/* What is not stored reads as zeros. */
static int fill(const struct segment *s, struct fault *f)
{
	uint32_t id = s->e->desc->id;
	char *p = shmat(id, NULL, 0);
	size_t i;

	if (p == (void *)-1)
		return fault(f, errno, "attach the System V segment %u to fill it", id);
	if (s->exists && (check_room(s, p, f) < 0 || clear(s, p, f) < 0)) {
		shmdt(p);
		return -1;
	}
	for (i = 0; i < s->stored.n; i++) {
		const struct stored *r = &s->stored.run[i];

		if (bring_in(s, p, r, f) < 0)
			break;
		memcpy(p + r->start, s->pages.data + r->offset, r->end - r->start);
	}
	shmdt(p);
	return i < s->stored.n ? -1 : 0;
}

static int dress(const struct segment *s, struct fault *f)
{
	const IpcDescEntry *d = s->e->desc;
	struct shmid_ds ds = { 0 };

	ds.shm_perm.uid = d->uid;
	ds.shm_perm.gid = d->gid;
	ds.shm_perm.mode = d->mode & 0777;
	if (shmctl(d->id, IPC_SET, &ds) < 0)
		return fault(f, errno, "give the System V segment %u to uid %u, gid %u", d->id,
			     d->uid, d->gid);
	if ((d->mode & SHM_LOCKED) && shmctl(d->id, SHM_LOCK, NULL) < 0)
		log_warnx("the System V segment %u is not locked in memory again: %s", d->id,
			  strerror(errno));
	return 0;
}

static int make_one(struct segment *s, struct fault *f)
{
	struct shmid_ds ds;

	if (!s->exists)
		return make_segment(s, f) < 0 || fill(s, f) < 0 ? -1 : dress(s, f);
	if (!look_at(s->e->desc->id, &ds))
		return fault(f, -ENOENT, "the System V segment %u was removed meanwhile: try again",
			     s->e->desc->id);
	if (ds.shm_nattch == 0)
		return fill(s, f);
	log_info("the System V segment %u is attached by others: its contents stay",
		 s->e->desc->id);
	return 0;
}

int sysv_make(struct segments *s, struct fault *f)
{
	size_t i, missing = 0;

	if (s->made)
		return 0;
	s->made = true;
	s->keeper = KEEPER_NONE;
	s->maker = getpid();
	for (i = 0; i < s->n; i++)
		missing += s->segment[i].needed && !s->segment[i].exists;
	if (missing && keeper_start(&s->keeper, remove_made, s, -1, f) < 0)
		return -1;
	for (i = 0; i < s->n; i++)
		if (s->segment[i].needed && make_one(&s->segment[i], f) < 0)
			return -1;
	return 0;
}

int sysv_finish(struct segments *s, struct fault *f)
{
	size_t i;

	for (i = 0; i < s->n; i++) {
		const IpcDescEntry *d = s->segment[i].e->desc;

		if (s->segment[i].needed && !s->segment[i].exists && (d->mode & SHM_DEST) &&
		    shmctl(d->id, IPC_RMID, NULL) < 0)
			return fault(f, errno, "remove the System V segment %u again", d->id);
	}
	return 0;
}

int sysv_hand_over(struct segments *s)
{
	return keeper_hand_over(&s->keeper);
}

void sysv_free(struct segments *s)
{
	size_t i;

	keeper_undo(&s->keeper);
	for (i = 0; i < s->n; i++) {
		free(s->segment[i].stored.run);
		pages_image_close(&s->segment[i].pages);
		ipc_shm_entry__free_unpacked(s->segment[i].e, NULL);
	}
	free(s->segment);
}

/* ---- restore: the attaches ---- */

/* Both are parts of one attach. */
static bool same_attach(const VmaEntry *a, const VmaEntry *b)
{
	return vma_is_sysv(a) && vma_is_sysv(b) && a->shmid == b->shmid &&
	       a->start - a->pgoff == b->start - b->pgoff;
}

/* CRIU does not tell how it was attached; then a part that may be written tells. */
static bool read_only(const struct target *t, size_t first, uint64_t end)
{
	size_t i;

	if (t->vma[first]->has_fdflags)
		return t->vma[first]->fdflags == O_RDONLY;
	for (i = first; i < t->n && t->vma[i]->start < end; i++)
		if (same_attach(t->vma[first], t->vma[i]) && (t->vma[i]->prot & PROT_WRITE))
			return false;
	return true;
}

static void unmap(struct plan *p, uint64_t start, uint64_t end)
{
	if (start < end)
		plan_add(p, WANT_SUCCESS, "unmap a part of a System V segment", start, SYS_munmap,
			 (uint64_t[6]){ start, end - start });
}

/* The whole segment, then holes and protection as the parts have them. */
static void attach(struct plan *p, const struct segment *s, const struct target *t, size_t first)
{
	const VmaEntry *e = t->vma[first];
	uint64_t base = e->start - e->pgoff, end = base + room_of(s), at = base;
	bool ro = read_only(t, first, end);
	uint32_t prot = ro ? PROT_READ : PROT_READ | PROT_WRITE;
	size_t i;

	plan_add(p, WANT_SUCCESS, "attach a System V segment", base, SYS_shmat,
		 (uint64_t[6]){ e->shmid, base, ro ? SHM_RDONLY : 0 });
	for (i = first; i < t->n && t->vma[i]->start < end; i++) {
		const VmaEntry *part = t->vma[i];

		if (!same_attach(e, part))
			continue;
		unmap(p, at, part->start);
		at = part->end;
		if (part->prot != prot)
			plan_add(p, WANT_SUCCESS, "protect", part->start, SYS_mprotect,
				 (uint64_t[6]){ part->start, part->end - part->start, part->prot });
	}
	unmap(p, at, end);
}

/* Is no part of the same attach before it? Mappings are in the order of their addresses. */
static bool is_first_part(const struct target *t, size_t i)
{
	const uint64_t base = t->vma[i]->start - t->vma[i]->pgoff;
	size_t k = i;

	while (k-- > 0 && t->vma[k]->start >= base)
		if (same_attach(t->vma[k], t->vma[i]))
			return false;
	return true;
}

void sysv_plan(struct plan *p, const struct segments *s, const struct target *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (vma_is_sysv(t->vma[i]) && is_first_part(t, i))
			attach(p, find(s, t->vma[i]->shmid), t, i);
}
