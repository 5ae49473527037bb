/* SPDX-License-Identifier: MIT */
/*
 * bpfmap.h - bpf maps.
 */
#ifndef STASIS_FILES_BPFMAP_H
#define STASIS_FILES_BPFMAP_H

#include "workers/files/type.h"

extern const struct file_type bpfmap_type;
extern const struct file_type bpf_other_row;	/* programs, links, type descriptions: refused */

#endif
