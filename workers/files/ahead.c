/* SPDX-License-Identifier: MIT */
/*
 * ahead.c - most of what a descriptor costs a dump are a few looks at /proc (a link 3 us, fdinfo
 * 7 us: open, read, close) and its duplicate. Descriptors are taken in chunks from a common
 * counter, by threads and by the worker itself, whenever it would have to wait for one.
 *
 * Rights:   those of the opened directories.
 * Holds:    threads and texts, from begin to end.
 */
#include "workers/files/ahead.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/files/facts.h"

#define WORTH 128		/* descriptors for a thread, which costs some 60 us */
#define THREADS_MAX 3
#define CHUNK 16
#define TEXT_MAX 4096		/* longer ones (many watches) are read by the caller */

struct ahead {
	struct ahead_place place;
	enum ahead_kind kind;
	const int *fds;
	size_t n;
	struct look *looks;
	size_t ready;		/* those below are known to be seen; the caller's alone */
	pthread_mutex_t lock;
	pthread_cond_t seen;
	size_t next;		/* under lock: the first that nobody has taken */
	bool *chunk_seen;	/* under lock */
	pthread_t thread[THREADS_MAX];
	size_t nthreads;
};

/* The file may have been read before: the kernel makes the text anew at its beginning. */
static char *read_info(int file)
{
	char buf[TEXT_MAX];
	ssize_t n = file < 0 ? -1 : pread(file, buf, sizeof(buf) - 1, 0);

	if (n < 0 || n > TEXT_MAX / 2)
		return NULL;
	buf[n] = '\0';
	return xstrdup(buf);
}

static char *read_link(int dir, const char *name)
{
	char buf[PATH_MAX];
	ssize_t n = readlinkat(dir, name, buf, sizeof(buf) - 1);

	if (n < 0)
		return NULL;
	buf[n] = '\0';
	return xstrdup(buf);
}

/* What the link says, when it is a socket. */
static char *name_socket(const struct ahead_place *p, int fd)
{
	AUTO_CLOSE int dup = syscall(SYS_pidfd_getfd, p->pidfd, fd, 0);
	struct stat st;

	if (dup < 0 || fstat(dup, &st) < 0 || !S_ISSOCK(st.st_mode) || st.st_dev != p->sock_dev)
		return NULL;
	return xasprintf("socket:[%lu]", (unsigned long)st.st_ino);
}

/*
 * Behind a socket there often is another: a duplicate names it for a third of what the link costs,
 * which the kernel makes for the one who reads it. What needs an fdinfo has it opened here, if it
 * may be kept.
 */
static void glance_at(const struct ahead_place *p, struct look *l, int fd, bool *sockets)
{
	char name[16];

	l->link = *sockets ? name_socket(p, fd) : NULL;
	snprintf(name, sizeof(name), "%d", fd);
	if (!l->link) {
		l->link = read_link(p->fd_dir, name);
		*sockets = l->link && strncmp(l->link, "socket:[", 8) == 0;
	}
	if ((size_t)fd < p->nkept && p->kept[fd] < 0 && l->link && !(*sockets && p->owing))
		p->kept[fd] = openat(p->info_dir, name, O_RDONLY | O_CLOEXEC);
}

/* Is the duplicate a socket? Then it tells all that is to be known of it here. */
static bool see_socket(const struct ahead_place *p, struct look *l)
{
	socklen_t len = sizeof(int);
	int family = AF_UNSPEC;

	if (!l->seen || !S_ISSOCK(l->st.st_mode) || l->st.st_dev != p->sock_dev || p->sock_mnt < 0)
		return false;
	l->flags = fcntl(l->dup, F_GETFL);
	if (l->flags < 0 || getsockopt(l->dup, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0)
		return false;
	l->unix_socket = family == AF_UNIX;
	if (l->unix_socket)
		auto_close(&l->dup);
	return true;
}

static char *info_of(const struct ahead_place *p, int fd, int *kept)
{
	char name[16];

	if (*kept < 0) {
		snprintf(name, sizeof(name), "%d", fd);
		*kept = openat(p->info_dir, name, O_RDONLY | O_CLOEXEC);
	}
	return read_info(*kept);
}

static void look_at(const struct ahead_place *p, struct look *l, int fd)
{
	AUTO_CLOSE int kept = (size_t)fd < p->nkept ? take_fd(&p->kept[fd]) : -1;

	if (!p->owing)
		l->info = info_of(p, fd, &kept);
	/* A unix socket is told by its fdinfo alone. */
	if (l->info && info_shows_unix(l->info, p->sock_mnt))
		return;
	l->dup = syscall(SYS_pidfd_getfd, p->pidfd, fd, 0);
	l->seen = l->dup >= 0 && fstat(l->dup, &l->st) == 0;
	l->socket = p->owing && see_socket(p, l);
	if (p->owing && !l->socket)
		l->info = info_of(p, fd, &kept);
}

/* Take a chunk, if there is one left, and look at it. Called and left with the lock held. */
static bool look_at_chunk(struct ahead *a)
{
	size_t first = a->next, i, end;
	bool sockets = false;

	if (first >= a->n)
		return false;
	end = a->next = first + CHUNK < a->n ? first + CHUNK : a->n;
	pthread_mutex_unlock(&a->lock);
	for (i = first; i < end; i++)
		if (a->kind == AHEAD_LINKS)
			glance_at(&a->place, &a->looks[i], a->fds[i], &sockets);
		else
			look_at(&a->place, &a->looks[i], a->fds[i]);
	pthread_mutex_lock(&a->lock);
	a->chunk_seen[first / CHUNK] = true;
	pthread_cond_broadcast(&a->seen);
	return true;
}

static void *look_at_all(void *arg)
{
	struct ahead *a = arg;

	pthread_mutex_lock(&a->lock);
	while (look_at_chunk(a))
		;
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

/* One thread fewer than processors: the caller is at work too. */
static size_t thread_count(size_t n)
{
	cpu_set_t cpus;
	size_t want = sched_getaffinity(0, sizeof(cpus), &cpus) < 0 ? 0 : CPU_COUNT(&cpus) - 1;

	if (want > n / WORTH)
		want = n / WORTH;
	return want < THREADS_MAX ? want : THREADS_MAX;
}

struct ahead *ahead_begin(const struct ahead_place *place, enum ahead_kind kind, const int *fds,
			  size_t n)
{
	size_t want = thread_count(n), i;
	struct ahead *a;

	if (!want)
		return NULL;
	a = xcalloc(1, sizeof(*a));
	a->place = *place;
	a->kind = kind;
	a->fds = fds;
	a->n = n;
	a->looks = xcalloc(n, sizeof(*a->looks));
	for (i = 0; i < n; i++)
		a->looks[i].dup = -1;
	a->chunk_seen = xcalloc(n / CHUNK + 1, sizeof(bool));
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->seen, NULL);
	while (a->nthreads < want &&
	       pthread_create(&a->thread[a->nthreads], NULL, look_at_all, a) == 0)
		a->nthreads++;
	if (a->nthreads)
		return a;
	ahead_end(a);
	return NULL;
}

struct look *ahead_look(struct ahead *a, size_t i)
{
	if (!a || i < a->ready)
		return a ? &a->looks[i] : NULL;
	pthread_mutex_lock(&a->lock);
	while (!a->chunk_seen[i / CHUNK])
		if (!look_at_chunk(a))
			pthread_cond_wait(&a->seen, &a->lock);
	pthread_mutex_unlock(&a->lock);
	a->ready = (i / CHUNK + 1) * CHUNK;
	return &a->looks[i];
}

void ahead_end(struct ahead *a)
{
	size_t i;

	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->next = a->n;
	pthread_mutex_unlock(&a->lock);
	for (i = 0; i < a->nthreads; i++)
		pthread_join(a->thread[i], NULL);
	for (i = 0; i < a->n; i++) {
		free(a->looks[i].link);
		free(a->looks[i].info);
		if (a->looks[i].dup >= 0)
			close(a->looks[i].dup);
	}
	pthread_mutex_destroy(&a->lock);
	pthread_cond_destroy(&a->seen);
	free(a->chunk_seen);
	free(a->looks);
	free(a);
}
