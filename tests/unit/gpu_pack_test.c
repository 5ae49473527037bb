/* SPDX-License-Identifier: MIT */
/*
 * gpu_pack_test.c - dump --compress: contents of buffers come back byte for byte, whatever they are
 * and whoever copies; what shrinks is small; damaged images are refused by name.
 */
#include "tests/unit/gpu_files.h"
#include "workers/gpu/amdgpu/pack.h"

#define BLOCK ((uint64_t)PACK_BLOCK)
#define VA 0x7f0000000000ull

/* ---- contents ---- */

enum kind { ZERO, TEXT, NOISE, MIXED, LAST, KINDS };

static void make_noise(unsigned char *p, size_t n, uint64_t seed)
{
	size_t i;

	for (i = 0; i < n; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		p[i] = seed >> 56;
	}
}

static void make_text(unsigned char *p, size_t n, uint64_t seed)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = "a line of text, "[(i + seed) % 16] ^ (i / 4096 & 7);
}

static void make(enum kind kind, unsigned char *p, size_t n, uint64_t seed)
{
	size_t at, part;

	memset(p, 0, n);
	if (kind == TEXT)
		make_text(p, n, seed);
	else if (kind == NOISE)
		make_noise(p, n, seed);
	else if (kind == LAST)
		p[n - 1] = 1;
	for (at = 0; kind == MIXED && at < n; at += part) {
		part = n - at < BLOCK ? n - at : BLOCK;
		make((seed + at / BLOCK) % 3, p + at, part, seed);
	}
}

/* Does p have them? */
static bool is(enum kind kind, const unsigned char *p, size_t n, uint64_t seed)
{
	AUTO_FREE unsigned char *want = xcalloc(1, n);

	make(kind, want, n, seed);
	return memcmp(p, want, n) == 0;
}

/* ---- programs ---- */

static const uint64_t sizes[] = { PAGE, BLOCK, BLOCK + PAGE, 3 * BLOCK - PAGE, 16 * PAGE };

#define COUNT (ARRAY_LEN(sizes) * KINDS)

static uint64_t size_of(size_t i)
{
	return sizes[i / KINDS];
}

/* Buffer i of the node, of KFD; set or compare. */
static bool at_node(struct fake *w, int fd, size_t i, bool set)
{
	unsigned char *p = fake_bytes(w, fd, i + 1);
	bool same = p != MAP_FAILED && (set || is(i % KINDS, p, size_of(i), i));

	if (p != MAP_FAILED && set)
		make(i % KINDS, p, size_of(i), i);
	if (p != MAP_FAILED)
		munmap(p, size_of(i));
	return same;
}

static bool at_kfd(struct fake *w, size_t i, bool set)
{
	unsigned char *p = fake_kfd_bytes(w, 50, VA + i * 0x10000000);
	bool same = p != MAP_FAILED && (set || is(i % KINDS, p, size_of(i), 1000 + i));

	if (p != MAP_FAILED && set)
		make(i % KINDS, p, size_of(i), 1000 + i);
	if (p != MAP_FAILED)
		munmap(p, size_of(i));
	return same;
}

/* A node (file 3) and a KFD process (file 2) with buffers of every size and kind. */
static struct fake *make_world(struct scene *s, const struct fake_ways *ways)
{
	struct fake *w = fake_new(one_gpu, 1, ways);
	int vm = fake_open(w, 128), fd = fake_open(w, 128);
	size_t i;

	scene_begin(s);
	s->compress = true;
	scene_add(s, 3, 60, fd, false);
	scene_add(s, 1, 50, vm, false);
	scene_add(s, 2, 50, fake_kfd_open(w, 50, &vm, 1), true);
	for (i = 0; i < COUNT; i++) {
		fake_create(w, fd, size_of(i), i % 2 ? VRAM : GTT, i % 14 ? 0 : U_VM_ALWAYS_VALID);
		at_node(w, fd, i, true);
		close(fake_kfd_bo(w, 50, 0, VA + i * 0x10000000, size_of(i),
				  i % 2 ? KFD_BO_GTT : KFD_BO_VRAM, NULL));
		at_kfd(w, i, true);
	}
	return w;
}

static void check_world(struct fake *w, const struct scene *s)
{
	size_t i;

	for (i = 0; i < COUNT; i++) {
		CHECK(s->prop[0].restored >= 0 && at_node(w, s->prop[0].restored, i, false));
		CHECK(at_kfd(w, i, false));
	}
}

/* ---- round trips ---- */

/* staging: KFD_MAX_BUFFER_SIZE. */
static void round_trip(bool engine, const char *staging)
{
	const struct fake_ways ways = { .no_contexts = true, .invisible_vram = engine,
					.no_engine = !engine };
	struct fake *w2 = fake_new(one_gpu, 1, &ways), *w;
	struct fake_ways visible = ways;
	struct scene s;

	visible.invisible_vram = false;		/* the engine is for large ones all the same */
	w = make_world(&s, &visible);
	setenv("KFD_MAX_BUFFER_SIZE", staging, 1);
	CHECK(scene_dump(&s, w) == 0);
	if (CHECK(scene_restore(&s, w2, NULL) == 0))
		check_world(w2, &s);
	fprintf(stderr, "%s", s.f.text);
	CHECK(!engine == !fake_engine_bytes(w) && !engine == !fake_engine_bytes(w2));
	unsetenv("KFD_MAX_BUFFER_SIZE");
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

static void by_the_processor(void)
{
	round_trip(false, "0");
}

static void by_the_engine(void)
{
	round_trip(true, "0");
}

/* Chunks of 20 KiB: no block begins or ends with one. */
static void by_a_small_engine(void)
{
	round_trip(true, "20K");
}

/* More than is mapped at a time. */
static void a_large_one(void)
{
	const uint64_t size = (65ull << 20) + PAGE;
	const struct fake_ways ways = { .no_contexts = true };
	struct fake *w = fake_new(one_gpu, 1, &ways), *w2 = fake_new(one_gpu, 1, &ways);
	int fd = fake_open(w, 128);
	struct scene s;

	scene_begin(&s);
	s.compress = true;
	fake_create(w, fd, size, GTT, 0);
	with_buffer(w, fd, 1, 3, true);
	scene_add(&s, 3, 60, fd, false);
	CHECK(scene_dump(&s, w) == 0 && scene_restore(&s, w2, NULL) == 0);
	fprintf(stderr, "%s", s.f.text);
	CHECK(s.prop[0].restored >= 0 && with_buffer(w2, s.prop[0].restored, 1, 3, false));
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

static uint64_t file_size(const struct scene *s, const char *name)
{
	struct stat st;

	return CHECK(fstatat(s->dir, name, &st, 0) == 0) ? (uint64_t)st.st_size : 0;
}

static void files_are_as_small_as_they_can_be(void)
{
	const struct fake_ways ways = { .no_contexts = true };
	struct scene s;
	struct fake *w = make_world(&s, &ways);
	uint64_t all = PACK_START;
	const BoContents *c;
	CriuRenderNode *n;
	CriuKfd *k;
	char name[64];
	size_t i;

	CHECK(scene_dump(&s, w) == 0);
	n = (CriuRenderNode *)load(&s, IMG_AMDGPU_RENDER, 3);
	for (i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "amdgpu-drm-pages-3-128-%04zx.img", i);
		c = n->bo_entries[i]->contents;
		CHECK(c && c->offset == PACK_START && file_size(&s, name) == pack_end(c));
		if (i % KINDS == ZERO)
			CHECK(file_size(&s, name) == PACK_START);
		if (i % KINDS == TEXT)
			CHECK(file_size(&s, name) < PACK_START + size_of(i) / 8);
		if (i % KINDS == NOISE)
			CHECK(file_size(&s, name) == PACK_START + size_of(i));
	}
	k = (CriuKfd *)load(&s, IMG_AMDGPU_KFD, 2);
	for (i = 0; i < COUNT; i++) {
		c = k->bo_entries[i]->contents;
		CHECK(c && c->offset == all);
		all = pack_end(c);
	}
	CHECK(file_size(&s, "amdgpu-pages-2-1234.img") == all);
	protobuf_c_message_free_unpacked(&n->base, NULL);
	protobuf_c_message_free_unpacked(&k->base, NULL);
	scene_end(&s);
	fake_free(w);
}

/* Of its blocks in the file system. */
static uint64_t disk_size(const struct scene *s, size_t i)
{
	char name[64];
	struct stat st;

	snprintf(name, sizeof(name), "amdgpu-drm-pages-3-128-%04zx.img", i);
	return CHECK(fstatat(s->dir, name, &st, 0) == 0 && (uint64_t)st.st_size == 8 + size_of(i)) ?
	       st.st_blocks * 512ull : 0;
}

/* Without the option: lengths and bytes as CRIU has them; zeros are holes. */
static void plain_files_stay_plain(void)
{
	const struct fake_ways ways = { .no_contexts = true };
	struct scene s;
	struct fake *w = make_world(&s, &ways), *w2 = fake_new(one_gpu, 1, &ways);
	AUTO_FREE unsigned char *bytes = NULL;
	uint64_t len = 0, want = 0;
	CriuRenderNode *n;
	size_t i, size;

	s.compress = false;
	CHECK(scene_dump(&s, w) == 0);
	n = (CriuRenderNode *)load(&s, IMG_AMDGPU_RENDER, 3);
	for (i = 0; i < COUNT; i++) {
		CHECK(!n->bo_entries[i]->contents);
		if (i % KINDS == ZERO || i % KINDS == NOISE)
			CHECK((disk_size(&s, i) > PAGE) == (i % KINDS == NOISE));
		want += size_of(i);
	}
	size = read_all(s.dir, "amdgpu-pages-2-1234.img", &bytes);
	memcpy(&len, bytes, sizeof(len));
	CHECK(len == want && size == 8 + want);
	for (i = 0, len = 8; i < COUNT; len += size_of(i++))
		CHECK(is(i % KINDS, bytes + len, size_of(i), 1000 + i));
	if (CHECK(scene_restore(&s, w2, NULL) == 0))
		check_world(w2, &s);
	protobuf_c_message_free_unpacked(&n->base, NULL);
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

/* ---- damage ---- */

/* A node with two blocks of text and one of noise, a KFD process with text. */
static struct fake *make_small(struct scene *s)
{
	const struct fake_ways ways = { .no_contexts = true };
	struct fake *w = fake_new(one_gpu, 1, &ways);
	int vm = fake_open(w, 128), fd = fake_open(w, 128);
	unsigned char *p;

	scene_begin(s);
	s->compress = true;
	scene_add(s, 3, 60, fd, false);
	scene_add(s, 1, 50, vm, false);
	scene_add(s, 2, 50, fake_kfd_open(w, 50, &vm, 1), true);
	fake_create(w, fd, 2 * BLOCK + PAGE, GTT, 0);
	p = fake_bytes(w, fd, 1);
	make(TEXT, p, 2 * BLOCK, 1);
	make(NOISE, p + 2 * BLOCK, PAGE, 1);
	munmap(p, 2 * BLOCK + PAGE);
	close(fake_kfd_bo(w, 50, 0, VA, 2 * PAGE, KFD_BO_VRAM, NULL));
	close(fake_kfd_bo(w, 50, 0, VA + 0x10000, PAGE, KFD_BO_GTT, NULL));
	with_kfd(w, 50, VA, 2 * PAGE, 6, true);
	with_kfd(w, 50, VA + 0x10000, PAGE, 7, true);
	return w;
}

#define NODE_IMAGE "amdgpu-renderD-3.img"
#define KFD_IMAGE "amdgpu-kfd-2.img"
#define NODE_PAGES "amdgpu-drm-pages-3-128-0000.img"
#define KFD_PAGES "amdgpu-pages-2-1234.img"

static void another_method(BoContents *c)
{
	c->method = 9;
}

static void offset_of_header(BoContents *c)
{
	c->offset = 0;
}

static void offset_beyond(BoContents *c)
{
	c->offset += 1 << 20;
}

static void offset_huge(BoContents *c)
{
	c->offset = UINT64_MAX - 3;
}

static void offset_shifted(BoContents *c)
{
	c->offset--;
}

static void a_block_less(BoContents *c)
{
	c->n_length--;
}

static void a_long_block(BoContents *c)
{
	c->length[0] = UINT32_MAX;
}

static void a_short_block(BoContents *c)
{
	c->length[0] -= 1;
}

/* What was text is to be as it is in the file. */
static void a_whole_block(BoContents *c)
{
	c->length[0] = PACK_BLOCK;
}

static void cut_one(unsigned char *bytes, size_t *n)
{
	(void)bytes;
	--*n;
}

static void cut_all(unsigned char *bytes, size_t *n)
{
	(void)bytes;
	*n = 0;
}

static void no_magic(unsigned char *bytes, size_t *n)
{
	(void)n;
	memset(bytes, 0, 8);
}

static void other_bytes(unsigned char *bytes, size_t *n)
{
	memset(bytes + 8, 0xff, *n - 8);
}

static const struct damage {
	void (*node)(BoContents *c);	/* to the index, */
	void (*kfd)(BoContents *c);
	void (*pages)(unsigned char *bytes, size_t *n);	/* or to the file */
	const char *says[4];
} damages[] = {
	{ another_method, NULL, NULL, { NODE_IMAGE, "contents", "method", "9 is not known" } },
	{ offset_of_header, NULL, NULL, { NODE_IMAGE, "buffer 1", "offset", "dump again" } },
	{ offset_huge, NULL, NULL, { NODE_IMAGE, "buffer 1", "offset", "dump again" } },
	{ offset_beyond, NULL, NULL, { NODE_IMAGE, NODE_PAGES, "truncated", "dump again" } },
	{ NULL, offset_beyond, NULL, { KFD_IMAGE, KFD_PAGES, "truncated", "dump again" } },
	{ offset_shifted, NULL, NULL, { NODE_IMAGE, "offset", "damaged", "dump again" } },
	{ a_block_less, NULL, NULL, { NODE_IMAGE, "buffer 1", "2 blocks", "dump again" } },
	{ NULL, a_block_less, NULL, { KFD_IMAGE, "0x7f0000000000", "0 blocks", "dump again" } },
	{ a_long_block, NULL, NULL, { NODE_IMAGE, "buffer 1", "block 0", "dump again" } },
	{ a_short_block, NULL, NULL, { NODE_PAGES, "buffer 1", "block 0", "dump again" } },
	{ NULL, a_short_block, NULL, { KFD_PAGES, "0x7f0000000000", "block 0", "dump again" } },
	{ a_whole_block, NULL, NULL, { NODE_IMAGE, NODE_PAGES, "truncated", "dump again" } },
	{ NULL, NULL, cut_one, { NODE_IMAGE, NODE_PAGES, "truncated", "dump again" } },
	{ NULL, NULL, cut_all, { NODE_IMAGE, NODE_PAGES, "truncated", "dump again" } },
	{ NULL, NULL, no_magic, { NODE_PAGES, "buffer 1", "plain contents", "dump again" } },
	{ NULL, NULL, other_bytes, { NODE_PAGES, "buffer 1", "block 0", "dump again" } },
};

static void damage(struct scene *s, const struct damage *d)
{
	AUTO_FREE unsigned char *bytes = NULL;
	CriuRenderNode *n;
	CriuKfd *k;
	size_t size;

	if (d->node) {
		n = (CriuRenderNode *)load(s, IMG_AMDGPU_RENDER, 3);
		d->node(n->bo_entries[0]->contents);
		store(s, IMG_AMDGPU_RENDER, 3, &n->base);
	}
	if (d->kfd) {
		k = (CriuKfd *)load(s, IMG_AMDGPU_KFD, 2);
		d->kfd(k->bo_entries[0]->contents);
		store(s, IMG_AMDGPU_KFD, 2, &k->base);
	}
	if (d->pages) {
		size = read_all(s->dir, NODE_PAGES, &bytes);
		d->pages(bytes, &size);
		write_all(s->dir, NODE_PAGES, bytes, size);
	}
}

static void damaged_by_name(void)
{
	struct scene s;
	struct fake *w = make_small(&s);
	size_t i, k;

	for (i = 0; i < ARRAY_LEN(damages); i++) {
		s.f = (struct fault){ 0 };
		CHECK(scene_dump(&s, w) == 0 && restore_once(&s) == 0);
		damage(&s, &damages[i]);
		CHECK(restore_once(&s) < 0);
		for (k = 0; k < ARRAY_LEN(damages[i].says); k++)
			if (!CHECK(strstr(s.f.text, damages[i].says[k])))
				fprintf(stderr, "  damage %zu: %s\n", i, s.f.text);
	}
	scene_end(&s);
	fake_free(w);
}

static void lengthen(const struct scene *s, const char *name, uint64_t size)
{
	AUTO_CLOSE int fd = openat(s->dir, name, O_WRONLY | O_CLOEXEC);

	CHECK(ftruncate(fd, size) == 0);
}

/* By a program that drops what it does not know: the entries say plain, the files do not. */
static void an_index_that_is_lost(void)
{
	struct scene s;
	struct fake *w = make_small(&s);
	CriuRenderNode *n;
	CriuKfd *k;

	CHECK(scene_dump(&s, w) == 0);
	n = (CriuRenderNode *)load(&s, IMG_AMDGPU_RENDER, 3);
	bo_contents__free_unpacked(take_ptr(&n->bo_entries[0]->contents), NULL);
	store(&s, IMG_AMDGPU_RENDER, 3, &n->base);
	CHECK(restore_once(&s) < 0 && strstr(s.f.text, "truncated"));
	lengthen(&s, NODE_PAGES, 8 + 2 * BLOCK + PAGE);
	CHECK(restore_once(&s) < 0 && strstr(s.f.text, "does not know of compression"));
	s.f = (struct fault){ 0 };
	CHECK(scene_dump(&s, w) == 0);
	k = (CriuKfd *)load(&s, IMG_AMDGPU_KFD, 2);
	bo_contents__free_unpacked(take_ptr(&k->bo_entries[1]->contents), NULL);
	store(&s, IMG_AMDGPU_KFD, 2, &k->base);
	lengthen(&s, KFD_PAGES, 8 + 3 * PAGE);
	CHECK(restore_once(&s) < 0 && strstr(s.f.text, "does not know of compression"));
	scene_end(&s);
	fake_free(w);
}

/* A bit of each of the first bytes, a third of all lengths: an error or a restore, no crash. */
static void damaged_anywhere(void)
{
	static const char *const names[] = { NODE_IMAGE, KFD_IMAGE, NODE_PAGES, KFD_PAGES };
	struct scene s;
	struct fake *w = make_small(&s);
	unsigned int refused = 0, taken = 0;
	size_t i, k, n;

	CHECK(scene_dump(&s, w) == 0);
	for (i = 0; i < ARRAY_LEN(names); i++) {
		AUTO_FREE unsigned char *bytes = NULL;

		n = read_all(s.dir, names[i], &bytes);
		for (k = 0; k < n && k < 1000; k += 3) {
			write_all(s.dir, names[i], bytes, k);
			if (!CHECK(restore_once(&s) < 0))
				fprintf(stderr, "  %s cut at %zu\n", names[i], k);
		}
		for (k = 0; k < n && k < 1000; k++) {
			bytes[k] ^= 1u << k % 8;
			write_all(s.dir, names[i], bytes, n);
			if (restore_once(&s) < 0)
				refused++;
			else
				taken++;
			bytes[k] ^= 1u << k % 8;
		}
		write_all(s.dir, names[i], bytes, n);
	}
	fprintf(stderr, "%u bit flips refused, %u taken\n", refused, taken);
	CHECK(restore_once(&s) == 0);
	scene_end(&s);
	fake_free(w);
}

/* ---- memory that goes away ---- */

static void device_memory_that_goes_away(void)
{
	AUTO_CLOSE int memory = memfd_create("gone", MFD_CLOEXEC);
	AUTO_CLOSE int file = memfd_create("file", MFD_CLOEXEC);
	BoContents *c = pack_index(BLOCK);
	struct fault f = { 0 };
	struct packer *p = packer_new(&f);
	void *bytes;

	CHECK(p && ftruncate(memory, BLOCK) == 0);
	bytes = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	memset(bytes, 7, BLOCK);
	c->offset = PACK_START;
	packer_begin(p, file, "some.img", c, BLOCK);
	CHECK(pack_put(p, bytes, BLOCK, &f) == 0 && c->length[0] && c->length[0] < 2 * PAGE);
	CHECK(ftruncate(memory, PAGE) == 0);
	packer_begin(p, file, "some.img", c, BLOCK);
	CHECK(pack_get(p, bytes, BLOCK, &f) < 0 && f.code == EFAULT);
	f = (struct fault){ 0 };
	packer_begin(p, file, "some.img", c, BLOCK);
	CHECK(pack_put(p, bytes, BLOCK, &f) < 0 && f.code == EFAULT);
	munmap(bytes, BLOCK);
	packer_free(p);
	bo_contents__free_unpacked(c, NULL);
}

int main(void)
{
	check_run("contents of every kind and size come back, by the processor", by_the_processor);
	check_run("the same by the engine", by_the_engine);
	check_run("the same by an engine whose chunks cut blocks", by_a_small_engine);
	check_run("a buffer larger than what is mapped at a time", a_large_one);
	check_run("zeros cost nothing, noise no more than it has",
		  files_are_as_small_as_they_can_be);
	check_run("without the option files are plain, with holes where all is zero",
		  plain_files_stay_plain);
	check_run("damage is refused by file, buffer and remedy", damaged_by_name);
	check_run("contents without their index are not taken for plain ones",
		  an_index_that_is_lost);
	check_run("damage anywhere is refused or harmless", damaged_anywhere);
	check_run("device memory that goes away is a fault", device_memory_that_goes_away);
	return check_done();
}
