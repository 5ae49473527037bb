/* SPDX-License-Identifier: MIT */
/*
 * gpu_refuse_test.c - what cannot be saved of AMD GPUs is refused by name, on a machine in memory.
 */
#include <sys/sysmacros.h>

#include "tests/unit/gpu_world.h"

static const struct refusal {
	const char *what;
	struct fake_ways ways;
	const char *says;
	bool late;			/* known when tasks stand still, and not before */
} refusals[] = {
	{ "list", { .no_list = true }, "6.18", false },
	{ "userptr", { 0 }, "userptr", false },
	{ "context", { 0 }, "context", false },
	{ "outside", { 0 }, "exported from outside", false },
	{ "import", { 0 }, "outside of the dump", false },
	{ "flags", { 0 }, "flags this version does not know", false },
	{ "hidden", { 0 }, "neither be exported nor seen", false },
	{ "old kfd", { .kfd_minor = 7 }, "1.7", true },
	{ "map", { 0 }, "no open file has this buffer", true },
	{ "ipc", { 0 }, "IPC", true },
};

static void make_refused(struct fake *w, struct scene *s, const char *what, DeviceMap *m)
{
	int vm[FAKE_GPUS] = { -1, -1 }, a = fake_open(w, 128), b = fake_open(w, 129), d;

	fake_create(w, a, PAGE, GTT, strcmp(what, "flags") ? 0 : 1u << 20);
	scene_add(s, 1, 7, a, false);
	if (strcmp(what, "userptr") == 0)
		fake_userptr(w, a, PAGE);
	if (strcmp(what, "context") == 0)
		fake_add_context(w, a);
	if (strcmp(what, "hidden") == 0)
		fake_create(w, a, PAGE, VRAM, U_VM_ALWAYS_VALID | U_NO_CPU_ACCESS);
	if (strcmp(what, "outside") == 0) {
		scene_add(s, 2, 7, fake_export(w, a, 1), false);
		fake_close_handle(w, a, 1);
	}
	if (strcmp(what, "import") == 0) {
		d = fake_export(w, a, 1);
		fake_import(w, b, d);
		close(d);
		fake_close_handle(w, a, 1);
		scene_add(s, 3, 8, b, false);
		b = -1;
	}
	if (strcmp(what, "old kfd") == 0 || strcmp(what, "ipc") == 0) {
		vm[0] = fake_open(w, 128);
		vm[1] = fake_open(w, 129);
		scene_add(s, 4, 9, fake_kfd_open(w, 9, vm, 0), true);
		scene_add(s, 5, 9, vm[0], false);
		scene_add(s, 6, 9, vm[1], false);
		close(fake_kfd_bo(w, 9, 0, 0x10000, PAGE, KFD_BO_VRAM, NULL));
	}
	if (strcmp(what, "map") == 0) {
		device_map__init(m);
		m->pid = 7;
		m->start = 0x1000;
		m->end = 0x2000;
		m->offset = fake_offset(w, a, 1);
		m->path = (char *)"/dev/dri/renderD128";
		m->dev = makedev(DRM_MAJOR, 128);
		fake_close_handle(w, a, 1);
		s->map[s->nmaps++] = m;
	}
	auto_close(&b);
}

/* Two KFD processes with one buffer: the fake makes one for each, so the second trace tells of the
 * first's. */
static int dump_ipc(struct scene *s, struct fake *w)
{
	struct device d = fake_device(w);
	struct fdstore *store = fdstore_new();
	struct botable *table = botable_new(&s->f);
	struct amd a = { 0 };
	DeviceFile m;
	char name[40];
	size_t i;
	int r = 0;

	op_begin(&a, &d, s->dir, store, table, &s->f);
	for (i = 0; i < 2; i++) {
		struct prop p = s->prop[1];

		p.id += i;
		scene_message(&p, &m, name, sizeof(name));
		if (op_wants_trace(&a, &m, p.fd, &s->f) != HOOK_DONE ||
		    scene_ask_tracer(&a, w, &p, &s->f) < 0)
			r = -1;
	}
	op_end(&a);
	botable_free(table);
	fdstore_free(store);
	return r;
}

/* What `check PID` says of all files: the first obstacle, in f. */
static int judge_scene(struct scene *s, struct fake *w, struct fault *f)
{
	struct device d = fake_device(w);
	struct fdstore *store = fdstore_new();
	struct botable *table = botable_new(f);
	const char *deed = NULL;
	struct amd a = { 0 };
	size_t i;
	int r = 0;

	op_begin(&a, &d, s->dir, store, table, f);
	for (i = 0; i < s->n && r == 0; i++)
		r = op_notice_file(&a, s->prop[i].fd, f);
	for (i = 0; i < s->n && r == 0; i++)
		r = op_judge_file(&a, s->prop[i].fd, &deed, f);
	op_end(&a);
	botable_free(table);
	fdstore_free(store);
	return r;
}

/* A dmabuf whose buffer no node has, beside KFD: only a dump can tell, and check says that. */
static void kfd_may_own_what_no_node_has(void)
{
	struct fake *w = fake_new(two_gpus, 2, &(struct fake_ways){ 0 });
	struct device d = fake_device(w);
	const char *deed = NULL;
	struct fault f = { 0 };
	struct amd a = { 0 };
	struct scene s;
	DeviceMap m;

	scene_begin(&s);
	make_refused(w, &s, "outside", &m);
	CHECK(op_begin(&a, &d, s.dir, NULL, NULL, &f) == 0);
	CHECK(op_judge_file(&a, s.prop[1].fd, &deed, &f) == HOOK_DONE);		/* a dump's look */
	CHECK(op_notice_file(&a, s.prop[0].fd, &f) == HOOK_DONE);
	CHECK(op_judge_file(&a, s.prop[1].fd, &deed, &f) == HOOK_FAILED);
	f = (struct fault){ 0 };
	make_refused(w, &s, "ipc", &m);		/* has KFD */
	CHECK(s.prop[3].kfd && op_notice_file(&a, s.prop[3].fd, &f) == HOOK_DONE);
	CHECK(op_judge_file(&a, s.prop[1].fd, &deed, &f) == HOOK_DONE &&
	      strstr(deed, "if KFD has"));
	op_end(&a);
	scene_end(&s);
	fake_free(w);
}

static void what_cannot_be_saved_is_refused(void)
{
	size_t i, open_before, had;
	DeviceMap m;
	struct scene s;

	for (i = 0; i < ARRAY_LEN(refusals); i++) {
		const struct refusal *r = &refusals[i];
		struct fake *w = fake_new(two_gpus, 2, &r->ways);

		scene_begin(&s);
		make_refused(w, &s, r->what, &m);
		open_before = fake_open_fds();
		if (!CHECK(r->late || (judge_scene(&s, w, &s.f) < 0 && strstr(s.f.text, r->says))))
			fprintf(stderr, "  %s, judged: %s\n", r->what, s.f.text);
		CHECK(fake_open_fds() == open_before);
		s.f = (struct fault){ 0 };
		if (!CHECK((strcmp(r->what, "ipc") ? scene_dump(&s, w) : dump_ipc(&s, w)) < 0 &&
			   strstr(s.f.text, r->says)))
			fprintf(stderr, "  %s: %s\n", r->what, s.f.text);
		had = fake_open_fds();
		CHECK(had == open_before);
		scene_end(&s);
		fake_free(w);
	}
}

int main(void)
{
	check_run("what cannot be saved is refused by name, nothing stays open",
		  what_cannot_be_saved_is_refused);
	check_run("of a buffer that no node has check tells, but where KFD may have it",
		  kfd_may_own_what_no_node_has);
	return check_done();
}
