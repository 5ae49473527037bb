/* SPDX-License-Identifier: MIT */
/*
 * vdso_symbols.h - the functions of a vDSO.
 */
#ifndef STASIS_MEM_VDSO_SYMBOLS_H
#define STASIS_MEM_VDSO_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

#define VDSO_SYMBOLS_MAX 64

struct vdso_symbol {
	const char *name;		/* in the ELF image */
	uint64_t offset, size;
};

struct vdso_symbols {
	struct vdso_symbol symbol[VDSO_SYMBOLS_MAX];
	size_t n;
};

/* List the functions of an ELF image that may be anything. -1: it is no vDSO. */
int vdso_symbols(const char *elf, size_t size, struct vdso_symbols *out);
const struct vdso_symbol *vdso_symbol_find(const struct vdso_symbols *all, const char *name);

#endif
