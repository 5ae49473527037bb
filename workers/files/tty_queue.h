/* SPDX-License-Identifier: MIT */
/*
 * tty_queue.h - bytes written to one end of a pty and not yet read at the other.
 */
#ifndef STASIS_FILES_TTY_QUEUE_H
#define STASIS_FILES_TTY_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/control/fault.h"

/*
 * Both queues of a pty. In canonical mode the bytes to the slave are lines; one that was ended by
 * an end-of-file character has that character behind it here.
 */
struct tty_queues {
	unsigned char *to_master, *to_slave;
	size_t nmaster, nslave;
};

void tty_queues_free(struct tty_queues *q);

/*
 * Read both queues and put them back at once, for there is no way to look without
 * taking. slave is a descriptor that does not block. The program stands still.
 */
int tty_queues_copy(int master, int slave, struct tty_queues *q, struct fault *f);

/*
 * Fill the queues of a pty that has its modes, past all processing. What does not fit is a
 * warning: terminals promise nothing.
 */
int tty_queues_put(int master, int slave, const struct tty_queues *q, struct fault *f);

#endif
