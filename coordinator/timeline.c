/* SPDX-License-Identifier: MIT */
/*
 * timeline.c - stages and workers over time, as an SVG.
 *
 * A row for the coordinator's stages and one for each worker; in a row, bars that would cross each
 * other or each other's words lie in lanes below each other. A worker's bar is pale from question
 * to answer, as the coordinator saw them, and full where the worker was at it. What threads of a
 * worker did between requests, it says with the answer that waited for it: bars of their own.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "coordinator/timeline.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/crew.h"
#include "proto/control/util.h"

/* Pixels. */
#define WIDTH 1600.0
#define LEFT 110.0
#define RIGHT 30.0
#define TOP 64.0
#define BAR 14.0
#define LANE 18.0
#define ROW_GAP 14.0
#define LETTER 6.63		/* 11 pixels, monospace */
#define TICK_ROOM 90.0
#define BOTTOM 44.0

#define MAX_LANES 60		/* what finds no room lies in the last */

struct bar {
	uint64_t from, to;		/* ns */
	uint64_t work_from, work_to;	/* the worker at it; equal: not known */
	const char *style;		/* class of the bar, of the full part when there is one */
	char label[96];
	char *title;			/* shown by a viewer that has a pointer; owned */
	int lane;
};

struct row {
	const char *name;
	struct bar *bars;
	size_t n, cap;
	int lanes;
	double top;
};

struct picture {
	const struct recording *rec;
	uint64_t span_ns;
	struct row rows[1 + ROLE_COUNT];
	size_t nrows;
	FILE *out;
};

static double ms(uint64_t ns)
{
	return ns / 1e6;
}

/* "1.25 ms", "870 us". */
static const char *duration(uint64_t ns, char *buf, size_t size)
{
	if (ns < 100000)
		snprintf(buf, size, "%.3g us", ns / 1e3);
	else
		snprintf(buf, size, ns < 1000000000 ? "%.3g ms" : "%.0f ms", ms(ns));
	return buf;
}

static double x_of(const struct picture *p, uint64_t ns)
{
	if (ns > p->span_ns)
		ns = p->span_ns;
	return LEFT + (WIDTH - LEFT - RIGHT) * ns / p->span_ns;
}

/* Text from the trace: what XML has other uses for, and what it does not allow. */
static void put_text(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '<')
			fputs("&lt;", out);
		else if (*s == '>')
			fputs("&gt;", out);
		else if (*s == '&')
			fputs("&amp;", out);
		else if (*s == '"')
			fputs("&quot;", out);
		else
			putc(*s >= 0x20 && *s < 0x7f ? *s : '?', out);
	}
}

/* ---- what there is to draw ---- */

static struct bar *add_bar(struct row *row, uint64_t from, uint64_t to)
{
	struct bar *b = grow(&row->bars, row->n, &row->cap, sizeof(*b));

	row->n++;
	b->from = from;
	b->to = to < from ? from : to;
	return b;
}

static void add_stages(struct picture *p, struct row *row)
{
	const struct recording *rec = p->rec;
	const TraceRecord *begun = NULL;
	size_t i;

	row->name = "coordinator";
	for (i = 0; i < rec->nrecords; i++) {
		const TraceRecord *r = rec->records[i];
		const TraceEdge *e = r->edge;
		struct bar *b;
		char took[32];
		bool undo;

		if (r->event_case != TRACE_RECORD__EVENT_EDGE)
			continue;
		if (e->edge == EDGE__EDGE_BEGIN || e->edge == EDGE__EDGE_UNDO) {
			begun = r;
			continue;
		}
		undo = e->edge == EDGE__EDGE_UNDONE;
		b = add_bar(row, begun->ns, r->ns);
		b->style = e->edge == EDGE__EDGE_FAILED ? "failed" : undo ? "undo" : "stage";
		snprintf(b->label, sizeof(b->label), "%s%.40s%s %s", undo ? "undo " : "", e->stage,
			 e->edge == EDGE__EDGE_FAILED ? " FAILED" : "",
			 duration(r->ns - begun->ns, took, sizeof(took)));
		b->title = xasprintf("stage %s: %.3f to %.3f ms%s%s", e->stage, ms(begun->ns),
				     ms(r->ns), e->text ? ": " : "", e->text ? e->text : "");
		begun = NULL;
	}
	if (begun) {
		struct bar *b = add_bar(row, begun->ns, p->span_ns);

		b->style = "failed";
		snprintf(b->label, sizeof(b->label), "%.40s (no end)", begun->edge->stage);
		b->title = xasprintf("stage %s: from %.3f ms; the trace ends in it",
				     begun->edge->stage, ms(begun->ns));
	}
}

static char *title_of(const struct exchange *x, const char *name)
{
	const Request *req = x->req->message;
	AUTO_FREE char *asked = xasprintf("%s (request %llu, %zu bytes, %u descriptors), asked at "
					  "%.3f ms", name, (unsigned long long)req->id,
					  request__get_packed_size(req), x->req->nfds,
					  ms(x->sent_ns));
	AUTO_FREE char *work = NULL;

	if (!x->rep)
		return xasprintf("%s: no reply", asked);
	if (x->rep->has_begun_ns && x->rep->has_done_ns)
		work = xasprintf(", the worker at it from %.3f to %.3f ms", ms(x->rep->begun_ns),
				 ms(x->rep->done_ns));
	return xasprintf("%s%s, answer taken at %.3f ms (%s, %zu bytes, %u descriptors)%s%s", asked,
			 work ? work : "", ms(x->taken_ns),
			 crew_status_name(x->rep), reply__get_packed_size(x->rep), x->nfds,
			 x->rep->text ? ": " : "",
			 x->rep->text ? x->rep->text : "");
}

static void add_exchange(struct picture *p, struct row *row, const struct exchange *x)
{
	const char *name = crew_body_name(x->req->message->body_case);
	struct bar *b = add_bar(row, x->sent_ns, x->rep ? x->taken_ns : p->span_ns);
	const Reply *rep = x->rep;
	uint64_t took = b->to - b->from;
	char text[32];

	if (rep && rep->has_begun_ns && rep->has_done_ns && rep->done_ns > rep->begun_ns) {
		b->work_from = rep->begun_ns;
		b->work_to = rep->done_ns;
		took = b->work_to - b->work_from;
	}
	b->style = !rep || rep->status == STATUS__FAILED ? "failed" : "work";
	if (rep)
		snprintf(b->label, sizeof(b->label), "%s%s%s %s", name,
			 rep->status == STATUS__OK ? "" : " ",
			 rep->status == STATUS__OK ? "" : crew_status_name(rep),
			 duration(took, text, sizeof(text)));
	else
		snprintf(b->label, sizeof(b->label), "%s (no reply)", name);
	b->title = title_of(x, name);
}

static void add_beside(struct row *row, const Beside *w)
{
	struct bar *b = add_bar(row, w->begun_ns, w->done_ns);
	char took[32];

	b->style = "beside";
	snprintf(b->label, sizeof(b->label), "%.50s %s", w->what,
		 duration(b->to - b->from, took, sizeof(took)));
	b->title = xasprintf("%s: threads at it from %.3f to %.3f ms", w->what, ms(b->from),
			     ms(b->to));
}

static int by_begin(const void *a, const void *b)
{
	const struct bar *x = a, *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

static void add_workers(struct picture *p)
{
	const struct recording *rec = p->rec;
	struct row *of_role[ROLE_COUNT] = { NULL };
	size_t i, k;

	for (i = 0; i < rec->nexchanges; i++) {
		const char *worker = rec->exchanges[i].req->worker;
		int role = crew_role(worker, strlen(worker));

		if (!of_role[role]) {
			of_role[role] = &p->rows[p->nrows++];
			of_role[role]->name = worker;
		}
		add_exchange(p, of_role[role], &rec->exchanges[i]);
		for (k = 0; rec->exchanges[i].rep && k < rec->exchanges[i].rep->n_beside; k++)
			add_beside(of_role[role], rec->exchanges[i].rep->beside[k]);
	}
	for (i = 1; i < p->nrows; i++)
		qsort(p->rows[i].bars, p->rows[i].n, sizeof(struct bar), by_begin);
}

/* ---- where it goes ---- */

/* Where a bar's words begin: in it, else behind it, else before it. */
static double label_at(const struct picture *p, const struct bar *b)
{
	double from = x_of(p, b->from), to = x_of(p, b->to), width = strlen(b->label) * LETTER;

	if (to - from > width + 6)
		return from + 3;
	if (to + 4 + width < WIDTH)
		return to + 4;
	return from - 4 - width;
}

/* In the first lane whose last bar and words end before this one's begin. */
static void place(const struct picture *p, struct row *row)
{
	double ends[MAX_LANES] = { 0 };
	size_t i;
	int lane;

	for (i = 0; i < row->n; i++) {
		struct bar *b = &row->bars[i];
		double from = x_of(p, b->from), to = x_of(p, b->to), words = label_at(p, b);
		double end = words + strlen(b->label) * LETTER;

		if (words < from)
			from = words;
		for (lane = 0; lane < MAX_LANES - 1 && ends[lane] > from; lane++)
			;
		b->lane = lane;
		ends[lane] = (end > to ? end : to) + 4;
		if (lane >= row->lanes)
			row->lanes = lane + 1;
	}
}

static double layout(struct picture *p)
{
	double y = TOP;
	size_t i;

	for (i = 0; i < p->nrows; i++) {
		place(p, &p->rows[i]);
		p->rows[i].top = y;
		y += p->rows[i].lanes * LANE + ROW_GAP;
	}
	return y;
}

/* ---- drawing ---- */

static void draw_style(FILE *out)
{
	fputs("<style>\n"
	      "text { font: 11px monospace; fill: #222 }\n"
	      ".head { font-size: 14px; font-weight: bold }\n"
	      ".name { font-weight: bold }\n"
	      ".grid { stroke: #ddd }\n"
	      ".edge { stroke: #89a; stroke-dasharray: 2 3 }\n"
	      ".stage { fill: #9cc3e6 }\n"
	      ".undo { fill: #f2c27d }\n"
	      ".wait { fill: #e3e6e1; stroke: #b9c0b4; stroke-width: 0.5 }\n"
	      ".work { fill: #97cf8f }\n"
	      ".beside { fill: #c6a9e0 }\n"
	      ".failed { fill: #ef9a9a }\n"
	      "</style>\n", out);
}

static void draw_rect(const struct picture *p, const struct row *row, const struct bar *b,
		      const char *style, uint64_t from, uint64_t to)
{
	double x = x_of(p, from), width = x_of(p, to) - x;

	fprintf(p->out, "<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" "
		"height=\"%.1f\"/>\n", style, x, row->top + b->lane * LANE,
		width < 0.8 ? 0.8 : width, BAR);
}

static void draw_bar(const struct picture *p, const struct row *row, const struct bar *b)
{
	bool timed = b->work_to > b->work_from;

	fputs("<g><title>", p->out);
	put_text(p->out, b->title);
	fputs("</title>\n", p->out);
	draw_rect(p, row, b, timed ? "wait" : b->style, b->from, b->to);
	if (timed)
		draw_rect(p, row, b, b->style, b->work_from, b->work_to);
	fprintf(p->out, "<text x=\"%.2f\" y=\"%.1f\">", label_at(p, b),
		row->top + b->lane * LANE + BAR - 3);
	put_text(p->out, b->label);
	fputs("</text></g>\n", p->out);
}

/* 1, 2 or 5 times a power of ten, in ms, so that ticks stand apart. */
static double tick_step(const struct picture *p)
{
	static const double steps[] = { 1, 2, 5 };
	double least = ms(p->span_ns) * TICK_ROOM / (WIDTH - LEFT - RIGHT), unit = 1e-6;
	size_t i;

	for (;; unit *= 10)
		for (i = 0; i < ARRAY_LEN(steps); i++)
			if (steps[i] * unit >= least)
				return steps[i] * unit;
}

static void draw_axis(const struct picture *p, double bottom)
{
	double step = tick_step(p), x;
	int i;

	for (i = 0; i * step <= ms(p->span_ns); i++) {
		x = x_of(p, i * step * 1e6 + 0.5);
		fprintf(p->out,
			"<line class=\"grid\" x1=\"%.2f\" y1=\"%.1f\" x2=\"%.2f\" y2=\"%.1f\"/>\n"
			"<text x=\"%.2f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>\n",
			x, TOP - 12, x, bottom, x, TOP - 17, i * step);
	}
	fprintf(p->out, "<text x=\"%.1f\" y=\"%.1f\">ms</text>\n", 8.0, TOP - 17);
}

/* Where stages begin, across all rows. */
static void draw_edges(const struct picture *p, double bottom)
{
	const struct row *row = &p->rows[0];
	size_t i;

	for (i = 0; i < row->n; i++) {
		double x = x_of(p, row->bars[i].from);

		fprintf(p->out, "<line class=\"edge\" x1=\"%.2f\" y1=\"%.1f\" x2=\"%.2f\" "
			"y2=\"%.1f\"/>\n", x, row->top, x, bottom);
	}
}

static void draw_rows(const struct picture *p)
{
	size_t i, k;

	for (i = 0; i < p->nrows; i++) {
		const struct row *row = &p->rows[i];

		fprintf(p->out, "<text class=\"name\" x=\"8\" y=\"%.1f\">%s</text>\n",
			row->top + BAR - 3, row->name);
		for (k = 0; k < row->n; k++)
			draw_bar(p, row, &row->bars[k]);
	}
}

static void draw_legend(const struct picture *p, double y)
{
	static const struct {
		const char *style, *words;
	} keys[] = {
		{ "stage", "a stage" },
		{ "wait", "asked, until the answer is taken" },
		{ "work", "the worker at it: the time written" },
		{ "beside", "threads of the worker, between requests" },
		{ "failed", "failed, or never answered" },
		{ "undo", "a stage undone" },
	};
	double x = LEFT;
	size_t i;

	for (i = 0; i < ARRAY_LEN(keys); i++) {
		fprintf(p->out,
			"<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"10\"/>\n"
			"<text x=\"%.1f\" y=\"%.1f\">%s</text>\n",
			keys[i].style, x, y - 9, x + 19, y, keys[i].words);
		x += 45 + strlen(keys[i].words) * LETTER;
	}
}

/* The end of all that is drawn; never zero. */
static uint64_t span_of(const struct recording *rec)
{
	return rec->end_ns ? rec->end_ns : 1;
}

void timeline_draw(const struct recording *rec, FILE *out)
{
	struct picture p = { .rec = rec, .span_ns = span_of(rec), .nrows = 1, .out = out };
	const TraceStart *start = rec->records[0]->start;
	double bottom;
	size_t i, k;

	add_stages(&p, &p.rows[0]);
	add_workers(&p);
	bottom = layout(&p);
	fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
		"viewBox=\"0 0 %.0f %.0f\">\n", WIDTH, bottom + BOTTOM, WIDTH, bottom + BOTTOM);
	draw_style(out);
	fputs("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n", out);
	fprintf(out, "<text class=\"head\" x=\"8\" y=\"22\">%s, %.3f ms, coordinator %u</text>\n",
		start->mode == MODE__MODE_DUMP ? "dump" : "restore", ms(rec->end_ns),
		start->coordinator_pid);
	draw_axis(&p, bottom);
	draw_edges(&p, bottom);
	draw_rows(&p);
	draw_legend(&p, bottom + BOTTOM / 2);
	fputs("</svg>\n", out);
	for (i = 0; i < p.nrows; i++) {
		for (k = 0; k < p.rows[i].n; k++)
			free(p.rows[i].bars[k].title);
		free(p.rows[i].bars);
	}
}

int timeline(const char *path, const char *out, struct fault *f)
{
	AUTO_RECORDING struct recording *rec = recording_read(path, f);
	AUTO_FCLOSE FILE *file = NULL;
	FILE *to = stdout;

	if (!rec)
		return -1;
	if (out)
		to = file = fopen(out, "we");
	if (!to)
		return fault(f, errno, "%s", out);
	timeline_draw(rec, to);
	if (fflush(to) || ferror(to))
		return fault(f, errno, "write %s", out ? out : "standard output");
	return 0;
}
