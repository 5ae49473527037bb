/* SPDX-License-Identifier: MIT */
/*
 * mqueue_test.c - reading a message queue leaves it as it was, also when the reader is killed.
 */
#include "workers/files/mqueue_read.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/check.h"

enum { MESSAGES = 9, SIZE = 64, KILLS = 200 };

static const unsigned prio[MESSAGES] = { 7, 7, 0, 3, 3, 0, 31, 0, 7 };
static const int order[MESSAGES] = { 6, 0, 1, 8, 3, 4, 2, 5, 7 };	/* as they are received */

static mqd_t make_queue(void)
{
	struct mq_attr a = { .mq_maxmsg = MESSAGES, .mq_msgsize = SIZE };
	char name[40];
	mqd_t q;

	snprintf(name, sizeof(name), "/stasis.test.%d", (int)getpid());
	q = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &a);
	mq_unlink(name);
	return q;
}

/* Message i is i times the digit i. */
static void send_all(mqd_t q)
{
	char text[SIZE];
	int i;

	for (i = 0; i < MESSAGES; i++)
		CHECK(mq_send(q, memset(text, '0' + i, SIZE), i, prio[i]) == 0);
}

static bool receive_all(mqd_t q)
{
	char text[SIZE + 1], digit[2] = "0";
	unsigned p;
	int i;

	for (i = 0; i < MESSAGES; i++) {
		ssize_t n = mq_receive(q, text, SIZE, &p);

		digit[0] = '0' + order[i];
		text[n < 0 ? 0 : n] = '\0';
		if (n != order[i] || p != prio[order[i]] || strspn(text, digit) != (size_t)n)
			return false;
	}
	return mq_receive(q, text, SIZE, &p) < 0 && errno == EAGAIN;
}

static void test_read(void)
{
	struct mq_messages m;
	struct fault f = { 0 };
	mqd_t q = make_queue();
	size_t i;

	if (q < 0) {
		check_skip("no message queues here");
		return;
	}
	CHECK(mq_messages_read(q, &m, &f) == 0 && m.n == 0);
	send_all(q);
	CHECK(mq_messages_read(q, &m, &f) == 0 && m.n == MESSAGES);
	for (i = 0; i < m.n; i++)
		CHECK(m.len[i] == (unsigned)order[i] && m.prio[i] == prio[order[i]]);
	mq_messages_free(&m);
	CHECK(receive_all(q));
	mq_close(q);
}

/*
 * The reader reads over and over; its keepers become our children. Either the reader alone is
 * killed or its process group is asked to end, which does not concern the keepers.
 */
static void kill_a_reader(mqd_t q, int delay_us, bool group)
{
	struct mq_messages m;
	struct fault f = { 0 };
	pid_t pid = fork();

	setpgid(pid, pid);
	if (pid == 0) {
		while (mq_messages_read(q, &m, &f) == 0)
			mq_messages_free(&m);
		CHECK(!"a reader goes on until it is killed");
		fprintf(stderr, "%s\n", f.text);
		_exit(1);
	}
	usleep(delay_us);
	if (group)
		kill(-pid, SIGTERM);
	else
		kill(pid, SIGKILL);
	while (wait(NULL) >= 0 || errno == EINTR)
		;
}

static void test_kill(void)
{
	mqd_t q = make_queue();
	int i, wrong = 0;

	if (q < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
		check_skip("no message queues here");
		return;
	}
	srandom(1);
	for (i = 0; i < KILLS; i++) {
		send_all(q);
		kill_a_reader(q, 300 + random() % 3000, i % 2);
		wrong += !receive_all(q);
	}
	CHECK(wrong == 0);
	mq_close(q);
}

int main(void)
{
	check_run("reading leaves all messages, in their order", test_read);
	check_run("a reader killed at any moment leaves all messages", test_kill);
	return check_done();
}
