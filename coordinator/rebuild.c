/* SPDX-License-Identifier: MIT */
/*
 * rebuild.c - a restore's requests to the mem and files workers.
 *
 * Rights:   none.
 * Holds:    the replies to Prepare (births.prepared): the tasks' needs point into them.
 */
#include "coordinator/rebuild.h"

#include <errno.h>
#include <unistd.h>

#include "coordinator/births.h"
#include "coordinator/crew.h"
#include "coordinator/devices.h"
#include "coordinator/sockets.h"
#include "coordinator/tree_load.h"
#include "proto/control/util.h"
#include "workers/common/keeper.h"
#include "workers/common/log.h"
#include "workers/common/spare.h"

#define FIRST_FD 1		/* above the gate memory: the tables hold nothing else yet */

/* ---- prepare ---- */

static void fill_task(const struct task *t, RestoreTask *e)
{
	restore_task__init(e);
	e->pid = t->pid;
	e->has_ppid = true;
	e->ppid = t->parent ? t->parent->pid : 0;
	e->vm_id = t->vm_id;
	e->files_id = t->files_id;
	e->fs_id = t->fs_id;
	e->has_files_shared = e->has_fs_shared = e->has_dead = e->has_sid = e->has_pgid = true;
	e->files_shared = t->files_shared;
	e->fs_shared = t->fs_shared;
	e->dead = t->state == TASK_ZOMBIE;
	e->sid = t->sid;
	e->pgid = t->pgid;
}

void rebuild_describe(const struct job *job, RestoreTask *tasks, RestoreTask **list)
{
	size_t i;

	for (i = 0; i < job->ntasks; i++) {
		list[i] = &tasks[i];
		fill_task(job->tasks[i], list[i]);
	}
}

int rebuild_ask(struct job *job, struct fault *f)
{
	AUTO_FREE RestoreTask *tasks = xcalloc(job->ntasks, sizeof(*tasks));
	AUTO_FREE RestoreTask **list = xcalloc(job->ntasks, sizeof(*list));
	MemPrepare mem = MEM_PREPARE__INIT;
	FilesPrepare files = FILES_PREPARE__INIT;
	Request req = REQUEST__INIT;

	rebuild_describe(job, tasks, list);
	mem.task = files.task = list;
	mem.n_task = files.n_task = job->ntasks;
	req.body_case = REQUEST__BODY_FILES_PREPARE;
	req.files_prepare = &files;
	if (crew_send(job->crew, ROLE_FILES, STAGE__PREPARE, &req, NULL, 0, f) < 0)
		return -1;
	req.body_case = REQUEST__BODY_MEM_PREPARE;
	req.mem_prepare = &mem;
	if (crew_send(job->crew, ROLE_MEM, STAGE__PREPARE, &req, NULL, 0, f) < 0)
		return -1;
	/* CRIU locks the network of a tree without sockets too: net unlocks it. */
	return job->has_sockets || job->network_lock == NETWORK_LOCK_NFTABLES ?
		       sockets_prepare(job, f) : 0;
}

static struct birth *birth_by_pid(struct job *job, size_t i, pid_t pid)
{
	struct task *t = i < job->ntasks && job->tasks[i]->pid == pid ? job->tasks[i] :
									tree_find(job, pid);

	return t ? birth_of(t) : NULL;
}

static int learn_memory(struct job *job, MemPrepared *m, struct fault *f)
{
	struct births *p = births_of(job);
	struct birth *b;
	size_t i;

	p->gaps = m->gap;
	p->ngaps = m->n_gap;
	for (i = 0; i < m->n_task; i++) {
		const MemNeeds *n = m->task[i];

		b = birth_by_pid(job, i, n->pid);
		if (!b || n->n_file_id != n->n_file_flags)
			return fault(f, -EPROTO, "the mem worker tells of task %u, which is not in "
				     "the tree", n->pid);
		b->fill_first = n->has_fill_before_fork && n->fill_before_fork;
		b->inherits = n->has_inherits && n->inherits;
		b->nmapped = n->n_file_id;
		b->mapped_id = n->file_id;
		b->mapped_flags = n->file_flags;
		b->dumpable = n->has_dumpable ? n->dumpable : -1;
	}
	return 0;
}

static int learn_files(struct job *job, struct fault *f)
{
	Reply *rep = crew_answer(job->crew, ROLE_FILES, REPLY__BODY_FILES_PREPARED, f);
	const FilesPrepared *files;
	size_t i;
	int r = 0;

	if (!rep)
		return -1;
	files = rep->files_prepared;
	births_of(job)->keep_files = files->has_host_objects;
	for (i = 0; i < files->n_task; i++) {
		struct birth *b = birth_by_pid(job, i, files->task[i]->pid);

		if (b)
			b->max_fd = files->task[i]->max_fd;
	}
	if (files->has_sockets && !births_of(job)->sockets_asked)
		r = sockets_prepare(job, f);
	if (r == 0)
		r = devices_prepare(job, files, births_of(job)->prepared->mem_prepared, f);
	reply__free_unpacked(rep, NULL);
	return r == 0 && births_of(job)->sockets_asked ? sockets_prepared(job, f) : r;
}

int rebuild_learn(struct job *job, struct fault *f)
{
	struct births *p = births_of(job);
	Reply *rep = crew_answer(job->crew, ROLE_MEM, REPLY__BODY_MEM_PREPARED, f);

	if (!rep)
		return -1;
	p->prepared = rep;
	p->keep_mem = rep->mem_prepared->has_segments;
	p->memory_files_made = !rep->mem_prepared->has_memory_files;
	if (learn_memory(job, rep->mem_prepared, f) < 0)
		return -1;
	return learn_files(job, f);
}

/* The first number above all that the task's table, and its mapped files, use. */
static uint32_t first_spare(const struct task *t)
{
	const struct birth *b = birth_of(t);
	uint32_t mapped = FIRST_FD + b->nmapped;

	return b->max_fd + 1 > mapped ? b->max_fd + 1 : mapped;
}

uint32_t rebuild_last_fd(const struct task *t)
{
	const uint32_t first = first_spare(t), others = SPARE_GPU + SPARE_GPU_USUAL;
	/* No more are fetched than stand below; more than SPARE_FETCHED are not fetched at all. */
	const uint32_t fetched = (first < SPARE_FETCHED ? first : SPARE_FETCHED) + SPARE_BESIDES;

	return first + (fetched > others ? fetched : others) - 1;
}

size_t rebuild_spare_fds(const struct job *job, enum role role, SpareFd *spare, SpareFd **list)
{
	size_t i, n = 0;

	for (i = 0; i < job->ntasks; i++) {
		const struct task *t = job->tasks[i];

		if (t->state == TASK_ZOMBIE)
			continue;
		list[n] = &spare[n];
		spare_fd__init(list[n]);
		list[n]->pid = t->pid;
		list[n++]->fd = first_spare(t) + (role == ROLE_GPU ? SPARE_GPU : SPARE_NET);
	}
	return n;
}

/* ---- gates ---- */

/* Does this worker do something in tasks? */
static bool needs_gates(const struct job *job, enum role role)
{
	return role == ROLE_MEM || role == ROLE_FILES ||
	       (role == ROLE_NET && births_of(job)->sockets) ||
	       (role == ROLE_GPU && crew_has(job->crew, ROLE_GPU));
}

static void fill_place(const struct task *t, GatePlace *e)
{
	const struct gate_place *w = gate_place(t->gate);

	gate_place__init(e);
	e->pid = w->pid;
	e->file_offset = w->file_offset;
	e->address = w->base;
	e->size = w->size;
	e->nmailboxes = w->nmailboxes;
}

/*
 * Tell the workers where the agents of these tasks are; they know of those told before. What is
 * asked next need not wait for their answers (gates_known).
 */
static int tell_gates(struct job *job, struct task **tasks, size_t n, struct fault *f)
{
	struct births *p = births_of(job);
	AUTO_FREE GatePlace *places = xcalloc(n, sizeof(*places));
	AUTO_FREE GatePlace **list = xcalloc(n, sizeof(*list));
	Gates gates = GATES__INIT;
	Request req = REQUEST__INIT;
	size_t i;
	int role;

	for (i = 0; i < n; i++) {
		if (birth_of(tasks[i])->told || tasks[i]->state == TASK_ZOMBIE)
			continue;
		birth_of(tasks[i])->told = true;
		list[gates.n_place] = &places[gates.n_place];
		fill_place(tasks[i], list[gates.n_place++]);
	}
	if (!gates.n_place)
		return 0;
	gates.place = list;
	gates.has_has_fd = true;
	gates.has_fd = !p->told;
	req.body_case = REQUEST__BODY_GATES;
	req.gates = &gates;
	for (role = 0; role < ROLE_COUNT; role++)
		if (needs_gates(job, role) && crew_send(job->crew, role, STAGE__FORKING, &req,
							&p->memory, p->told ? 0 : 1, f) < 0)
			return -1;
	p->told = p->telling = true;
	return 0;
}

int rebuild_tell(struct job *job, struct fault *f)
{
	return tell_gates(job, job->tasks, job->ntasks, f);
}

static int gates_known(struct job *job, struct fault *f)
{
	struct births *p = births_of(job);
	int role;

	for (role = 0; p->telling && role < ROLE_COUNT; role++)
		if (needs_gates(job, role) && crew_wait(job->crew, role, NULL, f) < 0)
			return -1;
	p->telling = false;
	return 0;
}

/* ---- memory ---- */

/* mem makes memory files, with their contents; files opens them for descriptors and mappings. */
static int make_memory_files(struct job *job, struct fault *f)
{
	MemMakeFiles make = MEM_MAKE_FILES__INIT;
	FilesTakeMemory take = FILES_TAKE_MEMORY__INIT;
	Request req = REQUEST__INIT;
	Reply *rep;
	AUTO_FREE int *fds = NULL;
	size_t i, n;
	int r;

	births_of(job)->memory_files_made = true;
	if (gates_known(job, f) < 0)
		return -1;
	req.body_case = REQUEST__BODY_MEM_MAKE_FILES;
	req.mem_make_files = &make;
	rep = crew_ask_for(job->crew, ROLE_MEM, STAGE__RESTORE, &req, REPLY__BODY_MEM_FILES_MADE,
			   f);
	if (!rep)
		return -1;
	take.inode_id = rep->mem_files_made->inode_id;
	n = take.n_inode_id = rep->mem_files_made->n_inode_id;
	fds = xcalloc(n, sizeof(*fds));
	r = crew_recv_fds(job->crew, ROLE_MEM, fds, n, f);
	if (r == 0) {
		req.body_case = REQUEST__BODY_FILES_TAKE_MEMORY;
		req.files_take_memory = &take;
		r = crew_send(job->crew, ROLE_FILES, STAGE__RESTORE, &req, fds, n, f);
		for (i = 0; i < n; i++)
			close(fds[i]);
		if (r == 0)
			r = crew_wait(job->crew, ROLE_FILES, NULL, f);
	}
	reply__free_unpacked(rep, NULL);
	return r;
}

static int install_mapped(struct job *job, struct task **tasks, size_t n, struct fault *f)
{
	AUTO_FREE MappedWant *wants = xcalloc(n, sizeof(*wants));
	AUTO_FREE MappedWant **list = xcalloc(n, sizeof(*list));
	FilesInstallMapped msg = FILES_INSTALL_MAPPED__INIT;
	Request req = REQUEST__INIT;
	size_t i;

	for (i = 0; i < n; i++) {
		const struct birth *b = birth_of(tasks[i]);

		mapped_want__init(&wants[i]);
		wants[i].pid = tasks[i]->pid;
		wants[i].first_fd = FIRST_FD;
		wants[i].file_id = b->mapped_id;
		wants[i].flags = b->mapped_flags;
		wants[i].n_file_id = wants[i].n_flags = b->nmapped;
		list[i] = &wants[i];
	}
	msg.want = list;
	msg.n_want = n;
	req.body_case = REQUEST__BODY_FILES_INSTALL_MAPPED;
	req.files_install_mapped = &msg;
	if (crew_send(job->crew, ROLE_FILES, STAGE__RESTORE, &req, NULL, 0, f) < 0 ||
	    gates_known(job, f) < 0)
		return -1;
	return crew_wait(job->crew, ROLE_FILES, NULL, f);
}

static int build(struct job *job, struct task **tasks, size_t n, struct fault *f)
{
	AUTO_FREE MemBuildTask *builds = xcalloc(n, sizeof(*builds));
	AUTO_FREE MemBuildTask **list = xcalloc(n, sizeof(*list));
	MemBuild msg = MEM_BUILD__INIT;
	Request req = REQUEST__INIT;
	size_t i;

	for (i = 0; i < n; i++) {
		const struct birth *b = birth_of(tasks[i]);

		mem_build_task__init(&builds[i]);
		builds[i].pid = tasks[i]->pid;
		builds[i].first_fd = FIRST_FD;
		builds[i].has_inherited = true;
		builds[i].inherited = b->inherits && b->maker && birth_of(b->maker)->built;
		list[i] = &builds[i];
	}
	msg.task = list;
	msg.n_task = n;
	req.body_case = REQUEST__BODY_MEM_BUILD;
	req.mem_build = &msg;
	return crew_ask(job->crew, ROLE_MEM, STAGE__RESTORE, &req, NULL, f);
}

/*
 * Descriptors on their way to mmap stand in the task's own table, so of the tasks that
 * share a table one is built at a time. Returns how many are in the round.
 */
static size_t pick_round(struct task **tasks, size_t n, struct task **round)
{
	size_t i, k, picked = 0;

	for (i = 0; i < n; i++) {
		if (birth_of(tasks[i])->built || tasks[i]->state == TASK_ZOMBIE)
			continue;
		for (k = 0; k < picked; k++)
			if (tasks[i]->files_shared && round[k]->files_id == tasks[i]->files_id)
				break;
		if (k == picked)
			round[picked++] = tasks[i];
	}
	return picked;
}

static int ask_create(struct job *job, struct fault *f)
{
	FilesCreate msg = FILES_CREATE__INIT;
	Request req = REQUEST__INIT;

	req.body_case = REQUEST__BODY_FILES_CREATE;
	req.files_create = &msg;
	msg.n_lend = sockets_flying(job, &msg.lend);
	births_of(job)->creating = true;
	if (sockets_create(job, f) < 0 || devices_create(job, f) < 0)
		return -1;
	return crew_send(job->crew, ROLE_FILES, STAGE__RESTORE, &req, NULL, 0, f);
}

/* Is this round of k the last of all? */
static bool is_last(const struct job *job, size_t k)
{
	size_t i;

	for (i = 0; i < job->ntasks; i++)
		if (!birth_of(job->tasks[i])->built && job->tasks[i]->state != TASK_ZOMBIE && !k--)
			return false;
	return true;
}

int rebuild_memory(struct job *job, struct task **tasks, size_t n, struct fault *f)
{
	AUTO_FREE struct task **round = xcalloc(n, sizeof(*round));
	size_t k;

	if (tell_gates(job, tasks, n, f) < 0)
		return -1;
	if (!births_of(job)->memory_files_made && make_memory_files(job, f) < 0)
		return -1;
	while ((k = pick_round(tasks, n, round))) {
		if (install_mapped(job, round, k, f) < 0)
			return -1;
		/* No more maps to install: files creates while mem builds. */
		if (is_last(job, k) && ask_create(job, f) < 0)
			return -1;
		if (build(job, round, k, f) < 0)
			return -1;
		while (k-- > 0)
			birth_of(round[k])->built = true;
	}
	return gates_known(job, f);
}

/* ---- the rest ---- */

static int files_created(struct job *job, struct fault *f)
{
	struct births *p = births_of(job);

	if (!p->creating)
		return 0;
	p->creating = false;
	return crew_wait(job->crew, ROLE_FILES, NULL, f);
}

int rebuild_files(struct job *job, struct fault *f)
{
	const struct births *p = births_of(job);
	AUTO_FREE uint32_t *pids = NULL;
	FilesRestore msg = FILES_RESTORE__INIT;
	Request req = REQUEST__INIT;

	msg.pid = pids = job_living(job, &msg.n_pid);
	req.body_case = REQUEST__BODY_FILES_RESTORE;
	req.files_restore = &msg;
	/*
	 * Sockets and devices are passed in between; without any the answer to the first need not
	 * be waited for.
	 */
	if ((p->sockets || crew_has(job->crew, ROLE_GPU)) && files_created(job, f) < 0)
		return -1;
	if (devices_pass(job, f) < 0 || sockets_pass(job, f) < 0 ||
	    crew_send(job->crew, ROLE_FILES, STAGE__RESTORE, &req, NULL, 0, f) < 0 ||
	    files_created(job, f) < 0 || crew_wait(job->crew, ROLE_FILES, NULL, f) < 0)
		return -1;
	return sockets_fill(job, f);
}

static int take_figures(struct job *job, struct fault *f)
{
	const MemFinished *m;
	Reply *rep = NULL;

	if (crew_wait(job->crew, ROLE_MEM, &rep, f) < 0)
		return -1;
	if (rep->body_case == REPLY__BODY_MEM_FINISHED) {
		m = rep->mem_finished;
		job->pages.compared = m->pages_compared;
		job->pages.skipped_cow = m->pages_skipped_cow;
		job->pages.restored = m->pages_restored;
	}
	reply__free_unpacked(rep, NULL);
	return 0;
}

/* From now on it is our end, or our word, that decides about the host objects a worker made. */
static int take_keepers(struct job *job, enum role role, struct fault *f)
{
	struct births *p = births_of(job);
	FilesKeep files = FILES_KEEP__INIT;
	MemKeep mem = MEM_KEEP__INIT;
	NetKeep net = NET_KEEP__INIT;
	Request req = REQUEST__INIT;
	Reply *rep = NULL;
	size_t n;

	if (role == ROLE_MEM) {
		req.body_case = REQUEST__BODY_MEM_KEEP;
		req.mem_keep = &mem;
	} else if (role == ROLE_FILES) {
		req.body_case = REQUEST__BODY_FILES_KEEP;
		req.files_keep = &files;
	} else {
		req.body_case = REQUEST__BODY_NET_KEEP;
		req.net_keep = &net;
	}
	if (crew_ask(job->crew, role, STAGE__RELEASE, &req, &rep, f) < 0)
		return -1;
	n = rep->body_case == REPLY__BODY_KEEPERS ? rep->keepers->n : 0;
	reply__free_unpacked(rep, NULL);
	if (!n)
		return 0;
	p->keeper = xrealloc(p->keeper, p->nkeepers + n, sizeof(*p->keeper));
	if (crew_recv_fds(job->crew, role, p->keeper + p->nkeepers, n, f) < 0)
		return -1;
	p->nkeepers += n;
	return 0;
}

int rebuild_finish(struct job *job, struct fault *f)
{
	MemFinish mem = MEM_FINISH__INIT;
	FilesFinish files = FILES_FINISH__INIT;
	Request req = REQUEST__INIT;

	req.body_case = REQUEST__BODY_MEM_FINISH;
	req.mem_finish = &mem;
	if (crew_send(job->crew, ROLE_MEM, STAGE__RELEASE, &req, NULL, 0, f) < 0)
		return -1;
	req.body_case = REQUEST__BODY_FILES_FINISH;
	req.files_finish = &files;
	if (crew_send(job->crew, ROLE_FILES, STAGE__RELEASE, &req, NULL, 0, f) < 0 ||
	    take_figures(job, f) < 0 || crew_wait(job->crew, ROLE_FILES, NULL, f) < 0)
		return -1;
	if ((births_of(job)->keep_mem && take_keepers(job, ROLE_MEM, f) < 0) ||
	    (births_of(job)->keep_files && take_keepers(job, ROLE_FILES, f) < 0) ||
	    (births_of(job)->keep_net && take_keepers(job, ROLE_NET, f) < 0))
		return -1;
	crew_retire(job->crew, ROLE_MEM);
	crew_retire(job->crew, ROLE_FILES);
	return 0;
}

void rebuild_keep(struct job *job)
{
	struct births *p = births_of(job);

	if (!keeper_decide(p->keeper, p->nkeepers, true))
		log_warnx("objects of the host that were made cannot be kept");
	p->nkeepers = 0;
}
