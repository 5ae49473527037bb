/* SPDX-License-Identifier: MIT */
/*
 * mqueue.c - POSIX message queues, mq_open(3): files of the mqueue file system.
 *
 * A queue with a name is an object of the host that outlives its users; only the open files are the
 * tasks'. CRIU knows nothing of them; the entries are of a type of ours, so that it refuses them.
 * Dump:     shape, owner, messages (mqueue_read.c), and which task waits to be told of a message.
 * Restore:  a queue that still has its name keeps its messages: what is missing was read meanwhile.
 *           One that is gone is made again, with the messages of the dump; what was unlinked is
 *           unlinked again. If the restore fails a keeper unlinks what was made.
 *           The value that a notification by signal carries cannot be read; it becomes 0.
 *
 * Rights:   CAP_DAC_OVERRIDE, CAP_CHOWN, CAP_FOWNER for queues of other users; gates for mq_notify.
 * Holds:    a descriptor of every queue of a restore, its keepers.
 */
#include "workers/files/mqueue.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/common/keeper.h"
#include "workers/common/log.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/mqueue_read.h"
#include "workers/files/prepare.h"

#define MQUEUE_MAGIC 0x19800202
#define INFO_SIZE 80			/* of every queue's file */
#define PRIO_MAX_QUEUE 32768
#define CALL_MS 10000

struct queue {
	uint64_t ino;
	MqueueState *state;		/* restore: of the first entry */
	int fd;				/* restore: -1 until made */
	struct keeper keeper;
	char path[NAME_MAX + 2];	/* "/name", for the keeper */
};

struct mqueues {
	struct queue *queue;
	size_t n, cap;
};

static struct queue *find(struct files *fs, uint64_t ino)
{
	struct mqueues *s = fs->mqueues;
	size_t i;

	for (i = 0; s && i < s->n; i++)
		if (s->queue[i].ino == ino)
			return &s->queue[i];
	return NULL;
}

static struct queue *add(struct files *fs, uint64_t ino)
{
	struct queue *q;

	if (!fs->mqueues)
		fs->mqueues = xcalloc(1, sizeof(*fs->mqueues));
	q = grow(&fs->mqueues->queue, fs->mqueues->n++, &fs->mqueues->cap, sizeof(*q));
	*q = (struct queue){ .ino = ino, .fd = -1, .keeper = KEEPER_NONE };
	return q;
}

/* Dump */

static bool match(const struct facts *x)
{
	struct statfs sfs;

	return x->dup >= 0 && S_ISREG(x->st.st_mode) && x->st.st_size == INFO_SIZE &&
	       !x->st.st_blocks && !(x->flags & O_PATH) && fstatfs(x->dup, &sfs) == 0 &&
	       sfs.f_type == MQUEUE_MAGIC;
}

static void take_messages(MqueueState *s, const struct mq_messages *m)
{
	MqueueMessage *e;
	size_t i;

	if (!m->n)
		return;
	e = xcalloc(m->n, sizeof(*e));
	s->message = xcalloc(m->n, sizeof(*s->message));
	s->n_message = m->n;
	for (i = 0; i < m->n; i++) {
		mqueue_message__init(&e[i]);
		e[i].prio = m->prio[i];
		e[i].text.data = (uint8_t *)m->text + i * m->room;
		e[i].text.len = m->len[i];
		s->message[i] = &e[i];
	}
}

static void drop_messages(MqueueState *s)
{
	if (s->n_message)
		free(s->message[0]);
	free(s->message);
}

/* "... NOTIFY:0 SIGNO:10 NOTIFY_PID:4711": *n is filled when somebody waits. */
static int read_notify(int fd, MqueueNotify *n, struct fault *f)
{
	char text[128];
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	text[len > 0 ? len : 0] = '\0';
	if (sscanf(text, "QSIZE:%*u NOTIFY:%d SIGNO:%d NOTIFY_PID:%d", &n->how, &n->signo,
		   &n->pid) != 3)
		return fault(f, -EPROTO, "its file does not tell its state in the form expected");
	if (n->pid && n->how != SIGEV_NONE && n->how != SIGEV_SIGNAL)
		return fault(f, -ENOTSUP, "task %d is to be told of a message by a thread "
			     "(SIGEV_THREAD), which cannot be dumped: have it use a signal, or "
			     "mq_notify(queue, NULL) first", n->pid);
	return 0;
}

static int write_queue(struct files *fs, const struct facts *x, const struct mq_attr *a,
		       const struct mq_messages *messages, MqueueNotify *notify, struct fault *f)
{
	MqueueState state = MQUEUE_STATE__INIT;
	MqueueEntry p = MQUEUE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	char name[PATH_MAX + 16];
	size_t len;
	int r;

	snprintf(name, sizeof(name), "%s", x->link);
	state.has_unlinked = true;
	state.unlinked = link_deleted(name, &len);
	if (state.unlinked)
		name[len] = '\0';
	state.name = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
	state.mode = x->st.st_mode & 07777;
	state.uid = x->st.st_uid;
	state.gid = x->st.st_gid;
	state.maxmsg = a ? a->mq_maxmsg : 0;
	state.msgsize = a ? a->mq_msgsize : 0;
	state.notify = notify && notify->pid ? notify : NULL;
	if (a)
		take_messages(&state, messages);
	p.id = x->id;
	p.flags = x->flags;
	p.fown = x->fown;
	p.ino = x->st.st_ino;
	p.queue = a ? &state : NULL;
	e.type = FD_TYPES__MQUEUE;
	e.id = x->id;
	e.mqueue = &p;
	r = files_write_entry(fs, &e, f);
	if (a)
		drop_messages(&state);
	return r;
}

/* The queue itself, with the first of its open files. */
static int dump_first(struct files *fs, const struct facts *x, struct fault *f)
{
	AUTO_CLOSE int fd = files_reopen(x->dup, O_RDWR, f);
	MqueueNotify notify = MQUEUE_NOTIFY__INIT;
	struct mq_messages messages;
	struct mq_attr a;
	int r;

	if (fd < 0 || read_notify(fd, &notify, f) < 0)
		return -1;
	if (mq_getattr(fd, &a) < 0)
		return fault(f, errno, "ask its attributes");
	if (notify.pid && a.mq_curmsgs)
		return fault(f, -ENOTSUP, "it has messages while task %d is to be told of the "
			     "next, so that they cannot be read unnoticed: let the program receive "
			     "them first", notify.pid);
	if (notify.pid && notify.how == SIGEV_SIGNAL)
		log_warnx("queue %s: the value that comes with the signal to task %d becomes 0",
			  x->link, notify.pid);
	add(fs, x->st.st_ino);
	r = mq_messages_read(fd, &messages, f);
	if (r == 0)
		r = write_queue(fs, x, &a, &messages, &notify, f);
	mq_messages_free(&messages);
	return r;
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	char who[400];

	if (find(fs, x->st.st_ino))
		return write_queue(fs, x, NULL, NULL, NULL, f);
	if (dump_first(fs, x, f) < 0)
		return fault_prefix(f, "%s", facts_name(x, who, sizeof(who)));
	return 0;
}

/* Restore */

static bool is_name(const char *s)
{
	return *s && strlen(s) <= NAME_MAX && !strchr(s, '/') && strcmp(s, ".") && strcmp(s, "..");
}

static int check_state(const struct file *file, const MqueueState *s, struct fault *f)
{
	size_t i;

	if (!is_name(s->name) || !s->maxmsg || !s->msgsize || s->maxmsg > INT_MAX ||
	    s->msgsize > INT_MAX || s->n_message > s->maxmsg)
		return fault(f, -EBADMSG, "files.img: queue %u: impossible name or sizes",
			     file->id);
	for (i = 0; i < s->n_message; i++)
		if (s->message[i]->prio >= PRIO_MAX_QUEUE || s->message[i]->text.len > s->msgsize)
			return fault(f, -EBADMSG, "files.img: queue %u: message %zu does not fit",
				     file->id, i);
	if (s->notify && s->notify->how != SIGEV_NONE &&
	    (s->notify->how != SIGEV_SIGNAL || s->notify->signo < 1 || s->notify->signo > 64))
		return fault(f, -EBADMSG, "files.img: queue %u: impossible notification", file->id);
	return 0;
}

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const MqueueEntry *p = file->entry->mqueue;
	struct queue *q;

	if (!p || p->id != file->id || (p->flags & O_ACCMODE) == O_ACCMODE)
		return fault(f, -EBADMSG, "files.img: file %u is no complete message queue",
			     file->id);
	q = find(fs, p->ino);
	if (!q)
		q = add(fs, p->ino);
	if (!p->queue)
		return 0;
	if (q->state)
		return fault(f, -EBADMSG, "files.img: queue %u is described twice", file->id);
	q->state = p->queue;
	return check_state(file, p->queue, f);
}

static void unlink_made(void *arg)
{
	mq_unlink(arg);
}

/* A queue of that name, of the host. 0: there is none (any more). */
static int use_existing(struct queue *q, struct fault *f)
{
	struct mq_attr a;

	if (q->state->unlinked)
		return 0;
	q->fd = mq_open(q->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (q->fd < 0 && errno == ENOENT)
		return 0;
	if (q->fd < 0 || mq_getattr(q->fd, &a) < 0)
		return fault(f, errno, "open the message queue %s", q->path);
	if (a.mq_maxmsg != (long)q->state->maxmsg || a.mq_msgsize != (long)q->state->msgsize)
		return fault(f, -EEXIST, "the message queue %s has room for %ld messages of %ld "
			     "bytes now, but %u of %u in the images: remove it", q->path,
			     a.mq_maxmsg, a.mq_msgsize, q->state->maxmsg, q->state->msgsize);
	return 1;
}

static int fill(const struct queue *q, struct fault *f)
{
	const MqueueState *s = q->state;
	const MqueueMessage *m;
	size_t i;

	if (fchown(q->fd, s->uid, s->gid) < 0 || fchmod(q->fd, s->mode) < 0)
		return fault(f, errno, "give the message queue %s owner and mode", q->path);
	for (i = 0; i < s->n_message; i++) {
		m = s->message[i];
		if (mq_send(q->fd, m->text.len ? (char *)m->text.data : "", m->text.len,
			    m->prio) < 0)
			return fault(f, errno, "put message %zu back into the queue %s", i,
				     q->path);
	}
	return 0;
}

static int make_queue(struct queue *q, struct fault *f)
{
	struct mq_attr a = { .mq_maxmsg = q->state->maxmsg, .mq_msgsize = q->state->msgsize };
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC;

	if (keeper_start(&q->keeper, unlink_made, q->path, -1, f) < 0)
		return -1;
	q->fd = mq_open(q->path, flags, 0600, &a);
	if (q->fd < 0) {
		fault(f, errno, "make the message queue %s of %u messages of %u bytes (fs.mqueue.* "
		      "and RLIMIT_MSGQUEUE limit them)", q->path, q->state->maxmsg,
		      q->state->msgsize);
		if (f->code == EEXIST)	/* another program's: leave it */
			keeper_dismiss(&q->keeper, f);
		return -1;
	}
	if (fill(q, f) < 0 || !q->state->unlinked)
		return f->code ? -1 : 0;
	mq_unlink(q->path);
	return keeper_dismiss(&q->keeper, f);
}

/* An unlinked queue gets its old name for a moment, or another where that is taken. */
static int open_queue(struct queue *q, struct fault *f)
{
	int r, probe;

	snprintf(q->path, sizeof(q->path), "/%s", q->state->name);
	r = use_existing(q, f);
	if (r)
		return r < 0 ? -1 : 0;
	probe = q->state->unlinked ? mq_open(q->path, O_RDONLY | O_CLOEXEC) : -1;
	if (probe >= 0) {
		mq_close(probe);
		snprintf(q->path, sizeof(q->path), "/stasis-%d-%llu", getpid(),
			 (unsigned long long)q->ino);
	}
	return make_queue(q, f);
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	const MqueueEntry *p = file->entry->mqueue;
	struct queue *q = find(fs, p->ino);

	if (!q->state)
		return fault(f, -EBADMSG, "files.img: queue %u is not described", file->id);
	if (q->fd < 0 && open_queue(q, f) < 0)
		return CREATE_FAILED;
	file->fd = files_reopen(q->fd, p->flags & (O_ACCMODE | O_NONBLOCK), f);
	if (file->fd < 0)
		return fault_prefix(f, "message queue %s", q->path);
	return files_set_flags(file->fd, p->flags, f) < 0 ? CREATE_FAILED : CREATED;
}

/* The number that a task has for this file, -1: none. */
static int number_in(struct files *fs, const struct file *file, pid_t pid)
{
	struct task_files *t = prepare_task(fs, pid);
	size_t i;

	for (i = 0; t && i < file->nusers; i++)
		if (file->users[i].table == t->table)
			return file->users[i].entry->fd;
	return -1;
}

/* The task that is to be told must ask for it itself. */
static int register_notify(struct files *fs, const struct file *file, struct fault *f)
{
	const MqueueState *s = file->entry->mqueue->queue;
	const MqueueNotify *n = s ? s->notify : NULL;
	int fd = n ? number_in(fs, file, n->pid) : -1;
	struct gate *g = fd < 0 ? NULL : files_gate(fs, n->pid);
	AUTO_BATCH struct batch *b = NULL;
	struct sigevent *ev;
	uint64_t at;
	int64_t r;

	if (!g) {
		if (n)
			log_warnx("queue %s: task %d, which was to be told of a message, has it no "
				  "more", s->name, n->pid);
		return 0;
	}
	b = batch_begin(g);
	at = batch_alloc(b, sizeof(*ev), (void **)&ev);
	ev->sigev_notify = n->how;
	ev->sigev_signo = n->signo;
	batch_op(b, 0, 0, SYS_mq_notify, 2, gc(fd), ga(at));
	if (batch_run(b, CALL_MS, f) < 0)
		return -1;
	r = batch_result(b, 0, 0);
	if (r == -EBUSY)
		log_warnx("queue %s: another program is told of its messages now", s->name);
	else if (r < 0)
		return fault(f, -r, "task %d: ask to be told of messages of %s", n->pid, s->name);
	return 0;
}

static int installed(struct files *fs, struct fault *f)
{
	return files_each_created(fs, &mqueue_type, register_notify, f);
}

size_t mqueue_count(const struct files *fs)
{
	return fs->mqueues ? fs->mqueues->n : 0;
}

size_t mqueue_hand_over(struct files *fs, int *fds, size_t max)
{
	size_t i, n = 0;

	for (i = 0; i < mqueue_count(fs) && n < max; i++) {
		fds[n] = keeper_hand_over(&fs->mqueues->queue[i].keeper);
		n += fds[n] >= 0;
	}
	return n;
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->mqueue->fown;
}

/* With a keeper the queue stays noted, for mqueue_hand_over. */
static void end(struct files *fs)
{
	struct mqueues *s = fs->mqueues;
	size_t i, left = 0;

	for (i = 0; s && i < s->n; i++) {
		auto_close(&s->queue[i].fd);
		s->queue[i].fd = -1;
		if (s->queue[i].keeper.pid > 0)
			s->queue[left++] = s->queue[i];
	}
	if (!s || left) {
		if (s)
			s->n = left;
		return;
	}
	free(s->queue);
	free(s);
	fs->mqueues = NULL;
}

const struct file_type mqueue_type = {
	.name = "message queue",
	.type = FD_TYPES__MQUEUE,
	.match = match,
	.dump = dump,
	.check = check,
	.create = create,
	.installed = installed,
	.fown = fown,
	.end = end,
};
