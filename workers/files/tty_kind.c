/* SPDX-License-Identifier: MIT */
/*
 * tty_kind.c - the kinds of terminals, told by their device numbers.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/files/tty_kind.h"

#include <linux/major.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/files/external.h"
#include "workers/files/files.h"

#define PTY_MAJORS 8			/* UNIX98_PTY_MAJOR_COUNT of the kernel */
#define MAJOR_ACM 166
#define MAJOR_USB_SERIAL 188
#define MAJOR_LOW_DENSE_SERIAL 204
#define MAJOR_HVC 229
#define FIRST_SERIAL_MINOR 64		/* of TTY_MAJOR; 1 to 63 are virtual terminals */

/* The image ids are what CRIU writes: twice an index beyond those of ptys. */
static const struct tty_kind master = { "pty master", TTY_TYPE__PTY, true, false, 0 };
static const struct tty_kind slave = { "pty slave", TTY_TYPE__PTY, false, true, 0 };
static const struct tty_kind console = { "console", TTY_TYPE__CONSOLE, false, false, 2004 };
static const struct tty_kind vt = { "virtual terminal", TTY_TYPE__VT, false, false, 2008 };
static const struct tty_kind ctty = { "controlling terminal", TTY_TYPE__CTTY, false, false, 2012 };
static const struct tty_kind serial = { "serial line", TTY_TYPE__SERIAL, false, false, 2020 };
const struct tty_kind tty_external = { "external terminal", TTY_TYPE__EXT_TTY, false, false, 2026 };

const struct tty_kind *tty_kind_of(dev_t rdev)
{
	unsigned int maj = major(rdev), min = minor(rdev);

	if (maj == UNIX98_PTY_SLAVE_MAJOR)
		return &slave;
	if (maj >= UNIX98_PTY_MASTER_MAJOR && maj < UNIX98_PTY_MASTER_MAJOR + PTY_MAJORS)
		return &master;
	if (maj == TTYAUX_MAJOR)
		return min == 2 ? &master : min == 1 ? &console : min == 0 ? &ctty : NULL;
	if (maj == TTY_MAJOR)
		return min >= FIRST_SERIAL_MINOR ? &serial : min ? &vt : NULL;
	if (maj == MAJOR_USB_SERIAL || maj == MAJOR_LOW_DENSE_SERIAL)
		return &serial;
	return NULL;
}

bool tty_is_device(dev_t rdev)
{
	unsigned int maj = major(rdev);

	return tty_kind_of(rdev) || maj == TTY_MAJOR || maj == TTYAUX_MAJOR ||
	       maj == PTY_MASTER_MAJOR || maj == PTY_SLAVE_MAJOR || maj == MAJOR_ACM ||
	       maj == MAJOR_HVC;
}

static void make_key(char *key, size_t size, dev_t rdev, dev_t dev)
{
	snprintf(key, size, "tty[%llx:%llx]", (unsigned long long)rdev, (unsigned long long)dev);
}

bool tty_is_external(struct files *fs, dev_t rdev, dev_t dev)
{
	const Options *o = files_opts(fs);
	char key[64];
	size_t i;

	make_key(key, sizeof(key), rdev, dev);
	for (i = 0; i < o->n_external; i++)
		if (strcmp(o->external[i], key) == 0)
			return true;
	return false;
}

int tty_inherited(struct files *fs, dev_t rdev, dev_t dev)
{
	char key[64];

	make_key(key, sizeof(key), rdev, dev);
	return external_inherited(fs, key);
}
