/* SPDX-License-Identifier: MIT */
/*
 * check.c - the counts of a unit test program.
 *
 * Rights:   none.
 * Holds:    the state, for all of the program and its children.
 */
#include "tests/unit/check.h"

#include <stdlib.h>
#include <sys/mman.h>

struct check_state *check_state(void)
{
	static struct check_state *state;

	if (!state) {
		state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (state == MAP_FAILED) {
			perror("the counts of the tests");
			exit(1);
		}
	}
	return state;
}
