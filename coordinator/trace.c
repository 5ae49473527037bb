/* SPDX-License-Identifier: MIT */
/*
 * trace.c - the writer of --trace: a record, one write(2).
 *
 * Messages are packed a second time here, and only here: without --trace nothing is done.
 *
 * Rights:   the work directory.
 * Holds:    the file.
 */
#include "coordinator/trace.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/common/log.h"

struct trace {
	int fd;				/* -1: it took no more */
	struct timespec start;
	off_t size;			/* whole records */
};

/* A disk that is full or a reader that is gone must not stop the operation. */
static void give_up(struct trace *t, int error)
{
	log_warnx("the trace ends here: its file takes no more: %s", strerror(error));
	if (ftruncate(t->fd, t->size) < 0)
		log_warnx("the trace's last record is damaged: %s", strerror(errno));
	close(take_fd(&t->fd));
}

/* The magic goes with the first record. */
static void put(struct trace *t, TraceRecord *rec)
{
	size_t head = t->size ? 0 : TRACE_MAGIC_SIZE, len, all;
	AUTO_FREE uint8_t *buf = NULL;
	uint32_t frame;
	ssize_t r;

	if (t->fd < 0)
		return;
	rec->ns = elapsed_ns(&t->start);
	len = trace_record__get_packed_size(rec);
	all = head + sizeof(frame) + len;
	buf = xcalloc(1, all);
	memcpy(buf, TRACE_MAGIC, head);
	frame = htole32(len);
	memcpy(buf + head, &frame, sizeof(frame));
	trace_record__pack(rec, buf + head + sizeof(frame));
	r = write(t->fd, buf, all);
	if (r == (ssize_t)all)
		t->size += all;
	else
		give_up(t, r < 0 ? errno : ENOSPC);
}

struct trace *trace_open(const struct job *job, const char *path, struct fault *f)
{
	TraceRecord rec = TRACE_RECORD__INIT;
	TraceStart start = TRACE_START__INIT;
	struct trace *t = xcalloc(1, sizeof(*t));

	t->start = job->start;
	t->fd = openat(job->work_dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC,
		       0600);
	if (t->fd < 0) {
		fault(f, errno, "trace file %s", path);
		free(t);
		return NULL;
	}
	start.mode = job->opts->mode;
	start.coordinator_pid = getpid();
	rec.event_case = TRACE_RECORD__EVENT_START;
	rec.start = &start;
	put(t, &rec);
	return t;
}

void trace_close(struct trace *t)
{
	if (!t)
		return;
	auto_close(&t->fd);
	free(t);
}

void trace_edge(struct trace *t, const char *stage, Edge edge, const char *text)
{
	TraceRecord rec = TRACE_RECORD__INIT;
	TraceEdge e = TRACE_EDGE__INIT;

	if (!t)
		return;
	e.stage = (char *)stage;
	e.edge = edge;
	e.text = (char *)text;
	rec.event_case = TRACE_RECORD__EVENT_EDGE;
	rec.edge = &e;
	put(t, &rec);
}

void trace_request(struct trace *t, const char *worker, const Request *req, size_t nfds)
{
	TraceRequest r = TRACE_REQUEST__INIT;
	TraceRecord rec = TRACE_RECORD__INIT;

	if (!t)
		return;
	r.worker = (char *)worker;
	r.nfds = nfds;
	r.message = (Request *)req;
	rec.event_case = TRACE_RECORD__EVENT_REQUEST;
	rec.request = &r;
	put(t, &rec);
}

void trace_reply(struct trace *t, const char *worker, const Reply *rep)
{
	TraceReply r = TRACE_REPLY__INIT;
	TraceRecord rec = TRACE_RECORD__INIT;

	if (!t)
		return;
	r.worker = (char *)worker;
	r.message = (Reply *)rep;
	rec.event_case = TRACE_RECORD__EVENT_REPLY;
	rec.reply = &r;
	put(t, &rec);
}

void trace_fds(struct trace *t, const char *worker, uint64_t id, size_t nfds)
{
	TraceFds fds = TRACE_FDS__INIT;
	TraceRecord rec = TRACE_RECORD__INIT;

	if (!t)
		return;
	fds.worker = (char *)worker;
	fds.id = id;
	fds.nfds = nfds;
	rec.event_case = TRACE_RECORD__EVENT_FDS;
	rec.fds = &fds;
	put(t, &rec);
}
