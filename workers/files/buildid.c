/* SPDX-License-Identifier: MIT */
/*
 * buildid.c - find the GNU build id in the notes of an ELF file.
 *
 * The file is whatever a task has open: no offset in it is trusted.
 *
 * Rights:   read the file.
 * Holds:    nothing.
 */
#include "workers/files/buildid.h"

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "proto/control/util.h"

#define HEADERS_MAX 64			/* program headers looked at */
#define NOTES_MAX 65536			/* bytes of one note segment */
#define ID_MAX 512			/* bytes */

static size_t align4(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

/* Walk one note segment. Elf32 and Elf64 notes look the same. */
static size_t find_note(const unsigned char *p, size_t len, uint32_t **words)
{
	Elf64_Nhdr n;
	size_t desc, end;

	while (len >= sizeof(n)) {
		memcpy(&n, p, sizeof(n));
		desc = sizeof(n) + align4(n.n_namesz);
		end = desc + align4(n.n_descsz);
		if (n.n_namesz > len || n.n_descsz > len || end > len)
			return 0;
		if (n.n_type == NT_GNU_BUILD_ID && n.n_descsz && n.n_descsz <= ID_MAX) {
			*words = xcalloc(align4(n.n_descsz) / 4, 4);
			memcpy(*words, p + desc, n.n_descsz);
			return align4(n.n_descsz) / 4;
		}
		p += end;
		len -= end;
	}
	return 0;
}

static size_t read_notes(int fd, uint64_t off, uint64_t size, uint32_t **words)
{
	AUTO_FREE unsigned char *buf = NULL;
	ssize_t n;

	if (size > NOTES_MAX || off > INT64_MAX)
		return 0;
	buf = xcalloc(size, 1);
	n = pread(fd, buf, size, off);
	return n < 0 ? 0 : find_note(buf, n, words);
}

/* Place and kind of program header i, whichever class the file has. */
static bool segment(int fd, const Elf64_Ehdr *h, unsigned int i, Elf64_Phdr *out)
{
	const Elf32_Ehdr *h32 = (const Elf32_Ehdr *)h;
	Elf32_Phdr p;

	if (h->e_ident[EI_CLASS] == ELFCLASS64)
		return i < h->e_phnum &&
		       pread(fd, out, sizeof(*out), h->e_phoff + i * sizeof(*out)) == sizeof(*out);
	if (i >= h32->e_phnum ||
	    pread(fd, &p, sizeof(p), h32->e_phoff + i * sizeof(p)) != sizeof(p))
		return false;
	*out = (Elf64_Phdr){ .p_type = p.p_type, .p_offset = p.p_offset, .p_filesz = p.p_filesz };
	return true;
}

size_t build_id_read(int fd, uint32_t **words)
{
	AUTO_CLOSE int own = -1;
	Elf64_Ehdr h = { 0 };
	Elf64_Phdr p;
	char path[32];
	size_t found;
	unsigned int i;

	/* The descriptor may be for paths or for writing only. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (own < 0 || pread(own, &h, sizeof(h), 0) < (ssize_t)sizeof(Elf32_Ehdr) ||
	    memcmp(h.e_ident, ELFMAG, SELFMAG) != 0)
		return 0;
	for (i = 0; i < HEADERS_MAX && segment(own, &h, i, &p); i++) {
		if (p.p_type != PT_NOTE)
			continue;
		found = read_notes(own, p.p_offset, p.p_filesz, words);
		if (found)
			return found;
	}
	return 0;
}
