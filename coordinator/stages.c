/* SPDX-License-Identifier: MIT */
/*
 * stages.c - run a stage table, undo it after a fault; the job and its tasks.
 *
 * Rights:   none.
 * Holds:    nothing; the job is the caller's.
 */
#include "coordinator/job.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "coordinator/crew.h"
#include "coordinator/trace.h"
#include "proto/control/util.h"
#include "workers/common/log.h"

int run_stages(const struct stage *s, size_t n, struct job *job, struct fault *f)
{
	size_t i;

	for (i = 0; i < n; i++) {
		log_info("stage %s", s[i].name);
		trace_edge(job->trace, s[i].name, EDGE__EDGE_BEGIN, NULL);
		if (s[i].run(job, f) < 0)
			break;
		trace_edge(job->trace, s[i].name, EDGE__EDGE_DONE, NULL);
		step(job, s[i].name);
	}
	if (i == n)
		return 0;
	log_info("stage %s failed: undoing", s[i].name);
	trace_edge(job->trace, s[i].name, EDGE__EDGE_FAILED, f->text);
	while (i-- > 0) {
		if (!s[i].undo)
			continue;
		trace_edge(job->trace, s[i].name, EDGE__EDGE_UNDO, NULL);
		s[i].undo(job);
		trace_edge(job->trace, s[i].name, EDGE__EDGE_UNDONE, NULL);
	}
	return -1;
}

struct task *job_add_task(struct job *job, struct task *parent)
{
	struct task *t = xcalloc(1, sizeof(*t)), **slot;

	t->pidfd = -1;
	t->parent = parent;
	slot = grow(&job->tasks, job->ntasks, &job->tasks_cap, sizeof(*slot));
	*slot = t;
	job->ntasks++;
	if (parent) {
		slot = grow(&parent->children, parent->nchildren, &parent->children_cap,
			    sizeof(*slot));
		*slot = t;
		parent->nchildren++;
	}
	return t;
}

void task_add_thread(struct task *t, pid_t tid, pid_t vtid)
{
	struct thread *th = grow(&t->threads, t->nthreads, &t->threads_cap, sizeof(*th));

	th->tid = tid;
	th->vtid = vtid;
	t->nthreads++;
}

uint32_t *job_living(const struct job *job, size_t *n)
{
	uint32_t *pids = xcalloc(job->ntasks, sizeof(*pids));
	size_t i;

	for (*n = i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->state != TASK_ZOMBIE)
			pids[(*n)++] = job->tasks[i]->pid;
	return pids;
}

uint64_t job_elapsed_us(const struct job *job)
{
	return elapsed_ns(&job->start) / 1000;
}

/* Tell a crash test how many steps there were. */
static void report_steps(const char *path, unsigned steps, const char *what)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd >= 0)
		dprintf(fd, "%u %s\n", steps, what);
}

/* The one that was named, if it runs; else each in turn. */
static void kill_a_worker(struct job *job)
{
	int i, named = job->step_orders.kill_worker;
	enum role roles[ROLE_COUNT];
	size_t n = 0;

	for (i = 0; i < ROLE_COUNT; i++)
		if (crew_has(job->crew, i) && (named < 0 || named == i))
			roles[n++] = i;
	if (n)
		crew_kill(job->crew, roles[job->steps % n]);
}

/*
 * Looked up once: a dump of 10,000 threads takes some 80,000 steps. A worker: "STEP" or
 * "STEP:NAME".
 */
static void read_step_orders(struct job *job)
{
	const char *at = getenv("STASIS_KILL_AT"), *worker_at = getenv("STASIS_KILL_WORKER_AT");
	const char *name = worker_at ? strchr(worker_at, ':') : NULL;

	job->step_orders.kill_worker = name ? crew_role(name + 1, strlen(name + 1)) : -1;
	job->step_orders.read = true;
	job->step_orders.kill_at = at ? atoi(at) : 0;
	job->step_orders.kill_worker_at = worker_at ? atoi(worker_at) : 0;
	job->step_orders.file = getenv("STASIS_STEPS_FILE");
}

void step(struct job *job, const char *what)
{
	if (!job->step_orders.read)
		read_step_orders(job);
	job->steps++;
	if (job->step_orders.file)
		report_steps(job->step_orders.file, job->steps, what);
	if (job->step_orders.kill_at == job->steps)
		raise(SIGKILL);
	if (job->step_orders.kill_worker_at == job->steps && job->crew)
		kill_a_worker(job);
}
