/* SPDX-License-Identifier: MIT */
/*
 * numbers.c - options of internet sockets that are one int and have no field of CRIU's, both
 * directions. Only what differs from a fresh socket is kept: most sockets have none.
 *
 * Rights:   CAP_NET_ADMIN, CAP_NET_RAW for some.
 * Holds:    the values of fresh sockets, one list for each family, type and protocol seen.
 */
#include "workers/net/numbers.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"

/* Linux UAPI; the headers of older libcs lack them. */
#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif
#ifndef SO_RCVMARK
#define SO_RCVMARK 75
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif
#define UDPLITE_SEND 10
#define UDPLITE_RECEIVE 11
#define SOL_UDP_LITE 136

struct row {
	int level, name;
	const char *text;
	bool idle;			/* has a meaning for sockets without a connection only */
};

#define ROW(LEVEL, NAME) { LEVEL, NAME, #NAME, false }
#define IDLE(LEVEL, NAME) { LEVEL, NAME, #NAME, true }

static const struct row rows[] = {
	ROW(SOL_SOCKET, SO_TIMESTAMP_OLD),
	ROW(SOL_SOCKET, SO_TIMESTAMPNS_OLD),
	ROW(SOL_SOCKET, SO_TIMESTAMP_NEW),
	ROW(SOL_SOCKET, SO_TIMESTAMPNS_NEW),
	ROW(SOL_SOCKET, SO_TIMESTAMPING_OLD),
	ROW(SOL_SOCKET, SO_RXQ_OVFL),
	ROW(SOL_SOCKET, SO_PEEK_OFF),
	ROW(SOL_SOCKET, SO_BUSY_POLL),
	ROW(SOL_SOCKET, SO_MAX_PACING_RATE),
	ROW(SOL_SOCKET, SO_ZEROCOPY),
	ROW(SOL_SOCKET, SO_RCVMARK),
	ROW(SOL_IP, IP_TOS),
	ROW(SOL_IP, IP_TTL),
	ROW(SOL_IP, IP_PKTINFO),
	ROW(SOL_IP, IP_MTU_DISCOVER),
	ROW(SOL_IP, IP_RECVERR),
	ROW(SOL_IP, IP_RECVTTL),
	ROW(SOL_IP, IP_RECVTOS),
	ROW(SOL_IP, IP_RECVOPTS),
	ROW(SOL_IP, IP_RETOPTS),
	ROW(SOL_IP, IP_PASSSEC),
	ROW(SOL_IP, IP_TRANSPARENT),
	ROW(SOL_IP, IP_MINTTL),
	ROW(SOL_IP, IP_ORIGDSTADDR),
	ROW(SOL_IP, IP_CHECKSUM),
	ROW(SOL_IP, IP_RECVFRAGSIZE),
	ROW(SOL_IP, IP_BIND_ADDRESS_NO_PORT),
	ROW(SOL_IP, IP_LOCAL_PORT_RANGE),
	ROW(SOL_IP, IP_UNICAST_IF),
	ROW(SOL_IP, IP_MULTICAST_IF),
	ROW(SOL_IP, IP_MULTICAST_TTL),
	ROW(SOL_IP, IP_MULTICAST_LOOP),
	ROW(SOL_IP, IP_MULTICAST_ALL),
	ROW(SOL_IPV6, IPV6_UNICAST_HOPS),
	ROW(SOL_IPV6, IPV6_MULTICAST_IF),
	ROW(SOL_IPV6, IPV6_MULTICAST_HOPS),
	ROW(SOL_IPV6, IPV6_MULTICAST_LOOP),
	ROW(SOL_IPV6, IPV6_MULTICAST_ALL),
	ROW(SOL_IPV6, IPV6_UNICAST_IF),
	ROW(SOL_IPV6, IPV6_MTU_DISCOVER),
	ROW(SOL_IPV6, IPV6_RECVERR),
	ROW(SOL_IPV6, IPV6_RECVHOPLIMIT),
	ROW(SOL_IPV6, IPV6_RECVRTHDR),
	ROW(SOL_IPV6, IPV6_RECVHOPOPTS),
	ROW(SOL_IPV6, IPV6_RECVDSTOPTS),
	ROW(SOL_IPV6, IPV6_RECVTCLASS),
	ROW(SOL_IPV6, IPV6_RECVPATHMTU),
	ROW(SOL_IPV6, IPV6_RECVFRAGSIZE),
	ROW(SOL_IPV6, IPV6_TCLASS),
	ROW(SOL_IPV6, IPV6_DONTFRAG),
	ROW(SOL_IPV6, IPV6_TRANSPARENT),
	ROW(SOL_IPV6, IPV6_ORIGDSTADDR),
	ROW(SOL_IPV6, IPV6_AUTOFLOWLABEL),
	ROW(SOL_IPV6, IPV6_ADDR_PREFERENCES),
	ROW(SOL_IPV6, IPV6_MINHOPCOUNT),
	ROW(SOL_UDP, UDP_CORK),
	ROW(SOL_UDP, UDP_NO_CHECK6_TX),
	ROW(SOL_UDP, UDP_NO_CHECK6_RX),
	ROW(SOL_UDP, UDP_SEGMENT),
	ROW(SOL_UDP, UDP_GRO),
	ROW(SOL_UDP_LITE, UDPLITE_SEND),
	ROW(SOL_UDP_LITE, UDPLITE_RECEIVE),
	ROW(SOL_TCP, TCP_LINGER2),
	IDLE(SOL_TCP, TCP_DEFER_ACCEPT),
	ROW(SOL_TCP, TCP_SYNCNT),
	ROW(SOL_TCP, TCP_USER_TIMEOUT),
	IDLE(SOL_TCP, TCP_FASTOPEN),
	IDLE(SOL_TCP, TCP_FASTOPEN_CONNECT),
	ROW(SOL_TCP, TCP_FASTOPEN_NO_COOKIE),
	ROW(SOL_TCP, TCP_NOTSENT_LOWAT),
	IDLE(SOL_TCP, TCP_SAVE_SYN),
	ROW(SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS),
	ROW(SOL_TCP, TCP_INQ),
	ROW(SOL_TCP, TCP_TX_DELAY),
};

struct numbers {
	int family, type, protocol;
	struct { int value; bool known; } of[ARRAY_LEN(rows)];	/* known: such sockets have it */
	struct numbers *next;
};

static bool ask(int fd, const struct row *r, int *value)
{
	socklen_t len = sizeof(*value);

	*value = 0;
	return getsockopt(fd, r->level, r->name, value, &len) == 0;
}

/* Those that CRIU has a field for are in it. */
static bool has_field(const struct row *r, int family)
{
	return family == AF_INET && r->level == SOL_IP &&
	       (r->name == IP_TOS || r->name == IP_TTL || r->name == IP_PKTINFO);
}

/* Some can be read of sockets that do not let them be set: multicast options of a stream. */
static bool can_have(int fd, const struct row *r, int *value)
{
	return ask(fd, r, value) && setsockopt(fd, r->level, r->name, value, sizeof(*value)) == 0;
}

static const struct numbers *fresh(struct numbers **known, const struct sock *s, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	struct numbers *n;
	size_t i;

	for (n = *known; n; n = n->next)
		if (n->family == s->family && n->type == s->type && n->protocol == s->protocol)
			return n;
	fd = socket(s->family, s->type | SOCK_CLOEXEC, s->protocol);
	if (fd < 0) {
		fault(f, errno, "create a socket to compare with");
		return NULL;
	}
	n = xcalloc(1, sizeof(*n));
	n->family = s->family;
	n->type = s->type;
	n->protocol = s->protocol;
	for (i = 0; i < ARRAY_LEN(rows); i++)
		n->of[i].known = !has_field(&rows[i], s->family) &&
				 can_have(fd, &rows[i], &n->of[i].value);
	n->next = *known;
	*known = n;
	return n;
}

static void add(InetSkEntry *e, const struct row *r, int value)
{
	SocketNumber *n = xcalloc(1, sizeof(*n));

	socket_number__init(n);
	n->level = r->level;
	n->name = r->name;
	n->value = value;
	e->number = xrealloc(e->number, e->n_number + 1, sizeof(*e->number));
	e->number[e->n_number++] = n;
}

int numbers_read(struct numbers **known, const struct sock *s, InetSkEntry *e, struct fault *f)
{
	const struct numbers *n = fresh(known, s, f);
	size_t i;
	int value;

	if (!n)
		return -1;
	for (i = 0; i < ARRAY_LEN(rows); i++)
		if (n->of[i].known && !(rows[i].idle && e->dst_port) &&
		    ask(s->fd, &rows[i], &value) && value != n->of[i].value)
			add(e, &rows[i], value);
	return 0;
}

static const struct row *find(const SocketNumber *n)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++)
		if ((uint32_t)rows[i].level == n->level && (uint32_t)rows[i].name == n->name)
			return &rows[i];
	return NULL;
}

int numbers_check(const InetSkEntry *e, struct fault *f)
{
	size_t i;

	for (i = 0; i < e->n_number; i++)
		if (!find(e->number[i]))
			return fault(f, -EBADMSG, "files.img: socket %u has the unknown option %u of "
				     "level %u", e->id, e->number[i]->name, e->number[i]->level);
	return 0;
}

int numbers_apply(int fd, const InetSkEntry *e, struct fault *f)
{
	size_t i;

	for (i = 0; i < e->n_number; i++) {
		const SocketNumber *n = e->number[i];
		const struct row *r = find(n);
		int value = n->value, now;

		if (ask(fd, r, &now) && now == value)
			continue;
		if (setsockopt(fd, r->level, r->name, &value, sizeof(value)) < 0)
			return fault(f, errno, "set socket option %s to %d", r->text, value);
	}
	return 0;
}

void numbers_end(struct numbers *known)
{
	struct numbers *next;

	for (; known; known = next) {
		next = known->next;
		free(known);
	}
}
