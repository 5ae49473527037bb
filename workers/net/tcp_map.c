/* SPDX-License-Identifier: MIT */
/*
 * tcp_map.c - --tcp-map OLD=NEW: TCP sockets of a local address come back with another one.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/net/tcp_map.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include "proto/control/util.h"

/* An address of either family as 16 bytes, IPv4 mapped. */
static bool parse(const char *text, struct in6_addr *a)
{
	static const unsigned char prefix[12] = { [10] = 0xff, [11] = 0xff };

	if (inet_pton(AF_INET6, text, a) == 1)
		return true;
	memcpy(a, prefix, sizeof(prefix));
	return inet_pton(AF_INET, text, &a->s6_addr[12]) == 1;
}

static bool split(const char *pair, struct in6_addr *from, struct in6_addr *to)
{
	AUTO_FREE char *text = xstrdup(pair);
	char *eq = strchr(text, '=');

	if (!eq)
		return false;
	*eq = '\0';
	return parse(text, from) && parse(eq + 1, to) &&
	       !IN6_IS_ADDR_V4MAPPED(from) == !IN6_IS_ADDR_V4MAPPED(to);
}

int tcp_map_check(const Options *o, struct fault *f)
{
	struct in6_addr from, to;
	size_t i;

	for (i = 0; i < o->n_tcp_map; i++)
		if (!split(o->tcp_map[i], &from, &to))
			return fault(f, -EINVAL, "--tcp-map %s: two addresses of the same family "
				     "are needed, OLD=NEW", o->tcp_map[i]);
	return 0;
}

static void map_v6(const Options *o, struct in6_addr *a)
{
	struct in6_addr from, to;
	size_t i;

	for (i = 0; i < o->n_tcp_map; i++)
		if (split(o->tcp_map[i], &from, &to) && IN6_ARE_ADDR_EQUAL(a, &from)) {
			*a = to;
			return;
		}
}

void tcp_map(const Options *o, struct sockaddr *a)
{
	struct in6_addr x = { .s6_addr[10] = 0xff, .s6_addr[11] = 0xff };
	struct in_addr *v4;

	if (a->sa_family == AF_INET6) {
		map_v6(o, &((struct sockaddr_in6 *)a)->sin6_addr);
		return;
	}
	v4 = &((struct sockaddr_in *)a)->sin_addr;
	memcpy(&x.s6_addr[12], v4, sizeof(*v4));
	map_v6(o, &x);
	memcpy(v4, &x.s6_addr[12], sizeof(*v4));
}
