/* SPDX-License-Identifier: MIT */
/*
 * mapped.h - dump: the files that are mapped, each once, with the id it has in files.img.
 */
#ifndef STASIS_MEM_MAPPED_H
#define STASIS_MEM_MAPPED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct mapped {
	dev_t dev;
	ino_t ino;
	char *name;
	uint32_t flags;			/* O_RDONLY, O_WRONLY or O_RDWR */
	pid_t pid;			/* where it was seen first */
	uint64_t start, end;		/* of that mapping; 0: the executable */
	bool device;			/* its memory is one */
};

struct mapped_files {
	struct mapped *file;
	size_t n, cap;
};

/* The id of a file; what is not in the table yet is added (the name is copied). */
uint32_t mapped_id(struct mapped_files *all, const struct mapped *file);
void mapped_free(struct mapped_files *all);

#endif
