// SPDX-License-Identifier: MIT
/* memfd.c - memory files in every state: sizes, seals, modes, openings, mappings, two tasks. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif

enum { PAGE = 4096, ODD = 5 * PAGE + 123, BIG = 1 << 20, FULL = 64 * PAGE };

static int empty, odd, odd_again, written, future, zero = -1, both;
static char *priv, *ro, *rw, *shared, *copy, *unopened;
static unsigned char *full;
static ino_t ino;
static pid_t child;

static int must(int x)
{
	CHECK(x >= 0);
	return x;
}

static char *map(int fd, int prot, int flags)
{
	char *p = mmap(NULL, 4 * PAGE, prot, flags, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static int reopen(const char *format, unsigned long a, unsigned long b, int flags)
{
	char path[80];

	snprintf(path, sizeof(path), format, a, b);
	return must(open(path, flags));
}

static ino_t ino_of(int fd)
{
	struct stat st;

	CHECK(fstat(fd, &st) == 0);
	return st.st_ino;
}

static void open_files(void)
{
	empty = must(memfd_create("", 0));
	odd = must(memfd_create("odd name (deleted)", MFD_ALLOW_SEALING));
	CHECK(ftruncate(odd, ODD) == 0 && fchmod(odd, 0640) == 0);
	CHECK(pwrite(odd, "hello", 5, ODD - 5) == 5 && lseek(odd, 77, SEEK_SET) == 77);
	odd_again = reopen("/proc/self/fd/%lu", odd, 0, O_RDWR | O_APPEND | O_NONBLOCK);
	CHECK(lseek(odd_again, 9, SEEK_SET) == 9);
	CHECK(fcntl(odd, F_SETOWN, getpid()) == 0);
	priv = map(odd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	strcpy(priv + PAGE, "mine");
}

static void open_sealed(void)
{
	written = must(memfd_create("written", MFD_ALLOW_SEALING));
	CHECK(ftruncate(written, BIG) == 0 && pwrite(written, "seal", 4, PAGE) == 4);
	CHECK(fcntl(written, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) == 0);
	ro = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, written, 0);
	CHECK(ro != MAP_FAILED);
	future = must(memfd_create("future", MFD_ALLOW_SEALING));
	CHECK(ftruncate(future, 4 * PAGE) == 0);
	rw = map(future, PROT_READ | PROT_WRITE, MAP_SHARED);
	CHECK(fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0);
	strcpy(rw, "still");
}

static unsigned char pattern(int i)
{
	return i * 13 + i / PAGE;
}

static void child_body(void)
{
	case_child_wait();
	full[0] = 70;				/* the parent will look */
	exit(0);
}

static void open_shared(void)
{
	both = must(memfd_create("both", MFD_ALLOW_SEALING));
	CHECK(ftruncate(both, FULL) == 0 && fcntl(both, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	full = mmap(NULL, FULL, PROT_READ | PROT_WRITE, MAP_SHARED, both, 0);
	CHECK(full != MAP_FAILED);
	for (int i = 0; i < FULL; i++)
		full[i] = pattern(i);
	child = fork();
	if (child == 0)
		child_body();
}

/* Opening shared anonymous memory takes CAP_CHECKPOINT_RESTORE. */
static void open_anonymous(void)
{
	shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	strcpy(shared, "zero");
	zero = reopen("/proc/self/map_files/%lx-%lx", (unsigned long)shared,
		      (unsigned long)shared + 4 * PAGE, O_RDWR);
	copy = map(zero, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	strcpy(copy + PAGE, "own");
}

static void before(void)
{
	int fd;

	open_files();
	open_sealed();
	open_shared();
	if (getuid() == 0)
		open_anonymous();
	fd = must(memfd_create("closed", 0));
	CHECK(ftruncate(fd, 4 * PAGE) == 0);
	unopened = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	strcpy(unopened, "closed");
	ino = ino_of(fd);
	close(fd);
}

static void after_files(void)
{
	char link[64] = "", buf[8] = "", name[32];
	struct stat st;

	CHECK(fstat(empty, &st) == 0 && st.st_size == 0);
	CHECK(fstat(odd, &st) == 0 && st.st_size == ODD && (st.st_mode & 07777) == 0640);
	CHECK(st.st_blocks * 512 == 2 * PAGE);	/* the last, and one the mapping read */
	CHECK(ino_of(odd_again) == st.st_ino);
	CHECK(lseek(odd, 0, SEEK_CUR) == 77 && lseek(odd_again, 0, SEEK_CUR) == 9);
	CHECK(pread(odd, buf, 5, ODD - 5) == 5 && !strcmp(buf, "hello"));
	CHECK((fcntl(odd_again, F_GETFL) & (O_APPEND | O_NONBLOCK)) == (O_APPEND | O_NONBLOCK));
	CHECK(!(fcntl(odd, F_GETFL) & (O_APPEND | O_NONBLOCK)));
	CHECK(fcntl(odd, F_GETOWN) == getpid() && fcntl(odd, F_GET_SEALS) == 0);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", odd);
	CHECK(readlink(name, link, sizeof(link) - 1) > 0);
	CHECK(!strcmp(link, "/memfd:odd name (deleted) (deleted)"));
	CHECK(!strcmp(priv + PAGE, "mine") && !priv[0]);
	CHECK(pwrite(odd, "X", 1, 0) == 1 && priv[0] == 'X');
	CHECK(pread(odd, buf, 1, PAGE) == 1 && !buf[0]);
}

static void after_shared(void)
{
	unsigned char byte = 0;
	int bad = 0;

	for (int i = 0; i < FULL; i++)
		bad += full[i] != pattern(i);
	CHECK(bad == 0);
	CHECK(pread(both, &byte, 1, 5 * PAGE) == 1 && byte == pattern(5 * PAGE));
	CHECK(fcntl(both, F_GET_SEALS) == F_SEAL_SHRINK);
	CHECK(ftruncate(both, PAGE) < 0);
	case_release();
	case_child_ok(child);
	CHECK(full[0] == 70);
}

static void after_anonymous(void)
{
	char buf[8] = "";

	CHECK(!strcmp(shared, "zero") && !strcmp(copy, "zero") && !strcmp(copy + PAGE, "own"));
	strcpy(shared, "both");
	CHECK(!strcmp(copy, "both") && pread(zero, buf, 5, 0) == 5 && !strcmp(buf, "both"));
	CHECK(!shared[PAGE]);
}

static void after(void)
{
	char buf[8] = "";

	after_files();
	after_shared();
	if (zero >= 0)
		after_anonymous();
	CHECK(!strcmp(ro + PAGE, "seal"));
	CHECK(fcntl(written, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_SEAL));
	CHECK(pwrite(written, "x", 1, 0) < 0);
	CHECK(!strcmp(rw, "still") && fcntl(future, F_GET_SEALS) == F_SEAL_FUTURE_WRITE);
	strcpy(rw, "new");
	CHECK(pread(future, buf, 4, 0) == 4 && !strcmp(buf, "new"));
	CHECK(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, future, 0) == MAP_FAILED);
	CHECK(!strcmp(unopened, "closed") && ino);
}

const struct test_case test_case = {
	.proves = "memory files come back with size, holes, seals, mode, openings and mappings",
	.before = before,
	.after = after,
};
