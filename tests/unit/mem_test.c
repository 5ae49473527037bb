/* SPDX-License-Identifier: MIT */
/*
 * mem_test.c - the mem worker alone: what it dumps of a task it builds again in another one.
 *
 * A subject is forked, stopped and dumped by the handlers; then it is killed, an agent task of the
 * same pid is built from the images and dumped in turn. Both dumps must describe the same
 * mappings and hold the same pages.
 *
 * Rights:   root (ptrace, map_files, clone3 with chosen pids).
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "tests/world/mem_world.h"
#include "workers/mem/maps.h"
#include "workers/mem/vma.h"
#include "workers/mem/vdso.h"
#include "workers/mem/vdso_symbols.h"

static char *map(size_t pages, int prot, int flags)
{
	char *p = mmap(NULL, pages * PAGE, prot, flags, -1, 0);

	if (p == MAP_FAILED)
		_exit(2);
	return p;
}

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static void many_kinds(int out)
{
	char path[] = "/tmp/mem_test.file.XXXXXX", *p, *q;
	int fd;

	(void)out;
	p = map(16, RW, ANON);
	memset(p, 1, 3 * PAGE);
	p[8 * PAGE] = 2;
	(void)*(volatile char *)(p + 10 * PAGE);	/* the zero page */
	p = map(4, RW, ANON);
	p[PAGE] = 3;
	mprotect(p, 4 * PAGE, PROT_NONE);
	p = map(4, RW, ANON);
	p[PAGE] = 4;
	mprotect(p, 4 * PAGE, PROT_READ);
	p = map(8, RW, ANON | MAP_GROWSDOWN);
	p[7 * PAGE] = 5;
	p = map(8, RW, MAP_SHARED | MAP_ANONYMOUS);
	p[2 * PAGE] = 6;
	p = map(4, RW, ANON | MAP_NORESERVE);
	*p = 7;
	p = map(1024, RW, ANON);
	memset(p, 8, 600 * PAGE);			/* enough for a userfaultfd */
	madvise(p, 1024 * PAGE, MADV_HUGEPAGE);
	madvise(p, 1024 * PAGE, MADV_DONTDUMP);
	p = map(4, RW, ANON);
	madvise(p, 4 * PAGE, MADV_DONTFORK);
	p = map(4, RW, ANON);
	madvise(p, 4 * PAGE, MADV_WIPEONFORK);
	p = map(4, RW, ANON);
	mlock(p, 4 * PAGE);
	p = map(8, RW, ANON);
	memset(p, 9, 8 * PAGE);
	madvise(p + 2 * PAGE, 2 * PAGE, MADV_GUARD_INSTALL);
	fd = mkstemp(path);
	if (fd < 0 || ftruncate(fd, 8 * PAGE) < 0)
		_exit(3);
	p = mmap(NULL, 8 * PAGE, RW, MAP_PRIVATE, fd, PAGE);
	p[2 * PAGE] = 10;
	q = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 2 * PAGE);
	*q = 11;
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	unlink(path);
	fd = open("/dev/zero", O_RDWR);
	p = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
	*p = 12;
	close(fd);
}

static void one_task(void)
{
	struct world w;

	world_round_trip(&w, many_kinds, 1);
	world_end(&w);
}

static void with_keys(int out)
{
	int key = pkey_alloc(0, 0), other = pkey_alloc(0, 0);
	char *p = map(4, RW, ANON), *q = map(4, RW, ANON);

	(void)out;
	*p = 1;
	pkey_mprotect(p, 4 * PAGE, RW, other);
	*q = 1;
	pkey_mprotect(q, 4 * PAGE, PROT_READ, key);
}

static void protection_keys(void)
{
	struct world w;
	int key = pkey_alloc(0, 0);

	if (key < 0) {
		check_skip("this machine has no protection keys");
		return;
	}
	pkey_free(key);
	world_round_trip(&w, with_keys, 1);
	world_end(&w);
}

/* Forks a child that shares most of 8 MiB, of which it drops, changes and extends some. */
static char *heirloom;

static void family(int out)
{
	char *p = map(2048, RW, ANON), *ro = map(8, RW, ANON), *gone = map(8, RW, ANON);
	char *wiped = map(4, RW, ANON), *sh = map(4, RW, MAP_SHARED | MAP_ANONYMOUS);
	size_t i;

	heirloom = p;
	for (i = 0; i < 2048; i++)
		p[i * PAGE] = i + 1;
	memset(ro, 1, 8 * PAGE);
	mprotect(ro, 8 * PAGE, PROT_READ);
	memset(gone, 2, 8 * PAGE);
	memset(wiped, 3, 4 * PAGE);
	madvise(wiped, 4 * PAGE, MADV_WIPEONFORK);
	*sh = 4;
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		p[5 * PAGE] = 77;
		madvise(p + 100 * PAGE, 10 * PAGE, MADV_DONTNEED);
		munmap(p + 200 * PAGE, 10 * PAGE);
		mprotect(p + 300 * PAGE, 10 * PAGE, PROT_READ);
		mprotect(ro, 2 * PAGE, RW);
		ro[PAGE] = 5;
		munmap(gone, 8 * PAGE);
		*map(16, RW, ANON) = 6;
		world_report(out);
	}
	p[6 * PAGE] = 78;
	madvise(p + 400 * PAGE, 10 * PAGE, MADV_DONTNEED);
}

/* Pages of the big mapping that only this task has, as smaps counts them. */
static unsigned long private_kib(pid_t pid)
{
	char path[40], line[256];
	unsigned long sum = 0, kib;
	FILE *s;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	s = fopen(path, "re");
	while (s && fgets(line, sizeof(line), s))
		if (sscanf(line, "Private_Dirty: %lu", &kib) == 1)
			sum += kib;
	if (s)
		fclose(s);
	return sum;
}

static void shared_after_fork(void)
{
	struct world w;

	world_round_trip(&w, family, 2);
	if (w.prepared && !w.f.code) {
		CHECK(w.prepared->task[1]->inherits);
		if (!CHECK(private_kib(w.task[1].pid) < 1024))
			fprintf(stderr, "  %lu KiB private\n", private_kib(w.task[1].pid));
	}
	world_end(&w);
}

static void big(int out)
{
	unsigned long x = 88172645463325252ul, *p = (unsigned long *)map(16384, RW, ANON), i;

	(void)out;
	for (i = 0; i < 16384 * PAGE / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
}

static void big_task(void)
{
	struct world w;

	world_round_trip(&w, big, 1);
	world_end(&w);
}

/* Make the vDSO in the images another kernel's: this function lies 16 bytes further on there. */
static bool move_function(struct world *w, const char *name, uint64_t *vdso, uint64_t *offset)
{
	AUTO_CLOSE int dir = open(w->dir[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct adoption adoption = { 0 };
	struct target t = { .pid = w->task[0].pid };
	const struct vdso_symbol *s;
	struct vdso_symbols all;
	uint64_t find[2], moved;
	char file[32];
	size_t i, size;
	char *p, *end;

	if (target_load(&t, dir, &adoption, &w->f) < 0)
		return false;
	for (i = 0; t.stored.run[i].vma != (uint32_t)t.vdso; i++)
		;
	*vdso = t.stored.run[i].start;
	size = t.stored.run[i].end - t.stored.run[i].start;
	p = (char *)t.pages.data + t.stored.run[i].offset;
	end = p + size;
	s = vdso_symbols(p, size, &all) < 0 ? NULL : vdso_symbol_find(&all, name);
	if (!s)
		return false;
	*offset = s->offset;
	find[0] = s->offset;
	find[1] = s->size;
	moved = s->offset + 16;
	p = memmem(p, end - p, find, sizeof(find));
	snprintf(file, sizeof(file), "pages-%u.img", t.pages.id);
	i = openat(dir, file, O_WRONLY | O_CLOEXEC);
	CHECK(pwrite(i, &moved, sizeof(moved), p - t.pages.data) == sizeof(moved));
	close(i);
	target_free(&t);
	return true;
}

static void nothing(int out)
{
	(void)out;
}

static void foreign_vdso(void)
{
	struct world w;
	struct areas areas;
	uint64_t vdso = 0, offset = 0, to;
	unsigned char code[13];
	struct iovec local = { code, sizeof(code) }, remote;
	size_t i;

	CHECK(world_start(&w, nothing, 1) == 0 && world_dump(&w, 0) == 0);
	CHECK(move_function(&w, "__vdso_clock_gettime", &vdso, &offset));
	world_kill(&w);
	if (CHECK(world_rebuild(&w) == 0) && CHECK(vdso_find(w.task[0].pid, &areas, &w.f) == 0)) {
		/* From where the images have the function to where this kernel has it. */
		remote.iov_base = (void *)(vdso + offset + 16);
		remote.iov_len = sizeof(code);
		CHECK(process_vm_readv(w.task[0].pid, &local, 1, &remote, 1, 0) == sizeof(code));
		memcpy(&to, code + 2, sizeof(to));
		for (i = 0; i < areas.n && !areas.area[i].vdso; i++)
			;
		CHECK(code[0] == 0x49 && code[1] == 0xbb);
		CHECK(i < areas.n && areas.area[i].start != vdso &&
		      to == areas.area[i].start + offset);
	}
	world_end(&w);
}

/* The descriptor is closed: only the mapping tells. */
static void io_uring_mapped(int out)
{
	struct io_uring_params p = { 0 };
	int fd = syscall(SYS_io_uring_setup, 4, &p);

	(void)out;
	if (fd < 0 || mmap(NULL, PAGE, RW, MAP_SHARED, fd, IORING_OFF_SQ_RING) == MAP_FAILED)
		_exit(2);
	close(fd);
}

static void perf_mapped(int out)
{
	struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(a),
				     .config = PERF_COUNT_SW_TASK_CLOCK };
	int fd = syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);

	(void)out;
	if (fd < 0 || mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0) == MAP_FAILED)
		_exit(2);
	close(fd);
}

static void refused_early(void)
{
	static const struct {
		void (*setup)(int);
		const char *says;
	} cases[] = {
		{ io_uring_mapped, "io_uring" }, { perf_mapped, "performance counter" },
	};
	struct world w;
	size_t i;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK(world_start(&w, cases[i].setup, 1) == 0);
		CHECK(strstr(world_preflight(&w), cases[i].says));
		world_end(&w);
	}
	CHECK(world_start(&w, nothing, 1) == 0);
	CHECK(!*world_preflight(&w));
	world_end(&w);
}

static void parses_smaps(void)
{
	static const char text[] =
		"1000-3000 rw-p 00002000 fe:01 77                         /a b (deleted)\n"
		"Size:                  8 kB\n"
		"ProtectionKey:         5\n"
		"VmFlags: rd wr mr mw me gd lo dd hg \n"
		"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0"
		"                  [vsyscall]\n"
		"VmFlags: ex \n"
		"4000-5000 ---s 00000000 00:00 0 \n"
		"VmFlags: sh um \n";
	struct fault f = { 0 };
	struct maps m;

	if (!CHECK(maps_parse(xstrdup(text), &m, &f) == 0) || !CHECK(m.n == 3))
		return;
	CHECK(m.map[0].start == 0x1000 && m.map[0].end == 0x3000 && m.map[0].pgoff == 0x2000);
	CHECK(m.map[0].ino == 77 && !strcmp(m.map[0].name, "/a b (deleted)") && m.map[0].pkey == 5);
	CHECK(m.map[0].flags == (MAPF_MAYWRITE | MAPF_GROWSDOWN | MAPF_LOCKED |
				  MAPF_DONTDUMP | MAPF_HUGEPAGE));
	CHECK(m.map[1].prot == PROT_EXEC && !strcmp(m.map[1].name, "[vsyscall]"));
	CHECK(m.map[2].shared && !*m.map[2].name && m.map[2].flags == MAPF_UFFD);
	maps_free(&m);
	CHECK(maps_parse(xstrdup("zz-3000 rw-p 0 0:0 0\n"), &m, &f) < 0);
	maps_free(&m);
}

int main(void)
{
	check_run("smaps is understood", parses_smaps);
	if (geteuid()) {
		printf("skip - round trips: root is needed\n");
		return check_done();
	}
	if (world_prepare() < 0)
		return 1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	check_run("mappings of every kind come back as they were", one_task);
	check_run("protection keys come back", protection_keys);
	check_run("64 MiB come back", big_task);
	check_run("pages shared after a fork are shared again", shared_after_fork);
	check_run("calls into another kernel's vDSO are redirected", foreign_vdso);
	check_run("it is named before the freeze where its name tells", refused_early);
	return check_done();
}
