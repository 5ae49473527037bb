/* SPDX-License-Identifier: MIT */
/*
 * images_damage_test.c - damage to image files gives a fault and never a crash.
 *
 * Rights:   a scratch directory.
 * Holds:    that directory, removed at the end.
 */
#include "tests/unit/check.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "proto/images/namespaces.pb-c.h"
#include "proto/images/show.h"
#include "tests/world/image_samples.h"

/* Show a file both ways; nothing is looked at but that it ends. Returns whether it was fine. */
static bool shows(const char *path, FILE *sink)
{
	struct fault f = { 0 }, g = { 0 };
	int r = show_file(path, false, sink, &f);

	CHECK(show_file(path, true, sink, &g) == r);
	CHECK((r < 0) == (f.code != 0));
	CHECK(f.code == g.code && strcmp(f.text, g.text) == 0);
	return r == 0;
}

static size_t load(const char *path, unsigned char *buf, size_t size)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read_full(fd, buf, size);

	return n < 0 ? 0 : n;
}

static void store(const char *path, const unsigned char *buf, size_t n)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);

	CHECK(write_full(fd, buf, n) == (ssize_t)n);
}

/*
 * Only a cut between entries can go unnoticed: at most one for each entry, plus, in a
 * ghost file, everywhere in the contents, whose length is that of the file.
 */
static void truncations(void)
{
	AUTO_FCLOSE FILE *sink = fopen("/dev/null", "w");
	AUTO_FREE unsigned char *buf = xcalloc(1, 1 << 20);
	size_t n, len;
	char path[128];
	int fine, t;

	for (t = 0; t < IMG_TYPES; t++) {
		if (!sample_has_frame(t) || !CHECK(sample_write(t)))
			continue;
		sample_path(t, path, sizeof(path));
		n = load(path, buf, 1 << 20);
		CHECK(shows(path, sink));
		fine = 0;
		for (len = n; len-- > 0;) {
			CHECK(truncate(path, len) == 0);
			fine += shows(path, sink);
		}
		CHECK(fine == (t == IMG_GHOST_FILE ? 10 : sample_entries(t)));
	}
}

/* Every bit of a small image, about 400 of each larger one. */
static void bit_flips(void)
{
	AUTO_FCLOSE FILE *sink = fopen("/dev/null", "w");
	AUTO_FREE unsigned char *buf = xcalloc(1, 1 << 20);
	size_t n, bit, step;
	char path[128];
	int t;

	for (t = 0; t < IMG_TYPES; t++) {
		if (!sample_has_frame(t) || !CHECK(sample_write(t)))
			continue;
		sample_path(t, path, sizeof(path));
		n = load(path, buf, 1 << 20);
		step = 1 + n / 100 * 2;		/* odd: it meets every bit of a byte */
		for (bit = 0; bit < n * 8; bit += step) {
			buf[bit / 8] ^= 1 << bit % 8;
			store(path, buf, n);
			shows(path, sink);
			buf[bit / 8] ^= 1 << bit % 8;
		}
	}
}

/* Give an image these bytes after its magics; the fault must say this. */
static void expect_fault(enum img_type type, const unsigned char *bytes, size_t n, const char *text)
{
	AUTO_FREE unsigned char *file = xcalloc(1, 8 + n);
	AUTO_IMAGE struct image *img = NULL;
	AUTO_MSG ProtobufCMessage *msg = NULL;
	uint32_t magic[2] = { IMAGE_MAGIC_COMMON, image_info(type)->magic };
	struct fault f = { 0 };
	char path[128];

	memcpy(file, magic, 8);
	memcpy(file + 8, bytes, n);
	sample_path(type, path, sizeof(path));
	store(path, file, 8 + n);
	img = image_open(sample_dir_fd(), type, SAMPLE_ID, &f);
	CHECK(img && image_read(img, &msg, &f) == -1);
	if (!CHECK(strcmp(f.text, text) == 0))
		fprintf(stderr, "got:  %s\nwant: %s\n", f.text, text);
}

static void fault_texts(void)
{
	expect_fault(IMG_CORE, (const unsigned char *)"\263\4\0\0\10\1\22\0\0\0\0\0\0\0", 14,
		     "core-26.img: entry 0: 1203 bytes announced, 10 left: the image is truncated"
		     " or damaged; dump again");
	expect_fault(IMG_FS, (const unsigned char *)"\2\0\0\0\10\1", 6,
		     "fs-26.img: entry 0: root_id is missing");
	expect_fault(IMG_FILES, (const unsigned char *)"\4\0\0\0\10\143\20\1", 8,
		     "files.img: entry 0: type: value 99 is not known");
	expect_fault(IMG_FILES, (const unsigned char *)"\10\0\0\0\10\1\20\1\32\2\10\1", 12,
		     "files.img: entry 0: reg: flags is missing");
	expect_fault(IMG_FS, (const unsigned char *)"\1", 1,
		     "fs-26.img: entry 0: 1 stray bytes at the end: the image is truncated or"
		     " damaged; dump again");
}

/* A tree far deeper than the stack: refused before anything recurses that deep. */
static void deep_nesting(void)
{
	CgroupEntry top = CGROUP_ENTRY__INIT;
	CgControllerEntry ctl = CG_CONTROLLER_ENTRY__INIT;
	AUTO_FREE CgroupDirEntry *dirs = xcalloc(150, sizeof(*dirs));
	AUTO_FREE CgroupDirEntry **next = xcalloc(150, sizeof(*next));
	CgControllerEntry *ctls[] = { &ctl };
	AUTO_IMAGE struct image *img = NULL;
	AUTO_MSG ProtobufCMessage *msg = NULL;
	struct fault f = { 0 };
	int i;

	for (i = 0; i < 150; i++) {
		cgroup_dir_entry__init(&dirs[i]);
		dirs[i].dir_name = "d";
		next[i] = &dirs[i];
		if (i == 0)
			continue;
		dirs[i - 1].children = &next[i];
		dirs[i - 1].n_children = 1;
	}
	ctl.dirs = &next[0];
	ctl.n_dirs = 1;
	top.controllers = ctls;
	top.n_controllers = 1;
	img = image_create(sample_dir_fd(), IMG_CGROUP, 0, &f);
	CHECK(image_write(img, &top.base, &f) == 0 && image_close(&img, &f) == 0);
	img = image_open(sample_dir_fd(), IMG_CGROUP, 0, &f);
	CHECK(img && image_read(img, &msg, &f) == -1 && strstr(f.text, "nested more than"));
}

int main(void)
{
	check_run("every truncation is noticed", truncations);
	check_run("no flipped bit crashes the reader", bit_flips);
	check_run("a fault names file, entry, field and reason", fault_texts);
	check_run("deep nesting is refused", deep_nesting);
	sample_end();
	return check_done();
}
