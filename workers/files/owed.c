/* SPDX-License-Identifier: MIT */
/*
 * owed.c - tables with many sockets: fdinfo tells close-on-exec and locks, but costs 10 us a
 * descriptor; a duplicate tells the rest for 3 us.
 *
 * Close-on-exec is a question of 0.3 us to the task's agent (the coordinator asks it), and
 * /proc/locks, which costs an RCU grace period of some 10 ms, is read by a thread while tables and
 * sockets are collected. Only of sockets that it names fdinfo is read after all.
 *
 * A read() of it gives a page at most, each from its own look: others unlock in between, and what
 * follows moves up unseen (measured: of 250 locks, 150 of which come and go, one of ten passes
 * misses some). So there may be no second one that is needed. Whether there is shows a look at the
 * preflight, by a thread too; if it does, nothing is owed. Should it show only later, each fdinfo
 * is read in the end.
 *
 * Not seen: a flock of a socket whose taker has ended or is in a pid namespace that this /proc does
 * not show, where we are in such a namespace ourselves (locks_show, Linux 6.18; fdinfo shows it,
 * with a pid of 0). To read 10,000 fdinfos for it would cost 100 ms.
 *
 * Rights:   ptrace access to the tasks.
 * Holds:    the tables, from FilesCollect to FilesWrite; a thread in between.
 */
#include "workers/files/owed.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/locks.h"

#define LOCKS_MAX 65536		/* of /proc/locks; a read() gives a page, or one longer record */
#define RECORD_MAX 1024		/* a lock for which a dozen waits; one alone has some 60 bytes */

struct place {
	FdinfoEntry entry;
	uint64_t ino;
	bool owed;
};

struct table {
	const DumpTask *task;
	struct place *place;		/* by number of the descriptor */
	size_t n, cap, nowed;
};

struct owed {
	struct table **table;
	size_t n, cap;
	dev_t dev;			/* of sockets */
	pthread_t asker;		/* before the freeze: is /proc/locks to be read whole? */
	bool asking;
	int answer;			/* atomic: 1 yes, 0 not known yet, -1 no */
	pthread_t reader;		/* of /proc/locks */
	bool reading;
	int error;			/* its errno */
	bool whole;			/* what it has read */
	uint64_t *locked;		/* inodes of sockets with locks */
	size_t nlocked, locked_cap;
};

static void take_line(struct owed *o, const char *line)
{
	unsigned maj, min;
	uint64_t ino;

	/* "1: FLOCK  ADVISORY  WRITE 123 00:08:456 0 EOF"; who waits for one has "->". */
	if (sscanf(line, " %*d: %*[A-Z] %*s %*s %*d %x:%x:%lu", &maj, &min, &ino) != 3 ||
	    makedev(maj, min) != o->dev)
		return;
	*(uint64_t *)grow(&o->locked, o->nlocked, &o->locked_cap, sizeof(ino)) = ino;
	o->nlocked++;
}

/*
 * Into text, of LOCKS_MAX bytes: 1, or 0 when it is not whole, or -1 with errno set. That nothing
 * follows does not say that nothing followed a moment ago. But the kernel ends a page early only
 * before a record that does not fit.
 */
static int read_whole(char *text)
{
	AUTO_CLOSE int fd = open("/proc/locks", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, LOCKS_MAX - 1);
	ssize_t more = n <= 0 ? n : read(fd, text + n, 1);

	if (n < 0 || more < 0)
		return -1;
	text[n] = '\0';
	return more == 0 && n + RECORD_MAX <= sysconf(_SC_PAGESIZE);
}

static void *read_locks(void *arg)
{
	AUTO_FREE char *text = xcalloc(1, LOCKS_MAX);
	char *line, *next = text;
	struct owed *o = arg;
	int r = read_whole(text);

	if (r < 0)
		o->error = errno;
	o->whole = r > 0;
	while (o->whole && (line = strsep(&next, "\n")))
		take_line(o, line);
	return NULL;
}

static void *ask(void *arg)
{
	AUTO_FREE char *text = xcalloc(1, LOCKS_MAX);
	struct owed *o = arg;

	__atomic_store_n(&o->answer, read_whole(text) > 0 ? 1 : -1, __ATOMIC_RELEASE);
	return NULL;
}

static struct owed *owed_of(struct files *fs)
{
	if (!fs->owed)
		fs->owed = xcalloc(1, sizeof(*fs->owed));
	return fs->owed;
}

void owed_ask(struct files *fs)
{
	struct owed *o = owed_of(fs);

	if (!o->asking)
		o->asking = pthread_create(&o->asker, NULL, ask, o) == 0;
}

bool owed_can(const struct files *fs)
{
	return !fs->owed || __atomic_load_n(&fs->owed->answer, __ATOMIC_ACQUIRE) >= 0;
}

/* As soon as one socket needs it. */
static void begin_reading(struct owed *o, dev_t dev)
{
	if (o->dev)
		return;
	o->dev = dev;
	o->reading = pthread_create(&o->reader, NULL, read_locks, o) == 0;
	if (!o->reading)
		read_locks(o);
}

static void end_reading(struct owed *o)
{
	if (o->reading)
		pthread_join(o->reader, NULL);
	o->reading = false;
}

struct table *table_new(const DumpTask *task)
{
	struct table *t = xcalloc(1, sizeof(*t));

	t->task = task;
	return t;
}

void table_free(struct table *t)
{
	if (t)
		free(t->place);
	free(t);
}

void table_add(struct files *fs, struct table *t, const struct facts *x, FdTypes type)
{
	struct place *p = grow(&t->place, t->n++, &t->cap, sizeof(*p));

	fdinfo_entry__init(&p->entry);
	p->entry.id = x->id;
	p->entry.flags = x->cloexec ? 1 : 0;
	p->entry.type = type;
	p->entry.fd = x->fd;
	p->ino = x->st.st_ino;
	p->owed = x->owed;
	if (!x->owed)
		return;
	t->nowed++;
	begin_reading(owed_of(fs), x->st.st_dev);
}

static int write_table(struct files *fs, const struct table *t, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_create(files_image_dir(fs), IMG_FDINFO,
						    t->task->files_id, f);
	size_t i;

	if (!img)
		return -1;
	for (i = 0; i < t->n; i++)
		if (image_write(img, &t->place[i].entry.base, f) < 0)
			return -1;
	return image_close(&img, f);
}

int table_close(struct files *fs, struct table *t, struct fault *f)
{
	AUTO_TABLE struct table *own = t;
	struct owed *o;

	if (!t->nowed)
		return write_table(fs, t, f);
	o = owed_of(fs);
	*(struct table **)grow(&o->table, o->n++, &o->cap, sizeof(t)) = take_ptr(&own);
	return 0;
}

static bool may_be_locked(const struct owed *o, const struct place *p)
{
	size_t i = 0;

	while (i < o->nlocked && o->locked[i] != p->ino)
		i++;
	return p->owed && (!o->whole || i < o->nlocked);
}

static int note_locks(struct files *fs, const struct table *t, struct fault *f)
{
	AUTO_PROBE struct probe p;
	size_t i;

	if (probe_open(&p, t->task->pid, f) < 0)
		return -1;
	for (i = 0; i < t->n; i++) {
		if (!may_be_locked(fs->owed, &t->place[i]))
			continue;
		if (probe_info(&p, t->place[i].entry.fd, NULL, f) < 0)
			return -1;
		if (!locks_shown(p.info))
			continue;
		if (probe_file(&p, f) < 0)
			return -1;
		p.x.id = t->place[i].entry.id;
		if (locks_note(fs, &p.x, t->task, p.info, f) < 0)
			return -1;
	}
	return 0;
}

int owed_locks(struct files *fs, struct fault *f)
{
	struct owed *o = fs->owed;
	size_t i;

	if (!o)
		return 0;
	end_reading(o);
	if (o->error)
		return fault(f, o->error, "read /proc/locks");
	for (i = 0; (o->nlocked || !o->whole) && i < o->n; i++)
		if (note_locks(fs, o->table[i], f) < 0)
			return -1;
	return 0;
}

size_t owed_named(const struct files *fs, FdNumbers ***list)
{
	const struct owed *o = fs->owed;
	size_t i, k;

	*list = o ? xcalloc(o->n, sizeof(**list)) : NULL;
	for (i = 0; o && i < o->n; i++) {
		const struct table *t = o->table[i];
		FdNumbers *numbers = (*list)[i] = xcalloc(1, sizeof(*numbers));

		fd_numbers__init(numbers);
		numbers->pid = t->task->pid;
		numbers->fd = xcalloc(t->nowed, sizeof(*numbers->fd));
		for (k = 0; k < t->n; k++)
			if (t->place[k].owed)
				numbers->fd[numbers->n_fd++] = t->place[k].entry.fd;
	}
	return o ? o->n : 0;
}

/* Both are in ascending order. */
static int take_answer(struct table *t, const FdNumbers *cloexec, struct fault *f)
{
	size_t i, k = 0;

	if (cloexec->pid != (uint32_t)t->task->pid)
		return fault(f, -EPROTO, "task %u: its table is not the next one", cloexec->pid);
	for (i = 0; i < t->n && k < cloexec->n_fd; i++) {
		if (!t->place[i].owed || t->place[i].entry.fd != cloexec->fd[k])
			continue;
		t->place[i].entry.flags = 1;
		k++;
	}
	if (k == cloexec->n_fd)
		return 0;
	return fault(f, -EPROTO, "task %u: descriptor %u was not asked for", cloexec->pid,
		     cloexec->fd[k]);
}

int owed_write(struct files *fs, FdNumbers *const *cloexec, size_t n, struct fault *f)
{
	const struct owed *o = fs->owed;
	size_t i;

	if (n != (o ? o->n : 0))
		return fault(f, -EPROTO, "not all tables are told which descriptors exec closes");
	for (i = 0; i < n; i++)
		if (take_answer(o->table[i], cloexec[i], f) < 0 ||
		    write_table(fs, o->table[i], f) < 0)
			return -1;
	return 0;
}

void owed_end(struct files *fs)
{
	struct owed *o = fs->owed;

	if (!o)
		return;
	end_reading(o);
	if (o->asking)
		pthread_join(o->asker, NULL);
	while (o->n)
		table_free(o->table[--o->n]);
	free(o->table);
	free(o->locked);
	free(o);
	fs->owed = NULL;
}
