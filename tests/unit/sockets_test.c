/* SPDX-License-Identifier: MIT */
/*
 * sockets_test.c - every socket finds its kind, or a refusal that names it; lists in messages and
 * answers of sock_diag are not believed.
 */
#include "workers/net/diag.h"
#include "workers/net/kind.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/socket_list.h"
#include "proto/control/util.h"
#include "tests/unit/check.h"

static const struct {
	int family, type, protocol;
	const char *name;
	bool refused;
} sockets[] = {
	{ AF_UNIX, SOCK_STREAM, 0, "unix socket", false },
	{ AF_INET, SOCK_STREAM, 6, "TCP socket", false },
	{ AF_INET6, SOCK_DGRAM, 17, "UDP socket", false },
	{ AF_INET, SOCK_RAW, 132, "raw socket", false },	/* not SCTP */
	{ AF_INET6, SOCK_DGRAM, 58, "raw socket", false },	/* ping */
	{ AF_NETLINK, SOCK_RAW, 0, "netlink socket", false },
	{ AF_PACKET, SOCK_DGRAM, 0, "packet socket", false },
	{ AF_INET, SOCK_STREAM, 262, "MPTCP socket", true },
	{ AF_INET6, SOCK_SEQPACKET, 132, "SCTP socket", true },
	{ 38, SOCK_SEQPACKET, 0, "AF_ALG socket", true },
	{ 44, SOCK_RAW, 0, "AF_XDP socket", true },
	{ 43, SOCK_STREAM, 0, "AF_SMC socket", true },
	{ 40, SOCK_STREAM, 0, "AF_VSOCK socket", true },
	{ 31, SOCK_RAW, 1, "AF_BLUETOOTH socket", true },
	{ 21, SOCK_SEQPACKET, 0, "AF_RDS socket", true },
	{ 30, SOCK_RDM, 0, "AF_TIPC socket", true },
	{ 29, SOCK_RAW, 1, "AF_CAN socket", true },
	{ 99, SOCK_RAW, 0, "socket of unknown kind", true },
};

static void test_kinds(void)
{
	size_t i;

	for (i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++) {
		const struct sock s = { .family = sockets[i].family, .type = sockets[i].type,
					.protocol = sockets[i].protocol };
		const struct sock_kind *k = kind_of_socket(&s);

		if (!CHECK(!strcmp(k->name, sockets[i].name)))
			fprintf(stderr, "family %d is a %s\n", s.family, k->name);
		CHECK(!!k->refuse == sockets[i].refused);
	}
}

/* As many as grow a list several times come back from a message; one cut short is refused. */
static void test_list(void)
{
	const struct socket_ref first = { 1, 2, 3, 4, 1ull << 40 };
	struct fault f = { 0 };
	SocketList *list = NULL, *got;
	struct socket_ref s = first;
	uint8_t *packed;
	size_t i, size;

	CHECK(socket_list_count(NULL) == 0 && socket_list_check(NULL, &f) == 0);
	for (i = 0; i < 100; i++, s.id++, s.ino++)
		socket_list_add(&list, &s);
	size = socket_list__get_packed_size(list);
	packed = xcalloc(size, 1);
	socket_list__pack(list, packed);
	got = socket_list__unpack(NULL, size, packed);
	CHECK(got && socket_list_check(got, &f) == 0 && socket_list_count(got) == 100);
	for (i = 0; i < 100; i++) {
		s = socket_list_at(got, i);
		CHECK(s.id == first.id + i && s.pid == 2 && s.fd == 3 && s.flags == 4 &&
		      s.ino == first.ino + i);
	}
	got->n_flags--;
	CHECK(socket_list_check(got, &f) < 0 && f.code == EPROTO);
	socket_list__free_unpacked(got, NULL);
	socket_list__free_unpacked(list, NULL);
	free(packed);
}

static void test_attributes(void)
{
	struct {
		struct nlattr a;
		uint32_t one;
		struct nlattr b;
		uint32_t two[2];
	} x = { { 8, 3 }, 11, { 12, 4 }, { 21, 22 } };
	const uint32_t *v;
	size_t bytes = 0;

	v = diag_attr(&x.a, sizeof(x), 3, 4, &bytes);
	CHECK(v && *v == 11 && bytes == 4);
	v = diag_attr(&x.a, sizeof(x), 4, 4, &bytes);
	CHECK(v && v[1] == 22 && bytes == 8);
	CHECK(!diag_attr(&x.a, sizeof(x), 5, 0, NULL));
	CHECK(!diag_attr(&x.a, sizeof(x), 3, 8, NULL));		/* shorter than it must be */
	CHECK(!diag_attr(&x.a, sizeof(x) - 1, 4, 4, NULL));	/* cut off */
	x.a.nla_len = 2;
	CHECK(!diag_attr(&x.a, sizeof(x), 4, 4, NULL));	/* a length less than the header's */
	x.a.nla_len = 0xffff;
	CHECK(!diag_attr(&x.a, sizeof(x), 3, 4, NULL));
}

int main(void)
{
	check_run("every socket has a kind, or is refused by name", test_kinds);
	check_run("a list of sockets is whole, or refused", test_list);
	check_run("attributes of sock_diag are read within their bounds", test_attributes);
	return check_done();
}
