/* SPDX-License-Identifier: MIT */
/*
 * save.c - read a paused connection: numbers, options, windows, and what is in its queues.
 *
 * Rights:   those of the handle.
 * Holds:    nothing; the queues belong to the caller's struct.
 *
 *        receive queue                         send queue
 *   copied_seq ... rcv_nxt            snd_una ... snd_nxt ... write_seq
 *   |-- inq_len --| = inq_seq         |------- outq_len ------| = outq_seq
 *                                               |- unsq_len --|
 * A FIN takes one number in its queue but no byte; the lengths here are bytes.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#include "proto/control/util.h"
#include "workers/net/tcprepair/handle.h"

#define PEEK_ROOM 65536u	/* more than a segment may hold */

static int queue_length(const struct tcprepair *c, unsigned long request, uint32_t *len,
			struct fault *f)
{
	int n = 0;

	if (ioctl(c->fd, request, &n) < 0 || n < 0)
		return tcprepair_fault(c, f, errno, "could not read the length of a queue");
	*len = n;
	return 0;
}

/*
 * The three lengths. Bytes that a closed connection never got rid of went with it: the program
 * cannot see them.
 */
static int read_lengths(const struct tcprepair *c, struct tcprepair_state *s, struct fault *f)
{
	if (queue_length(c, SIOCINQ, &s->inq_len, f) < 0 ||
	    queue_length(c, SIOCOUTQ, &s->outq_len, f) < 0 ||
	    queue_length(c, SIOCOUTQNSD, &s->unsq_len, f) < 0)
		return -1;
	if (s->state == TCP_CLOSE) {
		s->outq_len = 0;
		s->unsq_len = 0;
	} else if (tcprepair_sent_fin(s->state)) {
		s->outq_len -= s->outq_len > 0;
		s->unsq_len -= s->unsq_len > 0;
	}
	return 0;
}

static int read_options(const struct tcprepair *c, struct tcprepair_state *s, struct fault *f)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return tcprepair_fault(c, f, errno, "could not read TCP_INFO");
	s->state = info.tcpi_state;
	s->opt_mask = info.tcpi_options;
	if (s->opt_mask & TCPI_OPT_WSCALE) {
		s->snd_wscale = info.tcpi_snd_wscale;
		s->rcv_wscale = info.tcpi_rcv_wscale;
	}
	len = sizeof(s->mss_clamp);
	if (getsockopt(c->fd, IPPROTO_TCP, TCP_MAXSEG, &s->mss_clamp, &len) < 0)
		return tcprepair_fault(c, f, errno, "could not read the segment size");
	len = sizeof(s->timestamp);
	if ((s->opt_mask & TCPI_OPT_TIMESTAMPS) &&
	    getsockopt(c->fd, IPPROTO_TCP, TCP_TIMESTAMP, &s->timestamp, &len) < 0)
		return tcprepair_fault(c, f, errno, "could not read its timestamp");
	return 0;
}

static int read_window(const struct tcprepair *c, struct tcprepair_state *s, struct fault *f)
{
	struct tcp_repair_window w;
	socklen_t len = sizeof(w);

	if (getsockopt(c->fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, &len) < 0)
		return tcprepair_fault(c, f, errno, "could not read its windows");
	s->has_window = true;
	s->snd_wl1 = w.snd_wl1;
	s->snd_wnd = w.snd_wnd;
	s->max_window = w.max_window;
	s->rcv_wnd = w.rcv_wnd;
	s->rcv_wup = w.rcv_wup;
	return 0;
}

/*
 * Copy the last len bytes of the selected queue. The send queue may begin before snd_una (an
 * acknowledgement in the middle of a segment leaves it whole) and tells its length even when it
 * had no room: so there is room for a segment more, and the tail counts.
 */
static int peek(const struct tcprepair *c, uint32_t len, unsigned char **bytes, struct fault *f)
{
	AUTO_FREE unsigned char *buf = NULL;
	size_t room = (size_t)len + PEEK_ROOM;
	ssize_t n;

	for (;;) {
		buf = xrealloc(buf, room, 1);
		n = recv(c->fd, buf, room, MSG_PEEK | MSG_DONTWAIT);
		if (n <= (ssize_t)room)
			break;
		room = n;
	}
	if (n < 0)
		return tcprepair_fault(c, f, errno, "could not read the contents of a queue");
	if ((size_t)n < len)
		return tcprepair_fault(c, f, -EAGAIN, "a queue holds less than the kernel says; "
				       "the network was not blocked, try again");
	memmove(buf, buf + (n - len), len);
	*bytes = take_ptr(&buf);
	return 0;
}

static int read_queue(const struct tcprepair *c, int queue, uint32_t *seq, uint32_t len,
		      unsigned char **bytes, struct fault *f)
{
	socklen_t size = sizeof(*seq);

	if (tcprepair_set(c, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue, "select a queue", f) < 0)
		return -1;
	if (getsockopt(c->fd, IPPROTO_TCP, TCP_QUEUE_SEQ, seq, &size) < 0)
		return tcprepair_fault(c, f, errno, "could not read a sequence number");
	return len ? peek(c, len, bytes, f) : 0;
}

/* Urgent data cuts the receive queue in two, and the mark cannot be put back. */
static int refuse_urgent(const struct tcprepair *c, struct fault *f)
{
	char byte;

	if (recv(c->fd, &byte, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) >= 0 || errno == EAGAIN)
		return tcprepair_fault(c, f, -EOPNOTSUPP, "an urgent byte (MSG_OOB) is not read "
				       "yet and cannot be kept; try again when the program has "
				       "read it");
	return 0;
}

/* Both queues, peeked from their start whatever SO_PEEK_OFF (TCP: since 6.9) the program set. */
static int read_queues(const struct tcprepair *c, struct tcprepair_state *s, struct fault *f)
{
	int offset = -1, r;
	socklen_t len = sizeof(offset);

	if (getsockopt(c->fd, SOL_SOCKET, SO_PEEK_OFF, &offset, &len) < 0)
		offset = -1;
	if (offset >= 0 &&
	    tcprepair_set(c, SOL_SOCKET, SO_PEEK_OFF, -1, "set SO_PEEK_OFF aside", f) < 0)
		return -1;
	r = read_queue(c, TCP_RECV_QUEUE, &s->inq_seq, s->inq_len, &s->inq, f);
	if (!r)
		r = read_queue(c, TCP_SEND_QUEUE, &s->outq_seq, s->outq_len, &s->outq, f);
	if (offset >= 0 &&
	    tcprepair_set(c, SOL_SOCKET, SO_PEEK_OFF, offset, "put SO_PEEK_OFF back", f) < 0)
		r = -1;
	if (tcprepair_set(c, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_NO_QUEUE, "leave its queues",
			  f) < 0)
		r = -1;
	return r;
}

int tcprepair_save(struct tcprepair *c, struct tcprepair_state *s, struct fault *f)
{
	memset(s, 0, sizeof(*s));
	if (c->local.sa.sa_family == AF_UNSPEC)
		return tcprepair_fault(c, f, -ENOTCONN, "it is not connected: there is no "
				       "connection to save");
	s->local = c->local;
	s->peer = c->peer;
	if (refuse_urgent(c, f) < 0 || read_options(c, s, f) < 0 || read_window(c, s, f) < 0 ||
	    read_lengths(c, s, f) < 0 || read_queues(c, s, f) < 0) {
		tcprepair_clear(s);
		return -1;
	}
	return 0;
}
