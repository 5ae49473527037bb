/* SPDX-License-Identifier: MIT */
/*
 * subjects.c - what the tasks of a files_world have open.
 *
 * Rights:   root.
 * Holds:    nothing.
 */
#include "tests/world/subjects.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int subject_file(const char *name, int flags, const char *text)
{
	int fd = open(name, flags | O_CREAT, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		_exit(95);
	return fd;
}

void subject_regular(void)
{
	int fd = subject_file("a", O_RDWR, "hello world");

	lseek(fd, 3, SEEK_SET);
	subject_file("b", O_WRONLY | O_APPEND | O_CLOEXEC, "log");
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

void subject_regular_child(void)
{
	dup2(3, 77);
	lseek(open("a", O_RDONLY), 5, SEEK_SET);
	umask(0);
	if (chdir("/") < 0)
		_exit(86);
}

void subject_pipes(void)
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

void subject_pipes_small(void)
{
	int p[2];

	if (pipe(p) < 0 || write(p[1], "some bytes", 10) != 10)
		_exit(87);
}

void subject_pipes_child(void)
{
	close(3);
	if (pipe2((int[2]){ 0 }, 0) < 0)
		_exit(93);
}

void subject_fifo(void)
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

void subject_ghosts(void)
{
	char big[20000];
	int fd = subject_file("small", O_RDWR, "tiny");

	memset(big, 'g', sizeof(big));
	open("small", O_RDONLY);
	unlink("small");
	fd = subject_file("holes", O_WRONLY, "begin");
	lseek(fd, 1 << 20, SEEK_SET);
	if (write(fd, big, sizeof(big)) != sizeof(big) || fchmod(fd, 0) < 0 ||
	    fchown(fd, 12, 34) < 0)
		_exit(90);
	link("holes", "second");
	open("second", O_RDONLY);
	unlink("holes");
	unlink("second");
	subject_file("renamed", O_RDWR, "has another name");
	link("renamed", "another");
	unlink("renamed");
	open(".", O_TMPFILE | O_RDWR, 0600);
	mkfifo("gone", 0600);
	open("gone", O_RDWR);
	unlink("gone");
}

void subject_ghosts_child(void)
{
	if (mkdir("sub", 0755) < 0 || mkdir("sub/dir", 0711) < 0 || chdir("sub/dir") < 0 ||
	    rmdir("../dir") < 0 || rmdir("../../sub") < 0)
		_exit(89);
}

void subject_lock(void)
{
	flock(subject_file("a", O_RDWR, "x"), LOCK_EX);
}

void subject_many(void)
{
	int i;

	subject_file("a", O_RDWR, "x");
	for (i = 0; i < 700; i++)
		open(i % 2 ? "a" : "/dev/null", O_RDONLY | (i % 3 ? O_CLOEXEC : 0));
}
