// SPDX-License-Identifier: MIT
/*
 * mqueues.c - POSIX message queues: messages in order, shape, flags, unlinked ones, notification.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static mqd_t named, same, writer, gone, empty, silent;
static char name[3][40];
static volatile sig_atomic_t told;
static pid_t child;

static const struct {
	const char *text;
	unsigned prio;
} sent[] = { { "low", 0 }, { "high", 30000 }, { "", 5 }, { "low too", 0 }, { "high too", 30000 } };

static const int order[] = { 1, 4, 2, 0, 3 };

static void on_signal(int nr)
{
	told = nr;
}

static mqd_t make(int i, int flags, long n, long size)
{
	struct mq_attr a = { .mq_maxmsg = n, .mq_msgsize = size };

	snprintf(name[i], sizeof(name[i]), "/stasis.case.%d.%d", (int)getpid(), i);
	return mq_open(name[i], flags | O_CREAT | O_EXCL, 0640, &a);
}

static void send_all(mqd_t q)
{
	for (int i = 0; i < 5; i++)
		CHECK(mq_send(q, sent[i].text, strlen(sent[i].text), sent[i].prio) == 0);
}

static void expect_all(mqd_t q)
{
	char text[64];
	unsigned prio;

	for (int i = 0; i < 5; i++) {
		size_t n = strlen(sent[order[i]].text);

		CHECK(mq_receive(q, text, sizeof(text), &prio) == (ssize_t)n);
		CHECK(!memcmp(text, sent[order[i]].text, n) && prio == sent[order[i]].prio);
	}
	CHECK(mq_receive(q, text, sizeof(text), &prio) < 0 && errno == EAGAIN);
}

static void before(void)
{
	struct sigevent by_signal = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct sigevent not = { .sigev_notify = SIGEV_NONE };

	umask(0);
	named = make(0, O_RDWR | O_NONBLOCK, 5, 64);
	if (named < 0 && errno == ENOSYS)
		case_skip("no POSIX message queues");
	same = dup(named);
	writer = mq_open(name[0], O_WRONLY);
	gone = make(1, O_RDWR | O_NONBLOCK, 8, 64);
	CHECK(named >= 0 && same >= 0 && writer >= 0 && gone >= 0);
	send_all(named);
	send_all(gone);
	CHECK(mq_unlink(name[1]) == 0);
	silent = make(1, O_RDONLY, 3, 16);	/* the name again: the other is another queue */
	empty = make(2, O_RDONLY | O_NONBLOCK, 3, 16);
	signal(SIGUSR1, on_signal);
	CHECK(mq_notify(empty, &by_signal) == 0 && mq_notify(silent, &not) == 0);
	child = fork();
	if (child == 0) {
		case_child_wait();
		CHECK(mq_send(mq_open(name[2], O_WRONLY), "x", 1, 1) == 0);
		CHECK(mq_send(writer, "child", 5, 9) == 0);
		exit(0);
	}
	CHECK(mq_notify(empty, NULL) == 0 && mq_notify(empty, &by_signal) == 0);
}

static void check_shape(void)
{
	struct mq_attr a;
	struct stat st;

	CHECK(mq_getattr(named, &a) == 0 && a.mq_maxmsg == 5 && a.mq_msgsize == 64);
	CHECK(a.mq_curmsgs == 5 && a.mq_flags == O_NONBLOCK);
	CHECK(mq_getattr(writer, &a) == 0 && a.mq_flags == 0);
	CHECK(fstat(named, &st) == 0 && (st.st_mode & 0777) == 0640 && st.st_uid == geteuid());
	CHECK(mq_send(named, "x", 1, 0) < 0 && errno == EAGAIN);
	CHECK(mq_getattr(gone, &a) == 0 && a.mq_maxmsg == 8 && a.mq_curmsgs == 5);
}

static void after(void)
{
	struct sigevent not = { .sigev_notify = SIGEV_NONE };
	char text[64];
	mqd_t again;

	check_shape();
	CHECK(!told);
	CHECK(mq_setattr(same, &(struct mq_attr){ .mq_flags = 0 }, NULL) == 0);
	CHECK(!(fcntl(named, F_GETFL) & O_NONBLOCK));	/* one open file */
	CHECK(mq_setattr(same, &(struct mq_attr){ .mq_flags = O_NONBLOCK }, NULL) == 0);
	expect_all(named);
	expect_all(gone);
	CHECK(mq_notify(silent, &not) < 0 && errno == EBUSY);
	again = mq_open(name[0], O_RDONLY | O_NONBLOCK);
	case_release();
	case_child_ok(child);
	CHECK(told == SIGUSR1);
	CHECK(mq_receive(again, text, sizeof(text), NULL) == 5 && !memcmp(text, "child", 5));
	CHECK(mq_receive(empty, text, sizeof(text), NULL) == 1);
	for (int i = 0; i < 3; i++)
		CHECK(mq_unlink(name[i]) == 0);
}

const struct test_case test_case = {
	.proves = "POSIX message queues keep messages, shape and who is to be told of the next",
	.criu_fails = "CRIU does not know message queues",
	.before = before,
	.after = after,
};
