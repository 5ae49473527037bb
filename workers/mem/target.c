/* SPDX-License-Identifier: MIT */
/*
 * target.c - restore: read the address space a task shall have, and believe nothing.
 *
 * Rights:   the image directory.
 * Holds:    the entries and the mapping of the pages image, until target_free.
 */
#include "workers/mem/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/hugetlb.h"
#include "workers/mem/aio.h"
#include "workers/mem/last.h"
#include "workers/mem/vma.h"

#define MIN_ADDRESS 4096ul		/* the smallest vm.mmap_min_addr anybody sets, but 0 */
#define AUXV_MAX 52			/* words; of the kernel on x86-64 */
#define PKEY_MAX 15
#define KNOWN_FLAGS (MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_LOCKED | \
		     MAP_NORESERVE | MAP_DROPPABLE | MAP_HUGETLB | HUGETLB_SIZE_BITS)
#define KNOWN_MADV ((1ull << MADV_SEQUENTIAL) | (1ull << MADV_RANDOM) | (1ull << MADV_DONTFORK) | \
		    (1ull << MADV_DONTDUMP) | (1ull << MADV_MERGEABLE) | (1ull << MADV_HUGEPAGE) | \
		    (1ull << MADV_NOHUGEPAGE) | (1ull << MADV_WIPEONFORK))
#define KINDS (VMA_FILE_PRIVATE | VMA_FILE_SHARED | VMA_ANON_SHARED | VMA_ANON_PRIVATE)
#define KNOWN_STATUS (VMA_REGULAR | VMA_STACK | VMA_VDSO | VMA_HEAP | KINDS | VMA_VVAR | \
		      VMA_MEMFD | VMA_SYSVIPC | VMA_PLUGIN)

static const struct {
	uint32_t status;
	const char *what;
} refused[] = {
	{ VMA_SHADOW_STACK, "a shadow stack" },
};

static int bad(const struct target *t, const VmaEntry *e, struct fault *f, const char *what)
{
	return fault(f, -EBADMSG, "mm-%d.img: mapping %" PRIx64 "-%" PRIx64 ": %s", t->pid,
		     e->start, e->end, what);
}

static int check_supported(const struct target *t, const VmaEntry *e, struct fault *f)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(refused); i++)
		if (e->status & refused[i].status)
			return fault(f, -ENOTSUP,
				     "task %d: the mapping %" PRIx64 "-%" PRIx64
				     " is %s, which cannot be restored yet",
				     t->pid, e->start, e->end, refused[i].what);
	return 0;
}

static int check_kind(const struct target *t, const VmaEntry *e, struct fault *f)
{
	/* CRIU marks private mappings of devices so, although a plugin takes them. */
	uint32_t known = KNOWN_STATUS | (e->status & VMA_PLUGIN ? VMA_UNSUPPORTED : 0);
	uint32_t kind = e->status & KINDS;
	uint32_t sharing = e->flags & (MAP_SHARED | MAP_PRIVATE | MAP_DROPPABLE);
	bool anonymous = kind & (VMA_ANON_SHARED | VMA_ANON_PRIVATE);
	bool shared = kind & (VMA_FILE_SHARED | VMA_ANON_SHARED);

	if ((e->status & ~known) || !(e->status & VMA_REGULAR))
		return bad(t, e, f, "unknown status bits");
	if (!kind || (kind & (kind - 1)))
		return bad(t, e, f, "status must name exactly one kind");
	if (anonymous != !!(e->flags & MAP_ANONYMOUS))
		return bad(t, e, f, "status and flags differ about a file");
	if (!sharing || (sharing & (sharing - 1)) || shared != (sharing == MAP_SHARED))
		return bad(t, e, f, "status and flags differ about sharing");
	if (sharing == MAP_DROPPABLE && kind != VMA_ANON_PRIVATE)
		return bad(t, e, f, "a droppable mapping must be anonymous");
	if ((e->status & VMA_SYSVIPC) && (kind != VMA_ANON_SHARED || e->shmid > INT32_MAX))
		return bad(t, e, f, "a System V segment must be shared, and have an id");
	if (kind != VMA_ANON_PRIVATE && ((!e->shmid && !vma_is_sysv(e)) || e->shmid > UINT32_MAX))
		return bad(t, e, f, "shmid is out of range");
	if ((e->status & VMA_PLUGIN) && (anonymous || (e->status & VMA_MEMFD)))
		return bad(t, e, f, "memory of a device must be that of a file");
	if ((e->status & VMA_MEMFD) && anonymous)
		return bad(t, e, f, "status says both a memfd and anonymous");
	if (vma_is_special(e) && kind != VMA_ANON_PRIVATE)
		return bad(t, e, f, "vdso and vvar must be anonymous");
	return 0;
}

static int check_vma(const struct target *t, const VmaEntry *e, struct fault *f)
{
	uint64_t size = e->end - e->start, most;

	if (e->start >= e->end || e->start % STASIS_PAGE || e->end % STASIS_PAGE ||
	    e->start < MIN_ADDRESS || e->end > USER_END)
		return bad(t, e, f, "not a range of user pages");
	if (e->status == VMA_GUARD)
		return 0;
	if (e->prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC))
		return bad(t, e, f, "unknown prot bits");
	if (check_supported(t, e, f) < 0)
		return -1;
	if (e->flags & ~KNOWN_FLAGS)
		return bad(t, e, f, "unknown flags");
	if ((e->flags & HUGETLB_SIZE_BITS) &&
	    (!(e->flags & MAP_HUGETLB) || !hugetlb_page(e->flags)))
		return bad(t, e, f, "unknown size of huge pages");
	if (e->madv & ~KNOWN_MADV)
		return bad(t, e, f, "unknown madv bits");
	/* Some devices keep a type in the highest bits (/dev/kfd). */
	most = vma_is(e, VMA_PLUGIN) ? UINT64_MAX : INT64_MAX;
	if (e->pgoff % STASIS_PAGE || e->pgoff > most - size)
		return bad(t, e, f, "pgoff is out of range");
	if (e->pkey > PKEY_MAX)
		return bad(t, e, f, "pkey is out of range");
	if (e->fdflags & ~O_ACCMODE)
		return bad(t, e, f, "unknown fdflags");
	if (e->status == (VMA_REGULAR | VMA_SOCKET))
		return e->shmid && e->shmid <= UINT32_MAX ? 0 : bad(t, e, f, "shmid is out of "
								    "range");
	if (vma_is_ring(e))
		return e->flags & MAP_SHARED ? 0 : bad(t, e, f, "a private ring of asynchronous "
						       "I/O");
	return check_kind(t, e, f);
}

/* Left out: [vsyscall] is the kernel's own, uprobes come back by themselves. */
static bool is_ignored(const VmaEntry *e)
{
	return !(e->status & VMA_REGULAR) && (e->status & (VMA_VSYSCALL | VMA_UPROBES));
}

static int remember_special(struct target *t, const VmaEntry *e, struct fault *f)
{
	int *which = vma_is(e, VMA_VDSO) ? &t->vdso : vma_is(e, VMA_VVAR) ? &t->vvar : NULL;

	if (!which)
		return 0;
	if (*which >= 0)
		return bad(t, e, f, "a second vdso or vvar");
	*which = t->n;
	return 0;
}

static int compare_guards(const void *a, const void *b)
{
	const VmaEntry *x = *(VmaEntry *const *)a, *y = *(VmaEntry *const *)b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Sort the entries into mappings and guard regions. */
static int check_vmas(struct target *t, int image_dir, struct adoption *adoption, struct fault *f)
{
	MmEntry *mm = t->mm;
	uint64_t end = 0;
	VmaEntry *e;
	size_t i;

	t->vma = xcalloc(mm->n_vmas, sizeof(*t->vma));
	t->guard = xcalloc(mm->n_vmas, sizeof(*t->guard));
	t->vdso = t->vvar = -1;
	for (i = 0; i < mm->n_vmas; i++) {
		e = mm->vmas[i];
		if (is_ignored(e))
			continue;
		if (adopt_vma(adoption, image_dir, e, f) < 0 || check_vma(t, e, f) < 0)
			return -1;
		if (e->status == VMA_GUARD) {
			t->guard[t->nguards++] = e;
			continue;
		}
		if (e->start < end)
			return bad(t, e, f, "overlaps the one before it, or not in address order");
		end = e->end;
		if (remember_special(t, e, f) < 0)
			return -1;
		t->vma[t->n++] = e;
	}
	qsort(t->guard, t->nguards, sizeof(*t->guard), compare_guards);
	return 0;
}

/* The rules of prctl(PR_SET_MM_MAP); a violation shall be known before there is a task. */
static int check_fields(const struct target *t, struct fault *f)
{
	const MmEntry *m = t->mm;
	const uint64_t address[] = {
		m->mm_start_code, m->mm_end_code,  m->mm_start_data, m->mm_end_data,
		m->mm_start_brk,  m->mm_brk,	   m->mm_start_stack, m->mm_arg_start,
		m->mm_arg_end,	  m->mm_env_start, m->mm_env_end,
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(address); i++)
		if (address[i] < MIN_ADDRESS || address[i] >= USER_END)
			return fault(f, -EBADMSG, "mm-%d.img: field %zu is not a user address",
				     t->pid, i + 1);
	if (m->mm_start_code >= m->mm_end_code || m->mm_start_data > m->mm_end_data ||
	    m->mm_start_brk > m->mm_brk || m->mm_arg_start > m->mm_arg_end ||
	    m->mm_env_start > m->mm_env_end)
		return fault(f, -EBADMSG, "mm-%d.img: the end of a segment lies before its start",
			     t->pid);
	if (m->n_mm_saved_auxv > AUXV_MAX || m->n_mm_saved_auxv % 2)
		return fault(f, -EBADMSG, "mm-%d.img: mm_saved_auxv has %zu words", t->pid,
			     m->n_mm_saved_auxv);
	if (!m->exe_file_id)
		return fault(f, -EBADMSG, "mm-%d.img: exe_file_id is 0", t->pid);
	return 0;
}

/* Cut the runs at the borders of mappings; each part must lie in a private one. */
static int assign_pages(struct target *t, const struct stored_list *all, struct fault *f)
{
	uint64_t at, end;
	struct stored *s;
	size_t i, v = 0;

	t->stored_bytes = xcalloc(t->n, sizeof(*t->stored_bytes));
	for (i = 0; i < all->n; i++) {
		for (at = all->run[i].start; at < all->run[i].end; at = end) {
			while (v < t->n && t->vma[v]->end <= at)
				v++;
			if (v == t->n || t->vma[v]->start > at ||
			    !(vma_is_private(t->vma[v]) || vma_is_ring(t->vma[v])) ||
			    vma_is(t->vma[v], VMA_VVAR))
				return fault(f, -EBADMSG, "pagemap-%d.img: the page %" PRIx64
					     " lies in no private mapping", t->pid, at);
			end = t->vma[v]->end < all->run[i].end ? t->vma[v]->end : all->run[i].end;
			s = grow(&t->stored.run, t->stored.n++, &t->stored.cap, sizeof(*s));
			*s = (struct stored){ at, end, all->run[i].offset + at - all->run[i].start,
					      v };
			t->stored_bytes[v] += end - at;
		}
	}
	return 0;
}

static uint32_t need_file(struct target *t, uint32_t id, uint32_t flags)
{
	size_t i;

	for (i = t->nfiles; i-- > 0;)
		if (t->file_id[i] == id && t->file_flags[i] == flags)
			return i;
	if (t->nfiles == t->files_cap) {
		t->files_cap = t->files_cap ? 2 * t->files_cap : 16;
		t->file_id = xrealloc(t->file_id, t->files_cap, sizeof(*t->file_id));
		t->file_flags = xrealloc(t->file_flags, t->files_cap, sizeof(*t->file_flags));
	}
	t->file_id[t->nfiles] = id;
	t->file_flags[t->nfiles] = flags;
	return t->nfiles++;
}

/* Old images do not say how a file was opened: as little as the mapping needs, then. */
uint32_t target_open_flags(const VmaEntry *e)
{
	if (e->has_fdflags)
		return e->fdflags == O_WRONLY ? O_RDWR : e->fdflags;
	return vma_is(e, VMA_FILE_SHARED) && (e->prot & PROT_WRITE) ? O_RDWR : O_RDONLY;
}

static void list_files(struct target *t)
{
	size_t i;

	t->slot = xcalloc(t->n, sizeof(*t->slot));
	for (i = 0; i < t->n; i++)
		t->slot[i] = vma_is_file(t->vma[i]) ? (int)need_file(t, t->vma[i]->shmid,
								     target_open_flags(t->vma[i]))
						    : -1;
	t->exe_slot = need_file(t, t->mm->exe_file_id, O_RDONLY);
}

int target_load(struct target *t, int image_dir, struct adoption *adoption, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	struct stored_list all = { 0 };
	int r;

	img = image_open(image_dir, IMG_MM, t->pid, f);
	if (!img || image_read_one(img, (ProtobufCMessage **)&t->mm, f) < 0)
		return -1;
	if (check_vmas(t, image_dir, adoption, f) < 0 || check_fields(t, f) < 0 ||
	    last_check(t, f) < 0)
		return -1;
	r = pagemap_load(image_dir, IMG_PAGEMAP, t->pid, &all, &t->pages, f);
	if (r == 0)
		r = assign_pages(t, &all, f) < 0 ? -1 : aio_check(t, f);
	free(all.run);
	if (r == 0)
		list_files(t);
	return r;
}

void target_free(struct target *t)
{
	if (t->mm)
		mm_entry__free_unpacked(t->mm, NULL);
	free(t->vma);
	free(t->guard);
	free(t->stored.run);
	free(t->stored_bytes);
	pages_image_close(&t->pages);
	free(t->file_id);
	free(t->file_flags);
	free(t->slot);
	free(t->kept);
	free(t->differs.run);
	free(t->drop.range);
}
