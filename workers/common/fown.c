/* SPDX-License-Identifier: MIT */
/*
 * fown.c - the owner of a file: F_SETOWN, F_SETSIG, both directions.
 *
 * Dump:     the owner belongs to the open file description, so our duplicate shows it.
 * Restore:  the kernel keeps the uids of whoever names the owner, and checks them when it
 *           signals: they are taken on for that one system call.
 * Rights:   CAP_SETUID when the owner was named by another uid than ours.
 * Holds:    nothing.
 */
#include "workers/common/fown.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif

int fown_read(int fd, int flags, FownEntry *e, struct fault *f)
{
	struct f_owner_ex owner = { 0 };
	uint32_t uids[2] = { 0 };
	int sig;

	if (flags & O_PATH)
		return 0;
	sig = fcntl(fd, F_GETSIG);
	if (sig < 0 || fcntl(fd, F_GETOWN_EX, &owner) < 0)
		return fault(f, errno, "read the owner of a file");
	e->signum = sig;
	if (!owner.pid)
		return 0;
	if (fcntl(fd, F_GETOWNER_UIDS, uids) < 0)
		return fault(f, errno, "read the uids of a file's owner");
	e->uid = uids[0];
	e->euid = uids[1];
	e->pid_type = owner.type;
	e->pid = owner.pid;
	return 0;
}

bool fown_is_set(const FownEntry *e)
{
	return e->signum || e->pid;
}

/*
 * The raw system call changes this thread alone. The saved uid stays, and with it the
 * permitted capabilities and the way back.
 */
static int take_uids(uid_t uid, uid_t euid)
{
	return syscall(SYS_setresuid, uid, euid, -1);
}

static int set_owner(int fd, const FownEntry *e)
{
	const struct f_owner_ex owner = { .type = e->pid_type, .pid = e->pid };
	uid_t uid = getuid(), euid = geteuid();
	bool other = e->uid != uid || e->euid != euid;
	int r, err;

	if (other && take_uids(e->uid, e->euid) < 0)
		return -1;
	r = fcntl(fd, F_SETOWN_EX, &owner);
	err = errno;
	if (other) {
		/* Changing uids clears "dumpable", and our /proc/self would belong to root. */
		if (take_uids(uid, euid) < 0)
			die("cannot take back uid %d: %d", uid, errno);
		prctl(PR_SET_DUMPABLE, 1);
	}
	errno = err;
	return r;
}

int fown_apply(int fd, const FownEntry *e, struct fault *f)
{
	if (e->signum && fcntl(fd, F_SETSIG, (long)e->signum) < 0)
		return fault(f, errno, "set signal %u of a file", e->signum);
	if (e->pid && set_owner(fd, e) < 0)
		return fault(f, errno, "make %s %d (uid %u, euid %u) the owner of a file",
			     e->pid_type == F_OWNER_PGRP ? "process group" : "task", (int)e->pid,
			     e->uid, e->euid);
	return 0;
}
