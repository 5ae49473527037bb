// SPDX-License-Identifier: MIT
/*
 * self.c - what /proc/self tells of the program itself, and the vDSO: exe,
 * command line, environment, auxv, brk, clocks that go on.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../case.h"

struct portrait {
	char exe[1024], cmdline[1024], environ[4096], auxv[1024], comm[32];
	void *brk;
};

static struct portrait then;
static struct timespec mono, real;

static void slurp(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY);

	memset(text, 0, size);
	CHECK(fd >= 0 && read(fd, text, size) > 0);
	close(fd);
}

static void paint(struct portrait *p)
{
	memset(p, 0, sizeof(*p));
	CHECK(readlink("/proc/self/exe", p->exe, sizeof(p->exe) - 1) > 0);
	slurp("/proc/self/cmdline", p->cmdline, sizeof(p->cmdline));
	slurp("/proc/self/environ", p->environ, sizeof(p->environ));
	slurp("/proc/self/auxv", p->auxv, sizeof(p->auxv));
	slurp("/proc/self/comm", p->comm, sizeof(p->comm));
	p->brk = (void *)syscall(SYS_brk, 0);
}

static double seconds(struct timespec a, struct timespec b)
{
	return (b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) / 1e9;
}

static void before(void)
{
	paint(&then);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &real);
}

static void after(void)
{
	struct portrait now;
	struct timespec m, r;
	char byte;

	paint(&now);
	CHECK(!strcmp(now.exe, then.exe));
	CHECK(!memcmp(now.cmdline, then.cmdline, sizeof(now.cmdline)));
	CHECK(!memcmp(now.environ, then.environ, sizeof(now.environ)));
	CHECK(!memcmp(now.auxv, then.auxv, sizeof(now.auxv)));
	CHECK(!strcmp(now.comm, then.comm));
	CHECK(now.brk == then.brk);
	for (int i = 0; i < 1000; i++) {		/* through the vDSO */
		CHECK(clock_gettime(CLOCK_MONOTONIC, &m) == 0);
		CHECK(clock_gettime(CLOCK_REALTIME, &r) == 0);
		CHECK(seconds(mono, m) >= 0 && seconds(mono, m) < 120);
		mono = m;
	}
	CHECK(seconds(real, r) < 120);
	CHECK(getrandom(&byte, 1, 0) == 1 && getauxval(AT_SYSINFO_EHDR) != 0);
}

const struct test_case test_case = {
	.proves = "exe, arguments, environment, auxv and brk are kept and clocks go on",
	.before = before,
	.after = after,
};
