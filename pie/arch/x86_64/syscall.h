/* SPDX-License-Identifier: MIT */
/*
 * syscall.h - what the agent needs of x86-64: system calls, clone, the way out, AMX.
 */
#ifndef STASIS_PIE_SYSCALL_H
#define STASIS_PIE_SYSCALL_H

#include <stddef.h>
#include <stdint.h>

#include "pie/include/gate.h"

#define NR_munmap 11
#define NR_futex 202
#define NR_exit_group 231
#define NR_clone3 435
#define NR_futex_waitv 449

static inline int64_t syscall6(uint64_t nr, const uint64_t a[6])
{
	register uint64_t r10 __asm__("r10") = a[3];
	register uint64_t r8 __asm__("r8") = a[4];
	register uint64_t r9 __asm__("r9") = a[5];
	int64_t ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

/*
 * clone3. The child has the parent's stack pointer, maybe in shared memory, so it must not
 * touch it: mailbox and entry wait in registers, and it jumps at once.
 */
static inline int64_t clone_agent(uint64_t args, uint64_t size, uint64_t mailbox, uint64_t entry)
{
	register uint64_t rbx __asm__("rbx") = mailbox;
	register uint64_t r12 __asm__("r12") = entry;
	int64_t ret;

	__asm__ volatile("syscall\n\t"
			 "test	%%rax, %%rax\n\t"
			 "jnz	1f\n\t"
			 "jmp	*%%r12\n"
			 "1:"
			 : "=a"(ret)
			 : "0"((uint64_t)NR_clone3), "D"(args), "S"(size), "r"(rbx), "r"(r12)
			 : "rcx", "r11", "memory");
	return ret;
}

/*
 * Back to the interrupted program: load what the stub does not, then jump into it with the
 * munmap of the region prepared. Flags go through this thread's own stack, because below the
 * program's stack pointer lies its red zone; after popfq only moves, which leave flags alone.
 */
static inline void __attribute__((noreturn)) leave_through_stub(const struct gate_mailbox *m)
{
	__asm__ volatile("pushq	%c[flags](%%rax)\n\t"
			 "mov	%c[rbx](%%rax), %%rbx\n\t"
			 "mov	%c[rbp](%%rax), %%rbp\n\t"
			 "mov	%c[r12](%%rax), %%r12\n\t"
			 "mov	%c[r13](%%rax), %%r13\n\t"
			 "mov	%c[r14](%%rax), %%r14\n\t"
			 "mov	%c[r15](%%rax), %%r15\n\t"
			 "mov	%c[region](%%rax), %%rdi\n\t"
			 "mov	%c[size](%%rax), %%rsi\n\t"
			 "mov	%c[stub](%%rax), %%r11\n\t"
			 "popfq\n\t"
			 "mov	%c[rsp](%%rax), %%rsp\n\t"
			 "mov	%[munmap], %%eax\n\t"
			 "jmp	*%%r11"
			 :
			 : "a"(m), [munmap] "i"(NR_munmap),
			   [flags] "i"(offsetof(struct gate_mailbox, rflags)),
			   [rbx] "i"(offsetof(struct gate_mailbox, rbx)),
			   [rbp] "i"(offsetof(struct gate_mailbox, rbp)),
			   [rsp] "i"(offsetof(struct gate_mailbox, rsp)),
			   [r12] "i"(offsetof(struct gate_mailbox, r12)),
			   [r13] "i"(offsetof(struct gate_mailbox, r13)),
			   [r14] "i"(offsetof(struct gate_mailbox, r14)),
			   [r15] "i"(offsetof(struct gate_mailbox, r15)),
			   [region] "i"(offsetof(struct gate_mailbox, region)),
			   [size] "i"(offsetof(struct gate_mailbox, region_size)),
			   [stub] "i"(offsetof(struct gate_mailbox, stub))
			 : "memory");
	__builtin_unreachable();
}

static inline uint32_t cpuid_edx(uint32_t leaf)
{
	uint32_t eax = leaf, ebx, ecx = 0, edx;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return edx;
}

/*
 * Load a tile configuration and zero tile 0, so that the kernel gives this thread room for
 * tile data (ldtilecfg alone does not). Bytes: the blob is built without vector units.
 */
static inline int64_t amx_touch(uint64_t config)
{
	const uint32_t amx_tile = 1u << 24;	/* CPUID 7.0 EDX */

	if (!(cpuid_edx(7) & amx_tile))
		return -38;			/* ENOSYS */
	__asm__ volatile(".byte 0xc4, 0xe2, 0x78, 0x49, 0x00\n\t"	/* ldtilecfg (%rax) */
			 ".byte 0xc4, 0xe2, 0x7b, 0x49, 0xc0"		/* tilezero %tmm0 */
			 :
			 : "a"(config)
			 : "memory");
	return 0;
}

static inline void cpu_relax(void)
{
	__asm__ volatile("pause");
}

#endif
