/* SPDX-License-Identifier: MIT */
/*
 * procfd.c - /proc/PID/fdinfo/N as an open file. The kernel wants N to exist when it is opened and
 * looks it up anew at each read. Files are created before tables are filled: so the task gets
 * something under that number, which goes when its table is filled.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/files/procfd.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "workers/common/gate_client.h"
#include "workers/files/type.h"

#define GATE_TIMEOUT_MS 30000

int procfd_provide(struct files *fs, const char *path, struct fault *f)
{
	AUTO_BATCH struct batch *b = NULL;
	unsigned int number;
	struct gate *g;
	int pid, any;
	char more;

	if (sscanf(path, "/proc/%d/fdinfo/%u%c", &pid, &number, &more) != 2)
		return 0;
	g = files_gate(fs, pid);
	if (!g)
		return 0;
	b = batch_begin(g);
	any = batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_eventfd2, 2, gc(0), gc(O_CLOEXEC));
	batch_op(b, 0, 0, SYS_fcntl, 3, gr(any), gc(F_DUPFD_CLOEXEC), gc(number));
	return batch_run(b, GATE_TIMEOUT_MS, f);
}
