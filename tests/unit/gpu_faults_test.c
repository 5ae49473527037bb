/* SPDX-License-Identifier: MIT */
/*
 * gpu_faults_test.c - every call of a dump and of a restore fails once: the operation says so,
 * nothing stays open here, and what is dumped is as it was.
 */
#include "tests/unit/gpu_world.h"

/* A KFD process on two GPUs, a node of another task that imports its buffer, a dmabuf. */
static struct fake *make_world(struct scene *s)
{
	const struct fake_ways ways = { .no_contexts = true };
	struct fake *w = fake_new(two_gpus, 2, &ways);
	int vm[2], other, dmabuf;

	scene_begin(s);
	vm[0] = fake_open(w, 128);
	vm[1] = fake_open(w, 129);
	other = fake_open(w, 128);
	scene_add(s, 3, 60, other, false);
	scene_add(s, 1, 50, vm[0], false);
	scene_add(s, 4, 50, vm[1], false);
	scene_add(s, 2, 50, fake_kfd_open(w, 50, vm, 1), true);
	dmabuf = fake_kfd_bo(w, 50, 0, 0x7f0000000000, 4 * PAGE, KFD_BO_VRAM, NULL);
	fake_create(w, other, 2 * PAGE, GTT, 0);
	fake_create(w, other, 2 * PAGE, GTT, 0);
	fake_map(w, other, 2, 0x10000, 0, PAGE);
	fake_import(w, other, dmabuf);
	fake_close_handle(w, other, 1);
	with_buffer(w, other, 2, 5, true);
	with_kfd(w, 50, 0x7f0000000000, 4 * PAGE, 6, true);
	scene_add(s, 5, 70, dmabuf, false);
	return w;
}

/* What a failing call may be swallowed by: only calls whose failure has a meaning of its own. */
static void every_call_of_a_dump_fails_once(void)
{
	uint64_t n, calls, good = 0;
	struct scene s;
	struct fake *w = make_world(&s);
	AUTO_FREE char *before = fake_table(w, s.prop[0].fd);
	size_t open_before;

	calls = fake_calls(w);
	CHECK(scene_dump(&s, w) == 0);
	calls = fake_calls(w) - calls;
	fprintf(stderr, "%s%llu calls\n", s.f.text, (unsigned long long)calls);
	open_before = fake_open_fds();
	for (n = 1; n <= calls; n++) {
		AUTO_FREE char *after = NULL;

		s.f = (struct fault){ 0 };
		fake_fail(w, n, EIO);
		if (scene_dump(&s, w) == 0)
			good++;
		else
			CHECK(s.f.code && *s.f.text);
		after = fake_table(w, s.prop[0].fd);
		if (!CHECK(fake_open_fds() == open_before && strcmp(before, after) == 0))
			fprintf(stderr, "  call %llu: %s\n", (unsigned long long)n, s.f.text);
	}
	fake_fail(w, 0, 0);
	s.f = (struct fault){ 0 };
	CHECK(scene_dump(&s, w) == 0);
	/* Tried another way instead: sysfs names, metadata, whose node it is, the engine. */
	fprintf(stderr, "%llu of them were not needed\n", (unsigned long long)good);
	CHECK(good < calls / 2);
	scene_end(&s);
	fake_free(w);
}

static void every_call_of_a_restore_fails_once(void)
{
	uint64_t n, calls = 1, good = 0;
	struct scene s;
	struct fake *w = make_world(&s), *w2;

	CHECK(scene_dump(&s, w) == 0);
	for (n = 0; n <= calls; n++) {
		const struct fake_ways ways = { .no_contexts = true };
		size_t open_before = fake_open_fds();
		int r;

		w2 = fake_new(two_others, 2, &ways);
		fake_fail(w2, n, EIO);
		s.f = (struct fault){ 0 };
		r = scene_restore(&s, w2, NULL);
		CHECK(n ? r == 0 || (s.f.code && *s.f.text) : r == 0);
		if (!n)
			calls = fake_calls(w2);
		else if (r == 0)
			good++;
		if (r == 0) {		/* then it is whole */
			CHECK(with_buffer(w2, s.prop[0].restored, 2, 5, false));
			CHECK(with_kfd(w2, 50, 0x7f0000000000, 4 * PAGE, 6, false));
			CHECK(fake_key(w2, s.prop[0].restored, 3) ==
			      fake_kfd_key(w2, 50, 0x7f0000000000));
			CHECK(fake_resumed(w2, 50));
		}
		scene_close_restored(&s);
		fake_free(w2);
		if (!CHECK(fake_open_fds() == open_before))
			fprintf(stderr, "  call %llu: %s\n", (unsigned long long)n, s.f.text);
	}
	fprintf(stderr, "%llu calls, %llu of them were not needed\n", (unsigned long long)calls,
		(unsigned long long)good);
	CHECK(good < calls / 2);
	scene_end(&s);
	fake_free(w);
}

/* A directory that cannot be written to: the contents' fault is not lost in their thread. */
static void a_full_disk(void)
{
	struct scene s;
	struct fake *w = make_world(&s);
	size_t open_before = fake_open_fds();
	int images = s.dir;

	s.dir = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(scene_dump(&s, w) < 0 && strstr(s.f.text, "contents of"));
	close(s.dir);
	s.dir = images;
	CHECK(fake_open_fds() == open_before);
	scene_end(&s);
	fake_free(w);
}

int main(void)
{
	check_run("every call of a dump fails once", every_call_of_a_dump_fails_once);
	check_run("every call of a restore fails once", every_call_of_a_restore_fails_once);
	check_run("contents that cannot be written fail the dump", a_full_disk);
	return check_done();
}
