/* SPDX-License-Identifier: MIT */
/*
 * tty_session.c - controlling terminals, both directions.
 *
 * Dump:     the kernel tells a terminal's session only to its members and through a pty's
 *           master, but /proc/PID/stat names terminal and foreground group of any task.
 * Restore:  only the session's leader can take a controlling terminal: done by its agent,
 *           with a descriptor passed to it for that moment. For /dev/tty of a session that is no
 *           more, a child of ours leads one that ends at once.
 * Rights:   ptrace access to the tasks.
 * Holds:    nothing.
 */
#include "workers/files/tty_session.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"
#include "workers/common/spare.h"
#include "workers/files/files.h"
#include "workers/files/type.h"

#define GATE_TIMEOUT_MS 10000

/* Dump */

int tty_session_of(pid_t pid, uint32_t *dev, uint32_t *sid, uint32_t *pgrp, struct fault *f)
{
	AUTO_FREE char *text = procfs_read(pid, 0, "stat", NULL, f);
	int tty_nr, group, session;
	const char *at;

	if (!text)
		return -1;
	at = strrchr(text, ')');
	if (!at || sscanf(at + 1, " %*c %*d %*d %d %d %d", &session, &tty_nr, &group) != 3)
		return fault(f, EPROTO, "/proc/%d/stat has an unknown form", pid);
	*dev = tty_nr;
	*sid = tty_nr ? session : 0;
	*pgrp = tty_nr && group > 0 ? group : 0;
	return 0;
}

bool tty_in_tree(struct files *fs, uint32_t pid)
{
	const uint32_t root = files_opts(fs)->pid;
	struct fault gone = { 0 };
	struct proc_stat s;

	while (pid && pid != root) {
		if (procfs_stat(pid, 0, &s, &gone) < 0)
			return false;
		pid = s.ppid;
	}
	return pid != 0;
}

/* Restore */

/* Both calls are made in one batch; a foreground group that is gone is the leader's problem. */
static int take_terminal(struct gate *g, int at, uint32_t sid, uint32_t pgrp, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);
	const int32_t group = pgrp;
	uint64_t arg = batch_put(b, &group, sizeof(group));
	int set, front;

	set = batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_ioctl, 3, gc(at), gc(TIOCSCTTY), gc(1));
	front = batch_op(b, 0, 0, SYS_ioctl, 3, gc(at), gc(TIOCSPGRP), ga(arg));
	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	if (batch_result(b, 0, set) < 0)
		return fault(f, -(int)batch_result(b, 0, set),
			     "give task %u its controlling terminal", sid);
	if (pgrp && batch_result(b, 0, front) < 0)
		log_warnx("process group %u cannot be in the foreground of session %u: %s", pgrp,
			  sid, strerror(-(int)batch_result(b, 0, front)));
	return 0;
}

static int close_there(struct gate *g, int fd, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);

	batch_op(b, 0, 0, SYS_close, 1, gc(fd));
	return batch_run(b, GATE_TIMEOUT_MS, f);
}

static struct gate *gate_of(struct files *fs, uint32_t sid, struct fault *f)
{
	struct gate *g = files_gate(fs, sid);

	if (!g)
		fault(f, -ESRCH, "task %u, which leads the session of a terminal, is not being"
		      " restored", sid);
	return g;
}

int tty_session_set(struct files *fs, uint32_t sid, uint32_t pgrp, int fd, struct fault *f)
{
	struct gate *g = gate_of(fs, sid, f);
	const int flags = 0;
	int at;

	if (!g)
		return -1;
	at = files_spare_fd(fs, sid);
	if (gate_pass_fds(g, at + SPARE_FDS - 1, &fd, &at, &flags, 1, f) < 0 ||
	    take_terminal(g, at, sid, pgrp, f) < 0)
		return -1;
	return close_there(g, at, f);
}

int tty_session_open(struct files *fs, uint32_t sid, const char *path, int flags, struct fault *f)
{
	struct gate *g = gate_of(fs, sid, f);
	AUTO_BATCH struct batch *b = NULL;
	int op, there, here;

	if (!g)
		return -1;
	b = batch_begin(g);
	op = batch_op(b, 0, 0, SYS_openat, 3, gc((uint64_t)AT_FDCWD), ga(batch_put_str(b, path)),
		      gc(flags));
	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	there = batch_result(b, 0, op);
	batch_end(take_ptr(&b));
	if (there < 0)
		return fault(f, -there, "open %s in task %u", path, sid);
	here = procfs_fetch(sid, there, f);
	if (close_there(g, there, f) < 0) {
		auto_close(&here);
		return -1;
	}
	return here;
}

/* In a child that has our descriptors. Ends with 0 or an error number. */
static _Noreturn void borrow(int fd, const char *path, int flags, int at)
{
	int own = -1;

	signal(SIGHUP, SIG_IGN);		/* giving the terminal back sends one */
	if (setsid() > 0 && ioctl(fd, TIOCSCTTY, 0) == 0)
		own = open(path, flags | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (own < 0 || dup3(own, at, O_CLOEXEC) < 0 || close(own) < 0 || ioctl(fd, TIOCNOTTY) < 0)
		_exit(errno);
	_exit(0);
}

int tty_session_borrow(int fd, const char *path, int flags, struct fault *f)
{
	AUTO_CLOSE int at = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	long pid = at < 0 ? -1 : syscall(SYS_clone, CLONE_FILES, 0, 0, 0, 0);
	int status = 0;

	if (pid == 0)
		borrow(fd, path, flags, at);
	if (pid < 0)
		return fault(f, errno, "make a session that has a terminal");
	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			return fault(f, errno, "wait for a session to end");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return fault(f, WIFEXITED(status) ? WEXITSTATUS(status) : EINTR,
			     "open %s in a session of its own", path);
	return take_fd(&at);
}
