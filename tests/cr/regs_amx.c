// SPDX-License-Identifier: MIT
/*
 * regs_amx.c - AMX tile registers of a spinning thread.
 *
 * The kernel grants tiles to a process on request (arch_prctl) and allocates
 * the state at the first use; a restorer has to do both again.
 */
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static struct { int stop, spinning; } flags;
static _Alignas(64) uint8_t config[64];
static uint8_t in[2][1024], out[2][1024];
static pthread_t thread;

static __attribute__((target("amx-tile"))) void *hold_tiles(void *arg)
{
	(void)arg;
	__asm__ volatile("ldtilecfg %0\n\t"
			 "mov $64, %%eax\n\t"
			 "tileloadd (%1,%%rax), %%tmm0\n\t"
			 "tileloadd (%2,%%rax), %%tmm7\n\t"
			 "movl $1, 4(%3)\n\t"
			 "1: cmpl $0, (%3)\n\tje 1b\n\t"
			 "tilestored %%tmm0, (%4,%%rax)\n\t"
			 "tilestored %%tmm7, (%5,%%rax)\n\t"
			 "tilerelease\n\t"
			 :
			 : "m"(config), "r"(in[0]), "r"(in[1]), "r"(&flags), "r"(out[0]),
			   "r"(out[1])
			 : "rax", "memory", "cc");
	return NULL;
}

static void before(void)
{
	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) != 0)
		case_skip("this CPU or kernel has no AMX");
	config[0] = 1;				/* palette */
	for (int t = 0; t < 8; t++) {
		config[16 + 2 * t] = 64;	/* bytes a row */
		config[48 + t] = 16;		/* rows */
	}
	for (size_t i = 0; i < sizeof(in); i++)
		((uint8_t *)in)[i] = i * 7 + 3;
	CHECK(pthread_create(&thread, NULL, hold_tiles, NULL) == 0);
	while (!__atomic_load_n(&flags.spinning, __ATOMIC_ACQUIRE))
		case_sleep_ms(1);
}

static void after(void)
{
	__atomic_store_n(&flags.stop, 1, __ATOMIC_RELEASE);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(memcmp(in, out, sizeof(in)) == 0);
}

const struct test_case test_case = {
	.proves = "AMX tiles and their permission are kept",
	.before = before,
	.after = after,
};
