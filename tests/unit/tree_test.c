/* SPDX-License-Identifier: MIT */
/*
 * tree_test.c - reading the tasks of a dump, and deciding who forks whom.
 *
 * A small tree of images is written, one thing in it is made wrong, and the reader must say so.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coordinator/births.h"
#include "coordinator/task_image.h"
#include "coordinator/tree_load.h"
#include "proto/control/util.h"
#include "proto/images/image.h"
#include "proto/images/inventory.pb-c.h"
#include "tests/unit/check.h"

#define TASKS 4
#define ROOT 30001		/* ids of tasks 0 to 3: ROOT, ROOT + 1, ... */
#define THREAD 30009		/* second thread of task 1 */

/* Everything that goes into the images; tests change it before it is written. */
struct fixture {
	InventoryEntry inventory;
	TaskKobjIdsEntry own, ids[TASKS];
	PstreeEntry tree[TASKS];
	uint32_t threads[TASKS][2];
	size_t ntree;
	CoreEntry core[TASKS], other;
	TaskCoreEntry tc[TASKS];
	ThreadCoreEntry thread[TASKS + 1];
	CredsEntry creds;
	ThreadInfoX86 registers;
	UserX86RegsEntry gpregs;
	UserX86FpregsEntry fpregs;
	uint32_t words[64];
	TaskTimersEntry timers;
	ItimerEntry itimer;
	TaskRlimitsEntry limits;
	SaEntry handler, *handlers[SIGNALS - 2];
	SignalQueueEntry queue;
	SiginfoEntry info, *infos[1];
	uint8_t siginfo[SIGINFO_SIZE];
	bool no_ids, no_inventory;
};

static void init_ids(TaskKobjIdsEntry *e, uint32_t own)
{
	task_kobj_ids_entry__init(e);
	e->vm_id = e->files_id = e->fs_id = e->sighand_id = own;
	e->has_pid_ns_id = e->has_net_ns_id = e->has_mnt_ns_id = true;
	e->pid_ns_id = e->net_ns_id = e->mnt_ns_id = 1;
}

static void init_task(struct fixture *x, int i)
{
	pstree_entry__init(&x->tree[i]);
	x->tree[i].pid = x->threads[i][0] = ROOT + i;
	x->tree[i].ppid = i ? ROOT : 0;
	x->tree[i].sid = x->tree[i].pgid = ROOT;
	x->tree[i].threads = x->threads[i];
	x->tree[i].n_threads = 1;
	init_ids(&x->ids[i], i + 2);
	core_entry__init(&x->core[i]);
	task_core_entry__init(&x->tc[i]);
	thread_core_entry__init(&x->thread[i]);
	x->core[i].mtype = CORE_ENTRY__MARCH__X86_64;
	x->core[i].thread_info = &x->registers;
	x->core[i].tc = &x->tc[i];
	x->core[i].thread_core = &x->thread[i];
	x->thread[i].creds = &x->creds;
	x->tc[i].task_state = IMAGE_TASK_ALIVE;
	x->tc[i].comm = "case";
	x->tc[i].timers = &x->timers;
	x->tc[i].rlimits = &x->limits;
	x->tc[i].sigactions = x->handlers;
	x->tc[i].n_sigactions = SIGNALS - 2;
}

static void init_shared(struct fixture *x)
{
	size_t i;

	inventory_entry__init(&x->inventory);
	init_ids(&x->own, 1);
	x->inventory.img_version = 2;
	x->inventory.has_fdinfo_per_id = x->inventory.fdinfo_per_id = true;
	x->inventory.has_ns_per_id = x->inventory.ns_per_id = true;
	x->inventory.root_ids = &x->own;
	creds_entry__init(&x->creds);
	thread_info_x86__init(&x->registers);
	user_x86_regs_entry__init(&x->gpregs);
	user_x86_fpregs_entry__init(&x->fpregs);
	x->registers.gpregs = &x->gpregs;
	x->registers.fpregs = &x->fpregs;
	x->gpregs.cs = 0x33;
	x->fpregs.st_space = x->fpregs.xmm_space = x->words;
	x->fpregs.n_st_space = 32;
	x->fpregs.n_xmm_space = ARRAY_LEN(x->words);
	itimer_entry__init(&x->itimer);
	task_timers_entry__init(&x->timers);
	x->timers.real = x->timers.virt = x->timers.prof = &x->itimer;
	task_rlimits_entry__init(&x->limits);
	sa_entry__init(&x->handler);
	for (i = 0; i < SIGNALS - 2; i++)
		x->handlers[i] = &x->handler;
	signal_queue_entry__init(&x->queue);
	siginfo_entry__init(&x->info);
	x->info.siginfo.data = x->siginfo;
	x->info.siginfo.len = sizeof(x->siginfo);
	x->siginfo[0] = SIGUSR1;
	x->infos[0] = &x->info;
	x->queue.signals = x->infos;
	x->queue.n_signals = 1;
}

static void init(struct fixture *x)
{
	int i;

	memset(x, 0, sizeof(*x));
	init_shared(x);
	for (i = 0; i < TASKS; i++)
		init_task(x, i);
	x->ntree = TASKS;
	x->threads[1][1] = THREAD;
	x->tree[1].n_threads = 2;
	core_entry__init(&x->other);
	thread_core_entry__init(&x->thread[TASKS]);
	x->thread[TASKS].creds = &x->creds;
	x->other.mtype = CORE_ENTRY__MARCH__X86_64;
	x->other.thread_info = &x->registers;
	x->other.thread_core = &x->thread[TASKS];
}

static void put(int dir, enum img_type type, uint32_t id, const ProtobufCMessage *msg)
{
	struct fault f = { 0 };
	AUTO_IMAGE struct image *img = image_create(dir, type, id, &f);

	if (!img || image_write(img, msg, &f) < 0 || image_close(&img, &f) < 0)
		die("write a test image: %s", f.text);
}

static void write_images(int dir, const struct fixture *x)
{
	struct fault f = { 0 };
	AUTO_IMAGE struct image *img = image_create(dir, IMG_PSTREE, 0, &f);
	size_t i;

	for (i = 0; i < x->ntree; i++) {
		if (image_write(img, &x->tree[i].base, &f) < 0)
			die("%s", f.text);
		put(dir, IMG_CORE, ROOT + i, &x->core[i].base);
		if (!x->no_ids)
			put(dir, IMG_IDS, ROOT + i, &x->ids[i].base);
	}
	if (image_close(&img, &f) < 0)
		die("%s", f.text);
	put(dir, IMG_CORE, THREAD, &x->other.base);
	if (!x->no_inventory)
		put(dir, IMG_INVENTORY, 0, &x->inventory.base);
}

static void empty(int dir)
{
	DIR *d = fdopendir(dup(dir));
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dir, e->d_name, 0);
	closedir(d);
}

static void free_job(struct job *job)
{
	size_t i, k;

	births_free(job);
	for (i = 0; i < job->ntasks; i++) {
		for (k = 0; k < job->tasks[i]->nthreads; k++)
			if (job->tasks[i]->threads[k].core)
				core_entry__free_unpacked(job->tasks[i]->threads[k].core, NULL);
		free(job->tasks[i]->threads);
		free(job->tasks[i]->children);
		free(job->tasks[i]);
	}
	free(job->tasks);
}

/* Write, read, and plan when reading succeeds. The job is for look, then freed. */
static void load(struct fixture *x, struct fault *f, void (*look)(struct job *job))
{
	Options opts = OPTIONS__INIT;
	struct job job = { .opts = &opts };
	char path[] = "/tmp/tree_test-XXXXXX";

	if (!mkdtemp(path))
		die("mkdtemp");
	job.image_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	write_images(job.image_dir, x);
	if (tree_load(&job, f) == 0 && tree_load_threads(&job, f) == 0 &&
	    births_plan(&job, f) == 0 && look)
		look(&job);
	free_job(&job);
	empty(job.image_dir);
	close(job.image_dir);
	rmdir(path);
}

/* ---- good trees ---- */

static void look_plain(struct job *job)
{
	CHECK(job->ntasks == TASKS);
	CHECK(job->tasks[0]->pid == ROOT && !job->tasks[0]->parent &&
	      job->tasks[0]->nchildren == 3);
	CHECK(job->tasks[1]->nthreads == 2 && job->tasks[1]->threads[1].tid == THREAD);
	CHECK(births_of(job)->nhelpers == 0 && births_of(job)->nall == TASKS);
	CHECK(birth_of(job->tasks[3])->maker == job->tasks[0] && !birth_of(job->tasks[3])->early);
}

static void good_tree(void)
{
	struct fixture x;
	struct fault f = { 0 };

	init(&x);
	load(&x, &f, look_plain);
	CHECK(!f.code);
}

static void look_zombie(struct job *job)
{
	CHECK(job->tasks[2]->state == TASK_ZOMBIE && job->tasks[2]->exit_status == 0x700);
	CHECK(job->tasks[3]->state == TASK_STOPPED && job->tasks[3]->stop_signal == SIGTSTP);
}

/* As CRIU writes them: a zombie has no ids and a random thread id. */
static void zombie_and_stopped(void)
{
	struct fixture x;
	struct fault f = { 0 };

	init(&x);
	x.tc[2].task_state = IMAGE_TASK_DEAD;
	x.tc[2].exit_code = 0x700;
	x.core[2].thread_core = NULL;
	x.core[2].thread_info = NULL;
	x.threads[2][0] = 0x12345678;
	x.tc[3].task_state = IMAGE_TASK_STOPPED;
	x.tc[3].has_stop_signo = true;
	x.tc[3].stop_signo = SIGTSTP;
	load(&x, &f, look_zombie);
	CHECK(!f.code);
}

static void look_early(struct job *job)
{
	CHECK(!birth_of(job->tasks[1])->early);
	CHECK(birth_of(job->tasks[2])->early && birth_of(job->tasks[2])->maker == job->tasks[1]);
	CHECK(!birth_of(job->tasks[3])->early && birth_of(job->tasks[3])->maker == job->tasks[1]);
	CHECK(births_of(job)->nhelpers == 0);
}

/* Task 1 leads a session; one child was born before, one after its setsid. */
static void child_from_before_setsid(void)
{
	struct fixture x;
	struct fault f = { 0 };

	init(&x);
	x.tree[1].sid = x.tree[1].pgid = ROOT + 1;
	x.tree[2].ppid = x.tree[3].ppid = ROOT + 1;
	x.tree[3].sid = x.tree[3].pgid = ROOT + 1;
	load(&x, &f, look_early);
	CHECK(!f.code);
}

static void look_helpers(struct job *job)
{
	struct births *p = births_of(job);

	CHECK(p->nhelpers == 2);
	CHECK(p->helpers[0]->pid == 30500 && p->helpers[0]->sid == 30500);
	CHECK(birth_of(job->tasks[2])->orphan && birth_of(job->tasks[2])->maker == p->helpers[0]);
	CHECK(birth_of(p->helpers[0])->heir == job->tasks[0]);
	CHECK(p->helpers[1]->pid == 30501 && p->helpers[1]->sid == ROOT);
	CHECK(birth_of(p->helpers[1])->founds);
}

/* A session and a group whose leaders are gone. */
static void dead_leaders(void)
{
	struct fixture x;
	struct fault f = { 0 };

	init(&x);
	x.tree[2].sid = x.tree[2].pgid = 30500;
	x.tree[3].pgid = 30501;
	load(&x, &f, look_helpers);
	CHECK(!f.code);
}

static void look_shared(struct job *job)
{
	CHECK(!job->tasks[0]->files_shared && job->tasks[1]->files_shared &&
	      !job->tasks[1]->fs_shared);
}

static void shared_table(void)
{
	struct fixture x;
	struct fault f = { 0 };

	init(&x);
	x.ids[1].files_id = x.ids[0].files_id;
	load(&x, &f, look_shared);
	CHECK(!f.code);
}

/* ---- bad trees ---- */

static void no_inventory(struct fixture *x) { x->no_inventory = true; }
static void unknown_version(struct fixture *x) { x->inventory.img_version = 9; }
static void no_root_ids(struct fixture *x) { x->inventory.root_ids = NULL; }
static void no_tasks(struct fixture *x) { x->ntree = 0; }
static void pid_zero(struct fixture *x) { x->tree[2].pid = 0; }
static void pid_huge(struct fixture *x) { x->tree[2].pid = 0x7fffffff; }
static void pid_twice(struct fixture *x) { x->tree[2].pid = ROOT + 1; }
static void thread_twice(struct fixture *x) { x->threads[1][1] = ROOT; }
static void thread_huge(struct fixture *x) { x->threads[1][1] = 1u << 31; }
static void not_the_leader(struct fixture *x) { x->threads[1][0] = 30077; }
static void own_parent(struct fixture *x) { x->tree[2].ppid = ROOT + 2; }
static void parent_later(struct fixture *x) { x->tree[1].ppid = ROOT + 2; }
static void parent_unknown(struct fixture *x) { x->tree[1].ppid = 0xffffffff; }
static void two_roots(struct fixture *x) { x->tree[2].ppid = 0; }
static void group_zero(struct fixture *x) { x->tree[2].pgid = 0; }
static void session_huge(struct fixture *x) { x->tree[2].sid = 1u << 30; }
static void leader_elsewhere(struct fixture *x) { x->tree[2].sid = ROOT + 2; }
static void foreign_root(struct fixture *x) { x->tree[0].sid = 30600; }
static void no_ids(struct fixture *x) { x->no_ids = true; }
static void other_namespace(struct fixture *x) { x->ids[3].net_ns_id = 7; }
static void shared_memory(struct fixture *x) { x->ids[3].vm_id = x->ids[0].vm_id; }
static void siblings_table(struct fixture *x) { x->ids[3].files_id = x->ids[2].files_id; }
static void no_task_part(struct fixture *x) { x->core[1].tc = NULL; }
static void no_thread_part(struct fixture *x) { x->other.thread_core = NULL; }
static void no_registers(struct fixture *x) { x->other.thread_info = NULL; }
static void half_vectors(struct fixture *x) { x->fpregs.n_xmm_space = 32; }
static void state_unknown(struct fixture *x) { x->tc[2].task_state = 77; }
static void dead_root(struct fixture *x) { x->tc[0].task_state = IMAGE_TASK_DEAD; }
static void long_name(struct fixture *x) { x->tc[2].comm = "sixteen letters!"; }
static void few_handlers(struct fixture *x) { x->tc[2].n_sigactions = 61; }
static void no_timers(struct fixture *x) { x->tc[2].timers = NULL; }
static void no_limits(struct fixture *x) { x->tc[2].rlimits = NULL; }
static void no_creds(struct fixture *x) { x->thread[2].creds = NULL; }
static void timer_range(struct fixture *x) { x->itimer.vusec = 1000000; }

static void signal_short(struct fixture *x)
{
	x->info.siginfo.len = 12;
	x->tc[2].signals_s = &x->queue;
}

static void signal_range(struct fixture *x)
{
	x->siginfo[0] = 65;
	x->thread[2].signals_p = &x->queue;
}

static void signal_kill(struct fixture *x)
{
	x->siginfo[0] = SIGKILL;
	x->tc[2].signals_s = &x->queue;
}

static void nice_range(struct fixture *x)
{
	x->thread[2].has_sched_policy = x->thread[2].has_sched_nice = true;
	x->thread[2].sched_nice = 20;
}

static void policy_unknown(struct fixture *x)
{
	x->thread[2].has_sched_policy = true;
	x->thread[2].sched_policy = 4;
}

static void old_seccomp(struct fixture *x)
{
	x->tc[2].has_old_seccomp_mode = true;
	x->tc[2].old_seccomp_mode = SECCOMP_MODE__filter;
}

static const struct damage {
	const char *name;
	void (*make)(struct fixture *x);
	const char *says;
} damages[] = {
	{ "no inventory", no_inventory, "no complete dump" },
	{ "image version", unknown_version, "image version 9" },
	{ "root_ids", no_root_ids, "root_ids" },
	{ "no tasks", no_tasks, "no task" },
	{ "pid 0", pid_zero, "id 0 is out of range" },
	{ "huge pid", pid_huge, "out of range" },
	{ "pid twice", pid_twice, "occurs twice" },
	{ "thread id twice", thread_twice, "occurs twice" },
	{ "huge thread id", thread_huge, "out of range" },
	{ "first thread", not_the_leader, "is not its leader" },
	{ "its own parent", own_parent, "does not come before" },
	{ "parent later", parent_later, "does not come before" },
	{ "parent unknown", parent_unknown, "does not come before" },
	{ "two roots", two_roots, "has no parent" },
	{ "group 0", group_zero, "outside of its pid namespace" },
	{ "huge session", session_huge, "out of range" },
	{ "session leader in another group", leader_elsewhere, "but not its group" },
	{ "root in a foreign session", foreign_root, "--shell-job" },
	{ "no ids", no_ids, "ids-30001.img is missing" },
	{ "namespace", other_namespace, "net namespace" },
	{ "shared memory", shared_memory, "shares its address space" },
	{ "table of a sibling", siblings_table, "shares its descriptor table" },
	{ "task part", no_task_part, "core-30002.img" },
	{ "thread part", no_thread_part, "core-30009.img" },
	{ "registers", no_registers, "core-30009.img" },
	{ "vector registers", half_vectors, "core-30001.img" },
	{ "task state", state_unknown, "task state" },
	{ "dead root", dead_root, "is dead" },
	{ "long name", long_name, "name is too long" },
	{ "handlers", few_handlers, "62 signal handlers" },
	{ "timers", no_timers, "no timers" },
	{ "limits", no_limits, "no limits" },
	{ "credentials", no_creds, "no credentials" },
	{ "timer range", timer_range, "interval timer" },
	{ "short siginfo", signal_short, "128 bytes" },
	{ "signal range", signal_range, "out of range" },
	{ "pending SIGKILL", signal_kill, "SIGKILL" },
	{ "nice", nice_range, "nice or priority" },
	{ "policy", policy_unknown, "scheduling policy" },
	{ "seccomp in the old way", old_seccomp, "seccomp" },
};

static void damage_is_told(void)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(damages); i++) {
		struct fixture x;
		struct fault f = { 0 };

		init(&x);
		damages[i].make(&x);
		load(&x, &f, NULL);
		if (!CHECK(f.code && strstr(f.text, damages[i].says)))
			printf("# %s: %s\n", damages[i].name, f.code ? f.text : "accepted");
	}
}

/* ---- numbers that are taken ---- */

/* A session whose leader is gone and reaped. Returns its other member, which ends after a while. */
static pid_t leave_session(pid_t *leader, int ms)
{
	int ends[2], status;
	pid_t member = 0;

	CHECK(pipe(ends) == 0);
	*leader = fork();
	if (*leader == 0) {
		setsid();
		member = fork();
		if (member == 0) {
			usleep(ms * 1000);
			_exit(0);
		}
		_exit(write(ends[1], &member, sizeof(member)) != sizeof(member));
	}
	CHECK(read(ends[0], &member, sizeof(member)) == sizeof(member));
	CHECK(waitpid(*leader, &status, 0) == *leader && status == 0);
	close(ends[0]);
	close(ends[1]);
	return member;
}

/* What tree_ids_free says of a tree with this task alone. */
static int ask_free(pid_t pid, struct fault *f)
{
	struct thread thread = { .tid = pid };
	struct task task = { .pid = pid, .threads = &thread, .nthreads = 1 }, *tasks[] = { &task };
	struct job job = { .tasks = tasks, .ntasks = 1 };

	return tree_ids_free(&job, f);
}

static void numbers_taken(void)
{
	struct fault f = { 0 }, g = { 0 }, h = { 0 };
	pid_t leader, member;

	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
	CHECK(ask_free(getpid(), &f) < 0 && strstr(f.text, "is in use by task"));
	member = leave_session(&leader, 100000);
	CHECK(!id_in_use(leader) && ask_free(leader, &g) < 0 && strstr(g.text, "session or group"));
	kill(member, SIGKILL);
	CHECK(waitpid(member, NULL, 0) == member && ask_free(leader, &h) == 0);
}

/* Its last member ends while we wait, and is reaped at once. */
static void session_ends(void)
{
	struct fault f = { 0 };
	pid_t leader;

	leave_session(&leader, 300);
	signal(SIGCHLD, SIG_IGN);
	CHECK(ask_free(leader, &f) == 0);
	signal(SIGCHLD, SIG_DFL);
}

int main(void)
{
	check_run("a tree with threads is read as it was", good_tree);
	check_run("zombies and stopped tasks are told apart", zombie_and_stopped);
	check_run("a child born before its parent's setsid is forked before it",
		  child_from_before_setsid);
	check_run("helpers stand in for dead leaders of sessions and groups", dead_leaders);
	check_run("a shared descriptor table is noticed", shared_table);
	check_run("every damage is one clear fault", damage_is_told);
	check_run("numbers of tasks, and of what is left of sessions, are taken", numbers_taken);
	check_run("a session that is about to end is waited for", session_ends);
	return check_done();
}
