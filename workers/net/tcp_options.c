/* SPDX-License-Identifier: MIT */
/*
 * tcp_options.c - options of TCP sockets that have fields of their own, both directions.
 *
 * Rights:   CAP_NET_ADMIN: congestion control that is not for everybody.
 * Holds:    the congestion control of fresh sockets, in struct inet_state.
 */
#include "workers/net/tcp_options.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/net/asking.h"
#include "workers/net/inet_state.h"

#define MAXSEG_DEFAULT 536
#define MAXSEG_MAX 32767u	/* that a program may ask for */

/* A number or a truth; 0 is left out. */
struct row {
	int name;
	const char *text;
	size_t field, has;
	bool truth;
};

#define TRUTH(NAME, FIELD) \
	{ NAME, #NAME, offsetof(TcpOptsEntry, FIELD), offsetof(TcpOptsEntry, has_##FIELD), true }
#define NUMBER(NAME, FIELD) \
	{ NAME, #NAME, offsetof(TcpOptsEntry, FIELD), offsetof(TcpOptsEntry, has_##FIELD), false }

static const struct row rows[] = {
	TRUTH(TCP_NODELAY, nodelay),
	TRUTH(TCP_CORK, cork),
	NUMBER(TCP_KEEPCNT, keepcnt),
	NUMBER(TCP_KEEPIDLE, keepidle),
	NUMBER(TCP_KEEPINTVL, keepintvl),
	NUMBER(TCP_MAXSEG, maxseg),
};

static int read_rows(int fd, TcpOptsEntry *e, struct fault *f)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		int value;

		if (ask_number(fd, IPPROTO_TCP, r->name, &value) < 0)
			return fault(f, errno, "read socket option %s", r->text);
		*(protobuf_c_boolean *)((char *)e + r->has) = value != 0;
		if (r->truth)
			*(protobuf_c_boolean *)((char *)e + r->field) = value != 0;
		else
			*(uint32_t *)((char *)e + r->field) = value;
	}
	return 0;
}

static int ask_congestion(int fd, char name[16], struct fault *f)
{
	socklen_t len = 15;

	memset(name, 0, 16);
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) < 0)
		return fault(f, errno, "read socket option TCP_CONGESTION");
	return 0;
}

int tcp_options_learn(struct net *net, struct fault *f)
{
	char *fresh = inet_state(net)->congestion;
	AUTO_CLOSE int fd = -1;

	if (fresh[0])
		return 0;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fault(f, errno, "create a socket to compare with");
	return ask_congestion(fd, fresh, f);
}

static int read_congestion(struct net *net, const struct sock *s, TcpOptsEntry *e, struct fault *f)
{
	char own[16];

	if (ask_congestion(s->fd, own, f) < 0)
		return -1;
	if (strcmp(own, inet_state(net)->congestion))
		e->congestion = xstrdup(own);
	return 0;
}

/*
 * Did the program ask for the segment size? That of a connection is the kernel's affair. A socket
 * without connection shows what was asked for, else what its last connection used (tcpi_snd_mss,
 * which a listening one does not tell).
 */
static bool is_wish(uint32_t maxseg, const struct tcp_info *info)
{
	return (info->tcpi_state == TCP_CLOSE || info->tcpi_state == TCP_LISTEN) &&
	       maxseg != MAXSEG_DEFAULT && maxseg != info->tcpi_snd_mss && maxseg <= MAXSEG_MAX;
}

int tcp_options_read(struct net *net, const struct sock *s, const struct tcp_info *info,
		     struct inet_entry *x, struct fault *f)
{
	x->e.tcp_opts = &x->tcp;
	if (read_rows(s->fd, &x->tcp, f) < 0)
		return -1;
	if (!is_wish(x->tcp.maxseg, info))
		x->tcp.has_maxseg = false;
	return read_congestion(net, s, &x->tcp, f);
}

static int apply_rows(int fd, const TcpOptsEntry *e, struct fault *f)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		const char *base = (const char *)e;
		int now, want;

		if (!*(const protobuf_c_boolean *)(base + r->has))
			continue;
		want = r->truth ? *(const protobuf_c_boolean *)(base + r->field) :
				  (int)*(const uint32_t *)(base + r->field);
		if (!ask_number(fd, IPPROTO_TCP, r->name, &now) && now == want)
			continue;
		if (setsockopt(fd, IPPROTO_TCP, r->name, &want, sizeof(want)) < 0)
			return fault(f, errno, "set socket option %s to %d", r->text, want);
	}
	return 0;
}

/* Before 3.17 CRIU put the keepalive numbers among the general options. */
static void take_old(const SkOptsEntry *o, TcpOptsEntry *e)
{
	tcp_opts_entry__init(e);
	e->has_keepcnt = o->has_tcp_keepcnt;
	e->keepcnt = o->tcp_keepcnt;
	e->has_keepidle = o->has_tcp_keepidle;
	e->keepidle = o->tcp_keepidle;
	e->has_keepintvl = o->has_tcp_keepintvl;
	e->keepintvl = o->tcp_keepintvl;
}

int tcp_options_apply(struct sock *s, struct fault *f)
{
	const InetSkEntry *e = s->entry->isk;
	const TcpOptsEntry *o = e->tcp_opts;
	TcpOptsEntry old;

	take_old(e->opts, &old);
	if (apply_rows(s->fd, o ? o : &old, f) < 0)
		return -1;
	if (o && o->congestion && setsockopt(s->fd, IPPROTO_TCP, TCP_CONGESTION, o->congestion,
					     strlen(o->congestion)) < 0)
		return fault(f, errno, "use congestion control %.16s", o->congestion);
	return 0;
}
