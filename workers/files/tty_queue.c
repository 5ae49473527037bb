/* SPDX-License-Identifier: MIT */
/*
 * tty_queue.c - unread bytes inside a pty, both directions.
 *
 * What is read from an end has been processed already (echo, newlines, special
 * characters), so it goes back with all processing switched off. Canonical mode stays on when it
 * was, or the line discipline would forget where lines end; it is off only while an unfinished
 * line is taken, which cannot be read otherwise.
 *
 * Taking and putting back is the work of a short-lived child: a SIGKILL of this worker or of the
 * coordinator does not reach it, and loses no byte of the program.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/files/tty_queue.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "proto/control/util.h"
#include "workers/common/log.h"

#define CHUNK 4096
#define LIMIT (128 * 1024)		/* more than a pty can hold */
#define LINE_BUFFER 4095	/* what the line discipline takes; the rest waits before it */
#define SETTLE_US 50			/* the kernel passes bytes on in the background */
#define SETTLE_TRIES 4000
#define LOCK_BYTE 0x7374617369l
#define LOCK_WAIT_US 1000
#define LOCK_TRIES 5000

/* Bytes of one direction, with their lines. */
struct queue {
	unsigned char bytes[LIMIT];
	size_t n;
	size_t end[CHUNK];	/* where end-of-file marks are: offsets, ascending */
	size_t nends;
	size_t tail;		/* length of the unfinished line at the end */
};

/* What the child hands over: shared memory. */
struct copy {
	int r;
	struct fault f;
	unsigned char eof;	/* the program's end-of-file character */
	struct queue to_master, to_slave;
};

void tty_queues_free(struct tty_queues *q)
{
	free(q->to_master);
	free(q->to_slave);
	*q = (struct tty_queues){ 0 };
}

/* Does this character end a line in canonical mode? A special character of 0 is none. */
static bool ends_line(const struct termios2 *t, unsigned char c)
{
	return c == '\n' || (c && c == t->c_cc[VEOL]) ||
	       (c && c == t->c_cc[VEOL2] && (t->c_lflag & IEXTEN));
}

/*
 * Take what is there. canonical: the slave's modes when they are; then a read that does not
 * end with the end of a line ended at an end-of-file mark.
 */
static int take(int fd, const struct termios2 *canonical, struct queue *q, struct fault *f)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n;

	while (q->n + CHUNK <= LIMIT && q->nends < CHUNK && poll(&p, 1, 0) > 0 &&
	       (p.revents & POLLIN)) {
		n = read(fd, q->bytes + q->n, CHUNK);
		if (n < 0 && (errno == EAGAIN || errno == EIO))
			break;
		if (n < 0)
			return fault(f, errno, "read unread bytes of a pty");
		q->n += n;
		if (!canonical && n == 0)
			break;
		if (canonical && (n == 0 || !ends_line(canonical, q->bytes[q->n - 1])))
			q->end[q->nends++] = q->n;
	}
	return 0;
}

/* The highest character below another that does not occur. */
static unsigned char unused_char(const struct queue *q, int below)
{
	int c;

	for (c = below - 1; c > '\r'; c--)
		if (!memchr(q->bytes, c, q->n))
			return c;
	return 0;
}

/* The slave takes and gives bytes as they are, but for the ends of lines. */
static struct termios2 plain_modes(const struct termios2 *t, unsigned char eof)
{
	struct termios2 p = *t;

	p.c_iflag = p.c_oflag = 0;
	p.c_lflag &= ICANON | IEXTEN;
	memset(p.c_cc, 0, sizeof(p.c_cc));
	p.c_cc[VEOL] = t->c_cc[VEOL];
	p.c_cc[VEOL2] = t->c_cc[VEOL2];
	if (t->c_lflag & ICANON) {
		p.c_cc[VEOF] = eof;
	} else {
		p.c_cc[VMIN] = t->c_cc[VMIN];
		p.c_cc[VTIME] = t->c_cc[VTIME];
	}
	return p;
}

/* Write all; a slave whose output is stopped (^S) is started for the moment. */
static bool write_some(int fd, const unsigned char *bytes, size_t n, bool *stopped)
{
	int tries = SETTLE_TRIES;
	ssize_t r;

	while (n && tries--) {
		r = write(fd, bytes, n);
		if (r > 0) {
			bytes += r;
			n -= r;
			continue;
		}
		if (r < 0 && errno != EAGAIN)
			return false;
		if (!*stopped && ioctl(fd, TCXONC, TCOON) == 0)
			*stopped = true;
		usleep(SETTLE_US);
	}
	return n == 0;
}

/* Wait until what was written at one end has arrived at the other. */
static void settle(int fd, size_t n)
{
	int arrived = 0, tries = SETTLE_TRIES;

	if (n > LINE_BUFFER)
		n = LINE_BUFFER;
	while (tries-- && ioctl(fd, FIONREAD, &arrived) == 0 && (size_t)arrived < n)
		usleep(SETTLE_US);
}

/*
 * An unfinished line is not counted as arrived. Its echo tells, and is thrown away: the
 * other queue is still empty.
 */
static bool put_tail(int master, int slave, const struct termios2 *plain, const struct queue *q)
{
	struct termios2 echo = *plain;
	unsigned char buf[LINE_BUFFER];
	size_t n = q->tail < sizeof(buf) ? q->tail : sizeof(buf);
	bool stopped = true, good;

	if (!n)
		return true;
	echo.c_lflag |= ECHO;
	if (ioctl(slave, TCSETS2, &echo) < 0)
		return false;
	good = write_some(master, q->bytes + q->n - q->tail, n, &stopped);
	settle(master, n);
	while (n > 0 && good) {
		ssize_t r = read(master, buf, n);

		good = r > 0;
		n -= good ? r : 0;
	}
	return ioctl(slave, TCSETS2, plain) == 0 && good;
}

/*
 * Nor is an end-of-file mark behind everything else, and it would be an ordinary character if the
 * modes changed before the kernel has passed it on. Begin a line and kill it: the echo of both
 * characters tells that the mark has been passed.
 */
static bool settle_mark(int master, int slave, const struct termios2 *plain, const struct queue *q)
{
	const unsigned char letter = unused_char(q, plain->c_cc[VEOF]);
	unsigned char two[2] = { letter, unused_char(q, letter) };
	struct termios2 echo = *plain;
	bool stopped = true, good;

	if (!q->nends || q->end[q->nends - 1] != q->n)
		return true;
	echo.c_lflag |= ECHO;
	echo.c_cc[VKILL] = two[1];
	echo.c_cc[VEOL] = echo.c_cc[VEOL2] = 0;
	if (!two[1] || ioctl(slave, TCSETS2, &echo) < 0)
		return false;
	good = write_some(master, two, sizeof(two), &stopped);
	settle(master, sizeof(two));
	good = good && read(master, two, sizeof(two)) == sizeof(two);
	return ioctl(slave, TCSETS2, plain) == 0 && good;
}

static void put_to_slave(int master, int slave, const struct termios2 *plain, const struct queue *q)
{
	const size_t lines = q->n - q->tail;
	bool stopped = true, good = true;
	size_t i, from = 0;

	for (i = 0; i < q->nends && good; i++) {
		good = write_some(master, q->bytes + from, q->end[i] - from, &stopped) &&
		       write_some(master, &plain->c_cc[VEOF], 1, &stopped);
		from = q->end[i];
	}
	good = good && write_some(master, q->bytes + from, lines - from, &stopped);
	settle(slave, lines);
	if (!good || !settle_mark(master, slave, plain, q) || !put_tail(master, slave, plain, q))
		log_warnx("some of the %zu unread bytes of a terminal are lost", q->n);
}

static void put_to_master(int master, int slave, const struct queue *q)
{
	bool stopped = false;

	if (!write_some(slave, q->bytes, q->n, &stopped))
		log_warnx("some of the %zu unread bytes of a pty master are lost", q->n);
	settle(master, q->n);
	if (stopped)
		ioctl(slave, TCXONC, TCOOFF);
}

/* Fill both queues of a pty with these modes, and leave it with them. */
static int put(int master, int slave, const struct termios2 *t, const struct copy *c,
	       struct fault *f)
{
	const struct termios2 plain = plain_modes(t, unused_char(&c->to_slave, 256));

	if (ioctl(slave, TCSETS2, &plain) < 0)
		return fault(f, errno, "set the modes of a pty");
	put_to_slave(master, slave, &plain, &c->to_slave);
	put_to_master(master, slave, &c->to_master);
	if (ioctl(slave, TCSETS2, t) < 0)
		return fault(f, errno, "set back the modes of a pty");
	return 0;
}

/* Lines first, with their ends; what is left then is an unfinished line. */
static int take_lines(int slave, const struct termios2 *t, struct queue *q, struct fault *f)
{
	struct termios2 open = *t;
	size_t lines;

	if (take(slave, t, q, f) < 0)
		return -1;
	open.c_lflag &= ~ICANON;
	if (ioctl(slave, TCSETS2, &open) < 0)
		return fault(f, errno, "set the modes of a pty");
	lines = q->n;
	if (take(slave, NULL, q, f) < 0)
		return -1;
	q->tail = q->n - lines;
	return 0;
}

static int copy_both(int master, int slave, const struct termios2 *t, struct copy *c)
{
	int r = take(master, NULL, &c->to_master, &c->f);

	if (r == 0)
		r = t->c_lflag & ICANON ? take_lines(slave, t, &c->to_slave, &c->f) :
					  take(slave, NULL, &c->to_slave, &c->f);
	/* Also after a fault: what was taken goes back. */
	return put(master, slave, t, c, &c->f) < 0 ? -1 : r;
}

/*
 * The child of a dump that was killed may still be at work on this pty. A lock on a byte that no
 * program has a use for; it ends with the last descriptor of this opening.
 */
static int wait_for_others(int slave, struct fault *f)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_BYTE, .l_len = 1
	};
	int tries = LOCK_TRIES;

	while (fcntl(slave, F_OFD_SETLK, &lock) < 0) {
		if (errno != EAGAIN || !tries--)
			return fault(f, errno, "wait for another dump of the pty");
		usleep(LOCK_WAIT_US);
	}
	return 0;
}

/* The child. In packet mode each read of a master begins with a byte that is no data: off. */
static void copy_in_child(int master, int slave, struct termios2 *t, struct copy *c)
{
	const int on = 1, off = 0;
	int packet = 0;

	c->r = wait_for_others(slave, &c->f);
	if (c->r == 0 && ioctl(slave, TCGETS2, t) < 0)
		c->r = fault(&c->f, errno, "read the modes of a pty");
	if (c->r < 0)
		return;
	c->eof = t->c_cc[VEOF];
	ioctl(master, TIOCGPKT, &packet);
	if (packet && ioctl(master, TIOCPKT, &off) < 0) {
		c->r = fault(&c->f, errno, "leave packet mode of a pty");
		return;
	}
	c->r = copy_both(master, slave, t, c);
	if (packet && ioctl(master, TIOCPKT, &on) < 0)
		c->r = fault(&c->f, errno, "enter packet mode of a pty");
}

/* The form of an image: end-of-file characters between the bytes. */
static void hand_over(const struct copy *c, struct tty_queues *q)
{
	const struct queue *s = &c->to_slave;
	size_t i, from = 0;

	q->nmaster = c->to_master.n;
	q->to_master = xcalloc(q->nmaster, 1);
	memcpy(q->to_master, c->to_master.bytes, q->nmaster);
	q->to_slave = xcalloc(s->n + s->nends, 1);
	for (i = 0; i < s->nends; i++) {
		memcpy(q->to_slave + q->nslave, s->bytes + from, s->end[i] - from);
		q->nslave += s->end[i] - from;
		from = s->end[i];
		q->to_slave[q->nslave++] = c->eof;
	}
	memcpy(q->to_slave + q->nslave, s->bytes + from, s->n - from);
	q->nslave += s->n - from;
}

/* Nothing to read and no line begun: the common case, told without touching anything. */
static bool is_idle(int master, int slave, const struct termios2 *t)
{
	struct pollfd p[2] = { { .fd = master, .events = POLLIN },
			       { .fd = slave, .events = POLLIN } };

	return !(t->c_lflag & ICANON) && poll(p, 2, 0) >= 0 &&
	       !((p[0].revents | p[1].revents) & POLLIN);
}

int tty_queues_copy(int master, int slave, struct tty_queues *q, struct fault *f)
{
	struct termios2 t = { 0 };
	struct copy *c;
	pid_t pid;
	int r;

	if (ioctl(slave, TCGETS2, &t) < 0)
		return fault(f, errno, "read the modes of a pty");
	if (is_idle(master, slave, &t))
		return 0;
	c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c == MAP_FAILED)
		die("no memory for the bytes of a pty");
	c->r = fault(&c->f, -EPIPE, "the process that copies unread bytes of a pty died");
	pid = fork();
	if (pid == 0) {
		c->f.code = 0;
		copy_in_child(master, slave, &t, c);
		_exit(0);
	}
	if (pid < 0)
		c->r = fault(f, errno, "start a process to copy unread bytes of a pty");
	else if (waitpid(pid, NULL, 0) < 0)
		c->r = fault(f, errno, "wait for the process that copies unread bytes of a pty");
	r = c->r < 0 ? fault(f, -c->f.code, "%s", c->f.text) : 0;
	if (r == 0)
		hand_over(c, q);
	munmap(c, sizeof(*c));
	return r;
}

/* The other way: split at end-of-file characters, find the unfinished line. */
static void take_over(const struct tty_queues *q, const struct termios2 *t, struct copy *c)
{
	const bool canonical = t->c_lflag & ICANON;
	const unsigned char eof = t->c_cc[VEOF];
	struct queue *s = &c->to_slave;
	size_t i;

	c->to_master.n = q->nmaster < LIMIT ? q->nmaster : LIMIT;
	if (c->to_master.n)
		memcpy(c->to_master.bytes, q->to_master, c->to_master.n);
	for (i = 0; i < q->nslave && s->n < LIMIT; i++) {
		if (canonical && eof && q->to_slave[i] == eof && s->nends < CHUNK) {
			s->end[s->nends++] = s->n;
			s->tail = 0;
			continue;
		}
		s->bytes[s->n++] = q->to_slave[i];
		s->tail = !canonical || ends_line(t, q->to_slave[i]) ? 0 : s->tail + 1;
	}
}

int tty_queues_put(int master, int slave, const struct tty_queues *q, struct fault *f)
{
	AUTO_FREE struct copy *c = NULL;
	struct termios2 t = { 0 };

	if (!q->nmaster && !q->nslave)
		return 0;
	if (ioctl(slave, TCGETS2, &t) < 0)
		return fault(f, errno, "read the modes of a pty");
	c = xcalloc(1, sizeof(*c));
	take_over(q, &t, c);
	return put(master, slave, &t, c, f);
}
