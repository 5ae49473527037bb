/* SPDX-License-Identifier: MIT */
/*
 * hugetlb.h - huge pages of hugetlbfs: the kernel's own mounts of it, one for each page size.
 */
#ifndef STASIS_HUGETLB_H
#define STASIS_HUGETLB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

/* The size of a huge page, as a power of two, in the flags of mmap and memfd_create. */
#define HUGETLB_SIZE_BITS (0x3fu << 26)

#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4u
#endif

#define ANON_HUGE_NAME "/anon_hugepage"

/* HUGETLB_SIZE_BITS of the mount on which MAP_HUGETLB and MFD_HUGETLB make files; 0: it is none. */
uint32_t hugetlb_size_bits(dev_t dev);

/*
 * The number by which images know an object of such a mount. Inode numbers there are another count
 * than those of shared memory, and both go by the same name.
 */
uint64_t hugetlb_shmid(ino_t ino);

/* Bytes of a page; 0 when the bits tell no size. */
uint64_t hugetlb_page(uint32_t flags);

#endif
