/* SPDX-License-Identifier: MIT */
/*
 * restore.c - make a fresh socket in repair mode the connection that was saved.
 *
 * Rights:   those of the handle; CAP_NET_RAW where the peer's FIN has to arrive again.
 * Holds:    nothing.
 * Order: bind, sequence numbers (the kernel takes them in TCP_CLOSE only), connect (no packet in
 * repair mode), options (only before a byte is sent), queues, FINs, windows. The send window is 0
 * until the end, so that unsent data stays unsent while repair mode is off for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>

#include "proto/control/util.h"
#include "workers/net/tcprepair/handle.h"
#include "workers/net/tcprepair/inject.h"

#define CHUNK 65536u		/* one skb of a repaired receive queue: 17 pages at most */
#define CHUNK_MIN 4096u
#define BUF_SLACK 262144u
#define RCV_ROOM 65536u
#define USER_MSS_MIN 88u	/* limits of TCP_MAXSEG */
#define USER_MSS_MAX 32767u
#define MSS_DEFAULT 536u
#define SETTLE_MS 1000

/* What tcprepair_restore works on. */
struct restore {
	struct tcprepair *c;
	const struct tcprepair_state *s;
	uint32_t mark;
};

static int get_int(int fd, int level, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, option, &value, &len) < 0 ? 0 : value;
}

/*
 * Make one buffer large enough for what must fit in at once. Setting a size stops the kernel
 * from adapting it; SO_BUF_LOCK (5.14) lets it go on.
 */
static int grow_buffer(const struct restore *r, bool receive, uint64_t need, struct fault *f)
{
	int fd = r->c->fd, lock = get_int(fd, SOL_SOCKET, SO_BUF_LOCK);
	uint64_t want = need + BUF_SLACK;

	if ((uint64_t)get_int(fd, SOL_SOCKET, receive ? SO_RCVBUF : SO_SNDBUF) >= 2 * want)
		return 0;
	if (want > INT_MAX / 2)
		want = INT_MAX / 2;
	if (tcprepair_set(r->c, SOL_SOCKET, receive ? SO_RCVBUFFORCE : SO_SNDBUFFORCE, want,
			  "make room for its queues", f) < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &lock, sizeof(lock));
	return 0;
}

static int set_sequence(const struct restore *r, int queue, uint32_t seq, struct fault *f)
{
	if (tcprepair_set(r->c, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue, "select a queue", f) < 0)
		return -1;
	return tcprepair_set(r->c, IPPROTO_TCP, TCP_QUEUE_SEQ, seq, "set a sequence number", f);
}

/* The numbers before the first byte of each queue; a SYN or FIN to come takes one more. */
static int set_sequences(const struct restore *r, struct fault *f)
{
	const struct tcprepair_state *s = r->s;
	uint32_t in = s->inq_seq - s->inq_len - tcprepair_got_fin(s->state);
	uint32_t out = s->outq_seq - s->outq_len - tcprepair_sent_fin(s->state);

	out -= s->state == TCP_SYN_SENT;
	if (set_sequence(r, TCP_RECV_QUEUE, in, f) < 0 ||
	    set_sequence(r, TCP_SEND_QUEUE, out, f) < 0)
		return -1;
	return tcprepair_set(r->c, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_NO_QUEUE,
			     "leave its queues", f);
}

static int bind_local(const struct restore *r, struct fault *f)
{
	const union tcprepair_addr *a = &r->c->local;

	if (!bind(r->c->fd, &a->sa, tcprepair_addr_len(a)))
		return 0;
	if (errno == EADDRNOTAVAIL)
		return tcprepair_fault(r->c, f, -EADDRNOTAVAIL, "its local address is not on this "
				       "machine; add it to a device, or map the connection to "
				       "another address");
	if (errno == EADDRINUSE)
		return tcprepair_fault(r->c, f, -EADDRINUSE, "another program holds its local "
				       "port; stop that, or map the connection to another port");
	return tcprepair_fault(r->c, f, errno, "could not bind its local address");
}

static int connect_failed(const struct restore *r, struct fault *f)
{
	if (errno == EADDRNOTAVAIL || errno == EADDRINUSE)
		return tcprepair_fault(r->c, f, -errno, "it exists already; end the program that "
				       "holds it, or map the connection to another address");
	if (errno == ENETUNREACH || errno == EHOSTUNREACH)
		return tcprepair_fault(r->c, f, errno, "there is no route to the peer; set the "
				       "network up first");
	return tcprepair_fault(r->c, f, errno, "could not connect");
}

/*
 * The size that TCP_MAXSEG should have during connect: what was agreed, and as the kernel does,
 * at most half of the largest window that the peer ever offered.
 */
static uint32_t segment_size(const struct tcprepair_state *s)
{
	uint32_t mss = s->mss_clamp;

	if (mss > USER_MSS_MAX)
		mss = USER_MSS_MAX;
	if (s->has_window && s->max_window > MSS_DEFAULT && mss > s->max_window / 2)
		mss = s->max_window / 2;
	return mss;
}

/*
 * Connect without a packet. The kernel computes the size of its segments here, from 536 unless
 * TCP_MAXSEG says more, and TCP_REPAIR_OPTIONS later does not make it compute again: without
 * the detour over TCP_MAXSEG segments are small until the peer offers a larger window than ever.
 */
static int connect_repaired(const struct restore *r, struct fault *f)
{
	const union tcprepair_addr *a = &r->c->peer;
	uint32_t mss = segment_size(r->s);

	if (mss >= USER_MSS_MIN &&
	    tcprepair_set(r->c, IPPROTO_TCP, TCP_MAXSEG, mss, "set the segment size", f) < 0)
		return -1;
	if (connect(r->c->fd, &a->sa, tcprepair_addr_len(a)) < 0)
		return connect_failed(r, f);
	return tcprepair_set(r->c, IPPROTO_TCP, TCP_MAXSEG, 0, "release the segment size", f);
}

/*
 * SYN_SENT: the same SYN is sent anew, with the same number. From here on the socket is an
 * ordinary one: nothing is left to repair, and its close() sends nothing either.
 */
static int connect_again(const struct restore *r, struct fault *f)
{
	const union tcprepair_addr *a = &r->c->peer;
	int flags = fcntl(r->c->fd, F_GETFL), e = 0;

	if (tcprepair_switch(r->c, TCP_REPAIR_OFF_NO_WP, f) < 0)
		return -1;
	if (flags < 0 || fcntl(r->c->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return tcprepair_fault(r->c, f, errno, "could not make the socket nonblocking");
	if (connect(r->c->fd, &a->sa, tcprepair_addr_len(a)) < 0 && errno != EINPROGRESS)
		e = errno;
	fcntl(r->c->fd, F_SETFL, flags);
	errno = e;
	return e ? connect_failed(r, f) : 0;
}

static int set_options(const struct restore *r, struct fault *f)
{
	const struct tcprepair_state *s = r->s;
	struct tcp_repair_opt opts[4];
	int n = 0;

	if (s->opt_mask & TCPI_OPT_SACK)
		opts[n++] = (struct tcp_repair_opt){ TCPOPT_SACK_PERMITTED, 0 };
	if (s->opt_mask & TCPI_OPT_WSCALE)
		opts[n++] = (struct tcp_repair_opt){ TCPOPT_WINDOW,
						     s->snd_wscale | s->rcv_wscale << 16 };
	if (s->opt_mask & TCPI_OPT_TIMESTAMPS)
		opts[n++] = (struct tcp_repair_opt){ TCPOPT_TIMESTAMP, 0 };
	opts[n++] = (struct tcp_repair_opt){ TCPOPT_MAXSEG, s->mss_clamp };
	if (setsockopt(r->c->fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, opts, n * sizeof(opts[0])) < 0)
		return tcprepair_fault(r->c, f, errno, "could not set its TCP options");
	if (!(s->opt_mask & TCPI_OPT_TIMESTAMPS))
		return 0;
	return tcprepair_set(r->c, IPPROTO_TCP, TCP_TIMESTAMP, s->timestamp, "set its timestamp",
			     f);
}

/* Write to the selected queue. Smaller pieces when the kernel finds no memory for a large one. */
static int put_bytes(const struct restore *r, const unsigned char *p, uint32_t len, struct fault *f)
{
	uint32_t chunk = CHUNK;
	ssize_t n;

	while (len) {
		n = send(r->c->fd, p, len < chunk ? len : chunk, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			p += n;
			len -= n;
		} else if (chunk > CHUNK_MIN) {
			chunk /= 2;
		} else {
			return tcprepair_fault(r->c, f, errno, "could not put the data of its "
					       "queues back (is net.ipv4.tcp_mem too small?)");
		}
	}
	return 0;
}

static int put_queue(const struct restore *r, int queue, const unsigned char *p, uint32_t len,
		     struct fault *f)
{
	if (!len)
		return 0;
	if (tcprepair_set(r->c, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue, "select a queue", f) < 0 ||
	    put_bytes(r, p, len, f) < 0)
		return -1;
	return tcprepair_set(r->c, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_NO_QUEUE,
			     "leave its queues", f);
}

static int set_window(const struct restore *r, const struct tcp_repair_window *w, struct fault *f)
{
	if (setsockopt(r->c->fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, w, sizeof(*w)) < 0)
		return tcprepair_fault(r->c, f, errno, "could not set its windows");
	return 0;
}

/* Nothing may go out, and there is room for the peer's FIN. */
static int set_waiting_window(const struct restore *r, struct fault *f)
{
	uint32_t next = r->s->inq_seq - tcprepair_got_fin(r->s->state);
	struct tcp_repair_window w = { .snd_wl1 = next, .rcv_wup = next, .rcv_wnd = RCV_ROOM };

	return set_window(r, &w, f);
}

/*
 * The windows as saved. An image without them (CRIU on a kernel before 4.8) gets one segment in
 * each direction; the next packet of the peer tells more.
 */
static int set_saved_window(const struct restore *r, struct fault *f)
{
	const struct tcprepair_state *s = r->s;
	struct tcp_repair_window w = { .snd_wl1 = s->inq_seq, .rcv_wup = s->inq_seq,
				       .snd_wnd = s->mss_clamp, .max_window = s->mss_clamp,
				       .rcv_wnd = RCV_ROOM };

	if (s->has_window)
		w = (struct tcp_repair_window){ .snd_wl1 = s->snd_wl1, .snd_wnd = s->snd_wnd,
						.max_window = s->max_window,
						.rcv_wnd = s->rcv_wnd, .rcv_wup = s->rcv_wup };
	return set_window(r, &w, f);
}

/* Unsent data is written as any program does: it waits for the window. */
static int put_unsent(const struct restore *r, struct fault *f)
{
	const struct tcprepair_state *s = r->s;

	if (!s->unsq_len)
		return 0;
	if (tcprepair_switch(r->c, TCP_REPAIR_OFF_NO_WP, f) < 0 ||
	    put_bytes(r, s->outq + (s->outq_len - s->unsq_len), s->unsq_len, f) < 0)
		return -1;
	return tcprepair_switch(r->c, TCP_REPAIR_ON, f);
}

/*
 * Wait until the kernel has the socket in the given state: the loopback device has a queue. A
 * closed one gets into no other.
 */
static int await_state(const struct restore *r, uint32_t state, struct fault *f)
{
	char text[200];
	uint32_t now;
	int ms;

	for (ms = 0; (now = tcprepair_now(r->c)) != state && now != TCP_CLOSE && ms < SETTLE_MS;
	     ms++)
		poll(NULL, 0, 1);
	if (now == state)
		return 0;
	snprintf(text, sizeof(text), "it is %s instead of %s: the segment that should have "
		 "closed it did not arrive; let packets with mark %#x pass on the loopback device",
		 tcprepair_state_name(now), tcprepair_state_name(state), r->mark);
	return tcprepair_fault(r->c, f, -EPROTO, text);
}

/* One segment of the peer; then the socket must be in the state named. */
static int receive(const struct restore *r, bool fin, uint32_t ack, uint32_t state, struct fault *f)
{
	const struct tcprepair_state *s = r->s;
	struct tcprepair_segment g = {
		.local = &r->c->local,
		.peer = &r->c->peer,
		.seq = s->inq_seq - (fin ? 1 : 0),
		.ack = ack,
		.fin = fin,
		.mark = r->mark,
		.ifindex = get_int(r->c->fd, SOL_SOCKET, SO_BINDTOIFINDEX),
	};

	if (tcprepair_inject(&g, f) < 0)
		return -1;
	return await_state(r, state, f);
}

/*
 * Our FIN. It goes behind unsent data unsent; otherwise it was sent, and shutdown() with the send
 * queue selected accounts for it without a packet.
 */
static int close_ours(const struct restore *r, struct fault *f)
{
	int queue = r->s->unsq_len ? TCP_NO_QUEUE : TCP_SEND_QUEUE;

	if (tcprepair_set(r->c, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue, "select a queue", f) < 0)
		return -1;
	if (shutdown(r->c->fd, SHUT_WR) < 0)
		return tcprepair_fault(r->c, f, errno, "could not close its sending side");
	return tcprepair_set(r->c, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_NO_QUEUE,
			     "leave its queues", f);
}

/* The FINs in the order in which this state got them. */
static int exchange_fins(const struct restore *r, struct fault *f)
{
	const struct tcprepair_state *s = r->s;
	uint32_t state = s->state, una = s->outq_seq - s->outq_len - tcprepair_sent_fin(state);
	bool peer_first = state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK || state == TCP_CLOSE;

	if (peer_first && receive(r, true, una, TCP_CLOSE_WAIT, f) < 0)
		return -1;
	if (tcprepair_sent_fin(state) && close_ours(r, f) < 0)
		return -1;
	if (state == TCP_CLOSING)
		return receive(r, true, una, TCP_CLOSING, f);
	if (state == TCP_FIN_WAIT2 || state == TCP_CLOSE)
		return receive(r, false, s->outq_seq, state, f);
	return 0;
}

/*
 * The network of a connection that is to be closed is not blocked: whoever has the peer's port now
 * may answer our acknowledgement by a reset, which closes it earlier, with an error that is none.
 */
static int put_fins(const struct restore *r, struct fault *f)
{
	if (exchange_fins(r, f) == 0)
		return 0;
	if (r->s->state != TCP_CLOSE || tcprepair_now(r->c) != TCP_CLOSE)
		return -1;
	*f = (struct fault){ 0 };
	get_int(r->c->fd, SOL_SOCKET, SO_ERROR);
	return 0;
}

/* Bind, numbers, connect, options: an established connection with empty queues. */
static int establish(const struct restore *r, struct fault *f)
{
	const struct tcprepair_state *s = r->s;

	if (grow_buffer(r, true, (uint64_t)s->inq_len + (s->has_window ? s->rcv_wnd : 0), f) < 0 ||
	    grow_buffer(r, false, s->outq_len, f) < 0 ||
	    bind_local(r, f) < 0 || set_sequences(r, f) < 0)
		return -1;
	if (s->state == TCP_SYN_SENT)
		return connect_again(r, f);
	if (connect_repaired(r, f) < 0)
		return -1;
	return set_options(r, f);
}

/* The local port of a socket in TCP_CLOSE was the kernel's choice: learn it. */
static int learn_local(struct tcprepair *c, struct fault *f)
{
	socklen_t len = sizeof(c->local);

	if (getsockname(c->fd, &c->local.sa, &len) < 0)
		return tcprepair_fault(c, f, errno, "could not read the local address");
	return 0;
}

int tcprepair_restore(struct tcprepair *c, const struct tcprepair_state *s,
		      const struct tcprepair_how *how, struct fault *f)
{
	struct restore r = { .c = c, .s = s, .mark = TCPREPAIR_MARK };

	if (tcprepair_check(s, f) < 0)
		return -1;
	if (c->local.sa.sa_family != AF_UNSPEC || c->state != TCP_CLOSE)
		return tcprepair_fault(c, f, -EISCONN, "the socket is in use; a connection is "
				       "restored into a fresh one");
	c->local = s->local;
	c->peer = s->peer;
	if (how && how->mark)
		r.mark = how->mark;
	if (how && how->map) {
		how->map(how->ctx, true, &c->local);
		how->map(how->ctx, false, &c->peer);
	}
	if (establish(&r, f) < 0)
		return -1;
	if (s->state == TCP_SYN_SENT)
		return 0;
	if (put_queue(&r, TCP_RECV_QUEUE, s->inq, s->inq_len, f) < 0 ||
	    put_queue(&r, TCP_SEND_QUEUE, s->outq, s->outq_len - s->unsq_len, f) < 0 ||
	    set_waiting_window(&r, f) < 0 || put_unsent(&r, f) < 0 ||
	    learn_local(c, f) < 0 || put_fins(&r, f) < 0)
		return -1;
	return s->state == TCP_CLOSE ? 0 : set_saved_window(&r, f);
}
