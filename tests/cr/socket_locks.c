// SPDX-License-Identifier: MIT
/*
 * socket_locks.c - locks of sockets among hundreds, of which no fdinfo may be read: flock knows no
 * difference. One was taken by a process that has ended, which can be known in the initial pid
 * namespace only.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

#define PAIRS 200
#define EXCLUSIVE 17			/* pairs with a lock */
#define SHARED 180
#define ORPHANED 99
#define INITIAL_PIDS 0xeffffffcul	/* inode of that namespace: PID_NS_INIT_INO, linux/nsfs.h */

static int ends[PAIRS][2], udp;

static bool is_initial_pid_ns(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == INITIAL_PIDS;
}

static void lock_and_end(int fd)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(flock(fd, LOCK_EX) == 0 ? 0 : 1);
	case_child_ok(pid);
}

static void before(void)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		CHECK(socketpair(AF_UNIX, SOCK_STREAM | (i % 2 ? SOCK_CLOEXEC : 0), 0,
				 ends[i]) == 0);
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(flock(ends[EXCLUSIVE][0], LOCK_EX) == 0);
	CHECK(flock(ends[SHARED][1], LOCK_SH) == 0);
	CHECK(flock(udp, LOCK_EX) == 0);
	if (is_initial_pid_ns())
		lock_and_end(ends[ORPHANED][1]);
}

/* The kind of lock that a descriptor has, as fdinfo shows it. */
static bool has_lock(int fd, const char *kind)
{
	char path[64], line[256];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		found = found || (strstr(line, "FLOCK") && strstr(line, kind));
	if (file)
		fclose(file);
	return found;
}

static void after(void)
{
	int i;

	CHECK(has_lock(ends[EXCLUSIVE][0], "WRITE"));
	CHECK(has_lock(ends[SHARED][1], "READ"));
	CHECK(has_lock(udp, "WRITE"));
	CHECK(has_lock(ends[ORPHANED][1], "WRITE") == is_initial_pid_ns() &&
	      !has_lock(ends[ORPHANED][0], "WRITE"));
	CHECK(!has_lock(ends[SHARED][0], "READ") && !has_lock(ends[0][0], "WRITE"));
	for (i = 0; i < PAIRS; i++)
		CHECK(!(fcntl(ends[i][1], F_GETFD) & FD_CLOEXEC) == (i % 2 == 0));
	CHECK(fcntl(udp, F_GETFD) & FD_CLOEXEC);
}

const struct test_case test_case = {
	.proves = "sockets keep their locks, also where there are hundreds",
	.options = "--file-locks",
	.before = before,
	.after = after,
};
