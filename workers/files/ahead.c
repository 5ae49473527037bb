/* SPDX-License-Identifier: MIT */
/*
 * ahead.c - half of what a descriptor costs a dump is its fdinfo (5 us: open, read, close) and its
 * duplicate: a thread gets these while the worker judges the descriptors before.
 *
 * Rights:   those of the opened directory.
 * Holds:    the texts, from begin to end.
 */
#include "workers/files/ahead.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"

#define WORTH 128		/* descriptors: a thread costs some 60 us */
#define TEXT_MAX 4096		/* longer ones (many watches) are read by the caller */

struct ahead {
	pthread_t thread;
	struct ahead_place place;
	const int *fds;
	size_t n;
	struct look *looks;
	atomic_size_t done;
	atomic_bool stop;
};

static char *read_info(int dir, const char *name)
{
	char buf[TEXT_MAX];
	AUTO_CLOSE int file = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = file < 0 ? -1 : read(file, buf, sizeof(buf) - 1);

	if (n < 0 || n > TEXT_MAX / 2)
		return NULL;
	buf[n] = '\0';
	return xstrdup(buf);
}

static void look_at(const struct ahead_place *p, int fd, struct look *l)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", fd);
	l->info = read_info(p->info_dir, name);
	l->dup = syscall(SYS_pidfd_getfd, p->pidfd, fd, 0);
	l->seen = l->dup >= 0 && fstat(l->dup, &l->st) == 0;
}

static void *read_all(void *arg)
{
	struct ahead *a = arg;
	size_t i;

	for (i = 0; i < a->n && !atomic_load(&a->stop); i++) {
		look_at(&a->place, a->fds[i], &a->looks[i]);
		atomic_store(&a->done, i + 1);
	}
	return NULL;
}

struct ahead *ahead_begin(const struct ahead_place *place, const int *fds, size_t n)
{
	struct ahead *a;
	size_t i;

	if (n < WORTH || sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return NULL;
	a = xcalloc(1, sizeof(*a));
	a->place = *place;
	a->fds = fds;
	a->n = n;
	a->looks = xcalloc(n, sizeof(*a->looks));
	for (i = 0; i < n; i++)
		a->looks[i].dup = -1;
	if (pthread_create(&a->thread, NULL, read_all, a)) {
		free(a->looks);
		free(a);
		return NULL;
	}
	return a;
}

struct look *ahead_look(struct ahead *a, size_t i)
{
	while (atomic_load(&a->done) <= i)
		sched_yield();
	return &a->looks[i];
}

void ahead_end(struct ahead *a)
{
	size_t i;

	if (!a)
		return;
	atomic_store(&a->stop, true);
	pthread_join(a->thread, NULL);
	for (i = 0; i < a->n; i++) {
		free(a->looks[i].info);
		if (a->looks[i].dup >= 0)
			close(a->looks[i].dup);
	}
	free(a->looks);
	free(a);
}
