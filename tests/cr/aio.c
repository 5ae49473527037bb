// SPDX-License-Identifier: MIT
/* aio.c - contexts of asynchronous I/O: address, unread events, room, position in the ring. */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

enum { REQUESTS = 100, MANY = 4000 };

struct head {
	unsigned id, nr, head, tail;
};

static aio_context_t fresh, wrapped, full, large;
static int file;
static char bytes[8] = "content";

static long submit(aio_context_t ctx, int n, unsigned long data)
{
	struct iocb cb = { .aio_data = data, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = file,
			   .aio_buf = (unsigned long)bytes, .aio_nbytes = 8 };
	struct iocb *p = &cb;
	long done = 0;

	for (; n && syscall(SYS_io_submit, ctx, 1, &p) == 1; n--, done++)
		cb.aio_data++;
	return done;
}

static long fetch(aio_context_t ctx, long n, struct io_event *e)
{
	struct timespec none = { 0 };

	return syscall(SYS_io_getevents, ctx, n, n, e, &none);
}

static volatile struct head *head_of(aio_context_t ctx)
{
	return (void *)ctx;
}

static aio_context_t setup(unsigned n)
{
	aio_context_t ctx = 0;

	CHECK(syscall(SYS_io_setup, n, &ctx) == 0);
	return ctx;
}

/* Two events a step, one of them fetched: the ring wraps with some left. */
static void before(void)
{
	struct io_event e[2];
	unsigned nr;

	file = open(case_path("file"), O_RDWR | O_CREAT, 0600);
	CHECK(file >= 0);
	aio_context_t hole = setup(1);
	fresh = setup(REQUESTS);
	wrapped = setup(REQUESTS);
	full = setup(REQUESTS);
	large = setup(MANY);
	CHECK(syscall(SYS_io_destroy, hole) == 0);	/* numbers of contexts are not from 0 on */
	nr = head_of(wrapped)->nr;
	CHECK(submit(wrapped, 3, 0) == 3);
	for (unsigned i = 0; i < nr - 2; i++)
		CHECK(submit(wrapped, 1, i) == 1 && fetch(wrapped, 1, e) == 1);
	CHECK(submit(full, REQUESTS, 1000) == REQUESTS);
	CHECK(submit(large, MANY, 7) == MANY);
	CHECK(mprotect((void *)fresh, 8192, PROT_READ) == 0);
}

static void check_events(aio_context_t ctx, int n, unsigned long first)
{
	struct io_event e;

	for (int i = 0; i < n; i++)
		if (!CHECK(fetch(ctx, 1, &e) == 1 && e.data == first + i && e.res == 8))
			return;
	CHECK(syscall(SYS_io_getevents, ctx, 0, 1, &e, &(struct timespec){ 0 }) == 0);
}

static void after(void)
{
	struct io_event e[4];
	unsigned nr = head_of(wrapped)->nr;

	CHECK(syscall(SYS_io_getevents, fresh, 0, 1, e, &(struct timespec){ 0 }) == 0);
	CHECK(head_of(wrapped)->head == nr - 2 && head_of(wrapped)->tail == 1);
	CHECK(fetch(wrapped, 3, e) == 3 && e[0].data == nr - 5 && e[2].data == nr - 3);
	check_events(full, REQUESTS, 1000);
	check_events(large, MANY, 7);
	for (int round = 0; round < 5; round++) {
		CHECK(submit(full, REQUESTS, 0) == REQUESTS);
		check_events(full, REQUESTS, 0);
	}
	CHECK(syscall(SYS_io_destroy, large) == 0);
	CHECK(syscall(SYS_io_destroy, fresh) == 0 && syscall(SYS_io_destroy, wrapped) == 0);
	CHECK(syscall(SYS_io_destroy, full) == 0);
	CHECK(syscall(SYS_io_destroy, full) < 0 && errno == EINVAL);
}

const struct test_case test_case = {
	.proves = "contexts of asynchronous I/O keep their address, unread events and room",
	.before = before,
	.after = after,
};
