// SPDX-License-Identifier: MIT
/* unix_names.c - names of sockets: where they are, who bears them, who waits at them. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../case.h"

static int listener, waiting[3], gone_end[2], first, second, relative, moved, abstract, automatic;
static int deleted, deleted_client, bound_pair[2];
static struct sockaddr_un automatic_name;
static socklen_t automatic_len;
static int release[2];
static pid_t child;

static socklen_t path_name(struct sockaddr_un *a, const char *path)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return offsetof(struct sockaddr_un, sun_path) + 1 +
	       snprintf(a->sun_path, sizeof(a->sun_path), "%s", path);
}

static int bound(int type, const char *path)
{
	struct sockaddr_un a;
	socklen_t len = path_name(&a, path);
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);

	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, len) == 0);
	return fd;
}

static int connected(int type, const char *path)
{
	struct sockaddr_un a;
	socklen_t len = path_name(&a, path);
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);

	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&a, len) == 0);
	return fd;
}

static void check_name(int fd, const char *path)
{
	struct sockaddr_un a = { 0 };
	socklen_t len = sizeof(a);

	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	CHECK(strcmp(a.sun_path, path) == 0);
}

/* In a root directory of its own: its name says nothing of where that is. */
static void chrooted(void)
{
	char c;
	int fd;

	close(release[1]);
	CHECK(chroot(case_path("jail")) == 0 && chdir("/") == 0);
	fd = bound(SOCK_DGRAM, "/jailed");
	CHECK(read(release[0], &c, 1) == 0);
	check_name(fd, "/jailed");
	CHECK(access("/jailed", F_OK) == 0);
	CHECK(connected(SOCK_DGRAM, "/jailed") >= 0);
	_exit(0);
}

static void before_listening(void)
{
	int i, l;

	listener = bound(SOCK_STREAM, case_path("listener"));
	CHECK(listen(listener, 5) == 0);
	for (i = 0; i < 3; i++)
		waiting[i] = connected(SOCK_STREAM, case_path("listener"));

	/* A connection that survives its listening socket, and its file. */
	l = bound(SOCK_SEQPACKET, case_path("gone"));
	CHECK(listen(l, 1) == 0);
	gone_end[0] = connected(SOCK_SEQPACKET, case_path("gone"));
	gone_end[1] = accept(l, NULL, NULL);
	CHECK(gone_end[1] >= 0 && close(l) == 0 && unlink(case_path("gone")) == 0);
}

static void before(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0abstract\0name" };
	char cwd[200];

	before_listening();
	/* The same name twice. */
	first = bound(SOCK_DGRAM, case_path("twice"));
	CHECK(unlink(case_path("twice")) == 0);
	second = bound(SOCK_DGRAM, case_path("twice"));
	CHECK(chmod(case_path("twice"), 0640) == 0);

	CHECK(getcwd(cwd, sizeof(cwd)) != NULL);
	CHECK(mkdir(case_path("dir"), 0700) == 0 && chdir(case_path("dir")) == 0);
	relative = bound(SOCK_DGRAM, "relative");
	CHECK(chdir(cwd) == 0);
	moved = bound(SOCK_DGRAM, case_path("moving"));
	CHECK(rename(case_path("moving"), case_path("moved")) == 0);

	deleted = bound(SOCK_DGRAM, case_path("deleted"));
	deleted_client = connected(SOCK_DGRAM, case_path("deleted"));
	CHECK(unlink(case_path("deleted")) == 0 && write(deleted_client, "q", 1) == 1);
	CHECK(mkfifo(case_path("deleted"), 0600) == 0);

	abstract = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(bind(abstract, (struct sockaddr *)&a, 2 + 14) == 0);
	automatic = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(bind(automatic, (struct sockaddr *)&a, sizeof(sa_family_t)) == 0);
	automatic_len = sizeof(automatic_name);
	CHECK(getsockname(automatic, (struct sockaddr *)&automatic_name, &automatic_len) == 0);

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, bound_pair) == 0);
	path_name(&a, case_path("pair"));
	CHECK(bind(bound_pair[1], (struct sockaddr *)&a, sizeof(a)) == 0);

	CHECK(mkdir(case_path("jail"), 0755) == 0 && pipe(release) == 0);
	child = fork();
	if (child == 0)
		chrooted();
}

static void check_listening(void)
{
	char path[200], in[4];
	int i, fd;

	for (i = 0; i < 3; i++)
		CHECK(write(waiting[i], &"012"[i], 1) == 1);
	for (i = 0; i < 3; i++) {
		fd = accept(listener, NULL, NULL);
		CHECK(fd >= 0 && read(fd, in, 1) == 1 && in[0] == '0' + i);
	}
	CHECK(accept(listener, NULL, NULL) == -1 && errno == EAGAIN);
	CHECK(connected(SOCK_STREAM, case_path("listener")) >= 0);
	snprintf(path, sizeof(path), "%s", case_path("gone"));
	check_name(gone_end[1], path);
	CHECK(access(path, F_OK) == -1 && errno == ENOENT);
	CHECK(write(gone_end[0], "x", 1) == 1 && read(gone_end[1], in, 1) == 1);
}

/* A message to that path arrives at fd. */
static void check_reached(const char *path, int fd)
{
	int from = connected(SOCK_DGRAM, path);
	char in[4];

	CHECK(write(from, "m", 1) == 1 && read(fd, in, sizeof(in)) == 1);
	close(from);
}

static void after(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0abstract\0name" }, b = { 0 };
	socklen_t len = sizeof(b);
	struct stat st;
	char in[4];

	check_listening();
	check_reached(case_path("twice"), second);
	check_name(first, case_path("twice"));
	CHECK(read(first, in, 1) == -1 && errno == EAGAIN);
	CHECK(stat(case_path("twice"), &st) == 0 && (st.st_mode & 0777) == 0640);
	check_name(relative, "relative");
	check_reached(case_path("dir/relative"), relative);
	check_name(moved, case_path("moving"));
	check_reached(case_path("moved"), moved);
	CHECK(access(case_path("moving"), F_OK) == -1);
	check_name(deleted, case_path("deleted"));
	CHECK(read(deleted, in, sizeof(in)) == 1 && in[0] == 'q');
	CHECK(write(deleted_client, "rr", 2) == 2 && read(deleted, in, sizeof(in)) == 2);
	CHECK(stat(case_path("deleted"), &st) == 0 && S_ISFIFO(st.st_mode));
	CHECK(sendto(automatic, "a", 1, 0, (struct sockaddr *)&a, 2 + 14) == 1);
	CHECK(recvfrom(abstract, in, 1, 0, (struct sockaddr *)&b, &len) == 1);
	CHECK(len == automatic_len && memcmp(&b, &automatic_name, len) == 0);
	check_name(bound_pair[1], case_path("pair"));
	CHECK(write(bound_pair[0], "p", 1) == 1 && read(bound_pair[1], in, 1) == 1);
	close(release[1]);
	case_child_ok(child);
}

const struct test_case test_case = {
	.proves = "unix sockets keep their names, wherever these are, and who waits to be accepted",
	.criu_fails = "names seen from another root, of connected ends, of renamed files",
	.needs_root = true,
	.before = before,
	.after = after,
};
