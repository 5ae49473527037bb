/* SPDX-License-Identifier: MIT */
/*
 * pagemap_scan.h - ioctl(PAGEMAP_SCAN) of /proc/PID/pagemap, Linux 6.7 (include/uapi/linux/fs.h);
 * Debian 12's headers are older than the call, hence names of our own.
 */
#ifndef STASIS_PAGEMAP_SCAN_H
#define STASIS_PAGEMAP_SCAN_H

#include <stdint.h>
#include <sys/ioctl.h>

#define SCAN_FILE (1ull << 2)
#define SCAN_PRESENT (1ull << 3)
#define SCAN_SWAPPED (1ull << 4)
#define SCAN_PFNZERO (1ull << 5)
#define SCAN_GUARD (1ull << 8)		/* Linux 6.15 */

struct scan_region {
	uint64_t start, end, categories;
};

struct scan_arg {
	uint64_t size, flags, start, end, walk_end;
	uint64_t vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)

#endif
