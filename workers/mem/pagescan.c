/* SPDX-License-Identifier: MIT */
/*
 * pagescan.c - which pages of a stopped task exist, by ioctl(PAGEMAP_SCAN), Linux 6.7.
 *
 * One call walks the whole address space: holes cost nothing. Extents run across mappings.
 *
 * Rights:   CAP_SYS_PTRACE over the task.
 * Holds:    nothing.
 */
#include "workers/mem/pagescan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "proto/control/util.h"
#include "workers/common/pagemap_scan.h"
#include "workers/mem/vma.h"

/*
 * Kernel trap (6.18): after more than 512 regions walk_end may lie before regions already
 * told. So no more are asked for at once, and the next call begins behind the last one.
 */
#define REGIONS 512

static void add(struct extents *out, const struct scan_region *r)
{
	struct extent *e = grow(&out->extent, out->n++, &out->cap, sizeof(*e));

	*e = (struct extent){ r->start, r->end, r->categories & SCAN_GUARD };
}

int pagescan(pid_t pid, struct extents *out, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	struct scan_region regions[REGIONS];
	struct scan_arg a = {
		.size = sizeof(a),
		.end = USER_END,
		.vec = (uintptr_t)regions,
		.vec_len = REGIONS,
		.category_inverted = SCAN_FILE | SCAN_PFNZERO,
		.category_mask = SCAN_FILE | SCAN_PFNZERO,
		.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
		.return_mask = SCAN_GUARD,
	};
	char path[40];
	int n, i;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fault(f, errno, "open %s", path);
	do {
		n = ioctl(fd, SCAN_IOCTL, &a);
		if (n < 0 && errno == EINVAL && a.return_mask) {
			a.return_mask = 0;	/* a kernel without guard regions */
			n = REGIONS;
			continue;
		}
		if (n < 0)
			return fault(f, errno, "task %d: find its pages (PAGEMAP_SCAN, Linux 6.7)",
				     pid);
		for (i = 0; i < n; i++)
			add(out, &regions[i]);
		if (n)
			a.start = regions[n - 1].end;
	} while (n == REGIONS && a.start < a.end);
	return 0;
}
