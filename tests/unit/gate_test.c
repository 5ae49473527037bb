/* SPDX-License-Identifier: MIT */
/*
 * gate_test.c - the agent and its client: batches, threads, descriptors.
 *
 * Rights:   none; gate_send_fds needs ptrace rights over the test's own child.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "tests/world/gate_subject.h"

#define SECOND 0x300000000000ul	/* where its child's region lies */
#define PARK 4000

extern const char stasis_agent_blob[], stasis_agent_blob_end[];

static void small_blob(void)
{
	size_t size = stasis_agent_blob_end - stasis_agent_blob;

	printf("# the blob has %zu bytes\n", size);
	CHECK(size > 100 && size <= GATE_BLOB_SIZE);
}

static void batches_of_all_sizes(void)
{
	static const int sizes[] = { 1, 2, 16, 253, 1000 };
	struct subject s;
	size_t k;
	int i;

	gate_subject_start(&s, 1, 1 << 20);
	for (k = 0; k < ARRAY_LEN(sizes); k++) {
		AUTO_BATCH struct batch *b = batch_begin(s.gate);

		for (i = 0; i < sizes[k]; i++)
			CHECK(batch_op(b, 0, 0, SYS_getpid, 0) == i);
		CHECK(!batch_run(b, 5000, &s.f));
		CHECK(batch_executed(b, 0) == sizes[k]);
		for (i = 0; i < sizes[k]; i++)
			if (!CHECK(batch_result(b, 0, i) == s.pid))
				break;
	}
	gate_subject_stop(&s);
}

static void all_kinds_of_arguments(void)
{
	struct subject s;
	uint64_t text, pair, word, copied;
	char *c;
	void *p;

	gate_subject_start(&s, 1, 65536);
	{
		AUTO_BATCH struct batch *b = batch_begin(s.gate);

		text = batch_put_str(b, "/dev/null");
		pair = batch_alloc(b, 8, &p);
		word = batch_alloc(b, 16, &p);
		*(uint64_t *)p = 0x1122334455667788;
		copied = batch_alloc(b, 16, (void **)&c);
		batch_op(b, 0, 0, SYS_openat, 3, gc(AT_FDCWD), ga(text), gc(O_RDWR));
		batch_op(b, 0, 0, SYS_pipe2, 2, ga(pair), gc(0));
		batch_op(b, 0, 0, SYS_write, 3, gl32(pair + 4), ga(text), gc(10));
		batch_op(b, 0, 0, SYS_read, 3, gl32(pair), ga(copied), gc(10));
		batch_op(b, 0, 0, SYS_dup3, 3, gr(0), gc(77), gc(0));
		batch_op(b, 0, 0, GATE_OP_COPY, 3, ga(word + 8), ga(word), gc(4));
		batch_op(b, 0, 0, GATE_OP_STORE32, 2, ga(word), gc(0xaaaaaaaa));
		batch_op(b, 0, 0, SYS_close, 1, gl64(word));
		CHECK(!batch_run(b, 5000, &s.f));
		CHECK(batch_result(b, 0, 2) == 10 && batch_result(b, 0, 3) == 10);
		CHECK(!strcmp(c, "/dev/null"));
		CHECK(batch_result(b, 0, 4) == 77);
		CHECK(*(uint64_t *)p == 0x11223344aaaaaaaa);
		CHECK(((uint64_t *)p)[1] == 0x55667788);
		CHECK(batch_result(b, 0, 7) == -EBADF);

		/* a second list of operations keeps the arena */
		CHECK(batch_op(b, 0, 0, SYS_close, 1, gc(77)) == 0);
		CHECK(batch_op(b, 0, 0, GATE_OP_STORE64, 2, gc(gate_arena_address(s.gate) + word),
			       gr(0)) == 1);
		CHECK(!batch_run(b, 5000, &s.f) && batch_result(b, 0, 0) == 0);
		CHECK(*(uint64_t *)p == 0);
	}
	gate_subject_stop(&s);
}

static void error_stops_a_batch(void)
{
	struct subject s;

	gate_subject_start(&s, 1, 65536);
	{
		AUTO_BATCH struct batch *b = batch_begin(s.gate);

		batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_getpid, 0);
		batch_op(b, 0, 0, SYS_close, 1, gc(500));
		batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_close, 1, gc(500));
		batch_op(b, 0, 0, SYS_getpid, 0);
		CHECK(!batch_run(b, 5000, &s.f));
		CHECK(batch_executed(b, 0) == 3);
		CHECK(batch_result(b, 0, 2) == -EBADF);
		CHECK(batch_result(b, 0, 3) == -ECANCELED);
	}
	gate_subject_stop(&s);
}

static void a_full_arena_is_told(void)
{
	struct subject s;
	void *p;
	int n = 0;

	gate_subject_start(&s, 1, 4096);
	{
		AUTO_BATCH struct batch *b = batch_begin(s.gate);

		CHECK(batch_alloc(b, 4097, &p) == UINT64_MAX && !p);
		CHECK(batch_alloc(b, 3000, &p) == 0 && p);
		while (batch_op(b, 0, 0, SYS_getpid, 0) >= 0)
			n++;
		CHECK(n == (int)((4096 - 3008) / sizeof(struct gate_op)));
		CHECK(batch_put(b, "x", 100) == UINT64_MAX);
		CHECK(!batch_run(b, 5000, &s.f) && batch_result(b, 0, n - 1) == s.pid);
		batch_reset(b);
		CHECK(batch_room(b) == 4096);
	}
	gate_subject_stop(&s);
}

static int add_clone(struct batch *b, const struct clone_args *ca, uint64_t mailbox,
		     uint64_t entry)
{
	uint64_t at = batch_put(b, ca, sizeof(*ca));

	return batch_op(b, 0, GATE_STOP_ON_ERROR, GATE_OP_CLONE, 4, ga(at), gc(sizeof(*ca)),
			gc(mailbox), gc(entry));
}

static void threads_work_side_by_side(void)
{
	enum { N = 100 };
	struct clone_args ca = { .flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
					  CLONE_THREAD | CLONE_SYSVSEM };
	struct subject s;
	int64_t tid[N + 1];
	double t;
	int i;

	gate_subject_start(&s, N + 1, 1 << 20);
	{
		AUTO_BATCH struct batch *b = batch_begin(s.gate);

		for (i = 1; i <= N; i++)
			add_clone(b, &ca, gate_mailbox_address(s.gate, i), gate_entry(s.gate));
		CHECK(!batch_run(b, 5000, &s.f));
		for (i = 1; i <= N; i++)
			CHECK((tid[i] = batch_result(b, 0, i - 1)) > 0);
		for (i = 1; i <= N; i++)
			CHECK(!gate_wait_ready(s.gate, i, 5000, &s.f));
		batch_reset(b);
		t = gate_now_us();
		for (i = 1; i <= N; i++) {
			batch_op(b, i, 0, SYS_gettid, 0);
			batch_op(b, i, 0, SYS_nanosleep, 2,
				 ga(batch_put(b, &(struct timespec){ 0, 20000000 }, 16)), gc(0));
			batch_op(b, i, 0, SYS_getpid, 0);
		}
		CHECK(!batch_run(b, 5000, &s.f));
		CHECK(gate_now_us() - t < N * 20000 / 4);
		for (i = 1; i <= N; i++) {
			CHECK(batch_result(b, i, 0) == tid[i]);
			CHECK(batch_result(b, i, 2) == s.pid);
		}
	}
	gate_subject_stop(&s);
}

/* The parent maps the child's window elsewhere and clones; the child unmaps its parent's. */
static void a_child_runs_its_own_agent(void)
{
	struct clone_args ca = { .exit_signal = SIGCHLD };
	struct subject s;
	struct gate_place place;
	struct gate *child;
	int64_t pid = 0;

	gate_subject_start(&s, 1, 65536);
	place = *gate_place(s.gate);
	place.base = SECOND;
	place.file_offset = place.size;
	child = gate_open(s.memory, &place, true, GATE_MODE_RESTORE, &s.f);
	CHECK(child != NULL);
	{
		struct gate_channel *c = gate_channel_open(s.gate, 900, &s.f);

		CHECK(c && !gate_send_fds(c, &s.memory, (int[]){ 50 }, (int[]){ 0 }, 1, &s.f));
		CHECK(!gate_channel_close(c, &s.f));
	}
	{
		AUTO_BATCH struct batch *b = batch_begin(s.gate);

		batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_mmap, 6, gc(SECOND), gc(place.size),
			 gc(PROT_READ | PROT_WRITE | PROT_EXEC),
			 gc(MAP_SHARED | MAP_FIXED_NOREPLACE), gc(50), gc(place.size));
		add_clone(b, &ca, gate_mailbox_address(child, 0), gate_entry(child));
		batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_munmap, 2, gc(SECOND), gc(place.size));
		CHECK(!batch_run(b, 5000, &s.f) && batch_executed(b, 0) == 3);
		pid = batch_result(b, 0, 1);
	}
	CHECK(pid > 0 && !gate_wait_ready(child, 0, 5000, &s.f));
	{
		AUTO_BATCH struct batch *b = batch_begin(child);

		batch_op(b, 0, 0, SYS_munmap, 2, gc(SUBJECT_BASE), gc(place.size));
		batch_op(b, 0, 0, SYS_getpid, 0);
		batch_op(b, 0, 0, SYS_getppid, 0);
		CHECK(!batch_run(b, 5000, &s.f));
		CHECK(batch_result(b, 0, 0) == 0);
		CHECK(batch_result(b, 0, 1) == pid);
		CHECK(batch_result(b, 0, 2) == s.pid);
	}
	gate_close(child);
	if (pid > 0)
		kill(pid, SIGKILL);
	gate_subject_stop(&s);
}

/* A file whose inode tells which descriptor it was. */
static int numbered_file(void)
{
	int fd = memfd_create("numbered", MFD_CLOEXEC);

	if (fd < 0)
		die("memfd_create: errno %d", errno);
	return fd;
}

static bool same_file(pid_t pid, int theirs, int ours, int flags)
{
	struct stat a, b;
	char path[64], line[256];
	unsigned got = 0;
	AUTO_FCLOSE FILE *info = NULL;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, theirs);
	if (stat(path, &a) || fstat(ours, &b) || a.st_ino != b.st_ino || a.st_dev != b.st_dev)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, theirs);
	info = fopen(path, "r");
	while (info && fgets(line, sizeof(line), info))
		if (sscanf(line, "flags: %o", &got) == 1)
			break;
	return (got & O_CLOEXEC) == (unsigned)flags;
}

static int count_fds(pid_t pid)
{
	AUTO_CLOSEDIR DIR *d = NULL;
	char path[64];
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && readdir(d))
		n++;
	return n - 2;
}

static void raise_nofile(void)
{
	struct rlimit r;

	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	CHECK(r.rlim_max > PARK && !setrlimit(RLIMIT_NOFILE, &r));
}

/* Send n descriptors to target(i); before that the task has 0..2 and whatever came earlier. */
static void send_and_compare(struct subject *s, struct gate_channel *c, size_t n,
			     int (*target)(size_t))
{
	AUTO_FREE int *fds = xcalloc(n, sizeof(int)), *at = xcalloc(n, sizeof(int));
	AUTO_FREE int *flags = xcalloc(n, sizeof(int));
	bool same = true;
	double t;
	size_t i;

	for (i = 0; i < n; i++) {
		fds[i] = numbered_file();
		at[i] = target(i);
		flags[i] = i % 3 ? 0 : O_CLOEXEC;
	}
	t = gate_now_us();
	CHECK(!gate_send_fds(c, fds, at, flags, n, &s->f));
	printf("# %zu descriptors: %.0f us\n", n, gate_now_us() - t);
	for (i = 0; i < n; i++) {
		same = same && same_file(s->pid, at[i], fds[i], flags[i]);
		close(fds[i]);
	}
	CHECK(same);
}

static int target_one(size_t i) { return 1 + i; }
static int target_dense(size_t i) { return i; }
static int target_backwards(size_t i) { return 999 - i; }
static int target_mixed(size_t i) { return (i * 7) % 1000 + (i % 2) * 1000; }
static int target_shifted(size_t i) { return i + 2; }
static int target_far(size_t i) { return i ? i * 3 : PARK - 1; }

static void descriptors_arrive_where_asked(void)
{
	struct subject s;
	struct gate_channel *c;

	raise_nofile();
	gate_subject_start(&s, 1, 1 << 20);
	c = gate_channel_open(s.gate, PARK, &s.f);
	if (CHECK(c != NULL)) {
		send_and_compare(&s, c, 1, target_one);
		send_and_compare(&s, c, 1000, target_dense);
		CHECK(count_fds(s.pid) == 1001);
		send_and_compare(&s, c, 300, target_shifted);
		send_and_compare(&s, c, 1000, target_backwards);
		CHECK(count_fds(s.pid) == 1001);
		send_and_compare(&s, c, 1000, target_mixed);
		send_and_compare(&s, c, 300, target_far);
		CHECK(!gate_channel_close(c, &s.f));
	}
	gate_subject_stop(&s);

	gate_subject_start(&s, 1, 65536);
	c = gate_channel_open(s.gate, PARK, &s.f);
	if (CHECK(c != NULL)) {
		send_and_compare(&s, c, 1000, target_far);
		send_and_compare(&s, c, 1000, target_mixed);
		CHECK(!gate_channel_close(c, &s.f));
	}
	gate_subject_stop(&s);
}

/* Two processes add to one counter in the task, each reading and writing it in two batches. */
static void two_processes(void)
{
	enum { ROUNDS = 300 };
	struct subject s;
	uint64_t cell;
	pid_t other;
	int i, status = 0;

	gate_subject_start(&s, 2, 65536);
	cell = gate_mailbox_address(s.gate, 1) + 2048;	/* not arena: survives batch_begin */
	other = fork();
	for (i = 0; i < ROUNDS; i++) {
		AUTO_BATCH struct batch *b = batch_begin(s.gate);
		void *p;
		uint64_t at = batch_alloc(b, 8, &p);

		batch_op(b, 0, 0, GATE_OP_COPY, 3, ga(at), gc(cell), gc(8));
		CHECK(!batch_run(b, 5000, &s.f));
		batch_op(b, 0, 0, GATE_OP_STORE64, 2, gc(cell), gc(*(uint64_t *)p + 1));
		CHECK(!batch_run(b, 5000, &s.f));
	}
	if (!other)
		_exit(s.f.code != 0);
	waitpid(other, &status, 0);
	CHECK(status == 0);
	CHECK(*(uint64_t *)((char *)gate_mailbox(s.gate, 1) + 2048) == 2 * ROUNDS);
	gate_subject_stop(&s);
}

static void timing(void)
{
	static const int sizes[] = { 1, 16, 256, 1000 };
	struct subject s;
	double t;
	size_t k;
	int i, n, rounds;

	gate_subject_start(&s, 1, 1 << 20);
	for (k = 0; k < ARRAY_LEN(sizes); k++) {
		rounds = sizes[k] > 100 ? 100 : 2000;
		t = gate_now_us();
		for (n = 0; n < rounds; n++) {
			AUTO_BATCH struct batch *b = batch_begin(s.gate);

			for (i = 0; i < sizes[k]; i++)
				batch_op(b, 0, 0, SYS_getppid, 0);
			if (!CHECK(!batch_run(b, 5000, &s.f)))
				break;
		}
		printf("# batch of %d: %.2f us\n", sizes[k], (gate_now_us() - t) / rounds);
	}
	gate_subject_stop(&s);
}

int main(void)
{
	check_run("the blob fits", small_blob);
	check_run("batches of all sizes give all results", batches_of_all_sizes);
	check_run("constants, addresses, results and loads are passed", all_kinds_of_arguments);
	check_run("an error ends a batch where asked", error_stops_a_batch);
	check_run("a full arena is told, not overrun", a_full_arena_is_told);
	check_run("threads work side by side", threads_work_side_by_side);
	check_run("a child runs its own agent", a_child_runs_its_own_agent);
	check_run("descriptors arrive where asked", descriptors_arrive_where_asked);
	check_run("batches of two processes exclude each other", two_processes);
	check_run("timing", timing);
	return check_done();
}
