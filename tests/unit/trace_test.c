/* SPDX-License-Identifier: MIT */
/*
 * trace_test.c - what is traced is read again; damaged files are refused; the picture is XML.
 */
#include "coordinator/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "coordinator/timeline.h"
#include "coordinator/trace_read.h"
#include "proto/control/util.h"
#include "tests/unit/check.h"

static char dir[] = "/tmp/stasis-trace-XXXXXX";
static char path[64];

static void make_job(struct job *job, Options *o)
{
	memset(job, 0, sizeof(*job));
	options__init(o);
	o->mode = MODE__MODE_RESTORE;
	job->opts = o;
	job->work_dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	clock_gettime(CLOCK_MONOTONIC, &job->start);
}

static struct trace *begin(struct job *job, Options *o)
{
	struct fault f = { 0 };
	struct trace *t;

	make_job(job, o);
	t = trace_open(job, "t", &f);
	if (!t)
		die("%s", f.text);
	return t;
}

static void end(struct job *job, struct trace *t)
{
	trace_close(t);
	close(job->work_dir);
}

static void ask(struct trace *t, const char *worker, uint64_t id)
{
	Gates gates = GATES__INIT;
	Request req = REQUEST__INIT;

	req.id = id;
	req.stage = STAGE__FORKING;
	req.deadline_ms = 1;
	req.body_case = REQUEST__BODY_GATES;
	req.gates = &gates;
	trace_request(t, worker, &req, 1);
}

static void answer(struct trace *t, const char *worker, uint64_t id, Status status,
		   const char *text)
{
	Reply rep = REPLY__INIT;

	rep.id = id;
	rep.status = status;
	rep.text = (char *)text;
	trace_reply(t, worker, &rep);
}

/* Two workers, one failure, one request without a reply, one undone stage. */
static void write_sample(void)
{
	struct job job;
	Options o;
	struct trace *t = begin(&job, &o);

	trace_edge(t, "one<&\"", EDGE__EDGE_BEGIN, NULL);
	ask(t, "mem", 1);
	ask(t, "files", 2);
	ask(t, "mem", 3);
	answer(t, "mem", 1, STATUS__OK, NULL);
	trace_fds(t, "mem", 1, 7);
	trace_edge(t, "one<&\"", EDGE__EDGE_DONE, NULL);
	trace_edge(t, "two", EDGE__EDGE_BEGIN, NULL);
	answer(t, "mem", 3, STATUS__FAILED, "a \x01 <sentence> & \xff\xfe");
	trace_edge(t, "two", EDGE__EDGE_FAILED, "no \x1b[1m luck");
	trace_edge(t, "one<&\"", EDGE__EDGE_UNDO, NULL);
	trace_edge(t, "one<&\"", EDGE__EDGE_UNDONE, NULL);
	end(&job, t);
}

static void test_round_trip(void)
{
	struct fault f = { 0 };
	AUTO_RECORDING struct recording *r = NULL;
	size_t i;

	write_sample();
	r = recording_read(path, &f);
	if (!CHECK(r))
		return;
	CHECK(r->nrecords == 13 && r->nexchanges == 3);
	CHECK(r->records[0]->start->mode == MODE__MODE_RESTORE);
	CHECK(r->records[0]->start->coordinator_pid == (uint32_t)getpid());
	for (i = 1; i < r->nrecords; i++)
		CHECK(r->records[i]->ns >= r->records[i - 1]->ns);
	CHECK(!strcmp(r->exchanges[0].req->worker, "mem") && r->exchanges[0].req->nfds == 1);
	CHECK(r->exchanges[0].req->message->body_case == REQUEST__BODY_GATES);
	CHECK(r->exchanges[0].rep && r->exchanges[0].rep->id == 1 && r->exchanges[0].nfds == 7);
	CHECK(r->exchanges[0].taken_ns >= r->exchanges[0].sent_ns);
	CHECK(!r->exchanges[1].rep);
	CHECK(r->exchanges[2].rep && r->exchanges[2].rep->status == STATUS__FAILED);
	CHECK(!strcmp(r->records[10]->edge->text, "no \x1b[1m luck"));
}

/* The file is read again after write_it() made it; the sentence must say this. */
static void refused(void (*write_it)(struct trace *t), const char *says)
{
	struct fault f = { 0 };
	struct job job;
	Options o;
	struct trace *t = begin(&job, &o);

	write_it(t);
	end(&job, t);
	CHECK(!recording_read(path, &f));
	if (!CHECK(strstr(f.text, says) && strstr(f.text, path) && strstr(f.text, "at byte")))
		fprintf(stderr, "said: %s\n", f.text);
}

static void strange_worker(struct trace *t)
{
	ask(t, "<svg/>", 1);
}

static void no_request(struct trace *t)
{
	answer(t, "mem", 1, STATUS__OK, NULL);
}

static void wrong_order(struct trace *t)
{
	ask(t, "mem", 1);
	ask(t, "mem", 2);
	answer(t, "mem", 2, STATUS__OK, NULL);
}

static void old_number(struct trace *t)
{
	ask(t, "mem", 2);
	ask(t, "files", 2);
}

static void too_many(struct trace *t)
{
	uint64_t id;

	for (id = 1; id < 70; id++)
		ask(t, "mem", id);
}

static void no_stage(struct trace *t)
{
	trace_edge(t, "a", EDGE__EDGE_BEGIN, NULL);
	trace_edge(t, "b", EDGE__EDGE_DONE, NULL);
}

static void two_stages(struct trace *t)
{
	trace_edge(t, "a", EDGE__EDGE_BEGIN, NULL);
	trace_edge(t, "b", EDGE__EDGE_BEGIN, NULL);
}

static void strange_edge(struct trace *t)
{
	trace_edge(t, "a", 99, NULL);
}

static void nobodys_fds(struct trace *t)
{
	trace_fds(t, "mem", 0, 1);
}

static void empty_request(struct trace *t)
{
	Request req = REQUEST__INIT;

	req.id = 1;
	req.stage = STAGE__PREPARE;
	trace_request(t, "mem", &req, 0);
}

static void test_nonsense(void)
{
	refused(strange_worker, "a worker that");
	refused(no_request, "a reply to nothing");
	refused(wrong_order, "than the oldest");
	refused(old_number, "do not grow");
	refused(too_many, "more than 64");
	refused(no_stage, "has not begun");
	refused(two_stages, "inside another");
	refused(strange_edge, "edge");
	refused(nobodys_fds, "descriptors of no reply");
	refused(empty_request, "a request that");
}

static size_t slurp(uint8_t *buf, size_t max)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read_full(fd, buf, max);

	return n < 0 ? 0 : n;
}

static void spit(const uint8_t *buf, size_t n)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (write_full(fd, buf, n) < 0)
		die("write %s", path);
}

static bool readable(struct fault *f)
{
	AUTO_RECORDING struct recording *r = NULL;

	memset(f, 0, sizeof(*f));
	r = recording_read(path, f);
	if (r) {
		AUTO_FCLOSE FILE *null = fopen("/dev/null", "we");

		timeline_draw(r, null);
	}
	return r;
}

/* Cut anywhere: refused with a sentence, but for ends of records. */
static void test_cut(void)
{
	static uint8_t buf[8192];
	struct fault f;
	size_t n, len, good = 0;

	write_sample();
	n = slurp(buf, sizeof(buf));
	CHECK(n > 100);
	for (len = 0; len < n; len++) {
		spit(buf, len);
		if (readable(&f))
			good++;
		else
			CHECK(strstr(f.text, path));
	}
	CHECK(good == 12);
}

/* Whatever a byte is changed to: a recording or a fault, never a crash. */
static void test_changed(void)
{
	static const uint8_t flips[] = { 0x01, 0x80, 0xff, 0x08 };
	static uint8_t buf[8192];
	size_t n, i, k, bad = 0;
	struct fault f;

	write_sample();
	n = slurp(buf, sizeof(buf));
	for (i = 0; i < n; i++)
		for (k = 0; k < ARRAY_LEN(flips); k++) {
			buf[i] ^= flips[k];
			spit(buf, n);
			if (!readable(&f)) {
				bad++;
				CHECK(f.text[0]);
			}
			buf[i] ^= flips[k];
		}
	CHECK(bad > n);
}

static void test_no_trace(void)
{
	struct fault f = { 0 };

	CHECK(!recording_read("/tmp", &f) && strstr(f.text, "regular file"));
	memset(&f, 0, sizeof(f));
	CHECK(!recording_read("/nonexistent/t", &f) && f.code == ENOENT);
	memset(&f, 0, sizeof(f));
	CHECK(!recording_read("/proc/self/exe", &f) && strstr(f.text, "no file of --trace"));
}

/* Elements are closed in the order they were opened; text has nothing but known entities. */
static bool well_formed(const char *s)
{
	const char *stack[32];
	int depth = 0;

	for (; *s; s++) {
		const char *name = s + 1, *close;
		size_t len;

		if ((unsigned char)*s >= 0x7f || ((unsigned char)*s < 0x20 && *s != '\n'))
			return false;
		if (*s == '&' && strncmp(s, "&lt;", 4) && strncmp(s, "&gt;", 4) &&
		    strncmp(s, "&amp;", 5) && strncmp(s, "&quot;", 6))
			return false;
		if (*s != '<')
			continue;
		close = strchr(s, '>');
		if (!close)
			return false;
		len = strcspn(name, " >");
		if (*name == '/') {
			if (!depth-- || strncmp(stack[depth], name + 1, len - 1))
				return false;
		} else if (*name != '?' && close[-1] != '/') {
			if (depth == 32)
				return false;
			stack[depth++] = name;
		}
		s = close;
	}
	return depth == 0;
}

static void test_picture(void)
{
	struct fault f = { 0 };
	AUTO_RECORDING struct recording *r = NULL;
	AUTO_FREE char *svg = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&svg, &size);

	write_sample();
	r = recording_read(path, &f);
	if (!CHECK(r))
		return;
	timeline_draw(r, out);
	fclose(out);
	CHECK(well_formed(svg));
	CHECK(strstr(svg, ">mem</text>") && strstr(svg, ">files</text>") && !strstr(svg,
										    ">net</text>"));
	CHECK(strstr(svg, ">one&lt;&amp;&quot; "));
	CHECK(strstr(svg, ">undo one&lt;"));
	CHECK(strstr(svg, ">two FAILED"));
	CHECK(strstr(svg, ">gates (no reply)"));
	CHECK(strstr(svg, ">gates FAILED"));
}

/* A disk that is full: whole records stay, and the operation goes on. */
static void test_full(void)
{
	struct rlimit old, few;
	struct fault f = { 0 };
	struct job job;
	Options o;
	struct trace *t;
	uint64_t id;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	few = old;
	few.rlim_cur = 300;
	t = begin(&job, &o);
	setrlimit(RLIMIT_FSIZE, &few);
	for (id = 1; id < 60; id++)
		ask(t, "mem", id);
	setrlimit(RLIMIT_FSIZE, &old);
	end(&job, t);
	CHECK(readable(&f));
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/t", dir);
	check_run("a trace is read as it was written", test_round_trip);
	check_run("what nobody would have said is refused", test_nonsense);
	check_run("a trace that is cut off is refused", test_cut);
	check_run("a damaged trace is read or refused, no more", test_changed);
	check_run("other files are no traces", test_no_trace);
	check_run("the picture is well formed and has every name", test_picture);
	check_run("a full disk keeps whole records", test_full);
	unlink(path);
	rmdir(dir);
	return check_done();
}
