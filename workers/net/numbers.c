/* SPDX-License-Identifier: MIT */
/*
 * numbers.c - options of sockets that are one int or two and have no field of CRIU's, both
 * directions. Only what differs from a fresh socket is kept: most sockets have none.
 *
 * Rights:   CAP_NET_ADMIN, CAP_NET_RAW for some.
 * Holds:    the values of fresh sockets, one list for each family, type and protocol seen.
 */
#include "workers/net/numbers.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/net/net.h"
#include "workers/net/sock.h"

/* Linux UAPI; the headers of older libcs lack them. */
#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif
#ifndef SO_TXREHASH
#define SO_TXREHASH 74
#endif
#ifndef SO_RCVMARK
#define SO_RCVMARK 75
#endif
#ifndef SOL_NETLINK
#define SOL_NETLINK 270
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
	enum {
		ALWAYS,
		IDLE_STREAM,		/* has a meaning for streams without a connection only */
		UNUSUAL,	/* used with one above it, or with a filter: else not asked for */
	} when;
	bool pair;			/* two ints */
};

#define ROW(LEVEL, NAME) { LEVEL, NAME, #NAME, ALWAYS, false }
#define IDLE(LEVEL, NAME) { LEVEL, NAME, #NAME, IDLE_STREAM, false }
#define RARE(LEVEL, NAME) { LEVEL, NAME, #NAME, UNUSUAL, false }
#define PAIR(LEVEL, NAME) { LEVEL, NAME, #NAME, ALWAYS, true }

/*
 * A question costs 0.7 us, times options, times sockets: what is seldom set comes last, see
 * UNUSUAL.
 */
static const struct row rows[] = {
	ROW(SOL_SOCKET, SO_TIMESTAMP_OLD),
	ROW(SOL_SOCKET, SO_TIMESTAMPNS_OLD),
	ROW(SOL_SOCKET, SO_TIMESTAMP_NEW),
	ROW(SOL_SOCKET, SO_TIMESTAMPNS_NEW),
	PAIR(SOL_SOCKET, SO_TIMESTAMPING_OLD),
	PAIR(SOL_SOCKET, SO_TXTIME),
	ROW(SOL_SOCKET, SO_RXQ_OVFL),
	ROW(SOL_SOCKET, SO_PEEK_OFF),
	ROW(SOL_SOCKET, SO_BUSY_POLL),
	ROW(SOL_SOCKET, SO_MAX_PACING_RATE),
	ROW(SOL_SOCKET, SO_ZEROCOPY),
	ROW(SOL_SOCKET, SO_RCVMARK),
	ROW(SOL_SOCKET, SO_TXREHASH),
	IDLE(SOL_SOCKET, SO_INCOMING_CPU),
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
	ROW(SOL_IPV6, IPV6_CHECKSUM),
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
	ROW(SOL_PACKET, PACKET_IGNORE_OUTGOING),
	ROW(SOL_PACKET, PACKET_TX_HAS_OFF),
	ROW(SOL_PACKET, PACKET_QDISC_BYPASS),
	ROW(SOL_NETLINK, NETLINK_PKTINFO),
	ROW(SOL_NETLINK, NETLINK_BROADCAST_ERROR),
	ROW(SOL_NETLINK, NETLINK_NO_ENOBUFS),
	ROW(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID),
	ROW(SOL_NETLINK, NETLINK_CAP_ACK),
	ROW(SOL_NETLINK, NETLINK_EXT_ACK),
	ROW(SOL_NETLINK, NETLINK_GET_STRICT_CHK),
	{ SOL_SOCKET, SO_TIMESTAMPING_NEW, "SO_TIMESTAMPING_NEW", UNUSUAL, true },
	RARE(SOL_SOCKET, SO_SELECT_ERR_QUEUE),
	RARE(SOL_SOCKET, SO_PREFER_BUSY_POLL),
	RARE(SOL_SOCKET, SO_BUSY_POLL_BUDGET),
	RARE(SOL_SOCKET, SO_LOCK_FILTER),
};

/* As the kernel has it; of most options only the first. */
struct value {
	int word[2];
};

struct numbers {
	int family, type, protocol;
	/* Known: such sockets have it. */
	struct { struct value value; bool known; } of[ARRAY_LEN(rows)];
	struct numbers *next;
};

static size_t size_of(const struct row *r)
{
	return r->pair ? sizeof(struct value) : sizeof(int);
}

static bool ask(int fd, const struct row *r, struct value *v)
{
	socklen_t len = size_of(r);

	*v = (struct value){ { 0, 0 } };
	return getsockopt(fd, r->level, r->name, v, &len) == 0;
}

static bool same(const struct value *a, const struct value *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

/*
 * Those that CRIU has a field for are in it. Of unix sockets there are many, and few options
 * matter.
 */
static bool left_out(const struct row *r, int family)
{
	if (family == AF_UNIX)
		return r->when != UNUSUAL && r->name != SO_TIMESTAMP_OLD &&
		       r->name != SO_TIMESTAMPNS_OLD;
	return family == AF_INET && r->level == SOL_IP &&
	       (r->name == IP_TOS || r->name == IP_TTL || r->name == IP_PKTINFO);
}

/* Some can be read of sockets that do not let them be set: multicast options of a stream. */
static bool can_have(int fd, const struct row *r, int type, struct value *v)
{
	return ask(fd, r, v) && (r->when != IDLE_STREAM || type == SOCK_STREAM) &&
	       setsockopt(fd, r->level, r->name, v, size_of(r)) == 0;
}

static const struct numbers *fresh(struct numbers **known, const struct sock *s, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	struct numbers *n;
	size_t i;

	for (n = *known; n; n = n->next)
		if (n->family == s->family && n->type == s->type && n->protocol == s->protocol)
			return n;
	fd = sock_open(s->family, s->type, s->protocol);
	if (fd < 0) {
		fault(f, errno, "create a socket to compare with");
		return NULL;
	}
	n = xcalloc(1, sizeof(*n));
	n->family = s->family;
	n->type = s->type;
	n->protocol = s->protocol;
	for (i = 0; i < ARRAY_LEN(rows); i++)
		n->of[i].known = !left_out(&rows[i], s->family) &&
				 can_have(fd, &rows[i], s->type, &n->of[i].value);
	n->next = *known;
	*known = n;
	return n;
}

static void add(struct number_list *list, const struct row *r, const struct value *v)
{
	SocketNumber *n = xcalloc(1, sizeof(*n));

	socket_number__init(n);
	n->level = r->level;
	n->name = r->name;
	n->value = v->word[0];
	n->has_second = r->pair && v->word[1];
	n->second = v->word[1];
	*list->at = xrealloc(*list->at, *list->n + 1, sizeof(**list->at));
	(*list->at)[(*list->n)++] = n;
}

int numbers_learn(struct net *net, const struct sock *s, struct fault *f)
{
	return fresh(&net->numbers, s, f) ? 0 : -1;
}

static bool is_due(const struct row *r, unsigned facts, const struct number_list *list)
{
	if (r->when == IDLE_STREAM)
		return !(facts & SOCK_CONNECTED);
	return r->when != UNUSUAL || *list->n || (facts & SOCK_FILTERED);
}

int numbers_read(struct net *net, const struct sock *s, unsigned facts, struct number_list list,
		 struct fault *f)
{
	const struct numbers *n = fresh(&net->numbers, s, f);
	struct value v;
	size_t i;

	if (!n)
		return -1;
	for (i = 0; i < ARRAY_LEN(rows); i++)
		if (n->of[i].known && is_due(&rows[i], facts, &list) && ask(s->fd, &rows[i], &v) &&
		    !same(&v, &n->of[i].value))
			add(&list, &rows[i], &v);
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

int numbers_check(uint32_t id, SocketNumber *const *list, size_t n, struct fault *f)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!find(list[i]))
			return fault(f, -EBADMSG, "files.img: socket %u has the unknown option %u "
				     "of level %u", id, list[i]->name, list[i]->level);
	return 0;
}

int numbers_apply(int fd, SocketNumber *const *list, size_t n, struct fault *f)
{
	struct value now;
	size_t i;

	for (i = 0; i < n; i++) {
		const struct value v = { { list[i]->value, list[i]->second } };
		const struct row *r = find(list[i]);

		if (ask(fd, r, &now) && same(&now, &v))
			continue;
		if (setsockopt(fd, r->level, r->name, &v, size_of(r)) < 0)
			return fault(f, errno, "set socket option %s to %d", r->text, v.word[0]);
	}
	return 0;
}

void numbers_free(struct number_list list)
{
	size_t i;

	for (i = 0; i < *list.n; i++)
		socket_number__free_unpacked((*list.at)[i], NULL);
	free(*list.at);
	*list.at = NULL;
	*list.n = 0;
}

void numbers_end(struct net *net)
{
	struct numbers *n, *next;

	for (n = net->numbers; n; n = next) {
		next = n->next;
		free(n);
	}
	net->numbers = NULL;
}
