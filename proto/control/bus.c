/* SPDX-License-Identifier: MIT */
/*
 * bus.c - nanomsg PAIR with protobuf-c messages; the only file that includes nn.h.
 *
 * Measured with nanomsg 1.1.5: a message above NN_RCVMAXSIZE vanishes silently, so the limit
 * is off on both ends; a killed peer leaves NN_RCVFD silent, so its pidfd is polled too.
 *
 * Rights:   none.
 * Holds:    one nanomsg socket.
 */
#include "proto/control/bus.h"

#include <errno.h>
#include <nanomsg/nn.h>
#include <nanomsg/pair.h>
#include <poll.h>

#include "proto/control/util.h"

struct bus {
	int sock;
	int recv_fd;
	int send_fd;			/* readable when a message can be sent */
	int peer;
};

#define SEND_TIMEOUT_MS 20000		/* for a peer that lives and takes nothing */

struct bus *bus_new(struct fault *f)
{
	struct bus *b = xcalloc(1, sizeof(*b));
	size_t len = sizeof(b->recv_fd), send_len = sizeof(b->send_fd);
	int no_limit = -1;

	b->peer = -1;
	b->sock = nn_socket(AF_SP, NN_PAIR);
	if (b->sock < 0) {
		fault(f, EIO, "nanomsg socket: %s", nn_strerror(nn_errno()));
		free(b);
		return NULL;
	}
	if (nn_setsockopt(b->sock, NN_SOL_SOCKET, NN_RCVMAXSIZE, &no_limit, sizeof(no_limit)) < 0 ||
	    nn_getsockopt(b->sock, NN_SOL_SOCKET, NN_RCVFD, &b->recv_fd, &len) < 0 ||
	    nn_getsockopt(b->sock, NN_SOL_SOCKET, NN_SNDFD, &b->send_fd, &send_len) < 0) {
		fault(f, EIO, "nanomsg socket: %s", nn_strerror(nn_errno()));
		bus_close(b);
		return NULL;
	}
	return b;
}

int bus_open(struct bus *b, const char *url, bool bind, struct fault *f)
{
	if ((bind ? nn_bind(b->sock, url) : nn_connect(b->sock, url)) < 0)
		return fault(f, EIO, "%s %s: %s", bind ? "bind" : "connect to", url,
			     nn_strerror(nn_errno()));
	return 0;
}

void bus_set_peer(struct bus *b, int pidfd)
{
	b->peer = pidfd;
}

/* nn_send itself would wait for ever for a peer that is dead. */
static int wait_writable(struct bus *b, const char *what, struct fault *f)
{
	struct pollfd p[2] = { { .fd = b->send_fd, .events = POLLIN },
			       { .fd = b->peer, .events = POLLIN } };
	int r;

	do
		r = poll(p, 2, SEND_TIMEOUT_MS);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return fault(f, errno, "poll the bus");
	if (p[0].revents)
		return 0;
	if (p[1].revents)
		return fault(f, -ECONNRESET, "send %s: the peer is gone", what);
	return fault(f, -ETIMEDOUT, "send %s: the peer takes no message for %d s (is it stopped?)",
		     what, SEND_TIMEOUT_MS / 1000);
}

static int send_buffer(struct bus *b, void *buf, const char *what, struct fault *f)
{
	while (nn_send(b->sock, &buf, NN_MSG, NN_DONTWAIT) < 0) {
		if (nn_errno() == EINTR)
			continue;
		if (nn_errno() != EAGAIN)
			return fault(f, EIO, "send %s: %s", what, nn_strerror(nn_errno()));
		if (wait_writable(b, what, f) < 0)
			return -1;
	}
	return 0;
}

int bus_send(struct bus *b, const ProtobufCMessage *msg, struct fault *f)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	void *buf = nn_allocmsg(len ? len : 1, 0);

	if (!buf)
		die("out of memory (message of %zu bytes)", len);
	protobuf_c_message_pack(msg, buf);
	if (send_buffer(b, buf, msg->descriptor->name, f) == 0)
		return 0;
	nn_freemsg(buf);
	return -1;
}

static int take_message(struct bus *b, const ProtobufCMessageDescriptor *desc,
			ProtobufCMessage **msg, struct fault *f)
{
	void *buf = NULL;
	int n;

	n = nn_recv(b->sock, &buf, NN_MSG, NN_DONTWAIT);
	if (n < 0 && nn_errno() == EAGAIN)
		return 0;
	if (n < 0)
		return fault(f, EIO, "receive %s: %s", desc->name, nn_strerror(nn_errno()));
	*msg = protobuf_c_message_unpack(desc, NULL, n, buf);
	nn_freemsg(buf);
	if (!*msg)
		return fault(f, -EBADMSG, "received %d bytes that are no %s", n, desc->name);
	return 1;
}

int bus_recv(struct bus *b, const ProtobufCMessageDescriptor *desc, ProtobufCMessage **msg,
	     int timeout_ms, struct fault *f)
{
	struct pollfd p[2] = { { .fd = b->recv_fd, .events = POLLIN },
			       { .fd = b->peer, .events = POLLIN } };
	int r;

	r = take_message(b, desc, msg, f);
	if (r)
		return r;
	do
		r = poll(p, 2, timeout_ms);
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return r < 0 ? fault(f, errno, "poll the bus") : 0;
	/* A message sent before the peer died is still taken. */
	r = take_message(b, desc, msg, f);
	if (r)
		return r;
	if (p[1].revents)
		return fault(f, -ECONNRESET, "the peer is gone");
	return 0;
}

void bus_close(struct bus *b)
{
	if (!b)
		return;
	nn_close(b->sock);
	free(b);
}
