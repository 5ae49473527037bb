/* SPDX-License-Identifier: MIT */
/*
 * mem_world.c - dump a subject with the mem worker's handlers, build it again in another task,
 * compare. The handlers are called as the coordinator would send the messages.
 *
 * Rights:   root (ptrace, map_files, clone3 with chosen pids).
 * Holds:    what struct world names; the worker's options and fd plane.
 */
#include "tests/world/mem_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/fdplane.h"
#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "workers/common/gate_client.h"
#include "workers/mem/dump.h"
#include "workers/mem/mem.h"
#include "workers/mem/restore.h"
#include "workers/mem/survey.h"
#include "workers/mem/target.h"
#include "workers/mem/vma.h"

#define FIRST_FD 600
#define MEMORY_FD 599
#define ARENA (256ul << 10)

/* ---- the worker's messages, as the coordinator would send them ---- */

static Options options;
static int plane[2];			/* the fd plane: ours, the worker's */

int world_prepare(void)
{
	options__init(&options);
	mem_worker.set.opts = &options;
	mem_worker.set.image_dir = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, plane) < 0)
		return -1;
	mem_worker.fd_plane = plane[1];
	return 0;
}

static int ask(struct world *w, Request__BodyCase body, void *msg,
	       int (*run)(struct call *, struct fault *), Reply *rep)
{
	Request req = REQUEST__INIT;
	struct call c = { .worker = &mem_worker, .ctx = mem_worker.ctx, .req = &req, .rep = rep };

	req.body_case = body;
	req.mem_write = msg;
	return run(&c, &w->f);
}

static void set_dir(struct world *w, int which)
{
	auto_close(&mem_worker.set.image_dir);
	mem_worker.set.image_dir = open(w->dir[which], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Keep the mapped files open beyond the subject's death. */
static void open_files(struct world *w, const MemCollected *m)
{
	char path[80];
	size_t i;

	w->nfiles = m->n_mapped;
	for (i = 0; i < m->n_mapped && i < ARRAY_LEN(w->files); i++) {
		if (m->mapped[i]->has_start)
			snprintf(path, sizeof(path), "/proc/%u/map_files/%lx-%lx",
				 m->mapped[i]->pid, m->mapped[i]->start, m->mapped[i]->end);
		else
			snprintf(path, sizeof(path), "/proc/%u/exe", m->mapped[i]->pid);
		w->files[i] = open(path, m->mapped[i]->flags | O_CLOEXEC);
		CHECK(w->files[i] >= 0);
	}
}

/* What MemPreflight says of the first task: "" for nothing. */
const char *world_preflight(struct world *w)
{
	static char text[200];
	uint32_t pid = w->task[0].pid;
	MemPreflight m = MEM_PREFLIGHT__INIT;
	Reply rep = REPLY__INIT;

	m.pid = &pid;
	m.n_pid = 1;
	if (ask(w, REQUEST__BODY_MEM_PREFLIGHT, &m, on_mem_preflight, &rep) < 0)
		return w->f.text;
	snprintf(text, sizeof(text), "%s", rep.mem_preflight_done->n_obstacle ?
		 rep.mem_preflight_done->obstacle[0] : "");
	mem_preflight_done__free_unpacked(rep.mem_preflight_done, NULL);
	return text;
}

int world_dump(struct world *w, int which)
{
	DumpTask task[TASKS], *tasks[TASKS];
	MemTaskState state[TASKS], *states[TASKS];
	MemCollect collect = MEM_COLLECT__INIT;
	MemWrite mem_write = MEM_WRITE__INIT;
	Reply rep = REPLY__INIT, written = REPLY__INIT;
	size_t i;

	for (i = 0; i < w->n; i++) {
		dump_task__init(&task[i]);
		task[i].pid = task[i].vpid = w->task[i].pid;
		task[i].region_base = w->task[i].region;
		task[i].region_size = w->task[i].region_size;
		mem_task_state__init(&state[i]);
		state[i].pid = w->task[i].pid;
		state[i].brk = w->task[i].brk;
		state[i].dumpable = 1;
		tasks[i] = &task[i];
		states[i] = &state[i];
	}
	collect.task = tasks;
	mem_write.task = states;
	collect.n_task = mem_write.n_task = w->n;
	set_dir(w, which);
	if (ask(w, REQUEST__BODY_MEM_COLLECT, &collect, on_mem_collect, &rep) < 0)
		return -1;
	if (which == 0)
		open_files(w, rep.mem_collected);
	mem_collected__free_unpacked(rep.mem_collected, NULL);
	if (ask(w, REQUEST__BODY_MEM_WRITE, &mem_write, on_mem_write, &written) < 0)
		return -1;
	mem_written__free_unpacked(written.mem_written, NULL);
	return 0;
}

static int prepare(struct world *w)
{
	RestoreTask task[TASKS], *tasks[TASKS];
	MemPrepare m = MEM_PREPARE__INIT;
	Reply rep = REPLY__INIT;
	size_t i;

	for (i = 0; i < w->n; i++) {
		restore_task__init(&task[i]);
		task[i].pid = w->task[i].pid;
		task[i].ppid = i ? w->task[0].pid : 0;
		task[i].vm_id = i + 1;
		tasks[i] = &task[i];
	}
	m.task = tasks;
	m.n_task = w->n;
	set_dir(w, 0);
	if (ask(w, REQUEST__BODY_MEM_PREPARE, &m, on_mem_prepare, &rep) < 0)
		return -1;
	w->prepared = rep.mem_prepared;
	return 0;
}

static int tell_gate(struct world *w, size_t i)
{
	GatePlace place = GATE_PLACE__INIT, *places[1] = { &place };
	Gates m = GATES__INIT;
	Reply rep = REPLY__INIT;

	place.pid = w->task[i].pid;
	place.file_offset = i * w->task[i].region_size;
	place.address = w->task[i].region;
	place.size = w->task[i].region_size;
	place.nmailboxes = 1;
	m.place = places;
	m.n_place = 1;
	m.has_fd = m.has_has_fd = i == 0;
	if (m.has_fd && fdplane_send(plane[0], mem_worker.ticket, &w->memory, 1, &w->f) < 0)
		return -1;
	return ask(w, REQUEST__BODY_GATES, &m, on_gates, &rep);
}

static int build(struct world *w, size_t i, bool inherited)
{
	MemBuildTask task = MEM_BUILD_TASK__INIT, *tasks[1] = { &task };
	MemBuild m = MEM_BUILD__INIT;
	Reply rep = REPLY__INIT;

	task.pid = w->task[i].pid;
	task.first_fd = FIRST_FD;
	task.inherited = task.has_inherited = inherited;
	m.task = tasks;
	m.n_task = 1;
	return ask(w, REQUEST__BODY_MEM_BUILD, &m, on_mem_build, &rep);
}

static void finish(struct world *w)
{
	MemFinish m = MEM_FINISH__INIT;
	Reply rep = REPLY__INIT;

	if (ask(w, REQUEST__BODY_MEM_FINISH, &m, on_mem_finish, &rep) == 0)
		mem_finished__free_unpacked(rep.mem_finished, NULL);
	if (w->prepared)
		mem_prepared__free_unpacked(w->prepared, NULL);
	w->prepared = NULL;
}

/* ---- subjects ---- */

/* Tells its pid and brk through the pipe, then waits for its death. */
noreturn void world_report(int fd)
{
	struct task_facts facts = { .pid = getpid(), .brk = syscall(SYS_brk, 0) };

	if (write(fd, &facts, sizeof(facts)) != sizeof(facts))
		_exit(1);
	for (;;)
		pause();
}

int world_start(struct world *w, world_subject *setup, size_t n)
{
	int p[2];
	size_t i;

	memset(w, 0, sizeof(*w));
	w->n = n;
	w->memory = -1;
	strcpy(w->dir[0], "/tmp/mem_test.XXXXXX");
	strcpy(w->dir[1], "/tmp/mem_test.XXXXXX");
	if (!mkdtemp(w->dir[0]) || !mkdtemp(w->dir[1]) || pipe(p) < 0)
		return -1;
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setup(p[1]);
		world_report(p[1]);
	}
	close(p[1]);
	for (i = 0; i < n; i++) {
		struct task_facts facts;

		if (read(p[0], &facts, sizeof(facts)) != sizeof(facts))
			return -1;
		if (i && facts.pid < w->task[0].pid) {	/* the parent was the slower one */
			w->task[i] = w->task[0];
			w->task[0] = facts;
		} else {
			w->task[i] = facts;
		}
	}
	close(p[0]);
	for (i = 0; i < n; i++) {
		if (ptrace(PTRACE_SEIZE, w->task[i].pid, NULL, NULL) < 0 ||
		    ptrace(PTRACE_INTERRUPT, w->task[i].pid, NULL, NULL) < 0)
			return -1;
		waitpid(w->task[i].pid, NULL, __WALL);
	}
	return 0;
}

void world_kill(struct world *w)
{
	size_t i;

	for (i = w->n; i-- > 0;) {
		kill(w->task[i].pid, SIGKILL);
		waitpid(w->task[i].pid, NULL, __WALL);
	}
	while (waitpid(-1, NULL, __WALL) > 0)	/* orphans come to us: subreaper */
		;
}

static void remove_dir(const char *path)
{
	AUTO_CLOSEDIR DIR *d = opendir(path);
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	rmdir(path);
}

void world_end(struct world *w)
{
	size_t i;

	if (w->f.code)
		fprintf(stderr, "fault: %s\n", w->f.text);
	finish(w);
	for (i = 0; i < w->n; i++)
		gate_close(w->gate[i]);
	world_kill(w);
	for (i = 0; i < w->nfiles; i++)
		close(w->files[i]);
	if (w->memory > 0)
		close(w->memory);
	for (i = 0; i < 2; i++)
		remove_dir(w->dir[i]);
}

/* ---- the new tasks ---- */

static bool is_free_here(uint64_t start, uint64_t size)
{
	void *p = mmap((void *)start, size, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == MAP_FAILED)
		return false;
	munmap(p, size);
	return p == (void *)start;
}

static int place_gates(struct world *w)
{
	uint64_t size = gate_region_size(1, ARENA), at;
	size_t i;

	if (!CHECK(w->prepared->n_gap > 0))
		return -1;
	at = w->prepared->gap[0]->start +
	     (w->prepared->gap[0]->end - w->prepared->gap[0]->start) / 2 / PAGE * PAGE;
	while (!is_free_here(at, TASKS * size))
		at += 1ul << 30;
	w->memory = memfd_create("gates", MFD_CLOEXEC);
	if (ftruncate(w->memory, TASKS * size) < 0)
		return -1;
	for (i = 0; i < w->n; i++) {
		struct gate_place place = { w->task[i].pid, i * size, at + i * size, size, 1 };

		w->task[i].region = place.base;
		w->task[i].region_size = size;
		w->gate[i] = gate_open(w->memory, &place, true, GATE_MODE_RESTORE, &w->f);
		if (!w->gate[i])
			return -1;
	}
	return 0;
}

/* Between clone3 and the agent: no libc call that could need what is about to be unmapped. */
static noreturn void become_agent(const struct world *w)
{
	uint64_t at = w->task[0].region, all = ~0ull;

	if (__rseq_size)
		syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset,
			__rseq_size < 32 ? 32 : __rseq_size, 1, RSEQ_SIG);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
	if (mmap((void *)at, w->task[0].region_size, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_SHARED | MAP_FIXED_NOREPLACE, w->memory, 0) != (void *)at)
		_exit(99);
	dup2(w->memory, MEMORY_FD);
	__asm__ volatile("jmp *%0" : : "r"(at), "b"(at + GATE_BLOB_SIZE) : "memory");
	__builtin_unreachable();
}

/* The files a task needs, at their places in this process: the new task inherits them. */
static void put_files(const struct world *w, const MemNeeds *n)
{
	size_t i;

	for (i = 0; i < n->n_file_id; i++) {
		size_t file = n->file_id[i] - MAPPED_ID_FIRST;

		CHECK(file < w->nfiles && dup2(w->files[file], FIRST_FD + i) >= 0);
	}
}

static int make_root(struct world *w)
{
	pid_t want = w->task[0].pid;
	struct clone_args a = { .exit_signal = SIGCHLD,
				.set_tid = (uintptr_t)&want,
				.set_tid_size = 1 };
	long pid;

	put_files(w, w->prepared->task[0]);
	pid = syscall(SYS_clone3, &a, sizeof(a));
	if (!pid)
		become_agent(w);
	if (!CHECK(pid == want))
		return -1;
	return gate_wait_ready(w->gate[0], 0, 5000, &w->f);
}

/* The first task's agent forks the second. */
static int make_child(struct world *w)
{
	AUTO_BATCH struct batch *b = batch_begin(w->gate[0]);
	struct clone_args a = { .exit_signal = SIGCHLD, .set_tid_size = 1 };
	int32_t want = w->task[1].pid;
	uint64_t at = batch_put(b, &want, sizeof(want));
	int call;

	a.set_tid = gate_arena_address(w->gate[0]) + at;
	batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_mmap, 6, gc(w->task[1].region),
		 gc(w->task[1].region_size), gc(PROT_READ | PROT_WRITE | PROT_EXEC),
		 gc(MAP_SHARED | MAP_FIXED_NOREPLACE), gc(MEMORY_FD), gc(w->task[1].region_size));
	call = batch_op(b, 0, GATE_STOP_ON_ERROR, GATE_OP_CLONE, 4, ga(batch_put(b, &a, sizeof(a))),
			gc(sizeof(a)), gc(gate_mailbox_address(w->gate[1], 0)),
			gc(gate_entry(w->gate[1])));
	batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_munmap, 2, gc(w->task[1].region),
		 gc(w->task[1].region_size));
	if (batch_run(b, 5000, &w->f) < 0)
		return -1;
	if (!CHECK(batch_result(b, 0, call) == want))
		return -1;
	return gate_wait_ready(w->gate[1], 0, 5000, &w->f);
}

static int leave_parents_window(struct world *w)
{
	AUTO_BATCH struct batch *b = batch_begin(w->gate[1]);

	batch_op(b, 0, 0, SYS_munmap, 2, gc(w->task[0].region), gc(w->task[0].region_size));
	return batch_run(b, 5000, &w->f);
}

/* The files the second task maps are put into the first one's descriptors before it forks. */
static int pass_files(struct world *w, const MemNeeds *n)
{
	int fds[64], at[64], flags[64] = { 0 };
	struct gate_channel *c;
	size_t i;
	int r;

	for (i = 0; i < n->n_file_id; i++) {
		fds[i] = w->files[n->file_id[i] - MAPPED_ID_FIRST];
		at[i] = FIRST_FD + i;
	}
	c = gate_channel_open(w->gate[1], FIRST_FD + 100, &w->f);
	if (!c)
		return -1;
	r = gate_send_fds(c, fds, at, flags, n->n_file_id, &w->f);
	return gate_channel_close(c, &w->f) < 0 ? -1 : r;
}

int world_rebuild(struct world *w)
{
	bool inherits;

	if (prepare(w) < 0 || place_gates(w) < 0 || make_root(w) < 0 || tell_gate(w, 0) < 0 ||
	    build(w, 0, false) < 0)
		return -1;
	if (w->n == 1)
		return 0;
	inherits = w->prepared->task[1]->inherits;
	CHECK(inherits == w->prepared->task[0]->fill_before_fork);
	if (make_child(w) < 0 || leave_parents_window(w) < 0 ||
	    pass_files(w, w->prepared->task[1]) < 0 || tell_gate(w, 1) < 0)
		return -1;
	return build(w, 1, inherits);
}

/* ---- comparing ---- */

static void show_vma(const char *side, const VmaEntry *e)
{
	fprintf(stderr,
		"  %s %lx-%lx prot %u flags %#x status %#x pgoff %lx shmid %lx madv %lx pkey %u\n",
		side, e->start, e->end, e->prot, e->flags, e->status, e->pgoff, e->shmid, e->madv,
		e->pkey);
}

static bool same_vma(const VmaEntry *a, const VmaEntry *b)
{
	bool shared = vma_is(a, VMA_ANON_SHARED);	/* its number is another one now */

	return a->start == b->start && a->end == b->end && a->prot == b->prot &&
	       a->flags == b->flags && a->status == b->status && a->pgoff == b->pgoff &&
	       a->madv == b->madv && a->pkey == b->pkey && (shared || !a->shmid == !b->shmid);
}

/* The kernel joins neighbours that nothing tells apart any more; so does this. */
static void join(MmEntry *mm)
{
	size_t i, n = 0;

	for (i = 0; i < mm->n_vmas; i++) {
		VmaEntry *e = mm->vmas[i], *last = n ? mm->vmas[n - 1] : NULL;

		if (last && vma_is(e, VMA_ANON_PRIVATE) && last->end == e->start &&
		    last->prot == e->prot && last->flags == e->flags && last->status == e->status &&
		    last->madv == e->madv && last->pkey == e->pkey) {
			last->end = e->end;
			vma_entry__free_unpacked(e, NULL);
		} else {
			mm->vmas[n++] = e;
		}
	}
	mm->n_vmas = n;
}

static void compare_vmas(const struct target *a, const struct target *b)
{
	size_t i;

	join(a->mm);
	join(b->mm);
	if (!CHECK(a->mm->n_vmas == b->mm->n_vmas))
		fprintf(stderr, "  %zu and %zu mappings\n", a->mm->n_vmas, b->mm->n_vmas);
	for (i = 0; i < a->mm->n_vmas && i < b->mm->n_vmas; i++) {
		if (CHECK(same_vma(a->mm->vmas[i], b->mm->vmas[i])))
			continue;
		show_vma("before", a->mm->vmas[i]);
		show_vma("after ", b->mm->vmas[i]);
		return;
	}
}

/* Runs may be cut differently: compare page by page. */
static void compare_pages(const struct target *a, const struct target *b)
{
	size_t i = 0, k = 0;
	uint64_t x = 0, y = 0, left = a->pages.size;

	CHECK(a->pages.size == b->pages.size);
	for (; left && i < a->stored.n && k < b->stored.n; left -= PAGE) {
		const struct stored *s = &a->stored.run[i], *t = &b->stored.run[k];

		if (!CHECK(s->start + x == t->start + y))
			return;
		if (!CHECK(!memcmp(a->pages.data + s->offset + x, b->pages.data + t->offset + y,
				   PAGE))) {
			fprintf(stderr, "  page %lx differs\n", s->start + x);
			return;
		}
		x += PAGE;
		y += PAGE;
		if (x == s->end - s->start)
			i++, x = 0;
		if (y == t->end - t->start)
			k++, y = 0;
	}
}

static void compare_task(struct world *w, size_t task)
{
	struct adoption adoption = { 0 };
	struct target t[2] = { 0 };
	int i, dir;

	for (i = 0; i < 2; i++) {
		t[i].pid = w->task[task].pid;
		dir = open(w->dir[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (!CHECK(target_load(&t[i], dir, &adoption, &w->f) == 0))
			return;
		close(dir);
	}
	compare_pages(&t[0], &t[1]);
	compare_vmas(&t[0], &t[1]);
	CHECK(t[0].mm->mm_brk == t[1].mm->mm_brk && t[0].mm->mm_start_brk == t[1].mm->mm_start_brk);
	CHECK(t[0].mm->mm_start_code == t[1].mm->mm_start_code);
	CHECK(t[0].mm->mm_env_end == t[1].mm->mm_env_end);
	CHECK(t[0].mm->mm_start_stack == t[1].mm->mm_start_stack);
	CHECK(t[0].mm->n_mm_saved_auxv == t[1].mm->n_mm_saved_auxv);
	for (i = 0; i < 2; i++)
		target_free(&t[i]);
}

void world_round_trip(struct world *w, world_subject *setup, size_t n)
{
	size_t i;

	if (!CHECK(world_start(w, setup, n) == 0) || !CHECK(world_dump(w, 0) == 0))
		return;
	world_kill(w);
	if (!CHECK(world_rebuild(w) == 0) || !CHECK(world_dump(w, 1) == 0))
		return;
	for (i = 0; i < n; i++)
		compare_task(w, i);
}
