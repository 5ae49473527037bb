/* SPDX-License-Identifier: MIT */
/*
 * files_refuse_test.c - the files worker names what cannot be dumped before anything is stopped.
 *
 * Rights:   root; skipped otherwise.
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/check.h"
#include "tests/world/files_world.h"
#include "tests/world/subjects.h"

#define OTHERS 300		/* locks: more than one read() of /proc/locks gives */

/* What only a driver of the gpu worker could take is none yet, but has its sentence. */
static const char *first_refusal(const FilesPreflightDone *done)
{
	return done->n_obstacle ? done->obstacle[0] :
	       done->n_device ? done->device[0]->refusal : NULL;
}

/* The first obstacle a preflight names. */
static void expect_obstacle(subject *parent, const char *words)
{
	FilesPreflight pre = FILES_PREFLIGHT__INIT;
	Request req = REQUEST__INIT;
	Reply rep = REPLY__INIT;
	uint32_t pids[TASKS];
	const char *told;
	struct tree t;

	tree_begin(&t);
	t.opts.link_remap = t.opts.file_locks = false;
	tree_start(&t, parent, NULL);
	pids[0] = t.pid[0];
	pids[1] = t.pid[1];
	pre.n_pid = TASKS;
	pre.pid = pids;
	tree_images(&t, 0);
	req.body_case = REQUEST__BODY_FILES_PREFLIGHT;
	req.files_preflight = &pre;
	CHECK(tree_ask(&t, &req, &rep) == 0);
	told = rep.files_preflight_done ? first_refusal(rep.files_preflight_done) : NULL;
	if (!CHECK(told))
		fprintf(stderr, "no obstacle, expected %s\n", words);
	else if (!CHECK(strstr(told, words)))
		fprintf(stderr, "got: %s\n", told);
	if (rep.files_preflight_done)
		files_preflight_done__free_unpacked(rep.files_preflight_done, NULL);
	tree_end(&t);
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
	int i, fd = subject_file("big", O_RDWR, "");

	for (i = 0; i < 32; i++)
		if (write(fd, big, sizeof(big)) < 0)
			_exit(88);
	unlink("big");
}

static void other_name_setup(void)
{
	subject_file("a", O_RDWR, "x");
	link("a", "b");
	unlink("a");
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

static void sockets_setup(void)
{
	int i, fd = -1;

	for (i = 0; i < 200; i++)
		fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (flock(fd, LOCK_EX) < 0)
		_exit(88);
}

/*
 * Take locks and let them go: what /proc/locks shows between two read() changes. Does not return.
 */
static void make_noise(void)
{
	int fd[OTHERS], i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; i < OTHERS; i++)
		fd[i] = socket(AF_UNIX, SOCK_DGRAM, 0);
	for (;;) {
		for (i = 0; i < OTHERS; i++)
			flock(fd[i], LOCK_EX);
		usleep(500);
		for (i = 0; i < OTHERS; i++)
			flock(fd[i], LOCK_UN);
		usleep(500);
	}
}

/*
 * One of many sockets is locked: it is found each time, whatever the locks of others do meanwhile.
 */
static void noise(void)
{
	int i, missed = 0;
	struct tree t;
	pid_t other;

	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	tree_begin(&t);
	t.opts.file_locks = false;
	tree_start(&t, sockets_setup, NULL);
	other = fork();
	if (other == 0)
		make_noise();
	for (i = 0; i < 200; i++) {
		t.f.code = 0;
		missed += tree_dump(&t, 0) == 0 || !strstr(t.f.text, "is locked");
	}
	t.f.code = 0;
	if (!CHECK(!missed))
		fprintf(stderr, "missed %d times\n", missed);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	tree_end(&t);
}

int main(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);	/* the tasks' child becomes ours */
	check_run("what cannot be dumped is named before the freeze", obstacles);
	check_run("a lock of one of many sockets is found while others come and go", noise);
	return check_done();
}
