/* SPDX-License-Identifier: MIT */
/*
 * udp_diag.c - dump: which directions of UDP sockets are shut down; only sock_diag tells.
 *
 * Rights:   none.
 * Holds:    for each family and protocol asked for, the sockets that are shut down.
 */
#include "workers/net/udp_diag.h"

#include <linux/inet_diag.h>

#include "proto/control/util.h"
#include "workers/net/diag.h"

struct shut {
	uint64_t ino;
	uint32_t how;
};

struct udp_diag {
	int family, protocol;
	struct shut *list;
	size_t n, cap;
	struct udp_diag *next;
};

static void note(void *ctx, const void *msg, const struct nlattr *attr, size_t bytes)
{
	const struct inet_diag_msg *m = msg;
	const uint8_t *how = diag_attr(attr, bytes, INET_DIAG_SHUTDOWN, sizeof(*how), NULL);
	struct udp_diag *d = ctx;

	if (how && *how)
		*(struct shut *)grow(&d->list, d->n++, &d->cap, sizeof(*d->list)) =
			(struct shut){ m->idiag_inode, *how };
}

/* A kernel without the module that answers tells nothing: then nothing is taken for shut down. */
static struct udp_diag *learn(struct udp_diag **known, int family, int protocol, struct fault *f)
{
	const struct inet_diag_req_v2 req = {
		.sdiag_family = family, .sdiag_protocol = protocol, .idiag_states = ~0u,
	};
	struct udp_diag *d = xcalloc(1, sizeof(*d));

	d->family = family;
	d->protocol = protocol;
	d->next = *known;
	*known = d;
	if (diag_dump(&req, sizeof(req), sizeof(struct inet_diag_msg), note, d, f) < 0)
		return NULL;
	diag_sort(d->list, d->n, sizeof(*d->list));
	return d;
}

int udp_diag_shutdown(struct udp_diag **known, const struct sock *s, uint32_t *how, struct fault *f)
{
	const struct udp_diag *d = *known;
	const struct shut *found;

	while (d && (d->family != s->family || d->protocol != s->protocol))
		d = d->next;
	if (!d)
		d = learn(known, s->family, s->protocol, f);
	if (!d)
		return -1;
	found = diag_find(d->list, d->n, sizeof(*d->list), s->ino);
	*how = found ? found->how & 3 : 0;
	return 0;
}

void udp_diag_end(struct udp_diag *known)
{
	struct udp_diag *next;

	for (; known; known = next) {
		next = known->next;
		free(known->list);
		free(known);
	}
}
