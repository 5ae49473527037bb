/* SPDX-License-Identifier: MIT */
/*
 * progress.c - does a process work?
 *
 * Rights:   ptrace over the process for its I/O; without them its CPU time tells alone.
 * Holds:    nothing.
 */
#include "coordinator/progress.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"

uint64_t progress_of(pid_t pid)
{
	char path[32], buf[512], *p;
	unsigned long long sum = 0, v;
	AUTO_CLOSE int stat = -1, io = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	stat = open(path, O_RDONLY | O_CLOEXEC);
	n = stat < 0 ? -1 : read(stat, buf, sizeof(buf) - 1);
	if (n > 0) {
		unsigned long ut = 0, st = 0;

		buf[n] = '\0';
		p = strrchr(buf, ')');
		if (p && sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &ut,
				&st) == 2)
			sum += ut + st;
	}
	snprintf(path, sizeof(path), "/proc/%d/io", pid);
	io = open(path, O_RDONLY | O_CLOEXEC);
	n = io < 0 ? -1 : read(io, buf, sizeof(buf) - 1);
	if (n > 0) {
		buf[n] = '\0';
		for (p = buf; p && sscanf(p, "%*[a-z_]: %llu", &v) == 1; p = strchr(p, '\n'),
		     p = p ? p + 1 : NULL)
			sum += v;
	}
	return sum;
}
