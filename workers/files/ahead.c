/* SPDX-License-Identifier: MIT */
/*
 * ahead.c - half of what a descriptor costs a dump is its fdinfo (5 us: open, read, close): a
 * thread reads it while the worker looks at the descriptors before.
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
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"

#define WORTH 128		/* descriptors: a thread costs some 60 us */
#define TEXT_MAX 4096		/* longer ones (many watches) are read by the caller */

struct ahead {
	pthread_t thread;
	int info_dir;
	const int *fds;
	size_t n;
	char **text;
	atomic_size_t done;
	atomic_bool stop;
};

static char *read_one(int dir, int fd)
{
	char name[16], buf[TEXT_MAX];
	AUTO_CLOSE int file = -1;
	ssize_t n;

	snprintf(name, sizeof(name), "%d", fd);
	file = openat(dir, name, O_RDONLY | O_CLOEXEC);
	n = file < 0 ? -1 : read(file, buf, sizeof(buf) - 1);
	if (n < 0 || n > TEXT_MAX / 2)
		return NULL;
	buf[n] = '\0';
	return xstrdup(buf);
}

static void *read_all(void *arg)
{
	struct ahead *a = arg;
	size_t i;

	for (i = 0; i < a->n && !atomic_load(&a->stop); i++) {
		a->text[i] = read_one(a->info_dir, a->fds[i]);
		atomic_store(&a->done, i + 1);
	}
	return NULL;
}

struct ahead *ahead_begin(int info_dir, const int *fds, size_t n)
{
	struct ahead *a;

	if (n < WORTH || sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return NULL;
	a = xcalloc(1, sizeof(*a));
	a->info_dir = info_dir;
	a->fds = fds;
	a->n = n;
	a->text = xcalloc(n, sizeof(*a->text));
	if (pthread_create(&a->thread, NULL, read_all, a)) {
		free(a->text);
		free(a);
		return NULL;
	}
	return a;
}

const char *ahead_text(struct ahead *a, size_t i)
{
	while (atomic_load(&a->done) <= i)
		sched_yield();
	return a->text[i];
}

void ahead_end(struct ahead *a)
{
	size_t i;

	if (!a)
		return;
	atomic_store(&a->stop, true);
	pthread_join(a->thread, NULL);
	for (i = 0; i < a->n; i++)
		free(a->text[i]);
	free(a->text);
	free(a);
}
