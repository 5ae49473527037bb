// SPDX-License-Identifier: MIT
/*
 * load.c - what the bench freezes: a task of a chosen size that only sleeps.
 *
 *   load READY [threads N] [descriptors N] [memory MiB] [connections N] [sockets N]
 *
 * The descriptors are open files (half of them regular, the rest pipes' ends). Of TCP connections N
 * ends are here, all of them, with a line to be read in each; of unix sockets, N in pairs, half of
 * them streams, half datagrams, two messages in each.
 * Creates the file READY when all is in place. Linked statically, so that with
 * no further words it is about the smallest process there is.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void *sleeper(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static int make_threads(long n)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	while (n-- > 0)
		if (pthread_create(&thread, &attr, sleeper, NULL) != 0)
			return -1;
	return 0;
}

static int make_descriptors(long n, const char *near)
{
	struct rlimit r = { n + 100, n + 100 };
	char path[600];
	int p[2];

	if (setrlimit(RLIMIT_NOFILE, &r) < 0)
		return -1;
	for (long i = 0; i < n / 2; i++) {
		snprintf(path, sizeof(path), "%s.f%ld", near, i);
		if (open(path, O_RDWR | O_CREAT, 0600) < 0)
			return -1;
	}
	for (long i = 0; i < (n - n / 2) / 2; i++)
		if (pipe(p) < 0)
			return -1;
	return 0;
}

/* Every page differs, so nothing can be skipped as zero or equal. */
static int make_memory(long mib)
{
	size_t size = (size_t)mib << 20;
	uint64_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t x = 88172645463325252ull;

	if (p == MAP_FAILED)
		return -1;
	for (size_t i = 0; i < size / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
	return 0;
}

static int make_connections(long n)
{
	struct rlimit r = { n + 100, n + 100 };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), one, other;
	socklen_t len = sizeof(a);

	if (setrlimit(RLIMIT_NOFILE, &r) < 0 || bind(listener, (struct sockaddr *)&a, len) < 0 ||
	    listen(listener, 100) < 0 || getsockname(listener, (struct sockaddr *)&a, &len) < 0)
		return -1;
	for (long i = 0; i < n / 2; i++) {
		one = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(one, (struct sockaddr *)&a, sizeof(a)) < 0)
			return -1;
		other = accept(listener, NULL, NULL);
		if (other < 0 || send(one, "to you\n", 7, 0) < 0 ||
		    send(other, "to me\n", 6, 0) < 0)
			return -1;
	}
	return 0;
}

static int make_sockets(long n)
{
	struct rlimit r = { n + 100, n + 100 };
	char message[100] = "message";
	int ends[2];

	if (setrlimit(RLIMIT_NOFILE, &r) < 0)
		return -1;
	for (long i = 0; i < n / 2; i++) {
		if (socketpair(AF_UNIX, i % 2 ? SOCK_DGRAM : SOCK_STREAM, 0, ends) < 0)
			return -1;
		for (int k = 0; k < 4; k++)
			if (send(ends[k % 2], message, sizeof(message), 0) != sizeof(message))
				return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int r = 0, fd;

	for (int i = 2; i + 1 < argc && r == 0; i += 2) {
		if (!strcmp(argv[i], "threads"))
			r = make_threads(atol(argv[i + 1]));
		else if (!strcmp(argv[i], "descriptors"))
			r = make_descriptors(atol(argv[i + 1]), argv[1]);
		else if (!strcmp(argv[i], "memory"))
			r = make_memory(atol(argv[i + 1]));
		else if (!strcmp(argv[i], "connections"))
			r = make_connections(atol(argv[i + 1]));
		else if (!strcmp(argv[i], "sockets"))
			r = make_sockets(atol(argv[i + 1]));
		else
			r = -1;
	}
	if (argc < 2 || r < 0) {
		perror("load");
		return 1;
	}
	fd = open(argv[1], O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		return 1;
	close(fd);
	for (;;)
		pause();
}
