/* SPDX-License-Identifier: MIT */
/*
 * identity.c - recognise the same open file in many descriptors.
 *
 * Only kcmp can tell whether two descriptors are one struct file, and it costs a system
 * call. What must be equal anyway (inode number, position, flags, mount) sorts descriptors into
 * groups; inside a group they are kept in the order kcmp defines, so that a new one is placed
 * by a binary search.
 *
 * Rights:   ptrace access to the tasks (kcmp).
 * Holds:    the groups of one dump.
 */
#include "workers/files/identity.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/files/files.h"

#define BUCKETS 4096

struct key {
	uint64_t ino, pos;
	int64_t flags, mnt_id;
};

struct member {
	pid_t pid;
	int fd;
	int dup;			/* ours, or -1 */
	uint32_t id;
};

struct group {
	struct key key;
	struct group *next;
	struct member *members;		/* by the order of kcmp */
	size_t n, cap;
};

struct identity {
	struct group *bucket[BUCKETS];
	FdTypes *type;			/* by id */
	size_t ntypes;
};

static size_t hash(const struct key *k)
{
	uint64_t h = k->ino ^ k->pos * 0x9e3779b97f4a7c15ull;

	h = h * 31 + k->flags * 7 + k->mnt_id;
	h *= 0x9e3779b97f4a7c15ull;
	return h >> 52;
}

static struct group *find_group(struct files *fs, const struct key *k)
{
	struct group **at, *g;

	if (!fs->identity)
		fs->identity = xcalloc(1, sizeof(*fs->identity));
	at = &fs->identity->bucket[hash(k) % BUCKETS];
	for (g = *at; g; g = g->next)
		if (memcmp(&g->key, k, sizeof(*k)) == 0)
			return g;
	g = xcalloc(1, sizeof(*g));
	g->key = *k;
	g->next = *at;
	*at = g;
	return g;
}

static void insert(struct group *g, size_t at, struct facts *x)
{
	struct member *m;

	grow(&g->members, g->n, &g->cap, sizeof(*m));
	m = g->members + at;
	memmove(m + 1, m, (g->n - at) * sizeof(*m));
	*m = (struct member){ .pid = x->pid, .fd = x->fd, .dup = x->dup, .id = x->id };
	x->dup_kept = x->dup >= 0;
	g->n++;
}

/*
 * The order does not depend on where the struct files are seen from. Between duplicates of our
 * own the kernel has no access to check, which is most of the call's cost.
 */
static int compare(const struct facts *x, const struct member *m)
{
	if (x->dup >= 0 && m->dup >= 0)
		return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, x->dup, m->dup);
	return syscall(SYS_kcmp, x->pid, m->pid, KCMP_FILE, x->fd, m->fd);
}

int identity_find(struct files *fs, struct facts *x, struct fault *f)
{
	const struct key k = { x->st.st_ino, x->pos, x->flags, x->mnt_id };
	struct group *g = find_group(fs, &k);
	size_t low = 0, high = g->n;

	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct member *m = g->members + mid;
		int r = compare(x, m);

		if (r < 0)
			return fault(f, errno, "compare descriptor %d of task %d with %d of %d "
				     "(kcmp)", x->fd, x->pid, m->fd, m->pid);
		if (r == 0) {
			x->id = m->id;
			return 0;
		}
		if (r == 1)
			high = mid;
		else
			low = mid + 1;
	}
	x->id = files_new_id(fs);
	insert(g, low, x);
	return 1;
}

bool identity_find_path(struct files *fs, struct facts *x)
{
	/* Negative flags: no descriptor has them, so the two kinds never share a group. */
	const struct key k = { x->st.st_ino, 0, -1, x->mnt_id };
	struct group *g = find_group(fs, &k);

	if (g->n) {
		x->id = g->members[0].id;
		return false;
	}
	x->id = files_new_id(fs);
	insert(g, 0, x);
	return true;
}

void identity_set_type(struct files *fs, uint32_t id, FdTypes type)
{
	struct identity *s = fs->identity;

	if (id >= s->ntypes) {
		s->type = xrealloc(s->type, id * 2 + 64, sizeof(*s->type));
		s->ntypes = id * 2 + 64;
	}
	s->type[id] = type;
}

FdTypes identity_type(const struct files *fs, uint32_t id)
{
	return fs->identity->type[id];
}

static void free_group(struct group *g)
{
	size_t i;

	for (i = 0; i < g->n; i++)
		auto_close(&g->members[i].dup);
	free(g->members);
	free(g);
}

/* Also our duplicates: before the tasks run on, as ends of pipes matter. */
void identity_free(struct files *fs)
{
	struct group *g, *next;
	size_t i;

	for (i = 0; fs->identity && i < BUCKETS; i++) {
		for (g = fs->identity->bucket[i]; g; g = next) {
			next = g->next;
			free_group(g);
		}
	}
	if (fs->identity)
		free(fs->identity->type);
	free(fs->identity);
	fs->identity = NULL;
}
