/* SPDX-License-Identifier: MIT */
/*
 * tty_test.c - terminals: their kinds, their unread bytes, and a pty through its images.
 *
 * The last group dumps ptys of this process itself and makes them again in it. Controlling
 * terminals need tasks with an agent and are tested with the whole program.
 *
 * Rights:   root for locked modes, other owners and the dump; skipped otherwise.
 */
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/identity.h"
#include "workers/files/prepare.h"
#include "workers/files/tty.h"
#include "workers/files/tty_kind.h"
#include "workers/files/tty_queue.h"
#include "workers/files/tty_state.h"

/* Tools */

static bool open_pty(int *master, int *slave)
{
	const int off = 0;

	*master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*master < 0 || ioctl(*master, TIOCSPTLCK, &off) < 0)
		return false;
	*slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return *slave >= 0;
}

static void set_modes(int fd, unsigned int lflag, unsigned int oflag)
{
	struct termios2 t;

	CHECK(ioctl(fd, TCGETS2, &t) == 0);
	t.c_lflag = lflag;
	t.c_oflag = oflag;
	CHECK(ioctl(fd, TCSETS2, &t) == 0);
}

static void feed(int fd, const char *text)
{
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	usleep(20000);
}

/* One read of what is there must give exactly this. */
static bool gives(int fd, const char *text)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[8192];
	ssize_t n;

	if (poll(&p, 1, 100) <= 0)
		return false;
	n = read(fd, buf, sizeof(buf));
	return n == (ssize_t)strlen(text) && memcmp(buf, text, n) == 0;
}

static bool is_empty(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 20) == 0 || !(p.revents & POLLIN);
}

static bool same_modes(const struct termios2 *a, const struct termios2 *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Copy the queues of a pty; they and the modes must stay as they were. */
static void copy(int master, int slave, struct tty_queues *q)
{
	struct termios2 before, after;
	struct fault f = { 0 };

	CHECK(ioctl(slave, TCGETS2, &before) == 0);
	CHECK(tty_queues_copy(master, slave, q, &f) == 0);
	CHECK(ioctl(slave, TCGETS2, &after) == 0);
	CHECK(same_modes(&before, &after));
}

static bool holds(const unsigned char *bytes, size_t n, const char *text)
{
	return n == strlen(text) && memcmp(bytes, text, n) == 0;
}

/* Kinds */

static void test_kinds(void)
{
	static const struct {
		unsigned int maj, min;
		int type;		/* -1: none of ours */
		bool master;
	} rows[] = {
		{ 136, 0, TTY_TYPE__PTY, false }, { 136, 70000, TTY_TYPE__PTY, false },
		{ 5, 2, TTY_TYPE__PTY, true }, { 128, 3, TTY_TYPE__PTY, true },
		{ 5, 1, TTY_TYPE__CONSOLE, false }, { 5, 0, TTY_TYPE__CTTY, false },
		{ 4, 1, TTY_TYPE__VT, false }, { 4, 63, TTY_TYPE__VT, false },
		{ 4, 64, TTY_TYPE__SERIAL, false }, { 188, 0, TTY_TYPE__SERIAL, false },
		{ 204, 64, TTY_TYPE__SERIAL, false }, { 4, 0, -1, false }, { 1, 3, -1, false },
		{ 2, 0, -1, false }, { 229, 0, -1, false },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++) {
		const struct tty_kind *k = tty_kind_of(makedev(rows[i].maj, rows[i].min));

		CHECK((k ? (int)k->type : -1) == rows[i].type);
		CHECK(!k || k->master == rows[i].master);
	}
	CHECK(tty_is_device(makedev(229, 0)) && tty_is_device(makedev(4, 0)));
	CHECK(!tty_is_device(makedev(1, 3)));
}

/* Unread bytes */

static void test_lines(void)
{
	struct tty_queues q = { 0 };
	int m, s;

	if (!CHECK(open_pty(&m, &s)))
		return;
	feed(m, "one\ntwo\nmarked\004\004last\nbegun");
	copy(m, s, &q);
	CHECK(holds(q.to_slave, q.nslave, "one\ntwo\nmarked\004\004last\nbegun"));
	CHECK(holds(q.to_master, q.nmaster, "one\r\ntwo\r\nmarkedlast\r\nbegun"));
	CHECK(gives(s, "one\n") && gives(s, "two\n") && gives(s, "marked") && gives(s, "") &&
	      gives(s, "last\n") && is_empty(s));
	CHECK(gives(m, "one\r\ntwo\r\nmarkedlast\r\nbegun") && is_empty(m));
	feed(m, "\177N\n");
	CHECK(gives(s, "beguN\n") && is_empty(s));
	tty_queues_free(&q);
	close(m);
	close(s);
}

static void test_raw(void)
{
	struct tty_queues q = { 0 };
	int m, s;

	if (!CHECK(open_pty(&m, &s)))
		return;
	set_modes(s, 0, OPOST | ONLCR);
	feed(m, "a\003\004\r\n");
	feed(s, "x\r\n");
	copy(m, s, &q);
	CHECK(holds(q.to_slave, q.nslave, "a\003\004\n\n") && holds(q.to_master, q.nmaster,
								    "x\r\r\n"));
	CHECK(gives(s, "a\003\004\n\n") && gives(m, "x\r\r\n") && is_empty(m) && is_empty(s));
	tty_queues_free(&q);
	close(m);
	close(s);
}

static void test_packet_and_stopped(void)
{
	struct tty_queues q = { 0 };
	const int on = 1;
	int m, s, packet = 0;

	if (!CHECK(open_pty(&m, &s)))
		return;
	feed(s, "out\n");
	CHECK(ioctl(m, TIOCPKT, &on) == 0 && ioctl(s, TCXONC, TCOOFF) == 0);
	CHECK(gives(m, "") || true);
	copy(m, s, &q);
	CHECK(ioctl(m, TIOCGPKT, &packet) == 0 && packet == 1);
	CHECK(write(s, "more", 4) < 0 && errno == EAGAIN);
	CHECK(ioctl(s, TCXONC, TCOON) == 0);
	tty_queues_free(&q);
	close(m);
	close(s);
}

/* State */

static void test_state(void)
{
	struct winsize w = { .ws_row = 11, .ws_col = 22, .ws_xpixel = 33, .ws_ypixel = 44 }, w2;
	TtyInfoEntry e = TTY_INFO_ENTRY__INIT;
	struct termios2 t, t2;
	struct fault f = { 0 };
	int m, s, m2, s2;

	if (!CHECK(open_pty(&m, &s) && open_pty(&m2, &s2)))
		return;
	CHECK(ioctl(s, TCGETS2, &t) == 0);
	t.c_lflag &= ~ECHO;
	t.c_cflag = (t.c_cflag & ~CBAUD) | BOTHER;
	t.c_ospeed = t.c_ispeed = 12345;
	t.c_cc[VINTR] = 7;
	CHECK(ioctl(s, TCSETS2, &t) == 0 && ioctl(s, TIOCSWINSZ, &w) == 0);
	CHECK(ioctl(s, TIOCEXCL) == 0);
	CHECK(tty_state_read(m, true, &e, &f) == 1 && tty_state_complete(&e));
	CHECK(!e.exclusive && !e.locked && !e.packet_mode && e.termios->c_ospeed == 12345);
	CHECK(tty_state_apply(m2, &e, &f) == 0);
	CHECK(ioctl(s2, TCGETS2, &t2) == 0 && ioctl(s2, TIOCGWINSZ, &w2) == 0);
	CHECK(ioctl(s, TCGETS2, &t) == 0 && same_modes(&t, &t2) && memcmp(&w, &w2, sizeof(w)) == 0);
	tty_state_free(&e);
	CHECK(tty_state_read(s, false, &e, &f) == 1 && e.exclusive);
	tty_state_free(&e);
	close(m);
	CHECK(tty_state_read(s, false, &e, &f) == 0 && tty_state_absent(&e));
	close(s);
	close(m2);
	close(s2);
}

/* A pty through its images */

struct world {
	char dir[64];
	Options opts;
	struct worker worker;
	struct files fs;
	struct fault f;
};

static void begin(struct world *w)
{
	*w = (struct world){ .dir = "/tmp/tty_test.XXXXXX" };
	CHECK(mkdtemp(w->dir) != NULL);
	options__init(&w->opts);
	w->opts.pid = getpid();
	w->opts.has_pid = true;
	w->worker.set.opts = &w->opts;
	w->worker.set.image_dir = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->fs.worker = &w->worker;
}

static void finish(struct world *w)
{
	char cmd[128];

	tty_type.end(&w->fs);
	identity_free(&w->fs);
	prepare_end(&w->fs);
	auto_image(&w->fs.files_img);
	close(w->worker.set.image_dir);
	snprintf(cmd, sizeof(cmd), "rm -r %s", w->dir);
	CHECK(system(cmd) == 0);
}

/* The id of the entry, 0 after a fault. */
static uint32_t dump_fd(struct world *w, int fd)
{
	AUTO_PROBE struct probe p;
	uint32_t id = 0;

	if (probe_open(&p, getpid(), &w->f) == 0 && probe_info(&p, fd, NULL, &w->f) == 0 &&
	    probe_file(&p, &w->f) == 0 && CHECK(tty_type.match(&p.x))) {
		p.x.id = files_new_id(&w->fs);
		if (tty_type.dump(&w->fs, &p.x, &w->f) == 0)
			id = p.x.id;
	}
	return id;
}

static bool dump_end(struct world *w)
{
	if (tty_type.dump_done(&w->fs, &w->f) < 0 || image_close(&w->fs.files_img, &w->f) < 0)
		return false;
	tty_type.end(&w->fs);
	return true;
}

static bool prepare_files(struct world *w)
{
	FilesPrepare none = FILES_PREPARE__INIT;

	return prepare(&w->fs, &none, &w->f) == 0;
}

/* As if a task had the file open. */
static void add_user(struct world *w, uint32_t id)
{
	struct file *file = files_find(&w->fs, id);

	file->users = xcalloc(1, sizeof(*file->users));
	file->nusers = 1;
}

static int make(struct world *w, uint32_t id)
{
	struct file *file = files_find(&w->fs, id);
	enum created c = tty_type.create(&w->fs, file, &w->f);

	file->created = c == CREATED;
	return c == CREATED ? file->fd : -1;
}

static void test_pair(void)
{
	uint32_t master, slave[2];
	unsigned int index, again;
	struct world w;
	struct stat st;
	int m, s, s2;

	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	begin(&w);
	if (!CHECK(open_pty(&m, &s)))
		return;
	CHECK(ioctl(m, TIOCGPTN, &index) == 0 && fchown(s, 12, 34) == 0 && fchmod(s, 0640) == 0);
	s2 = ioctl(m, TIOCGPTPEER, O_RDONLY | O_NOCTTY | O_CLOEXEC);
	feed(m, "one\ntwo\nend\004begun");
	master = dump_fd(&w, m);
	slave[0] = dump_fd(&w, s);
	slave[1] = dump_fd(&w, s2);
	CHECK(master && slave[0] && slave[1] && dump_end(&w));
	close(m);
	close(s);
	close(s2);
	CHECK(prepare_files(&w));
	add_user(&w, master);
	CHECK(tty_type.create(&w.fs, files_find(&w.fs, slave[1]), &w.f) == CREATE_LATER);
	m = make(&w, master);
	s = make(&w, slave[0]);
	s2 = make(&w, slave[1]);
	CHECK(m >= 0 && s >= 0 && s2 >= 0 && tty_type.installed(&w.fs, &w.f) == 0);
	CHECK(ioctl(m, TIOCGPTN, &again) == 0 && index == again);
	CHECK(fstat(s, &st) == 0 && st.st_uid == 12 && st.st_gid == 34 && st.st_mode == 0020640);
	CHECK((fcntl(s, F_GETFL) & O_ACCMODE) == O_RDWR && (fcntl(s, F_GETFL) & O_NONBLOCK));
	CHECK((fcntl(s2, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == O_RDONLY);
	CHECK(gives(s, "one\n") && gives(s2, "two\n") && gives(s, "end") && is_empty(s));
	CHECK(gives(m, "one\r\ntwo\r\nendbegun") && is_empty(m));
	feed(m, "\177N\n");
	CHECK(gives(s, "beguN\n") && is_empty(s));
	if (w.f.code)
		fprintf(stderr, "%s\n", w.f.text);
	finish(&w);
}

static void test_modes(void)
{
	const int on = 1;
	uint32_t master, slave;
	int m, s, value = 0;
	struct world w;

	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	begin(&w);
	if (!CHECK(open_pty(&m, &s)))
		return;
	CHECK(ioctl(s, TIOCEXCL) == 0 && ioctl(m, TIOCPKT, &on) == 0 &&
	      ioctl(m, TIOCSPTLCK, &on) == 0);
	feed(s, "x");
	master = dump_fd(&w, m);
	slave = dump_fd(&w, s);
	CHECK(master && slave && dump_end(&w));
	CHECK(ioctl(m, TIOCGPTLCK, &value) == 0 && value == 1);
	close(m);
	close(s);
	CHECK(prepare_files(&w));
	add_user(&w, master);
	m = make(&w, master);
	s = make(&w, slave);
	CHECK(m >= 0 && s >= 0 && tty_type.installed(&w.fs, &w.f) == 0);
	CHECK(ioctl(m, TIOCGPTLCK, &value) == 0 && value == 1);
	CHECK(ioctl(m, TIOCGPKT, &value) == 0 && value == 1);
	CHECK(ioctl(s, TIOCGEXCL, &value) == 0 && value == 1);
	CHECK(read(m, (char[8]){ 0 }, 8) == 2);
	if (w.f.code)
		fprintf(stderr, "%s\n", w.f.text);
	finish(&w);
}

/* Both kinds of hung up slaves: by the master's end, and by a hangup under a living master. */
static void test_hung(void)
{
	uint32_t dead, live, master;
	struct world w;
	struct pollfd p;
	int m, s, m2, s2;

	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	begin(&w);
	if (!CHECK(open_pty(&m, &s) && open_pty(&m2, &s2)))
		return;
	close(m);
	CHECK(ioctl(s2, TIOCVHANGUP) == 0);
	dead = dump_fd(&w, s);
	live = dump_fd(&w, s2);
	master = dump_fd(&w, m2);
	CHECK(dead && live && master && dump_end(&w));
	close(s);
	close(m2);
	close(s2);
	CHECK(prepare_files(&w));
	add_user(&w, master);
	CHECK(tty_type.create(&w.fs, files_find(&w.fs, live), &w.f) == CREATE_LATER);
	s = make(&w, dead);
	m2 = make(&w, master);
	s2 = make(&w, live);
	CHECK(s >= 0 && m2 >= 0 && s2 >= 0 && tty_type.installed(&w.fs, &w.f) == 0);
	p = (struct pollfd){ .fd = s };
	CHECK(poll(&p, 1, 0) == 1 && (p.revents & POLLHUP));
	p = (struct pollfd){ .fd = s2 };
	CHECK(poll(&p, 1, 0) == 1 && (p.revents & POLLHUP));
	CHECK(ioctl(m2, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC) >= 0);
	if (w.f.code)
		fprintf(stderr, "%s\n", w.f.text);
	finish(&w);
}

static void test_alone(void)
{
	struct world w;
	int m, s;

	if (geteuid() != 0) {
		check_skip("needs root");
		return;
	}
	begin(&w);
	if (!CHECK(open_pty(&m, &s)))
		return;
	CHECK(dump_fd(&w, s) && !dump_end(&w));
	CHECK(strstr(w.f.text, "--shell-job") != NULL);
	close(m);
	close(s);
	finish(&w);
}

int main(void)
{
	signal(SIGHUP, SIG_IGN);
	check_run("a device number tells the kind of terminal", test_kinds);
	check_run("copying unread lines leaves lines and echo as they were", test_lines);
	check_run("copying unread bytes in raw mode alters none", test_raw);
	check_run("packet mode and stopped output survive a copy", test_packet_and_stopped);
	check_run("modes and window size go over to another pty", test_state);
	check_run("a pty comes back with index, owner, flags and unread lines", test_pair);
	check_run("exclusive, packet and locked modes come back", test_modes);
	check_run("slaves that had hung up are hung up again", test_hung);
	check_run("a slave without its master is refused and the remedy named", test_alone);
	return check_done();
}
