/* SPDX-License-Identifier: MIT */
/*
 * type.h - a kind of file is a row of a table; this is what a row must be able to do.
 *
 * Dump:    a descriptor is shown to the rows in order; the first that matches owns it. Its
 *          dump function runs once per open file description (struct file of the kernel),
 *          however many descriptors of however many tasks refer to it.
 * Restore: each entry of files.img is checked by the row of its type before any task exists,
 *          then created once in this worker, then passed to all descriptors that refer to it.
 *
 * To add a kind: write NAME.c with a `const struct file_type NAME_type`, name it in type.c.
 */
#ifndef STASIS_FILES_TYPE_H
#define STASIS_FILES_TYPE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "proto/control/fault.h"
#include "proto/images/files.pb-c.h"

struct files;			/* this worker's state: files.h */
struct batch;
struct gate;
struct table;			/* a descriptor table of a restore: prepare.h */

/*
 * Dump: what is known of an open file. At FilesPreflight (tasks run) only pid, fd and link are,
 * and st (also flags, of what is no regular file) when the path is below /dev or deleted: other
 * paths count as regular files there.
 */
struct facts {
	pid_t pid;		/* the task it was found in, as seen here */
	int fd;			/* number in that task; < 0: enum facts_place */
	int dup; /* our duplicate: ask and read here; do not close, keep or seek it. -1: none */
	bool dup_kept;		/* identity.c has it now and closes it */
	struct stat st;
	const char *link;	/* text of /proc/PID/fd/N */
	uint64_t pos;
	int flags;		/* as F_GETFL: O_*, without O_CLOEXEC */
	int mnt_id;		/* -1: not known */
	bool cloexec;
	bool unix_socket;	/* told without a duplicate of ours that stays */
	bool owed;		/* a socket of which cloexec and locks are not known: owed.h */
	FownEntry *fown;	/* owner and signal, ready for an entry */
	uint32_t id;		/* of the entry in files.img; set before dump() */
};

enum facts_place { FACTS_CWD = -1, FACTS_ROOT = -2, FACTS_MAPPED = -3 };

/* "task 12, descriptor 3 (/dev/tty)": how every fault about an open file begins. Returns buf. */
const char *facts_name(const struct facts *x, char *buf, size_t size);

/* Restore: one entry of files.img. */
struct file {
	uint32_t id;
	const struct file_type *type;
	FileEntry *entry;	/* the member of its type is set (checked) */
	int fd;			/* in this worker, -1 until created */
	bool created;
	bool late;		/* what was created keeps its place only: late.c */
	bool lent;		/* queued in a socket: wanted without users too */
	struct fd_user *users;	/* descriptors that refer to it */
	size_t nusers, users_cap;
	void *priv;		/* the type's own, released by its end() */
};

struct fd_user {
	struct table *table;
	FdinfoEntry *entry;	/* number and flags */
};

/* What create() answers. */
enum created { CREATE_FAILED = -1, CREATED = 0, CREATE_LATER = 1 };

/* NULL functions mean "nothing to do" except where said. */
struct file_type {
	const char *name;	/* "pipe", for faults */
	FdTypes type;		/* FD_TYPES__UND: a row that only refuses */

	/* Dump. Is it ours? NULL: never (the type exists only in images). */
	bool (*match)(const struct facts *x);
	/* Why such a file cannot be dumped and what to do about it. NULL: it can. */
	const char *refuse;
	/*
	 * A row that refuses: but a driver of the gpu worker, or a plugin, may take such a file
	 * (device.h).
	 */
	bool device;
	/*
	 * What a dump and a restore do with such a file, for "stasis check PID". NULL: create it
	 * again.
	 */
	const char *deed;
	/*
	 * dump() but for the entry it writes changes nothing: a survey calls it on running tasks.
	 */
	bool harmless;
	/*
	 * An obstacle of this file alone, told before the freeze: -1 with f set. In a survey all of
	 * x is known (x->dup >= 0).
	 */
	int (*preflight)(struct files *fs, const struct facts *x, struct fault *f);
	/* Write the FileEntry with id x->id (files_write_entry), and images of its own. */
	int (*dump)(struct files *fs, const struct facts *x, struct fault *f);
	/* All files are known, also those in flight in sockets (FilesWrite). */
	int (*dump_done)(struct files *fs, struct fault *f);

	/* Restore. Read images of the type's own; once, after files.img was read. */
	int (*prepare)(struct files *fs, struct fault *f);
	/* Check an entry and what it refers to; after prepare(). Required. */
	int (*check)(struct files *fs, struct file *file, struct fault *f);
	/*
	 * Make it: file->fd here in the worker with flags and position set (the owner, fown, is
	 * set later by the caller: see files_fown). Not called for a file without users.
	 * All tasks exist and their gates are open (files_gate), so system calls that must come
	 * from one task are made through it and the result is fetched (procfs_fetch).
	 * CREATE_LATER when something it needs (another file's fd) is not there
	 * yet: called again after the others had their turn.
	 */
	enum created (*create)(struct files *fs, struct file *file, struct fault *f);
	/*
	 * Can this file be made before any task exists? Then it is, while the worker has nothing
	 * else to do. NULL: no.
	 */
	bool (*early)(struct files *fs, const struct file *file);
	/*
	 * Does it need all threads? Then open_late adds the operations that open it in a task, and
	 * returns the one whose result is the descriptor, in the place of create(). NULL: no.
	 */
	bool (*late)(struct files *fs, const struct file *file);
	int (*open_late)(struct files *fs, const struct file *file, struct batch *b);
	/* All tables are filled: what is left to do in or for the tasks. Once. */
	int (*installed)(struct files *fs, struct fault *f);
	/* Its owner and signal. */
	const FownEntry *(*fown)(struct files *fs, const struct file *file);
	/* Release what the type holds in struct files and file->priv. */
	void (*end)(struct files *fs);
};

/* The table, in the order of asking, ended by NULL; the last row matches everything and refuses. */
extern const struct file_type *const file_types[];
const struct file_type *type_of_facts(const struct facts *x);	/* never NULL */
/* The fault about a file whose row refuses it; always -1. */
int type_refuse(const struct file_type *t, const struct facts *x, struct fault *f);
const struct file_type *type_of_entry(FdTypes type);		/* NULL: not supported */

/* ---- services for rows: dump ---- */

/* Append an entry to files.img. The message stays the caller's. */
int files_write_entry(struct files *fs, const FileEntry *e, struct fault *f);
/* An id no other entry has, for entries that no descriptor refers to (regf_id of a fifo). */
uint32_t files_new_id(struct files *fs);

/* ---- services for rows: restore ---- */

/* The file with that id, NULL when there is none. */
struct file *files_find(struct files *fs, uint32_t id);
/* The gate of a task, NULL when it has none (dead, or not in the tree). */
struct gate *files_gate(struct files *fs, pid_t pid);
/*
 * The first of SPARE_FDS descriptor numbers in the task that neither the image nor a mapped file
 * uses, for things passed there for a moment (gate_channel_open parks at the last of them).
 */
int files_spare_fd(struct files *fs, pid_t pid);
/* Open the file again through /proc/self/fd: another struct file of the same object. */
int files_reopen(int fd, int flags, struct fault *f);
/* The status flags that can be changed, and making those of fd the ones in flags. */
#define FILES_STATUS_FLAGS (O_APPEND | O_ASYNC | O_NONBLOCK | O_DIRECT | O_NOATIME)
int files_set_flags(int fd, uint32_t flags, struct fault *f);

#endif
