/* SPDX-License-Identifier: MIT */
/*
 * tty_kind.h - the kinds of terminals, told by their device numbers.
 */
#ifndef STASIS_FILES_TTY_KIND_H
#define STASIS_FILES_TTY_KIND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/images/files.pb-c.h"

struct files;

struct tty_kind {
	const char *name;	/* for faults: "virtual terminal" */
	TtyType type;
	bool master;		/* the two ends of a pty have one type */
	bool slave;
	uint32_t image_id;	/* of the first such terminal in an image; 0: by its index */
};

/* NULL: no terminal that can be opened again by its path. */
const struct tty_kind *tty_kind_of(dev_t rdev);

/* The user answers for it. */
extern const struct tty_kind tty_external;

/* Is this the device number of any terminal? */
bool tty_is_device(dev_t rdev);

/* Dump: is it named by --external tty[RDEV:DEV] (hexadecimal)? */
bool tty_is_external(struct files *fs, dev_t rdev, dev_t dev);
/* Restore: the descriptor of --inherit-fd fd[N]:tty[RDEV:DEV], the worker's; -1: none. */
int tty_inherited(struct files *fs, dev_t rdev, dev_t dev);

#endif
