/* SPDX-License-Identifier: MIT */
/*
 * sockets.c - the conversation with the net worker, which takes part when there are sockets.
 *
 * Sockets and files need each other: files finds sockets in tables and gives them ids, net finds
 * descriptors of files (and sockets) in flight in a socket's queue, which files gives ids.
 * Descriptors are not carried: each worker duplicates what the other one names by process and
 * number.
 *
 * Rights:   none.
 * Holds:    nothing; the reply to NetPrepare is in struct births.
 */
#include "coordinator/sockets.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "coordinator/births.h"
#include "coordinator/cloexec.h"
#include "coordinator/crew.h"
#include "coordinator/devices.h"
#include "coordinator/iptables.h"
#include "coordinator/kids.h"
#include "coordinator/rebuild.h"
#include "coordinator/seal.h"
#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"

/* More than sockets that carry sockets can be nested (the kernel's limit is 4). */
#define MAX_ROUNDS 16

/* ---- dump ---- */

int sockets_preflight(struct job *job, FilesPreflightDone *done, struct fault *f)
{
	NetPreflight msg = NET_PREFLIGHT__INIT;
	Request req = REQUEST__INIT;
	NetPreflightDone *net;
	Reply *rep;
	size_t i;

	msg.socket = done->socket;
	req.body_case = REQUEST__BODY_NET_PREFLIGHT;
	req.net_preflight = &msg;
	if (crew_need(job, ROLE_NET, f) < 0)
		return -1;
	rep = crew_ask_for(job->crew, ROLE_NET, STAGE__PREPARE, &req,
			   REPLY__BODY_NET_PREFLIGHT_DONE, f);
	if (!rep)
		return -1;
	net = rep->net_preflight_done;
	done->obstacle = xrealloc(done->obstacle, done->n_obstacle + net->n_obstacle,
				  sizeof(char *));
	for (i = 0; i < net->n_obstacle; i++)
		done->obstacle[done->n_obstacle++] = take_ptr(&net->obstacle[i]);
	net->n_obstacle = 0;
	reply__free_unpacked(rep, NULL);
	return 0;
}

/*
 * The memory of this thread's herald, which net's guard listens to; the caller's. It stays mapped:
 * the kernel writes to it when we die.
 */
static int make_herald(struct job *job, struct fault *f)
{
	AUTO_CLOSE int fd = memfd_create("stasis-herald", MFD_CLOEXEC);
	struct gate_herald *herald;

	if (fd < 0 || ftruncate(fd, sizeof(*herald)) < 0)
		return fault(f, errno, "make memory for a herald");
	herald = mmap(NULL, sizeof(*herald), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (herald == MAP_FAILED)
		return fault(f, errno, "map memory for a herald");
	gate_herald(herald, true);
	job->herald = herald;
	return take_fd(&fd);
}

/* found: this is the first time; tasks are asked what files owes of their tables meanwhile. */
static Reply *collect(struct job *job, SocketList *sockets, FilesCollected *found, struct fault *f)
{
	const bool first = found;
	AUTO_CLOSE int herald = first ? make_herald(job, f) : -1;
	NetCollect msg = NET_COLLECT__INIT;
	Request req = REQUEST__INIT;
	TaskKobjIdsEntry own;

	if (first && herald < 0)
		return NULL;
	msg.has_herald = true;
	msg.herald = first;
	kids_own_entry(&own);
	msg.socket = sockets;
	msg.ns_id = own.net_ns_id;
	msg.root_pid = job->tasks[0]->pid;
	msg.run_id = job->run_id;
	req.body_case = REQUEST__BODY_NET_COLLECT;
	req.net_collect = &msg;
	if (seal_run_id(job, f) < 0 ||
	    crew_send(job->crew, ROLE_NET, STAGE__COLLECT, &req, &herald, first, f) < 0 ||
	    (first && cloexec_ask(job, found, f) < 0))
		return NULL;
	return crew_answer(job->crew, ROLE_NET, REPLY__BODY_NET_COLLECTED, f);
}

static Reply *adopt(struct job *job, const NetCollected *c, struct fault *f)
{
	FilesAdopt msg = FILES_ADOPT__INIT;
	Request req = REQUEST__INIT;

	msg.pid = c->pid;
	msg.fd = c->flying;
	msg.n_fd = c->n_flying;
	req.body_case = REQUEST__BODY_FILES_ADOPT;
	req.files_adopt = &msg;
	return crew_ask_for(job->crew, ROLE_FILES, STAGE__COLLECT, &req, REPLY__BODY_FILES_ADOPTED,
			    f);
}

/* The ids of everything that was in flight so far, and what else net is to be told. */
struct flown {
	uint32_t *id;
	size_t n, cap;
	uint32_t *plugin;		/* inodes of sockets that a plugin has dumped */
	size_t nplugin, plugin_cap;
};

static int note_ids(struct flown *all, const FilesAdopted *a, size_t due, struct fault *f)
{
	size_t i;

	if (a->n_id != due)
		return fault(f, -EPROTO, "the files worker adopts %zu of %zu files in flight",
			     a->n_id, due);
	for (i = 0; i < a->n_id; i++)
		*(uint32_t *)grow(&all->id, all->n++, &all->cap, sizeof(*all->id)) = a->id[i];
	return 0;
}

/* Ask plugins for sockets with a peer outside the tree. */
static int ask_plugins(struct job *job, const NetCollected *c, struct flown *all, struct fault *f)
{
	size_t i;

	if (!crew_has(job->crew, ROLE_GPU))
		return 0;
	for (i = 0; i < c->n_outside; i++) {
		AUTO_CLOSE int fd = procfs_fetch(c->pid, c->outside[i]->fd, f);
		bool taken;

		if (fd < 0 || devices_dump_unix(job, c->outside[i]->ino, fd, &taken, f) < 0)
			return -1;
		if (taken)
			*(uint32_t *)grow(&all->plugin, all->nplugin++, &all->plugin_cap,
					  sizeof(uint32_t)) = c->outside[i]->ino;
	}
	return 0;
}

/* Net and files in turn, until nothing new is in flight. */
static int collect_all(struct job *job, FilesCollected *found, struct flown *all,
		       struct fault *f)
{
	Reply *net = collect(job, found->socket, found, f), *files;
	int rounds = 0, r = net ? 0 : -1;

	while (r == 0 && net->net_collected->n_flying) {
		files = adopt(job, net->net_collected, f);
		r = files ? note_ids(all, files->files_adopted, net->net_collected->n_flying, f) :
			    -1;
		reply__free_unpacked(net, NULL);
		net = NULL;
		if (r == 0 && ++rounds > MAX_ROUNDS)
			r = fault(f, -ELOOP, "sockets carry sockets more than %d deep", MAX_ROUNDS);
		if (r == 0)
			net = collect(job, files->files_adopted->socket, NULL, f);
		if (files)
			reply__free_unpacked(files, NULL);
		r = net ? 0 : -1;
	}
	if (r == 0)
		r = ask_plugins(job, net->net_collected, all, f);
	if (net)
		reply__free_unpacked(net, NULL);
	return r;
}

static int write_all(struct job *job, const struct flown *all, const MemCollected *memory,
		     struct fault *f)
{
	NetWrite msg = NET_WRITE__INIT;
	Request req = REQUEST__INIT;
	Reply *rep;

	msg.id = all->id;
	msg.n_id = all->n;
	msg.plugin = all->plugin;
	msg.n_plugin = all->nplugin;
	msg.mapped = memory->socket;
	msg.n_mapped = memory->n_socket;
	req.body_case = REQUEST__BODY_NET_WRITE;
	req.net_write = &msg;
	rep = crew_ask_for(job->crew, ROLE_NET, STAGE__WRITE, &req, REPLY__BODY_NET_WRITTEN, f);
	if (!rep)
		return -1;
	if (rep->net_written->has_network_lock_method)
		job->network_lock = rep->net_written->network_lock_method;
	reply__free_unpacked(rep, NULL);
	return 0;
}

int sockets_dump(struct job *job, FilesCollected *found, const MemCollected *memory,
		 struct fault *f)
{
	struct flown all = { 0 };
	int r;

	job->has_sockets = true;
	/* A socket may have been made after the preflight. */
	r = crew_need(job, ROLE_NET, f);
	if (r == 0)
		r = collect_all(job, found, &all, f);
	if (r == 0)
		r = write_all(job, &all, memory, f);
	free(all.id);
	free(all.plugin);
	return r;
}

bool sockets_kept(const struct job *job)
{
	return job->network_lock >= 0;
}

int sockets_doom(struct job *job, struct fault *f)
{
	NetDoom msg = NET_DOOM__INIT;
	Request req = REQUEST__INIT;

	if (!sockets_kept(job))
		return 0;
	req.body_case = REQUEST__BODY_NET_DOOM;
	req.net_doom = &msg;
	return crew_ask(job->crew, ROLE_NET, STAGE__SEAL, &req, NULL, f);
}

int sockets_seal(struct job *job, bool killed, struct fault *f)
{
	NetSeal msg = NET_SEAL__INIT;
	Request req = REQUEST__INIT;

	if (!crew_has(job->crew, ROLE_NET))
		return 0;
	msg.killed = killed;
	req.body_case = REQUEST__BODY_NET_SEAL;
	req.net_seal = &msg;
	return crew_send(job->crew, ROLE_NET, STAGE__SEAL, &req, NULL, 0, f);
}

int sockets_sealed(struct job *job, struct fault *f)
{
	if (!crew_has(job->crew, ROLE_NET))
		return 0;
	if (crew_wait(job->crew, ROLE_NET, NULL, f) < 0)
		return -1;
	gate_herald_end(job->herald);
	return 0;
}

void sockets_rollback(struct job *job)
{
	NetRollback msg = NET_ROLLBACK__INIT;
	Request req = REQUEST__INIT;
	struct fault f = { 0 };

	if (!crew_has(job->crew, ROLE_NET))
		return;
	req.body_case = REQUEST__BODY_NET_ROLLBACK;
	req.net_rollback = &msg;
	if (crew_ask(job->crew, ROLE_NET, STAGE__SEAL, &req, NULL, &f) < 0)
		log_debug("while undoing: %s", f.text);
	else
		gate_herald_end(job->herald);	/* its guard has ended */
}

/* ---- restore ---- */

int sockets_prepare(struct job *job, struct fault *f)
{
	AUTO_FREE RestoreTask *tasks = xcalloc(job->ntasks, sizeof(*tasks));
	AUTO_FREE RestoreTask **list = xcalloc(job->ntasks, sizeof(*list));
	NetPrepare msg = NET_PREPARE__INIT;
	Request req = REQUEST__INIT;

	rebuild_describe(job, tasks, list);
	msg.task = list;
	msg.n_task = job->ntasks;
	msg.run_id = job->run_id[0] ? job->run_id : NULL;
	msg.has_network_lock_method = job->network_lock >= 0;
	msg.network_lock_method = job->network_lock;
	req.body_case = REQUEST__BODY_NET_PREPARE;
	req.net_prepare = &msg;
	births_of(job)->sockets_asked = true;
	if (crew_need(job, ROLE_NET, f) < 0)
		return -1;
	return crew_send(job->crew, ROLE_NET, STAGE__PREPARE, &req, NULL, 0, f);
}

int sockets_prepared(struct job *job, struct fault *f)
{
	births_of(job)->sockets = crew_answer(job->crew, ROLE_NET, REPLY__BODY_NET_PREPARED, f);
	if (!births_of(job)->sockets)
		return -1;
	births_of(job)->keep_net = births_of(job)->sockets->net_prepared->has_host_objects;
	return 0;
}

size_t sockets_flying(const struct job *job, uint32_t **ids)
{
	const Reply *rep = births_of(job)->sockets;

	*ids = rep ? rep->net_prepared->flying : NULL;
	return rep ? rep->net_prepared->n_flying : 0;
}

/* Sockets that plugins make, in the order of ino; all are the caller's, whatever is returned. */
static int make_by_plugins(struct job *job, const NetPrepared *p, int *fds, struct fault *f)
{
	size_t i;

	for (i = 0; i < p->n_plugin; i++)
		fds[i] = -1;
	for (i = 0; i < p->n_plugin; i++)
		if (devices_restore_unix(job, p->plugin[i], &fds[i], f) < 0)
			return -1;
	return 0;
}

int sockets_create(struct job *job, struct fault *f)
{
	AUTO_FREE SpareFd *spare = xcalloc(job->ntasks, sizeof(*spare));
	AUTO_FREE SpareFd **list = xcalloc(job->ntasks, sizeof(*list));
	const NetPrepared *prepared;
	AUTO_FREE int *fds = NULL;
	NetCreate msg = NET_CREATE__INIT;
	Request req = REQUEST__INIT;
	size_t i;
	int r;

	if (!births_of(job)->sockets)
		return 0;
	prepared = births_of(job)->sockets->net_prepared;
	fds = xcalloc(prepared->n_plugin, sizeof(*fds));
	msg.n_spare = rebuild_spare_fds(job, ROLE_NET, spare, list);
	msg.spare = list;
	msg.map = births_of(job)->prepared->mem_prepared->socket_map;
	msg.n_map = births_of(job)->prepared->mem_prepared->n_socket_map;
	req.body_case = REQUEST__BODY_NET_CREATE;
	req.net_create = &msg;
	msg.nplugin = prepared->n_plugin;
	r = make_by_plugins(job, prepared, fds, f);
	if (r == 0)
		r = crew_send(job->crew, ROLE_NET, STAGE__RESTORE, &req, fds, msg.nplugin, f);
	for (i = 0; i < prepared->n_plugin; i++)
		auto_close(&fds[i]);
	return r;
}

static int give_sockets(struct job *job, struct fault *f)
{
	FilesTakeMade msg = FILES_TAKE_MADE__INIT;
	Request req = REQUEST__INIT;
	Reply *rep = crew_answer(job->crew, ROLE_NET, REPLY__BODY_NET_CREATED, f);
	int r;

	if (!rep)
		return -1;
	msg.made = rep->net_created;
	req.body_case = REQUEST__BODY_FILES_TAKE_MADE;
	req.files_take_made = &msg;
	r = crew_ask(job->crew, ROLE_FILES, STAGE__RESTORE, &req, NULL, f);
	reply__free_unpacked(rep, NULL);
	return r;
}

/* What is to be queued, from files; NULL without a fault when nothing is. */
static Reply *borrow(struct job *job, struct fault *f)
{
	FilesLend msg = FILES_LEND__INIT;
	Request req = REQUEST__INIT;

	msg.n_id = sockets_flying(job, &msg.id);
	if (!msg.n_id)
		return NULL;
	req.body_case = REQUEST__BODY_FILES_LEND;
	req.files_lend = &msg;
	return crew_ask_for(job->crew, ROLE_FILES, STAGE__RESTORE, &req, REPLY__BODY_FILES_LENT, f);
}

/* Do tasks have sockets mapped? Net then needs the descriptor numbers that files takes next. */
static bool are_mapped(const struct job *job)
{
	return births_of(job)->prepared->mem_prepared->n_socket_map;
}

int sockets_pass(struct job *job, struct fault *f)
{
	NetFill msg = NET_FILL__INIT;
	Request req = REQUEST__INIT;
	Reply *lent;
	int r;

	if (!births_of(job)->sockets)
		return 0;
	if (give_sockets(job, f) < 0)
		return -1;
	lent = borrow(job, f);
	if (f->code)
		return -1;
	msg.lent = lent ? lent->files_lent : NULL;
	req.body_case = REQUEST__BODY_NET_FILL;
	req.net_fill = &msg;
	r = crew_send(job->crew, ROLE_NET, STAGE__RESTORE, &req, NULL, 0, f);
	if (lent)
		reply__free_unpacked(lent, NULL);
	return r == 0 && are_mapped(job) ? crew_wait(job->crew, ROLE_NET, NULL, f) : r;
}

int sockets_fill(struct job *job, struct fault *f)
{
	return births_of(job)->sockets && !are_mapped(job) ?
		       crew_wait(job->crew, ROLE_NET, NULL, f) : 0;
}

int sockets_release(struct job *job, struct fault *f)
{
	NetRelease msg = NET_RELEASE__INIT;
	Request req = REQUEST__INIT;

	if (!births_of(job)->sockets)
		return 0;
	iptables_unlock("iptables-restore", births_of(job)->sockets->net_prepared->iptables);
	iptables_unlock("ip6tables-restore", births_of(job)->sockets->net_prepared->ip6tables);
	req.body_case = REQUEST__BODY_NET_RELEASE;
	req.net_release = &msg;
	return crew_ask(job->crew, ROLE_NET, STAGE__RELEASE, &req, NULL, f);
}
