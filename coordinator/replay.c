/* SPDX-License-Identifier: MIT */
/*
 * replay.c - feed a recorded conversation to one worker that was started by hand.
 *
 * The worker gets the recorded messages in their order, with as many on their way as then. It
 * cannot get the descriptors: those of Setup are opened anew, in place of others it gets /dev/null.
 * A worker that refuses one of these ends the replay without a difference; one that fails where it
 * did not fail then, or the reverse, ends it too, for what was said next presumes otherwise.
 *
 * There are no deadlines: the worker may stand in a debugger.
 *
 * Rights:   none; the worker has its own, and uses them.
 * Holds:    the trace.
 */
#include "coordinator/replay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/crew.h"
#include "coordinator/trace_read.h"
#include "proto/control/util.h"
#include "proto/images/print.h"

#define MOST_FDS 16384		/* of one message: a worker takes no more */
#define WINDOW 64		/* lines looked ahead for what is the same again */

struct replay {
	struct job *job;
	enum role role;
	const char *name;		/* of the worker */
	const struct recording *rec;
	size_t next;			/* exchange whose reply is due */
	int null;			/* /dev/null */
	unsigned total, asked, same, differ;
	bool over;			/* no more can be replayed */
};

static bool is_ours(const struct replay *r, const TraceRequest *req)
{
	return !strcmp(req->worker, r->name) && req->message->body_case != REQUEST__BODY_QUIT;
}

/* ---- two messages side by side ---- */

struct lines {
	char *text;			/* owned; line[] points into it */
	char **line;
	size_t n, cap;
};

static void lines_of(struct lines *l, const Reply *rep)
{
	struct printer p = { 0 };
	size_t size, cap = 0;
	char *rest, *one;

	memset(l, 0, sizeof(*l));
	p.out = open_memstream(&l->text, &size);
	if (!p.out)
		die("out of memory (text of a reply)");
	print_message(&p, &rep->base);
	fclose(p.out);
	rest = l->text;
	while ((one = strsep(&rest, "\n"))) {
		if (!*one)
			continue;
		*(char **)grow(&l->line, l->n, &cap, sizeof(char *)) = one;
		l->n++;
	}
}

static void lines_free(struct lines *l)
{
	free(l->text);
	free(l->line);
}

static void print_lines(const struct lines *l, size_t from, size_t to, char mark)
{
	for (; from < to; from++)
		printf("  %c %s\n", mark, l->line[from]);
}

/* The nearest place where both go on alike, not far; else a line further. */
static void resume(const struct lines *a, const struct lines *b, size_t *i, size_t *j)
{
	size_t d, k;

	for (d = 1; d < WINDOW; d++)
		for (k = 0; k <= d; k++)
			if (*i + k < a->n && *j + d - k < b->n &&
			    !strcmp(a->line[*i + k], b->line[*j + d - k])) {
				*i += k;
				*j += d - k;
				return;
			}
	*i += *i < a->n;
	*j += *j < b->n;
}

/* Lines of both with a blank, those recorded only with a minus, those of now only with a plus. */
static bool print_both(const Reply *recorded, const Reply *now)
{
	struct lines a, b;
	size_t i = 0, j = 0, i0, j0;
	bool same = true;

	lines_of(&a, recorded);
	lines_of(&b, now);
	while (i < a.n || j < b.n) {
		if (i < a.n && j < b.n && !strcmp(a.line[i], b.line[j])) {
			print_lines(&a, i, i + 1, ' ');
			i++;
			j++;
			continue;
		}
		same = false;
		i0 = i;
		j0 = j;
		resume(&a, &b, &i, &j);
		print_lines(&a, i0, i, '-');
		print_lines(&b, j0, j, '+');
	}
	lines_free(&a);
	lines_free(&b);
	return same;
}

/* ---- the conversation ---- */

/* When the worker was at it is not part of what it said. */
static Reply *without_times(const Reply *rep)
{
	Reply *copy = message_copy(&rep->base);

	copy->has_begun_ns = copy->has_done_ns = false;
	while (copy->n_beside)
		beside__free_unpacked(copy->beside[--copy->n_beside], NULL);
	return copy;
}

static void compare(struct replay *r, const struct exchange *x, Reply *now)
{
	Reply *then = x->rep ? without_times(x->rep) : NULL;
	size_t nfds = crew_drop_fds(r->job->crew, r->role);
	bool same;

	now->id = x->req->message->id;		/* there were other workers to number */
	printf("%s (request %llu): recorded %s, now %s\n",
	       crew_body_name(x->req->message->body_case), (unsigned long long)x->req->message->id,
	       x->rep ? crew_status_name(x->rep) : "no reply", crew_status_name(now));
	if (then) {
		same = print_both(then, now);
		reply__free_unpacked(then, NULL);
	} else {
		struct lines l;

		lines_of(&l, now);
		print_lines(&l, 0, l.n, '+');
		lines_free(&l);
		same = false;
	}
	if (nfds != x->nfds)
		printf("  - %u descriptors\n  + %zu descriptors\n", x->nfds, nfds);
	r->over = x->rep && x->rep->status != now->status;
	if (r->over && now->status == STATUS__FAILED && x->req->nfds &&
	    x->req->message->body_case != REQUEST__BODY_SETUP) {
		printf("  it needs the descriptors that came with it: the replay ends here\n");
		return;
	}
	if (r->over)
		printf("  what was said next presumes the recorded status: the replay ends here\n");
	if (same && nfds == x->nfds)
		r->same++;
	else
		r->differ++;
}

static int take(struct replay *r, struct fault *f)
{
	const struct recording *rec = r->rec;
	Reply *now = NULL;

	while (!is_ours(r, rec->exchanges[r->next].req))
		r->next++;
	if (crew_take(r->job->crew, r->role, &now, f) < 0)
		return -1;
	compare(r, &rec->exchanges[r->next++], now);
	reply__free_unpacked(now, NULL);
	return 0;
}

/* Setup with our directories, log and time; its other descriptors and options as recorded. */
static int begin(struct replay *r, const Setup *setup, struct fault *f)
{
	struct job *job = r->job;
	Options *own = job->opts, opts = *setup->opts;
	size_t i;
	int res;

	opts.images_dir = own->images_dir;
	opts.work_dir = own->work_dir;
	opts.log_file = own->log_file;
	opts.has_log_level = true;
	opts.log_level = own->log_level;
	opts.worker = own->worker;
	opts.n_worker = own->n_worker;
	opts.trace = NULL;
	job->nopt_fds = setup->nfds - 3;
	job->opt_fds = xcalloc(job->nopt_fds, sizeof(int));
	for (i = 0; i < job->nopt_fds; i++)
		job->opt_fds[i] = r->null;
	job->opts = &opts;
	job->patient = true;
	res = crew_start(job, 1u << r->role, f);
	job->opts = own;
	return res;
}

static int send_again(struct replay *r, const TraceRequest *recorded, struct fault *f)
{
	Request req = *recorded->message;
	AUTO_FREE int *fds = NULL;
	size_t i;

	r->asked++;
	if (recorded->nfds > MOST_FDS)
		return fault(f, -EBADMSG, "%u descriptors went with one message: the trace is "
			     "damaged", recorded->nfds);
	if (req.body_case == REQUEST__BODY_SETUP && r->asked == 1)
		return begin(r, req.setup, f);
	if (req.body_case == REQUEST__BODY_SETUP || r->asked == 1)
		return fault(f, -EBADMSG, "the conversation with worker %s does not begin with its "
			     "Setup: the trace is damaged", r->name);
	fds = xcalloc(recorded->nfds, sizeof(int));
	for (i = 0; i < recorded->nfds; i++)
		fds[i] = r->null;
	return crew_send(r->job->crew, r->role, req.stage, &req, fds, recorded->nfds, f);
}

static int walk(struct replay *r, struct fault *f)
{
	const struct recording *rec = r->rec;
	size_t i, sent = 0;

	for (i = 0; i < rec->nrecords && !r->over; i++) {
		const TraceRecord *e = rec->records[i];

		if (e->event_case == TRACE_RECORD__EVENT_REQUEST && is_ours(r, e->request)) {
			if (send_again(r, e->request, f) < 0)
				return -1;
			sent++;
		} else if (e->event_case == TRACE_RECORD__EVENT_REPLY &&
			   !strcmp(e->reply->worker, r->name) && sent) {
			if (take(r, f) < 0)
				return -1;
			sent--;
		}
	}
	/* The worker died of these, or the coordinator did. */
	for (; sent && !r->over; sent--)
		if (take(r, f) < 0)
			return -1;
	return 0;
}

/* --worker NAME=URL, of which there is one. */
static int find_worker(struct replay *r, const Options *o, struct fault *f)
{
	size_t i, len;
	int role;

	if (o->n_worker != 1)
		return fault(f, -EINVAL, "which worker? give one --worker NAME=URL");
	len = strcspn(o->worker[0], "=");
	role = crew_role(o->worker[0], len);
	if (role < 0 || !o->worker[0][len])
		return fault(f, -EINVAL, "--worker %s: the form is NAME=URL, NAME one of mem, "
			     "files, net, gpu", o->worker[0]);
	r->role = role;
	for (i = 0; i < r->rec->nexchanges; i++) {
		const TraceRequest *req = r->rec->exchanges[i].req;

		if (crew_role(req->worker, strlen(req->worker)) != role)
			continue;
		r->name = req->worker;
		r->total += is_ours(r, req);
	}
	return r->total ? 0 : fault(f, -ENOENT, "nothing was said to worker %.*s in this trace",
				    (int)len, o->worker[0]);
}

int replay(struct job *job, const char *path, struct fault *f)
{
	AUTO_RECORDING struct recording *rec = recording_read(path, f);
	AUTO_CLOSE int null = -1;
	struct replay r = { .job = job, .rec = rec };

	if (!rec || find_worker(&r, job->opts, f) < 0)
		return -1;
	r.null = null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return fault(f, errno, "open /dev/null");
	if (walk(&r, f) < 0)
		return -1;
	printf("%u of %u requests replayed: %u replies the same, %u differ\n", r.same + r.differ,
	       r.total, r.same, r.differ);
	if (fflush(stdout))
		return fault(f, errno, "standard output");
	return r.differ ? 1 : 0;
}
