// SPDX-License-Identifier: MIT
/*
 * regs_vector.c - general, x87 control, mxcsr, ymm and (if there) zmm and mask
 * registers of threads that never enter the kernel.
 *
 * Each thread loads a pattern unique to it into every register it can spare,
 * spins on a memory flag without a call, and stores the registers again.
 */
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "../case.h"

/* One address, for the loops have no register to spare. */
static struct { int stop, spinning; } flags;

struct regs {
	uint64_t gpr[8];		/* rbx, r8-r14 */
	_Alignas(64) uint8_t vec[32][64];
	uint64_t mask[8];
	uint32_t mxcsr;
	uint16_t fcw;
};

static struct regs in[3], out[3];
static pthread_t threads[3];

static void fill(struct regs *r, int seed)
{
	uint64_t x = 0x9e3779b97f4a7c15ull * (seed + 1);
	uint8_t *p = (uint8_t *)r;

	for (size_t i = 0; i < sizeof(*r); i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		p[i] = x >> 56;
	}
	r->mxcsr = 0x1f80 | (seed << 13 & 0x6000);	/* rounding mode */
	r->fcw = 0x037f | (seed << 10 & 0x0c00);
}

/* rbx and r8-r14 keep their pattern while the loop looks at the flag. */
static void *hold_gpr(void *arg)
{
	struct regs *i = &in[0], *o = &out[0];

	(void)arg;
	__asm__ volatile("push %%rbp\n\t"
			 "mov %0, %%r15\n\t"
			 "mov %1, %%rbp\n\t"
			 "mov %2, %%rdi\n\t"
			 "mov 0(%%r15), %%rbx\n\t"
			 "mov 8(%%r15), %%r8\n\t"
			 "mov 16(%%r15), %%r9\n\t"
			 "mov 24(%%r15), %%r10\n\t"
			 "mov 32(%%r15), %%r11\n\t"
			 "mov 40(%%r15), %%r12\n\t"
			 "mov 48(%%r15), %%r13\n\t"
			 "mov 56(%%r15), %%r14\n\t"
			 "lock incl 4(%%rdi)\n\t"
			 "1: cmpl $0, (%%rdi)\n\t"
			 "je 1b\n\t"
			 "mov %%rbx, 0(%%rbp)\n\t"
			 "mov %%r8, 8(%%rbp)\n\t"
			 "mov %%r9, 16(%%rbp)\n\t"
			 "mov %%r10, 24(%%rbp)\n\t"
			 "mov %%r11, 32(%%rbp)\n\t"
			 "mov %%r12, 40(%%rbp)\n\t"
			 "mov %%r13, 48(%%rbp)\n\t"
			 "mov %%r14, 56(%%rbp)\n\t"
			 "pop %%rbp\n\t"
			 :
			 : "a"(i->gpr), "c"(o->gpr), "d"(&flags)
			 : "rbx", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
			   "memory", "cc");
	return NULL;
}

#define YMM_LOAD(n)  "vmovdqu " #n "*64(%0), %%ymm" #n "\n\t"
#define YMM_STORE(n) "vmovdqu %%ymm" #n ", " #n "*64(%1)\n\t"
#define ZMM_LOAD(n)  "vmovdqu64 " #n "*64(%0), %%zmm" #n "\n\t"
#define ZMM_STORE(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%1)\n\t"
#define LOW16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) \
	X(14) X(15)
#define HIGH16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) \
	X(28) X(29) X(30) X(31)

static __attribute__((target("avx2"))) void *hold_ymm(void *arg)
{
	struct regs *i = &in[1], *o = &out[1];

	(void)arg;
	__asm__ volatile("ldmxcsr %3\n\tfldcw %4\n\t"
			 LOW16(YMM_LOAD)
			 "lock incl 4(%2)\n\t"
			 "1: cmpl $0, (%2)\n\tje 1b\n\t"
			 LOW16(YMM_STORE)
			 "stmxcsr %5\n\tfnstcw %6\n\t"
			 "vzeroupper\n\t"
			 :
			 : "r"(i->vec), "r"(o->vec), "r"(&flags), "m"(i->mxcsr),
			   "m"(i->fcw), "m"(o->mxcsr), "m"(o->fcw)
			 : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
			   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
			   "xmm15");
	return NULL;
}

static __attribute__((target("avx512f,avx512bw"))) void *hold_zmm(void *arg)
{
	struct regs *i = &in[2], *o = &out[2];

	(void)arg;
	__asm__ volatile(LOW16(ZMM_LOAD) HIGH16(ZMM_LOAD)
			 "kmovq 0(%3), %%k1\n\tkmovq 8(%3), %%k2\n\tkmovq 56(%3), %%k7\n\t"
			 "lock incl 4(%2)\n\t"
			 "1: cmpl $0, (%2)\n\tje 1b\n\t"
			 LOW16(ZMM_STORE) HIGH16(ZMM_STORE)
			 "kmovq %%k1, 0(%4)\n\tkmovq %%k2, 8(%4)\n\tkmovq %%k7, 56(%4)\n\t"
			 "vzeroupper\n\t"
			 :
			 : "r"(i->vec), "r"(o->vec), "r"(&flags), "r"(i->mask), "r"(o->mask)
			 : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
			   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
			   "xmm15");
	return NULL;
}

static void before(void)
{
	__builtin_cpu_init();
	for (int i = 0; i < 3; i++)
		fill(&in[i], i + 1);
	CHECK(pthread_create(&threads[0], NULL, hold_gpr, NULL) == 0);
	if (__builtin_cpu_supports("avx2"))
		CHECK(pthread_create(&threads[1], NULL, hold_ymm, NULL) == 0);
	if (__builtin_cpu_supports("avx512bw"))
		CHECK(pthread_create(&threads[2], NULL, hold_zmm, NULL) == 0);
	while (__atomic_load_n(&flags.spinning, __ATOMIC_ACQUIRE) <
	       1 + (threads[1] != 0) + (threads[2] != 0))
		case_sleep_ms(1);
}

static void after(void)
{
	__atomic_store_n(&flags.stop, 1, __ATOMIC_RELEASE);
	CHECK(pthread_join(threads[0], NULL) == 0);
	CHECK(memcmp(in[0].gpr, out[0].gpr, sizeof(in[0].gpr)) == 0);
	if (threads[1]) {
		CHECK(pthread_join(threads[1], NULL) == 0);
		for (int i = 0; i < 16; i++)
			CHECK(memcmp(in[1].vec[i], out[1].vec[i], 32) == 0);
		CHECK((in[1].mxcsr & 0xffc0) == (out[1].mxcsr & 0xffc0));
		CHECK((in[1].fcw & 0xf3f) == (out[1].fcw & 0xf3f));
	}
	if (threads[2]) {
		CHECK(pthread_join(threads[2], NULL) == 0);
		CHECK(memcmp(in[2].vec, out[2].vec, sizeof(in[2].vec)) == 0);
		CHECK(in[2].mask[0] == out[2].mask[0]);
		CHECK(in[2].mask[1] == out[2].mask[1]);
		CHECK(in[2].mask[7] == out[2].mask[7]);
	}
}

const struct test_case test_case = {
	.proves = "general, x87, SSE, AVX and AVX-512 registers of spinning threads are kept",
	.before = before,
	.after = after,
};
