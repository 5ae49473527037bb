/* SPDX-License-Identifier: MIT */
/*
 * locks.c - POSIX, flock and OFD locks and leases, both directions.
 *
 * Dump:     (not before the freeze, and /proc/locks, which costs an RCU grace period, some 10 ms,
 *           for many sockets only: owed.c)
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
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/gate_client.h"
#include "workers/common/log.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"

#define GATE_TIMEOUT_MS 10000
/* In type: another task waits for this lease; the rest is what it has to become. */
#define BREAKING 4

enum kind { KIND_POSIX = 1, KIND_FLOCK = 2, KIND_OFD = 4, KIND_LEASE = 8 };

struct lock {
	FileLockEntry entry;
	uint32_t file_id;		/* dump: flock, OFD and leases belong to a file, */
	char inode[48];			/* POSIX locks to a table and an inode ("fe:01:456") */
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

/* The words of "1: POSIX  ADVISORY  WRITE 123 fe:01:456 0 EOF". */
struct words {
	char kind[16], mode[16], type[16], inode[48], end[24];
	long long start;
};

static int split(const char *text, struct words *w)
{
	return sscanf(text, " %*d: %15s %15s %15s %*d %47s %lld %23s", w->kind, w->mode, w->type,
		      w->inode, &w->start, w->end) == 6;
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

static int type_of(const char *word)
{
	if (strcmp(word, "READ") == 0)
		return F_RDLCK;
	if (strcmp(word, "WRITE") == 0)
		return F_WRLCK;
	return strcmp(word, "UNLCK") == 0 ? F_UNLCK : -1;
}

static int parse_lock(const char *text, struct lock *l)
{
	FileLockEntry *e = &l->entry;
	struct words w;
	int kind, type;

	if (!split(text, &w) || (kind = kind_of(w.kind)) < 0 || (type = type_of(w.type)) < 0)
		return -1;
	e->flag = kind;
	e->type = type;
	if (strcmp(w.mode, "BREAKING") == 0)
		e->type |= BREAKING;
	else if (type == F_UNLCK)
		return -1;
	e->start = w.start;
	e->len = strcmp(w.end, "EOF") == 0 ? 0 : strtoll(w.end, NULL, 10) + 1 - w.start;
	memcpy(l->inode, w.inode, sizeof(l->inode));
	return 0;
}

static bool same_lock(const struct lock *a, const struct lock *b)
{
	if (a->entry.flag != b->entry.flag || a->entry.start != b->entry.start ||
	    a->entry.len != b->entry.len || a->entry.type != b->entry.type)
		return false;
	if (a->entry.flag == KIND_POSIX)
		return a->entry.pid == b->entry.pid && strcmp(a->inode, b->inode) == 0;
	return a->file_id == b->file_id;
}

static int note_one(struct files *fs, const struct lock *new, const struct facts *x,
		    struct fault *f)
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

static const char lock_key[] = "\nlock:\t";

bool locks_shown(const char *fdinfo)
{
	return strstr(fdinfo, lock_key);
}

/*
 * The pid that a line tells is 0 where the taker has ended or is in a namespace that we do not see.
 */
int locks_note(struct files *fs, const struct facts *x, const DumpTask *task, const char *fdinfo,
	       struct fault *f)
{
	const char *at = fdinfo;
	struct lock l;
	char who[400];

	while ((at = strstr(at, lock_key)) != NULL) {
		at += sizeof(lock_key) - 1;
		file_lock_entry__init(&l.entry);
		if (parse_lock(at, &l) < 0)
			return fault(f, -ENOTSUP, "%s has a lock that cannot be dumped: %.*s",
				     facts_name(x, who, sizeof(who)), (int)strcspn(at, "\n"), at);
		l.entry.pid = task->vpid;
		l.entry.fd = x->fd;
		l.file_id = x->id;
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
	if (e->type != F_RDLCK && e->type != F_WRLCK &&
	    (e->flag != KIND_LEASE || (e->type != (BREAKING | F_RDLCK) &&
				       e->type != (BREAKING | F_UNLCK))))
		return fault(f, -ENOTSUP, "filelocks.img: lock of type %#x cannot be restored",
			     e->type);
	if (e->start < 0 || e->len < 0)
		return fault(f, -EBADMSG, "filelocks.img: lock of %lld bytes from %lld on",
			     (long long)e->len, (long long)e->start);
	if (!t)
		return fault(f, -EBADMSG, "filelocks.img: lock of task %d, which is not in the "
			     "dump", e->pid);
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

/* The descriptor of a lock, here in the worker. */
static int own_fd(const struct task_files *t, const FileLockEntry *e)
{
	size_t i = 0;

	while (t->table->entry[i]->fd != (uint32_t)e->fd)	/* it is there: check_lock */
		i++;
	return t->table->file[i]->fd;
}

/* The type to take. A lease that is being broken was one that stands in the breaker's way. */
static int taken_type(const struct task_files *t, const FileLockEntry *e)
{
	if (!(e->type & BREAKING))
		return e->type;
	if (e->type == (BREAKING | F_RDLCK))
		return F_WRLCK;
	return (fcntl(own_fd(t, e), F_GETFL) & O_ACCMODE) == O_RDONLY ? F_RDLCK : F_WRLCK;
}

/* The system call that takes the lock again; false when the arena is full. */
static bool add_op(struct batch *b, const struct task_files *t, const FileLockEntry *e)
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
		return batch_op(b, 0, 0, SYS_fcntl, 3, gc(e->fd), gc(F_SETLEASE),
				gc(taken_type(t, e))) >= 0;
	at = batch_put(b, &fl, sizeof(fl));
	return at != UINT64_MAX && batch_op(b, 0, 0, SYS_fcntl, 3, gc(e->fd), gc(cmd), ga(at)) >= 0;
}

/* Run the batch of one task: count locks. */
static int take_locks(struct batch *b, pid_t pid, int count, struct fault *f)
{
	int i;

	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	for (i = 0; i < count; i++)
		if (batch_result(b, 0, i) < 0)
			return fault(f, -batch_result(b, 0, i), "task %d: take a file lock again",
				     pid);
	batch_reset(b);
	return 0;
}

/*
 * Ask for the file as the one did who waits for the lease. The kernel tells the holder by a
 * signal; it had that before the dump, so it is taken away, unless one was pending anyway.
 */
static int break_again(struct batch *b, const struct task_files *t, const FileLockEntry *e,
		       struct fault *f)
{
	const struct timespec none = { 0 };
	const uint64_t sigio = 1ull << (SIGIO - 1);
	int flags = e->type == (BREAKING | F_RDLCK) ? O_RDONLY : O_WRONLY;
	struct fault refused = { 0 };
	uint64_t pending_at, set_at, none_at, *pending;
	AUTO_CLOSE int fd = -1;

	pending_at = batch_alloc(b, sizeof(*pending), (void **)&pending);
	set_at = batch_put(b, &sigio, sizeof(sigio));
	none_at = batch_put(b, &none, sizeof(none));
	batch_op(b, 0, 0, SYS_rt_sigpending, 2, ga(pending_at), gc(8));
	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	fd = files_reopen(own_fd(t, e), flags, &refused);
	if (fd >= 0 || refused.code != EWOULDBLOCK)
		return fault(f, -EBADMSG, "task %d: nothing breaks the lease of descriptor %d",
			     t->pid, e->fd);
	if (!(*pending & sigio)) {
		batch_op(b, 0, 0, SYS_rt_sigtimedwait, 4, ga(set_at), gc(0), ga(none_at), gc(8));
		if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
			return -1;
	}
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
		const FileLockEntry *e = &s->list[i].entry;

		if (e->pid != t->pid)
			continue;
		if (!b)
			b = batch_begin(t->gate);
		if (!add_op(b, t, e)) {
			if (take_locks(b, t->pid, count, f) < 0)
				return -1;
			count = 0;
			add_op(b, t, e);
		}
		count++;
		if (e->type & BREAKING) {
			if (take_locks(b, t->pid, count, f) < 0 || break_again(b, t, e, f) < 0)
				return -1;
			count = 0;
		}
	}
	return count ? take_locks(b, t->pid, count, f) : 0;
}

/*
 * Before the owners of files are named: a lease makes its taker the owner of a file without one,
 * and whom break_again signals is then known.
 */
int locks_restore(struct files *fs, struct fault *f)
{
	struct restore *r = fs->restore;
	size_t i;

	for (i = 0; fs->locks && i < r->ntasks; i++)
		if (restore_task(fs, &r->task[i], f) < 0)
			return -1;
	return 0;
}
