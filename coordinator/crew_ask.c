/* SPDX-License-Identifier: MIT */
/*
 * crew_ask.c - ask the workers, take their answers, notice when one dies, hangs or talks nonsense.
 *
 * A deadline is time without progress: a worker that uses the CPU or does I/O is waited for.
 *
 * Rights:   none.
 * Holds:    per worker the requests not yet answered.
 */
#include "coordinator/crew_state.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "coordinator/progress.h"
#include "coordinator/trace.h"
#include "proto/control/bus.h"
#include "proto/control/fdplane.h"
#include "proto/control/util.h"
#include "workers/common/log.h"

#define DEADLINE_MS 10000
#define MAX_PERIODS 6		/* of progress, for what is not bulk work */

const char *crew_body_name(int body)
{
	const ProtobufCFieldDescriptor *d;

	d = protobuf_c_message_descriptor_get_field(&request__descriptor, body);
	return d ? d->name : "?";
}

const char *crew_status_name(const Reply *rep)
{
	const ProtobufCEnumValue *v;

	v = protobuf_c_enum_descriptor_get_value(&status__descriptor, rep->status);
	return v ? v->name : "?";
}

int crew_send(struct crew *c, enum role role, Stage stage, Request *req, const int *fds,
	      size_t nfds, struct fault *f)
{
	struct member *m = &c->member[role];
	struct pending *p;

	if (!m->running || m->count == CREW_PENDING)
		die("%s asked out of turn", m->worker->name);
	p = &m->pending[(m->first + m->count++) % CREW_PENDING];
	p->id = req->id = ++c->last_id;
	p->body = req->body_case;
	req->stage = stage;
	req->deadline_ms = DEADLINE_MS;
	log_debug("-> %s: %s (%llu)", m->worker->name, crew_body_name(p->body),
		  (unsigned long long)p->id);
	trace_request(c->trace, m->worker->name, req, nfds);
	if (nfds && fdplane_send(m->fd_plane, p->id, fds, nfds, f) < 0)
		return fault_prefix(f, "worker %s", m->worker->name);
	if (bus_send(m->bus, &req->base, f) < 0)
		return fault_prefix(f, "worker %s", m->worker->name);
	return 0;
}

/* How a dead worker died, for the sentence. */
static void describe_death(struct member *m, char *buf, size_t size)
{
	siginfo_t si = { 0 };

	snprintf(buf, size, "is gone");
	if (m->foreign || waitid(P_PIDFD, m->pidfd, &si, WEXITED | WNOWAIT) < 0)
		return;
	if (si.si_code == CLD_EXITED)
		snprintf(buf, size, "exited with status %d", si.si_status);
	else
		snprintf(buf, size, "was killed by signal %d (%s)", si.si_status,
			 strsignal(si.si_status));
}

/* Requests whose work grows with the memory or the files of the target: no bound but progress. */
static bool is_bulk(int body)
{
	return body == REQUEST__BODY_MEM_WRITE || body == REQUEST__BODY_MEM_BUILD ||
	       body == REQUEST__BODY_FILES_COLLECT || body == REQUEST__BODY_FILES_WRITE ||
	       body == REQUEST__BODY_FILES_CREATE || body == REQUEST__BODY_MEM_WRITE_FILES ||
	       body == REQUEST__BODY_MEM_MAKE_FILES || body == REQUEST__BODY_NET_COLLECT ||
	       body == REQUEST__BODY_NET_WRITE || body == REQUEST__BODY_NET_CREATE ||
	       body == REQUEST__BODY_NET_FILL || body == REQUEST__BODY_GPU_CHECKPOINT ||
	       body == REQUEST__BODY_GPU_PAUSE || body == REQUEST__BODY_GPU_END ||
	       body == REQUEST__BODY_GPU_WRITE || body == REQUEST__BODY_GPU_CREATE ||
	       body == REQUEST__BODY_GPU_RESUME;
}

/*
 * How many periods a worker may be seen to do nothing. Device memory is copied by drivers in the
 * kernel or in the task itself, while the gpu worker only waits; what else plugins are asked may
 * take a while too.
 */
static int silent_periods(int body)
{
	if (body == REQUEST__BODY_GPU_CHECKPOINT || body == REQUEST__BODY_GPU_RESUME)
		return 30;
	return body >= REQUEST__BODY_GPU_PREFLIGHT && body <= REQUEST__BODY_GPU_UNIX_RESTORE ? 6
											     : 1;
}

/*
 * Wait for the next message of a worker for as long as it makes progress; one that keeps busy with
 * what should be quick is given up too.
 */
static Reply *take_reply(struct member *m, int body, bool patient, struct fault *f)
{
	ProtobufCMessage *msg = NULL;
	uint64_t before = 0, now;
	char death[80];
	int r, periods = 0, silent = 0;

	for (;;) {
		r = bus_recv(m->bus, &reply__descriptor, &msg, DEADLINE_MS, f);
		if (r)
			break;
		if (patient)
			continue;
		now = progress_of(m->pid);
		if (++periods == MAX_PERIODS && !is_bulk(body) && silent_periods(body) == 1) {
			fault(f, -ETIMEDOUT, "worker %s (%d) is busy with %s for %d s without end",
			      m->worker->name, m->pid, crew_body_name(body),
			      MAX_PERIODS * DEADLINE_MS / 1000);
			return NULL;
		}
		silent = now == before ? silent + 1 : 0;
		if (silent == silent_periods(body)) {
			fault(f, -ETIMEDOUT,
			      "worker %s (%d) does not answer %s and makes no progress for %d s",
			      m->worker->name, m->pid, crew_body_name(body),
			      silent * DEADLINE_MS / 1000);
			return NULL;
		}
		before = now;
	}
	if (r > 0)
		return (Reply *)msg;
	if (f->code == ECONNRESET) {
		describe_death(m, death, sizeof(death));
		memset(f, 0, sizeof(*f));
		fault(f, -ECONNRESET, "worker %s (%d) %s during %s; the log has its last words",
		      m->worker->name, m->pid, death, crew_body_name(body));
	} else {
		fault_prefix(f, "worker %s (%d), %s", m->worker->name, m->pid,
			     crew_body_name(body));
	}
	return NULL;
}

/* What may be answered by RETRY: who asks these looks at the status. */
static bool may_retry(int body)
{
	return body == REQUEST__BODY_GPU_CREATE || body == REQUEST__BODY_GPU_UNIX_DUMP;
}

static int check_status(const struct member *m, const Reply *rep, int body, struct fault *f)
{
	if (rep->status == STATUS__OK || (rep->status == STATUS__RETRY && may_retry(body)))
		return 0;
	if (rep->status == STATUS__RETRY)
		return fault(f, -EPROTO, "worker %s (%d) answers %s by RETRY, which it may not",
			     m->worker->name, m->pid, crew_body_name(body));
	return fault(f, rep->has_code && rep->code > 0 ? -rep->code : -EIO, "%s",
		     rep->text ? rep->text : "a worker failed without saying why");
}

int crew_take(struct crew *c, enum role role, Reply **rep, struct fault *f)
{
	struct member *m = &c->member[role];
	struct pending p;
	Reply *got;

	if (!m->count)
		die("nothing was asked of %s", m->worker->name);
	p = m->pending[m->first++ % CREW_PENDING];
	m->count--;
	got = take_reply(m, p.body, c->patient, f);
	if (!got)
		return -1;
	if (got->id != p.id) {
		fault(f, -EPROTO, "worker %s answered request %llu when %llu was due",
		      m->worker->name, (unsigned long long)got->id, (unsigned long long)p.id);
		reply__free_unpacked(got, NULL);
		return -1;
	}
	m->last_reply = got->id;
	trace_reply(c->trace, m->worker->name, got);
	log_debug("<- %s: %s (%llu) %s", m->worker->name, crew_body_name(p.body),
		  (unsigned long long)p.id, crew_status_name(got));
	if (p.body == REQUEST__BODY_SETUP)
		crew_hide(c, m);
	*rep = got;
	return 0;
}

int crew_wait(struct crew *c, enum role role, Reply **rep, struct fault *f)
{
	struct member *m = &c->member[role];
	Reply *got = NULL;
	int r, body;

	do {
		body = m->pending[m->first % CREW_PENDING].body;
		if (crew_take(c, role, &got, f) < 0)
			return -1;
		r = check_status(m, got, body, f);
		if (r < 0 || !rep || body == REQUEST__BODY_SETUP) {
			reply__free_unpacked(got, NULL);
			got = NULL;
		}
	} while (r == 0 && body == REQUEST__BODY_SETUP);
	if (rep)
		*rep = got;
	return r;
}

/* The reply, if it has this body; else NULL with f set, and it is freed. NULL stays NULL. */
static Reply *expect(const struct member *m, Reply *rep, int body, struct fault *f)
{
	if (!rep || (int)rep->body_case == body)
		return rep;
	reply__free_unpacked(rep, NULL);
	fault(f, -EPROTO, "worker %s (%d): its answer is not the one expected; are all programs of "
	      "one version?", m->worker->name, m->pid);
	return NULL;
}

Reply *crew_answer(struct crew *c, enum role role, int body, struct fault *f)
{
	Reply *rep = NULL;

	if (crew_wait(c, role, &rep, f) < 0)
		return NULL;
	return expect(&c->member[role], rep, body, f);
}

int crew_recv_fds(struct crew *c, enum role role, int *fds, size_t n, struct fault *f)
{
	struct member *m = &c->member[role];

	if (fdplane_recv(m->fd_plane, m->last_reply, fds, n, f) < 0)
		return -1;
	trace_fds(c->trace, m->worker->name, m->last_reply, n);
	return 0;
}

size_t crew_drop_fds(struct crew *c, enum role role)
{
	return fdplane_drop(c->member[role].fd_plane);
}

/* Answers that are due; the one to Setup is waited for with the next. */
static unsigned due(const struct member *m)
{
	return m->count -
	       (m->count && m->pending[m->first % CREW_PENDING].body == REQUEST__BODY_SETUP);
}

int crew_ask(struct crew *c, enum role role, Stage stage, Request *req, Reply **rep,
	     struct fault *f)
{
	struct fault stale = { 0 };

	if (crew_send(c, role, stage, req, NULL, 0, f) < 0)
		return -1;
	/* After a fault elsewhere earlier answers may still be due: nobody waits for them now. */
	while (due(&c->member[role]) > 1) {
		memset(&stale, 0, sizeof(stale));
		if (crew_wait(c, role, NULL, &stale) < 0 && stale.code == ECONNRESET)
			break;
	}
	return crew_wait(c, role, rep, f);
}

Reply *crew_ask_for(struct crew *c, enum role role, Stage stage, Request *req, int body,
		    struct fault *f)
{
	Reply *rep = NULL;

	if (crew_ask(c, role, stage, req, &rep, f) < 0)
		return NULL;
	return expect(&c->member[role], rep, body, f);
}

void crew_quiesce(struct crew *c)
{
	int role;

	for (role = 0; role < ROLE_COUNT; role++) {
		while (due(&c->member[role])) {
			struct fault f = { 0 };

			if (crew_wait(c, role, NULL, &f) == 0)
				continue;
			log_debug("while undoing: %s", f.text);
			if (f.code == ETIMEDOUT)
				crew_kill(c, role);
		}
	}
}
