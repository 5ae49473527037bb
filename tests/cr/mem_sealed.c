// SPDX-License-Identifier: MIT
/*
 * mem_sealed.c - mappings sealed with mseal (Linux 6.10): of a parent, of a child that shares their
 * pages since the fork, private and shared, written to and untouched.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../case.h"

#define MSEAL 462
enum { SIZE = 16 * 4096 };

static char *own, *shared, *code, *open_after;
static pid_t child;

static bool is_sealed(char *p)
{
	return munmap(p, SIZE) < 0 && errno == EPERM && mprotect(p, SIZE, PROT_READ) < 0 &&
	       errno == EPERM && mmap(p, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				      -1, 0) == MAP_FAILED;
}

static char *map(int flags, int prot)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	memset(p, 'x', SIZE / 2);
	CHECK(mprotect(p, SIZE, prot) == 0);
	return p;
}

static void look(char mark)
{
	CHECK(is_sealed(own) && is_sealed(shared) && is_sealed(code));
	CHECK(own[1] == mark && own[4096] == 'x' && own[SIZE - 1] == 0);
	CHECK(code[0] == 'x');
	own[2]++;
}

static void before(void)
{
	own = map(MAP_PRIVATE, PROT_READ | PROT_WRITE);
	shared = map(MAP_SHARED, PROT_READ | PROT_WRITE);
	code = map(MAP_PRIVATE, PROT_READ);
	open_after = map(MAP_PRIVATE, PROT_READ | PROT_WRITE);
	if (syscall(MSEAL, own, SIZE, 0) < 0 && errno == ENOSYS)
		case_skip("no mseal (Linux 6.10)");
	CHECK(syscall(MSEAL, shared, SIZE, 0) == 0 && syscall(MSEAL, code, SIZE, 0) == 0);
	own[1] = 'p';
	child = fork();
	if (!child) {
		own[1] = 'c';
		case_child_wait();
		look('c');
		CHECK(shared[0] == 'S');
		_exit(0);
	}
	CHECK(child > 0);
	case_children_wait(1);
}

static void after(void)
{
	look('p');
	shared[0] = 'S';
	CHECK(munmap(open_after, SIZE) == 0);
	case_release();
	case_child_ok(child);
}

const struct test_case test_case = {
	.proves = "sealed mappings are sealed again",
	.criu_fails = "does not record seals",
	.before = before,
	.after = after,
};
