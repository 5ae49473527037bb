// SPDX-License-Identifier: MIT
/* unix_creds.c - whom sockets and messages name: SO_PEERCRED, SCM_CREDENTIALS. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../case.h"

#define OTHER_UID 4321
#define OTHER_GID 8765

static int listener, accepted, messages[2], plain, waiting, dead_pair;
static pid_t child, dead;
static int from_child[2], release[2];

static socklen_t name_of(struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return offsetof(struct sockaddr_un, sun_path) + 1 +
	       snprintf(a->sun_path, sizeof(a->sun_path), "%s", case_path("listener"));
}

static void check_peer(int fd, pid_t pid, uid_t uid, gid_t gid)
{
	struct ucred c = { 0 };
	socklen_t len = sizeof(c);

	CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) == 0);
	CHECK(c.pid == pid && c.uid == uid && c.gid == gid);
}

/* Connects as another user, holds its end, and says what it sees when told to. */
static void run_child(void)
{
	struct sockaddr_un a;
	socklen_t len = name_of(&a);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char c;

	CHECK(setresgid(OTHER_GID, OTHER_GID, OTHER_GID) == 0);
	CHECK(setresuid(OTHER_UID, OTHER_UID, OTHER_UID) == 0);
	CHECK(write(messages[0], "from child", 10) == 10);
	CHECK(connect(fd, (struct sockaddr *)&a, len) == 0);
	close(release[1]);
	CHECK(read(release[0], &c, 1) == 0);
	check_peer(fd, getppid(), 0, 0);
	_exit(0);
}

static void before(void)
{
	struct sockaddr_un a;
	socklen_t len = name_of(&a);
	int one = 1, pair[2];

	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(listener, (struct sockaddr *)&a, len) == 0 && listen(listener, 5) == 0);
	CHECK(chmod(a.sun_path, 0777) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, messages) == 0);
	CHECK(setsockopt(messages[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) == 0);
	CHECK(pipe(release) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, from_child) == 0);
	child = fork();
	if (child == 0)
		run_child();
	accepted = accept(listener, NULL, NULL);
	CHECK(write(messages[0], "from parent", 11) == 11);
	plain = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(connect(plain, (struct sockaddr *)&a, len) == 0);
	waiting = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(connect(waiting, (struct sockaddr *)&a, len) == 0);

	/* Made by a process that is no more. */
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	dead = fork();
	if (dead == 0) {
		int made[2], control[CMSG_SPACE(sizeof(int)) / sizeof(int)] = { 0 };
		struct iovec iov = { "x", 1 };
		struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				    .msg_controllen = sizeof(control) };
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);

		CHECK(setresgid(-1, OTHER_GID, -1) == 0 && setresuid(-1, OTHER_UID, -1) == 0);
		CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, made) == 0);
		*c = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(c), &made[0], sizeof(int));
		CHECK(sendmsg(pair[0], &h, 0) == 1);
		CHECK(write(messages[0], "from the dead", 13) == 13);
		_exit(0);
	}
	case_child_ok(dead);
	dead_pair = pair[1];
}

/* The next message and whom it names. */
static void check_message(const char *text, pid_t pid, uid_t uid, gid_t gid)
{
	char control[CMSG_SPACE(sizeof(struct ucred))], in[32];
	struct iovec iov = { in, sizeof(in) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	struct ucred who = { 0 };

	CHECK(recvmsg(messages[1], &h, MSG_DONTWAIT) == (ssize_t)strlen(text));
	CHECK(memcmp(in, text, strlen(text)) == 0);
	c = CMSG_FIRSTHDR(&h);
	if (c && c->cmsg_type == SCM_CREDENTIALS)
		memcpy(&who, CMSG_DATA(c), sizeof(who));
	CHECK(who.pid == pid && who.uid == uid && who.gid == gid);
}

static void check_dead(void)
{
	int control[CMSG_SPACE(sizeof(int)) / sizeof(int)], fd;
	char in[4];
	struct iovec iov = { in, 1 };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };

	CHECK(recvmsg(dead_pair, &h, MSG_DONTWAIT) == 1);
	if (!CHECK(h.msg_controllen > 0))
		return;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(fd));
	check_peer(fd, dead, OTHER_UID, OTHER_GID);
}

static void after(void)
{
	int fd;

	check_peer(accepted, child, OTHER_UID, OTHER_GID);
	check_peer(plain, getpid(), 0, 0);
	check_peer(from_child[0], getpid(), 0, 0);
	fd = accept(listener, NULL, NULL);
	check_peer(fd, getpid(), 0, 0);
	fd = accept(listener, NULL, NULL);
	check_peer(fd, getpid(), 0, 0);
	check_message("from child", child, OTHER_UID, OTHER_GID);
	check_message("from parent", getpid(), 0, 0);
	check_message("from the dead", dead, 0, 0);
	check_dead();
	close(release[1]);
	case_child_ok(child);
}

const struct test_case test_case = {
	.proves = "sockets and messages name the processes that made them, also dead ones",
	.criu_fails = "SCM_CREDENTIALS, and SO_PEERCRED of others",
	.needs_root = true,
	.before = before,
	.after = after,
};
