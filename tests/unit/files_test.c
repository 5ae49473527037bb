/* SPDX-License-Identifier: MIT */
/*
 * files_test.c - the files worker without coordinator and bus: its handlers are called on a
 * tree of our own children.
 *
 * Each case sets up descriptors in two tasks (a parent and its child), dumps them, kills them,
 * makes two bare tasks with an agent and the same pids, restores into those and dumps again. Both
 * dumps must describe the same files.
 *
 * Rights:   root (clone3 with set_tid, pidfd_getfd); skipped otherwise.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/control/fdplane.h"
#include "proto/control/util.h"
#include "proto/images/files.pb-c.h"
#include "proto/images/image.h"
#include "proto/images/task.pb-c.h"
#include "tests/unit/check.h"
#include "workers/common/gate_client.h"
#include "workers/common/keeper.h"
#include "workers/files/files.h"

#define BASE 0x200000000000ul	/* not where a sanitizer keeps its shadow */
#define TASKS 2

struct tree {
	pid_t pid[TASKS];
	char images[2][64];		/* of the first and the second dump */
	char dir[64];			/* where the tasks work */
	Options opts;
	int plane[2];
	int memory;
	bool weak;			/* the second pair of tasks has no capabilities */
	struct gate *gate[TASKS];
	struct fault f;
};

typedef void (*setup)(void);

static int ask(struct tree *t, Request *req, Reply *rep)
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

/* The tasks */

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
static void start_tree(struct tree *t, setup parent, setup child)
{
	int ready[2], back[2];
	char c[TASKS + 1];		/* one more: the end of file says that both have closed it */

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

static void kill_tree(struct tree *t)
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
static void start_agents(struct tree *t)
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

/* The conversations */

static void open_images(struct tree *t, int n)
{
	if (files_worker.set.image_dir > 0)
		close(files_worker.set.image_dir);
	files_worker.set.image_dir = open(t->images[n], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	files_worker.set.opts = &t->opts;
}

static int dump_tree(struct tree *t, int n)
{
	FilesCollect collect = FILES_COLLECT__INIT;
	FilesWrite write = FILES_WRITE__INIT;
	FilesSeal seal = FILES_SEAL__INIT;
	FilesRollback rollback = FILES_ROLLBACK__INIT;
	DumpTask task[TASKS], *list[TASKS];
	Request req = REQUEST__INIT;
	int i;

	open_images(t, n);
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
	if (ask(t, &req, NULL) == 0) {
		req.body_case = REQUEST__BODY_FILES_WRITE;
		req.files_write = &write;
		if (ask(t, &req, NULL) == 0) {
			req.body_case = REQUEST__BODY_FILES_SEAL;
			req.files_seal = &seal;
			return ask(t, &req, NULL);
		}
	}
	req.body_case = REQUEST__BODY_FILES_ROLLBACK;
	req.files_rollback = &rollback;
	ask(t, &req, NULL);
	return -1;
}

static int send_gates(struct tree *t)
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
	return ask(t, &req, NULL);
}

static int prepare_restore(struct tree *t)
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
	return ask(t, &req, NULL);
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
	if (ask(t, &req, &rep) < 0 || !CHECK(rep.keepers->n <= 8))
		return -1;
	r = rep.keepers->n ? fdplane_recv(t->plane[0], files_worker.ticket, fds, rep.keepers->n, &t->f) : 0;
	if (r == 0)
		CHECK(keeper_decide(fds, rep.keepers->n, true));
	protobuf_c_message_free_unpacked(&rep.keepers->base, NULL);
	return r;
}

static int restore_tree(struct tree *t)
{
	FilesRestore restore = FILES_RESTORE__INIT;
	FilesFinish finish = FILES_FINISH__INIT;
	Request req = REQUEST__INIT;
	uint32_t pids[TASKS] = { t->pid[0], t->pid[1] };

	open_images(t, 0);
	if (prepare_restore(t) < 0 || send_gates(t) < 0)
		return -1;
	restore.n_pid = TASKS;
	restore.pid = pids;
	req.body_case = REQUEST__BODY_FILES_RESTORE;
	req.files_restore = &restore;
	if (ask(t, &req, NULL) < 0)
		return -1;
	req.body_case = REQUEST__BODY_FILES_FINISH;
	req.files_finish = &finish;
	return ask(t, &req, NULL) < 0 ? -1 : keep(t);
}

/* Comparing */

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

static void compare_images(struct tree *t)
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

/* One case */

static void begin(struct tree *t)
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

static void end(struct tree *t)
{
	int i;

	if (t->f.code)
		fprintf(stderr, "fault: %s\n", t->f.text);
	kill_tree(t);
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
static void end_worker(struct tree *t)
{
	FilesRollback rollback = FILES_ROLLBACK__INIT;
	Request req = REQUEST__INIT;

	req.body_case = REQUEST__BODY_FILES_ROLLBACK;
	req.files_rollback = &rollback;
	CHECK(ask(t, &req, NULL) == 0);
}

static void round_trip_as(setup parent, setup child, bool weak)
{
	struct tree t;

	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	begin(&t);
	t.weak = weak;
	start_tree(&t, parent, child);
	CHECK(dump_tree(&t, 0) == 0);
	kill_tree(&t);
	start_agents(&t);
	if (CHECK(restore_tree(&t) == 0) && CHECK(dump_tree(&t, 1) == 0))
		compare_images(&t);
	end(&t);
}

static void round_trip(setup parent, setup child)
{
	round_trip_as(parent, child, false);
}

static int make_file(const char *name, int flags, const char *text)
{
	int fd = open(name, flags | O_CREAT, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		_exit(95);
	return fd;
}

static void regular_setup(void)
{
	int fd = make_file("a", O_RDWR, "hello world");

	lseek(fd, 3, SEEK_SET);
	make_file("b", O_WRONLY | O_APPEND | O_CLOEXEC, "log");
	open("a", O_RDONLY | O_NONBLOCK);
	open("a", O_RDONLY | O_NOATIME);
	open(".", O_RDONLY | O_DIRECTORY);
	open("a", O_PATH);
	open("/dev/null", O_RDWR);
	open("/dev/zero", O_RDONLY | O_CLOEXEC);
	open("/dev/full", O_WRONLY);
	open("/dev/random", O_RDONLY);
	open("/dev/urandom", O_RDONLY);
	open("/proc/self/status", O_RDONLY);
	dup2(fd, 500);
	umask(027);
}

static void regular_child(void)
{
	dup2(3, 77);
	lseek(open("a", O_RDONLY), 5, SEEK_SET);
	umask(0);
	CHECK(chdir("/") == 0);
}

static void regular_files(void)
{
	round_trip(regular_setup, regular_child);
}

static void pipes_setup(void)
{
	char text[70000];
	int p[2], q[2], fd;

	memset(text, 'x', sizeof(text));
	if (pipe2(p, O_NONBLOCK) < 0 || pipe2(q, O_CLOEXEC) < 0 ||
	    fcntl(p[1], F_SETPIPE_SZ, 1 << 18) < 0 ||
	    write(p[1], text, sizeof(text)) != sizeof(text) || write(q[1], "few", 3) != 3)
		_exit(94);
	fd = open("/proc/self/fd/4", O_RDONLY);		/* reopened: another struct file */
	open("/proc/self/fd/6", O_RDWR);
	close(q[0]);
	fcntl(fd, F_SETSIG, SIGUSR1);
	fcntl(fd, F_SETOWN, getpid());
	dup2(p[0], 300);
}

static void pipes_setup_small(void)
{
	int p[2];

	if (pipe(p) < 0 || write(p[1], "some bytes", 10) != 10)
		_exit(87);
}

static void pipes_child(void)
{
	close(3);
	if (pipe2((int[2]){ 0 }, 0) < 0)
		_exit(93);
}

static void pipes(void)
{
	round_trip(pipes_setup, pipes_child);
}

static void fifo_setup(void)
{
	int fd;

	if (mkfifo("fifo", 0600) < 0)
		_exit(92);
	fd = open("fifo", O_RDWR);
	if (write(fd, "inside", 6) != 6)
		_exit(91);
	open("fifo", O_RDONLY | O_NONBLOCK);
	open("fifo", O_WRONLY);
	close(fd);
}

static void fifos(void)
{
	round_trip(fifo_setup, NULL);
}

static void ghost_setup(void)
{
	char big[20000];
	int fd = make_file("small", O_RDWR, "tiny");

	memset(big, 'g', sizeof(big));
	open("small", O_RDONLY);
	unlink("small");
	fd = make_file("holes", O_WRONLY, "begin");
	lseek(fd, 1 << 20, SEEK_SET);
	if (write(fd, big, sizeof(big)) != sizeof(big) || fchmod(fd, 0) < 0 ||
	    fchown(fd, 12, 34) < 0)
		_exit(90);
	link("holes", "second");
	open("second", O_RDONLY);
	unlink("holes");
	unlink("second");
	make_file("renamed", O_RDWR, "has another name");
	link("renamed", "another");
	unlink("renamed");
	open(".", O_TMPFILE | O_RDWR, 0600);
	mkfifo("gone", 0600);
	open("gone", O_RDWR);
	unlink("gone");
}

static void ghost_child(void)
{
	if (mkdir("sub", 0755) < 0 || mkdir("sub/dir", 0711) < 0 || chdir("sub/dir") < 0 ||
	    rmdir("../dir") < 0 || rmdir("../../sub") < 0)
		_exit(89);
}

static void ghosts(void)
{
	round_trip(ghost_setup, ghost_child);
}

/* What a task sees through descriptor fd, fetched from outside. */
static int fetch(pid_t pid, int fd)
{
	AUTO_CLOSE int pidfd = syscall(SYS_pidfd_open, pid, 0);

	return syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

static bool same_open_file(struct tree *t, int a, int fd_a, int b, int fd_b)
{
	return syscall(SYS_kcmp, t->pid[a], t->pid[b], 0, fd_a, fd_b) == 0;
}

static void sharing_setup(void)
{
	int fd = make_file("a", O_RDWR, "x");

	dup2(fd, 20);
	dup2(open("a", O_RDWR), 21);
}

static void sharing(void)
{
	struct tree t;

	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	begin(&t);
	start_tree(&t, sharing_setup, NULL);
	CHECK(dump_tree(&t, 0) == 0);
	kill_tree(&t);
	start_agents(&t);
	CHECK(restore_tree(&t) == 0);
	CHECK(same_open_file(&t, 0, 3, 0, 20));
	CHECK(same_open_file(&t, 0, 3, 1, 3));
	CHECK(same_open_file(&t, 0, 21, 1, 21));
	CHECK(!same_open_file(&t, 0, 3, 0, 21));
	end(&t);
}

static void install_mapped(struct tree *t)
{
	FilesInstallMapped install = FILES_INSTALL_MAPPED__INIT;
	MappedWant want = MAPPED_WANT__INIT, *list[1] = { &want };
	uint32_t ids[2] = { 1, 1 }, flags[2] = { O_RDONLY, O_RDWR };
	Request req = REQUEST__INIT;
	AUTO_CLOSE int one = -1, two = -1;

	want.pid = t->pid[1];
	want.first_fd = 2000;
	want.n_file_id = want.n_flags = 2;
	want.file_id = ids;
	want.flags = flags;
	install.n_want = 1;
	install.want = list;
	req.body_case = REQUEST__BODY_FILES_INSTALL_MAPPED;
	req.files_install_mapped = &install;
	CHECK(ask(t, &req, NULL) == 0);
	one = fetch(t->pid[1], 2000);
	two = fetch(t->pid[1], 2001);
	CHECK((fcntl(one, F_GETFL) & O_ACCMODE) == O_RDONLY);
	CHECK((fcntl(two, F_GETFL) & O_ACCMODE) == O_RDWR);
}

static void mapped_setup(void)
{
	close_range(0, 2, 0);
	dup2(make_file("a", O_RDWR, "mapped"), 3);
	unlink("a");
	close(0);
}

static void mapped_files(void)
{
	struct tree t;

	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	begin(&t);
	start_tree(&t, mapped_setup, NULL);
	CHECK(dump_tree(&t, 0) == 0);
	kill_tree(&t);
	start_agents(&t);
	open_images(&t, 0);
	if (CHECK(prepare_restore(&t) == 0 && send_gates(&t) == 0))
		install_mapped(&t);
	end_worker(&t);
	end(&t);
}

/* What only a driver of the gpu worker could take is none yet, but has its sentence. */
static const char *first_refusal(const FilesPreflightDone *done)
{
	return done->n_obstacle ? done->obstacle[0] : done->n_device ? done->device[0]->refusal : NULL;
}

/* The first obstacle a preflight names. */
static void expect_obstacle(setup parent, const char *words)
{
	FilesPreflight pre = FILES_PREFLIGHT__INIT;
	Request req = REQUEST__INIT;
	Reply rep = REPLY__INIT;
	uint32_t pids[TASKS];
	const char *told;
	struct tree t;

	begin(&t);
	t.opts.link_remap = t.opts.file_locks = false;
	start_tree(&t, parent, NULL);
	pids[0] = t.pid[0];
	pids[1] = t.pid[1];
	pre.n_pid = TASKS;
	pre.pid = pids;
	open_images(&t, 0);
	req.body_case = REQUEST__BODY_FILES_PREFLIGHT;
	req.files_preflight = &pre;
	CHECK(ask(&t, &req, &rep) == 0);
	told = rep.files_preflight_done ? first_refusal(rep.files_preflight_done) : NULL;
	if (!CHECK(told))
		fprintf(stderr, "no obstacle, expected %s\n", words);
	else if (!CHECK(strstr(told, words)))
		fprintf(stderr, "got: %s\n", told);
	if (rep.files_preflight_done)
		files_preflight_done__free_unpacked(rep.files_preflight_done, NULL);
	end(&t);
}

static void io_uring_setup(void)
{
	struct io_uring_params p = { 0 };

	syscall(SYS_io_uring_setup, 4, &p);
}

static void userfaultfd_setup(void)
{
	syscall(SYS_userfaultfd, 0);
}

static void perf_setup(void)
{
	struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(a),
				     .config = PERF_COUNT_SW_TASK_CLOCK };

	syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
}

static void large_setup(void)
{
	char big[65536] = { 1 };
	int i, fd = make_file("big", O_RDWR, "");

	for (i = 0; i < 32; i++)
		if (write(fd, big, sizeof(big)) < 0)
			_exit(88);
	unlink("big");
}

static void other_name_setup(void)
{
	make_file("a", O_RDWR, "x");
	link("a", "b");
	unlink("a");
}

static void lock_setup(void)
{
	flock(make_file("a", O_RDWR, "x"), LOCK_EX);
}

static void obstacles(void)
{
	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	expect_obstacle(io_uring_setup, "(anon_inode:[io_uring]) is a ring of io_uring");
	expect_obstacle(userfaultfd_setup, "(anon_inode:[userfaultfd]) is a userfaultfd");
	expect_obstacle(perf_setup, "(anon_inode:[perf_event]) is a performance counter");
	expect_obstacle(large_setup, "--ghost-limit");
	expect_obstacle(other_name_setup, "--link-remap");
}

static void locks_setup(void)
{
	struct flock whole = { .l_type = F_WRLCK }, part = { .l_type = F_RDLCK, .l_start = 3,
							     .l_len = 4 };
	int fd = make_file("locked", O_RDWR, "0123456789");

	fcntl(fd, F_SETLK, &part);
	dup2(fd, 40);
	fd = make_file("other", O_RDWR, "0123456789");
	fcntl(fd, F_OFD_SETLK, &whole);
	flock(open("third", O_RDWR | O_CREAT, 0600), LOCK_EX);
	flock(open("fourth", O_RDWR | O_CREAT, 0600), LOCK_SH);
}

static void locks_child(void)
{
	struct flock mine = { .l_type = F_RDLCK, .l_start = 3, .l_len = 4 };

	fcntl(3, F_SETLK, &mine);
}

static void locks(void)
{
	round_trip(locks_setup, locks_child);
}

static void many_setup(void)
{
	int i;

	make_file("a", O_RDWR, "x");
	for (i = 0; i < 700; i++)
		open(i % 2 ? "a" : "/dev/null", O_RDONLY | (i % 3 ? O_CLOEXEC : 0));
}

static void many_descriptors(void)
{
	round_trip(many_setup, NULL);
}

/* Every image of a dump with random bits flipped or its end cut off: prepare fails or not, no more. */
static void damage(const struct tree *t, unsigned int seed)
{
	char *images[] = { "files.img", "fdinfo-1.img", "remap-fpath.img", "ghost-file-1.img",
			   "pipes-data.img", "fifo-data.img", "filelocks.img" };
	char path[128], buf[8192];
	AUTO_CLOSE int fd = -1;
	ssize_t n;
	int i;

	srandom(seed);
	snprintf(path, sizeof(path), "%s/%s", t->images[0], images[random() % ARRAY_LEN(images)]);
	fd = open(path, O_RDWR);
	n = fd < 0 ? 0 : pread(fd, buf, sizeof(buf), 0);
	if (n <= 8)
		return;
	if (seed % 3 == 0 && ftruncate(fd, random() % n) == 0)
		return;
	for (i = 0; i < 4; i++)
		buf[8 + random() % (n - 8)] ^= 1 << random() % 8;
	CHECK(pwrite(fd, buf, n, 0) == n);
}

static void copy_images(const struct tree *t, int from, int to)
{
	AUTO_CLOSEDIR DIR *d = opendir(t->images[from]);
	static char buf[1 << 20];
	struct dirent *de;
	char path[400];
	ssize_t n;

	while (d && (de = readdir(d))) {
		AUTO_CLOSE int in = openat(dirfd(d), de->d_name, O_RDONLY), out = -1;

		if (de->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", t->images[to], de->d_name);
		out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		n = read(in, buf, sizeof(buf));
		CHECK(n >= 0 && write(out, buf, n) == n);
	}
}

static void damage_setup(void)
{
	regular_setup();
	pipes_setup_small();
	fifo_setup();
	ghost_setup();
	lock_setup();
}

static void damaged_images(void)
{
	unsigned int seed;
	struct tree t;
	int bad = 0;

	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	begin(&t);
	start_tree(&t, damage_setup, NULL);
	CHECK(dump_tree(&t, 1) == 0);
	kill_tree(&t);
	for (seed = 1; seed <= 600; seed++) {
		copy_images(&t, 1, 0);
		damage(&t, seed);
		open_images(&t, 0);
		memset(&t.f, 0, sizeof(t.f));
		if (prepare_restore(&t) < 0) {
			bad++;
			CHECK(t.f.code && t.f.text[0]);
		}
		memset(&t.f, 0, sizeof(t.f));
		end_worker(&t);
	}
	printf("# %d of 600 damaged dumps were refused\n", bad);
	CHECK(bad > 200);
	end(&t);
}

static void weak_tasks(void)
{
	round_trip_as(many_setup, regular_child, true);
}

int main(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);	/* the tasks' child becomes ours */
	check_run("regular files, directories and devices come back with flags and position",
		  regular_files);
	check_run("pipes keep contents, size, ends and owner", pipes);
	check_run("fifos keep contents", fifos);
	check_run("deleted files and directories come back", ghosts);
	check_run("an open file shared by descriptors and tasks is one again", sharing);
	check_run("mapped files are placed with the flags wanted", mapped_files);
	check_run("what cannot be dumped is named before the freeze", obstacles);
	check_run("locks are held again", locks);
	check_run("many descriptors come back", many_descriptors);
	check_run("tasks that may not fetch descriptors get them sent", weak_tasks);
	check_run("damaged images are refused, not believed", damaged_images);
	return check_done();
}
