/* SPDX-License-Identifier: MIT */
/*
 * hugetlb.c - huge pages of hugetlbfs.
 *
 * The kernel mounts a hugetlbfs of its own for each page size; a memory file made there, which
 * needs no page, tells the device.
 *
 * Rights:   none.
 * Holds:    the devices, once asked.
 */
#include "workers/common/hugetlb.h"

#include <sys/stat.h>

#include "proto/control/util.h"

#define FIRST_SHIFT 16			/* 64 KiB; x86-64 has 2 MiB and 1 GiB */
#define LAST_SHIFT 34
#define SIZE_AT 26
#define ID_BIT 0x80000000u

static dev_t mount_of(unsigned shift)
{
	int fd = memfd_create("stasis", MFD_CLOEXEC | MFD_HUGETLB | shift << SIZE_AT);
	struct stat st = { 0 };

	if (fd >= 0 && fstat(fd, &st) < 0)
		st.st_dev = 0;
	auto_close(&fd);
	return st.st_dev;
}

uint32_t hugetlb_size_bits(dev_t dev)
{
	static dev_t devices[LAST_SHIFT + 1];
	static bool known;
	unsigned shift;

	if (!dev)
		return 0;
	for (shift = FIRST_SHIFT; !known && shift <= LAST_SHIFT; shift++)
		devices[shift] = mount_of(shift);
	known = true;
	for (shift = FIRST_SHIFT; shift <= LAST_SHIFT; shift++)
		if (devices[shift] == dev)
			return shift << SIZE_AT;
	return 0;
}

uint64_t hugetlb_shmid(ino_t ino)
{
	return (uint32_t)ino ^ ID_BIT;
}

uint64_t hugetlb_page(uint32_t flags)
{
	uint32_t shift = (flags & HUGETLB_SIZE_BITS) >> SIZE_AT;

	return shift >= 12 && shift <= LAST_SHIFT ? 1ull << shift : 0;
}
