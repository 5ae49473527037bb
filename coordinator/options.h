/* SPDX-License-Identifier: MIT */
/*
 * options.h - the command line, with CRIU's names and meanings, into one Options message.
 */
#ifndef STASIS_OPTIONS_H
#define STASIS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"

enum command {
	CMD_DUMP, CMD_RESTORE, CMD_CHECK, CMD_SHOW, CMD_REPLAY, CMD_TIMELINE, CMD_HELP, CMD_VERSION,
};

struct cmdline {
	enum command command;
	Options *opts;			/* strings belong to the process */
	int *inherit_fds;		/* for Options.inherit_fd[i].fd_index */
	size_t ninherit;
	char **args;		/* what is left: files, --exec-cmd's command; NULL ends it */
	int nargs;
	char **features;		/* check --feature */
	size_t nfeatures;
	bool exec_cmd;			/* restore --exec-cmd */
	bool check_caps;		/* check --caps */
	bool json;			/* show --json */
};

/* -1 with f set: unknown, not supported, or damaged option; the sentence names it. */
int options_parse(struct cmdline *c, int argc, char **argv, struct fault *f);

void options_usage(void);

#endif
