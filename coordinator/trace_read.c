/* SPDX-License-Identifier: MIT */
/*
 * trace_read.c - the reader of trace files: untrusted input, like images.
 *
 * Rights:   to read the file.
 * Holds:    nothing; a recording is the caller's.
 */
#include "coordinator/trace_read.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/crew.h"
#include "coordinator/trace.h"
#include "proto/control/util.h"
#include "proto/images/check.h"

#define FILE_MAX_BYTES (1u << 30)
#define SETUP_FDS 3

/* What is known of the conversations while records are read. */
struct reader {
	struct recording *rec;
	struct {
		size_t pending[CREW_PENDING];	/* indices of exchanges */
		unsigned first, count;
		size_t last;			/* exchange that was answered last */
		bool answered;
	} role[ROLE_COUNT];
	uint64_t last_id;
	const TraceEdge *open;			/* the stage that has begun and not ended */
};

static int role_of(const char *worker, struct fault *f)
{
	int role = crew_role(worker, strlen(worker));

	return role < 0 ? fault(f, -EBADMSG, "a worker that this version does not have") : role;
}

static int on_start(struct reader *rd, const TraceRecord *r, struct fault *f)
{
	(void)r;
	return rd->rec->nrecords == 1 ? 0 : fault(f, -EBADMSG, "a second start");
}

static int on_edge(struct reader *rd, const TraceRecord *r, struct fault *f)
{
	const TraceEdge *e = r->edge, *open = rd->open;
	bool begins = e->edge == EDGE__EDGE_BEGIN || e->edge == EDGE__EDGE_UNDO;

	rd->open = begins ? e : NULL;
	if (begins)
		return open ? fault(f, -EBADMSG, "a stage begins inside another") : 0;
	if (!open || strcmp(open->stage, e->stage) ||
	    (open->edge == EDGE__EDGE_UNDO) != (e->edge == EDGE__EDGE_UNDONE))
		return fault(f, -EBADMSG, "a stage ends that has not begun");
	return 0;
}

static int on_request(struct reader *rd, const TraceRecord *r, struct fault *f)
{
	struct recording *rec = rd->rec;
	const Request *req = r->request->message;
	struct exchange *x;
	int role = role_of(r->request->worker, f);

	if (role < 0)
		return -1;
	if (req->body_case == REQUEST__BODY__NOT_SET)
		return fault(f, -EBADMSG, "a request that this version does not have");
	if (req->id <= rd->last_id)
		return fault(f, -EBADMSG, "request numbers that do not grow");
	if (req->body_case == REQUEST__BODY_SETUP &&
	    (req->setup->nfds != r->request->nfds || req->setup->nfds < SETUP_FDS))
		return fault(f, -EBADMSG, "a Setup message with a wrong number of descriptors");
	if (rd->role[role].count == CREW_PENDING)
		return fault(f, -EBADMSG, "more than %d requests wait for one worker",
			     CREW_PENDING);
	rd->role[role].pending[(rd->role[role].first + rd->role[role].count++) % CREW_PENDING] =
		rec->nexchanges;
	rd->last_id = req->id;
	x = grow(&rec->exchanges, rec->nexchanges, &rec->exchanges_cap, sizeof(*x));
	rec->nexchanges++;
	x->req = r->request;
	x->sent_ns = r->ns;
	return 0;
}

static int on_reply(struct reader *rd, const TraceRecord *r, struct fault *f)
{
	int role = role_of(r->reply->worker, f);
	struct exchange *x;

	if (role < 0)
		return -1;
	if (!rd->role[role].count)
		return fault(f, -EBADMSG, "a reply to nothing that was asked");
	rd->role[role].last = rd->role[role].pending[rd->role[role].first++ % CREW_PENDING];
	rd->role[role].count--;
	rd->role[role].answered = true;
	x = &rd->rec->exchanges[rd->role[role].last];
	if (r->reply->message->id != x->req->message->id)
		return fault(f, -EBADMSG, "a reply to another request than the oldest");
	x->rep = r->reply->message;
	x->taken_ns = r->ns;
	return 0;
}

static int on_fds(struct reader *rd, const TraceRecord *r, struct fault *f)
{
	int role = role_of(r->fds->worker, f);
	struct exchange *x;

	if (role < 0)
		return -1;
	x = rd->role[role].answered ? &rd->rec->exchanges[rd->role[role].last] : NULL;
	if (!x || x->rep->id != r->fds->id)
		return fault(f, -EBADMSG, "descriptors of no reply");
	if (r->fds->nfds > UINT32_MAX - x->nfds)
		return fault(f, -EBADMSG, "too many descriptors");
	x->nfds += r->fds->nfds;
	return 0;
}

static int take_record(struct reader *rd, TraceRecord *r, struct fault *f)
{
	static int (*const handlers[])(struct reader *, const TraceRecord *, struct fault *) = {
		[TRACE_RECORD__EVENT_START] = on_start,
		[TRACE_RECORD__EVENT_EDGE] = on_edge,
		[TRACE_RECORD__EVENT_REQUEST] = on_request,
		[TRACE_RECORD__EVENT_REPLY] = on_reply,
		[TRACE_RECORD__EVENT_FDS] = on_fds,
	};
	struct recording *rec = rd->rec;
	TraceRecord **slot;

	slot = grow(&rec->records, rec->nrecords, &rec->records_cap, sizeof(*slot));
	*slot = r;
	rec->nrecords++;
	if (rec->nrecords == 1 && r->event_case != TRACE_RECORD__EVENT_START)
		return fault(f, -EBADMSG, "the first record is no start");
	if (r->ns < rec->end_ns)
		return fault(f, -EBADMSG, "time goes back");
	rec->end_ns = r->ns;
	if ((size_t)r->event_case >= ARRAY_LEN(handlers) || !handlers[r->event_case])
		return fault(f, -EBADMSG, "an event that this version does not have");
	return handlers[r->event_case](rd, r, f);
}

/* One framed message at p. Returns the bytes it takes, or -1. */
static ssize_t read_record(struct reader *rd, const uint8_t *p, size_t left, struct fault *f)
{
	TraceRecord *r;
	uint32_t len;

	if (left < sizeof(len))
		return fault(f, -EBADMSG, "%zu stray bytes at the end", left);
	memcpy(&len, p, sizeof(len));
	len = le32toh(len);
	left -= sizeof(len);
	if (len > left)
		return fault(f, -EBADMSG, "%u bytes announced, %zu left", len, left);
	if (message_check(&trace_record__descriptor, p + sizeof(len), len, f) < 0)
		return -1;
	r = trace_record__unpack(NULL, len, p + sizeof(len));
	if (!r)
		return fault(f, -EBADMSG, "not a valid TraceRecord");
	return take_record(rd, r, f) < 0 ? -1 : (ssize_t)(sizeof(len) + len);
}

static int read_records(struct recording *rec, const uint8_t *p, size_t size, struct fault *f)
{
	AUTO_FREE struct reader *rd = xcalloc(1, sizeof(*rd));
	size_t at = TRACE_MAGIC_SIZE;
	ssize_t n;

	rd->rec = rec;
	if (size < TRACE_MAGIC_SIZE || memcmp(p, TRACE_MAGIC, TRACE_MAGIC_SIZE))
		return fault(f, -EBADMSG, "no file of --trace: its first bytes are not %s",
			     TRACE_MAGIC);
	if (size == TRACE_MAGIC_SIZE)
		return fault(f, -EBADMSG, "no record");
	while (at < size) {
		n = read_record(rd, p + at, size - at, f);
		if (n < 0)
			return fault_prefix(f, "damaged or cut off, trace again: at byte %zu", at);
		at += n;
	}
	return 0;
}

static uint8_t *slurp(const char *path, size_t *size, struct fault *f)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	AUTO_FREE uint8_t *data = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0) {
		fault(f, errno, "open");
		return NULL;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES) {
		fault(f, -EINVAL, "no regular file of at most %u bytes", FILE_MAX_BYTES);
		return NULL;
	}
	data = xcalloc(1, st.st_size);
	n = read_full(fd, data, st.st_size);
	if (n < 0) {
		fault(f, errno, "read");
		return NULL;
	}
	*size = n;
	return take_ptr(&data);
}

struct recording *recording_read(const char *path, struct fault *f)
{
	AUTO_RECORDING struct recording *rec = xcalloc(1, sizeof(*rec));
	AUTO_FREE uint8_t *data = NULL;
	size_t size = 0;

	data = slurp(path, &size, f);
	if (data && read_records(rec, data, size, f) == 0)
		return take_ptr(&rec);
	fault_prefix(f, "trace %s", path);
	return NULL;
}

void recording_free(struct recording *r)
{
	size_t i;

	if (!r)
		return;
	for (i = 0; i < r->nrecords; i++)
		trace_record__free_unpacked(r->records[i], NULL);
	free(r->records);
	free(r->exchanges);
	free(r);
}
