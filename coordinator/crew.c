/* SPDX-License-Identifier: MIT */
/*
 * crew.c - start the workers and end them.
 *
 * The workers are forked before the bus opens (nanomsg starts a thread, and a child forked
 * after that must not touch it); the coordinator binds, then lets them connect. With
 * --exec-workers they are programs of their own, with --worker NAME=URL somebody else started them.
 *
 * Rights:   none beyond fork.
 * Holds:    per worker a pidfd, a bus endpoint, the fd plane.
 */
#include "coordinator/crew.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "coordinator/crew_state.h"
#include "proto/control/bus.h"
#include "proto/control/fdplane.h"
#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/common/worker.h"
#include "workers/files/files.h"
#include "workers/gpu/gpu.h"
#include "workers/mem/mem.h"
#include "workers/net/net.h"

static struct worker *const workers[ROLE_COUNT] = {
	[ROLE_MEM] = &mem_worker, [ROLE_FILES] = &files_worker,
	[ROLE_NET] = &net_worker, [ROLE_GPU] = &gpu_worker,
};

static struct crew *crew_new(void)
{
	struct crew *c = xcalloc(1, sizeof(*c));
	int i;

	for (i = 0; i < ROLE_COUNT; i++) {
		c->member[i].pidfd = c->member[i].fd_plane = -1;
		c->member[i].worker = workers[i];
	}
	return c;
}

int crew_role(const char *name, size_t len)
{
	int i;

	for (i = 0; i < ROLE_COUNT; i++)
		if (!strncmp(workers[i]->name, name, len) && !workers[i]->name[len])
			return i;
	return -1;
}

static void socket_url(const struct crew *c, const struct member *m, char *buf, size_t size)
{
	snprintf(buf, size, "ipc://%s/%s", c->dir, m->worker->name);
}

/* The url given by --worker NAME=URL, or NULL. */
static const char *foreign_url(const Options *o, const char *name)
{
	size_t i, n = strlen(name);

	for (i = 0; i < o->n_worker; i++)
		if (!strncmp(o->worker[i], name, n) && o->worker[i][n] == '=')
			return o->worker[i] + n + 1;
	return NULL;
}

static int connect_foreign(struct member *m, const char *url, struct fault *f)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (strncmp(url, "ipc://", 6) ||
	    strlen(url + 6) + sizeof(".fds") > sizeof(addr.sun_path))
		return fault(f, -EINVAL, "--worker %s=%s: the url must be a short ipc:// one",
			     m->worker->name, url);
	strcat(strcpy(addr.sun_path, url + 6), ".fds");
	m->fd_plane = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (m->fd_plane < 0 ||
	    connect(m->fd_plane, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    getsockopt(m->fd_plane, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return fault(f, errno, "worker %s at %s: start it first with --listen %s",
			     m->worker->name, url, url);
	m->foreign = true;
	m->pid = cred.pid;
	return 0;
}

/* In the child: become the worker's program, beside our own. */
static _Noreturn void exec_program(const struct member *m, const char *fd_plane)
{
	char self[PATH_MAX], path[PATH_MAX + 16];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n < 0)
		_exit(127);
	self[n] = '\0';
	slash = strrchr(self, '/');
	snprintf(path, sizeof(path), "%.*s/stasis-%s", (int)(slash - self), self, m->worker->name);
	execl(path, path, "--forked", fd_plane, (char *)NULL);
	log_error("cannot run %s: %s", path, strerror(errno));
	_exit(127);
}

/*
 * In the child: start anew, as a program of its own or as ourselves in another role. The child may
 * share our memory (vfork): it changes nothing there.
 */
static _Noreturn void exec_worker(const struct job *job, const struct member *m, int fd_plane)
{
	char num[16];

	snprintf(num, sizeof(num), "%d", fd_plane);
	fcntl(fd_plane, F_SETFD, 0);
	if (job->opts->exec_workers)
		exec_program(m, num);
	execl("/proc/self/exe", "stasis", CREW_BECOME, m->worker->name, num, (char *)NULL);
	_exit(127);
}

_Noreturn void crew_become(const char *name, int fd_plane)
{
	int role = crew_role(name, strlen(name));

	if (role >= 0)
		worker_forked(workers[role], fd_plane);
	_exit(127);
}

/* In a child: our ends of earlier workers' fd planes, whose hangup tells them to go. */
static void close_others(struct crew *c)
{
	int i;

	for (i = 0; i < ROLE_COUNT; i++) {
		auto_close(&c->member[i].fd_plane);
		auto_close(&c->member[i].pidfd);
	}
}

/*
 * Before the bus opens a child may simply go on as the worker (cheaper by a millisecond); a later
 * one must not touch nanomsg, whose thread it lacks: it starts anew.
 */
static int fork_member(struct job *job, struct member *m, bool late, struct fault *f)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return fault(f, errno, "socket pair to worker %s", m->worker->name);
	m->pid = late ? vfork() : fork();
	if (m->pid == 0) {
		if (late || job->opts->exec_workers)
			exec_worker(job, m, pair[1]);
		close(pair[0]);
		close_others(job->crew);
		worker_forked(m->worker, pair[1]);
	}
	close(pair[1]);
	m->fd_plane = pair[0];
	if (m->pid < 0)
		return fault(f, errno, "start worker %s", m->worker->name);
	return 0;
}

/* Everything of a start that must happen before the bus opens. */
static int spawn(struct job *job, struct member *m, bool late, struct fault *f)
{
	const char *url = foreign_url(job->opts, m->worker->name);
	int r = url ? connect_foreign(m, url, f) : fork_member(job, m, late, f);

	if (r < 0)
		return -1;
	m->started = true;
	m->pidfd = syscall(SYS_pidfd_open, m->pid, 0);
	if (m->pidfd < 0)
		return fault(f, errno, "pidfd of worker %s (%d)", m->worker->name, m->pid);
	return 0;
}

static int open_bus(struct job *job, struct member *m, struct fault *f)
{
	const char *url = foreign_url(job->opts, m->worker->name);
	char buf[64];

	socket_url(job->crew, m, buf, sizeof(buf));
	m->bus = bus_new(f);
	if (!m->bus || bus_open(m->bus, url ? url : buf, !m->foreign, f) < 0)
		return -1;
	bus_set_peer(m->bus, m->pidfd);
	m->running = true;
	if (!m->foreign && write(m->fd_plane, buf, strlen(buf)) < 0)
		return fault(f, errno, "release worker %s", m->worker->name);
	return 0;
}

static int send_setup(struct job *job, enum role role, struct fault *f)
{
	AUTO_FREE int *fds = xcalloc(job->nopt_fds + 3, sizeof(int));
	Setup setup = SETUP__INIT;
	Request req = REQUEST__INIT;

	fds[0] = job->image_dir;
	fds[1] = job->work_dir;
	fds[2] = log_fd();
	if (job->nopt_fds)
		memcpy(fds + 3, job->opt_fds, job->nopt_fds * sizeof(int));
	setup.opts = job->opts;
	setup.nfds = job->nopt_fds + 3;
	setup.start_sec = job->start.tv_sec;
	setup.start_nsec = job->start.tv_nsec;
	setup.coordinator_pid = getpid();
	req.body_case = REQUEST__BODY_SETUP;
	req.setup = &setup;
	return crew_send(job->crew, role, STAGE__PREPARE, &req, fds, setup.nfds, f);
}

/*
 * Below /run, which is memory, when that is ours to write: names on a disk cost half a millisecond.
 */
static int make_directory(struct crew *c, struct fault *f)
{
	static const char *const places[] = { "/run/stasis-XXXXXX", "/tmp/stasis-XXXXXX" };
	size_t i;

	if (c->dir[0])
		return 0;
	for (i = 0; i < ARRAY_LEN(places); i++) {
		strcpy(c->dir, places[i]);
		if (mkdtemp(c->dir))
			return 0;
	}
	c->dir[0] = '\0';
	return fault(f, errno, "private directory for the bus in /tmp");
}

/* files has the most to do at first. */
static const enum role start_order[ROLE_COUNT] = { ROLE_FILES, ROLE_MEM, ROLE_NET, ROLE_GPU };

int crew_start(struct job *job, unsigned roles, struct fault *f)
{
	enum role role;
	int i;

	if (job->crew)
		die("workers are started once");
	job->crew = crew_new();
	job->crew->trace = job->trace;
	job->crew->patient = job->patient;
	if (make_directory(job->crew, f) < 0)
		return -1;
	for (i = 0; i < ROLE_COUNT; i++) {
		role = start_order[i];
		if ((roles & (1u << role)) && spawn(job, &job->crew->member[role], false, f) < 0)
			return -1;
	}
	for (i = 0; i < ROLE_COUNT; i++) {
		role = start_order[i];
		if ((roles & (1u << role)) && open_bus(job, &job->crew->member[role], f) < 0)
			return -1;
	}
	for (i = 0; i < ROLE_COUNT; i++) {
		role = start_order[i];
		if ((roles & (1u << role)) && send_setup(job, role, f) < 0)
			return -1;
	}
	return 0;
}

int crew_need(struct job *job, enum role role, struct fault *f)
{
	struct member *m = &job->crew->member[role];

	if (m->running)
		return 0;
	if (make_directory(job->crew, f) < 0 || spawn(job, m, true, f) < 0 ||
	    open_bus(job, m, f) < 0)
		return -1;
	return send_setup(job, role, f);
}

static void drop_socket(struct crew *c, struct member *m)
{
	char url[64];

	if (m->foreign || m->unlinked)
		return;
	m->unlinked = true;
	socket_url(c, m, url, sizeof(url));
	unlink(url + strlen("ipc://"));
}

static void drop_directory(struct crew *c)
{
	int i;

	for (i = 0; i < ROLE_COUNT; i++)
		if (c->member[i].running && !c->member[i].foreign && !c->member[i].unlinked)
			return;
	if (c->dir[0])
		rmdir(c->dir);
	c->dir[0] = '\0';
}

void crew_hide(struct crew *c, struct member *m)
{
	drop_socket(c, m);
	drop_directory(c);
}

bool crew_has(const struct crew *c, enum role role)
{
	return c && c->member[role].running;
}

void crew_hurry(struct crew *c)
{
	int nice = getpriority(PRIO_PROCESS, 0), i;

	for (i = 0; i < ROLE_COUNT; i++)
		if (c->member[i].running)
			setpriority(PRIO_PROCESS, c->member[i].pid, nice);
}

void crew_kill(struct crew *c, enum role role)
{
	struct member *m = &c->member[role];

	if (m->started && m->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, m->pidfd, SIGKILL, NULL, 0);
}

/* A worker started by hand is asked to end; it may hold a debugger, so nobody insists. */
static void dismiss_foreign(struct crew *c, enum role role)
{
	Request req = REQUEST__INIT;
	struct fault f = { 0 };
	Ack ack = ACK__INIT;
	Reply *rep;

	req.body_case = REQUEST__BODY_QUIT;
	req.quit = &ack;
	if (crew_send(c, role, STAGE__RELEASE, &req, NULL, 0, &f) == 0)
		while (c->member[role].count && crew_take(c, role, &rep, &f) == 0)
			reply__free_unpacked(rep, NULL);
}

/*
 * A worker keeps nothing that outlives its last answer, so ours are killed, all at once, rather
 * than asked one by one to end (a round trip and nanomsg's own end each).
 */
void crew_retire(struct crew *c, enum role role)
{
	struct member *m = &c->member[role];

	if (!m->started || m->retired)
		return;
	m->retired = true;
	if (!m->foreign)
		crew_kill(c, role);
	else if (m->bus)
		dismiss_foreign(c, role);
	if (m->fd_plane >= 0)
		close(m->fd_plane);
}

void crew_bury(struct crew *c, enum role role)
{
	struct member *m = &c->member[role];

	if (!m->started || !m->retired || m->buried)
		return;
	m->buried = true;
	if (!m->foreign)
		waitpid(m->pid, NULL, 0);
}

static void forget_member(struct crew *c, enum role role)
{
	struct member *m = &c->member[role];

	crew_bury(c, role);
	drop_socket(c, m);
	if (m->pidfd >= 0)
		close(m->pidfd);
}

void crew_stop(struct crew *c)
{
	int i;

	if (!c)
		return;
	for (i = 0; i < ROLE_COUNT; i++)
		crew_retire(c, i);
	for (i = 0; i < ROLE_COUNT; i++)
		if (c->member[i].started)
			forget_member(c, i);
	drop_directory(c);
	free(c);
}
