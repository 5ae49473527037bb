/* SPDX-License-Identifier: MIT */
/*
 * socket.c - sockets, as far as the files worker knows them: as descriptors with an id.
 *
 * Dump:     each open socket is named to the net worker, which writes its entry.
 * Restore:  net makes them; they become files with what is in their place here.
 *
 * Rights:   none.
 * Holds:    dump: the sockets found.
 */
#include "workers/files/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/socket_list.h"
#include "proto/control/util.h"
#include "workers/files/files.h"
#include "workers/files/handed.h"
#include "workers/files/prepare.h"

/* Dump */

static bool is_socket(const struct facts *x)
{
	return x->link && strncmp(x->link, "socket:[", 8) == 0;
}

static bool match_seen(const struct facts *x)
{
	return x->dup < 0 && !x->unix_socket && is_socket(x);
}

static int family_of(const struct facts *x)
{
	socklen_t len = sizeof(int);
	int family;

	if (x->dup < 0 || !is_socket(x) ||
	    getsockopt(x->dup, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0)
		return -1;
	return family;
}

static bool match_unix(const struct facts *x)
{
	return x->unix_socket || family_of(x) == AF_UNIX;
}

static bool match_inet(const struct facts *x)
{
	int family = family_of(x);

	return family == AF_INET || family == AF_INET6;
}

static bool match_packet(const struct facts *x)
{
	return family_of(x) == AF_PACKET;
}

static bool match_netlink(const struct facts *x)
{
	return family_of(x) == AF_NETLINK;
}

static void name_socket(struct files *fs, const struct facts *x, uint64_t ino)
{
	const struct socket_ref s = { x->id, x->pid, x->fd, x->flags, ino };

	socket_list_add(&fs->sockets, &s);
}

/* Before the freeze: the net worker is the judge. */
static int see_socket(struct files *fs, const struct facts *x, struct fault *f)
{
	(void)f;
	name_socket(fs, x, strtoull(x->link + strlen("socket:["), NULL, 10));
	return 0;
}

static int dump_socket(struct files *fs, const struct facts *x, struct fault *f)
{
	(void)f;
	name_socket(fs, x, x->st.st_ino);
	return 0;
}

SocketList *socket_found(struct files *fs)
{
	return take_ptr(&fs->sockets);
}

/* Restore */

/* The net worker reads the entry; here it is enough that it is there. */
static int check_socket(struct files *fs, struct file *file, struct fault *f)
{
	const FileEntry *e = file->entry;

	(void)fs;
	if (e->usk || e->isk || e->psk || e->nlsk)
		return 0;
	return fault(f, -EBADMSG, "files.img: file %u is a socket without an entry", file->id);
}

bool socket_is(const struct file_type *t)
{
	return t->dump == dump_socket;
}

bool socket_due(const struct files *fs)
{
	const struct restore *r = fs->restore;
	size_t i = 0;

	while (i < r->nfiles && !socket_is(r->file[i].type))
		i++;
	return i < r->nfiles;
}

static const FownEntry *socket_fown(struct files *fs, const struct file *file)
{
	const FileEntry *e = file->entry;

	(void)fs;
	return e->usk ? e->usk->fown :
	       e->isk ? e->isk->fown :
	       e->psk ? e->psk->fown :
			e->nlsk->fown;
}

static void end_sockets(struct files *fs)
{
	if (fs->sockets)
		socket_list__free_unpacked(fs->sockets, NULL);
	fs->sockets = NULL;
}

const struct file_type socket_seen = {
	.name = "socket",
	.match = match_seen,
	.preflight = see_socket,
};

const struct file_type unix_socket_type = {
	.name = "unix socket",
	.type = FD_TYPES__UNIXSK,
	.match = match_unix,
	.dump = dump_socket,
	.check = check_socket,
	.create = handed_create,
	.fown = socket_fown,
	.end = end_sockets,
};

const struct file_type inet_socket_type = {
	.name = "internet socket",
	.type = FD_TYPES__INETSK,
	.match = match_inet,
	.dump = dump_socket,
	.check = check_socket,
	.create = handed_create,
	.fown = socket_fown,
};

const struct file_type packet_socket_type = {
	.name = "packet socket",
	.type = FD_TYPES__PACKETSK,
	.match = match_packet,
	.dump = dump_socket,
	.check = check_socket,
	.create = handed_create,
	.fown = socket_fown,
};

const struct file_type netlink_socket_type = {
	.name = "netlink socket",
	.type = FD_TYPES__NETLINKSK,
	.match = match_netlink,
	.dump = dump_socket,
	.check = check_socket,
	.create = handed_create,
	.fown = socket_fown,
};
