// SPDX-License-Identifier: MIT
/* regs_pkru.c - protection keys: the PKRU register and the key of a mapping. */
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "../case.h"

static int key;
static char *page;
static uint32_t want;

static uint32_t read_pkru(void)
{
	uint32_t eax, edx;

	__asm__ volatile("rdpkru" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax;
}

static void before(void)
{
	key = pkey_alloc(0, 0);
	if (key < 0)
		case_skip("this CPU or kernel has no protection keys");
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	page[0] = 42;
	CHECK(pkey_mprotect(page, 4096, PROT_READ | PROT_WRITE, key) == 0);
	CHECK(pkey_set(key, PKEY_DISABLE_WRITE) == 0);
	want = read_pkru();
}

static void after(void)
{
	CHECK(read_pkru() == want);
	CHECK(page[0] == 42);
	CHECK(pkey_set(key, 0) == 0);
	page[0] = 43;
	CHECK(pkey_free(key) == 0);		/* it was still allocated */
}

const struct test_case test_case = {
	.proves = "PKRU, an allocated protection key and the key of a mapping are kept",
	.before = before,
	.after = after,
};
