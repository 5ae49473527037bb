/* SPDX-License-Identifier: MIT */
/*
 * kind.h - a kind of socket is a row of a table; this is what a row must be able to do.
 *
 * Dump:     files found each open socket once and gave it an id. A socket is shown to the rows in
 *           order; the first that matches owns it.
 * Restore:  each entry of files.img is checked by the row before any task exists, then created
 *           once in this worker; files passes it to the tables.
 *
 * To add a kind: write NAME.c with a `const struct sock_kind NAME_kind`, name it in kind.c.
 */
#ifndef STASIS_NET_KIND_H
#define STASIS_NET_KIND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/control/fault.h"
#include "proto/images/files.pb-c.h"

struct net;
struct gate;

/* One socket. */
struct sock {
	uint32_t id;			/* of its entry in files.img; 0 before the freeze */
	const struct sock_kind *kind;
	/*
	 * Ours: a duplicate (dump), the socket itself (restore); -1: none, as in preflight() of
	 * what knows() told.
	 */
	int fd;
	void *priv;			/* the kind's own, released by its end() */
	struct sock *next_by_id, *next_by_ino;	/* sock.c's */

	/* dump */
	uint64_t ino;
	pid_t pid;		/* the task and the descriptor it was found at, for faults */
	int pfd;
	int family, type, protocol;
	uint32_t flags;			/* as F_GETFL, without O_CLOEXEC */
	FownEntry fown;			/* ready for an entry */
	bool written;

	/* restore */
	FileEntry *entry;		/* the member of its type is set */
	bool created;
};

/* What create() answers. */
enum sock_created { SOCK_FAILED = -1, SOCK_CREATED = 0, SOCK_LATER = 1 };

/* NULL functions mean "nothing to do" except where said. */
struct sock_kind {
	const char *name;	/* "unix socket", for faults */
	FdTypes type;		/* of its entries; FD_TYPES__UND: it only refuses (other.c) */

	/* What a dump and a restore do with it, for "stasis check PID". NULL: create it again. */
	const char *deed;
	/* The same of a socket as it is now. NULL: deed has it. */
	void (*describe)(const struct net *net, const struct sock *s, char *deed, size_t size);

	/*
	 * Dump. Is the socket s->ino ours? One that can be told without a descriptor spares its
	 * questions; family, type and protocol are then to be set. Before match.
	 */
	bool (*knows)(struct net *net, struct sock *s);
	/* Is it ours? family, type and protocol are known. */
	bool (*match)(const struct sock *s);
	/* Why such a socket cannot be dumped and what to do about it. NULL: it can. */
	const char *refuse;
	/*
	 * An obstacle of this socket, told before the freeze; the tasks run, all are known. -1 with
	 * f set.
	 */
	int (*preflight)(struct net *net, struct sock *s, struct fault *f);
	/*
	 * The tasks stand. Learn all that is needed of one socket; others may not be known yet.
	 * What a failed dump must undo (repair mode, SO_PEEK_OFF, locks) is told to guard.h before
	 * it is done; the guard undoes it after end(run_on true), or when this worker is killed.
	 */
	int (*collect)(struct net *net, struct sock *s, struct fault *f);
	/*
	 * All sockets of this round are known, perhaps not those in flight: name descriptors
	 * in flight with net_fly. Called once a round.
	 */
	int (*collected)(struct net *net, struct fault *f);
	/* Everything is known: write the FileEntry (net_write_entry) and images of its own. */
	int (*write)(struct net *net, struct sock *s, struct fault *f);
	/* All were written. */
	int (*written)(struct net *net, struct fault *f);

	/*
	 * The images are complete, the tasks are to be killed: what is to be done to the sockets,
	 * should we be killed when the tasks are dead, is told to guard.h (guard_add_dead).
	 */
	int (*doom)(struct net *net, struct fault *f);

	/* Restore. Is this entry of files.img ours (several rows may share a type)? */
	bool (*match_entry)(const FileEntry *e);
	/* Check an entry and what it refers to; prepare() of all rows comes after. */
	int (*check)(struct net *net, struct sock *s, struct fault *f);
	/* Read images of the kind's own: all entries of files.img are known. Once. */
	int (*prepare)(struct net *net, struct fault *f);
	/*
	 * Make it: s->fd here in the worker, with all its options and status flags (net_set_flags;
	 * the owner is set by files). All tasks exist and their gates are open (net_gate).
	 * SOCK_LATER when something it needs (another socket) is not there yet: called again.
	 */
	enum sock_created (*create)(struct net *net, struct sock *s, struct fault *f);
	/* All sockets exist, and the files in flight are here (net_file): fill queues. Once. */
	int (*fill)(struct net *net, struct fault *f);

	/*
	 * End of a dump or a restore, good or bad. run_on: the tasks run (again): connections
	 * resume. Else (tasks dead after a good dump, failed restore) they stay as they are. Must
	 * release what the kind holds in struct net and s->priv.
	 */
	void (*end)(struct net *net, bool run_on);
};

/* The table, ended by NULL. What matches no row is refused by other.c. */
extern const struct sock_kind *const sock_kinds[];
const struct sock_kind *kind_of_known(struct net *net, struct sock *s);	/* NULL: ask the socket */
const struct sock_kind *kind_of_socket(const struct sock *s);	/* never NULL */
const struct sock_kind *kind_of_entry(const FileEntry *e);	/* NULL: not a socket we know */

/*
 * "task 12, descriptor 3 (unix socket 4711)": how every fault about a socket begins. Returns buf.
 */
const char *sock_name(const struct sock *s, char *buf, size_t size);
#define SOCK_NAME_MAX 120

/* ---- the sockets known (sock.c) ---- */

struct sock *net_sock(struct net *net, uint32_t id);		/* NULL: none has that id */
struct sock *net_sock_by_ino(struct net *net, uint64_t ino);	/* dump; NULL: not of the tree */
/* All of a kind, until act fails. */
int net_each_sock(struct net *net, const struct sock_kind *kind,
		  int (*act)(struct net *net, struct sock *s, struct fault *f), struct fault *f);

/* ---- services: dump ---- */

/* Append an entry to files.img. The message stays the caller's. */
int net_write_entry(struct net *net, const FileEntry *e, struct fault *f);
/* An id no other entry has, for sockets that no descriptor refers to. */
uint32_t net_new_id(struct net *net);
/* A descriptor of ours that was in flight; taken over. Its id is known when write() comes. */
size_t net_fly(struct net *net, int fd);
uint32_t net_flown_id(const struct net *net, size_t flight);

/* ---- services: restore ---- */

/* prepare(): the file of that id is queued in a socket: net_file gives it when fill() comes. */
void net_need_file(struct net *net, uint32_t id);
int net_file(struct net *net, uint32_t id);		/* borrowed; a socket's own too; -1: none */
/* The gate of a task, NULL when it has none (dead, or not in the tree). */
struct gate *net_gate(struct net *net, pid_t pid);
/* The first of 8 descriptor numbers in the task that are free for a moment during create(). */
int net_spare_fd(struct net *net, pid_t pid);
/* Make the status flags (O_NONBLOCK, O_ASYNC, ...) of fd those of flags. */
int net_set_flags(int fd, uint32_t flags, struct fault *f);

#endif
