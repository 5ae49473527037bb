/* SPDX-License-Identifier: MIT */
/*
 * collect.c - dump: tell what each mapping of a task is, and read the other facts of its
 * address space.
 *
 * Every mapping becomes a VmaEntry as CRIU 4.2 writes it, or a fault that names it. Two
 * differences: shared anonymous memory is written as such (CRIU's older form, which it still
 * reads), not as a memfd; protection keys are recorded in a field of our own.
 *
 * Rights:   CAP_SYS_PTRACE and CAP_CHECKPOINT_RESTORE (map_files) over the task.
 * Holds:    nothing.
 * Relies on the task being stopped.
 */
#include "workers/mem/collect.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/common/hugetlb.h"
#include "workers/common/procfs.h"
#include "workers/mem/device_maps.h"
#include "workers/mem/maps.h"
#include "workers/mem/vma.h"

/* What is needed while one task is looked at. */
struct view {
	struct space *s;
	struct collection *all;
	int map_files;			/* directory */
};

static const struct {
	uint32_t flag;
	int advice;
} advices[] = {
	{ MAPF_SEQUENTIAL, MADV_SEQUENTIAL }, { MAPF_RANDOM, MADV_RANDOM },
	{ MAPF_DONTFORK, MADV_DONTFORK },     { MAPF_DONTDUMP, MADV_DONTDUMP },
	{ MAPF_MERGEABLE, MADV_MERGEABLE },   { MAPF_HUGEPAGE, MADV_HUGEPAGE },
	{ MAPF_NOHUGEPAGE, MADV_NOHUGEPAGE }, { MAPF_WIPEONFORK, MADV_WIPEONFORK },
};

static const struct {
	uint32_t flag;
	uint32_t mmap_flag;
} mmap_flags[] = {
	{ MAPF_GROWSDOWN, MAP_GROWSDOWN },
	{ MAPF_LOCKED, MAP_LOCKED },
	{ MAPF_NORESERVE, MAP_NORESERVE },
	{ MAPF_DROPPABLE, MAP_DROPPABLE },
	{ MAPF_HUGETLB, MAP_HUGETLB },
};

VmaEntry *space_add(struct space *s, uint64_t start, uint64_t end)
{
	struct space_vma *v = grow(&s->vma, s->n++, &s->cap, sizeof(*v));
	VmaEntry *e = &v->e;

	vma_entry__init(e);
	e->start = start;
	e->end = end;
	e->fd = -1;
	return e;
}

void space_free(struct space *s)
{
	free(s->vma);
}

#define RING_NAME "/[aio]"		/* of io_setup */
#define SOCKET_NAME "socket:["
#define DMABUF_NAME "/dmabuf:"
#define DEVICE_WHAT "the memory of a device, which only a plugin could dump"

static int refuse(const struct view *v, const struct map *m, struct fault *f, const char *what)
{
	return fault(f, -ENOTSUP, "task %d: the mapping %" PRIx64 "-%" PRIx64 "%s%s is %s",
		     v->s->pid, m->start, m->end, *m->name ? " " : "", m->name, what);
}

static bool starts_with(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

static bool is_vvar(const struct map *m)
{
	return !strcmp(m->name, "[vvar]") || !strcmp(m->name, "[vvar_vclock]");
}

/* The kernel's own areas, on which it sets flags itself. */
static bool is_special(const struct map *m)
{
	return is_vvar(m) || !strcmp(m->name, "[vdso]") || !strcmp(m->name, "[uprobes]");
}

/* What no kind of mapping may have. */
static int check_flags(const struct view *v, const struct map *m, struct fault *f)
{
	if (m->flags & MAPF_UFFD)
		return refuse(v, m, f,
			      "registered with a userfaultfd, whose other end cannot be dumped; "
			      "unregister it first");
	if (m->flags & MAPF_SHADOW_STACK)
		return refuse(v, m, f,
			      "a shadow stack, which cannot be dumped yet; start the program "
			      "with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off");
	if (m->flags & MAPF_SYNC)
		return refuse(v, m, f,
			      "mapped with MAP_SYNC (persistent memory), which cannot be dumped");
	if ((m->flags & MAPF_IO) && !is_special(m) && !m->ino && !m->dev)
		return refuse(v, m, f, DEVICE_WHAT);
	return 0;
}

static void set_flags(VmaEntry *e, const struct map *m)
{
	size_t i;

	e->flags = m->shared ? MAP_SHARED : MAP_PRIVATE;
	for (i = 0; i < ARRAY_LEN(mmap_flags); i++)
		if (m->flags & mmap_flags[i].flag)
			e->flags |= mmap_flags[i].mmap_flag;
	if (e->flags & MAP_DROPPABLE)
		e->flags &= ~MAP_PRIVATE;
	for (i = 0; i < ARRAY_LEN(advices); i++)
		if (m->flags & advices[i].flag)
			e->madv |= 1ull << advices[i].advice;
	e->has_madv = e->madv != 0;
	e->pkey = m->pkey;
	e->has_pkey = m->pkey != 0;
	e->sealed = (m->flags & MAPF_SEALED) && !is_special(m);
	e->has_sealed = e->sealed;
}

/* CRIU keeps neighbouring vvar areas as one entry; so do we. */
static void add_vvar(struct view *v, const struct map *m)
{
	VmaEntry *e = v->s->n ? &v->s->vma[v->s->n - 1].e : NULL;

	if (e && vma_is(e, VMA_VVAR) && e->end == m->start) {
		e->end = m->end;
		return;
	}
	e = space_add(v->s, m->start, m->end);
	set_flags(e, m);
	e->prot = m->prot;
	e->flags |= MAP_ANONYMOUS;
	e->status = VMA_REGULAR | VMA_ANON_PRIVATE | VMA_VVAR;
}

static uint32_t anonymous_status(const struct map *m)
{
	if (!strcmp(m->name, "[vsyscall]"))
		return VMA_ANON_PRIVATE | VMA_VSYSCALL;
	if (!strcmp(m->name, "[vdso]"))
		return VMA_REGULAR | VMA_ANON_PRIVATE | VMA_VDSO;
	if (!strcmp(m->name, "[heap]"))
		return VMA_REGULAR | VMA_ANON_PRIVATE | VMA_HEAP;
	return VMA_REGULAR | VMA_ANON_PRIVATE;
}

/* Open flags the mapping's file was opened with: the kernel shows them as the link's mode. */
static int link_flags(const struct view *v, const char *link, uint32_t *flags, struct fault *f)
{
	struct stat st;

	if (fstatat(v->map_files, link, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fault(f, errno, "task %d: look at map_files/%s", v->s->pid, link);
	*flags = (st.st_mode & 0600) == 0600 ? O_RDWR : st.st_mode & 0200 ? O_WRONLY : O_RDONLY;
	return 0;
}

/*
 * Is it the memory of a device, or of something else that only a driver can know? Then *why
 * receives the fault that the dump ends with when none does.
 */
static int judge_file(const struct view *v, const struct map *m, const char *link,
		      struct fault *why, struct fault *f)
{
	struct stat st;

	if (starts_with(m->name, DMABUF_NAME) || ((m->flags & MAPF_IO) && (m->ino || m->dev))) {
		refuse(v, m, why, DEVICE_WHAT);
		return 0;
	}
	if (fstatat(v->map_files, link, &st, 0) < 0)
		return fault(f, errno, "task %d: look at the file %s mapped at %" PRIx64, v->s->pid,
			     m->name, m->start);
	if (S_ISREG(st.st_mode) || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 5)))
		return 0;
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		refuse(v, m, why, DEVICE_WHAT);
	else
		refuse(v, m, why,
		       "not a mapping of a regular file; which kernel object it is, is unknown");
	return 0;
}

/* What cannot be dumped and is known by its name. */
static int check_name(const struct view *v, const struct map *m, struct fault *f)
{
	if (starts_with(m->name, "anon_inode:[io_uring]"))
		return refuse(v, m, f, "a ring of io_uring, whose requests in flight are the "
			      "kernel's alone; let the program do without "
			      "(kernel.io_uring_disabled=2)");
	if (starts_with(m->name, "anon_inode:[perf_event]"))
		return refuse(v, m, f, "the ring of a performance counter (perf_event_open), which "
			      "cannot be dumped; end the measurement");
	if (starts_with(m->name, "anon_inode:"))
		return refuse(v, m, f, "the ring of a kernel object that cannot be dumped");
	return 0;
}

static void take_device(struct view *v, const struct map *m, VmaEntry *e, const char *refusal)
{
	v->all->mapped.file[e->shmid - MAPPED_ID_FIRST].device = true;
	e->status |= VMA_PLUGIN;
	device_maps_add(v->all, v->s->pid, m, refusal);
}

/* is_new: its file has not been looked at before. */
static int classify_device(struct view *v, const struct map *m, VmaEntry *e, const char *link,
			   bool is_new, struct fault *f)
{
	struct fault why = { 0 };

	if (!is_new && v->all->mapped.file[e->shmid - MAPPED_ID_FIRST].device)
		refuse(v, m, &why, DEVICE_WHAT);
	else if (is_new && judge_file(v, m, link, &why, f) < 0)
		return -1;
	if (why.code)
		take_device(v, m, e, why.text);
	return 0;
}

static int classify_file(struct view *v, const struct map *m, VmaEntry *e, struct fault *f)
{
	struct mapped file = { .dev = m->dev, .ino = m->ino, .name = (char *)m->name,
			       .pid = v->s->pid, .start = m->start, .end = m->end };
	size_t known = v->all->mapped.n;
	char link[40];

	if (starts_with(m->name, RING_NAME)) {
		e->status = VMA_AIORING;
		return 0;
	}
	if (starts_with(m->name, SOCKET_NAME)) {
		e->status = VMA_REGULAR | VMA_SOCKET;
		e->shmid = m->ino;
		v->all->sockets = true;
		return 0;
	}
	if (check_name(v, m, f) < 0)
		return -1;
	snprintf(link, sizeof(link), "%" PRIx64 "-%" PRIx64, m->start, m->end);
	if (link_flags(v, link, &file.flags, f) < 0)
		return -1;
	e->status = VMA_REGULAR | (m->shared ? VMA_FILE_SHARED : VMA_FILE_PRIVATE);
	e->has_fdflags = true;
	e->fdflags = file.flags;
	e->shmid = mapped_id(&v->all->mapped, &file);
	return classify_device(v, m, e, link, v->all->mapped.n > known, f);
}

static void classify_segment(struct view *v, const struct map *m, VmaEntry *e)
{
	const struct shmem_seen seen = { .id = m->ino, .pid = v->s->pid, .start = m->start,
					 .end = m->end, .huge = e->flags & HUGETLB_SIZE_BITS };

	e->status = VMA_REGULAR | VMA_ANON_SHARED | VMA_SYSVIPC;
	e->flags |= MAP_ANONYMOUS;
	e->shmid = m->ino;
	e->has_fdflags = true;		/* CRIU does not look: how it was attached */
	e->fdflags = m->flags & MAPF_MAYWRITE ? O_RDWR : O_RDONLY;
	shmems_add(&v->all->segments, &seen);
}

/* Mappings of the kernel's own tmpfs. */
static int classify_shmem(struct view *v, const struct map *m, VmaEntry *e, struct fault *f)
{
	struct shmem_seen seen = {
		.id = m->ino, .pid = v->s->pid, .start = m->start, .end = m->end
	};
	bool memfd;

	if (starts_with(m->name, "/SYSV")) {
		classify_segment(v, m, e);
		return 0;
	}
	memfd = starts_with(m->name, "/memfd:");
	if (!memfd && !starts_with(m->name, "/dev/zero") &&
	    !starts_with(m->name, "[anon_shmem:"))
		return refuse(v, m, f, "memory of the kernel of an unknown kind");
	/* A private mapping of shared anonymous memory is one of a file, too. */
	if (memfd || !m->shared) {
		if (classify_file(v, m, e, f) < 0)
			return -1;
		e->status |= VMA_MEMFD;	/* the files worker tells of what it is */
		return 0;
	}
	e->status = VMA_REGULAR | VMA_ANON_SHARED;
	e->flags |= MAP_ANONYMOUS;
	e->shmid = m->ino;
	shmems_add(&v->all->shmems, &seen);
	return 0;
}

/* Mappings of the kernel's own hugetlbfs: memory files, or made by MAP_HUGETLB. */
static int classify_huge(struct view *v, const struct map *m, VmaEntry *e, struct fault *f)
{
	struct shmem_seen seen = { .id = hugetlb_shmid(m->ino), .pid = v->s->pid, .start = m->start,
				   .end = m->end };

	e->flags |= hugetlb_size_bits(m->dev);
	if (starts_with(m->name, "/SYSV")) {
		classify_segment(v, m, e);
		return 0;
	}
	if (!starts_with(m->name, ANON_HUGE_NAME)) {
		if (classify_file(v, m, e, f) < 0)
			return -1;
		e->status |= VMA_MEMFD;
		return 0;
	}
	e->flags |= MAP_ANONYMOUS;
	if (!m->shared) {
		e->status = VMA_REGULAR | VMA_ANON_PRIVATE;
		return 0;
	}
	e->status = VMA_REGULAR | VMA_ANON_SHARED;
	e->shmid = seen.id;
	shmems_add(&v->all->shmems, &seen);
	return 0;
}

/*
 * The kernel tells nobody of mlockall(MCL_FUTURE), but locks what is mapped since: the agent's
 * region. It brings all its pages in, unless they are to be locked on a fault.
 */
static void look_at_region(struct space *s, const struct map *m)
{
	if (!(m->flags & MAPF_LOCKED))
		return;
	s->mm.mlockall |= MCL_FUTURE;
	if (m->resident < m->end - m->start)
		s->mm.mlockall |= MCL_ONFAULT;
}

static int classify(struct view *v, const struct map *m, struct fault *f)
{
	VmaEntry *e;

	if (m->start >= v->s->region && m->end <= v->s->region_end) {
		look_at_region(v->s, m);
		return 0;
	}
	if (check_flags(v, m, f) < 0)
		return -1;
	if (is_vvar(m)) {
		add_vvar(v, m);
		return 0;
	}
	if (!strcmp(m->name, "[uprobes]")) {
		v->all->uprobes = true;
		if (v->all->allow_uprobes)
			return 0;
		return refuse(v, m, f, "of active uprobes; --allow-uprobes leaves it out");
	}
	e = space_add(v->s, m->start, m->end);
	set_flags(e, m);
	e->prot = m->prot;
	e->pgoff = m->pgoff;
	v->s->vma[v->s->n - 1].alone = m->alone;
	v->s->vma[v->s->n - 1].stub = m->start <= v->s->clean && v->s->clean < m->end;
	if ((m->flags & MAPF_HUGETLB) && hugetlb_size_bits(m->dev))
		return classify_huge(v, m, e, f);
	if (m->ino || m->dev)
		return m->dev == v->all->shmem_dev ? classify_shmem(v, m, e, f)
					      : classify_file(v, m, e, f);
	e->flags |= MAP_ANONYMOUS;
	e->status = anonymous_status(m);
	return 0;
}

/* A memfd of ours lives where the tasks' shared memory does. */
static int find_shmem_dev(struct collection *all, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;

	if (all->shmem_dev)
		return 0;
	fd = memfd_create("stasis", MFD_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fault(f, errno, "find the device of shared memory");
	all->shmem_dev = st.st_dev;
	return 0;
}

static int collect_maps(struct view *v, struct fault *f)
{
	struct maps maps;
	int r = maps_read(v->s->pid, &maps, f);
	size_t i;

	for (i = 0; r == 0 && i < maps.n; i++)
		r = classify(v, &maps.map[i], f);
	maps_free(&maps);
	return r;
}

static int collect_exe(struct view *v, struct fault *f)
{
	struct mapped exe = { .flags = O_RDONLY, .pid = v->s->pid };
	char path[40], name[4096];
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", v->s->pid);
	n = readlink(path, name, sizeof(name) - 1);
	if (n < 0 || stat(path, &st) < 0)
		return fault(f, errno, "task %d: look at its executable", v->s->pid);
	name[n] = '\0';
	exe.dev = st.st_dev;
	exe.ino = st.st_ino;
	exe.name = name;
	v->s->mm.exe_file_id = mapped_id(&v->all->mapped, &exe);
	return 0;
}

/* CRIU refuses images with more than its array holds; what is cut off is the AT_NULL at the end. */
static int collect_auxv(struct space *s, struct fault *f)
{
	AUTO_FREE char *text = NULL;
	size_t len;

	text = procfs_read(s->pid, 0, "auxv", &len, f);
	if (!text)
		return -1;
	if (len > sizeof(s->auxv))
		len = sizeof(s->auxv);
	memcpy(s->auxv, text, len);
	s->mm.mm_saved_auxv = s->auxv;
	s->mm.n_mm_saved_auxv = len / sizeof(s->auxv[0]);
	return 0;
}

/* Fields of /proc/PID/stat by their number in proc(5). */
static int collect_stat(struct space *s, struct fault *f)
{
	uint64_t value[53] = { 0 };
	AUTO_FREE char *text = NULL;
	char *p;
	int i;

	text = procfs_read(s->pid, 0, "stat", NULL, f);
	if (!text)
		return -1;
	p = strrchr(text, ')');
	if (!p || strlen(p) < 4)
		return fault(f, -EPROTO, "task %d: its stat is not understood", s->pid);
	p += 3;				/* the state is one letter */
	for (i = 4; i <= 52 && *p; i++)
		value[i] = strtoull(p, &p, 10);
	if (i <= 51)
		return fault(f, -EPROTO, "task %d: its stat has only %d fields", s->pid, i);
	s->mm.mm_start_code = value[26];
	s->mm.mm_end_code = value[27];
	s->mm.mm_start_stack = value[28];
	s->mm.mm_start_data = value[45];
	s->mm.mm_end_data = value[46];
	s->mm.mm_start_brk = value[47];
	s->mm.mm_arg_start = value[48];
	s->mm.mm_arg_end = value[49];
	s->mm.mm_env_start = value[50];
	s->mm.mm_env_end = value[51];
	return 0;
}

static int open_map_files(struct view *v, struct fault *f)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/map_files", v->s->pid);
	v->map_files = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return v->map_files < 0 ? fault(f, errno, "open %s", path) : 0;
}

int collect_space(struct space *s, struct collection *all, struct fault *f)
{
	AUTO_CLOSE int map_files = -1;
	struct view v = { .s = s, .all = all };

	if (open_map_files(&v, f) < 0)
		return -1;
	map_files = v.map_files;
	mm_entry__init(&s->mm);
	if (find_shmem_dev(all, f) < 0 || collect_maps(&v, f) < 0 ||
	    collect_exe(&v, f) < 0 || collect_auxv(s, f) < 0 || collect_stat(s, f) < 0)
		return -1;
	return 0;
}

/* ---- preflight ---- */

/* Each file is looked at once in the whole tree. */
static int preflight_map(struct view *v, const struct map *m, struct fault *f)
{
	struct mapped file = { .dev = m->dev, .ino = m->ino, .name = (char *)m->name };
	size_t known = v->all->mapped.n;
	struct fault why = { 0 };
	char link[40];

	if ((!m->ino && !m->dev) || m->dev == v->all->shmem_dev ||
	    starts_with(m->name, RING_NAME) || starts_with(m->name, SOCKET_NAME))
		return 0;
	if (check_name(v, m, f) < 0)
		return -1;
	mapped_id(&v->all->mapped, &file);
	if (v->all->mapped.n == known)
		return 0;
	snprintf(link, sizeof(link), "%" PRIx64 "-%" PRIx64, m->start, m->end);
	if (judge_file(v, m, link, &why, f) < 0)
		return -1;
	if (why.code)
		device_maps_add(v->all, v->s->pid, m, why.text);
	return 0;
}

int collect_preflight(pid_t pid, struct collection *all, struct fault *f)
{
	AUTO_CLOSE int map_files = -1;
	struct space s = { .pid = pid };
	struct view v = { .s = &s, .all = all };
	struct fault own = { 0 };
	struct maps maps = { 0 };
	size_t i;

	if (open_map_files(&v, &own) < 0)
		return 0;		/* it ended meanwhile, or will be a fault later */
	map_files = v.map_files;
	if (find_shmem_dev(all, f) < 0)
		return -1;
	if (maps_read_names(pid, &maps, &own) == 0)
		for (i = 0; i < maps.n && own.code != ENOTSUP; i++) {
			own.code = 0;	/* it unmapped this one meanwhile */
			preflight_map(&v, &maps.map[i], &own);
		}
	maps_free(&maps);
	return own.code == ENOTSUP ? fault(f, -ENOTSUP, "%s", own.text) : 0;
}
