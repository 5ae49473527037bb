/* SPDX-License-Identifier: MIT */
/*
 * other.c - sockets that cannot be dumped, each by its name.
 *
 * What a socket of these families is connected to, keyed or configured with lies in the kernel or
 * in a device, and no interface gives it out.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/net/other.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "proto/control/util.h"

/* Linux UAPI; the headers of older libcs lack some. */
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef IPPROTO_L2TP
#define IPPROTO_L2TP 115
#endif
#ifndef AF_SMC
#define AF_SMC 43
#endif
#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef AF_MCTP
#define AF_MCTP 45
#endif
#ifndef AF_QIPCRTR
#define AF_QIPCRTR 42
#endif

#define CLOSE_IT "close it before the dump"

/* family, protocol: 0 is any. */
static const struct other {
	int family, protocol;
	struct sock_kind kind;
} others[] = {
	{ 0, IPPROTO_MPTCP, {
		.name = "MPTCP socket",
		.refuse = "the state of multipath TCP cannot be read: make the program use TCP "
			  "(Go: GODEBUG=multipathtcp=0), or close it before the dump" } },
	{ 0, IPPROTO_SCTP, {
		.name = "SCTP socket",
		.refuse = "the state of SCTP cannot be read: " CLOSE_IT } },
	{ 0, IPPROTO_DCCP, {
		.name = "DCCP socket",
		.refuse = "the state of DCCP cannot be read: " CLOSE_IT } },
	{ AF_INET, IPPROTO_L2TP, {
		.name = "L2TP socket",
		.refuse = "the sessions of L2TP cannot be read: " CLOSE_IT } },
	{ AF_SMC, 0, {
		.name = "AF_SMC socket",
		.refuse = "the state of SMC cannot be read: make the program use TCP, or close it "
			  "before the dump" } },
	{ AF_XDP, 0, {
		.name = "AF_XDP socket",
		.refuse = "its memory is used by a network device and a program in it: let the "
			  "program close it before the dump (DPDK, Suricata: use AF_PACKET)" } },
	{ AF_ALG, 0, {
		.name = "AF_ALG socket",
		.refuse = "the kernel does not give out the key and state of an algorithm: let the "
			  "program compute by itself (OpenSSL: no afalg engine), or close it "
			  "before the dump" } },
	{ AF_VSOCK, 0, {
		.name = "AF_VSOCK socket",
		.refuse = "the other end is in a hypervisor or a guest, which cannot be stopped "
			  "with it: " CLOSE_IT } },
	{ AF_BLUETOOTH, 0, {
		.name = "AF_BLUETOOTH socket",
		.refuse = "its state is in the radio: disconnect the device and " CLOSE_IT } },
	{ AF_CAN, 0, {
		.name = "AF_CAN socket",
		.refuse = "what it waits for (BCM, ISO-TP) cannot be read: " CLOSE_IT } },
	{ AF_RDS, 0, {
		.name = "AF_RDS socket",
		.refuse = "the state of RDS cannot be read: " CLOSE_IT } },
	{ AF_TIPC, 0, {
		.name = "AF_TIPC socket",
		.refuse = "the state of TIPC cannot be read: " CLOSE_IT } },
	{ AF_KEY, 0, {
		.name = "AF_KEY socket",
		.refuse = "what it has registered for cannot be read: let the program use XFRM "
			  "netlink, or " CLOSE_IT } },
	{ AF_PPPOX, 0, {
		.name = "AF_PPPOX socket",
		.refuse = "the session of PPP cannot be read: " CLOSE_IT } },
	{ AF_RXRPC, 0, {
		.name = "AF_RXRPC socket",
		.refuse = "calls in flight cannot be read: " CLOSE_IT } },
	{ AF_KCM, 0, {
		.name = "AF_KCM socket",
		.refuse = "the connections attached to it cannot be read: " CLOSE_IT } },
	{ AF_QIPCRTR, 0, {
		.name = "AF_QIPCRTR socket",
		.refuse = "the other end is in a modem: " CLOSE_IT } },
	{ AF_NFC, 0, {
		.name = "AF_NFC socket",
		.refuse = "its state is in the radio: " CLOSE_IT } },
	{ AF_IEEE802154, 0, {
		.name = "AF_IEEE802154 socket",
		.refuse = "its state is in the radio: " CLOSE_IT } },
	{ AF_MCTP, 0, {
		.name = "AF_MCTP socket",
		.refuse = "its tags cannot be read: " CLOSE_IT } },
	{ AF_LLC, 0, {
		.name = "AF_LLC socket",
		.refuse = "the state of LLC cannot be read: " CLOSE_IT } },
	{ 0, 0, {
		.name = "socket of unknown kind",
		.refuse = "this kind of socket is not known: " CLOSE_IT } },
};

const struct sock_kind *other_kind(const struct sock *s)
{
	const struct other *o = others;

	while ((o->family && o->family != s->family) || (o->protocol && o->protocol != s->protocol))
		o++;
	return &o->kind;
}
