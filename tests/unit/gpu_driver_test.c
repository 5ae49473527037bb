/* SPDX-License-Identifier: MIT */
/*
 * gpu_driver_test.c - files of AMD GPUs are dumped and come back as they were, on a machine in
 * memory.
 */
#include <time.h>

#include "tests/unit/gpu_world.h"

/* ---- one node ---- */

static void numbers_contents_and_mappings_come_back(void)
{
	struct fake *w = fake_new(one_gpu, 1, NULL), *w2 = fake_new(one_gpu, 1, NULL);
	AUTO_FREE char *before = NULL, *after = NULL;
	struct scene s;
	uint32_t h;
	int fd = fake_open(w, 128);

	scene_begin(&s);
	for (h = 1; h <= 12; h++) {
		CHECK(fake_create(w, fd, h * 3 * PAGE, h % 2 ? VRAM : GTT,
				  h == 5 ? U_VM_ALWAYS_VALID : 0) == h);
		with_buffer(w, fd, h, h, true);
		if (h % 3)
			fake_map(w, fd, h, 0x100000000ull + h * 0x100000, 0, h * PAGE);
		if (h == 7)
			fake_map(w, fd, h, 0x700000000ull, PAGE, 2 * PAGE);
	}
	for (h = 2; h <= 9; h += 3)
		fake_close_handle(w, fd, h);
	fake_close_handle(w, fd, 1);
	scene_add(&s, 0x11, 100, fd, false);
	before = fake_table(w, fd);
	CHECK(scene_dump(&s, w) == 0);
	CHECK(scene_restore(&s, w2, NULL) == 0);
	fprintf(stderr, "%s", s.f.text);
	after = s.prop[0].restored >= 0 ? fake_table(w2, s.prop[0].restored) : NULL;
	CHECK(after && strcmp(before, after) == 0);
	for (h = 3; after && h <= 12; h++)
		if (fake_key(w2, s.prop[0].restored, h))
			CHECK(with_buffer(w2, s.prop[0].restored, h, h, false));
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

/* Two programs on each GPU; restored where GPUs have other ids, minors and order. */
static void a_machine_in_another_order(void)
{
	struct fake *w = fake_new(two_gpus, 2, NULL), *w2 = fake_new(two_others, 2, NULL);
	struct scene s;
	int i, fd;

	scene_begin(&s);
	for (i = 0; i < 4; i++) {
		fd = fake_open(w, 128 + i % 2);
		fake_create(w, fd, 4 * PAGE, VRAM, 0);
		with_buffer(w, fd, 1, i, true);
		scene_add(&s, 10 + i, 100 + i, fd, false);
	}
	CHECK(scene_dump(&s, w) == 0 && scene_restore(&s, w2, NULL) == 0);
	fprintf(stderr, "%s", s.f.text);
	for (i = 0; i < 4 && s.prop[i].restored >= 0; i++) {
		CHECK(fake_minor(w2, s.prop[i].restored) == (i % 2 ? 140u : 150u));
		CHECK(with_buffer(w2, s.prop[i].restored, 1, i, false));
	}
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

/* ---- sharing ---- */

/*
 * A chain A -> B -> C, both directions, and a task that has only the dmabuf. The order of files is
 * that of the restore: the worst is last exporter first.
 */
static void make_chain(struct fake *w, struct scene *s, bool worst)
{
	int a = fake_open(w, 128), b = fake_open(w, 128), c = fake_open(w, 129), ab, bc, ba;

	fake_create(w, a, 2 * PAGE, VRAM, 0);			/* a1: a's own, not shared */
	fake_create(w, b, 5 * PAGE, GTT, 0);
	fake_create(w, b, 3 * PAGE, GTT, 0);			/* b2 */
	fake_create(w, a, 4 * PAGE, GTT, 0);			/* a2: to b as b3 */
	ab = fake_export(w, a, 2);
	CHECK(fake_import(w, b, ab) == 3);
	bc = fake_export(w, b, 3);				/* the same buffer, on to c */
	CHECK(fake_import(w, c, bc) == 1);
	ba = fake_export(w, b, 2);
	CHECK(fake_import(w, a, ba) == 3);
	fake_map(w, a, 3, 0x10000, 0, PAGE);
	fake_map(w, b, 3, 0x20000, 0, PAGE);
	with_buffer(w, a, 1, 1, true);
	with_buffer(w, a, 2, 2, true);
	with_buffer(w, b, 1, 3, true);
	with_buffer(w, b, 2, 4, true);
	close(bc);
	if (worst) {
		scene_add(s, 4, 103, ab, false);
		scene_add(s, 3, 102, c, false);
		scene_add(s, 5, 104, ba, false);
		scene_add(s, 2, 101, b, false);
		scene_add(s, 1, 100, a, false);
	} else {
		scene_add(s, 1, 100, a, false);
		scene_add(s, 2, 101, b, false);
		scene_add(s, 3, 102, c, false);
		scene_add(s, 4, 103, ab, false);
		scene_add(s, 5, 104, ba, false);
	}
}

static const struct prop *prop(const struct scene *s, uint32_t id)
{
	size_t i;

	for (i = 0; i < s->n && s->prop[i].id != id; i++)
		;
	return &s->prop[i];
}

static ino_t inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

static void check_chain(struct fake *w, const struct scene *s)
{
	int a = prop(s, 1)->restored, b = prop(s, 2)->restored, c = prop(s, 3)->restored;

	CHECK(fake_key(w, a, 2) == fake_key(w, b, 3) && fake_key(w, c, 1) == fake_key(w, b, 3));
	CHECK(fake_key(w, b, 2) == fake_key(w, a, 3) && fake_key(w, a, 1) != fake_key(w, b, 1));
	CHECK(inode(prop(s, 4)->restored) == fake_key(w, a, 2));
	CHECK(inode(prop(s, 5)->restored) == fake_key(w, b, 2));
	CHECK(with_buffer(w, a, 1, 1, false) && with_buffer(w, c, 1, 2, false));
	CHECK(with_buffer(w, b, 1, 3, false) && with_buffer(w, a, 3, 4, false));
}

static void chain(bool worst)
{
	struct fake *w = fake_new(two_gpus, 2, NULL), *w2 = fake_new(two_gpus, 2, NULL);
	struct scene s;

	scene_begin(&s);
	make_chain(w, &s, worst);
	CHECK(scene_dump(&s, w) == 0);
	if (CHECK(scene_restore(&s, w2, NULL) == 0))
		check_chain(w2, &s);
	fprintf(stderr, "%s", s.f.text);
	CHECK(s.rounds <= 3);
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

static void sharing_in_order(void)
{
	chain(false);
}

static void sharing_in_the_worst_order(void)
{
	chain(true);
}

/* Two opens of one node in one task, the same buffer in both under different numbers. */
static void two_opens_stay_two(void)
{
	struct fake *w = fake_new(one_gpu, 1, NULL), *w2 = fake_new(one_gpu, 1, NULL);
	int a = fake_open(w, 128), b = fake_open(w, 128), shared;
	struct scene s;

	scene_begin(&s);
	fake_create(w, a, PAGE, GTT, 0);
	fake_create(w, b, PAGE, GTT, 0);
	shared = fake_export(w, a, 1);
	CHECK(fake_import(w, b, shared) == 2);
	close(shared);
	fake_map(w, a, 1, 0x1000, 0, PAGE);
	fake_map(w, b, 1, 0x1000, 0, PAGE);	/* spaces of their own: the same address */
	scene_add(&s, 1, 7, a, false);
	scene_add(&s, 2, 7, b, false);
	CHECK(scene_dump(&s, w) == 0);
	if (CHECK(scene_restore(&s, w2, NULL) == 0)) {
		CHECK(inode(s.prop[0].restored) != inode(s.prop[1].restored));
		CHECK(fake_key(w2, s.prop[0].restored, 1) == fake_key(w2, s.prop[1].restored, 2));
		CHECK(fake_key(w2, s.prop[0].restored, 1) != fake_key(w2, s.prop[1].restored, 1));
	}
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

/* ---- KFD ---- */

static uint64_t vram_offset, doorbell_offset;

static void make_kfd(struct fake *w, struct scene *s, size_t ngpus, bool worst)
{
	int vm[FAKE_GPUS], kfd, dmabuf, other;
	size_t i;

	for (i = 0; i < ngpus; i++)
		vm[i] = fake_open(w, 128 + i);
	other = fake_open(w, 128);
	kfd = fake_kfd_open(w, 50, vm, 3);
	dmabuf = fake_kfd_bo(w, 50, 0, 0x7f0000000000, 16 * PAGE, KFD_BO_VRAM, &vram_offset);
	close(fake_kfd_bo(w, 50, ngpus - 1, 0x7f0000100000, 8 * PAGE, KFD_BO_GTT, NULL));
	fake_kfd_bo(w, 50, 0, 0x7f0000200000, 2 * PAGE, KFD_BO_DOORBELL, &doorbell_offset);
	fake_kfd_bo(w, 50, 0, 0x7f0000300000, PAGE, KFD_BO_USERPTR, NULL);
	with_kfd(w, 50, 0x7f0000000000, 16 * PAGE, 1, true);
	with_kfd(w, 50, 0x7f0000100000, 8 * PAGE, 2, true);
	/* A node of another task imports the first buffer; its own buffer comes first. */
	fake_create(w, other, PAGE, GTT, 0);
	CHECK(fake_import(w, other, dmabuf) == 2);
	close(dmabuf);
	if (worst)
		scene_add(s, 30, 60, other, false);
	for (i = 0; i < ngpus; i++)
		scene_add(s, 10 + i, 50, vm[i], false);
	scene_add(s, 20, 50, kfd, true);
	if (!worst)
		scene_add(s, 30, 60, other, false);
}

static void check_maps(struct amd *a, struct scene *s)
{
	DeviceMap m = DEVICE_MAP__INIT;
	uint64_t offset = 0;
	int fd = -1;

	m.pid = 50;
	m.start = 0x7f0000001000;
	m.end = m.start + PAGE;
	m.offset = vram_offset + PAGE;
	m.path = (char *)"/dev/dri/renderD128";
	CHECK(op_update_map(a, &m, &offset, &fd, &s->f) == HOOK_DONE);
	CHECK(inode(fd) == inode(prop(s, 10)->restored) && offset % PAGE == 0 && offset);
	auto_close(&fd);
	m.end = m.start + 32 * PAGE;
	CHECK(op_update_map(a, &m, &offset, &fd, &s->f) == HOOK_FAILED &&
	      strstr(s->f.text, "longer"));
	s->f = (struct fault){ 0 };
	m.path = (char *)"/dev/kfd";
	m.offset = doorbell_offset;
	m.end = m.start + 2 * PAGE;
	CHECK(op_update_map(a, &m, &offset, &fd, &s->f) == HOOK_DONE);
	CHECK(inode(fd) == inode(prop(s, 20)->restored));
	CHECK(offset == (3ull << 62 | (uint64_t)0x8888 << KFD_OFFSET_GPU_SHIFT));
	auto_close(&fd);
	m.offset = 1ull << 62 | (uint64_t)0x5678
					<< KFD_OFFSET_GPU_SHIFT; /* reserved memory of the other */
	CHECK(op_update_map(a, &m, &offset, &fd, &s->f) == HOOK_DONE);
	CHECK(offset == (1ull << 62 | (uint64_t)0x9999 << KFD_OFFSET_GPU_SHIFT));
	auto_close(&fd);
	m.offset = 2ull << 62;
	CHECK(op_update_map(a, &m, &offset, &fd, &s->f) == HOOK_DONE && offset == 2ull << 62);
	auto_close(&fd);
	m.path = (char *)"/dev/dri/renderD129";
	m.offset = 0x123456789000;
	CHECK(op_update_map(a, &m, &offset, &fd, &s->f) == HOOK_FAILED &&
	      strstr(s->f.text, "no image"));
	s->f = (struct fault){ 0 };
	m.path = (char *)"/dev/nvidia0";
	CHECK(op_update_map(a, &m, &offset, &fd, &s->f) == HOOK_NOT_MINE);
}

static void kfd_on_other_gpus(void)
{
	struct fake *w = fake_new(two_gpus, 2, NULL), *w2 = fake_new(two_others, 2, NULL);
	struct scene s;

	scene_begin(&s);
	make_kfd(w, &s, 2, true);
	CHECK(scene_dump(&s, w) == 0);
	if (CHECK(scene_restore(&s, w2, check_maps) == 0)) {
		CHECK(fake_kfd_bos(w2, 50) == 4 && fake_resumed(w2, 50));
		CHECK(with_kfd(w2, 50, 0x7f0000000000, 16 * PAGE, 1, false));
		CHECK(with_kfd(w2, 50, 0x7f0000100000, 8 * PAGE, 2, false));
		CHECK(fake_key(w2, prop(&s, 30)->restored, 2) ==
		      fake_kfd_key(w2, 50, 0x7f0000000000));
	}
	fprintf(stderr, "%s", s.f.text);
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

/* ---- copies ---- */

static void unseen_memory_goes_by_the_engine(void)
{
	const struct fake_ways unseen = { .invisible_vram = true },
			       broken = { .invisible_vram = true, .engine_fails = true };
	const struct fake_ways none = { .invisible_vram = true, .no_engine = true };
	struct fake *w = fake_new(one_gpu, 1, &unseen), *w2 = fake_new(one_gpu, 1, &unseen),
		    *bad = fake_new(one_gpu, 1, &broken), *without = fake_new(one_gpu, 1, &none);
	int fd = fake_open(w, 128);
	struct scene s;

	scene_begin(&s);
	fake_create(w, fd, 40 * PAGE, VRAM, 0);
	with_buffer(w, fd, 1, 9, true);
	scene_add(&s, 1, 7, fd, false);
	CHECK(scene_dump(&s, w) == 0 && fake_engine_bytes(w) == 40 * PAGE);
	CHECK(scene_restore(&s, w2, NULL) == 0 && fake_engine_bytes(w2) == 40 * PAGE);
	CHECK(s.prop[0].restored >= 0 && with_buffer(w2, s.prop[0].restored, 1, 9, false));
	scene_close_restored(&s);
	CHECK(scene_restore(&s, bad, NULL) < 0 && strstr(s.f.text, "buffer 1: the engine fails"));
	scene_close_restored(&s);
	s.f = (struct fault){ 0 };
	CHECK(scene_restore(&s, without, NULL) < 0 && strstr(s.f.text, "no engine"));
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
	fake_free(bad);
	fake_free(without);
}

/* ---- many ---- */

/* Of our processors: others use the machine as well. */
static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/*
 * Processes with `n` buffers each: half of them shared with the next one, half with the one before.
 * Importers are asked to be restored before their exporters: the file with the lower id owns, and
 * comes later.
 */
static double many(int processes, int n)
{
	const struct fake_ways ways = { .no_contexts = true };
	struct fake *w = fake_new(one_gpu, 1, &ways), *w2 = fake_new(one_gpu, 1, &ways);
	AUTO_FREE int *fd = xcalloc(processes, sizeof(int));
	AUTO_FREE char **before = xcalloc(processes, sizeof(char *));
	int i, j, d;
	struct scene s;
	double took;

	scene_begin(&s);
	for (i = 0; i < processes; i++)
		fd[i] = fake_open(w, 128);
	for (i = 0; i < processes; i++)
		for (j = 0; j < n / 2; j++) {
			uint32_t h = fake_create(w, fd[i], PAGE, GTT, 0);

			d = fake_export(w, fd[i], h);
			fake_import(w, fd[(i + 1) % processes], d);
			close(d);
		}
	for (i = 0; i < processes; i++) {
		scene_add(&s, 1000 - i, 100 + i, fd[i], false);
		before[i] = fake_table(w, fd[i]);
		if (i)		/* the first of its own; 0 has the last one's there */
			with_buffer(w, fd[i], n / 2 + 1, i, true);
	}
	took = seconds();
	CHECK(scene_dump(&s, w) == 0);
	took = seconds() - took;
	fake_free(w);		/* 20,000 descriptors are not enough for both */
	took -= seconds();
	CHECK(scene_restore(&s, w2, NULL) == 0);
	took += seconds();
	fprintf(stderr, "%s", s.f.text);
	for (i = 0; i < processes; i++) {
		AUTO_FREE char *after = s.prop[i].restored < 0 ? NULL
							       : fake_table(w2, s.prop[i].restored);

		CHECK(after && strcmp(before[i], after) == 0);
		CHECK(!i || (after && with_buffer(w2, s.prop[i].restored, n / 2 + 1, i, false)));
		free(before[i]);
	}
	scene_end(&s);
	fake_free(w2);
	return took;
}

static void many_buffers_take_linear_time(void)
{
	double small = many(50, 50), large = many(50, 200);

	fprintf(stderr, "50 x 50: %.2f s, 50 x 200: %.2f s\n", small, large);
	CHECK(large < 8 * small + 0.5);
}

/* ---- kernels ---- */

/* Old kernels: a node without buffers is no obstacle. New ones: a dmabuf may look like a regular
 * file. */
static void other_kernels(void)
{
	const struct fake_ways old = { .no_list = true },
			       new = { .regular_dmabuf = true, .mapping_enoent = true };
	struct fake *w = fake_new(one_gpu, 1, &old), *w2 = fake_new(one_gpu, 1, &new);
	struct scene s;
	int fd;

	scene_begin(&s);
	scene_add(&s, 1, 7, fake_open(w, 128), false);
	CHECK(scene_dump(&s, w) == 0);
	scene_end(&s);
	scene_begin(&s);
	fd = fake_open(w2, 128);
	fake_create(w2, fd, PAGE, GTT, 0);
	scene_add(&s, 1, 7, fake_export(w2, fd, 1), false);
	scene_add(&s, 2, 7, fd, false);
	CHECK(scene_dump(&s, w2) == 0);
	fprintf(stderr, "%s", s.f.text);
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

int main(void)
{
	check_run("handles, contents and GPU mappings of a node come back",
		  numbers_contents_and_mappings_come_back);
	check_run("nodes are restored where GPUs have other numbers", a_machine_in_another_order);
	check_run("buffers shared by files and dmabufs stay shared", sharing_in_order);
	check_run("the same when every importer comes before its exporter",
		  sharing_in_the_worst_order);
	check_run("two opens of a node stay two", two_opens_stay_two);
	check_run("KFD, an import of its buffer and its mappings, on other GPUs",
		  kfd_on_other_gpus);
	check_run("memory the processor does not see is copied by the engine",
		  unseen_memory_goes_by_the_engine);
	check_run("50 processes with 200 shared buffers each, in linear time",
		  many_buffers_take_linear_time);
	check_run("kernels before 6.18 and after 6.15", other_kernels);
	return check_done();
}
