// SPDX-License-Identifier: MIT
/*
 * busy.c - a program that notices the least harm: the target of crash tests.
 *
 *   busy [-c] [-n THREADS] [-t] [-u] [-v] [FILE]     runs until killed
 *
 * THREADS (default 6, at least 6) are: nanosleep, poll, futex, signal receiver,
 * and compute threads in turn (general registers, vector registers); a sender
 * of signals is added and the leader only pauses. Each checks its own invariants
 * every round and publishes its progress in the page of busy.h. Any EINTR is an
 * error: a checkpoint that leaves the task running must not be seen. With -t
 * (tolerant: the task will be restored) EINTR from a relative sleep is allowed,
 * as it is after CRIU. With -v it unmaps its vDSO first. With -c one more thread talks over TCP
 * connections whose both ends are its own. With -u one more looks after datagrams that wait in unix
 * sockets, and after the offsets at which it peeks at them.
 *
 * Alone:  build/tests/programs/busy /tmp/page &  sleep 1;  kill -9 $!
 */
#include "busy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct busy_page *page;
static bool tolerant;
static uint64_t received;		/* written by the handler, in one thread */
static pthread_t receiver;

static __attribute__((format(printf, 1, 2))) void error(const char *format, ...)
{
	va_list args;

	if (__atomic_fetch_add(&page->errors, 1, __ATOMIC_SEQ_CST))
		return;
	va_start(args, format);
	vsnprintf(page->error, sizeof(page->error), format, args);
	va_end(args);
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	return x * 0xc4ceb9fe1a85ec53ull + 1;
}

/* The signal mask must be what the thread has set, always. */
static void check_mask(uint64_t want)
{
	uint64_t now = 0;

	if (syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &now, 8) != 0 || now != want)
		error("tid %d: blocked mask is %#lx, not %#lx", gettid(), now, want);
}

static uint64_t block(int sig)
{
	uint64_t mask = sig ? 1ull << (sig - 1) : 0, now;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &now, 8);
	return now;
}

/*
 * One round in registers only: eight of them hold known values, the flags are
 * set, 16 quadwords of the red zone hold canaries, and the loop neither calls
 * nor stores elsewhere. Returns 0 if all of it was still there at the end.
 */
static uint64_t general_round(uint64_t seed, uint64_t loops)
{
	uint64_t bad;

	__asm__ volatile(
		"mov %[seed], %%r8\n\t"
		"lea 1(%%r8), %%r9\n\tlea 2(%%r8), %%r10\n\tlea 3(%%r8), %%r11\n\t"
		"lea 4(%%r8), %%r12\n\tlea 5(%%r8), %%r13\n\tlea 6(%%r8), %%r14\n\t"
		"mov %%r9, -8(%%rsp)\n\tmov %%r10, -64(%%rsp)\n\tmov %%r11, -128(%%rsp)\n\t"
		"1: stc\n\tstd\n\t"			/* carry and direction flag */
		"lea -1(%%rcx), %%rcx\n\t"		/* changes no flag */
		"jnc 2f\n\t"
		"jrcxz 3f\n\tjmp 1b\n\t"
		"2: mov $1, %%eax\n\tjmp 4f\n\t"
		"3: cld\n\t"
		"xor %%eax, %%eax\n\t"
		"sub %[seed], %%r8\n\tor %%r8, %%rax\n\t"
		"sub %[seed], %%r9\n\tsub $1, %%r9\n\tor %%r9, %%rax\n\t"
		"sub %[seed], %%r10\n\tsub $2, %%r10\n\tor %%r10, %%rax\n\t"
		"sub %[seed], %%r11\n\tsub $3, %%r11\n\tor %%r11, %%rax\n\t"
		"sub %[seed], %%r12\n\tsub $4, %%r12\n\tor %%r12, %%rax\n\t"
		"sub %[seed], %%r13\n\tsub $5, %%r13\n\tor %%r13, %%rax\n\t"
		"sub %[seed], %%r14\n\tsub $6, %%r14\n\tor %%r14, %%rax\n\t"
		"mov -8(%%rsp), %%r9\n\tsub %[seed], %%r9\n\tsub $1, %%r9\n\tor %%r9, %%rax\n\t"
		"mov -64(%%rsp), %%r9\n\tsub %[seed], %%r9\n\tsub $2, %%r9\n\tor %%r9, %%rax\n\t"
		"mov -128(%%rsp), %%r9\n\tsub %[seed], %%r9\n\tsub $3, %%r9\n\tor %%r9, %%rax\n\t"
		"4: cld\n\t"
		: "=&a"(bad), "+c"(loops)
		: [seed] "r"(seed)
		: "r8", "r9", "r10", "r11", "r12", "r13", "r14", "memory", "cc");
	return bad;
}

static void *general_body(void *arg)
{
	struct busy_worker *w = arg;
	uint64_t mask = block(0), chain = 1;

	w->tid = gettid();
	for (;;) {
		uint64_t bad = general_round(chain, 20000);

		if (bad)
			error("tid %d: general registers, flags or red zone (%#lx)", w->tid, bad);
		check_mask(mask);
		if (w->state != chain && w->rounds)
			error("tid %d: chain", w->tid);
		chain = mix(chain);
		w->state = chain;
		w->rounds++;
	}
	return NULL;
}

/*
 * Fill the vector registers with a pattern, spin, and read them back.
 * The pattern follows from the chain, so a register of an earlier round shows.
 */
#define LOAD(ins, reg, n, size) ins " " #n "*" size "(%[in]), %%" reg #n "\n\t"
#define STORE(ins, reg, n, size) ins " %%" reg #n ", " #n "*" size "(%[out])\n\t"
#define ALL16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) \
	X(14) X(15)
#define ALL32(X) ALL16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) \
	X(28) X(29) X(30) X(31)
#define Z_LOAD(n) LOAD("vmovdqu64", "zmm", n, "64")
#define Z_STORE(n) STORE("vmovdqu64", "zmm", n, "64")
#define Y_LOAD(n) LOAD("vmovdqu", "ymm", n, "32")
#define Y_STORE(n) STORE("vmovdqu", "ymm", n, "32")
#define X_LOAD(n) LOAD("movdqu", "xmm", n, "16")
#define X_STORE(n) STORE("movdqu", "xmm", n, "16")
#define SPIN "1: dec %[loops]\n\tjnz 1b\n\t"
#define VECTOR_CLOBBERS "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", \
	"xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static __attribute__((target("avx512f,avx512bw"))) void hold_zmm(const void *in, void *out,
								 uint64_t loops)
{
	__asm__ volatile("kmovq (%[in]), %%k5\n\t" ALL32(Z_LOAD) SPIN ALL32(Z_STORE)
			 "kmovq %%k5, 2048(%[out])\n\tvzeroupper\n\t"
			 : [loops] "+r"(loops) : [in] "r"(in), [out] "r"(out) : VECTOR_CLOBBERS);
}

static __attribute__((target("avx2"))) void hold_ymm(const void *in, void *out,
						     uint64_t loops)
{
	__asm__ volatile(ALL16(Y_LOAD) SPIN ALL16(Y_STORE) "vzeroupper\n\t"
			 : [loops] "+r"(loops) : [in] "r"(in), [out] "r"(out) : VECTOR_CLOBBERS);
}

static void hold_xmm(const void *in, void *out, uint64_t loops)
{
	__asm__ volatile(ALL16(X_LOAD) SPIN ALL16(X_STORE)
			 : [loops] "+r"(loops) : [in] "r"(in), [out] "r"(out) : VECTOR_CLOBBERS);
}

static void *vector_body(void *arg)
{
	struct busy_worker *w = arg;
	uint64_t in[256], out[257], chain = 2, mask = block(0);
	int size = 16 * 16;

	w->tid = gettid();
	if (__builtin_cpu_supports("avx512bw"))
		size = 32 * 64;
	else if (__builtin_cpu_supports("avx2"))
		size = 16 * 32;
	for (;;) {
		for (int i = 0; i < size / 8; i++)
			in[i] = chain = mix(chain);
		out[256] = in[0];
		if (size == 32 * 64)
			hold_zmm(in, out, 20000);
		else if (size == 16 * 32)
			hold_ymm(in, out, 20000);
		else
			hold_xmm(in, out, 20000);
		if (memcmp(in, out, size) || out[256] != in[0])
			error("tid %d: vector registers (%d bytes)", w->tid, size);
		check_mask(mask);
		w->state = chain;
		w->rounds++;
	}
	return NULL;
}

/* By the kernel: there may be no vDSO. */
static double now_s(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* A sleep of 20 ms: not interrupted, not short. */
static void check_sleep(struct busy_worker *w, int result, double began)
{
	if (result < 0) {
		if (errno != EINTR || !tolerant)
			error("tid %d %s: %s", w->tid, w->name, strerror(errno));
		return;
	}
	if (now_s() - began < 0.0195)
		error("tid %d %s: woke too early", w->tid, w->name);
	w->rounds++;
}

static void *sleep_body(void *arg)
{
	struct busy_worker *w = arg;
	const struct timespec tick = { 0, 20000000 };
	uint64_t mask = block(SIGRTMIN);
	uint32_t word = 0;
	double began;
	int r;

	w->tid = gettid();
	for (;;) {
		began = now_s();
		if (w->kind == BUSY_NANOSLEEP) {
			r = nanosleep(&tick, NULL);
		} else if (w->kind == BUSY_POLL) {
			r = poll(NULL, 0, 20);
		} else {
			r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &tick, NULL, 0);
			if (r < 0 && errno == ETIMEDOUT)
				r = 0;
		}
		check_sleep(w, r, began);
		check_mask(mask);
	}
	return NULL;
}

/* Queued signals carry a counter: none may be lost, doubled or reordered. */
static void on_signal(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)sig, (void)context;
	received++;
	if (info->si_code != SI_QUEUE || (uint32_t)info->si_value.sival_int != (uint32_t)received)
		error("signal %lu carries %d (code %d)", received, info->si_value.sival_int,
		      info->si_code);
	if (!pthread_equal(pthread_self(), receiver))
		error("signal in the wrong thread");
	errno = saved;
}

static void *receiver_body(void *arg)
{
	struct busy_worker *w = arg;
	uint64_t mask = block(0), chain = 3;

	w->tid = gettid();
	for (;;) {
		for (int i = 0; i < 20000; i++)
			chain = mix(chain);
		check_mask(mask);
		w->reserved[0] = chain;
		w->state = __atomic_load_n(&received, __ATOMIC_RELAXED);
		w->rounds++;
	}
	return NULL;
}

static void *sender_body(void *arg)
{
	struct busy_worker *w = arg;
	const struct timespec tick = { 0, 1000000 };
	union sigval value = { 0 };
	uint32_t sent = 0;

	block(SIGRTMIN);
	w->tid = gettid();
	for (;;) {
		value.sival_int = sent + 1;
		if (pthread_sigqueue(receiver, SIGRTMIN, value) == 0)
			sent++;
		w->state = sent;
		w->rounds++;
		if (nanosleep(&tick, NULL) < 0 && !tolerant)
			error("tid %d sender: %s", w->tid, strerror(errno));
	}
	return NULL;
}

static pthread_t launch(enum busy_kind kind, const char *name, void *(*body)(void *))
{
	struct busy_worker *w = &page->worker[page->threads++];
	pthread_t thread;

	w->kind = kind;
	snprintf(w->name, sizeof(w->name), "%s", name);
	if (pthread_create(&thread, NULL, body, w) != 0) {
		perror("pthread_create");
		exit(1);
	}
	return thread;
}

#define CONNECTIONS 8

/* Ends of connections over the loopback device: [i][0] was connected, [i][1] accepted. */
static int connection[CONNECTIONS][2];

static void connect_all(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int i, listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(a);

	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(listener, CONNECTIONS) < 0 ||
	    getsockname(listener, (struct sockaddr *)&a, &len) < 0)
		error("listen: %s", strerror(errno));
	for (i = 0; i < CONNECTIONS; i++) {
		connection[i][0] = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(connection[i][0], (struct sockaddr *)&a, sizeof(a)) < 0)
			error("connect: %s", strerror(errno));
		connection[i][1] = accept(listener, NULL, NULL);
	}
	page->port = ntohs(a.sin_port);
}

/* A number from one end to the other. */
static void pass(int from, int to, uint64_t number)
{
	uint64_t got = 0;

	if (send(from, &number, sizeof(number), MSG_NOSIGNAL) != sizeof(number))
		error("send: %s", strerror(errno));
	if (recv(to, &got, sizeof(got), MSG_WAITALL) != sizeof(got))
		error("recv: %s", strerror(errno));
	if (got != number)
		error("a connection carried %llx instead of %llx", (unsigned long long)got,
		      (unsigned long long)number);
}

static void *tcp_body(void *arg)
{
	struct busy_worker *w = arg;
	int i;

	for (;;) {
		i = w->rounds % CONNECTIONS;
		pass(connection[i][0], connection[i][1], mix(w->rounds));
		pass(connection[i][1], connection[i][0], mix(w->rounds + 1));
		w->rounds++;
	}
	return NULL;
}

#define QUEUES 300

/* The ends with messages in them; every other one peeks from an offset. */
static int queue[QUEUES];

static void queue_all(void)
{
	const int off = 2;
	int i, pair[2];

	for (i = 0; i < QUEUES; i++) {
		if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0)
			error("socketpair: %s", strerror(errno));
		queue[i] = pair[1];
		send(pair[0], "first", 5, 0);
		send(pair[0], "second", 6, 0);
		if (i % 2)
			setsockopt(queue[i], SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
	}
}

static void check_queue(int i)
{
	const int expected = i % 2 ? 2 : -1;
	socklen_t len = sizeof(int);
	char text[16] = "";
	int off = -3, tries = 0;

	/* A killed dump lets us go a moment before its guard has put the offset back. */
	while (getsockopt(queue[i], SOL_SOCKET, SO_PEEK_OFF, &off, &len) == 0 && off != expected &&
	       tries++ < 1000)
		syscall(SYS_sched_yield);
	if (off != expected)
		error("socket %d peeks from %d", queue[i], off);
	else if (off < 0 && (recv(queue[i], text, sizeof(text), MSG_PEEK | MSG_DONTWAIT) != 5 ||
			     memcmp(text, "first", 5) != 0))
		error("socket %d holds %s first", queue[i], text);
}

static void *unix_body(void *arg)
{
	struct busy_worker *w = arg;

	for (;;)
		check_queue(w->rounds++ % QUEUES);
	return NULL;
}

static void map_page(const char *path)
{
	int fd = -1, flags = MAP_SHARED | MAP_FIXED_NOREPLACE;

	if (path) {
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0 || ftruncate(fd, sizeof(*page)) < 0) {
			perror(path);
			exit(1);
		}
	} else {
		flags |= MAP_ANONYMOUS;
	}
	page = mmap((void *)BUSY_ADDRESS, sizeof(*page), PROT_READ | PROT_WRITE, flags, fd, 0);
	if (page == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	if (fd >= 0)
		close(fd);
}

static void unmap_vdso(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	char line[512];

	if (!maps) {
		perror("/proc/self/maps");
		exit(1);
	}
	while (fgets(line, sizeof(line), maps))
		if ((strstr(line, "[vdso]") || strstr(line, "[vvar")) &&
		    sscanf(line, "%lx-%lx", &start, &end) == 2)
			munmap((void *)start, end - start);
	fclose(maps);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
	int threads = 6, opt;
	bool talks = false, queues = false;

	while ((opt = getopt(argc, argv, "cn:tuv")) != -1) {
		if (opt == 'c')
			talks = true;
		else if (opt == 'n')
			threads = atoi(optarg);
		else if (opt == 't')
			tolerant = true;
		else if (opt == 'u')
			queues = true;
		else if (opt == 'v')
			unmap_vdso();
		else
			return 2;
	}
	if (threads < 6 || threads >= BUSY_MAX) {
		fprintf(stderr, "busy: 6 to %d threads\n", BUSY_MAX - 1);
		return 2;
	}
	map_page(argv[optind]);
	__builtin_cpu_init();
	block(SIGRTMIN);		/* only the receiver opens it */
	sigaction(SIGRTMIN, &sa, NULL);
	launch(BUSY_NANOSLEEP, "nanosleep", sleep_body);
	launch(BUSY_POLL, "poll", sleep_body);
	launch(BUSY_FUTEX, "futex", sleep_body);
	receiver = launch(BUSY_SIGNAL, "receiver", receiver_body);
	launch(BUSY_SENDER, "sender", sender_body);
	for (int i = 4; i < threads; i++)
		launch(i % 2 ? BUSY_VECTOR : BUSY_GENERAL, i % 2 ? "vector" : "general",
		       i % 2 ? vector_body : general_body);
	if (talks) {
		connect_all();
		launch(BUSY_TCP, "tcp", tcp_body);
	}
	if (queues) {
		queue_all();
		launch(BUSY_UNIX, "unix", unix_body);
	}
	page->version = BUSY_VERSION;
	__atomic_store_n(&page->magic, BUSY_MAGIC, __ATOMIC_SEQ_CST);
	for (;;)
		syscall(SYS_pause);
}
