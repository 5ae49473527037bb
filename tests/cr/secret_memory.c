// SPDX-License-Identifier: MIT
/* secret_memory.c - memfd_secret: nobody else can read it, so it is refused by name. */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static char *secret;

static void before(void)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);

	if (fd < 0)
		case_skip("this kernel has no memfd_secret");
	CHECK(ftruncate(fd, 4096) == 0);
	secret = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (CHECK(secret != MAP_FAILED))
		strcpy(secret, "nobody's business");
}

static void after(void)
{
	CHECK(!strcmp(secret, "nobody's business"));
}

const struct test_case test_case = {
	.proves = "secret memory is refused by name",
	.later = "memfd_secret: its contents are shown to nobody",
	.criu_fails = "it refuses too",
	.before = before,
	.after = after,
};
