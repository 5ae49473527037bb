// SPDX-License-Identifier: MIT
/*
 * chain.c - scenario (d): a chain of imports. The last child makes the buffer, everybody before
 * it imports it from the next one and passes on a descriptor of its own import, up to the first
 * process.
 *
 *   chain [N]     N: children, default 2 (A to B to C)
 *
 * Restored in order of pids, every importer comes before its exporter. Each process also has a
 * buffer of its own, whose handle number is that of the shared one in its neighbours. Afterwards
 * all see the same memory.
 */
#include "amd.h"
#include "target.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE 131072
#define MOST 64

/* Process number i of n: child of i - 1, parent of i + 1. "above" is a socket to i - 1, or -1. */
static int link_of_chain(int i, int n, int above)
{
	struct amd amd;
	struct buffer own, shared;
	int pair[2] = { -1, -1 }, fd;
	pid_t next = 0;

	if (i < n) {
		NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		next = target_fork();
		if (next == 0)
			_exit(link_of_chain(i + 1, n, pair[1]));
	}
	amd_open(&amd, 0);
	if (i % 2)
		buffer_make(&amd, &own, 8192, AMDGPU_GEM_DOMAIN_GTT, true);
	if (i < n) {
		fd = fd_receive(pair[0]);
		buffer_import(&amd, &shared, fd, true);
		close(fd);
	} else {
		buffer_make(&amd, &shared, SIZE, AMDGPU_GEM_DOMAIN_VRAM, true);
		fill(shared.cpu, 2 * (size_t)MOST, SIZE, 7);
	}
	if (i % 2 == 0)
		buffer_make(&amd, &own, 8192, AMDGPU_GEM_DOMAIN_GTT, true);
	fill(own.cpu, 0, 8192, (unsigned int)i);
	if (above >= 0) {
		fd = buffer_export(&shared);
		fd_send(above, fd);
		close(fd);
		target_wait();
	} else {
		target_ready();
	}
	if (next)
		target_wake(next);
	if (next)
		CHECK(call_through(shared.cpu + 2 * i, 1000 + (unsigned int)i));
	if (above >= 0)
		CHECK(answer_through(shared.cpu + 2 * (i - 1), 1000 + (unsigned int)i - 1));
	CHECK(is_filled(own.cpu, 0, 8192, (unsigned int)i));
	CHECK(is_filled(shared.cpu, 2 * (size_t)MOST, SIZE, 7));
	CHECK(gpu_sees(&amd, own.va, own.cpu, 8192));
	if (next)
		target_join(next);
	buffer_free(&own);
	buffer_free(&shared);
	amd_close(&amd);
	return target_end();
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 2;

	target_begin();
	close(amd_node(0));
	return n < 1 || n >= MOST ? 2 : link_of_chain(0, n, -1);
}
