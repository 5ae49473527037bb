/* SPDX-License-Identifier: MIT */
/*
 * tty_preflight.c - the pty masters of a running tree.
 *
 * Rights:   ptrace access to the tasks.
 * Holds:    the indices, until the end of the dump.
 */
#include "workers/files/tty_preflight.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/common/procfs.h"
#include "workers/files/files.h"
#include "workers/files/type.h"

struct pty_masters {
	uint32_t *index;
	size_t n, cap;
	bool complete;		/* every task of the tree could be looked at */
	bool misses;		/* missed: an index whose master is open, but not in the tree */
	uint32_t missed;
};

/* fdinfo of a master says "tty-index:\t7" (Linux 4.15). */
static void note_master(struct pty_masters *m, pid_t pid, const char *fd)
{
	AUTO_FREE char *text = NULL;
	struct fault gone = { 0 };
	const char *at;
	char name[300];

	snprintf(name, sizeof(name), "fdinfo/%s", fd);
	text = procfs_read(pid, 0, name, NULL, &gone);
	at = text ? strstr(text, "tty-index:") : NULL;
	if (!at) {
		m->complete = false;
		return;
	}
	*(uint32_t *)grow(&m->index, m->n, &m->cap, sizeof(uint32_t)) =
		strtoul(at + strlen("tty-index:"), NULL, 10);
	m->n++;
}

static void look_at_task(struct pty_masters *m, pid_t pid)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *de;
	char path[32], link[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir) {
		m->complete = false;
		return;
	}
	while ((de = readdir(dir)) != NULL) {
		n = readlinkat(dirfd(dir), de->d_name, link, sizeof(link));
		if (n >= 5 && n < (ssize_t)sizeof(link) && memcmp(link + n - 5, "/ptmx", 5) == 0)
			note_master(m, pid, de->d_name);
	}
}

/* All tasks of the tree: list grows while it is walked. */
static void look_at_tree(struct pty_masters *m, pid_t root)
{
	AUTO_FREE pid_t *list = NULL;
	struct fault gone = { 0 };
	size_t n = 0, cap = 0, i, k;

	*(pid_t *)grow(&list, n++, &cap, sizeof(pid_t)) = root;
	for (i = 0; i < n; i++) {
		AUTO_FREE pid_t *child = NULL;
		size_t children = 0;

		/* A dead main thread has no files. */
		look_at_task(m, procfs_living_thread(list[i]));
		if (procfs_children(list[i], &child, &children, &gone) < 0) {
			m->complete = false;
			continue;
		}
		for (k = 0; k < children; k++)
			*(pid_t *)grow(&list, n++, &cap, sizeof(pid_t)) = child[k];
	}
}

static struct pty_masters *look(struct files *fs)
{
	struct pty_masters *m = xcalloc(1, sizeof(*m));

	m->complete = true;
	look_at_tree(m, files_opts(fs)->pid);
	return m;
}

static bool has_index(const struct pty_masters *m, uint32_t index)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		if (m->index[i] == index)
			return true;
	return !m->complete;
}

/*
 * A duplicate of the slave, which keeps its number from other ptys. -1: it is not there any more.
 */
static int hold(const struct facts *x)
{
	AUTO_CLOSE int pidfd = syscall(SYS_pidfd_open, x->pid, 0);
	AUTO_CLOSE int fd = syscall(SYS_pidfd_getfd, pidfd, x->fd, 0);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_rdev == x->st.st_rdev ? take_fd(&fd) : -1;
}

/* Has its master been closed? */
static bool is_hung(int slave)
{
	struct pollfd p = { .fd = slave };

	return poll(&p, 1, 0) != 0;
}

bool pty_is_alone(struct files *fs, struct pty_masters **m, const struct facts *x)
{
	const uint32_t index = minor(x->st.st_rdev);
	AUTO_CLOSE int slave = -1;

	if (!*m)
		*m = look(fs);
	if (has_index(*m, index))
		return false;
	if ((*m)->misses && (*m)->missed == index)
		return true;
	/* The pty may have been made since, or is closed by now. */
	slave = hold(x);
	pty_masters_free(*m);
	*m = look(fs);
	(*m)->misses = slave >= 0 && !has_index(*m, index) && !is_hung(slave);
	(*m)->missed = index;
	return (*m)->misses;
}

void pty_masters_free(struct pty_masters *m)
{
	if (m)
		free(m->index);
	free(m);
}
