/* SPDX-License-Identifier: MIT */
/*
 * files_test.c - the files worker without coordinator and bus: what two tasks have open comes back.
 *
 * Rights:   root (clone3 with set_tid, pidfd_getfd); skipped otherwise.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/file.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "tests/world/files_world.h"
#include "tests/world/subjects.h"

static void regular_files(void)
{
	tree_round_trip(subject_regular, subject_regular_child);
}

static void pipes(void)
{
	tree_round_trip(subject_pipes, subject_pipes_child);
}

static void fifos(void)
{
	tree_round_trip(subject_fifo, NULL);
}

static void ghosts(void)
{
	tree_round_trip(subject_ghosts, subject_ghosts_child);
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
	int fd = subject_file("a", O_RDWR, "x");

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
	tree_begin(&t);
	tree_start(&t, sharing_setup, NULL);
	CHECK(tree_dump(&t, 0) == 0);
	tree_kill(&t);
	tree_agents(&t);
	CHECK(tree_restore(&t) == 0);
	CHECK(same_open_file(&t, 0, 3, 0, 20));
	CHECK(same_open_file(&t, 0, 3, 1, 3));
	CHECK(same_open_file(&t, 0, 21, 1, 21));
	CHECK(!same_open_file(&t, 0, 3, 0, 21));
	tree_end(&t);
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
	CHECK(tree_ask(t, &req, NULL) == 0);
	one = fetch(t->pid[1], 2000);
	two = fetch(t->pid[1], 2001);
	CHECK((fcntl(one, F_GETFL) & O_ACCMODE) == O_RDONLY);
	CHECK((fcntl(two, F_GETFL) & O_ACCMODE) == O_RDWR);
}

static void mapped_setup(void)
{
	close_range(0, 2, 0);
	dup2(subject_file("a", O_RDWR, "mapped"), 3);
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
	tree_begin(&t);
	tree_start(&t, mapped_setup, NULL);
	CHECK(tree_dump(&t, 0) == 0);
	tree_kill(&t);
	tree_agents(&t);
	tree_images(&t, 0);
	if (CHECK(tree_prepare(&t) == 0 && tree_gates(&t) == 0))
		install_mapped(&t);
	tree_end_worker(&t);
	tree_end(&t);
}

static void locks_setup(void)
{
	struct flock whole = { .l_type = F_WRLCK }, part = { .l_type = F_RDLCK, .l_start = 3,
							     .l_len = 4 };
	int fd = subject_file("locked", O_RDWR, "0123456789");

	fcntl(fd, F_SETLK, &part);
	dup2(fd, 40);
	fd = subject_file("other", O_RDWR, "0123456789");
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
	tree_round_trip(locks_setup, locks_child);
}

static void many_descriptors(void)
{
	tree_round_trip(subject_many, NULL);
}

static void weak_tasks(void)
{
	tree_round_trip_as(subject_many, subject_regular_child, true);
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
	check_run("locks are held again", locks);
	check_run("many descriptors come back", many_descriptors);
	check_run("tasks that may not fetch descriptors get them sent", weak_tasks);
	return check_done();
}
