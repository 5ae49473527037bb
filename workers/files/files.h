/* SPDX-License-Identifier: MIT */
/*
 * files.h - the files worker: descriptor tables and every file that is neither socket nor device.
 */
#ifndef STASIS_FILES_H
#define STASIS_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"
#include "proto/images/image.h"
#include "workers/common/worker.h"

extern struct worker files_worker;

/*
 * All state of this worker. Each pointer belongs to the file named behind it, which
 * makes it when it is first needed; nobody else looks inside.
 */
struct files {
	const struct worker *worker;	/* options and directories: worker->set */

	/* dump */
	struct image *files_img;	/* files.img, open for appending */
	uint32_t last_id;		/* given out in files.img */
	bool survey;			/* entries are not written */
	struct kept *kept;		/* kept.c */
	struct owed *owed;		/* owed.c */
	struct identity *identity;	/* identity.c */
	struct pipes *pipes;		/* pipe.c, both directions */
	struct locks *locks;		/* locks.c, both directions */
	struct ghosts *ghosts;		/* ghost.c */
	struct memfds *memfds;		/* memfd.c, both directions */
	struct ttys *ttys;		/* tty.c */
	struct bpfmaps *bpfmaps;	/* bpfmap.c, both directions */
	struct mqueues *mqueues;	/* mqueue.c, both directions */
	struct tuns *tuns;		/* tun.c, both directions */
	FilesCollect *collect;		/* all tasks */
	struct epolls *epolls;		/* epoll.c */
	struct watched *watched;	/* watched.c */
	SocketList *sockets;	/* found and not told yet: socket.c */
	struct devices *devices;	/* device.c */
	struct irmap *irmap;		/* irmap.c */

	/* restore */
	struct restore *restore;	/* prepare.c */
	struct revivals *revivals;	/* revive.c */
	struct terms *terms;		/* tty_terms.c */
	bool finished;			/* all is done: what is held can go */
	struct deadprocs *deadprocs;	/* deadproc.c */
};

const Options *files_opts(const struct files *fs);
int files_image_dir(const struct files *fs);

#endif
