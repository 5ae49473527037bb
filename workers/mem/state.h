/* SPDX-License-Identifier: MIT */
/*
 * state.h - what this worker keeps between messages.
 */
#ifndef STASIS_MEM_STATE_H
#define STASIS_MEM_STATE_H

struct mem {
	struct dump *dump;		/* dump.c: from MemCollect on */
	struct restore *restore;	/* restore.c: from MemPrepare to MemFinish */
};

void dump_free(struct dump *d);
void restore_free(struct restore *r);

#endif
