/* SPDX-License-Identifier: MIT */
/*
 * openings.h - paths that several tasks need, opened once.
 */
#ifndef STASIS_FILES_OPENINGS_H
#define STASIS_FILES_OPENINGS_H

#include "workers/files/type.h"

struct opened {
	uint32_t id;
	int flags;
	int fd;
};

struct openings {
	struct opened *list;
	size_t n, cap;
};

/*
 * A descriptor of reg file id with these flags, which o keeps. who ("working directory of
 * task 1") begins a fault.
 */
int openings_get(struct files *fs, struct openings *o, uint32_t id, int flags, const char *who,
		 struct fault *f);

/* Close them all. */
void openings_close(struct openings *o);

#define AUTO_OPENINGS __attribute__((cleanup(openings_close)))

#endif
