/* SPDX-License-Identifier: MIT */
/*
 * check.c - the counts of a unit test program.
 *
 * Rights:   none.
 * Holds:    the state, for all of the program.
 */
#include "tests/unit/check.h"

struct check_state *check_state(void)
{
	static struct check_state state;

	return &state;
}
