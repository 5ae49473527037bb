/* SPDX-License-Identifier: MIT */
/*
 * asking.c - ask a socket for many options at once.
 *
 * A getsockopt costs some 0.4 us, most of it the way into the kernel and back; a socket has 20
 * options, and 10,000 sockets are frozen meanwhile. A ring of io_uring takes all questions for a
 * socket in one call: they are answered in it, for nothing in them waits. When a ring says anything
 * unexpected, each question is asked by a call of its own, which asks again what the ring may have
 * answered already.
 *
 * Rights:   none.
 * Holds:    the rings.
 */
#include "workers/net/asking.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/fault.h"
#include "proto/control/util.h"

/* Linux UAPI (io_uring.h); the headers of older systems lack them. */
#define OP_URING_CMD 46			/* Linux 5.19 */
#define CMD_GETSOCKOPT 2		/* SOCKET_URING_OP_GETSOCKOPT, Linux 6.7 */

/* struct io_uring_sqe, as a question to a socket has it. */
struct request {
	uint8_t opcode, flags;
	uint16_t ioprio;
	int32_t fd;
	uint32_t command, unused1;
	uint32_t level, name;
	uint32_t unused2, unused3;
	uint64_t user_data;
	uint32_t unused4;
	uint32_t room;
	uint64_t value, unused5;
};

_Static_assert(sizeof(struct request) == sizeof(struct io_uring_sqe), "size of a submission");

struct ring {
	int fd;
	char *map;			/* both queues */
	size_t map_size;
	struct request *requests;
	uint32_t *tail, *order, *head, *done;	/* in map: submissions; completions */
	const struct io_uring_cqe *answers;
	uint32_t mask, answers_mask;
	struct ring *next;
};

struct asking {
	pthread_mutex_t lock;
	struct ring *idle;
	bool useless;			/* there are no rings here for that */
};

static void close_ring(struct ring *r)
{
	if (r->requests)
		munmap(r->requests, ASKING_MAX * sizeof(struct request));
	if (r->map)
		munmap(r->map, r->map_size);
	auto_close(&r->fd);
	free(r);
}

static void *map_ring(int fd, size_t size, off_t what)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, what);

	return at == MAP_FAILED ? NULL : at;
}

static bool map_queues(struct ring *r, const struct io_uring_params *p)
{
	const size_t requests = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
	const size_t answers = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);

	if (!(p->features & IORING_FEAT_SINGLE_MMAP) || p->sq_entries != ASKING_MAX)
		return false;
	r->map_size = requests > answers ? requests : answers;
	r->map = map_ring(r->fd, r->map_size, IORING_OFF_SQ_RING);
	r->requests = map_ring(r->fd, ASKING_MAX * sizeof(struct request), IORING_OFF_SQES);
	if (!r->map || !r->requests)
		return false;
	r->tail = (uint32_t *)(r->map + p->sq_off.tail);
	r->order = (uint32_t *)(r->map + p->sq_off.array);
	r->mask = p->sq_entries - 1;
	r->head = (uint32_t *)(r->map + p->cq_off.head);
	r->done = (uint32_t *)(r->map + p->cq_off.tail);
	r->answers = (const struct io_uring_cqe *)(r->map + p->cq_off.cqes);
	r->answers_mask = p->cq_entries - 1;
	return true;
}

static struct ring *open_ring(void)
{
	struct io_uring_params p = { 0 };
	struct ring *r = xcalloc(1, sizeof(*r));

	r->fd = syscall(SYS_io_uring_setup, ASKING_MAX, &p);
	if (r->fd >= 0 && map_queues(r, &p))
		return r;
	close_ring(r);
	return NULL;
}

static void put_questions(struct ring *r, int fd, const struct question *q, size_t n)
{
	const uint32_t tail = *r->tail;
	size_t i;

	for (i = 0; i < n; i++) {
		const uint32_t at = (tail + i) & r->mask;

		r->requests[at] = (struct request){
			.opcode = OP_URING_CMD, .fd = fd, .command = CMD_GETSOCKOPT,
			.level = q[i].level, .name = q[i].name, .user_data = i,
			.room = q[i].room, .value = (uintptr_t)q[i].value,
		};
		r->order[at] = at;
	}
	__atomic_store_n(r->tail, tail + n, __ATOMIC_RELEASE);
}

/* Returns how many answers there were. */
static size_t take_answers(struct ring *r, struct question *q, size_t n)
{
	const uint32_t end = __atomic_load_n(r->done, __ATOMIC_ACQUIRE);
	uint32_t at = *r->head;
	size_t taken = 0;

	for (; at != end; at++, taken++) {
		const struct io_uring_cqe *c = &r->answers[at & r->answers_mask];

		if (c->user_data < n)
			q[c->user_data].got = c->res;
	}
	__atomic_store_n(r->head, at, __ATOMIC_RELEASE);
	return taken;
}

static bool ask_ring(struct ring *r, int fd, struct question *q, size_t n)
{
	put_questions(r, fd, q, n);
	return syscall(SYS_io_uring_enter, r->fd, n, n, IORING_ENTER_GETEVENTS, NULL,
		       0) == (long)n && take_answers(r, q, n) == n;
}

int ask_number(int fd, int level, int name, int *value)
{
	socklen_t len = sizeof(*value);

	*value = 0;
	return getsockopt(fd, level, name, value, &len);
}

static void ask_each(int fd, struct question *q, size_t n)
{
	socklen_t len;
	size_t i;

	for (i = 0; i < n; i++) {
		len = q[i].room;
		q[i].got = getsockopt(fd, q[i].level, q[i].name, q[i].value, &len) < 0 ?
				   -errno : (int)len;
	}
}

/* Does the ring know the question? A kernel that does not says so in many ways. */
static bool is_of_use(struct ring *r, int fd)
{
	int type = -1;
	struct question q = { SOL_SOCKET, SO_TYPE, &type, sizeof(type), 0 };

	return ask_ring(r, fd, &q, 1) && q.got == sizeof(type) && type > 0;
}

/* An open ring that does not answer as it should. NULL is fine. */
static void drop_ring(struct asking *a, struct ring *r)
{
	if (r)
		close_ring(r);
	pthread_mutex_lock(&a->lock);
	a->useless = true;
	pthread_mutex_unlock(&a->lock);
}

/* A ring for this thread alone, or NULL. */
static struct ring *take_ring(struct asking *a, int fd)
{
	struct ring *r = NULL;
	bool useless;

	pthread_mutex_lock(&a->lock);
	useless = a->useless;
	if (!useless && a->idle) {
		r = a->idle;
		a->idle = r->next;
	}
	pthread_mutex_unlock(&a->lock);
	if (r || useless)
		return r;
	r = open_ring();
	if (r && is_of_use(r, fd))
		return r;
	drop_ring(a, r);
	return NULL;
}

static void give_back(struct asking *a, struct ring *r)
{
	pthread_mutex_lock(&a->lock);
	r->next = a->idle;
	a->idle = r;
	pthread_mutex_unlock(&a->lock);
}

void ask_all(struct asking *a, int fd, struct question *q, size_t n)
{
	struct ring *r = a ? take_ring(a, fd) : NULL;

	if (n > ASKING_MAX)
		die("%zu questions at once", n);
	if (r && ask_ring(r, fd, q, n)) {
		give_back(a, r);
		return;
	}
	if (r)
		drop_ring(a, r);
	ask_each(fd, q, n);
}

bool ask_by_rings(struct asking *a)
{
	bool yes;

	pthread_mutex_lock(&a->lock);
	yes = a->idle && !a->useless;
	pthread_mutex_unlock(&a->lock);
	return yes;
}

struct asking *asking_new(void)
{
	struct asking *a = xcalloc(1, sizeof(*a));

	pthread_mutex_init(&a->lock, NULL);
	return a;
}

void asking_free(struct asking *a)
{
	struct ring *r, *next;

	if (!a)
		return;
	for (r = a->idle; r; r = next) {
		next = r->next;
		close_ring(r);
	}
	pthread_mutex_destroy(&a->lock);
	free(a);
}
