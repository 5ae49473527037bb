/* SPDX-License-Identifier: MIT */
/*
 * raw_peers.c - dump: whom raw sockets are connected to.
 *
 * Rights:   none.
 * Holds:    net->raw_peers: the kernel's lists, until raw_peers_end.
 */
#include "workers/net/raw_peers.h"

#include <stdio.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/net/diag.h"
#include "workers/net/net.h"

struct raw_peers {
	struct raw_peer *list;
	size_t n, cap;
};

/* Each word of an address is printed as the number it is here. */
static void parse_address(const char *hex, uint32_t words[4])
{
	size_t i;

	for (i = 0; i < 4 && strlen(hex) >= 8 * (i + 1); i++)
		sscanf(hex + 8 * i, "%8x", &words[i]);
}

/* "   1: 0100007F:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000  0  0 4711 ..." */
static void read_list(struct raw_peers *all, const char *path)
{
	AUTO_FCLOSE FILE *file = fopen(path, "re");
	struct raw_peer p;
	char line[512], address[33];

	while (file && fgets(line, sizeof(line), file)) {
		memset(&p, 0, sizeof(p));
		if (sscanf(line, "%*d: %*[0-9A-F]:%*x %32[0-9A-F]:%x %x %*s %*s %*s %*u %*d %lu",
			   address, &p.port, &p.state, &p.ino) != 4)
			continue;
		parse_address(address, p.address);
		*(struct raw_peer *)grow(&all->list, all->n++, &all->cap, sizeof(p)) = p;
	}
}

const struct raw_peer *raw_peer(struct net *net, uint64_t ino)
{
	static const char *const lists[] = {
		"/proc/net/raw", "/proc/net/raw6", "/proc/net/icmp", "/proc/net/icmp6",
	};
	struct raw_peers *all = net->raw_peers;
	size_t i;

	if (!all) {
		all = net->raw_peers = xcalloc(1, sizeof(*all));
		for (i = 0; i < ARRAY_LEN(lists); i++)
			read_list(all, lists[i]);
		diag_sort(all->list, all->n, sizeof(*all->list));
	}
	return diag_find(all->list, all->n, sizeof(*all->list), ino);
}

void raw_peers_end(struct net *net)
{
	if (net->raw_peers)
		free(net->raw_peers->list);
	free(net->raw_peers);
	net->raw_peers = NULL;
}
