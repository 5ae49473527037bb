/* SPDX-License-Identifier: MIT */
/*
 * births.c - sessions and process groups of the tree: find makers, order and helpers.
 *
 * Rights:   none.
 * Holds:    the plan, until plan_free.
 */
#include "coordinator/births.h"

#include <errno.h>

#include "coordinator/inherited.h"
#include "coordinator/tree_load.h"
#include "proto/control/util.h"
#include "workers/common/keeper.h"
#include "workers/common/log.h"

#define ATTEMPTS 300		/* at an order in which a tree can be planned */

static void append(struct task ***list, size_t *n, size_t *cap, struct task *t)
{
	struct task **slot = grow(list, *n, cap, sizeof(*slot));

	*slot = t;
	(*n)++;
}

static bool leads_session(const struct task *t)
{
	return t->sid == t->vpid;
}

/* ---- the root's session and group ---- */

/* A number that becomes ours must not mean something else in the tree. */
static int must_be_foreign(const struct job *job, pid_t id, struct fault *f)
{
	size_t i;

	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->vpid == id || job->tasks[i]->sid == id ||
		    job->tasks[i]->pgid == id)
			return fault(f, -EEXIST, "our own session or group %d is also one of task "
				     "%d in the images; restore from another terminal", id,
				     job->tasks[i]->pid);
	return 0;
}

/* --shell-job: the tree joins our session, and our group unless the root leads one. */
static int adopt_root(struct job *job, struct fault *f)
{
	struct task *root = job->tasks[0], *t;
	struct births *p = births_of(job);
	pid_t sid = root->sid, group = root->pgid == root->vpid ? sid : root->pgid;
	pid_t new_group = root->pgid == root->vpid ? p->our_sid : p->our_pgid;
	size_t i;

	if (leads_session(root))
		return 0;
	if (!job->opts->shell_job)
		return fault(f, -EINVAL, "the root task %d is not a session leader; use "
			     "--shell-job to attach it to the session of this command", root->pid);
	if (sid != p->our_sid && must_be_foreign(job, p->our_sid, f) < 0)
		return -1;
	if (group != new_group && new_group != p->our_sid && must_be_foreign(job, new_group, f) < 0)
		return -1;
	for (i = 0; i < job->ntasks; i++) {
		t = job->tasks[i];
		if (t->sid == sid)
			t->sid = p->our_sid;
		if (t->pgid == group)
			t->pgid = new_group;
	}
	return 0;
}

/* ---- sessions ---- */

static void set_maker(struct task *t, struct task *maker)
{
	birth_of(t)->maker = maker;
	append(&birth_of(maker)->made, &birth_of(maker)->nmade, &birth_of(maker)->made_cap, t);
}

/*
 * Can t be born in this session, and a child of it before it calls setsid? Marks the way there:
 * every task between must be a session leader now and be forked early.
 */
static bool born_in(struct births *p, struct task *t, pid_t sid)
{
	struct task *above = t->parent;
	struct birth *b = birth_of(t);

	if (b->born_sid)
		return b->born_sid == sid;
	if (!above) {
		if (p->our_sid != sid)
			return false;
	} else if (above->sid != sid) {
		if (!leads_session(above) || !born_in(p, above, sid))
			return false;
		b->early = true;
	}
	b->born_sid = sid;
	return true;
}

/* A pid that neither the tree nor anybody else has; the highest are rarely taken. */
static pid_t free_pid(const struct job *job, struct fault *f)
{
	const struct births *p = births_of(job);
	size_t i, k;
	pid_t pid;

	for (pid = 32767; pid > 300; pid--) {
		bool taken = id_in_use(pid);

		for (i = 0; i < job->ntasks && !taken; i++) {
			taken = job->tasks[i]->sid == pid || job->tasks[i]->pgid == pid;
			for (k = 0; k < job->tasks[i]->nthreads && !taken; k++)
				taken = job->tasks[i]->threads[k].tid == pid;
		}
		for (i = 0; i < p->nhelpers && !taken; i++)
			taken = p->helpers[i]->pid == pid;
		if (!taken)
			return pid;
	}
	return fault(f, -EAGAIN, "no free pid for a helper task");
}

static struct task *add_helper(struct job *job, struct task *maker, pid_t pid, pid_t sid,
			       pid_t pgid)
{
	struct births *p = births_of(job);
	struct task *h = xcalloc(1, sizeof(*h));
	struct birth *b = xcalloc(1, sizeof(*b));

	h->pidfd = -1;
	h->pid = h->vpid = pid;
	h->sid = sid;
	h->pgid = pgid;
	h->parent = maker;
	h->priv = b;
	b->helper = true;
	b->dumpable = -1;
	task_add_thread(h, pid, pid);
	set_maker(h, maker);
	append(&p->helpers, &p->nhelpers, &p->helpers_cap, h);
	log_info("helper %d leads session %d, group %d", pid, sid, pgid);
	return h;
}

static struct task *find_helper(const struct births *p, pid_t pid)
{
	size_t i;

	for (i = 0; i < p->nhelpers; i++)
		if (p->helpers[i]->pid == pid)
			return p->helpers[i];
	return NULL;
}

/*
 * Is t to be forked below `above`? If it ends there, with nobody else adopting, that one gets its
 * children. A maker found later is below the parent too, so the answer stays.
 */
static bool is_below(const struct task *t, const struct task *above)
{
	do
		t = birth_of(t)->maker ? birth_of(t)->maker : t->parent;
	while (t && t != above);
	return t;
}

/* A helper in the session of a leader, whose children heir is to inherit. */
static struct task *helper_beside(struct job *job, struct task *leader, struct task *heir,
				  struct fault *f)
{
	struct birth *b = birth_of(leader);
	struct task *h;
	pid_t pid;
	size_t i;

	for (i = 0; i < b->nmade; i++)
		if (birth_of(b->made[i])->heir == heir && b->made[i]->sid == leader->vpid)
			return b->made[i];
	pid = free_pid(job, f);
	if (pid < 0)
		return NULL;
	h = add_helper(job, leader, pid, leader->vpid, leader->vpid);
	birth_of(h)->heir = heir;
	return h;
}

/* Who can fork a task in this session and end, so that heir inherits it. NULL: nobody. */
static struct task *find_maker(struct job *job, struct task *heir, pid_t sid, struct fault *f)
{
	struct task *leader = tree_find(job, sid);

	if (!leader)
		leader = find_helper(births_of(job), sid);
	if (!leader) {
		leader = add_helper(job, heir, sid, sid, sid);
		birth_of(leader)->heir = heir;
		return leader;
	}
	if (birth_of(leader)->heir == heir)
		return leader;
	return is_below(leader, heir) ? helper_beside(job, leader, heir, f) : NULL;
}

/*
 * The creator of t is gone, the session it was born in remains: let somebody of that session
 * fork it and end, so that its parent, as the only child subreaper, becomes its parent again. False
 * when that is not possible.
 */
static bool plan_orphan(struct job *job, struct task *t, pid_t sid, struct fault *f)
{
	struct task *maker;

	if (!t->parent || birth_of(t)->maker)
		return false;
	maker = find_maker(job, t->parent, sid, f);
	if (!maker)
		return false;
	birth_of(t)->orphan = true;
	birth_of(t)->born_sid = sid;
	set_maker(t, maker);
	return true;
}

/*
 * Let t, which leads a session now, be born in an older one: as an orphan of it, or of an ancestor
 * that was and began its own later too.
 */
static bool born_of_orphan(struct job *job, struct task *t, pid_t sid, struct fault *f)
{
	if (!t->parent || !leads_session(t) || birth_of(t)->born_sid)
		return false;
	if (plan_orphan(job, t, sid, f))
		return true;
	if (f->code || !born_of_orphan(job, t->parent, sid, f))
		return false;
	birth_of(t)->early = true;
	birth_of(t)->born_sid = sid;
	return true;
}

/*
 * A task in another session than its parent: born before the parent began its own, or an orphan;
 * elder: rather the child of one that was.
 */
static int plan_stranger(struct job *job, struct task *t, bool elder, struct fault *f)
{
	const struct task *leader = tree_find(job, t->sid);

	if (leader && !leads_session(leader))
		return fault(f, -EINVAL, "pstree.img: task %d is in session %d, but task %d leads "
			     "none", t->pid, t->sid, leader->pid);
	if (leads_session(t->parent) && born_in(births_of(job), t->parent, t->sid)) {
		birth_of(t)->early = true;
		return 0;
	}
	if (!elder && plan_orphan(job, t, t->sid, f))
		return 0;
	if (!f->code && born_of_orphan(job, t->parent, t->sid, f)) {
		birth_of(t)->early = true;
		return 0;
	}
	if (!f->code && elder && plan_orphan(job, t, t->sid, f))
		return 0;
	return f->code ? -1 : fault(f, -ENOTSUP, "task %d is in session %d of a leader that is not "
				    "below its parent %d; such a tree cannot be restored", t->pid,
				    t->sid, t->parent->pid);
}

static void shuffle(struct task **list, size_t n, uint32_t seed)
{
	for (; n > 1; n--) {
		struct task *last = list[n - 1];

		seed = seed * 1103515245 + 12345;
		list[n - 1] = list[(seed >> 16) % n];
		list[(seed >> 16) % n] = last;
	}
}

/*
 * Which choices fit together depends on the history of the tree, which is lost. At first the
 * deepest tasks are planned first: the helper for a dead leader goes below the deepest heir, others
 * below it. If that fails, other orders are tried.
 */
static int plan_sessions(struct job *job, unsigned attempt, struct fault *f)
{
	AUTO_FREE struct task **strangers = xcalloc(job->ntasks, sizeof(*strangers));
	size_t i, n = 0;
	struct task *t;

	for (i = job->ntasks; i-- > 1;) {
		t = job->tasks[i];
		if (!leads_session(t) && t->sid != t->parent->sid)
			strangers[n++] = t;
	}
	if (attempt)
		shuffle(strangers, n, attempt);
	for (i = 0; i < n; i++)
		if (plan_stranger(job, strangers[i], attempt % 2, f) < 0)
			return -1;
	for (i = 1; i < job->ntasks; i++)
		if (!birth_of(job->tasks[i])->maker)
			set_maker(job->tasks[i], job->tasks[i]->parent);
	return 0;
}

/* ---- groups ---- */

static int plan_groups(struct job *job, struct fault *f)
{
	struct births *p = births_of(job);
	struct task *t, *leader;
	size_t i;

	for (i = 0; i < job->ntasks; i++) {
		t = job->tasks[i];
		if (t->pgid == t->vpid || (t->pgid == p->our_pgid && t->sid == p->our_sid))
			continue;
		leader = tree_find(job, t->pgid);
		if (!leader)
			leader = find_helper(p, t->pgid);
		if (!leader)
			leader = add_helper(job, t, t->pgid, t->sid, t->pgid);
		if (leader->sid != t->sid)
			return fault(f, -EINVAL, "pstree.img: task %d of session %d is in group %d "
				     "of session %d", t->pid, t->sid, t->pgid, leader->sid);
		birth_of(leader)->founds = true;
	}
	return 0;
}

/* ---- order ---- */

/* Breadth first: a task comes after its maker. Whoever is not reached has no possible maker. */
static int put_in_order(struct job *job, struct fault *f)
{
	struct births *p = births_of(job);
	struct birth *b;
	size_t i, k;

	append(&p->all, &p->nall, &p->all_cap, job->tasks[0]);
	birth_of(job->tasks[0])->born_group = p->our_pgid;
	for (i = 0; i < p->nall; i++) {
		b = birth_of(p->all[i]);
		b->group = leads_session(p->all[i]) ? p->all[i]->vpid : b->born_group;
		for (k = 0; k < b->nmade; k++) {
			struct birth *child = birth_of(b->made[k]);

			child->depth = b->depth + 1;
			child->born_group = child->early ? b->born_group : b->group;
			append(&p->all, &p->nall, &p->all_cap, b->made[k]);
		}
	}
	if (p->nall != job->ntasks + p->nhelpers)
		return fault(f, -ENOTSUP, "pstree.img: no order of forks gives the sessions of "
			     "this tree");
	return 0;
}

static void free_birth(struct task *t)
{
	struct birth *b = birth_of(t);

	if (!b)
		return;
	free(b->made);
	free(b);
	t->priv = NULL;
}

static struct births *begin(struct job *job)
{
	struct births *p = xcalloc(1, sizeof(*p));
	struct birth *b;
	size_t i;

	job->priv = p;
	p->memory = -1;
	for (i = 0; i < job->ntasks; i++) {
		b = job->tasks[i]->priv = xcalloc(1, sizeof(*b));
		b->dumpable = -1;
	}
	return p;
}

static void free_helper(struct task *h)
{
	free_birth(h);
	free(h->threads);
	free(h);
}

static void forget(struct job *job)
{
	struct births *p = births_of(job);
	size_t i;

	for (i = 0; i < job->ntasks; i++) {
		free(birth_of(job->tasks[i])->made);
		*birth_of(job->tasks[i]) = (struct birth){ .dumpable = -1 };
	}
	while (p->nhelpers)
		free_helper(p->helpers[--p->nhelpers]);
	p->nall = 0;
}

static int plan(struct job *job, struct fault *f)
{
	unsigned attempt;

	for (attempt = 0; attempt < ATTEMPTS; attempt++) {
		if (attempt)
			forget(job);
		*f = (struct fault){ 0 };
		if (plan_sessions(job, attempt, f) == 0 && plan_groups(job, f) == 0 &&
		    put_in_order(job, f) == 0)
			return 0;
		if (f->code != ENOTSUP)
			return -1;
	}
	return -1;
}

int births_plan(struct job *job, struct fault *f)
{
	struct births *p = begin(job);

	p->ours = inherited_read(f);
	if (!p->ours)
		return -1;
	p->our_sid = getsid(0);
	p->our_pgid = getpgrp();
	return adopt_root(job, f) < 0 ? -1 : plan(job, f);
}

int births_check(const struct job *job, struct fault *f)
{
	struct job copy = *job;
	struct births *p = begin(&copy);
	int r;

	p->our_sid = job->tasks[0]->sid;
	p->our_pgid = job->tasks[0]->pgid;
	r = plan(&copy, f);
	births_free(&copy);
	return r;
}

void births_free(struct job *job)
{
	struct births *p = births_of(job);
	size_t i;

	if (!p)
		return;
	for (i = 0; i < job->ntasks; i++)
		free_birth(job->tasks[i]);
	for (i = 0; i < p->nhelpers; i++)
		free_helper(p->helpers[i]);
	if (p->sockets)
		reply__free_unpacked(p->sockets, NULL);
	if (p->prepared)
		reply__free_unpacked(p->prepared, NULL);
	auto_close(&p->memory);
	keeper_decide(p->keeper, p->nkeepers, false);
	free(p->keeper);
	inherited_free(p->ours);
	free(p->clocks);
	free(p->all);
	free(p->helpers);
	free(p);
	job->priv = NULL;
}
