/* SPDX-License-Identifier: MIT */
/*
 * host_api.c - the functions that plugins find in us: criu_get_image_dir of criu-plugin.h, and what
 * CRIU's own plugins use besides that has no part in CRIU's inside. host.symbols exports them from
 * our programs.
 *
 * Rights:   none.
 * Holds:    which host plugins speak to: the ABI passes no context.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/gpu/fdstore.h"
#include "workers/gpu/gpu.h"
#include "workers/gpu/host.h"

#define PER_MESSAGE 252			/* descriptors; CRIU's number, both ends must cut alike */

/* As in CRIU's headers, which plugins are compiled with. */
int criu_get_image_dir(void);
void print_on_level(unsigned level, const char *format, ...) __attribute__((format(printf, 2, 3)));
int add_inventory_plugin(const char *name);
bool check_and_remove_inventory_plugin(const char *name, size_t n);
int fdstore_add(int fd);
int fdstore_get(int id);
int send_fds(int sock, struct sockaddr_un *addr, int len, int *fds, int nr_fds, void *data,
	     unsigned size);
int __recv_fds(int sock, int *fds, int nr_fds, void *data, unsigned size, int flags);

static struct host *current;

void host_api_begin(struct host *h)
{
	current = h;
}

void host_api_end(void)
{
	current = NULL;
}

int criu_get_image_dir(void)
{
	return current ? gpu_image_dir(host_gpu(current)) : -1;
}

/* Plugins end their lines themselves. */
void print_on_level(unsigned level, const char *format, ...)
{
	const int error = errno;
	char text[960];
	va_list ap;
	size_t n;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	n = strlen(text);
	while (n && text[n - 1] == '\n')
		text[--n] = '\0';
	if (n)
		log_line(level > LOG_DEBUG ? LOG_DEBUG : (enum log_level)level, "plugin", 0, "%s",
			 text);
	errno = error;
}

int add_inventory_plugin(const char *name)
{
	if (!current || !name)
		return -1;
	host_inventory_add(current, name);
	return 0;
}

bool check_and_remove_inventory_plugin(const char *name, size_t n)
{
	const GpuPrepare *p = current ? host_gpu(current)->prepared : NULL;

	return current && ((p && p->any_plugin) || host_inventory_take(current, name, n));
}

int fdstore_add(int fd)
{
	struct fault f = { 0 };
	int id = current ? fdstore_put(gpu_fdstore(host_gpu(current)), fd, &f) : -1;

	if (f.code)
		log_error("%s", f.text);
	return id;
}

int fdstore_get(int id)
{
	struct fault f = { 0 };
	int fd = current ? fdstore_take(gpu_fdstore(host_gpu(current)), id, &f) : -1;

	if (f.code)
		log_error("%s", f.text);
	return fd;
}

/*
 * ---- descriptors over a socket: messages of up to 252, each with so many bytes of data for each
 * ----
 */

struct parcel {
	struct msghdr h;
	struct iovec iov;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(PER_MESSAGE * sizeof(int))];
	} control;
	char dummy;			/* a message must have a byte */
};

static struct cmsghdr *pack(struct parcel *p, int n, void *data, unsigned size)
{
	struct cmsghdr *c;

	p->iov = data ? (struct iovec){ data, (size_t)n * size } : (struct iovec){ &p->dummy, 1 };
	p->h.msg_iov = &p->iov;
	p->h.msg_iovlen = 1;
	p->h.msg_control = &p->control;
	p->h.msg_controllen = CMSG_LEN(n * sizeof(int));
	c = CMSG_FIRSTHDR(&p->h);
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	return c;
}

int send_fds(int sock, struct sockaddr_un *addr, int len, int *fds, int nr_fds, void *data,
	     unsigned size)
{
	int i, n;

	for (i = 0; i < nr_fds; i += n) {
		struct parcel p = { .h = { .msg_name = addr, .msg_namelen = addr ? len : 0 } };

		n = nr_fds - i < PER_MESSAGE ? nr_fds - i : PER_MESSAGE;
		memcpy(CMSG_DATA(pack(&p, n, data, size)), fds + i, n * sizeof(int));
		if (sendmsg(sock, &p.h, 0) <= 0)
			return -errno;
		data = data ? (char *)data + (size_t)n * size : NULL;
	}
	return 0;
}

int __recv_fds(int sock, int *fds, int nr_fds, void *data, unsigned size, int flags)
{
	struct cmsghdr *c;
	ssize_t got;
	int i, n;

	for (i = 0; i < nr_fds; i += n) {
		struct parcel p = { .dummy = 0 };

		n = nr_fds - i < PER_MESSAGE ? nr_fds - i : PER_MESSAGE;
		pack(&p, n, data, size);
		got = recvmsg(sock, &p.h, flags);
		if (got <= 0)
			return got < 0 ? -errno : -ENOMSG;
		c = CMSG_FIRSTHDR(&p.h);
		if (!c || c->cmsg_type != SCM_RIGHTS)
			return -EINVAL;
		if (p.h.msg_flags & MSG_CTRUNC)
			return -ENFILE;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (n <= 0)
			return -EBADFD;
		memcpy(fds + i, CMSG_DATA(c), n * sizeof(int));
		data = data ? (char *)data + (size_t)n * size : NULL;
	}
	return 0;
}
