/* SPDX-License-Identifier: MIT */
/*
 * tun_net.c - what the network knows of a tun or tap device: it goes when the device goes.
 *
 * Addresses and routes are kept as the kernel tells them (rtnetlink, ifaddrmsg or rtmsg with
 * attributes) and given back like that; only the device's index is put in anew, so that an image
 * can touch no other device. Routes that the kernel makes itself are left to it.
 *
 * Rights:   CAP_NET_ADMIN.
 * Holds:    nothing.
 */
#include "workers/files/tun_net.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "proto/control/util.h"

#define IF_FLAGS (IFF_UP | IFF_NOARP | IFF_PROMISC | IFF_ALLMULTI | IFF_MULTICAST)
#define ANSWER_MAX 65536
#define RECORD_MAX 4096			/* bytes of one address or route */

struct request {
	struct nlmsghdr h;
	char body[RECORD_MAX];
};

static int open_netlink(struct fault *f)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	return fd < 0 ? fault(f, errno, "open rtnetlink") : fd;
}

/* The attribute of that type behind the fixed part of a record; the last, which counts; NULL. */
static struct rtattr *attribute(void *body, size_t len, size_t fixed, unsigned type)
{
	struct rtattr *a = (void *)((char *)body + NLMSG_ALIGN(fixed));
	int left = (int)len - (int)NLMSG_ALIGN(fixed);	/* RTA_NEXT may bring it below 0 */
	struct rtattr *found = NULL;

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if ((a->rta_type & NLA_TYPE_MASK) == type)
			found = a;
	return found;
}

static bool is_route_of(void *body, size_t len, int index)
{
	const struct rtmsg *m = body;
	struct rtattr *out = attribute(body, len, sizeof(*m), RTA_OIF);

	return out && RTA_PAYLOAD(out) == sizeof(int) && *(int *)RTA_DATA(out) == index &&
	       m->rtm_protocol != RTPROT_KERNEL && !(m->rtm_flags & RTM_F_CLONED) &&
	       (m->rtm_type == RTN_UNICAST || m->rtm_type == RTN_MULTICAST);
}

static bool is_address_of(void *body, size_t len, int index)
{
	return len >= sizeof(struct ifaddrmsg) &&
	       ((struct ifaddrmsg *)body)->ifa_index == (unsigned)index;
}

static void add_record(ProtobufCBinaryData **list, size_t *n, const void *body, size_t len)
{
	ProtobufCBinaryData *r;

	*list = xrealloc(*list, *n + 1, sizeof(**list));
	r = &(*list)[(*n)++];
	r->data = memcpy(xcalloc(len, 1), body, len);
	r->len = len;
}

/* One answer of a listing: 1 when more will come. */
static int take_answer(TunDevice *d, char *buf, ssize_t got, struct fault *f)
{
	struct nlmsghdr *h = (void *)buf;

	for (; NLMSG_OK(h, got); h = NLMSG_NEXT(h, got)) {
		void *body = NLMSG_DATA(h);
		size_t len = NLMSG_PAYLOAD(h, 0);

		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return fault(f, EIO, "list addresses and routes of %s", d->name);
		if (len > RECORD_MAX)
			continue;
		if (h->nlmsg_type == RTM_NEWADDR && is_address_of(body, len, d->ifindex))
			add_record(&d->address, &d->n_address, body, len);
		if (h->nlmsg_type == RTM_NEWROUTE && is_route_of(body, len, d->ifindex))
			add_record(&d->route, &d->n_route, body, len);
	}
	return 1;
}

static int list(TunDevice *d, int fd, int type, struct fault *f)
{
	AUTO_FREE char *buf = xcalloc(ANSWER_MAX, 1);
	struct {
		struct nlmsghdr h;
		struct rtgenmsg g;
	} req = { .h = { .nlmsg_len = sizeof(req), .nlmsg_type = type,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };
	ssize_t got;
	int more = 1;

	if (send(fd, &req, sizeof(req), 0) < 0)
		return fault(f, errno, "ask for addresses and routes of %s", d->name);
	while (more > 0) {
		got = recv(fd, buf, ANSWER_MAX, 0);
		if (got <= 0)
			return fault(f, errno, "list addresses and routes of %s", d->name);
		more = take_answer(d, buf, got, f);
	}
	return more;
}

static struct ifreq request_for(const char *name)
{
	struct ifreq r = { 0 };

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	return r;
}

int tun_net_read(TunDevice *d, struct fault *f)
{
	AUTO_CLOSE int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), nl = open_netlink(f);
	struct ifreq r = request_for(d->name);

	if (sock < 0 || nl < 0)
		return f->code ? -1 : fault(f, errno, "make a socket");
	if (ioctl(sock, SIOCGIFINDEX, &r) < 0)
		return fault(f, errno, "ask the index of the device %s", d->name);
	d->ifindex = r.ifr_ifindex;
	if (ioctl(sock, SIOCGIFFLAGS, &r) < 0)
		return fault(f, errno, "ask the flags of the device %s", d->name);
	d->if_flags = (unsigned short)r.ifr_flags & IF_FLAGS;
	if (ioctl(sock, SIOCGIFMTU, &r) < 0)
		return fault(f, errno, "ask the MTU of the device %s", d->name);
	d->mtu = r.ifr_mtu;
	if (ioctl(sock, SIOCGIFHWADDR, &r) < 0)
		return fault(f, errno, "ask the address of the device %s", d->name);
	d->hwaddr.data = memcpy(xcalloc(1, sizeof(r.ifr_hwaddr)), &r.ifr_hwaddr,
				sizeof(r.ifr_hwaddr));
	d->hwaddr.len = sizeof(r.ifr_hwaddr);
	return list(d, nl, RTM_GETADDR, f) < 0 || list(d, nl, RTM_GETROUTE, f) < 0 ? -1 : 0;
}

void tun_net_free(TunDevice *d)
{
	size_t i;

	for (i = 0; i < d->n_address; i++)
		free(d->address[i].data);
	for (i = 0; i < d->n_route; i++)
		free(d->route[i].data);
	free(d->address);
	free(d->route);
	free(d->hwaddr.data);
}

/* Send one record and read the verdict. An address or route that is there already is fine. */
static int replay(int fd, struct request *q, int type, const char *name, struct fault *f)
{
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
		char more[RECORD_MAX];
	} answer;
	ssize_t got;

	q->h.nlmsg_type = type;
	q->h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
	if (send(fd, q, q->h.nlmsg_len, 0) < 0)
		return fault(f, errno, "send an address or route of %s", name);
	got = recv(fd, &answer, sizeof(answer), 0);
	if (got < (ssize_t)NLMSG_LENGTH(sizeof(int)) || answer.h.nlmsg_type != NLMSG_ERROR)
		return fault(f, EIO, "no verdict about an address or route of %s", name);
	if (answer.e.error && answer.e.error != -EEXIST)
		return fault(f, -answer.e.error, "give the device %s an %s again", name,
			     type == RTM_NEWADDR ? "address" : "a route");
	return 0;
}

static bool load_record(struct request *q, const ProtobufCBinaryData *r, size_t fixed)
{
	if (r->len < NLMSG_ALIGN(fixed) || r->len > RECORD_MAX)
		return false;
	*q = (struct request){ .h = { .nlmsg_len = NLMSG_LENGTH(r->len) } };
	memcpy(NLMSG_DATA(&q->h), r->data, r->len);
	return true;
}

static int replay_address(int fd, const TunDevice *d, const ProtobufCBinaryData *r, int index,
			  struct fault *f)
{
	struct request q;

	if (!load_record(&q, r, sizeof(struct ifaddrmsg)))
		return fault(f, -EBADMSG, "files.img: device %s: an address of %zu bytes", d->name,
			     r->len);
	((struct ifaddrmsg *)NLMSG_DATA(&q.h))->ifa_index = index;
	return replay(fd, &q, RTM_NEWADDR, d->name, f);
}

static int replay_route(int fd, const TunDevice *d, const ProtobufCBinaryData *r, int index,
			struct fault *f)
{
	struct rtattr *out;
	struct request q;

	if (!load_record(&q, r, sizeof(struct rtmsg)))
		return fault(f, -EBADMSG, "files.img: device %s: a route of %zu bytes", d->name,
			     r->len);
	out = attribute(NLMSG_DATA(&q.h), r->len, sizeof(struct rtmsg), RTA_OIF);
	if (!out || RTA_PAYLOAD(out) != sizeof(int) ||
	    attribute(NLMSG_DATA(&q.h), r->len, sizeof(struct rtmsg), RTA_MULTIPATH))
		return fault(f, -EBADMSG, "files.img: device %s: a route that is not its own",
			     d->name);
	*(int *)RTA_DATA(out) = index;
	return replay(fd, &q, RTM_NEWROUTE, d->name, f);
}

int tun_net_apply(const TunDevice *d, struct fault *f)
{
	AUTO_CLOSE int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), nl = open_netlink(f);
	struct ifreq r = request_for(d->name);
	int index;
	size_t i;

	if (sock < 0 || nl < 0)
		return f->code ? -1 : fault(f, errno, "make a socket");
	if (ioctl(sock, SIOCGIFINDEX, &r) < 0)
		return fault(f, errno, "ask the index of the device %s", d->name);
	index = r.ifr_ifindex;
	r.ifr_mtu = d->mtu;
	if (ioctl(sock, SIOCSIFMTU, &r) < 0)
		return fault(f, errno, "give the device %s the MTU %u", d->name, d->mtu);
	memcpy(&r.ifr_hwaddr, d->hwaddr.data, sizeof(r.ifr_hwaddr));
	if ((d->tun->flags & IFF_TAP) && ioctl(sock, SIOCSIFHWADDR, &r) < 0)
		return fault(f, errno, "give the device %s its address", d->name);
	r.ifr_flags = d->if_flags & IF_FLAGS;
	if (ioctl(sock, SIOCSIFFLAGS, &r) < 0)
		return fault(f, errno, "give the device %s the flags %#x", d->name, d->if_flags);
	for (i = 0; i < d->n_address; i++)
		if (replay_address(nl, d, &d->address[i], index, f) < 0)
			return -1;
	for (i = 0; i < d->n_route; i++)
		if (replay_route(nl, d, &d->route[i], index, f) < 0)
			return -1;
	return 0;
}
