/* SPDX-License-Identifier: MIT */
/* A message that waits in a netlink socket is not lost quietly. */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "../case.h"

static void before(void)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} q = { .h = { sizeof(q), RTM_GETLINK, NLM_F_REQUEST, 7, 0 }, .i = { .ifi_index = 1 } };
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	CHECK(fd >= 0 && send(fd, &q, sizeof(q), 0) == sizeof(q));
}

static void after(void)
{
}

const struct test_case test_case = {
	.proves = "a netlink socket with messages in its queue is refused",
	.before = before,
	.after = after,
	.later = "messages wait in its queue",
	.criu_fails = "it refuses too",
};
