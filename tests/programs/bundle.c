// SPDX-License-Identifier: MIT
/*
 * bundle.c - a little of everything, for dumps whose images are then damaged.
 *
 *   bundle DIR         create what follows, then DIR/ready, then sleep
 *
 * Two tasks (the second leads a session) and a thread; memory: private, shared by the tasks, a
 * mapped file; files: one at an offset, one deleted, one locked, a directory; a pipe and a FIFO
 * with data in them, a pty pair with unread input; TCP, UDP, raw, packet (a mapped ring) and
 * netlink sockets, unix sockets of all kinds with data, descriptors and themselves in flight;
 * pending and blocked signals, an interval timer and
 * a POSIX timer, an alternate signal stack. Its images stay small: that is the point.
 *
 * Alone:  mkdir /tmp/d; build/tests/programs/bundle /tmp/d & ls /proc/$!/fd
 */
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };

static void need(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static void *sleep_for_ever(void *unused)
{
	sigset_t set;

	sigfillset(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_kill(pthread_self(), SIGUSR2);
	for (;;)
		sleep(1000);
	return unused;
}

static int make_file(const char *name, size_t size)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);

	need(fd >= 0 && ftruncate(fd, size) == 0 && write(fd, name, strlen(name)) > 0, name);
	return fd;
}

static void make_files(void)
{
	int plain = make_file("plain", 100), locked = make_file("locked", 10);

	need(lseek(plain, 33, SEEK_SET) == 33 && fcntl(plain, F_SETFD, FD_CLOEXEC) == 0, "plain");
	make_file("deleted", 1500);
	need(unlink("deleted") == 0, "unlink");
	need(flock(locked, LOCK_EX) == 0, "flock");
	need(open(".", O_RDONLY | O_DIRECTORY) >= 0 && dup(plain) >= 0, "directory");
	need(open("/dev/null", O_WRONLY) >= 0, "/dev/null");
}

static void make_queues(void)
{
	int pipe_ends[2], fifo, master, slave;

	need(pipe(pipe_ends) == 0 && write(pipe_ends[1], "in the pipe", 11) == 11, "pipe");
	need(mkfifo("fifo", 0600) == 0, "fifo");
	fifo = open("fifo", O_RDWR);
	need(write(fifo, "in the fifo", 11) == 11, "fifo");
	master = posix_openpt(O_RDWR | O_NOCTTY);
	need(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0, "pty");
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	need(slave >= 0 && write(master, "typed\n", 6) == 6 && write(slave, "shown", 5) == 5,
	     "pty");
}

/* With data that nobody reads: at the end both ends are reset and leave no trace. */
static void make_connections(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	int udp = socket(AF_INET6, SOCK_DGRAM, 0), server, on = 1;
	socklen_t len = sizeof(a);

	need(bind(listener, (struct sockaddr *)&a, len) == 0 && listen(listener, 3) == 0 &&
	     getsockname(listener, (struct sockaddr *)&a, &len) == 0 &&
	     connect(client, (struct sockaddr *)&a, len) == 0, "listen");
	server = accept(listener, NULL, NULL);
	need(server >= 0 && write(client, "to the server", 13) == 13 &&
	     write(server, "to the client", 13) == 13, "accept");
	need(setsockopt(udp, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on)) == 0, "udp");
}

/*
 * With a frame that is not read, in a ring that is mapped. Skipped where there are no such rights.
 */
static void make_raw_sockets(void)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET,
				 .sll_protocol = htons(0x88b5),
				 .sll_ifindex = 1,
				 .sll_halen = 6 };
	struct tpacket_req ring = { PAGE, 2, 512, 2 * PAGE / 512 };
	int packet = socket(AF_PACKET, SOCK_DGRAM, 0), raw = socket(AF_INET, SOCK_RAW, 253);
	int netlink = socket(AF_NETLINK, SOCK_RAW, 0), on = 1, i;

	need(netlink >= 0 && setsockopt(netlink, 270, NETLINK_EXT_ACK, &on, sizeof(on)) == 0,
	     "netlink");
	if (packet < 0 || raw < 0)
		return;
	need(setsockopt(packet, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring)) == 0 &&
	     mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, packet, 0) != MAP_FAILED &&
	     bind(packet, (struct sockaddr *)&a, sizeof(a)) == 0, "packet");
	for (i = 0; i < 3; i++)
		need(sendto(packet, "x", 1, 0, (struct sockaddr *)&a, sizeof(a)) == 1, "send");
}

static socklen_t name_of(struct sockaddr_un *a, const char *name)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	strcpy(a->sun_path, name);
	return sizeof(*a);
}

/* A message with two descriptors. */
static void send_descriptors(int fd, const char *text, int first, int second)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)text, strlen(text) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room,
			    .msg_controllen = sizeof(control.room) };
	const int fds[] = { first, second };

	control.align = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(fds)),
					  .cmsg_level = SOL_SOCKET,
					  .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.align), fds, sizeof(fds));
	need(sendmsg(fd, &h, 0) == (ssize_t)iov.iov_len, "sendmsg");
}

static void make_unix(void)
{
	int stream[2], packets[2], inner[2], listener = socket(AF_UNIX, SOCK_STREAM, 0);
	int waiting = socket(AF_UNIX, SOCK_STREAM, 0), named = socket(AF_UNIX, SOCK_DGRAM, 0);
	int sender = socket(AF_UNIX, SOCK_DGRAM, 0), flying = make_file("flying", 20);
	struct sockaddr_un a;
	socklen_t len;

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0 &&
	     socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets) == 0 &&
	     socketpair(AF_UNIX, SOCK_STREAM, 0, inner) == 0, "socketpair");
	need(write(stream[0], "before", 6) == 6, "stream");
	send_descriptors(stream[0], "with", flying, stream[1]);
	send_descriptors(inner[0], "inside", inner[1], packets[0]);
	send_descriptors(packets[0], "a packet", inner[0], inner[1]);
	need(shutdown(stream[1], SHUT_WR) == 0, "shutdown");
	close(flying);
	close(inner[0]);
	close(inner[1]);
	len = name_of(&a, "listening");
	need(bind(listener, (struct sockaddr *)&a, len) == 0 && listen(listener, 2) == 0 &&
	     connect(waiting, (struct sockaddr *)&a, len) == 0, "listening");
	len = name_of(&a, "sender");
	need(bind(sender, (struct sockaddr *)&a, len) == 0, "sender");
	len = name_of(&a, "named");
	need(bind(named, (struct sockaddr *)&a, len) == 0 &&
	     connect(sender, (struct sockaddr *)&a, len) == 0 && write(sender, "one", 3) == 3 &&
	     write(sender, "two", 3) == 3, "named");
}

static void make_memory(void)
{
	const int prot = PROT_READ | PROT_WRITE;
	int fd = open("plain", O_RDWR);
	char *shared = mmap(NULL, 2 * PAGE, prot, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *private = mmap(NULL, 3 * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mapped = mmap(NULL, PAGE, prot, MAP_SHARED, fd, 0);

	need(shared != MAP_FAILED && private != MAP_FAILED && mapped != MAP_FAILED, "mmap");
	memset(shared, 's', PAGE);
	memset(private + PAGE, 'p', PAGE);
	need(mprotect(private, PAGE, PROT_NONE) == 0, "mprotect");
	close(fd);
}

static void make_signals(void)
{
	const struct itimerval in_an_hour = { .it_value.tv_sec = 3600 };
	const struct itimerspec in_two = { .it_value.tv_sec = 7200 };
	stack_t stack = { .ss_sp = malloc(SIGSTKSZ), .ss_size = SIGSTKSZ };
	sigset_t set;
	timer_t timer;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
	need(kill(getpid(), SIGUSR1) == 0, "kill");
	need(sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 5 }) == 0, "sigqueue");
	need(setitimer(ITIMER_REAL, &in_an_hour, NULL) == 0, "setitimer");
	need(timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0 &&
	     timer_settime(timer, 0, &in_two, NULL) == 0, "timer");
	need(sigaltstack(&stack, NULL) == 0, "sigaltstack");
	signal(SIGHUP, SIG_IGN);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	pid_t child;

	need(argc == 2 && chdir(argv[1]) == 0, "usage: bundle DIR");
	make_files();
	make_queues();
	make_connections();
	make_raw_sockets();
	make_unix();
	make_memory();
	child = fork();
	need(child >= 0, "fork");
	if (child == 0) {
		setsid();
		for (;;)
			sleep(1000);
	}
	make_signals();
	need(pthread_create(&thread, NULL, sleep_for_ever, NULL) == 0, "thread");
	usleep(50000);
	close(make_file("ready", 0));
	for (;;)
		sleep(1000);
}
