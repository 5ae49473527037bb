/* SPDX-License-Identifier: MIT */
/*
 * tty_state.c - modes, window size and locks of a terminal, both directions.
 *
 * Both ends of a pty answer for the slave here, as the kernel does.
 *
 * Rights:   CAP_SYS_ADMIN to lock termios bits.
 * Holds:    nothing.
 */
#include "workers/files/tty_state.h"

#include <asm/termbits.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "proto/control/util.h"

/* Dump */

/* c_cc of the image has as many words as there are characters, but they lie in the first bytes. */
static TermiosEntry *make_entry(const struct termios2 *t)
{
	TermiosEntry *e = xcalloc(1, sizeof(*e));

	termios_entry__init(e);
	e->c_iflag = t->c_iflag;
	e->c_oflag = t->c_oflag;
	e->c_cflag = t->c_cflag;
	e->c_lflag = t->c_lflag;
	e->c_line = t->c_line;
	/* Otherwise the speed is inside c_cflag. */
	if ((t->c_cflag & CBAUD) == BOTHER) {
		e->c_ispeed = t->c_ispeed;
		e->c_ospeed = t->c_ospeed;
	}
	e->n_c_cc = NCCS;
	e->c_cc = xcalloc(NCCS, sizeof(*e->c_cc));
	memcpy(e->c_cc, t->c_cc, NCCS);
	return e;
}

static WinsizeEntry *make_winsize(const struct winsize *w)
{
	WinsizeEntry *e = xcalloc(1, sizeof(*e));

	winsize_entry__init(e);
	e->ws_row = w->ws_row;
	e->ws_col = w->ws_col;
	e->ws_xpixel = w->ws_xpixel;
	e->ws_ypixel = w->ws_ypixel;
	return e;
}

/* A question that some terminals do not understand: the answer is 0 then. */
static int ask(int fd, unsigned long request, const char *what, int *answer, struct fault *f)
{
	*answer = 0;
	if (ioctl(fd, request, answer) < 0 && errno != ENOTTY && errno != EINVAL)
		return fault(f, errno, "read its %s", what);
	return 0;
}

int tty_state_read(int fd, bool master, TtyInfoEntry *e, struct fault *f)
{
	struct termios2 t = { 0 }, locked = { 0 };
	struct winsize w = { 0 };
	int exclusive, packet = 0, lock = 0;

	if (ioctl(fd, TCGETS2, &t) < 0)
		return errno == EIO ? 0 : fault(f, errno, "read its modes");
	/* The older structure, which is a prefix of the newer. */
	if (ioctl(fd, TIOCGLCKTRMIOS, &locked) < 0)
		return fault(f, errno, "read its locked modes");
	if (ioctl(fd, TIOCGWINSZ, &w) < 0)
		return fault(f, errno, "read its window size");
	if (ask(fd, TIOCGEXCL, "exclusive mode", &exclusive, f) < 0)
		return -1;
	if (master && (ask(fd, TIOCGPKT, "packet mode", &packet, f) < 0 ||
		       ask(fd, TIOCGPTLCK, "lock", &lock, f) < 0))
		return -1;
	e->termios = make_entry(&t);
	e->termios_locked = make_entry(&locked);
	e->winsize = make_winsize(&w);
	e->exclusive = exclusive;
	e->packet_mode = packet;
	e->locked = lock;
	return 1;
}

void tty_state_free(TtyInfoEntry *e)
{
	if (e->termios)
		termios_entry__free_unpacked(e->termios, NULL);
	if (e->termios_locked)
		termios_entry__free_unpacked(e->termios_locked, NULL);
	if (e->winsize)
		winsize_entry__free_unpacked(e->winsize, NULL);
	e->termios = e->termios_locked = NULL;
	e->winsize = NULL;
}

/* Restore */

bool tty_state_absent(const TtyInfoEntry *e)
{
	return !e->termios && !e->termios_locked && !e->winsize;
}

bool tty_state_complete(const TtyInfoEntry *e)
{
	return e->termios && e->termios_locked && e->winsize && e->termios->n_c_cc >= NCCS &&
	       e->termios_locked->n_c_cc >= NCCS;
}

static struct termios2 from_entry(const TermiosEntry *e)
{
	struct termios2 t = {
		.c_iflag = e->c_iflag, .c_oflag = e->c_oflag, .c_cflag = e->c_cflag,
		.c_lflag = e->c_lflag, .c_line = e->c_line,
		.c_ispeed = e->c_ispeed, .c_ospeed = e->c_ospeed,
	};

	memcpy(t.c_cc, e->c_cc, NCCS);
	return t;
}

int tty_state_apply(int fd, const TtyInfoEntry *e, struct fault *f)
{
	struct termios2 t = from_entry(e->termios), locked = from_entry(e->termios_locked);
	struct winsize w = {
		.ws_row = e->winsize->ws_row, .ws_col = e->winsize->ws_col,
		.ws_xpixel = e->winsize->ws_xpixel, .ws_ypixel = e->winsize->ws_ypixel,
	}, now = { 0 };
	struct termios old = { 0 };

	if (ioctl(fd, TCSETS2, &t) < 0)
		return fault(f, errno, "terminal %u: set its modes", e->id);
	/* After the modes, which they would protect from us. */
	if (ioctl(fd, TIOCGLCKTRMIOS, &old) < 0)
		return fault(f, errno, "terminal %u: read its locked modes", e->id);
	if (memcmp(&old, &locked, sizeof(old)) != 0 && ioctl(fd, TIOCSLCKTRMIOS, &locked) < 0)
		return fault(f, errno, "terminal %u: lock modes", e->id);
	if (ioctl(fd, TIOCGWINSZ, &now) == 0 && memcmp(&now, &w, sizeof(w)) == 0)
		return 0;
	if (ioctl(fd, TIOCSWINSZ, &w) < 0)
		return fault(f, errno, "terminal %u: set its window size", e->id);
	return 0;
}

int tty_modes_apply(int fd, const TtyInfoEntry *e, bool master, struct fault *f)
{
	const int on = 1;

	if (e->exclusive && ioctl(fd, TIOCEXCL) < 0)
		return fault(f, errno, "terminal %u: make it exclusive", e->id);
	if (master && e->packet_mode && ioctl(fd, TIOCPKT, &on) < 0)
		return fault(f, errno, "terminal %u: set packet mode", e->id);
	if (master && e->locked && ioctl(fd, TIOCSPTLCK, &on) < 0)
		return fault(f, errno, "terminal %u: lock it", e->id);
	return 0;
}
