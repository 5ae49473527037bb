/* SPDX-License-Identifier: MIT */
/*
 * sanitizer.c - how the programs of `make asan` run: linked into them and nothing else.
 *
 * A process that ends with its one operation leaves its memory to the kernel, and to look for
 * leaks takes ptrace, which the workers gave up. The unit tests do look for leaks. A pointer to
 * what stood in a function that has returned is found by its use (it is not by default).
 */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0:detect_stack_use_after_return=1";
}
