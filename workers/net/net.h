/* SPDX-License-Identifier: MIT */
/*
 * net.h - the net worker: every socket.
 */
#ifndef STASIS_NET_H
#define STASIS_NET_H

#include <stddef.h>
#include <stdint.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"
#include "proto/images/image.h"
#include "workers/common/worker.h"

extern struct worker net_worker;

struct sock;

/*
 * All state of this worker. Each pointer belongs to the file named behind it, which
 * makes it when it is first needed; nobody else looks inside.
 */
struct net {
	const struct worker *worker;	/* options and directories: worker->set */
	struct socks *socks;		/* sock.c: the sockets, both directions */
	struct flights *flights;	/* flights.c: files in flight, both directions */
	struct queues *queues;		/* queue.c: what waits in sockets */
	struct queue_restore *queue_restore; /* queue_restore.c */
	struct unix_dump *unix_dump;	/* unix.c */
	struct outsiders *outsiders;	/* unix_outside.c */
	struct unix_restore *unix_restore;	/* unix_ways.c */
	struct guard *guard;		/* guard.c: changes to undo */
	struct gate_herald *herald;	/* dump: of the coordinator, mapped */
	struct inet_state *inet;	/* inet.c */
	struct numbers *numbers;	/* numbers.c: what fresh sockets have */
	struct packets *packets;	/* packet_diag.c */
	struct ring_places *ring_places; /* packet_ring.c */
	struct raw_peers *raw_peers;	/* raw_peers.c */
	struct netlinks *netlinks;	/* netlink.c */
	struct netlock *netlock;	/* netlock.c */
	int filter;			/* netlock.c: the socket to nf_tables; 0: none */
	char *run_id;			/* of the dump: names the table that locks its network */

	/* dump */
	struct image *files_img;	/* files.img, open for appending */
	uint32_t last_id;		/* of those given out here: net_new_id */
	uint32_t ns_id;			/* of the network namespace, for entries */
	uint32_t root_pid;		/* of the tree */

	/* restore */
	int lock_method;	/* what locked the network (enum netlock_method); -1: nothing */
	int *plugin; /* made by plugins, in the order of unix_of_plugins; NULL: not here yet */
	size_t nplugin;
	struct tasks *tasks;		/* workers/common/tasks.h */
};

const Options *net_opts(const struct net *net);
int net_image_dir(const struct net *net);

#endif
