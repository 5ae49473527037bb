/* SPDX-License-Identifier: MIT */
/*
 * pool_test.c - pieces of a pool: zeroed, apart from each other, of any size.
 */
#include "workers/common/pool.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "tests/unit/check.h"

#define PIECES 30000

static bool is_all(const unsigned char *p, size_t n, unsigned char value)
{
	return !n || (p[0] == value && memcmp(p, p + 1, n - 1) == 0);
}

/* Each is filled with a number of its own: the others must not be touched by that. */
static void test_pieces(void)
{
	static unsigned char *piece[PIECES];
	static size_t size[PIECES];
	size_t i, bad[3] = { 0 };
	struct pool p = { 0 };

	for (i = 0; i < PIECES; i++) {
		size[i] = i % 1000 == 7 ? 300000 + i : i * 37 % 211 + 1;
		piece[i] = pool_take(&p, size[i]);
		bad[0] += !is_all(piece[i], size[i], 0);
		bad[1] += (uintptr_t)piece[i] % alignof(max_align_t) != 0;
		memset(piece[i], (int)(i % 255 + 1), size[i]);
	}
	for (i = 0; i < PIECES; i++)
		bad[2] += !is_all(piece[i], size[i], i % 255 + 1);
	CHECK(!bad[0]);
	CHECK(!bad[1]);
	CHECK(!bad[2]);
	pool_free(&p);
	CHECK(!p.block);
	pool_free(&p);
}

int main(void)
{
	check_run("pieces are zeroed, aligned and apart", test_pieces);
	return check_done();
}
