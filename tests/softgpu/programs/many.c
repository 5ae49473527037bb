// SPDX-License-Identifier: MIT
/*
 * many.c - scenario (g): many processes with many shared buffers each.
 *
 *   many [PROCESSES [BUFFERS]]     default 50 and 200
 *
 * The first process makes all buffers (a page each, half of them in VRAM) and passes them to
 * every child. Afterwards every process finds its buffers' contents; each child marks every
 * buffer in its own word, and the first sees all marks.
 */
#include "amd.h"
#include "target.h"

#include <amdgpu_drm.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE 4096
#define MARKS 256		/* words at the start of each buffer, one per child */

struct set {
	int fd, n;
	uint32_t *handles;
	volatile uint32_t **cpu;
};

static void set_make(struct set *set, int n)
{
	set->fd = amd_node(0);
	set->n = n;
	set->handles = calloc((size_t)n, sizeof(*set->handles));
	set->cpu = calloc((size_t)n, sizeof(*set->cpu));
	NEED(set->handles && set->cpu);
}

static void check_contents(const struct set *set)
{
	for (int i = 0; i < set->n; i++)
		CHECK(is_filled(set->cpu[i], MARKS, SIZE, (unsigned int)i));
}

static void child(int number, int n, int sock)
{
	struct set set;
	int fd;

	set_make(&set, n);
	for (int i = 0; i < n; i++) {
		fd = fd_receive(sock);
		set.handles[i] = raw_import(set.fd, fd);
		close(fd);
		set.cpu[i] = raw_map(set.fd, set.handles[i], SIZE);
	}
	NEED(write(sock, "r", 1) == 1);
	close(sock);
	target_wait();
	check_contents(&set);
	for (int i = 0; i < n; i++) {
		CHECK(raw_size(set.fd, set.handles[i]) == SIZE);
		set.cpu[i][number] = 0xc0000000u + (unsigned int)(number * n + i);
	}
	_exit(target_end());
}

int main(int argc, char **argv)
{
	int processes = argc > 1 ? atoi(argv[1]) : 50, n = argc > 2 ? atoi(argv[2]) : 200, pair[2],
	    fd;
	pid_t *pids = calloc((size_t)processes, sizeof(*pids));
	struct set set;
	char byte;

	target_begin();
	if (processes < 1 || processes > MARKS || n < 1 || !pids)
		return 2;
	set_make(&set, n);
	for (int i = 0; i < n; i++) {
		set.handles[i] = raw_create(set.fd, SIZE,
					    i % 2 ? AMDGPU_GEM_DOMAIN_VRAM : AMDGPU_GEM_DOMAIN_GTT);
		set.cpu[i] = raw_map(set.fd, set.handles[i], SIZE);
		fill(set.cpu[i], MARKS, SIZE, (unsigned int)i);
	}
	for (int p = 1; p < processes; p++) {
		NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		pids[p] = target_fork();
		if (pids[p] == 0) {
			close(set.fd);
			close(pair[0]);
			child(p, n, pair[1]);
		}
		close(pair[1]);
		for (int i = 0; i < n; i++) {
			fd = raw_export(set.fd, set.handles[i]);
			fd_send(pair[0], fd);
			close(fd);
		}
		NEED(read(pair[0], &byte, 1) == 1);
		close(pair[0]);
	}
	target_ready();
	for (int p = 1; p < processes; p++)
		target_wake(pids[p]);
	check_contents(&set);
	for (int p = 1; p < processes; p++)
		target_join(pids[p]);
	for (int p = 1; p < processes; p++)
		for (int i = 0; i < n; i++)
			CHECK(set.cpu[i][p] == 0xc0000000u + (unsigned int)(p * n + i));
	return target_end();
}
