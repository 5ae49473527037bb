/* SPDX-License-Identifier: MIT */
/*
 * raw.h - a system call that touches no memory of the C library, for processes that may not.
 */
#ifndef STASIS_RAW_H
#define STASIS_RAW_H

static inline long raw(long nr, long a, long b, long c, long d, long e, long g)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = g;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#endif
