/* SPDX-License-Identifier: MIT */
/*
 * survey.c - look at the memory of running tasks: before a dump, for what their mappings' names
 * tell; for "stasis check PID", as a dump would.
 *
 * Both are the dump's own looks (collect.c), which change nothing.
 *
 * Rights:   those of collect.c.
 * Holds:    nothing between messages.
 */
#include "workers/mem/survey.h"

#include <errno.h>
#include <stdio.h>

#include "proto/control/util.h"
#include "workers/common/finding.h"
#include "workers/mem/collect.h"
#include "workers/mem/device_maps.h"
#include "workers/mem/vma.h"

int on_mem_preflight(struct call *c, struct fault *f)
{
	const MemPreflight *m = c->req->mem_preflight;
	MemPreflightDone *done = xcalloc(1, sizeof(*done));
	struct collection all = { .shmem_dev = 0 };
	size_t i;

	mem_preflight_done__init(done);
	c->rep->body_case = REPLY__BODY_MEM_PREFLIGHT_DONE;
	c->rep->mem_preflight_done = done;
	done->obstacle = xcalloc(m->n_pid, sizeof(*done->obstacle));
	for (i = 0; i < m->n_pid; i++) {
		if (collect_preflight(m->pid[i], &all, f) == 0)
			continue;
		done->obstacle[done->n_obstacle++] = xstrdup(f->text);
		*f = (struct fault){ 0 };
	}
	done->n_device = device_maps_take(&all, &done->device);
	device_maps_free(&all);
	mapped_free(&all.mapped);
	return 0;
}

/* Mappings that a dump treats alike: the first row whose bits a mapping's status has counts it. */
static const struct sort {
	uint32_t status;
	const char *name, *deed;
} sorts[] = {
	{ VMA_PLUGIN, "memory of devices", "left to drivers and plugins" },
	{ VMA_GUARD, "guard regions", "installed again" },
	{ VMA_VDSO, "vDSO", "moved to where it was, or calls are redirected" },
	{ VMA_VVAR, "data of the vDSO", "moved to where it was" },
	{ VMA_VSYSCALL, "vsyscall page", "every task has it" },
	{ VMA_UPROBES, "uprobes area", "left to the kernel" },
	{ VMA_SYSVIPC, "System V segments", "attached again; stored in case they are gone" },
	{ VMA_AIORING, "rings of asynchronous I/O", "set up again with their events" },
	{ VMA_MEMFD, "memory files", "stored with their contents" },
	{ VMA_ANON_SHARED, "shared memory", "stored once, shared again" },
	{ VMA_FILE_SHARED, "shared mappings of files", "mapped again by their paths" },
	{ VMA_FILE_PRIVATE, "private mappings of files", "mapped again; changed pages are stored" },
	{ VMA_ANON_PRIVATE, "private memory", "touched pages are stored" },
	{ 0, "other mappings", "mapped again" },
};

static void add(Surveyed *out, pid_t pid, const char *object, const char *deed,
		const struct fault *why)
{
	out->finding = xrealloc(out->finding, out->n_finding + 1, sizeof(*out->finding));
	out->finding[out->n_finding++] = finding_new(pid, object, deed, why);
}

static void add_sorts(const struct space *s, Surveyed *out)
{
	size_t count[ARRAY_LEN(sorts)] = { 0 }, i, k;
	uint64_t bytes[ARRAY_LEN(sorts)] = { 0 };
	const struct fault none = { 0 };
	char object[96];

	for (i = 0; i < s->n; i++) {
		const VmaEntry *e = &s->vma[i].e;

		for (k = 0; (e->status & sorts[k].status) != sorts[k].status; k++)
			;
		count[k]++;
		bytes[k] += e->end - e->start;
	}
	for (k = 0; k < ARRAY_LEN(sorts); k++) {
		if (!count[k])
			continue;
		snprintf(object, sizeof(object), "%s (%zu mapping%s, %llu KiB)", sorts[k].name,
			 count[k], count[k] == 1 ? "" : "s", (unsigned long long)bytes[k] / 1024);
		add(out, s->pid, object, sorts[k].deed, &none);
	}
}

static void survey_space(pid_t pid, struct collection *all, Surveyed *out)
{
	struct space s = { .pid = pid, .vpid = pid };
	struct fault why = { 0 };

	if (collect_space(&s, all, &why) == 0)
		add_sorts(&s, out);
	else if (why.code != ENOENT && why.code != ESRCH)
		add(out, pid, "memory", "not dumped", &why);
	space_free(&s);
}

int on_mem_survey(struct call *c, struct fault *f)
{
	const MemSurvey *req = c->req->mem_survey;
	struct collection all = { .allow_uprobes = c->worker->set.opts->allow_uprobes };
	Surveyed *done = xcalloc(1, sizeof(*done));
	size_t i;

	(void)f;
	surveyed__init(done);
	for (i = 0; i < req->n_pid; i++)
		survey_space(req->pid[i], &all, done);
	done->n_device = device_maps_take(&all, &done->device);
	device_maps_free(&all);
	mapped_free(&all.mapped);
	shmems_free(&all.shmems);
	shmems_free(&all.segments);
	c->rep->body_case = REPLY__BODY_SURVEYED;
	c->rep->surveyed = done;
	return 0;
}
