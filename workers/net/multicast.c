/* SPDX-License-Identifier: MIT */
/*
 * multicast.c - the multicast groups that a socket has joined, both directions.
 *
 * The kernel lists the groups of a device, not those of a socket; but it tells the sources that a
 * socket wants of a group, or that it is no member: so each group of the host is asked for.
 *
 * Rights:   none.
 * Holds:    the groups of the host, while sockets are dumped.
 */
#include "workers/net/multicast.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "proto/control/util.h"

#define MAX_SOURCES 1024

struct group {
	struct group_req req;
	int level;
};

struct groups {
	struct group *list;
	size_t n, cap;
};

static void add_v4(struct groups *g, unsigned device, uint32_t address)
{
	struct group *x = grow(&g->list, g->n++, &g->cap, sizeof(*x));
	struct sockaddr_in *a = (struct sockaddr_in *)&x->req.gr_group;

	x->level = SOL_IP;
	x->req.gr_interface = device;
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = address;
}

static void add_v6(struct groups *g, unsigned device, const char *hex)
{
	struct group *x = grow(&g->list, g->n++, &g->cap, sizeof(*x));
	struct sockaddr_in6 *a = (struct sockaddr_in6 *)&x->req.gr_group;
	size_t i;

	x->level = SOL_IPV6;
	x->req.gr_interface = device;
	a->sin6_family = AF_INET6;
	for (i = 0; i < sizeof(a->sin6_addr); i++)
		sscanf(hex + 2 * i, "%2hhx", &a->sin6_addr.s6_addr[i]);
}

/*
 * "1 lo : 1 V3", then a line "010000E0 1 0:00000000 0" for each group; devices without IP have
 * none.
 */
static void list_v4(struct groups *g)
{
	AUTO_FCLOSE FILE *file = fopen("/proc/net/igmp", "re");
	unsigned device = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		uint32_t address;

		if (line[0] != '\t' && line[0] != ' ')
			sscanf(line, "%u", &device);
		else if (sscanf(line, " %8x", &address) == 1)
			add_v4(g, device, address);
	}
}

/* "1 lo ff020000000000000000000000000001 1 0000000C 0" */
static void list_v6(struct groups *g)
{
	AUTO_FCLOSE FILE *file = fopen("/proc/net/igmp6", "re");
	unsigned device;
	char line[256], hex[33];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%u %*s %32[0-9a-f]", &device, hex) == 2 && strlen(hex) == 32)
			add_v6(g, device, hex);
}

static const struct groups *groups_of(struct groups **known)
{
	if (!*known) {
		*known = xcalloc(1, sizeof(**known));
		list_v4(*known);
		list_v6(*known);
	}
	return *known;
}

static void put_address(ProtobufCBinaryData *to, const struct sockaddr_storage *a)
{
	bool v4 = a->ss_family == AF_INET;
	const void *from = v4 ? (const void *)&((const struct sockaddr_in *)a)->sin_addr :
				(const void *)&((const struct sockaddr_in6 *)a)->sin6_addr;

	to->len = v4 ? 4 : 16;
	to->data = xcalloc(1, to->len);
	memcpy(to->data, from, to->len);
}

static void get_address(const ProtobufCBinaryData *from, struct sockaddr_storage *a)
{
	memset(a, 0, sizeof(*a));
	a->ss_family = from->len == 4 ? AF_INET : AF_INET6;
	memcpy(from->len == 4 ? (void *)&((struct sockaddr_in *)a)->sin_addr :
				(void *)&((struct sockaddr_in6 *)a)->sin6_addr, from->data,
	       from->len);
}

static MulticastMember *member(const struct group *g, const struct group_filter *filter,
			       const char *device)
{
	MulticastMember *m = xcalloc(1, sizeof(*m));
	size_t i;

	multicast_member__init(m);
	m->device = xstrdup(device);
	put_address(&m->group, &g->req.gr_group);
	m->exclude = filter->gf_fmode == MCAST_EXCLUDE;
	m->n_source = filter->gf_numsrc;
	m->source = xcalloc(m->n_source, sizeof(*m->source));
	for (i = 0; i < m->n_source; i++)
		put_address(&m->source[i], &filter->gf_slist[i]);
	return m;
}

static int ask(const struct sock *s, const struct group *g, InetSkEntry *e, struct fault *f)
{
	AUTO_FREE struct group_filter *filter = xcalloc(1, GROUP_FILTER_SIZE(MAX_SOURCES));
	socklen_t len = GROUP_FILTER_SIZE(MAX_SOURCES);
	char device[IF_NAMESIZE];

	filter->gf_interface = g->req.gr_interface;
	filter->gf_group = g->req.gr_group;
	filter->gf_numsrc = MAX_SOURCES;
	if (getsockopt(s->fd, g->level, MCAST_MSFILTER, filter, &len) < 0)
		return 0;		/* no member */
	if (filter->gf_numsrc > MAX_SOURCES)
		return fault(f, -E2BIG, "a socket names %u sources of a multicast group",
			     filter->gf_numsrc);
	if (!if_indextoname(g->req.gr_interface, device))
		return fault(f, errno, "name device %u of a multicast group", g->req.gr_interface);
	e->member = xrealloc(e->member, e->n_member + 1, sizeof(*e->member));
	e->member[e->n_member++] = member(g, filter, device);
	return 0;
}

int multicast_read(struct groups **known, const struct sock *s, InetSkEntry *e, struct fault *f)
{
	const struct groups *all = groups_of(known);
	size_t i;

	for (i = 0; i < all->n; i++) {
		if (s->family == AF_INET && all->list[i].level != SOL_IP)
			continue;
		if (ask(s, &all->list[i], e, f) < 0)
			return -1;
	}
	return 0;
}

int multicast_check(const InetSkEntry *e, struct fault *f)
{
	size_t i, k;

	for (i = 0; i < e->n_member; i++) {
		const MulticastMember *m = e->member[i];

		if ((m->group.len != 4 && m->group.len != 16) || m->n_source > MAX_SOURCES)
			return fault(f, -EBADMSG, "files.img: socket %u has a multicast group of "
				     "%zu bytes and %zu sources", e->id, m->group.len, m->n_source);
		for (k = 0; k < m->n_source; k++)
			if (m->source[k].len != m->group.len)
				return fault(f, -EBADMSG, "files.img: socket %u has a multicast "
					     "source of %zu bytes", e->id, m->source[k].len);
	}
	return 0;
}

/* Join, then say which sources: a list of those not wanted, or the only ones. */
static int join_one(int fd, const MulticastMember *m, struct fault *f)
{
	AUTO_FREE struct group_filter *filter = xcalloc(1, GROUP_FILTER_SIZE(m->n_source));
	struct group_req req = { .gr_interface = if_nametoindex(m->device) };
	int level = m->group.len == 4 ? SOL_IP : SOL_IPV6;
	size_t i;

	if (!req.gr_interface)
		return fault(f, -ENODEV, "its multicast group is on device %.16s, which is not "
			     "here", m->device);
	get_address(&m->group, &req.gr_group);
	if (setsockopt(fd, level, MCAST_JOIN_GROUP, &req, sizeof(req)) < 0)
		return fault(f, errno, "join a multicast group on device %.16s", m->device);
	if (m->exclude && !m->n_source)
		return 0;
	filter->gf_interface = req.gr_interface;
	filter->gf_group = req.gr_group;
	filter->gf_fmode = m->exclude ? MCAST_EXCLUDE : MCAST_INCLUDE;
	filter->gf_numsrc = m->n_source;
	for (i = 0; i < m->n_source; i++)
		get_address(&m->source[i], &filter->gf_slist[i]);
	if (setsockopt(fd, level, MCAST_MSFILTER, filter, GROUP_FILTER_SIZE(m->n_source)) < 0)
		return fault(f, errno, "set %zu sources of a multicast group", m->n_source);
	return 0;
}

int multicast_join(int fd, const InetSkEntry *e, struct fault *f)
{
	size_t i;

	for (i = 0; i < e->n_member; i++)
		if (join_one(fd, e->member[i], f) < 0)
			return -1;
	return 0;
}

void multicast_end(struct groups *known)
{
	if (!known)
		return;
	free(known->list);
	free(known);
}
