/* SPDX-License-Identifier: MIT */
/*
 * files_world.c - tasks with descriptors, and the conversations of a dump and a restore with the
 * files worker's handlers, without coordinator and bus.
 *
 * Rights:   root (clone3 with set_tid, pidfd_getfd).
 * Holds:    what struct tree names.
 */
#include "tests/world/files_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/fdplane.h"
#include "proto/control/util.h"
#include "proto/images/files.pb-c.h"
#include "proto/images/image.h"
#include "tests/unit/check.h"
#include "workers/common/gate_client.h"
#include "workers/common/keeper.h"
#include "workers/files/files.h"

#define BASE 0x200000000000ul	/* not where a sanitizer keeps its shadow */

int tree_ask(struct tree *t, Request *req, Reply *rep)
{
	Reply none = REPLY__INIT;
	struct call c = { &files_worker, files_worker.ctx, req, rep ? rep : &none };
	int r = files_worker.handlers[req->body_case].run(&c, &t->f);

	if (!rep && none.body_case)
		protobuf_c_message_free_unpacked((ProtobufCMessage *)none.files_prepared, NULL);
	while (files_worker.idle(files_worker.ctx))
		;
	return r;
}

static void pause_forever(int ready)
{
	char c = 0;

	if (write(ready, &c, 1) != 1)
		_exit(98);
	close(ready);
	for (;;)
		pause();
}

/* Parent and child of a case; both tell by a byte when they are ready. */
void tree_start(struct tree *t, subject *parent, subject *child)
{
	int ready[2], back[2];
	char c[TASKS + 1];	/* one more: the end of file says that both have closed it */

	CHECK(pipe2(ready, O_CLOEXEC) == 0 && pipe2(back, O_CLOEXEC) == 0);
	t->pid[0] = fork();
	if (!t->pid[0]) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ready[1], 900);
		dup2(back[1], 901);
		close_range(3, 899, 0);
		close_range(902, ~0u, 0);
		if (chdir(t->dir) < 0)
			_exit(97);
		parent();
		pid_t pid = fork();

		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(901);
			if (child)
				child();
			pause_forever(900);
		}
		if (write(901, &pid, sizeof(pid)) != sizeof(pid))
			_exit(96);
		close(901);
		pause_forever(900);
	}
	close(ready[1]);
	close(back[1]);
	CHECK(read_full(back[0], &t->pid[1], sizeof(pid_t)) == sizeof(pid_t));
	CHECK(read_full(ready[0], c, TASKS + 1) == TASKS);
	close(ready[0]);
	close(back[0]);
}

void tree_kill(struct tree *t)
{
	char path[64];
	int i;

	for (i = 0; i < TASKS; i++)
		kill(t->pid[i], SIGKILL);
	for (i = 0; i < TASKS; i++) {
		waitpid(t->pid[i], NULL, 0);
		snprintf(path, sizeof(path), "/proc/%d", t->pid[i]);
		while (access(path, F_OK) == 0)
			usleep(1000);
	}
}

static noreturn void become_agent(const struct tree *t, uint64_t offset, size_t size)
{
	uint64_t all = ~0ull;
	void *map;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	map = mmap((void *)BASE, size, PROT_READ | PROT_WRITE | PROT_EXEC,
		   MAP_SHARED | MAP_FIXED_NOREPLACE, t->memory, offset);
	if (map != (void *)BASE || (t->weak && cap_set_proc(cap_init()) < 0))
		_exit(99);
	close_range(0, ~0u, 0);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
	__asm__ volatile("jmp *%0" : : "r"(BASE), "b"(BASE + GATE_BLOB_SIZE) : "memory");
	__builtin_unreachable();
}

/* Bare tasks with the pids of the killed ones. */
void tree_agents(struct tree *t)
{
	size_t size = gate_region_size(1, 65536);
	int i;

	t->memory = memfd_create("gates", MFD_CLOEXEC);
	CHECK(ftruncate(t->memory, TASKS * size) == 0);
	for (i = 0; i < TASKS; i++) {
		struct clone_args ca = { .exit_signal = SIGCHLD, .set_tid_size = 1 };
		struct gate_place place = { .base = BASE, .nmailboxes = 1, .size = size,
					    .file_offset = i * size, .pid = t->pid[i] };

		ca.set_tid = (uintptr_t)&t->pid[i];
		t->gate[i] = gate_open(t->memory, &place, true, GATE_MODE_RESTORE, &t->f);
		if (syscall(SYS_clone3, &ca, sizeof(ca)) == 0)
			become_agent(t, i * size, size);
		CHECK(gate_wait_ready(t->gate[i], 0, 5000, &t->f) == 0);
	}
}

void tree_images(struct tree *t, int n)
{
	if (files_worker.set.image_dir > 0)
		close(files_worker.set.image_dir);
	files_worker.set.image_dir = open(t->images[n], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	files_worker.set.opts = &t->opts;
}

int tree_dump(struct tree *t, int n)
{
	FilesCollect collect = FILES_COLLECT__INIT;
	FilesWrite write = FILES_WRITE__INIT;
	FilesSeal seal = FILES_SEAL__INIT;
	FilesRollback rollback = FILES_ROLLBACK__INIT;
	DumpTask task[TASKS], *list[TASKS];
	Request req = REQUEST__INIT;
	int i;

	tree_images(t, n);
	for (i = 0; i < TASKS; i++) {
		dump_task__init(&task[i]);
		task[i].pid = task[i].vpid = t->pid[i];
		task[i].files_id = task[i].fs_id = i + 1;
		list[i] = &task[i];
	}
	collect.n_task = TASKS;
	collect.task = list;
	req.body_case = REQUEST__BODY_FILES_COLLECT;
	req.files_collect = &collect;
	if (tree_ask(t, &req, NULL) == 0) {
		req.body_case = REQUEST__BODY_FILES_WRITE;
		req.files_write = &write;
		if (tree_ask(t, &req, NULL) == 0) {
			req.body_case = REQUEST__BODY_FILES_SEAL;
			req.files_seal = &seal;
			return tree_ask(t, &req, NULL);
		}
	}
	req.body_case = REQUEST__BODY_FILES_ROLLBACK;
	req.files_rollback = &rollback;
	tree_ask(t, &req, NULL);
	return -1;
}

int tree_gates(struct tree *t)
{
	Gates gates = GATES__INIT;
	GatePlace place[TASKS], *list[TASKS];
	Request req = REQUEST__INIT;
	size_t size = gate_region_size(1, 65536);
	int i;

	for (i = 0; i < TASKS; i++) {
		gate_place__init(&place[i]);
		place[i].pid = t->pid[i];
		place[i].address = BASE;
		place[i].size = size;
		place[i].file_offset = i * size;
		place[i].nmailboxes = 1;
		list[i] = &place[i];
	}
	gates.n_place = TASKS;
	gates.place = list;
	gates.has_fd = gates.has_has_fd = true;
	if (fdplane_send(t->plane[0], files_worker.ticket, &t->memory, 1, &t->f) < 0)
		return -1;
	req.body_case = REQUEST__BODY_GATES;
	req.gates = &gates;
	return tree_ask(t, &req, NULL);
}

int tree_prepare(struct tree *t)
{
	FilesPrepare prepare = FILES_PREPARE__INIT;
	RestoreTask task[TASKS], *list[TASKS];
	Request req = REQUEST__INIT;
	int i;

	for (i = 0; i < TASKS; i++) {
		restore_task__init(&task[i]);
		task[i].pid = t->pid[i];
		task[i].files_id = task[i].fs_id = i + 1;
		list[i] = &task[i];
	}
	prepare.n_task = TASKS;
	prepare.task = list;
	req.body_case = REQUEST__BODY_FILES_PREPARE;
	req.files_prepare = &prepare;
	return tree_ask(t, &req, NULL);
}

/* The restore has succeeded: the keepers are told. */
static int keep(struct tree *t)
{
	FilesKeep msg = FILES_KEEP__INIT;
	Request req = REQUEST__INIT;
	Reply rep = REPLY__INIT;
	int fds[8], r;

	req.body_case = REQUEST__BODY_FILES_KEEP;
	req.files_keep = &msg;
	if (tree_ask(t, &req, &rep) < 0 || !CHECK(rep.keepers->n <= 8))
		return -1;
	r = rep.keepers->n ?
		    fdplane_recv(t->plane[0], files_worker.ticket, fds, rep.keepers->n, &t->f) : 0;
	if (r == 0)
		CHECK(keeper_decide(fds, rep.keepers->n, true));
	protobuf_c_message_free_unpacked(&rep.keepers->base, NULL);
	return r;
}

int tree_restore(struct tree *t)
{
	FilesRestore restore = FILES_RESTORE__INIT;
	FilesFinish finish = FILES_FINISH__INIT;
	Request req = REQUEST__INIT;
	uint32_t pids[TASKS] = { t->pid[0], t->pid[1] };

	tree_images(t, 0);
	if (tree_prepare(t) < 0 || tree_gates(t) < 0)
		return -1;
	restore.n_pid = TASKS;
	restore.pid = pids;
	req.body_case = REQUEST__BODY_FILES_RESTORE;
	req.files_restore = &restore;
	if (tree_ask(t, &req, NULL) < 0)
		return -1;
	req.body_case = REQUEST__BODY_FILES_FINISH;
	req.files_finish = &finish;
	return tree_ask(t, &req, NULL) < 0 ? -1 : keep(t);
}

/* A file of O_TMPFILE is restored as an ordinary file, and named by its inode: "/tmp/#4711". */
static void blank_nameless(RegFileEntry *e)
{
	char *hash = strstr(e->name, "/#");

	e->flags &= ~O_TMPFILE;
	if (hash)
		hash[2] = '\0';
}

/* Inode numbers of what was made anew differ: they are blanked. */
static void blank_message(ProtobufCMessage *msg)
{
	if (msg->descriptor == &file_entry__descriptor) {
		FileEntry *e = (FileEntry *)msg;

		if (e->pipe)
			e->pipe->pipe_id = 0;
		if (e->fifo)
			e->fifo->pipe_id = 0;
		if (e->reg)
			blank_nameless(e->reg);
	} else if (msg->descriptor == &pipe_data_entry__descriptor) {
		((PipeDataEntry *)msg)->pipe_id = 0;
	} else if (msg->descriptor == &ghost_file_entry__descriptor) {
		((GhostFileEntry *)msg)->ino = 0;
	}
}

/* All entries of an image, packed after blanking, one after the other. */
static size_t read_all(int dir, enum img_type type, uint64_t id, unsigned char *buf, size_t size)
{
	struct fault f = { 0 };
	AUTO_IMAGE struct image *img = image_open(dir, type, id, &f);
	ProtobufCMessage *msg;
	size_t n = 0, part;

	while (img && image_read(img, &msg, &f) > 0) {
		blank_message(msg);
		part = protobuf_c_message_get_packed_size(msg);
		if (n + part <= size)
			n += protobuf_c_message_pack(msg, buf + n);
		part = 0;
		if (type == IMG_PIPES_DATA || type == IMG_FIFO_DATA)
			part = ((PipeDataEntry *)msg)->bytes;
		if (type == IMG_GHOST_FILE)
			part = image_left(img);
		protobuf_c_message_free_unpacked(msg, NULL);
		if (n + part > size || image_read_data(img, buf + n, part, &f) < 0)
			break;
		n += part;
	}
	return n;
}

void tree_compare(struct tree *t)
{
	AUTO_CLOSE int one = open(t->images[0], O_RDONLY | O_DIRECTORY);
	AUTO_CLOSE int two = open(t->images[1], O_RDONLY | O_DIRECTORY);
	AUTO_CLOSEDIR DIR *list = opendir(t->images[0]);
	static unsigned char a[1 << 20], b[1 << 20];
	struct dirent *de;
	uint64_t id;
	size_t n;
	int type, seen = 0;

	while (list && (de = readdir(list))) {
		type = image_type_by_name(de->d_name, &id);
		if (type < 0)
			continue;
		n = read_all(one, type, id, a, sizeof(a));
		if (!CHECK(n > 0 && read_all(two, type, id, b, sizeof(b)) == n && !memcmp(a, b, n)))
			fprintf(stderr, "%s differs in %s and %s\n", de->d_name, t->images[0],
				t->images[1]);
		seen++;
	}
	CHECK(seen >= 5);
}

void tree_begin(struct tree *t)
{
	Options opts = OPTIONS__INIT;

	memset(t, 0, sizeof(*t));
	t->memory = -1;
	opts.mode = MODE__MODE_DUMP;
	opts.file_validation = (char *)"filesize";
	opts.link_remap = opts.file_locks = true;
	t->opts = opts;
	snprintf(t->images[0], sizeof(t->images[0]), "/tmp/files_test.%d.a", getpid());
	snprintf(t->images[1], sizeof(t->images[1]), "/tmp/files_test.%d.b", getpid());
	snprintf(t->dir, sizeof(t->dir), "/tmp/files_test.%d.d", getpid());
	CHECK(mkdir(t->images[0], 0700) == 0 && mkdir(t->images[1], 0700) == 0);
	CHECK(mkdir(t->dir, 0700) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, t->plane) == 0);
	files_worker.fd_plane = t->plane[1];
}

static void remove_dir(const char *path)
{
	AUTO_CLOSEDIR DIR *d = opendir(path);
	struct dirent *de;

	while (d && (de = readdir(d)))
		unlinkat(dirfd(d), de->d_name, 0);
	CHECK(rmdir(path) == 0);
}

void tree_end(struct tree *t)
{
	int i;

	if (t->f.code)
		fprintf(stderr, "fault: %s\n", t->f.text);
	tree_kill(t);
	for (i = 0; i < TASKS; i++)
		if (t->gate[i])
			gate_close(t->gate[i]);
	auto_close(&t->memory);
	close(t->plane[0]);
	close(t->plane[1]);
	remove_dir(t->images[0]);
	remove_dir(t->images[1]);
	remove_dir(t->dir);
}

/* Let the worker forget a restore that is given up. */
void tree_end_worker(struct tree *t)
{
	FilesRollback rollback = FILES_ROLLBACK__INIT;
	Request req = REQUEST__INIT;

	req.body_case = REQUEST__BODY_FILES_ROLLBACK;
	req.files_rollback = &rollback;
	CHECK(tree_ask(t, &req, NULL) == 0);
}

void tree_round_trip_as(subject *parent, subject *child, bool weak)
{
	struct tree t;

	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	tree_begin(&t);
	t.weak = weak;
	tree_start(&t, parent, child);
	CHECK(tree_dump(&t, 0) == 0);
	tree_kill(&t);
	tree_agents(&t);
	if (CHECK(tree_restore(&t) == 0) && CHECK(tree_dump(&t, 1) == 0))
		tree_compare(&t);
	tree_end(&t);
}

void tree_round_trip(subject *parent, subject *child)
{
	tree_round_trip_as(parent, child, false);
}
