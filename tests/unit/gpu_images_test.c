/* SPDX-License-Identifier: MIT */
/*
 * gpu_images_test.c - images of AMD GPUs: those of CRIU 4.2 and later are read, damaged ones are
 * refused.
 */
#include "tests/unit/gpu_files.h"

/* A KFD process, a node that imports and has its own, a dmabuf. */
static struct fake *make_world(struct scene *s, bool kfd)
{
	const struct fake_ways ways = { .no_contexts = true };
	struct fake *w = fake_new(one_gpu, 1, &ways);
	int vm = fake_open(w, 128), other = fake_open(w, 128), dmabuf;

	scene_begin(s);
	fake_create(w, other, 2 * PAGE, GTT, 0);
	with_buffer(w, other, 1, 5, true);
	scene_add(s, 3, 60, other, false);
	if (!kfd) {
		close(vm);
		return w;
	}
	scene_add(s, 1, 50, vm, false);
	scene_add(s, 2, 50, fake_kfd_open(w, 50, &vm, 1), true);
	dmabuf = fake_kfd_bo(w, 50, 0, 0x7f0000000000, 4 * PAGE, KFD_BO_VRAM, NULL);
	with_kfd(w, 50, 0x7f0000000000, 4 * PAGE, 6, true);
	fake_import(w, other, dmabuf);
	fake_map(w, other, 2, 0x10000, 0, PAGE);
	scene_add(s, 5, 70, dmabuf, false);
	return w;
}

static const char *const images[] = { "amdgpu-kfd-2.img", "amdgpu-renderD-1.img",
				      "amdgpu-renderD-3.img", "amdgpu-dmabuf_5.img" };

/* Cut anywhere, or with any bit the other way round: an error or a restore, no crash, nothing left
 * open. */
static void damaged_images(void)
{
	struct scene s;
	struct fake *w = make_world(&s, true);
	unsigned int refused = 0, taken = 0;
	size_t i, k, n;

	CHECK(scene_dump(&s, w) == 0);
	CHECK(restore_once(&s) == 0);
	for (i = 0; i < ARRAY_LEN(images); i++) {
		AUTO_FREE unsigned char *bytes = NULL;

		n = read_all(s.dir, images[i], &bytes);
		for (k = 0; k < n; k += 3) {
			write_all(s.dir, images[i], bytes, k);
			if (!CHECK(restore_once(&s) < 0))
				fprintf(stderr, "  %s cut at %zu\n", images[i], k);
		}
		for (k = 0; k < n; k++) {
			bytes[k] ^= 1u << k % 8;
			write_all(s.dir, images[i], bytes, n);
			if (restore_once(&s) < 0)
				refused++;
			else
				taken++;
			bytes[k] ^= 1u << k % 8;
		}
		write_all(s.dir, images[i], bytes, n);
	}
	fprintf(stderr, "%u bit flips refused, %u taken\n", refused, taken);
	CHECK(refused > taken / 2);
	CHECK(restore_once(&s) == 0);
	scene_end(&s);
	fake_free(w);
}

static void missing_files(void)
{
	static const struct {
		const char *name, *says;
	} missing[] = {
		{ "amdgpu-kfd-2.img", "imports buffer" },
		{ "amdgpu-pages-2-1234.img", "amdgpu-pages-2-1234.img" },
		{ "amdgpu-drm-pages-3-128-0000.img", "amdgpu-drm-pages-3-128-0000.img" },
	};
	struct scene s;
	struct fake *w = make_world(&s, true);
	size_t i;

	CHECK(scene_dump(&s, w) == 0);
	for (i = 0; i < ARRAY_LEN(missing); i++) {
		AUTO_FREE unsigned char *bytes = NULL;
		size_t n = read_all(s.dir, missing[i].name, &bytes);

		unlinkat(s.dir, missing[i].name, 0);
		if (!CHECK(restore_once(&s) < 0 && strstr(s.f.text, missing[i].says)))
			fprintf(stderr, "  %s: %s\n", missing[i].name, s.f.text);
		write_all(s.dir, missing[i].name, bytes, n);
	}
	CHECK(restore_once(&s) == 0);
	scene_end(&s);
	fake_free(w);
}

/* Forget the entries of a message. */
static void drop(void *list, size_t *n)
{
	ProtobufCMessage **entry = list;

	while (*n)
		protobuf_c_message_free_unpacked(entry[--*n], NULL);
}

/* Without our fields: as the plugin of CRIU after 4.2 writes them, handle numbers being identities.
 */
static void strip(struct scene *s, bool old)
{
	CriuKfd *k = (CriuKfd *)load(s, IMG_AMDGPU_KFD, 2);
	CriuRenderNode *n = (CriuRenderNode *)load(s, IMG_AMDGPU_RENDER, 3);
	size_t i;

	for (i = 0; i < k->n_bo_entries; i++) {
		k->bo_entries[i]->has_inode = false;
		k->bo_entries[i]->has_handle = !old;
	}
	for (i = 0; i < k->n_device_entries; i++)
		k->device_entries[i]->has_actual_gpu_id = k->device_entries[i]->has_vm_file = false;
	for (i = 0; i < n->n_bo_entries; i++)
		n->bo_entries[i]->has_inode = false;
	if (old) {
		drop(n->bo_entries, &n->n_bo_entries);
		n->has_id = n->has_drm_render_minor = n->has_num_of_bos = false;
	}
	drop(n->device_entries, &n->n_device_entries);
	store(s, IMG_AMDGPU_KFD, 2, &k->base);
	store(s, IMG_AMDGPU_RENDER, 3, &n->base);
}

static void images_of_later_criu(void)
{
	const struct fake_ways ways = { .no_contexts = true };
	struct scene s;
	struct fake *w = make_world(&s, true), *w2 = fake_new(one_gpu, 1, &ways);
	CriuDmabufNode *d;
	CriuRenderNode *n;

	CHECK(scene_dump(&s, w) == 0);
	strip(&s, false);
	d = (CriuDmabufNode *)load(&s, IMG_AMDGPU_DMABUF, 5);
	d->has_inode = d->has_size = false;
	CHECK(d->gem_handle == 2);		/* that of the import, also in the others */
	store(&s, IMG_AMDGPU_DMABUF, 5, &d->base);
	n = (CriuRenderNode *)load(&s, IMG_AMDGPU_RENDER, 1);
	drop(n->device_entries, &n->n_device_entries);
	store(&s, IMG_AMDGPU_RENDER, 1, &n->base);
	if (CHECK(scene_restore(&s, w2, NULL) == 0)) {
		CHECK(fake_key(w2, s.prop[0].restored, 2) == fake_kfd_key(w2, 50, 0x7f0000000000));
		CHECK(with_kfd(w2, 50, 0x7f0000000000, 4 * PAGE, 6, false));
	}
	fprintf(stderr, "%s", s.f.text);
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

static void images_of_criu_4_2(void)
{
	const struct fake_ways ways = { .no_contexts = true };
	struct scene s;
	struct fake *w = make_world(&s, true), *w2 = fake_new(one_gpu, 1, &ways);

	CHECK(scene_dump(&s, w) == 0);
	strip(&s, true);
	unlinkat(s.dir, "amdgpu-dmabuf_5.img", 0);
	s.n--;
	auto_close(&s.prop[3].fd);
	if (CHECK(scene_restore(&s, w2, NULL) == 0))
		CHECK(with_kfd(w2, 50, 0x7f0000000000, 4 * PAGE, 6, false));
	fprintf(stderr, "%s", s.f.text);
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

/* What a reader of CRIU finds: lengths, a file of contents for imports too. */
static void files_are_as_criu_has_them(void)
{
	struct scene s;
	struct fake *w = make_world(&s, false);
	AUTO_FREE unsigned char *bytes = NULL, *pages = NULL;
	uint64_t len = 0;
	size_t n;
	int d = fake_export(w, s.prop[0].fd, 1), third = fake_open(w, 128);

	fake_import(w, third, d);
	close(d);
	scene_add(&s, 9, 61, third, false);
	CHECK(scene_dump(&s, w) == 0);
	n = read_all(s.dir, "amdgpu-renderD-3.img", &bytes);
	memcpy(&len, bytes, 8);
	CHECK(n > 8 && len == n - 8);
	n = read_all(s.dir, "amdgpu-drm-pages-3-128-0000.img", &pages);
	memcpy(&len, pages, 8);
	CHECK(n == 8 + 2 * PAGE && len == 2 * PAGE && pattern(pages + 8, 2 * PAGE, 5, false));
	CHECK(faccessat(s.dir, "amdgpu-drm-pages-9-128-0000.img", R_OK, 0) == 0);
	scene_end(&s);
	fake_free(w);
}

/* The contents of what was an import once are a file of their own, not the owner's. */
static void again_into_the_same_directory(void)
{
	struct scene s;
	struct fake *w = make_world(&s, false), *w2 = fake_new(one_gpu, 1, NULL);
	int d = fake_export(w, s.prop[0].fd, 1), third = fake_open(w, 128);

	fake_import(w, third, d);
	close(d);
	scene_add(&s, 9, 61, third, false);
	CHECK(scene_dump(&s, w) == 0);
	fake_close_handle(w, third, 1);
	CHECK(fake_create(w, third, 2 * PAGE, GTT, 0) == 1);
	with_buffer(w, third, 1, 8, true);
	CHECK(scene_dump(&s, w) == 0);
	if (CHECK(scene_restore(&s, w2, NULL) == 0)) {
		CHECK(with_buffer(w2, s.prop[0].restored, 1, 5, false));
		CHECK(with_buffer(w2, s.prop[1].restored, 1, 8, false));
	}
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

static void wrong_fields(void)
{
	static const char *const says[] = { "handle 0",	  "handle 1 is there twice",
					    "size",	  "num_of_bos",
					    "domains",	  "two owners",
					    "mapping of", "handle 2097152" };
	struct scene s;
	struct fake *w = make_world(&s, true);
	size_t i;

	CHECK(scene_dump(&s, w) == 0);
	for (i = 0; i < ARRAY_LEN(says); i++) {
		AUTO_FREE unsigned char *bytes = NULL;
		size_t size = read_all(s.dir, "amdgpu-renderD-3.img", &bytes);
		CriuRenderNode *n = (CriuRenderNode *)load(&s, IMG_AMDGPU_RENDER, 3);

		switch (i) {
		case 0: n->bo_entries[0]->handle = 0; break;
		case 1: n->bo_entries[1]->handle = 1; break;
		case 2: n->bo_entries[0]->size = 5; break;
		case 3: n->num_of_bos = 7; break;
		case 4: n->bo_entries[0]->preferred_domains = 0x40; break;
		case 5: n->bo_entries[1]->is_import = 0; break;
		case 6: n->bo_entries[1]->vm_entries[0]->offset = 1ull << 63; break;
		case 7: n->bo_entries[1]->handle = 1u << 21; break;
		}
		store(&s, IMG_AMDGPU_RENDER, 3, &n->base);
		if (!CHECK(restore_once(&s) < 0 && strstr(s.f.text, says[i])))
			fprintf(stderr, "  %s: %s\n", says[i], s.f.text);
		write_all(s.dir, "amdgpu-renderD-3.img", bytes, size);
	}
	scene_end(&s);
	fake_free(w);
}

/* What the same number stood for in an earlier dump is no image of this one. */
static void numbers_used_before(void)
{
	CriuDmabufNode dmabuf = CRIU_DMABUF_NODE__INIT;
	CriuKfd kfd = CRIU_KFD__INIT;
	struct scene s;
	struct fake *w = make_world(&s, false), *w2 = fake_new(one_gpu, 1, NULL);

	store(&s, IMG_AMDGPU_KFD, 3, message_copy(&kfd.base));
	store(&s, IMG_AMDGPU_DMABUF, 3, message_copy(&dmabuf.base));
	CHECK(scene_dump(&s, w) == 0);
	if (CHECK(scene_restore(&s, w2, NULL) == 0))
		CHECK(with_buffer(w2, s.prop[0].restored, 1, 5, false));
	fprintf(stderr, "%s", s.f.text);
	scene_end(&s);
	fake_free(w);
	fake_free(w2);
}

/* Sums are of 64 bits: 131072 buffers of this size would have 0 bytes. */
static void too_much_memory(void)
{
	struct scene s;
	struct fake *w = make_world(&s, true);
	CriuKfd *k;
	size_t i;

	CHECK(scene_dump(&s, w) == 0);
	k = (CriuKfd *)load(&s, IMG_AMDGPU_KFD, 2);
	k->num_of_bos = 131072;
	k->bo_entries[0]->size = 1ull << 47;
	k->bo_entries = xrealloc(k->bo_entries, k->num_of_bos, sizeof(*k->bo_entries));
	for (i = k->n_bo_entries; i < k->num_of_bos; i++) {
		k->bo_entries[i] = message_copy(&k->bo_entries[0]->base);
		k->bo_entries[i]->has_inode = k->bo_entries[i]->has_handle = false;
	}
	k->n_bo_entries = k->num_of_bos;
	store(&s, IMG_AMDGPU_KFD, 2, &k->base);
	if (!CHECK(restore_once(&s) < 0 && strstr(s.f.text, "in all")))
		fprintf(stderr, "  said: %s\n", s.f.text);
	scene_end(&s);
	fake_free(w);
}

int main(void)
{
	check_run("damaged images are refused or harmless", damaged_images);
	check_run("a missing image is named, and who imports from it", missing_files);
	check_run("images of CRIU 4.2-22: handle numbers are identities", images_of_later_criu);
	check_run("images of CRIU 4.2: no handles", images_of_criu_4_2);
	check_run("files are as CRIU's reader wants them", files_are_as_criu_has_them);
	check_run("a second dump into a directory", again_into_the_same_directory);
	check_run("impossible fields are refused by name", wrong_fields);
	check_run("numbers that an earlier dump used", numbers_used_before);
	check_run("buffers with more bytes than there are addresses", too_much_memory);
	return check_done();
}
