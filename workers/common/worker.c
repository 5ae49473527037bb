/* SPDX-License-Identifier: MIT */
/*
 * worker.c - the skeleton all workers share: confine, open the bus, serve until told to quit.
 *
 * A message the table does not allow in its stage is no error reply: the worker exits, the
 * coordinator notices by its pidfd and rolls back.
 *
 * Rights:   those of the worker's table row; given up before the bus opens.
 * Holds:    the bus, the fd plane, the descriptors of Setup.
 */
#include "workers/common/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "proto/control/bus.h"
#include "proto/control/fdplane.h"
#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/common/sandbox.h"

#define TABLE_SIZE 16384

static int on_setup(struct call *c, struct fault *f)
{
	struct setting *set = &c->worker->set;
	const Setup *s = c->req->setup;
	AUTO_FREE int *fds = NULL;

	if (set->opts || s->nfds < 3 || s->nfds > 4096)
		return fault(f, -EPROTO, "untimely or damaged Setup message");
	fds = xcalloc(s->nfds, sizeof(int));
	if (worker_recv_fds(c->worker, fds, s->nfds, f) < 0)
		return -1;
	set->opts = message_copy(&s->opts->base);
	set->start = (struct timespec){ s->start_sec, s->start_nsec };
	set->image_dir = fds[0];
	set->work_dir = fds[1];
	set->log_fd = fds[2];
	set->nfds = s->nfds - 3;
	set->fds = xcalloc(set->nfds, sizeof(int));
	memcpy(set->fds, fds + 3, set->nfds * sizeof(int));
	log_init(set->log_fd, set->opts->log_level, c->worker->name, &set->start);
	return 0;
}

static int on_quit(struct call *c, struct fault *f)
{
	(void)c;
	(void)f;
	return 0;
}

/* NULL: the message is not allowed. Setup and quit are every worker's. */
static int (*find_handler(const struct worker *w, const Request *req))(struct call *,
								       struct fault *)
{
	const struct handler *h;

	if (req->body_case == REQUEST__BODY_SETUP)
		return on_setup;
	if (req->body_case == REQUEST__BODY_QUIT)
		return on_quit;
	if (!w->set.opts || (size_t)req->body_case >= w->nhandlers)
		return NULL;
	h = &w->handlers[req->body_case];
	return h->run && h->stage == req->stage ? h->run : NULL;
}

int worker_recv_fds(struct worker *w, int *fds, size_t n, struct fault *f)
{
	return fdplane_recv(w->fd_plane, w->ticket, fds, n, f);
}

int worker_send_fds(struct worker *w, const int *fds, size_t n, struct fault *f)
{
	return fdplane_send(w->fd_plane, w->ticket, fds, n, f);
}

int worker_send_keepers(struct call *c, int *fds, size_t n, struct fault *f)
{
	Keepers *k = xcalloc(1, sizeof(*k));
	int r;

	keepers__init(k);
	c->rep->body_case = REPLY__BODY_KEEPERS;
	c->rep->keepers = k;
	r = n ? worker_send_fds(c->worker, fds, n, f) : 0;
	for (k->n = 0; k->n < n; k->n++)
		auto_close(&fds[k->n]);
	return r;
}

/* For a trace: which part of the time between question and answer was ours. */
static void stamp(const struct setting *set, const struct timespec *begun, Reply *rep)
{
	if (!set->opts || !set->opts->trace)
		return;
	rep->has_begun_ns = rep->has_done_ns = true;
	rep->done_ns = elapsed_ns(&set->start);
	rep->begun_ns = rep->done_ns - elapsed_ns(begun);
}

/* Serve one request: 1 to go on, 0 at the end of the conversation, -1 with f set. */
static int serve_one(struct worker *w, struct bus *bus, struct fault *f)
{
	int (*run)(struct call *, struct fault *);
	Reply rep = REPLY__INIT;
	struct fault bad = { 0 };
	struct call call = { w, w->ctx, NULL, &rep };
	ProtobufCMessage *msg = NULL;
	struct timespec begun;
	int r;

	r = bus_recv(bus, &request__descriptor, &msg, w->busy ? 0 : -1, f);
	if (r == 0 && w->busy)
		w->busy = w->idle(w->ctx);
	if (r <= 0)
		return r < 0 ? -1 : 1;
	call.req = (Request *)msg;
	run = find_handler(w, call.req);
	if (!run)
		return fault(f, -EPROTO, "message %d is not allowed in stage %d",
			     call.req->body_case, call.req->stage);
	w->ticket = rep.id = call.req->id;
	rep.status = STATUS__OK;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	if (run(&call, &bad) < 0) {
		rep.status = STATUS__FAILED;
		rep.has_code = 1;
		rep.code = bad.code;
		rep.text = bad.text;
	}
	stamp(&w->set, &begun, &rep);
	r = bus_send(bus, &rep.base, f) < 0 ? -1 : call.req->body_case != REQUEST__BODY_QUIT;
	if (rep.body_case)
		protobuf_c_message_free_unpacked((ProtobufCMessage *)rep.mem_collected, NULL);
	protobuf_c_message_free_unpacked(msg, NULL);
	w->busy = w->idle && w->idle(w->ctx);
	return r;
}

/* Until the coordinator is gone or says so. Returns the exit status. */
static int serve(struct worker *w, struct bus *bus, int peer)
{
	struct fault f = { 0 };
	int r = 1;

	bus_set_peer(bus, peer);
	while (r > 0)
		r = serve_one(w, bus, &f);
	/* The coordinator's own end (crash, Ctrl-C) is no news for the log. */
	if (f.code && f.code != ECONNRESET)
		log_error("%s", f.text);
	if (r == 0) {
		/*
		 * nanomsg sends from its own thread and forgets what is queued at exit: the
		 * answer to quit is out when the coordinator has hung up the fd plane.
		 */
		char end;

		while (read(w->fd_plane, &end, 1) > 0)
			;
	}
	return f.code ? 1 : 0;
}

/*
 * As many descriptors as the hard limit allows, and a table that need not grow: once nanomsg's
 * thread runs, each doubling of the table waits for an RCU grace period (measured: 7 to 15 ms).
 */
static void reserve_descriptors(int any)
{
	struct rlimit lim;
	int top;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	top = fcntl(any, F_DUPFD_CLOEXEC, lim.rlim_max < TABLE_SIZE ? (int)lim.rlim_max - 1 :
					  TABLE_SIZE - 1);
	if (top >= 0)
		close(top);
}

static int confine(struct worker *w, struct fault *f)
{
	reserve_descriptors(w->fd_plane);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);	/* a terminal's ^C is the coordinator's to handle */
	signal(SIGQUIT, SIG_IGN);
	return sandbox_enter(w->caps, w->ncaps, w->hosts, f);
}

/* The process at the other end of a connected unix socket. */
static int peer_pidfd(int sock, pid_t *pid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -1;
	*pid = cred.pid;
	return syscall(SYS_pidfd_open, cred.pid, 0);
}

_Noreturn void worker_forked(struct worker *w, int fd_plane)
{
	struct bus *bus = NULL;
	struct fault f = { 0 };
	char url[108] = "";
	pid_t parent = 0;
	int peer;

	prctl(PR_SET_NAME, w->name);
	w->fd_plane = fd_plane;
	peer = peer_pidfd(fd_plane, &parent);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	if (confine(w, &f) == 0)
		bus = bus_new(&f);
	/* The coordinator binds first: a connect before that costs 100 ms (nanomsg's retry). */
	if (bus && read(fd_plane, url, sizeof(url) - 1) > 0 &&
	    bus_open(bus, url, false, &f) == 0)
		_exit(serve(w, bus, peer));
	if (f.code)
		log_error("%s: %s", w->name, f.text);
	_exit(1);
}

/* "ipc:///path" -> a listening SOCK_SEQPACKET socket at /path.fds. */
static int listen_fd_plane(const char *url, struct fault *f)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_CLOSE int sock = -1;

	if (strncmp(url, "ipc://", 6))
		return fault(f, -EINVAL, "--listen %s: only ipc:// urls carry descriptors", url);
	if (strlen(url + 6) + sizeof(".fds") > sizeof(addr.sun_path))
		return fault(f, -ENAMETOOLONG, "--listen %s: the path is too long", url);
	strcat(strcpy(addr.sun_path, url + 6), ".fds");
	unlink(addr.sun_path);
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sock < 0 || bind(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(sock, 1) < 0)
		return fault(f, errno, "listen at %s", addr.sun_path);
	return take_fd(&sock);
}

static int serve_listening(struct worker *w, const char *url, struct fault *f)
{
	AUTO_CLOSE int listener = -1, peer = -1;
	struct bus *bus;
	pid_t pid;

	listener = w->fd_plane = listen_fd_plane(url, f);
	if (listener < 0 || confine(w, f) < 0)
		return -1;
	w->fd_plane = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (w->fd_plane < 0)
		return fault(f, errno, "accept the coordinator at %s.fds", url);
	peer = peer_pidfd(w->fd_plane, &pid);
	bus = bus_new(f);
	return bus && bus_open(bus, url, true, f) == 0 ? serve(w, bus, peer) : -1;
}

int worker_main(struct worker *w, int argc, char **argv)
{
	struct fault f = { 0 };
	int r;

	if (argc == 3 && !strcmp(argv[1], "--forked"))
		worker_forked(w, atoi(argv[2]));
	if (argc != 3 || strcmp(argv[1], "--listen")) {
		fprintf(stderr, "usage: stasis-%s --listen ipc://PATH\n", w->name);
		return 2;
	}
	r = serve_listening(w, argv[2], &f);
	if (r < 0)
		fprintf(stderr, "stasis-%s: %s\n", w->name, f.text);
	return r ? 1 : 0;
}
