/* SPDX-License-Identifier: MIT */
/*
 * survey.c - stasis check PID: what a dump would do with each object of a running tree.
 *
 * The workers look at what is theirs with the code that dumps; nothing is stopped and nothing
 * changes, so what comes and goes meanwhile may be missed.
 *
 * Rights:   those of a dump.
 * Holds:    nothing.
 */
#include "coordinator/survey.h"

#include <errno.h>
#include <stdio.h>

#include "coordinator/crew.h"
#include "coordinator/devices.h"
#include "coordinator/kids.h"
#include "coordinator/preflight.h"
#include "proto/control/socket_list.h"
#include "proto/control/util.h"
#include "workers/common/procfs.h"

/* What was found, by worker. */
struct survey {
	Reply *files, *mem, *net, *gpu;
	int obstacles;
};

static int add_tasks(struct job *job, struct fault *f)
{
	AUTO_FREE pid_t *pids = NULL;
	struct proc_stat st;
	size_t i, n;

	if (preflight_walk(procfs_living_thread(job->opts->pid), &pids, &n, f) < 0)
		return -1;
	for (i = 0; i < n; i++) {
		struct fault gone = { 0 };
		struct task *t;

		if (procfs_stat(procfs_living_thread(pids[i]), 0, &st, &gone) < 0)
			continue;
		t = job_add_task(job, NULL);
		t->pid = t->vpid = pids[i];
		t->sid = st.sid;
		t->state = st.state == 'Z' || st.state == 'X' ? TASK_ZOMBIE : TASK_RUNNING;
	}
	if (!job->ntasks || job->tasks[0]->state == TASK_ZOMBIE)
		return fault(f, -ESRCH, "task %u does not exist or is dead", job->opts->pid);
	return 0;
}

static int ask_files(struct job *job, struct fault *f)
{
	AUTO_FREE DumpTask *tasks = xcalloc(job->ntasks, sizeof(*tasks));
	AUTO_FREE DumpTask **list = xcalloc(job->ntasks, sizeof(*list));
	NsId ns[KIDS_NAMESPACES], *ns_list[KIDS_NAMESPACES];
	FilesSurvey msg = FILES_SURVEY__INIT;
	Request req = REQUEST__INIT;
	size_t i;

	for (i = 0; i < job->ntasks; i++) {
		const struct task *t = job->tasks[i];

		list[i] = &tasks[i];
		dump_task__init(list[i]);
		tasks[i].pid = t->pid;
		tasks[i].vpid = t->vpid;
		tasks[i].sid = t->sid;
		tasks[i].has_dead = tasks[i].has_files_shared = true;
		tasks[i].dead = t->state == TASK_ZOMBIE;
		tasks[i].files_shared = t->files_shared;
	}
	kids_namespaces(job->tasks[0]->pid, ns);
	for (i = 0; i < KIDS_NAMESPACES; i++)
		ns_list[i] = &ns[i];
	msg.ns = ns_list;
	msg.n_ns = KIDS_NAMESPACES;
	msg.task = list;
	msg.n_task = job->ntasks;
	req.body_case = REQUEST__BODY_FILES_SURVEY;
	req.files_survey = &msg;
	return crew_send(job->crew, ROLE_FILES, STAGE__PREPARE, &req, NULL, 0, f);
}

static int ask_mem(struct job *job, struct fault *f)
{
	AUTO_FREE uint32_t *pids = NULL;
	MemSurvey msg = MEM_SURVEY__INIT;
	Request req = REQUEST__INIT;

	msg.pid = pids = job_living(job, &msg.n_pid);
	req.body_case = REQUEST__BODY_MEM_SURVEY;
	req.mem_survey = &msg;
	return crew_send(job->crew, ROLE_MEM, STAGE__PREPARE, &req, NULL, 0, f);
}

static int ask_net(struct job *job, struct survey *s, struct fault *f)
{
	NetSurvey msg = NET_SURVEY__INIT;
	Request req = REQUEST__INIT;

	msg.socket = s->files->files_surveyed->socket;
	if (!socket_list_count(msg.socket))
		return 0;
	req.body_case = REQUEST__BODY_NET_SURVEY;
	req.net_survey = &msg;
	if (crew_need(job, ROLE_NET, f) < 0 ||
	    crew_send(job->crew, ROLE_NET, STAGE__PREPARE, &req, NULL, 0, f) < 0)
		return -1;
	s->net = crew_answer(job->crew, ROLE_NET, REPLY__BODY_SURVEYED, f);
	return s->net ? 0 : -1;
}

static int ask_workers(struct job *job, struct survey *s, struct fault *f)
{
	if (ask_files(job, f) < 0 || ask_mem(job, f) < 0)
		return -1;
	s->mem = crew_answer(job->crew, ROLE_MEM, REPLY__BODY_SURVEYED, f);
	s->files = s->mem ? crew_answer(job->crew, ROLE_FILES, REPLY__BODY_FILES_SURVEYED, f) :
			    NULL;
	if (!s->files || ask_net(job, s, f) < 0)
		return -1;
	return devices_judge(job, s->files->files_surveyed->device,
			     s->files->files_surveyed->n_device, s->mem->surveyed->device,
			     s->mem->surveyed->n_device, &s->gpu, f);
}

static void print_obstacle(struct survey *s, const char *text)
{
	printf("    OBSTACLE: %s\n", text);
	s->obstacles++;
}

static void print_findings(struct survey *s, pid_t pid, Finding **list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (list[i]->pid != (uint32_t)pid)
			continue;
		if (list[i]->obstacle) {
			printf("  %s\n", list[i]->object);
			print_obstacle(s, list[i]->obstacle);
		} else {
			printf("  %-52s %s\n", list[i]->object, list[i]->deed);
		}
	}
}

static void print_task(struct survey *s, const struct preflight *pf, const struct task *t)
{
	struct proc_stat st = { 0 };
	struct fault why = { 0 };
	AUTO_FREE pid_t *tids = NULL;
	size_t n = 0;

	if (procfs_stat(procfs_living_thread(t->pid), 0, &st, &why) < 0)
		return;
	procfs_threads(t->pid, &tids, &n, &why);
	why = (struct fault){ 0 };
	if (t->state == TASK_ZOMBIE) {
		printf("task %d (%s), dead: dies again with its status\n", t->pid, st.comm);
		return;
	}
	printf("task %d (%s), %zu thread%s\n", t->pid, st.comm, n, n == 1 ? "" : "s");
	if (preflight_task(pf, t->pid, &why) < 0)
		print_obstacle(s, why.text);
	print_findings(s, t->pid, s->files->files_surveyed->finding,
		       s->files->files_surveyed->n_finding);
	if (s->net)
		print_findings(s, t->pid, s->net->surveyed->finding, s->net->surveyed->n_finding);
	if (s->gpu)
		print_findings(s, t->pid, s->gpu->surveyed->finding, s->gpu->surveyed->n_finding);
	print_findings(s, t->pid, s->mem->surveyed->finding, s->mem->surveyed->n_finding);
}

static void print_tree(struct job *job, struct survey *s, const struct fault *shared)
{
	struct preflight pf = { 0 };
	struct fault why = { 0 };
	size_t i;

	if (preflight_begin(&pf, job->tasks[0]->pid, &why) < 0 ||
	    preflight_session(job->tasks[0]->pid, job->tasks[0]->sid, job->opts, &why) < 0)
		print_obstacle(s, why.text);
	if (shared->code)
		print_obstacle(s, shared->text);
	for (i = 0; i < job->ntasks; i++)
		print_task(s, &pf, job->tasks[i]);
	if (s->obstacles)
		printf("%d obstacle%s: a dump with these options fails\n", s->obstacles,
		       s->obstacles == 1 ? "" : "s");
	else
		printf("no obstacle: a dump with these options succeeds\n");
}

static void free_replies(struct survey *s)
{
	Reply *all[] = { s->files, s->mem, s->net, s->gpu };
	size_t i;

	for (i = 0; i < ARRAY_LEN(all); i++)
		if (all[i])
			reply__free_unpacked(all[i], NULL);
}

/*
 * Do tasks share what they may not? One that has just been forked by vfork does for a moment, and
 * tasks come and go: while there are tries left that is EAGAIN, as in a dump; in the last one what
 * is shared still is an obstacle, and a task that is gone is none.
 */
static int find_shared(struct job *job, struct fault *shared, struct fault *f)
{
	if (kids_assign(job, shared) == 0)
		return 0;
	if (job->may_repeat && (shared->code == EAGAIN || shared->code == ESRCH))
		return fault(f, -EAGAIN, "%s", shared->text);
	if (shared->code == ESRCH)
		*shared = (struct fault){ 0 };
	return 0;
}

int survey(struct job *job, struct fault *f)
{
	struct survey s = { 0 };
	struct fault shared = { 0 };
	int r;

	if (crew_start(job, 1u << ROLE_MEM | 1u << ROLE_FILES, f) < 0 ||
	    add_tasks(job, f) < 0 || find_shared(job, &shared, f) < 0)
		return -1;
	r = ask_workers(job, &s, f);
	if (r == 0)
		print_tree(job, &s, &shared);
	free_replies(&s);
	devices_end(job, 0);
	devices_free(job);
	return r < 0 ? -1 : s.obstacles;
}
