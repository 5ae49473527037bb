/* SPDX-License-Identifier: MIT */
/*
 * files_damage_test.c - images of the files worker that are damaged are refused, not believed.
 *
 * Rights:   root; skipped otherwise.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "tests/world/files_world.h"
#include "tests/world/subjects.h"

/*
 * Every image of a dump with random bits flipped or its end cut off: prepare fails or not, no more.
 */
static void damage(const struct tree *t, unsigned int seed)
{
	char *images[] = { "files.img", "fdinfo-1.img", "remap-fpath.img", "ghost-file-1.img",
			   "pipes-data.img", "fifo-data.img", "filelocks.img" };
	char path[128], buf[8192];
	AUTO_CLOSE int fd = -1;
	ssize_t n;
	int i;

	srandom(seed);
	snprintf(path, sizeof(path), "%s/%s", t->images[0], images[random() % ARRAY_LEN(images)]);
	fd = open(path, O_RDWR);
	n = fd < 0 ? 0 : pread(fd, buf, sizeof(buf), 0);
	if (n <= 8)
		return;
	if (seed % 3 == 0 && ftruncate(fd, random() % n) == 0)
		return;
	for (i = 0; i < 4; i++)
		buf[8 + random() % (n - 8)] ^= 1 << random() % 8;
	CHECK(pwrite(fd, buf, n, 0) == n);
}

static void copy_images(const struct tree *t, int from, int to)
{
	AUTO_CLOSEDIR DIR *d = opendir(t->images[from]);
	static char buf[1 << 20];
	struct dirent *de;
	char path[400];
	ssize_t n;

	while (d && (de = readdir(d))) {
		AUTO_CLOSE int in = openat(dirfd(d), de->d_name, O_RDONLY), out = -1;

		if (de->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", t->images[to], de->d_name);
		out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		n = read(in, buf, sizeof(buf));
		CHECK(n >= 0 && write(out, buf, n) == n);
	}
}

static void damage_setup(void)
{
	subject_regular();
	subject_pipes_small();
	subject_fifo();
	subject_ghosts();
	subject_lock();
}

static void damaged_images(void)
{
	unsigned int seed;
	struct tree t;
	int bad = 0;

	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	tree_begin(&t);
	tree_start(&t, damage_setup, NULL);
	CHECK(tree_dump(&t, 1) == 0);
	tree_kill(&t);
	for (seed = 1; seed <= 600; seed++) {
		copy_images(&t, 1, 0);
		damage(&t, seed);
		tree_images(&t, 0);
		memset(&t.f, 0, sizeof(t.f));
		if (tree_prepare(&t) < 0) {
			bad++;
			CHECK(t.f.code && t.f.text[0]);
		}
		memset(&t.f, 0, sizeof(t.f));
		tree_end_worker(&t);
	}
	printf("# %d of 600 damaged dumps were refused\n", bad);
	CHECK(bad > 200);
	tree_end(&t);
}

int main(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);	/* the tasks' child becomes ours */
	check_run("damaged images are refused, not believed", damaged_images);
	return check_done();
}
