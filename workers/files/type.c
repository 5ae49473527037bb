/* SPDX-License-Identifier: MIT */
/*
 * type.c - the table of file types, and the rows that only refuse.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/files/type.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "workers/files/anon.h"
#include "workers/files/bpfmap.h"
#include "workers/files/device.h"
#include "workers/files/epoll.h"
#include "workers/files/eventfd.h"
#include "workers/files/fanotify.h"
#include "workers/files/inotify.h"
#include "workers/files/memfd.h"
#include "workers/files/mqueue.h"
#include "workers/files/packets.h"
#include "workers/files/nsfile.h"
#include "workers/files/pidfd.h"
#include "workers/files/pipe.h"
#include "workers/files/regular.h"
#include "workers/files/signalfd.h"
#include "workers/files/socket.h"
#include "workers/files/timerfd.h"
#include "workers/files/tty.h"
#include "workers/files/tun.h"

static bool starts(const struct facts *x, const char *prefix)
{
	return x->link && strncmp(x->link, prefix, strlen(prefix)) == 0;
}

static bool match_socket(const struct facts *x)
{
	return starts(x, "socket:[");
}

static bool match_anonymous(const struct facts *x)
{
	return starts(x, "anon_inode:") || starts(x, "pidfd:");
}

static bool match_io_uring(const struct facts *x)
{
	return anon_is(x, "[io_uring]");
}

static bool match_userfaultfd(const struct facts *x)
{
	return anon_is(x, "[userfaultfd]");
}

static bool match_perf(const struct facts *x)
{
	return anon_is(x, "[perf_event]");
}

static bool match_memory(const struct facts *x)
{
	return starts(x, "/memfd:") || starts(x, "/dmabuf:") || starts(x, "/SYSV") ||
	       starts(x, "/anon_hugepage");
}

/* It has one link, unlike a deleted file of that name. */
static bool match_secret(const struct facts *x)
{
	return x->link && !strcmp(x->link, "/secretmem (deleted)") && x->st.st_nlink == 1;
}

static bool match_device(const struct facts *x)
{
	return S_ISCHR(x->st.st_mode) || S_ISBLK(x->st.st_mode);
}

static bool match_any(const struct facts *x)
{
	return x != NULL;
}

static const struct file_type socket_row = {
	.name = "socket",
	.match = match_socket,
	.refuse = "sockets of its family (SO_DOMAIN) cannot be dumped: close it before the dump",
};

static const struct file_type io_uring_row = {
	.name = "ring of io_uring",
	.match = match_io_uring,
	.device = true,
	.refuse = "requests in flight are the kernel's alone and cannot be dumped: let the program "
		  "do without (most fall back when sysctl kernel.io_uring_disabled is 2)",
};

static const struct file_type userfaultfd_row = {
	.name = "userfaultfd",
	.match = match_userfaultfd,
	.device = true,
	.refuse = "page faults that wait for an answer cannot be dumped: dump before the program "
		  "opens it or after it has closed it",
};

static const struct file_type perf_row = {
	.name = "performance counter (perf_event_open)",
	.match = match_perf,
	.device = true,
	.refuse = "counts of the hardware cannot be set again: end the measurement first",
};

static const struct file_type anonymous_row = {
	.name = "descriptor of a kernel service",
	.match = match_anonymous,
	.device = true,
	.refuse = "descriptors of this service cannot be dumped yet: dump before the program opens "
		  "it",
};

static const struct file_type memory_row = {
	.name = "file of memory",
	.match = match_memory,
	.device = true,
	.refuse = "memory of devices or of System V cannot be dumped as a file"
		  " yet: dump before the program opens it",
};

static const struct file_type secret_row = {
	.name = "file of secret memory (memfd_secret)",
	.match = match_secret,
	.refuse = "the kernel shows its contents to nobody but its tasks: dump before the program "
		  "opens it or after it has closed it",
};

static const struct file_type device_row = {
	.name = "device",
	.match = match_device,
	.device = true,
	.refuse = "the state of this device is not known: close it, or take it away with a plugin",
};

static const struct file_type unknown_row = {
	.name = "file of unknown type",
	.match = match_any,
	.device = true,
	.refuse = "its type is not known: close it",
};

const struct file_type *const file_types[] = {
	&socket_seen,
	&unix_socket_type,
	&inet_socket_type,
	&packet_socket_type,
	&netlink_socket_type,
	&socket_row,
	&eventfd_type,
	&signalfd_type,
	&timerfd_type,
	&epoll_type,
	&inotify_type,
	&fanotify_type,
	&pidfd_type,
	&io_uring_row,
	&userfaultfd_row,
	&perf_row,
	&bpfmap_type,
	&bpf_other_row,
	&anonymous_row,
	&memfd_type,
	&secret_row,
	&memory_row,
	&pipe_type,
	&fifo_type,
	&pipe_packets_type,
	&mqueue_type,
	&regular_type,
	&tun_type,
	&tty_type,
	&nsfile_type,
	&device_type,
	&device_row,
	&unknown_row,
	NULL
};

const struct file_type *type_of_facts(const struct facts *x)
{
	size_t i = 0;

	while (!file_types[i]->match || !file_types[i]->match(x))
		i++;
	return file_types[i];
}

int type_refuse(const struct file_type *t, const struct facts *x, struct fault *f)
{
	char who[400];

	return fault(f, -ENOTSUP, "%s is a %s: %s", facts_name(x, who, sizeof(who)), t->name,
		     t->refuse);
}

const struct file_type *type_of_entry(FdTypes type)
{
	size_t i;

	for (i = 0; file_types[i]; i++)
		if (file_types[i]->type == type && type != FD_TYPES__UND)
			return file_types[i];
	return NULL;
}
