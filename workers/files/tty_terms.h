/* SPDX-License-Identifier: MIT */
/*
 * tty_terms.h - the terminals of a restore, as the images describe them.
 */
#ifndef STASIS_FILES_TTY_TERMS_H
#define STASIS_FILES_TTY_TERMS_H

#include "workers/files/tty_kind.h"
#include "workers/files/type.h"

/* One terminal of tty-info.img. */
struct term {
	TtyInfoEntry *info;
	TtyDataEntry *data;		/* NULL: nothing unread */
	const struct tty_kind *kind;
	struct file **file;		/* open files that refer to it */
	size_t nfiles, files_cap;
	int given;			/* the user's descriptor for it (not ours), else -1 */
	bool inherits;			/* a slave that stands for the terminal of the restore */
	bool hung;
	bool has_session;		/* its session was set */
};

struct terms {
	struct term *term;
	size_t n, cap;
	struct term **master;		/* those that are to be made, by index */
	size_t nmasters;
	size_t nmade;			/* of master: the first ones */
};

/* Read tty-info.img and tty-data.img into fs->terms. */
int tty_prepare(struct files *fs, struct fault *f);
/* Add an entry of files.img to its terminal. */
int tty_check(struct files *fs, struct file *file, struct fault *f);
void terms_end(struct files *fs);

/* NULL: there is none. */
struct term *terms_by_id(struct files *fs, uint32_t id);
struct term *terms_master_of(struct files *fs, const struct term *slave);
struct term *terms_slave_of(struct files *fs, const struct term *master);
/* Of a session of the tree; of a pty the master, when it is there. */
struct term *terms_controlling(struct files *fs, uint32_t sid);

/* Of a terminal, the first of its files that is made; not the caller's. -1: none is. */
int terms_fd(const struct term *t);

#endif
