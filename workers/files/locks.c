/* SPDX-License-Identifier: MIT */
/*
 * locks.c - POSIX, flock and OFD locks and leases, both directions.
 *
 * Dump:     (not before the freeze: /proc/locks costs an RCU grace period, some 10 ms)
 *           fdinfo of a descriptor shows the locks of its struct file and the POSIX locks its
 *           table holds on the same inode, so most appear several times and are kept once.
 * Restore:  each lock is taken by the task it belongs to, through its gate, when
 *           nothing more is closed there.
 * Rights:   none of its own.
 * Holds:    the locks of one dump or restore.
 */
#include "workers/files/locks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/gate_client.h"
#include "workers/common/log.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"

#define GATE_TIMEOUT_MS 10000

enum kind { KIND_POSIX = 1, KIND_FLOCK = 2, KIND_OFD = 4, KIND_LEASE = 8 };

struct lock {
	FileLockEntry entry;
	uint32_t file_id;		/* dump: flock, OFD and leases belong to a file, */
	dev_t dev;			/* POSIX locks to a table and an inode */
	ino_t ino;
};

struct locks {
	struct lock *list;
	size_t n, cap;
};

static struct lock *add_lock(struct files *fs)
{
	struct locks *s;
	struct lock *l;

	if (!fs->locks)
		fs->locks = xcalloc(1, sizeof(*fs->locks));
	s = fs->locks;
	l = grow(&s->list, s->n++, &s->cap, sizeof(*l));
	file_lock_entry__init(&l->entry);
	return l;
}

void locks_end(struct files *fs)
{
	if (fs->locks)
		free(fs->locks->list);
	free(fs->locks);
	fs->locks = NULL;
}

/* Dump */

/* The words of "1: POSIX  ADVISORY  WRITE 123 fe:01:456 0 EOF", as in /proc/locks too. */
struct words {
	char kind[16], mode[16], type[16], end[24];
	int pid;
	long long start;
};

static int split(const char *text, struct words *w)
{
	unsigned long long major, minor, ino;

	return sscanf(text, " %*d: %15s %15s %15s %d %llx:%llx:%llu %lld %23s", w->kind, w->mode,
		      w->type, &w->pid, &major, &minor, &ino, &w->start, w->end) == 9;
}

static int kind_of(const char *word)
{
	static const struct {
		const char *word;
		enum kind kind;
	} kinds[] = {
		{ "POSIX", KIND_POSIX }, { "FLOCK", KIND_FLOCK }, { "OFDLCK", KIND_OFD },
		{ "LEASE", KIND_LEASE },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(word, kinds[i].word) == 0)
			return kinds[i].kind;
	return -1;
}

static int parse_lock(const char *text, FileLockEntry *e)
{
	struct words w;
	int kind;

	if (!split(text, &w) || (kind = kind_of(w.kind)) < 0)
		return -1;
	if (strcmp(w.type, "WRITE") != 0 && strcmp(w.type, "READ") != 0)
		return -1;
	if (strcmp(w.mode, "BREAKING") == 0 || strcmp(w.mode, "BREAKER") == 0)
		return -1;
	e->flag = kind;
	e->type = w.type[0] == 'W' ? F_WRLCK : F_RDLCK;
	e->start = w.start;
	e->len = strcmp(w.end, "EOF") == 0 ? 0 : strtoll(w.end, NULL, 10) + 1 - w.start;
	return 0;
}

static bool same_lock(const struct lock *a, const struct lock *b)
{
	if (a->entry.flag != b->entry.flag || a->entry.start != b->entry.start ||
	    a->entry.len != b->entry.len || a->entry.type != b->entry.type)
		return false;
	if (a->entry.flag == KIND_POSIX)
		return a->entry.pid == b->entry.pid && a->dev == b->dev && a->ino == b->ino;
	return a->file_id == b->file_id;
}

static int note_one(struct files *fs, const struct lock *new, const struct facts *x, struct fault *f)
{
	char who[400];
	size_t i;

	for (i = 0; fs->locks && i < fs->locks->n; i++)
		if (same_lock(&fs->locks->list[i], new))
			return 0;
	if (!files_opts(fs)->file_locks)
		return fault(f, -ENOTSUP, "%s is locked; give --file-locks to dump locks too",
			     facts_name(x, who, sizeof(who)));
	*add_lock(fs) = *new;
	return 0;
}

int locks_note(struct files *fs, const struct facts *x, const DumpTask *task, const char *fdinfo,
	       struct fault *f)
{
	static const char key[] = "\nlock:\t";
	const char *at = fdinfo;
	struct lock l;
	char who[400];

	while ((at = strstr(at, key)) != NULL) {
		at += sizeof(key) - 1;
		if (*at == '\n' || !*at)	/* of a task in a pid namespace we do not see */
			continue;
		file_lock_entry__init(&l.entry);
		if (parse_lock(at, &l.entry) < 0)
			return fault(f, -ENOTSUP, "%s has a lock that cannot be dumped: %.*s",
				     facts_name(x, who, sizeof(who)), (int)strcspn(at, "\n"), at);
		l.entry.pid = task->vpid;
		l.entry.fd = x->fd;
		l.file_id = x->id;
		l.dev = x->st.st_dev;
		l.ino = x->st.st_ino;
		if (note_one(fs, &l, x, f) < 0)
			return -1;
	}
	return 0;
}

int locks_write(struct files *fs, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	size_t i;

	if (!fs->locks)
		return 0;
	img = image_create(files_image_dir(fs), IMG_FILE_LOCKS, 0, f);
	if (!img)
		return -1;
	for (i = 0; i < fs->locks->n; i++)
		if (image_write(img, &fs->locks->list[i].entry.base, f) < 0)
			return -1;
	return image_close(&img, f);
}

/* Restore */

static int check_lock(struct files *fs, const FileLockEntry *e, struct fault *f)
{
	struct task_files *t = prepare_task(fs, e->pid);
	size_t i;

	if (e->flag != KIND_POSIX && e->flag != KIND_FLOCK && e->flag != KIND_OFD &&
	    e->flag != KIND_LEASE)
		return fault(f, -EBADMSG, "filelocks.img: lock of unknown kind %#x", e->flag);
	if (e->type != F_RDLCK && e->type != F_WRLCK)
		return fault(f, -ENOTSUP, "filelocks.img: lock of type %#x cannot be restored", e->type);
	if (e->start < 0 || e->len < 0)
		return fault(f, -EBADMSG, "filelocks.img: lock of %lld bytes from %lld on",
			     (long long)e->len, (long long)e->start);
	if (!t)
		return fault(f, -EBADMSG, "filelocks.img: lock of task %d, which is not in the dump",
			     e->pid);
	for (i = 0; i < t->table->n; i++)
		if (t->table->entry[i]->fd == (uint32_t)e->fd)
			return 0;
	return fault(f, -EBADMSG, "filelocks.img: task %d has no descriptor %d", e->pid, e->fd);
}

int locks_prepare(struct files *fs, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	ProtobufCMessage *msg;
	int r;

	img = image_open_optional(files_image_dir(fs), IMG_FILE_LOCKS, 0, f);
	if (!img)
		return f->code ? -1 : 0;
	while ((r = image_read(img, &msg, f)) > 0) {
		add_lock(fs)->entry = *(FileLockEntry *)msg;
		protobuf_c_message_free_unpacked(msg, NULL);
		if (check_lock(fs, &fs->locks->list[fs->locks->n - 1].entry, f) < 0)
			return -1;
	}
	if (r == 0 && fs->locks && !files_opts(fs)->file_locks) {
		log_warnx("the dump has file locks: not restored without --file-locks");
		locks_end(fs);
	}
	return r;
}

/* The system call that takes the lock again; false when the arena is full. */
static bool add_op(struct batch *b, const FileLockEntry *e)
{
	struct flock fl = {
		.l_whence = SEEK_SET, .l_type = e->type, .l_start = e->start, .l_len = e->len,
	};
	uint64_t at;
	int cmd = e->flag == KIND_OFD ? F_OFD_SETLK : F_SETLK;

	if (e->flag == KIND_FLOCK)
		return batch_op(b, 0, 0, SYS_flock, 2, gc(e->fd),
				gc((e->type == F_RDLCK ? LOCK_SH : LOCK_EX) | LOCK_NB)) >= 0;
	if (e->flag == KIND_LEASE)
		return batch_op(b, 0, 0, SYS_fcntl, 3, gc(e->fd), gc(F_SETLEASE), gc(e->type)) >= 0;
	at = batch_put(b, &fl, sizeof(fl));
	return at != UINT64_MAX && batch_op(b, 0, 0, SYS_fcntl, 3, gc(e->fd), gc(cmd), ga(at)) >= 0;
}

/* Run what was gathered; first: index in the list of the batch's first lock. */
static int take_locks(struct batch *b, pid_t pid, int count, struct fault *f)
{
	int i;

	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	for (i = 0; i < count; i++)
		if (batch_result(b, 0, i) < 0)
			return fault(f, -batch_result(b, 0, i), "task %d: take a file lock again", pid);
	batch_reset(b);
	return 0;
}

static int restore_task(struct files *fs, const struct task_files *t, struct fault *f)
{
	AUTO_BATCH struct batch *b = NULL;
	const struct locks *s = fs->locks;
	int count = 0;
	size_t i;

	for (i = 0; i < s->n; i++) {
		if (s->list[i].entry.pid != t->pid)
			continue;
		if (!b)
			b = batch_begin(t->gate);
		if (!add_op(b, &s->list[i].entry)) {
			if (take_locks(b, t->pid, count, f) < 0)
				return -1;
			count = 0;
			if (!add_op(b, &s->list[i].entry))
				return fault(f, ENOMEM, "task %d: no room for a lock", t->pid);
		}
		count++;
	}
	return count ? take_locks(b, t->pid, count, f) : 0;
}

int locks_restore(struct files *fs, struct fault *f)
{
	struct restore *r = fs->restore;
	size_t i;

	for (i = 0; fs->locks && i < r->ntasks; i++)
		if (restore_task(fs, &r->task[i], f) < 0)
			return -1;
	return 0;
}
