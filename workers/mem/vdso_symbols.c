/* SPDX-License-Identifier: MIT */
/*
 * vdso_symbols.c - the functions of a vDSO, from its ELF dynamic symbol table.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/mem/vdso_symbols.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

struct elf {
	const char *data;
	size_t size;
	uint64_t vaddr;			/* of the first loaded byte */
	uint64_t symtab, strtab, strsz, hash;	/* offsets, 0: absent */
};

/* Copy out, so that alignment does not matter. */
static bool get(const struct elf *e, uint64_t offset, void *out, size_t size)
{
	if (offset > e->size || size > e->size - offset)
		return false;
	memcpy(out, e->data + offset, size);
	return true;
}

static bool read_dynamic(struct elf *e, const Elf64_Phdr *ph)
{
	uint64_t i, n = ph->p_filesz / sizeof(Elf64_Dyn);
	Elf64_Dyn d;

	for (i = 0; i < n && get(e, ph->p_offset + i * sizeof(d), &d, sizeof(d)); i++) {
		uint64_t offset = d.d_un.d_ptr - e->vaddr;

		if (d.d_tag == DT_SYMTAB)
			e->symtab = offset;
		else if (d.d_tag == DT_STRTAB)
			e->strtab = offset;
		else if (d.d_tag == DT_STRSZ)
			e->strsz = d.d_un.d_val;
		else if (d.d_tag == DT_HASH)
			e->hash = offset;
	}
	return e->symtab && e->strtab && e->strtab < e->size && e->strsz <= e->size - e->strtab;
}

static bool read_headers(struct elf *e)
{
	Elf64_Phdr ph, dynamic = { 0 };
	bool loaded = false;
	Elf64_Ehdr h;
	int i;

	if (!get(e, 0, &h, sizeof(h)) || memcmp(h.e_ident, ELFMAG, SELFMAG) ||
	    h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_phentsize != sizeof(ph))
		return false;
	for (i = 0; i < h.e_phnum; i++) {
		if (!get(e, h.e_phoff + i * sizeof(ph), &ph, sizeof(ph)))
			return false;
		if (ph.p_type == PT_LOAD && !loaded) {
			e->vaddr = ph.p_vaddr - ph.p_offset;
			loaded = true;
		} else if (ph.p_type == PT_DYNAMIC) {
			dynamic = ph;
		}
	}
	return loaded && dynamic.p_filesz && read_dynamic(e, &dynamic);
}

/* Without DT_HASH: every linker puts the strings right behind the symbols. */
static uint64_t count_symbols(const struct elf *e)
{
	uint32_t nchain;

	if (e->hash && get(e, e->hash + 4, &nchain, sizeof(nchain)))
		return nchain;
	return e->strtab > e->symtab ? (e->strtab - e->symtab) / sizeof(Elf64_Sym) : 0;
}

int vdso_symbols(const char *elf, size_t size, struct vdso_symbols *out)
{
	struct elf e = { .data = elf, .size = size };
	struct vdso_symbol *v;
	uint64_t i, n;
	Elf64_Sym s;

	out->n = 0;
	if (!read_headers(&e))
		return -1;
	n = count_symbols(&e);
	for (i = 0; i < n && get(&e, e.symtab + i * sizeof(s), &s, sizeof(s)); i++) {
		if (ELF64_ST_TYPE(s.st_info) != STT_FUNC || !s.st_size || s.st_name >= e.strsz ||
		    out->n == VDSO_SYMBOLS_MAX)
			continue;
		v = &out->symbol[out->n];
		v->name = elf + e.strtab + s.st_name;
		v->offset = s.st_value - e.vaddr;
		v->size = s.st_size;
		if (v->offset < size && v->size <= size - v->offset &&
		    memchr(v->name, 0, e.strsz - s.st_name))
			out->n++;
	}
	return out->n ? 0 : -1;
}

const struct vdso_symbol *vdso_symbol_find(const struct vdso_symbols *all, const char *name)
{
	size_t i;

	for (i = 0; i < all->n; i++)
		if (!strcmp(all->symbol[i].name, name))
			return &all->symbol[i];
	return NULL;
}
