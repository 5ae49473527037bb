// SPDX-License-Identifier: MIT
/* tun.c - tun and tap devices: names, kinds, settings, addresses, routes, queues, persistence. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

static int tun, tap, queue[2], lasting, bare, sock;
static char name[4][IFNAMSIZ];
static const unsigned char mac[6] = { 2, 1, 2, 3, 4, 5 };
static unsigned index_of_tun;

static int make(int i, const char *kind, int flags)
{
	struct ifreq r = { .ifr_flags = flags };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);

	snprintf(name[i], IFNAMSIZ, "st%s%d", kind, (int)getpid());
	strcpy(r.ifr_name, name[i]);
	CHECK(fd >= 0 && ioctl(fd, TUNSETIFF, &r) == 0);
	return fd;
}

static struct ifreq request(int i)
{
	struct ifreq r = { 0 };

	strcpy(r.ifr_name, name[i]);
	return r;
}

static void set_address(int i, unsigned long what, const char *text)
{
	struct ifreq r = request(i);
	struct sockaddr_in *a = (void *)&r.ifr_addr;

	a->sin_family = AF_INET;
	CHECK(inet_pton(AF_INET, text, &a->sin_addr) == 1 && ioctl(sock, what, &r) == 0);
}

static void add_route(int i, const char *to, const char *mask)
{
	struct rtentry rt = { .rt_dev = name[i], .rt_flags = RTF_UP };
	struct sockaddr_in *a = (void *)&rt.rt_dst, *m = (void *)&rt.rt_genmask;

	a->sin_family = m->sin_family = AF_INET;
	inet_pton(AF_INET, to, &a->sin_addr);
	inet_pton(AF_INET, mask, &m->sin_addr);
	CHECK(ioctl(sock, SIOCADDRT, &rt) == 0);
}

static void before(void)
{
	struct ifreq r;
	int size = 50000, header = 12;

	sock = open("/dev/net/tun", O_RDWR);
	if (sock < 0)
		case_skip("no /dev/net/tun");
	close(sock);
	sock = socket(AF_INET, SOCK_DGRAM, 0);
	tun = make(0, "un", IFF_TUN | IFF_NO_PI);
	set_address(0, SIOCSIFADDR, "192.168.231.1");
	set_address(0, SIOCSIFNETMASK, "255.255.255.252");
	r = request(0);
	r.ifr_mtu = 1400;
	CHECK(ioctl(sock, SIOCSIFMTU, &r) == 0);
	r.ifr_flags = IFF_UP | IFF_MULTICAST;
	CHECK(ioctl(sock, SIOCSIFFLAGS, &r) == 0);
	add_route(0, "192.168.232.0", "255.255.255.0");
	index_of_tun = if_nametoindex(name[0]);
	tap = make(1, "ap", IFF_TAP | IFF_VNET_HDR);
	CHECK(ioctl(tap, TUNSETSNDBUF, &size) == 0 && ioctl(tap, TUNSETVNETHDRSZ, &header) == 0);
	CHECK(ioctl(tap, TUNSETOWNER, 4711) == 0);
	r = request(1);
	memcpy(r.ifr_hwaddr.sa_data, mac, 6);
	r.ifr_hwaddr.sa_family = 1;
	CHECK(ioctl(sock, SIOCSIFHWADDR, &r) == 0);
	queue[0] = make(2, "mq", IFF_TUN | IFF_MULTI_QUEUE);
	queue[1] = make(2, "mq", IFF_TUN | IFF_MULTI_QUEUE);
	r = (struct ifreq){ .ifr_flags = IFF_DETACH_QUEUE };
	CHECK(ioctl(queue[1], TUNSETQUEUE, &r) == 0);
	lasting = make(3, "la", IFF_TUN);
	CHECK(ioctl(lasting, TUNSETPERSIST, 1) == 0);
	bare = open("/dev/net/tun", O_RDWR);
	close(sock);
}

static void check_tun(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct ifreq r = request(0);
	unsigned char packet[100];

	CHECK(if_nametoindex(name[0]) == index_of_tun);
	CHECK(ioctl(tun, TUNGETIFF, &r) == 0 && !strcmp(r.ifr_name, name[0]));
	CHECK((r.ifr_flags & IFF_TUN) && (r.ifr_flags & IFF_NO_PI) && !(r.ifr_flags & IFF_PERSIST));
	CHECK((fcntl(tun, F_GETFL) & O_NONBLOCK) && !(fcntl(bare, F_GETFL) & O_NONBLOCK));
	CHECK(ioctl(sock, SIOCGIFMTU, &r) == 0 && r.ifr_mtu == 1400);
	CHECK(ioctl(sock, SIOCGIFFLAGS, &r) == 0 && (r.ifr_flags & IFF_UP));
	while (read(tun, packet, sizeof(packet)) > 0)
		;				/* the kernel's own: router solicitations */
	inet_pton(AF_INET, "192.168.232.77", &to.sin_addr);
	CHECK(sendto(sock, "x", 1, 0, (void *)&to, sizeof(to)) == 1);
	do
		errno = 0;
	while (read(tun, packet, sizeof(packet)) > 0 && packet[0] >> 4 != 4);
	CHECK(!errno && packet[9] == 17 && !memcmp(packet + 12, "\300\250\347\1\300\250\350\115",
						   8));
}

static void check_tap(void)
{
	int size = 0, header = 0, owner = 0;
	struct ifreq r = request(1);
	char path[80];
	FILE *file;

	CHECK(ioctl(sock, SIOCGIFHWADDR, &r) == 0 && !memcmp(r.ifr_hwaddr.sa_data, mac, 6));
	CHECK(ioctl(tap, TUNGETSNDBUF, &size) == 0 && size == 50000);
	CHECK(ioctl(tap, TUNGETVNETHDRSZ, &header) == 0 && header == 12);
	snprintf(path, sizeof(path), "/sys/class/net/%s/owner", name[1]);
	file = fopen(path, "r");
	CHECK(file && fscanf(file, "%d", &owner) == 1 && owner == 4711 && !fclose(file));
}

static void check_queues(void)
{
	struct ifreq r = { 0 };

	CHECK(ioctl(queue[0], TUNGETIFF, &r) == 0 && !(r.ifr_flags & IFF_DETACH_QUEUE));
	CHECK(ioctl(queue[1], TUNGETIFF, &r) == 0 && (r.ifr_flags & IFF_DETACH_QUEUE));
	CHECK(!strcmp(r.ifr_name, name[2]));
	r.ifr_flags = IFF_ATTACH_QUEUE;
	CHECK(ioctl(queue[1], TUNSETQUEUE, &r) == 0);
	close(queue[0]);
	CHECK(if_nametoindex(name[2]));
	close(queue[1]);
	CHECK(!if_nametoindex(name[2]));
}

static void after(void)
{
	struct ifreq r = { 0 };

	sock = socket(AF_INET, SOCK_DGRAM, 0);
	check_tun();
	check_tap();
	check_queues();
	CHECK(ioctl(bare, TUNGETIFF, &r) < 0 && errno == EBADFD);
	CHECK(ioctl(lasting, TUNGETIFF, &r) == 0 && (r.ifr_flags & IFF_PERSIST));
	CHECK(ioctl(lasting, TUNSETPERSIST, 0) == 0 && close(lasting) == 0);
	CHECK(!if_nametoindex(name[3]));
	close(tun);
	CHECK(!if_nametoindex(name[0]));
}

const struct test_case test_case = {
	.proves = "tun and tap devices come back with their settings, addresses and routes",
	.criu_fails = "CRIU refuses tun devices outside a network namespace",
	.needs_root = true,
	.before = before,
	.after = after,
};
