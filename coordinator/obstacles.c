/* SPDX-License-Identifier: MIT */
/*
 * obstacles.c - what would make a dump fail, asked of the workers before anything is stopped.
 *
 * Rights:   /proc of the tree.
 * Holds:    the pids that were judged, until obstacles_free.
 */
#include "coordinator/obstacles.h"

#include <errno.h>
#include <stdlib.h>

#include "coordinator/crew.h"
#include "coordinator/devices.h"
#include "coordinator/registers.h"
#include "coordinator/sockets.h"
#include "proto/control/socket_list.h"
#include "proto/control/util.h"
#include "workers/common/log.h"

/* Files looks at the root while the tree is walked; so the question is asked twice. */
static int ask_files(struct job *job, const pid_t *list, size_t n, struct fault *f)
{
	AUTO_FREE uint32_t *pids = xcalloc(n, sizeof(*pids));
	FilesPreflight msg = FILES_PREFLIGHT__INIT;
	Request req = REQUEST__INIT;
	size_t i;

	for (i = 0; i < n; i++)
		pids[i] = list[i];
	msg.pid = pids;
	msg.n_pid = n;
	req.body_case = REQUEST__BODY_FILES_PREFLIGHT;
	req.files_preflight = &msg;
	return crew_send(job->crew, ROLE_FILES, STAGE__PREPARE, &req, NULL, 0, f);
}

static int ask_mem(struct job *job, const struct obstacles *o, struct fault *f)
{
	AUTO_FREE uint32_t *pids = xcalloc(o->nwalked, sizeof(*pids));
	MemPreflight msg = MEM_PREFLIGHT__INIT;
	Request req = REQUEST__INIT;
	size_t i;

	for (i = 0; i < o->nwalked; i++)
		pids[i] = o->walked[i];
	msg.pid = pids;
	msg.n_pid = o->nwalked;
	req.body_case = REQUEST__BODY_MEM_PREFLIGHT;
	req.mem_preflight = &msg;
	return crew_send(job->crew, ROLE_MEM, STAGE__PREPARE, &req, NULL, 0, f);
}

/* The first obstacle is the fault, the others go to the log. */
static void note_obstacles(char *const *obstacle, size_t n, struct fault *f)
{
	size_t i = 0;

	if (n && !f->code)
		fault(f, -ENOTSUP, "%s", obstacle[i++]);
	for (; i < n; i++)
		log_warnx("%s", obstacle[i]);
}

/* Sockets and devices are judged together, in the end: one task may have the peer of another's. */
static void take_objects(FilesPreflightDone *all, FilesPreflightDone *from)
{
	size_t i;

	for (i = 0; i < socket_list_count(from->socket); i++) {
		const struct socket_ref s = socket_list_at(from->socket, i);

		socket_list_add(&all->socket, &s);
	}
	all->device = xrealloc(all->device, all->n_device + from->n_device, sizeof(*all->device));
	for (i = 0; i < from->n_device; i++)
		all->device[all->n_device++] = from->device[i];
	from->n_device = 0;
}

static int files_obstacles(struct job *job, FilesPreflightDone *all, struct fault *found,
			   struct fault *f)
{
	Reply *rep = crew_answer(job->crew, ROLE_FILES, REPLY__BODY_FILES_PREFLIGHT_DONE, f);
	FilesPreflightDone *done;
	int r;

	if (!rep)
		return -1;
	done = rep->files_preflight_done;
	r = socket_list_check(done->socket, f);
	if (r == 0) {
		take_objects(all, done);
		note_obstacles(done->obstacle, done->n_obstacle, found);
	}
	reply__free_unpacked(rep, NULL);
	return r;
}

static int socket_obstacles(struct job *job, FilesPreflightDone *all, struct fault *found,
			    struct fault *f)
{
	if (socket_list_count(all->socket) && sockets_preflight(job, all, f) < 0)
		return -1;
	note_obstacles(all->obstacle, all->n_obstacle, found);
	return 0;
}

/* *rep: the answer, the caller's. */
static int mem_obstacles(struct job *job, struct fault *found, Reply **rep, struct fault *f)
{
	const MemPreflightDone *done;

	*rep = crew_answer(job->crew, ROLE_MEM, REPLY__BODY_MEM_PREFLIGHT_DONE, f);
	if (!*rep)
		return -1;
	done = (*rep)->mem_preflight_done;
	note_obstacles(done->obstacle, done->n_obstacle, found);
	return 0;
}

static int device_obstacles(struct job *job, const FilesPreflightDone *files,
			    const MemPreflightDone *mem, struct fault *found, struct fault *f)
{
	Reply *rep;
	size_t i;

	if (devices_judge(job, files->device, files->n_device, mem->device, mem->n_device, &rep,
			  f) < 0)
		return -1;
	for (i = 0; rep && i < rep->surveyed->n_finding; i++)
		if (rep->surveyed->finding[i]->obstacle)
			note_obstacles(&rep->surveyed->finding[i]->obstacle, 1, found);
	if (rep)
		reply__free_unpacked(rep, NULL);
	return 0;
}

static int take_answers(struct job *job, unsigned files_asked, struct fault *f)
{
	FilesPreflightDone *all = xcalloc(1, sizeof(*all));
	struct fault found = { 0 };
	Reply *mem = NULL;
	int r = 0;

	files_preflight_done__init(all);
	while (r == 0 && files_asked--)
		r = files_obstacles(job, all, &found, f);
	if (r == 0)
		r = socket_obstacles(job, all, &found, f);
	if (r == 0)
		r = mem_obstacles(job, &found, &mem, f);
	if (r == 0)
		r = device_obstacles(job, all, mem->mem_preflight_done, &found, f);
	files_preflight_done__free_unpacked(all, NULL);
	if (mem)
		reply__free_unpacked(mem, NULL);
	if (r < 0)
		return -1;
	return found.code ? fault(f, -found.code, "%s", found.text) : 0;
}

static int find(struct job *job, struct obstacles *o, struct fault *f)
{
	pid_t root = procfs_living_thread(job->opts->pid);
	size_t i;

	/* The root is first in the walk, too. */
	if (ask_files(job, &root, 1, f) < 0 ||
	    preflight_walk(root, &o->walked, &o->nwalked, f) < 0 ||
	    (o->nwalked > 1 && ask_files(job, o->walked + 1, o->nwalked - 1, f) < 0) ||
	    ask_mem(job, o, f) < 0)
		return -1;
	registers_prepare();
	if (preflight_begin(&o->preflight, root, f) < 0)
		return -1;
	for (i = 0; i < o->nwalked; i++)
		if (preflight_task(&o->preflight, o->walked[i], f) < 0)
			return -1;
	return take_answers(job, o->nwalked > 1 ? 2 : 1, f);
}

int obstacles_find(struct job *job, struct obstacles *o, struct fault *f)
{
	if (find(job, o, f) == 0)
		return 0;
	crew_quiesce(job->crew);
	return -1;
}

static int by_pid(const void *a, const void *b)
{
	return *(const pid_t *)a - *(const pid_t *)b;
}

int obstacles_of_new(struct job *job, struct obstacles *o, struct fault *f)
{
	size_t i;

	qsort(o->walked, o->nwalked, sizeof(*o->walked), by_pid);
	for (i = 0; i < job->ntasks; i++) {
		pid_t pid = job->tasks[i]->pid;

		if (!bsearch(&pid, o->walked, o->nwalked, sizeof(pid), by_pid) &&
		    preflight_task(&o->preflight, pid, f) < 0)
			return -1;
	}
	return 0;
}

void obstacles_free(struct obstacles *o)
{
	free(take_ptr(&o->walked));
}
