/* SPDX-License-Identifier: MIT */
/*
 * nft.c - batches for nf_tables, as far as a network lock needs them.
 *
 * Spoken directly: libnftables would cost every run its start and parse a line for each connection,
 * and what undoes a lock must be one system call (netlock.c).
 *
 * Rights:   CAP_NET_ADMIN, in nft_commit.
 * Holds:    a batch.
 */
#include "workers/net/nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"

#define ELEMENTS 1000		/* in a message: the length of an attribute has 16 bits */
#define TYPE_SERVICE 13		/* nft's numbers of data types, 6 bits each: for nft list */
#define TYPE_IPV4 7
#define TYPE_IPV6 8
#define ANSWER 8192

struct nft {
	unsigned char *buf;
	size_t len, cap;
	size_t message, end;		/* where the current and the last message begin */
	uint32_t seq;
};

static void *room(struct nft *b, size_t size)
{
	void *p;

	while (b->len + NLMSG_ALIGN(size) > b->cap) {
		b->cap = b->cap ? 2 * b->cap : 4096;
		b->buf = xrealloc(b->buf, b->cap, 1);
	}
	p = b->buf + b->len;
	memset(p, 0, NLMSG_ALIGN(size));
	b->len += NLMSG_ALIGN(size);
	return p;
}

static void message(struct nft *b, uint16_t type, uint16_t flags, uint8_t family,
		    uint16_t subsystem)
{
	struct nlmsghdr *h;
	struct nfgenmsg *g;

	b->message = b->len;
	h = room(b, sizeof(*h));
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	h->nlmsg_seq = ++b->seq;
	g = room(b, sizeof(*g));
	g->nfgen_family = family;
	g->res_id = htons(subsystem);
}

static void seal(struct nft *b)
{
	((struct nlmsghdr *)(b->buf + b->message))->nlmsg_len = b->len - b->message;
}

static void command(struct nft *b, int type, uint16_t flags)
{
	message(b, NFNL_SUBSYS_NFTABLES << 8 | type, flags, NFPROTO_INET, 0);
}

static void put(struct nft *b, uint16_t type, const void *data, size_t size)
{
	struct nlattr *a = room(b, NLA_HDRLEN + size);

	a->nla_type = type;
	a->nla_len = NLA_HDRLEN + size;
	memcpy((char *)a + NLA_HDRLEN, data, size);
}

static void put_text(struct nft *b, uint16_t type, const char *text)
{
	put(b, type, text, strlen(text) + 1);
}

static void put_number(struct nft *b, uint16_t type, uint32_t value)
{
	value = htonl(value);
	put(b, type, &value, sizeof(value));
}

/* An attribute that holds attributes: what is put until close() belongs to it. */
static size_t open_nest(struct nft *b, uint16_t type)
{
	size_t at = b->len;
	struct nlattr *a = room(b, NLA_HDRLEN);

	a->nla_type = type | NLA_F_NESTED;
	return at;
}

static void close_nest(struct nft *b, size_t at)
{
	((struct nlattr *)(b->buf + at))->nla_len = b->len - at;
}

struct nft *nft_begin(void)
{
	struct nft *b = xcalloc(1, sizeof(*b));

	message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	seal(b);
	return b;
}

void nft_free(struct nft *b)
{
	if (!b)
		return;
	free(b->buf);
	free(b);
}

void nft_auto(struct nft **b)
{
	nft_free(*b);
}

void nft_table(struct nft *b, const char *table)
{
	command(b, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
	put_text(b, NFTA_TABLE_NAME, table);
	put_number(b, NFTA_TABLE_FLAGS, 0);
	seal(b);
}

void nft_delete_table(struct nft *b, const char *table)
{
	command(b, NFT_MSG_DELTABLE, 0);
	put_text(b, NFTA_TABLE_NAME, table);
	seal(b);
}

size_t nft_key_size(size_t bytes)
{
	return 2 * bytes + 2 * sizeof(uint32_t);
}

/* Every part of a key starts at a multiple of 4. */
void nft_key(unsigned char *key, size_t bytes, const void *from, uint16_t from_port, const void *to,
	     uint16_t to_port)
{
	memset(key, 0, nft_key_size(bytes));
	memcpy(key, from, bytes);
	memcpy(key + bytes, &from_port, sizeof(from_port));
	memcpy(key + bytes + 4, to, bytes);
	memcpy(key + 2 * bytes + 4, &to_port, sizeof(to_port));
}

void nft_connections(struct nft *b, const char *table, const char *set, uint32_t id, size_t bytes)
{
	uint32_t address = bytes == 4 ? TYPE_IPV4 : TYPE_IPV6;

	command(b, NFT_MSG_NEWSET, NLM_F_CREATE);
	put_text(b, NFTA_SET_TABLE, table);
	put_text(b, NFTA_SET_NAME, set);
	put_number(b, NFTA_SET_FLAGS, 0);
	put_number(b, NFTA_SET_KEY_TYPE,
		   address << 18 | TYPE_SERVICE << 12 | address << 6 | TYPE_SERVICE);
	put_number(b, NFTA_SET_KEY_LEN, nft_key_size(bytes));
	put_number(b, NFTA_SET_ID, id);
	seal(b);
}

void nft_chain(struct nft *b, const char *table, const char *chain, enum nft_hook hook)
{
	size_t at;

	command(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	put_text(b, NFTA_CHAIN_TABLE, table);
	put_text(b, NFTA_CHAIN_NAME, chain);
	at = open_nest(b, NFTA_CHAIN_HOOK);
	put_number(b, NFTA_HOOK_HOOKNUM, hook);
	put_number(b, NFTA_HOOK_PRIORITY, 0);
	close_nest(b, at);
	put_text(b, NFTA_CHAIN_TYPE, "filter");
	seal(b);
}

/* ---- rules: expressions that load into registers, compare them, decide ---- */

struct expression {
	size_t element, data;
};

static struct expression begin_expression(struct nft *b, const char *name)
{
	struct expression x = { .element = open_nest(b, NFTA_LIST_ELEM) };

	put_text(b, NFTA_EXPR_NAME, name);
	x.data = open_nest(b, NFTA_EXPR_DATA);
	return x;
}

static void end_expression(struct nft *b, struct expression x)
{
	close_nest(b, x.data);
	close_nest(b, x.element);
}

static void load_meta(struct nft *b, uint32_t key)
{
	struct expression x = begin_expression(b, "meta");

	put_number(b, NFTA_META_KEY, key);
	put_number(b, NFTA_META_DREG, NFT_REG_1);
	end_expression(b, x);
}

static void must_equal(struct nft *b, const void *value, size_t size)
{
	struct expression x = begin_expression(b, "cmp");
	size_t at;

	put_number(b, NFTA_CMP_SREG, NFT_REG_1);
	put_number(b, NFTA_CMP_OP, NFT_CMP_EQ);
	at = open_nest(b, NFTA_CMP_DATA);
	put(b, NFTA_DATA_VALUE, value, size);
	close_nest(b, at);
	end_expression(b, x);
}

static void decide(struct nft *b, uint32_t verdict)
{
	struct expression x = begin_expression(b, "immediate");
	size_t at, inner;

	put_number(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	at = open_nest(b, NFTA_IMMEDIATE_DATA);
	inner = open_nest(b, NFTA_DATA_VERDICT);
	put_number(b, NFTA_VERDICT_CODE, verdict);
	close_nest(b, inner);
	close_nest(b, at);
	end_expression(b, x);
}

/* slot: which 4 bytes of the registers it begins at. */
static void load_packet(struct nft *b, uint32_t base, uint32_t offset, uint32_t len, uint32_t slot)
{
	struct expression x = begin_expression(b, "payload");

	put_number(b, NFTA_PAYLOAD_DREG, NFT_REG32_00 + slot);
	put_number(b, NFTA_PAYLOAD_BASE, base);
	put_number(b, NFTA_PAYLOAD_OFFSET, offset);
	put_number(b, NFTA_PAYLOAD_LEN, len);
	end_expression(b, x);
}

static void must_be_in(struct nft *b, const char *set, uint32_t id)
{
	struct expression x = begin_expression(b, "lookup");

	put_text(b, NFTA_LOOKUP_SET, set);
	put_number(b, NFTA_LOOKUP_SREG, NFT_REG32_00);
	put_number(b, NFTA_LOOKUP_SET_ID, id);
	end_expression(b, x);
}

static size_t begin_rule(struct nft *b, const char *table, const char *chain)
{
	command(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	put_text(b, NFTA_RULE_TABLE, table);
	put_text(b, NFTA_RULE_CHAIN, chain);
	return open_nest(b, NFTA_RULE_EXPRESSIONS);
}

static void end_rule(struct nft *b, size_t at)
{
	close_nest(b, at);
	seal(b);
}

void nft_accept_mark(struct nft *b, const char *table, const char *chain, uint32_t mark)
{
	size_t at = begin_rule(b, table, chain);

	load_meta(b, NFT_META_MARK);
	must_equal(b, &mark, sizeof(mark));
	decide(b, NF_ACCEPT);
	end_rule(b, at);
}

void nft_drop_connections(struct nft *b, const char *table, const char *chain, const char *set,
			  uint32_t id, size_t bytes)
{
	const uint8_t family = bytes == 4 ? NFPROTO_IPV4 : NFPROTO_IPV6, tcp = IPPROTO_TCP;
	uint32_t from = bytes == 4 ? 12 : 8, words = bytes / 4;
	size_t at = begin_rule(b, table, chain);

	load_meta(b, NFT_META_NFPROTO);
	must_equal(b, &family, sizeof(family));
	load_meta(b, NFT_META_L4PROTO);
	must_equal(b, &tcp, sizeof(tcp));
	load_packet(b, NFT_PAYLOAD_NETWORK_HEADER, from, bytes, 0);
	load_packet(b, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2, words);
	load_packet(b, NFT_PAYLOAD_NETWORK_HEADER, from + bytes, bytes, words + 1);
	load_packet(b, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 2 * words + 1);
	must_be_in(b, set, id);
	decide(b, NF_DROP);
	end_rule(b, at);
}

static void put_element(struct nft *b, const unsigned char *key, size_t size)
{
	size_t at = open_nest(b, NFTA_LIST_ELEM), inner = open_nest(b, NFTA_SET_ELEM_KEY);

	put(b, NFTA_DATA_VALUE, key, size);
	close_nest(b, inner);
	close_nest(b, at);
}

void nft_elements(struct nft *b, const char *table, const char *set, uint32_t id,
		  const unsigned char *keys, size_t n, size_t bytes)
{
	size_t i = 0, at, last, size = nft_key_size(bytes);

	while (i < n) {
		last = n - i > ELEMENTS ? i + ELEMENTS : n;
		command(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
		put_text(b, NFTA_SET_ELEM_LIST_TABLE, table);
		put_text(b, NFTA_SET_ELEM_LIST_SET, set);
		if (id)
			put_number(b, NFTA_SET_ELEM_LIST_SET_ID, id);
		at = open_nest(b, NFTA_SET_ELEM_LIST_ELEMENTS);
		for (; i < last; i++)
			put_element(b, keys + i * size, size);
		close_nest(b, at);
		seal(b);
	}
}

/* ---- the conversation ---- */

/* The last command asks for an answer: errors of earlier ones come before it. */
const void *nft_bytes(struct nft *b, size_t *len)
{
	if (!b->end) {
		((struct nlmsghdr *)(b->buf + b->message))->nlmsg_flags |= NLM_F_ACK;
		b->end = b->seq;
		message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
		seal(b);
	}
	*len = b->len;
	return b->buf;
}

/* 1: go on reading. */
static int judge(const struct nft *b, const struct nlmsghdr *h, struct fault *f)
{
	const struct nlmsgerr *e = NLMSG_DATA(h);

	if (h->nlmsg_type != NLMSG_ERROR)
		return 1;
	if (e->error)
		return fault(f, -e->error, "change the packet filter (nf_tables)");
	return h->nlmsg_seq == b->end ? 0 : 1;
}

static int read_answer(const struct nft *b, int fd, struct fault *f)
{
	union { struct nlmsghdr h; char room[ANSWER]; } buf;
	struct nlmsghdr *h;
	ssize_t n;
	int r = 1;

	while (r > 0) {
		n = recv(fd, &buf, sizeof(buf), 0);
		if (n < 0)
			return fault(f, errno, "read the answer of nf_tables");
		for (h = &buf.h; r > 0 && NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
			r = judge(b, h, f);
	}
	return r;
}

/* An error repeats the command unless told not to, and that may not fit in what is read. */
int nft_open(struct fault *f)
{
	AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	const int brief = 1;

	if (fd < 0 || setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &brief, sizeof(brief)) < 0)
		return fault(f, errno, "open a netlink socket to the packet filter");
	return take_fd(&fd);
}

int nft_commit(int fd, struct nft *b, struct fault *f)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	const void *bytes;
	int room_needed;
	size_t len;

	bytes = nft_bytes(b, &len);
	room_needed = len + 65536;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room_needed, sizeof(room_needed)) < 0 ||
	    sendto(fd, bytes, len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return fault(f, errno, "change the packet filter (nf_tables)");
	return read_answer(b, fd, f);
}

bool nft_has_table(int fd, const char *table)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	union { struct nlmsghdr h; char room[ANSWER]; } buf;
	struct nft b = { 0 };
	ssize_t n;

	command(&b, NFT_MSG_GETTABLE, 0);
	put_text(&b, NFTA_TABLE_NAME, table);
	seal(&b);
	n = sendto(fd, b.buf, b.len, 0, (struct sockaddr *)&kernel, sizeof(kernel));
	free(b.buf);
	if (n > 0)
		n = recv(fd, &buf, sizeof(buf), 0);
	return n > 0 && NLMSG_OK(&buf.h, n) && buf.h.nlmsg_type != NLMSG_ERROR;
}
