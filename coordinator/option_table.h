/* SPDX-License-Identifier: MIT */
/*
 * option_table.h - the rows of the table of options.
 */
#ifndef STASIS_OPTION_TABLE_H
#define STASIS_OPTION_TABLE_H

#include "coordinator/options.h"

#define FOR(cmd) (1u << (cmd))
#define BOTH (FOR(CMD_DUMP) | FOR(CMD_RESTORE))
#define AGAIN (BOTH | FOR(CMD_REPLAY))
#define ANY (AGAIN | FOR(CMD_CHECK) | FOR(CMD_SHOW) | FOR(CMD_TIMELINE))

enum option_kind {
	K_FLAG,		/* --x, --no-x */
	K_STRING,
	K_LIST,		/* may be given several times */
	K_PID,
	K_SECONDS,
	K_SIZE,		/* with K, M, G */
	K_LEVEL,	/* -v, -vvv, -v4 */
	K_INHERIT,	/* fd[N]:KEY */
	K_FEATURE, K_CAPS, K_JSON,
	K_NOTHING,	/* accepted, has no meaning here: the help says why */
	K_EXEC,		/* --exec-cmd */
	K_SOCKETS,	/* -x, --ext-unix-sk[=INODE,...] */
	K_CPU,		/* --cpu-cap: only "none" is there */
	K_MODE,		/* --pre-dump-mode: checked, used by pre-dump only */
	K_REFUSED,
};

struct row {
	const char *name;
	char letter;
	enum option_kind kind;
	unsigned commands;	/* bit set of FOR() */
	size_t has, value;	/* offsets in Options */
	const char *help;	/* or why it is refused */
};

enum value { NO_VALUE, MAY_HAVE_VALUE, NEEDS_VALUE };	/* the second: glued on only */
enum value option_value(const struct row *r);

/* "NAME", "no-NAME": *off tells. NULL: no such option. */
const struct row *option_long(const char *name, size_t len, bool *off);
const struct row *option_letter(char letter);

#endif
