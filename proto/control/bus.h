/* SPDX-License-Identifier: MIT */
/*
 * bus.h - the control plane: one nanomsg PAIR endpoint, protobuf-c messages.
 *
 * nanomsg gives no hangup: the peer's pidfd is polled together with the socket.
 * nn_socket starts a thread: rights are given up and namespaces entered before bus_new.
 */
#ifndef STASIS_BUS_H
#define STASIS_BUS_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "proto/control/fault.h"

struct bus;

/* An endpoint that leads nowhere yet. NULL with f set. */
struct bus *bus_new(struct fault *f);

/* Bind or connect to url ("ipc:///run/x.sock", "tcp://127.0.0.1:5000"). */
int bus_open(struct bus *b, const char *url, bool bind, struct fault *f);

/* The peer's pidfd (stays the caller's), polled by bus_recv; -1: none. */
void bus_set_peer(struct bus *b, int pidfd);

int bus_send(struct bus *b, const ProtobufCMessage *msg, struct fault *f);

/*
 * Wait for a message of the given type: 1 and *msg (free with
 * protobuf_c_message_free_unpacked), 0 when nothing came within timeout_ms (-1: no limit),
 * -1 with f set: the peer is gone (ECONNRESET) or sent nonsense (EBADMSG).
 */
int bus_recv(struct bus *b, const ProtobufCMessageDescriptor *desc, ProtobufCMessage **msg,
	     int timeout_ms, struct fault *f);

/* Close the socket. Costs up to a millisecond: a process about to exit need not. */
void bus_close(struct bus *b);

#endif
