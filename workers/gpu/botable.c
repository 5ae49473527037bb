/* SPDX-License-Identifier: MIT */
/*
 * botable.c - a hash table of buffers in shared memory.
 *
 * Rows are dense, in order of arrival; an index of twice as many slots finds them by key (open
 * addressing). A robust mutex in the memory keeps processes apart; one that dies while it holds it
 * leaves whole rows: the count is raised last.
 *
 * Rights:   none.
 * Holds:    a memfd and its mapping.
 */
#include "workers/gpu/botable.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "proto/control/util.h"

#define FIRST_ROOM 64

struct shared {
	pthread_mutex_t lock;
	uint64_t room;			/* rows */
	uint64_t n;
	struct bo rows[];		/* then 2 * room slots of u32: row + 1, 0: free */
};

struct botable {
	struct shared *m;
	size_t size;
};

static uint32_t *slots(struct shared *m)
{
	return (uint32_t *)&m->rows[m->room];
}

static struct shared *map_table(size_t room, size_t *size, struct fault *f)
{
	AUTO_CLOSE int fd = memfd_create("stasis-buffers", MFD_CLOEXEC);
	pthread_mutexattr_t a;
	struct shared *m;

	*size = sizeof(struct shared) + room * sizeof(struct bo) + 2 * room * sizeof(uint32_t);
	if (fd < 0 || ftruncate(fd, *size) < 0) {
		fault(f, errno, "make a table for %zu buffers", room);
		return NULL;
	}
	m = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED) {
		fault(f, errno, "map a table for %zu buffers", room);
		return NULL;
	}
	m->room = room;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&m->lock, &a);
	pthread_mutexattr_destroy(&a);
	return m;
}

struct botable *botable_new(struct fault *f)
{
	struct botable *t = xcalloc(1, sizeof(*t));

	t->m = map_table(FIRST_ROOM, &t->size, f);
	if (!t->m) {
		free(t);
		return NULL;
	}
	return t;
}

void botable_free(struct botable *t)
{
	if (!t)
		return;
	munmap(t->m, t->size);
	free(t);
}

/* Keys are inode numbers, often neighbours: mix them (Fibonacci hashing). */
static uint64_t slot_of(const struct shared *m, uint64_t key)
{
	return (key * 0x9e3779b97f4a7c15ull >> 17) % (2 * m->room);
}

static struct bo *find(struct shared *m, uint64_t key)
{
	uint64_t at = slot_of(m, key);
	uint32_t *s = slots(m);

	for (; s[at]; at = (at + 1) % (2 * m->room))
		if (m->rows[s[at] - 1].key == key)
			return &m->rows[s[at] - 1];
	return NULL;
}

/* The row of a key that is not there yet; the caller knows there is room. */
static struct bo *append(struct shared *m, const struct bo *b)
{
	uint64_t at = slot_of(m, b->key);
	uint32_t *s = slots(m);

	while (s[at])
		at = (at + 1) % (2 * m->room);
	m->rows[m->n] = *b;
	s[at] = m->n + 1;
	m->n++;
	return &m->rows[m->n - 1];
}

int botable_reserve(struct botable *t, size_t n, struct fault *f)
{
	size_t room = t->m->room, size, i;
	struct shared *m;

	if (n <= room)
		return 0;
	while (room < n)
		room *= 2;
	if (room > UINT32_MAX / 2)
		return fault(f, -E2BIG, "%zu buffers are too many", n);
	m = map_table(room, &size, f);
	if (!m)
		return -1;
	for (i = 0; i < t->m->n; i++)
		append(m, &t->m->rows[i]);
	munmap(t->m, t->size);
	t->m = m;
	t->size = size;
	return 0;
}

size_t botable_count(const struct botable *t)
{
	return t->m->n;
}

struct bo *botable_at(struct botable *t, size_t i)
{
	return i < t->m->n ? &t->m->rows[i] : NULL;
}

static void lock(struct botable *t)
{
	if (pthread_mutex_lock(&t->m->lock) == EOWNERDEAD)
		pthread_mutex_consistent(&t->m->lock);
}

static void unlock(struct botable *t)
{
	pthread_mutex_unlock(&t->m->lock);
}

struct bo *botable_find(struct botable *t, uint64_t key)
{
	struct bo *b;

	lock(t);
	b = find(t->m, key);
	unlock(t);
	return b;
}

/* The row of a key, new if need be. Called with the lock held. */
static struct bo *row(struct botable *t, uint64_t key, struct fault *f)
{
	const struct bo fresh = { .key = key, .owner = BO_NO_OWNER, .rank = UINT32_MAX,
				  .importer = BO_NO_OWNER, .store_id = -1 };
	struct bo *b = key ? find(t->m, key) : NULL;

	if (b)
		return b;
	if (!key) {
		fault(f, -EINVAL, "a buffer without identity");
		return NULL;
	}
	if (t->m->n == t->m->room) {
		fault(f, -ENOSPC, "the table of buffers has room for %zu only", (size_t)t->m->room);
		return NULL;
	}
	return append(t->m, &fresh);
}

static void add_importer(struct bo *b, uint32_t id)
{
	b->importers++;
	if (b->importer == BO_NO_OWNER)
		b->importer = id;
}

struct bo *botable_claim(struct botable *t, uint64_t key, uint32_t owner, uint32_t rank, int strict,
			 struct fault *f)
{
	struct bo *b;

	lock(t);
	b = row(t, key, f);
	if (b && strict && b->owner != BO_NO_OWNER) {
		fault(f, -EINVAL,
		      "buffer %#llx has two owners, files %#x and %#x: the images are damaged",
		      (unsigned long long)key, b->owner, owner);
		b = NULL;
	} else if (b && b->owner == BO_NO_OWNER) {
		b->owner = owner;
		b->rank = rank;
		b->state = BO_OWNED;
	} else if (b && (rank < b->rank || (rank == b->rank && owner < b->owner))) {
		add_importer(b, b->owner);
		b->owner = owner;
		b->rank = rank;
	} else if (b) {
		add_importer(b, owner);
	}
	unlock(t);
	return b;
}

struct bo *botable_import(struct botable *t, uint64_t key, uint32_t importer, struct fault *f)
{
	struct bo *b;

	lock(t);
	b = row(t, key, f);
	if (b)
		add_importer(b, importer);
	unlock(t);
	return b;
}

int botable_publish(struct botable *t, uint64_t key, int64_t store_id, struct fault *f)
{
	struct bo *b;
	int r = 0;

	lock(t);
	b = find(t->m, key);
	if (!b || b->state != BO_OWNED)
		r = fault(f, -EINVAL, "buffer %#llx %s", (unsigned long long)key,
			  b ? "was made twice" : "is not known");
	if (r == 0) {
		b->store_id = store_id;
		b->state = BO_PUBLISHED;
	}
	unlock(t);
	return r;
}

int64_t botable_want(struct botable *t, uint64_t key)
{
	struct bo *b;
	int64_t id = -1;

	lock(t);
	b = find(t->m, key);
	if (b && b->state == BO_PUBLISHED)
		id = b->store_id;
	else if (b)
		b->waiters++;
	unlock(t);
	return id;
}
