/* SPDX-License-Identifier: MIT */
/*
 * tcp_stream.c - tcp-stream-INO.img: a connection's numbers and queues, both directions.
 *
 * Rights:   the image directory.
 * Holds:    nothing.
 */
#include "workers/net/tcp_stream.h"

#include <errno.h>
#include <netinet/tcp.h>

#include "proto/control/util.h"
#include "proto/images/sockets.pb-c.h"

static void fill_entry(const struct tcprepair_state *s, TcpStreamEntry *e)
{
	tcp_stream_entry__init(e);
	e->inq_len = s->inq_len;
	e->inq_seq = s->inq_seq;
	e->outq_len = s->outq_len;
	e->outq_seq = s->outq_seq;
	e->has_unsq_len = true;
	e->unsq_len = s->unsq_len;
	e->opt_mask = s->opt_mask;
	e->mss_clamp = s->mss_clamp;
	e->snd_wscale = s->snd_wscale;
	e->has_rcv_wscale = (s->opt_mask & TCPI_OPT_WSCALE) != 0;
	e->rcv_wscale = s->rcv_wscale;
	e->has_timestamp = (s->opt_mask & TCPI_OPT_TIMESTAMPS) != 0;
	e->timestamp = s->timestamp;
	e->has_snd_wl1 = e->has_snd_wnd = e->has_max_window = s->has_window;
	e->has_rcv_wnd = e->has_rcv_wup = s->has_window;
	e->snd_wl1 = s->snd_wl1;
	e->snd_wnd = s->snd_wnd;
	e->max_window = s->max_window;
	e->rcv_wnd = s->rcv_wnd;
	e->rcv_wup = s->rcv_wup;
}

int tcp_stream_write(struct net *net, uint32_t ino, const struct tcprepair_state *s,
		     struct fault *f)
{
	AUTO_IMAGE struct image *img = image_create(net_image_dir(net), IMG_TCP_STREAM, ino, f);
	TcpStreamEntry e;

	fill_entry(s, &e);
	if (!img || image_write(img, &e.base, f) < 0 ||
	    (s->inq_len && image_write_data(img, s->inq, s->inq_len, f) < 0) ||
	    (s->outq_len && image_write_data(img, s->outq, s->outq_len, f) < 0))
		return -1;
	return image_close(&img, f);
}

static void take_entry(const TcpStreamEntry *e, struct tcprepair_state *s)
{
	s->inq_len = e->inq_len;
	s->inq_seq = e->inq_seq;
	s->outq_len = e->outq_len;
	s->outq_seq = e->outq_seq;
	s->unsq_len = e->unsq_len;
	s->opt_mask = e->opt_mask;
	s->mss_clamp = e->mss_clamp;
	s->snd_wscale = e->snd_wscale;
	s->rcv_wscale = e->rcv_wscale;
	s->timestamp = e->timestamp;
	s->has_window = e->has_snd_wnd;
	s->snd_wl1 = e->snd_wl1;
	s->snd_wnd = e->snd_wnd;
	s->max_window = e->max_window;
	s->rcv_wnd = e->rcv_wnd;
	s->rcv_wup = e->rcv_wup;
}

static int check_entry(const TcpStreamEntry *e, const struct image *img, struct fault *f)
{
	uint64_t bytes = (uint64_t)e->inq_len + e->outq_len;

	if (bytes > image_left(img))
		return fault(f, -EBADMSG, "%s: its queues should hold %lu bytes, but %lu are there",
			     image_label(img), (unsigned long)bytes,
			     (unsigned long)image_left(img));
	if (!e->has_unsq_len || ((e->opt_mask & TCPI_OPT_WSCALE) && !e->has_rcv_wscale) ||
	    ((e->opt_mask & TCPI_OPT_TIMESTAMPS) && !e->has_timestamp))
		return fault(f, -EBADMSG, "%s: a number of the connection is missing",
			     image_label(img));
	return 0;
}

static int read_queue(struct image *img, uint32_t len, unsigned char **bytes, struct fault *f)
{
	if (!len)
		return 0;
	*bytes = xcalloc(1, len);
	return image_read_data(img, *bytes, len, f);
}

int tcp_stream_read(struct net *net, uint32_t ino, struct tcprepair_state *s, struct fault *f)
{
	AUTO_IMAGE struct image *img =
		image_open_optional(net_image_dir(net), IMG_TCP_STREAM, ino, f);
	AUTO_MSG ProtobufCMessage *msg = NULL;

	if (!img)
		return f->code ? -1 : 0;
	if (image_read_one(img, &msg, f) < 0 || check_entry((TcpStreamEntry *)msg, img, f) < 0)
		return -1;
	take_entry((TcpStreamEntry *)msg, s);
	if (read_queue(img, s->inq_len, &s->inq, f) < 0 ||
	    read_queue(img, s->outq_len, &s->outq, f) < 0)
		return -1;
	return 1;
}
