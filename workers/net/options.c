/* SPDX-License-Identifier: MIT */
/*
 * options.c - socket options that all families have (SOL_SOCKET), both directions.
 *
 * Rights:   CAP_NET_ADMIN: mark, priority, buffers beyond the limits; CAP_NET_RAW: device.
 * Holds:    nothing.
 */
#include "workers/net/options.h"

#include <errno.h>
#include <linux/filter.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "proto/control/util.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72			/* Linux 5.14 */
#endif

/* A number or a truth that is one field of the entry. */
struct option {
	int name;
	const char *text;
	size_t field, has;		/* offsets; has 0: a required field */
	bool truth;			/* a bool field */
	bool halve;			/* the kernel doubles what it is told */
	int set;			/* to set it by, when not name */
};

#define TRUTH(NAME, FIELD) \
	{ NAME, #NAME, offsetof(SkOptsEntry, FIELD), offsetof(SkOptsEntry, has_##FIELD), true, \
	  false, NAME }
#define NUMBER(NAME, FIELD) \
	{ NAME, #NAME, offsetof(SkOptsEntry, FIELD), offsetof(SkOptsEntry, has_##FIELD), false, \
	  false, NAME }
#define BUFFER(NAME, FIELD) \
	{ NAME, #NAME, offsetof(SkOptsEntry, FIELD), 0, false, true, NAME##FORCE }

/* Sizes before their locks: to set a size locks it. */
static const struct option options[] = {
	BUFFER(SO_SNDBUF, so_sndbuf),
	BUFFER(SO_RCVBUF, so_rcvbuf),
	NUMBER(SO_BUF_LOCK, so_buf_lock),
	TRUTH(SO_REUSEADDR, reuseaddr),
	TRUTH(SO_REUSEPORT, so_reuseport),
	NUMBER(SO_PRIORITY, so_priority),
	NUMBER(SO_RCVLOWAT, so_rcvlowat),
	NUMBER(SO_MARK, so_mark),
	TRUTH(SO_PASSCRED, so_passcred),
	TRUTH(SO_PASSSEC, so_passsec),
	TRUTH(SO_DONTROUTE, so_dontroute),
	TRUTH(SO_NO_CHECK, so_no_check),
	TRUTH(SO_BROADCAST, so_broadcast),
	TRUTH(SO_KEEPALIVE, so_keepalive),
	NUMBER(SO_OOBINLINE, so_oobinline),
};

_Static_assert(ARRAY_LEN(options) == SOCK_NUMBERS, "a number for each option");

/* Not every family has every option: what cannot be read is left out. */
static bool is_foreign(int err)
{
	return err == ENOPROTOOPT || err == EOPNOTSUPP;
}

/* Is the value known without asking? */
static bool is_known(const struct sock_hints *hints, int name, int *value)
{
	*value = !hints ? 0 : name == SO_SNDBUF ? hints->sndbuf :
		 name == SO_RCVBUF ? hints->rcvbuf : 0;
	return *value || (hints && hints->no_reuseport && name == SO_REUSEPORT);
}

/* The first questions: what is not one number. */
enum { ASK_SEND_TIME, ASK_RECEIVE_TIME, ASK_LINGER, ASK_DEVICE, ASK_NUMBERS };

static struct question about(int name, void *value, socklen_t room)
{
	return (struct question){ SOL_SOCKET, name, value, room, 0 };
}

void sock_opts_ask(struct sock_questions *s, const struct sock_hints *hints)
{
	size_t i;

	*s = (struct sock_questions){ .n = ASK_NUMBERS };
	s->list[ASK_SEND_TIME] = about(SO_SNDTIMEO, &s->send, sizeof(s->send));
	s->list[ASK_RECEIVE_TIME] = about(SO_RCVTIMEO, &s->receive, sizeof(s->receive));
	s->list[ASK_LINGER] = about(SO_LINGER, &s->linger, sizeof(s->linger));
	s->list[ASK_DEVICE] = about(SO_BINDTODEVICE, s->device, IFNAMSIZ);
	for (i = 0; i < ARRAY_LEN(options); i++)
		if (!is_known(hints, options[i].name, &s->number[i]))
			s->list[s->n++] = about(options[i].name, &s->number[i], sizeof(int));
}

static void take_number(const struct option *o, int value, SkOptsEntry *e)
{
	char *base = (char *)e;

	if (o->has)
		*(protobuf_c_boolean *)(base + o->has) = 1;
	if (o->truth)
		*(protobuf_c_boolean *)(base + o->field) = value != 0;
	else
		*(uint32_t *)(base + o->field) = value;
}

static int take_numbers(const struct sock_questions *s, const struct question *q,
			const struct sock_hints *hints, SkOptsEntry *e, struct fault *f)
{
	size_t i;
	int known;

	for (i = 0; i < ARRAY_LEN(options); i++) {
		const struct option *o = &options[i];
		const int got = is_known(hints, o->name, &known) ? 0 : (q++)->got;

		if (got < 0 && !(o->has && is_foreign(-got)))
			return fault(f, -got, "read socket option %s", o->text);
		if (got >= 0)
			take_number(o, s->number[i], e);
	}
	return 0;
}

static int take_others(const struct sock_questions *s, SkOptsEntry *e, struct fault *f)
{
	const int send = s->list[ASK_SEND_TIME].got, receive = s->list[ASK_RECEIVE_TIME].got;
	const int linger = s->list[ASK_LINGER].got, device = s->list[ASK_DEVICE].got;

	if (send < 0 || receive < 0)
		return fault(f, send < 0 ? -send : -receive, "read a socket's time limits");
	if (linger < 0)
		return fault(f, -linger, "read socket option SO_LINGER");
	if (device < 0 && !is_foreign(-device))
		return fault(f, -device, "read a socket's device");
	e->so_snd_tmo_sec = s->send.tv_sec;
	e->so_snd_tmo_usec = s->send.tv_usec;
	e->so_rcv_tmo_sec = s->receive.tv_sec;
	e->so_rcv_tmo_usec = s->receive.tv_usec;
	e->has_so_linger = s->linger.l_onoff;
	e->so_linger = s->linger.l_linger;
	if (device > 0 && s->device[0])
		e->so_bound_dev = xstrdup(s->device);
	return 0;
}

/* Its length in instructions, 0: none. */
static int filter_length(int fd, socklen_t *n, struct fault *f)
{
	*n = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, n) == 0)
		return 0;
	if (errno == EACCES)
		return fault(f, EACCES, "the socket's filter is an eBPF program, which cannot be "
			     "read: detach it before the dump");
	return is_foreign(errno) ? 0 : fault(f, errno, "read a socket's filter");
}

int sock_opts_preflight(int fd, struct fault *f)
{
	socklen_t n;

	return filter_length(fd, &n, f);
}

/* An instruction is one word of an entry, its code in the highest bits. */
static int read_filter(int fd, SkOptsEntry *e, struct fault *f)
{
	AUTO_FREE struct sock_filter *filter = NULL;
	socklen_t n, i;

	if (filter_length(fd, &n, f) < 0)
		return -1;
	if (!n)
		return 0;
	filter = xcalloc(n, sizeof(*filter));
	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, filter, &n) < 0)
		return fault(f, errno, "read a socket's filter");
	e->so_filter = xcalloc(n, sizeof(*e->so_filter));
	e->n_so_filter = n;
	for (i = 0; i < n; i++)
		e->so_filter[i] = (uint64_t)filter[i].code << 48 | (uint64_t)filter[i].jt << 40 |
				  (uint64_t)filter[i].jf << 32 | filter[i].k;
	return 0;
}

int sock_opts_take(const struct sock_questions *s, int fd, const struct sock_hints *hints,
		   SkOptsEntry *e, struct fault *f)
{
	sk_opts_entry__init(e);
	if (take_others(s, e, f) == 0 && take_numbers(s, &s->list[ASK_NUMBERS], hints, e, f) == 0 &&
	    ((hints && hints->no_filter) || read_filter(fd, e, f) == 0))
		return 0;
	sock_opts_free(e);
	return -1;
}

int sock_opts_read(int fd, SkOptsEntry *e, struct fault *f)
{
	struct sock_questions s;

	sock_opts_ask(&s, NULL);
	ask_all(NULL, fd, s.list, s.n);
	return sock_opts_take(&s, fd, NULL, e, f);
}

void sock_opts_free(SkOptsEntry *e)
{
	free(e->so_bound_dev);
	free(e->so_filter);
	sk_opts_entry__init(e);
}

static int apply_options(int fd, const SkOptsEntry *e, struct fault *f)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(options); i++) {
		const struct option *o = &options[i];
		const char *base = (const char *)e;
		int now, want;

		if (o->has && !*(const protobuf_c_boolean *)(base + o->has))
			continue;
		want = o->truth ? *(const protobuf_c_boolean *)(base + o->field) :
				  (int)*(const uint32_t *)(base + o->field);
		if (ask_number(fd, SOL_SOCKET, o->name, &now) == 0 && now == want)
			continue;
		if (o->halve)
			want /= 2;
		if (setsockopt(fd, SOL_SOCKET, o->set, &want, sizeof(want)) < 0)
			return fault(f, errno, "set socket option %s to %d", o->text, want);
	}
	return 0;
}

static int apply_time(int fd, int name, uint64_t sec, uint64_t usec, struct fault *f)
{
	const struct timeval tv = { sec, usec };

	if ((sec || usec) && setsockopt(fd, SOL_SOCKET, name, &tv, sizeof(tv)) < 0)
		return fault(f, errno, "set a socket's time limit of %llu.%06llu s",
			     (unsigned long long)sec, (unsigned long long)usec);
	return 0;
}

static int apply_filter(int fd, const SkOptsEntry *e, struct fault *f)
{
	AUTO_FREE struct sock_filter *filter = NULL;
	struct sock_fprog prog;
	size_t i;

	if (!e->n_so_filter)
		return 0;
	if (e->n_so_filter > BPF_MAXINSNS)
		return fault(f, -EBADMSG, "a socket filter of %zu instructions", e->n_so_filter);
	filter = xcalloc(e->n_so_filter, sizeof(*filter));
	for (i = 0; i < e->n_so_filter; i++)
		filter[i] = (struct sock_filter){
			.code = e->so_filter[i] >> 48, .jt = e->so_filter[i] >> 40,
			.jf = e->so_filter[i] >> 32, .k = e->so_filter[i],
		};
	prog = (struct sock_fprog){ e->n_so_filter, filter };
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0)
		return fault(f, errno, "attach a socket's filter");
	return 0;
}

static int apply_rest(int fd, const SkOptsEntry *e, struct fault *f)
{
	const struct linger linger = { e->has_so_linger, e->so_linger };

	if (e->so_bound_dev && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, e->so_bound_dev,
					  strlen(e->so_bound_dev)) < 0)
		return fault(f, errno, "bind a socket to device %s", e->so_bound_dev);
	if (e->has_so_linger && setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0)
		return fault(f, errno, "set socket option SO_LINGER");
	return apply_filter(fd, e, f);
}

int sock_opts_apply(int fd, const SkOptsEntry *e, struct fault *f)
{
	if (apply_options(fd, e, f) < 0 ||
	    apply_time(fd, SO_SNDTIMEO, e->so_snd_tmo_sec, e->so_snd_tmo_usec, f) < 0 ||
	    apply_time(fd, SO_RCVTIMEO, e->so_rcv_tmo_sec, e->so_rcv_tmo_usec, f) < 0)
		return -1;
	return apply_rest(fd, e, f);
}
