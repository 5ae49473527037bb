/* SPDX-License-Identifier: MIT */
/*
 * net.c - the net worker: its handlers, its rights, and services for kinds of sockets.
 *
 *	dump		preflight -> collect (again while something is in flight) -> write -> seal
 *	(or rollback) restore		prepare -> gates -> create -> fill -> keep -> release
 *
 * Rights:   see net_caps.
 * Holds:    struct net, from the first message to the end.
 */
#include "workers/net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/finding.h"
#include "workers/common/gate_client.h"
#include "workers/common/tasks.h"
#include "workers/net/flights.h"
#include "workers/net/guard.h"
#include "workers/net/kind.h"
#include "workers/net/numbers.h"
#include "workers/net/netlock.h"
#include "workers/net/options.h"
#include "workers/net/packet_ring.h"
#include "workers/net/sock.h"
#include "workers/net/unix.h"
#include "workers/net/unix_outside.h"
#include "workers/net/unix_restore.h"

/* Entries of ours: above those of files and of mapped files (MAPPED_ID_FIRST). */
#define NET_ID_FIRST 0xc0000000u

#define MANY 256		/* sockets; their records are many pages */

#define SETFL_BITS (O_APPEND | O_ASYNC | O_NONBLOCK | O_DIRECT | O_NOATIME)

static struct net state;

/*
 * To look into tasks of any uid; to repair connections, force buffer sizes, lock the network; raw
 * and packet sockets; low ports; bind unix names anywhere, below a task's root, with their owner
 * and mode; speak as the tasks' uids.
 */
static const cap_value_t net_caps[] = {
	CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE,
	CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_CHOWN, CAP_FOWNER, CAP_FSETID,
	CAP_SETUID, CAP_SETGID, CAP_SYS_CHROOT, CAP_SYS_RESOURCE,
};

const Options *net_opts(const struct net *net)
{
	return net->worker->set.opts;
}

int net_image_dir(const struct net *net)
{
	return net->worker->set.image_dir;
}

uint32_t net_new_id(struct net *net)
{
	return NET_ID_FIRST + net->last_id++;
}

int net_write_entry(struct net *net, const FileEntry *e, struct fault *f)
{
	if (!net->files_img)
		net->files_img = image_append(net_image_dir(net), IMG_FILES, 0, f);
	return net->files_img ? image_write(net->files_img, &e->base, f) : -1;
}

struct gate *net_gate(struct net *net, pid_t pid)
{
	return tasks_gate(net->tasks, pid);
}

int net_spare_fd(struct net *net, pid_t pid)
{
	int spare = tasks_spare(net->tasks, pid);

	if (spare < 0)
		die("no task %d", pid);
	return spare;
}

int net_set_flags(int fd, uint32_t flags, struct fault *f)
{
	int now = fcntl(fd, F_GETFL);
	int want = (now & ~SETFL_BITS) | ((int)flags & SETFL_BITS);

	if (now < 0 || (now != want && fcntl(fd, F_SETFL, want) < 0))
		return fault(f, errno, "set flags %#x of a socket", flags);
	return 0;
}

static struct net *begin(struct call *c)
{
	struct net *net = c->ctx;

	net->worker = c->worker;
	return net;
}

/* The end of a dump, of a restore, or of a preflight. run_on: see sock_kind.end. */
static void end(struct net *net, bool run_on)
{
	size_t i;

	for (i = 0; sock_kinds[i]; i++)
		if (sock_kinds[i]->end)
			sock_kinds[i]->end(net, run_on);
	numbers_end(net);
	guard_end(net, run_on);
	flights_end(net);
	sock_end(net);
	tasks_free(take_ptr(&net->tasks));
	auto_image(&net->files_img);
	while (net->plugin && net->nplugin)
		auto_close(&net->plugin[--net->nplugin]);
	free(take_ptr(&net->plugin));
	free(take_ptr(&net->run_id));
	if (net->herald)
		munmap(take_ptr(&net->herald), sizeof(*net->herald));
	net->last_id = 0;
}

/* Dump */

static int refuse(const struct sock *s, struct fault *f)
{
	char who[SOCK_NAME_MAX];

	return fault(f, -ENOTSUP, "%s: %s", sock_name(s, who, sizeof(who)), s->kind->refuse);
}

/* A descriptor that is gone by now is no obstacle. */
static int glance_at_all(struct net *net, const SocketList *list, struct fault *f)
{
	size_t i;

	if (socket_list_check(list, f) < 0)
		return -1;
	for (i = 0; i < socket_list_count(list); i++) {
		const struct socket_ref s = socket_list_at(list, i);
		struct fault gone = { 0 };

		if (!net_sock_by_ino(net, s.ino))
			sock_glance(net, &s, &gone);
	}
	return 0;
}

/* An obstacle, or nothing. */
static void judge(struct net *net, struct sock *s, struct fault *why)
{
	char who[SOCK_NAME_MAX];

	if (s->kind->refuse)
		refuse(s, why);
	else if (s->fd >= 0 && sock_opts_preflight(s->fd, why) < 0)
		fault_prefix(why, "%s", sock_name(s, who, sizeof(who)));
	else if (s->kind->preflight)
		s->kind->preflight(net, s, why);
}

static int on_net_preflight(struct call *c, struct fault *f)
{
	const NetPreflight *req = c->req->net_preflight;
	struct net *net = begin(c);
	NetPreflightDone *done;
	size_t i;

	if (glance_at_all(net, req->socket, f) < 0)
		return -1;
	done = xcalloc(1, sizeof(*done));
	net_preflight_done__init(done);
	for (i = 0; i < sock_count(net); i++) {
		struct fault why = { 0 };

		judge(net, sock_at(net, i), &why);
		if (!why.code)
			continue;
		done->obstacle = xrealloc(done->obstacle, done->n_obstacle + 1, sizeof(char *));
		done->obstacle[done->n_obstacle++] = xstrdup(why.text);
	}
	end(net, true);
	c->rep->body_case = REPLY__BODY_NET_PREFLIGHT_DONE;
	c->rep->net_preflight_done = done;
	return 0;
}

static void describe(const struct net *net, const struct sock *s, char *deed, size_t size)
{
	int n = snprintf(deed, size, "%s: ", s->kind->name);

	if (s->kind->describe && s->fd >= 0)
		s->kind->describe(net, s, deed + n, size - n);
	else
		snprintf(deed + n, size - n, "%s", s->kind->refuse ? "not dumped" :
			 s->kind->deed ? s->kind->deed : "created again");
}

static int on_net_survey(struct call *c, struct fault *f)
{
	const NetSurvey *req = c->req->net_survey;
	struct net *net = begin(c);
	Surveyed *done;
	size_t i;

	if (glance_at_all(net, req->socket, f) < 0)
		return -1;
	done = xcalloc(1, sizeof(*done));
	surveyed__init(done);
	done->finding = xcalloc(sock_count(net), sizeof(*done->finding));
	for (i = 0; i < sock_count(net); i++) {
		struct sock *s = sock_at(net, i);
		struct fault why = { 0 };
		char object[64], deed[200];

		judge(net, s, &why);
		snprintf(object, sizeof(object), "descriptor %d (socket:[%lu])", s->pfd,
			 (unsigned long)s->ino);
		describe(net, s, deed, sizeof(deed));
		done->finding[done->n_finding++] = finding_new(s->pid, object, deed, &why);
	}
	end(net, true);
	c->rep->body_case = REPLY__BODY_SURVEYED;
	c->rep->surveyed = done;
	return 0;
}

static int collect_one(struct net *net, struct sock *s, struct fault *f)
{
	if (s->kind->refuse)
		return refuse(s, f);
	return s->kind->collect ? s->kind->collect(net, s, f) : 0;
}

static int collect_all(struct net *net, const NetCollect *req, struct fault *f)
{
	size_t i = sock_count(net);

	if (sock_add_all(net, req->socket, f) < 0)
		return -1;
	for (; i < sock_count(net); i++)
		if (collect_one(net, sock_at(net, i), f) < 0)
			return -1;
	for (i = 0; sock_kinds[i]; i++)
		if (sock_kinds[i]->collected && sock_kinds[i]->collected(net, f) < 0)
			return -1;
	return 0;
}

/* Who tells the guard that the coordinator dies. */
static int take_herald(struct net *net, struct worker *w, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	void *at;

	if (net->herald || worker_recv_fds(w, &fd, 1, f) < 0)
		return net->herald ? fault(f, -EPROTO, "a second herald") : -1;
	at = mmap(NULL, sizeof(*net->herald), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return fault(f, errno, "map the coordinator's herald");
	net->herald = at;
	return 0;
}

static int on_net_collect(struct call *c, struct fault *f)
{
	const NetCollect *req = c->req->net_collect;
	struct net *net = begin(c);
	NetCollected *done;

	if (req->herald && take_herald(net, c->worker, f) < 0)
		return -1;
	net->ns_id = req->ns_id;
	net->root_pid = req->root_pid;
	if (!net->run_id)
		net->run_id = xstrdup(req->run_id);
	/* Before memory grows by what is collected. */
	if ((socket_list_count(req->socket) > MANY && guard_begin(net, f) < 0) ||
	    collect_all(net, req, f) < 0)
		return -1;
	done = xcalloc(1, sizeof(*done));
	net_collected__init(done);
	done->pid = getpid();
	done->n_flying = flights_new(net, &done->flying);
	if (!done->n_flying && net->unix_dump)
		done->n_outside = unix_outside(net, &done->outside);
	c->rep->body_case = REPLY__BODY_NET_COLLECTED;
	c->rep->net_collected = done;
	return 0;
}

static int write_all(struct net *net, struct fault *f)
{
	size_t i;

	for (i = 0; i < sock_count(net); i++) {
		struct sock *s = sock_at(net, i);

		if (s->kind->write && s->kind->write(net, s, f) < 0)
			return -1;
	}
	for (i = 0; sock_kinds[i]; i++)
		if (sock_kinds[i]->written && sock_kinds[i]->written(net, f) < 0)
			return -1;
	return net->files_img ? image_close(&net->files_img, f) : 0;
}

static int on_net_write(struct call *c, struct fault *f)
{
	const NetWrite *req = c->req->net_write;
	struct net *net = begin(c);
	NetWritten *done;

	outsiders_take(net, req->plugin, req->n_plugin);
	if (flights_name(net, req->id, req->n_id, f) < 0 ||
	    packet_ring_mapped(net, req->mapped, req->n_mapped, f) < 0 || write_all(net, f) < 0)
		return -1;
	done = xcalloc(1, sizeof(*done));
	net_written__init(done);
	done->has_network_lock_method = netlock_used(net) >= 0;
	done->network_lock_method = netlock_used(net);
	c->rep->body_case = REPLY__BODY_NET_WRITTEN;
	c->rep->net_written = done;
	return 0;
}

static int on_net_doom(struct call *c, struct fault *f)
{
	struct net *net = begin(c);
	size_t i;

	for (i = 0; sock_kinds[i]; i++)
		if (sock_kinds[i]->doom && sock_kinds[i]->doom(net, f) < 0)
			return -1;
	return guard_doom(net, net->root_pid, f);
}

static int on_net_seal(struct call *c, struct fault *f)
{
	(void)f;
	end(begin(c), !c->req->net_seal->killed);
	return 0;
}

static int on_net_rollback(struct call *c, struct fault *f)
{
	(void)f;
	end(begin(c), true);
	return 0;
}

/* Restore */

static bool is_socket(FdTypes type)
{
	return type == FD_TYPES__INETSK || type == FD_TYPES__UNIXSK ||
	       type == FD_TYPES__PACKETSK || type == FD_TYPES__NETLINKSK;
}

static int read_entry(struct net *net, FileEntry *e, struct fault *f)
{
	const struct sock_kind *kind = kind_of_entry(e);
	uint32_t id = e->id;

	if (kind)
		return sock_add_entry(net, e, kind, f);
	if (is_socket(e->type))
		fault(f, -ENOTSUP, "files.img: socket %u is of a kind that cannot be restored", id);
	protobuf_c_message_free_unpacked(&e->base, NULL);
	return f->code ? -1 : 0;
}

static int read_files(struct net *net, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open(net_image_dir(net), IMG_FILES, 0, f);
	ProtobufCMessage *msg;
	size_t i;
	int r;

	if (!img)
		return -1;
	while ((r = image_read(img, &msg, f)) > 0)
		if (read_entry(net, (FileEntry *)msg, f) < 0)
			return -1;
	if (r < 0)
		return -1;
	for (i = 0; i < sock_count(net); i++) {
		struct sock *s = sock_at(net, i);

		if (s->kind->check && s->kind->check(net, s, f) < 0)
			return -1;
	}
	for (i = 0; sock_kinds[i]; i++)
		if (sock_kinds[i]->prepare && sock_kinds[i]->prepare(net, f) < 0)
			return -1;
	return 0;
}

/* Images of before CRIU 4.1 tell no run: their table has the root's pid in its name. */
static void learn_lock(struct net *net, const NetPrepare *req)
{
	net->lock_method = req->has_network_lock_method ? (int)req->network_lock_method : -1;
	net->run_id = req->run_id ? xstrdup(req->run_id) :
				    xasprintf("%u", req->n_task ? req->task[0]->pid : 0);
}

static int on_net_prepare(struct call *c, struct fault *f)
{
	struct net *net = begin(c);
	NetPrepared *done;

	if (net->tasks)
		return fault(f, -EPROTO, "a restore is prepared already");
	net->tasks = tasks_new(c->req->net_prepare->task, c->req->net_prepare->n_task);
	learn_lock(net, c->req->net_prepare);
	if (read_files(net, f) < 0)
		return -1;
	done = xcalloc(1, sizeof(*done));
	net_prepared__init(done);
	done->has_has_host_objects = true;
	done->has_host_objects = unix_binds(net);
	done->iptables = netlock_rules(net, false);
	done->ip6tables = netlock_rules(net, true);
	done->n_flying = flights_needed(net, &done->flying);
	done->n_plugin = net->nplugin = unix_of_plugins(net, &done->plugin);
	c->rep->body_case = REPLY__BODY_NET_PREPARED;
	c->rep->net_prepared = done;
	return 0;
}

static int on_gates(struct call *c, struct fault *f)
{
	const Gates *req = c->req->gates;
	int fd = -1;

	if (req->has_fd && worker_recv_fds(c->worker, &fd, 1, f) < 0)
		return -1;
	return tasks_gates(begin(c)->tasks, req, fd, f);
}

/* Ask each socket not made yet once. Returns how many are left, *made how many succeeded; or -1. */
static long create_round(struct net *net, size_t *made, struct fault *f)
{
	char who[SOCK_NAME_MAX];
	long left = 0;
	size_t i;

	for (i = 0; i < sock_count(net); i++) {
		struct sock *s = sock_at(net, i);
		enum sock_created r;

		if (s->created)
			continue;
		r = s->kind->create(net, s, f);
		if (r == SOCK_FAILED)
			return fault_prefix(f, "%s", sock_name(s, who, sizeof(who)));
		s->created = r == SOCK_CREATED;
		if (s->created)
			(*made)++;
		else
			left++;
	}
	return left;
}

static int create_all(struct net *net, struct fault *f)
{
	size_t made;
	long left;

	do {
		made = 0;
		left = create_round(net, &made, f);
		if (left > 0 && !made)
			return fault(f, -EDEADLK, "%ld sockets of files.img wait for each other",
				     left);
	} while (left > 0);
	return left;
}

static int on_net_create(struct call *c, struct fault *f)
{
	const NetCreate *req = c->req->net_create;
	struct net *net = begin(c);
	AUTO_FREE int *fds = NULL;
	MadeFiles *done;
	size_t i;

	if (!net->tasks || net->plugin || req->nplugin != net->nplugin)
		return fault(f, -EPROTO, "nothing is prepared to be restored, or sockets of "
			     "plugins are missing");
	fds = xcalloc(net->nplugin, sizeof(*fds));
	if (net->nplugin && worker_recv_fds(c->worker, fds, net->nplugin, f) < 0)
		return -1;
	net->plugin = take_ptr(&fds);
	if (tasks_set_spare(net->tasks, req->spare, req->n_spare, f) < 0 ||
	    packet_ring_places(net, req->map, req->n_map, f) < 0 ||
	    create_all(net, f) < 0)
		return -1;
	done = xcalloc(1, sizeof(*done));
	made_files__init(done);
	done->pid = getpid();
	done->n_id = done->n_fd = sock_count(net);
	done->id = xcalloc(done->n_id, sizeof(*done->id));
	done->fd = xcalloc(done->n_fd, sizeof(*done->fd));
	for (i = 0; i < done->n_id; i++) {
		done->id[i] = sock_at(net, i)->id;
		done->fd[i] = sock_at(net, i)->fd;
	}
	c->rep->body_case = REPLY__BODY_NET_CREATED;
	c->rep->net_created = done;
	return 0;
}

static int on_net_fill(struct call *c, struct fault *f)
{
	const NetFill *req = c->req->net_fill;
	struct net *net = begin(c);
	size_t i;

	if (req->lent && flights_take(net, req->lent, f) < 0)
		return -1;
	for (i = 0; sock_kinds[i]; i++)
		if (sock_kinds[i]->fill && sock_kinds[i]->fill(net, f) < 0)
			return -1;
	return 0;
}

static int on_net_keep(struct call *c, struct fault *f)
{
	int fd = unix_hand_over(begin(c));

	return worker_send_keepers(c, &fd, fd >= 0, f);
}

static int on_net_release(struct call *c, struct fault *f)
{
	(void)f;
	end(begin(c), true);
	return 0;
}

static const struct handler handlers[] = {
	[REQUEST__BODY_NET_PREFLIGHT] = { STAGE__PREPARE, on_net_preflight },
	[REQUEST__BODY_NET_SURVEY] = { STAGE__PREPARE, on_net_survey },
	[REQUEST__BODY_NET_COLLECT] = { STAGE__COLLECT, on_net_collect },
	[REQUEST__BODY_NET_WRITE] = { STAGE__WRITE, on_net_write },
	[REQUEST__BODY_NET_DOOM] = { STAGE__SEAL, on_net_doom },
	[REQUEST__BODY_NET_SEAL] = { STAGE__SEAL, on_net_seal },
	[REQUEST__BODY_NET_ROLLBACK] = { STAGE__SEAL, on_net_rollback },
	[REQUEST__BODY_NET_PREPARE] = { STAGE__PREPARE, on_net_prepare },
	[REQUEST__BODY_GATES] = { STAGE__FORKING, on_gates },
	[REQUEST__BODY_NET_CREATE] = { STAGE__RESTORE, on_net_create },
	[REQUEST__BODY_NET_FILL] = { STAGE__RESTORE, on_net_fill },
	[REQUEST__BODY_NET_KEEP] = { STAGE__RELEASE, on_net_keep },
	[REQUEST__BODY_NET_RELEASE] = { STAGE__RELEASE, on_net_release },
};

struct worker net_worker = {
	.name = "net",
	.caps = net_caps,
	.ncaps = ARRAY_LEN(net_caps),
	.handlers = handlers,
	.nhandlers = ARRAY_LEN(handlers),
	.ctx = &state,
};
