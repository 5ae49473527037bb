/* SPDX-License-Identifier: MIT */
/*
 * files.c - the files worker: its handlers, its state, and the services for file types.
 *
 *	dump		preflight -> collect -> write -> seal (or rollback)
 *	restore		prepare -> gates -> install_mapped, restore -> finish
 *
 * Rights:   see files_caps.
 * Holds:    struct files, from the first message to the end.
 */
#include "workers/files/files.h"

#include <errno.h>
#include <fcntl.h>

#include "proto/control/util.h"
#include "workers/files/device.h"
#include "workers/files/fdtable.h"
#include "workers/files/fs.h"
#include "workers/files/ghost.h"
#include "workers/files/handed.h"
#include "workers/files/identity.h"
#include "workers/files/install.h"
#include "workers/files/kept.h"
#include "workers/files/late.h"
#include "workers/files/locks.h"
#include "workers/files/mapped.h"
#include "workers/files/memfd.h"
#include "workers/files/mqueue.h"
#include "workers/files/owed.h"
#include "workers/files/revive.h"
#include "workers/files/socket.h"
#include "workers/files/survey.h"
#include "workers/files/tun.h"

static struct files state;

/*
 * What the tasks' files may take: to look into tasks of any uid and open map_files, to open any
 * path and make nodes, to give files back their owners and modes, to name owners as other uids,
 * to enter a root directory, to make tun devices, to open the kernel log, and to exceed limits
 * where the user has that right.
 */
static const cap_value_t files_caps[] = {
	CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE, CAP_SYS_ADMIN, CAP_DAC_OVERRIDE,
	CAP_DAC_READ_SEARCH, CAP_CHOWN, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETUID, CAP_SETGID,
	CAP_LEASE, CAP_SYS_RESOURCE, CAP_SYS_CHROOT, CAP_SYS_TTY_CONFIG, CAP_KILL, CAP_WAKE_ALARM,
	CAP_NET_ADMIN, CAP_SYSLOG,
};

const Options *files_opts(const struct files *fs)
{
	return fs->worker->set.opts;
}

int files_image_dir(const struct files *fs)
{
	return fs->worker->set.image_dir;
}

uint32_t files_new_id(struct files *fs)
{
	return ++fs->last_id;
}

int files_write_entry(struct files *fs, const FileEntry *e, struct fault *f)
{
	if (fs->survey)
		return 0;
	if (!fs->files_img)
		fs->files_img = image_append(files_image_dir(fs), IMG_FILES, 0, f);
	return fs->files_img ? image_write(fs->files_img, &e->base, f) : -1;
}

static struct files *begin(struct call *c)
{
	struct files *fs = c->ctx;

	fs->worker = c->worker;
	return fs;
}

/* Drop all state; remove_links: also what a dump left beside the tasks' files. */
static void end(struct files *fs, bool remove_links)
{
	size_t i;

	for (i = 0; file_types[i]; i++)
		if (file_types[i]->end)
			file_types[i]->end(fs);
	ghost_end(fs, remove_links);
	identity_free(fs);
	kept_end(fs);
	owed_end(fs);
	locks_end(fs);
	revive_end(fs);
	prepare_end(fs);
	auto_image(&fs->files_img);
	if (fs->collect)
		files_collect__free_unpacked(fs->collect, NULL);
	fs->collect = NULL;
	fs->last_id = 0;
	fs->survey = false;
	fs->finished = false;
}

/* Dump */

/* The target is running: a task that has ended since it was listed is no obstacle. */
static int preflight_task(struct files *fs, pid_t pid, FilesPreflightDone *done, struct fault *f)
{
	struct fault own = { 0 };

	if (fdtable_preflight(fs, pid, done, &own) == 0 || own.code == ESRCH || own.code == ENOENT)
		return 0;
	return fault(f, -own.code, "%s", own.text);
}

static int on_files_preflight(struct call *c, struct fault *f)
{
	const FilesPreflight *req = c->req->files_preflight;
	struct files *fs = begin(c);
	FilesPreflightDone *done = xcalloc(1, sizeof(*done));
	size_t i;
	int r = 0;

	files_preflight_done__init(done);
	for (i = 0; i < req->n_pid && r == 0; i++)
		r = preflight_task(fs, req->pid[i], done, f);
	done->socket = socket_found(fs);
	done->n_device = device_found(fs, &done->device);
	if (r < 0) {
		files_preflight_done__free_unpacked(done, NULL);
		return -1;
	}
	c->rep->body_case = REPLY__BODY_FILES_PREFLIGHT_DONE;
	c->rep->files_preflight_done = done;
	return 0;
}

/* The tasks run: one that ends meanwhile has no more files. */
static int on_files_survey(struct call *c, struct fault *f)
{
	const FilesSurvey *req = c->req->files_survey;
	FilesCollect all = FILES_COLLECT__INIT;
	FilesSurveyed *done = xcalloc(1, sizeof(*done));
	struct files *fs = begin(c);
	size_t i;

	files_surveyed__init(done);
	c->rep->body_case = REPLY__BODY_FILES_SURVEYED;
	c->rep->files_surveyed = done;
	all.task = req->task;
	all.n_task = req->n_task;
	all.ns = req->ns;
	all.n_ns = req->n_ns;
	fs->collect = &all;
	fs->survey = true;
	for (i = 0; i < req->n_task; i++)
		if (!req->task[i]->dead)
			survey_task(fs, req->task[i], done);
	done->socket = socket_found(fs);
	done->n_device = device_found(fs, &done->device);
	fs->collect = NULL;
	end(fs, false);
	(void)f;
	return 0;
}

static int collect(struct files *fs, const FilesCollect *req, struct fault *f)
{
	size_t i;

	for (i = 0; i < req->n_task; i++) {
		const DumpTask *t = req->task[i];

		if (t->dead)
			continue;
		if (!t->files_shared && fdtable_collect(fs, t, f) < 0)
			return -1;
		if (fs_collect(fs, t, f) < 0)
			return -1;
	}
	return 0;
}

static int on_files_collect(struct call *c, struct fault *f)
{
	struct files *fs = begin(c);
	FilesCollected *done;

	if (fs->collect)
		return fault(f, -EPROTO, "the tasks are collected already");
	/* Files in flight, which come later, ask for the tasks too. */
	fs->collect = message_copy(&c->req->files_collect->base);
	if (collect(fs, fs->collect, f) < 0)
		return -1;
	done = xcalloc(1, sizeof(*done));
	files_collected__init(done);
	done->socket = socket_found(fs);
	done->n_device = device_found(fs, &done->device);
	done->n_owed = owed_named(fs, &done->owed);
	c->rep->body_case = REPLY__BODY_FILES_COLLECTED;
	c->rep->files_collected = done;
	return 0;
}

static int on_files_adopt(struct call *c, struct fault *f)
{
	const FilesAdopt *req = c->req->files_adopt;
	struct files *fs = begin(c);
	FilesAdopted *done = xcalloc(1, sizeof(*done));

	files_adopted__init(done);
	done->n_id = req->n_fd;
	done->id = xcalloc(done->n_id, sizeof(*done->id));
	c->rep->body_case = REPLY__BODY_FILES_ADOPTED;
	c->rep->files_adopted = done;
	if (fdtable_adopt(fs, req, done->id, f) < 0)
		return -1;
	done->socket = socket_found(fs);
	return 0;
}

static int on_files_write(struct call *c, struct fault *f)
{
	const FilesWrite *req = c->req->files_write;
	struct files *fs = begin(c);
	size_t i;

	for (i = 0; file_types[i]; i++)
		if (file_types[i]->dump_done && file_types[i]->dump_done(fs, f) < 0)
			return -1;
	/* Here, for /proc/locks takes longer than to collect a thousand sockets. */
	if (owed_locks(fs, f) < 0 || locks_write(fs, f) < 0 ||
	    owed_write(fs, req->cloexec, req->n_cloexec, f) < 0 ||
	    mapped_dump(fs, req->mapped, req->n_mapped, f) < 0 || ghost_flush(fs, f) < 0 ||
	    memfd_written(fs, &c->rep->files_written, f) < 0)
		return -1;
	if (c->rep->files_written)
		c->rep->body_case = REPLY__BODY_FILES_WRITTEN;
	return image_close(&fs->files_img, f);
}

/*
 * The dump is good. Links to deleted files are needed by the restore when the tasks are killed;
 * a task that runs on does not mind them either, and CRIU leaves them too.
 */
static int on_files_seal(struct call *c, struct fault *f)
{
	(void)f;
	end(begin(c), false);
	return 0;
}

static int on_files_rollback(struct call *c, struct fault *f)
{
	(void)f;
	end(begin(c), true);
	return 0;
}

/* Restore */

static int on_files_prepare(struct call *c, struct fault *f)
{
	const FilesPrepare *req = c->req->files_prepare;
	struct files *fs = begin(c);
	FilesPrepared *done;
	size_t i;

	if (prepare(fs, req, f) < 0)
		return -1;
	done = xcalloc(1, sizeof(*done));
	files_prepared__init(done);
	done->task = xcalloc(req->n_task, sizeof(*done->task));
	for (i = 0; i < req->n_task; i++) {
		const struct task_files *t = prepare_task(fs, req->task[i]->pid);
		FilesNeeds *n;

		if (!t)
			continue;
		n = xcalloc(1, sizeof(*n));
		files_needs__init(n);
		n->pid = t->pid;
		n->max_fd = t->table->max_fd;
		done->task[done->n_task++] = n;
	}
	done->has_has_sockets = true;
	done->has_sockets = socket_due(fs);
	done->n_device = device_entries(fs, &done->device);
	done->has_has_host_objects = true;
	done->has_host_objects = mqueue_count(fs) || tun_count(fs) || revive_any(fs);
	c->rep->body_case = REPLY__BODY_FILES_PREPARED;
	c->rep->files_prepared = done;
	return 0;
}

static int on_gates(struct call *c, struct fault *f)
{
	const Gates *req = c->req->gates;
	struct files *fs = begin(c);
	int fd = -1;

	if (req->has_fd && worker_recv_fds(c->worker, &fd, 1, f) < 0)
		return -1;
	return prepare_gates(fs, req, fd, f);
}

static int on_files_take_memory(struct call *c, struct fault *f)
{
	const FilesTakeMemory *req = c->req->files_take_memory;
	AUTO_FREE int *fds = xcalloc(req->n_inode_id, sizeof(*fds));

	if (worker_recv_fds(c->worker, fds, req->n_inode_id, f) < 0)
		return -1;
	return memfd_take(begin(c), req, fds, f);
}

static int on_files_install_mapped(struct call *c, struct fault *f)
{
	const FilesInstallMapped *req = c->req->files_install_mapped;

	return mapped_install(begin(c), req->want, req->n_want, f);
}

static int on_files_take_made(struct call *c, struct fault *f)
{
	return handed_take(begin(c), c->req->files_take_made->made, f);
}

static int on_files_create(struct call *c, struct fault *f)
{
	const FilesCreate *req = c->req->files_create;

	return install_begin(begin(c), req->lend, req->n_lend, f);
}

static int on_files_lend(struct call *c, struct fault *f)
{
	const FilesLend *req = c->req->files_lend;
	MadeFiles *lent = xcalloc(1, sizeof(*lent));
	struct files *fs = begin(c);
	size_t i;

	made_files__init(lent);
	lent->pid = getpid();
	lent->n_id = lent->n_fd = req->n_id;
	lent->id = xcalloc(req->n_id, sizeof(*lent->id));
	lent->fd = xcalloc(req->n_id, sizeof(*lent->fd));
	c->rep->body_case = REPLY__BODY_FILES_LENT;
	c->rep->files_lent = lent;
	for (i = 0; i < req->n_id; i++) {
		struct file *file = fs->restore ? files_find(fs, req->id[i]) : NULL;

		if (!file || !file->created)
			return fault(f, -EPROTO, "file %u was asked for in vain", req->id[i]);
		lent->id[i] = file->id;
		lent->fd[i] = file->fd;
	}
	return 0;
}

static int on_files_restore(struct call *c, struct fault *f)
{
	const FilesRestore *req = c->req->files_restore;

	return install(begin(c), req->pid, req->n_pid, f);
}

static int on_files_finish(struct call *c, struct fault *f)
{
	struct files *fs = begin(c);

	if (late_finish(fs, f) < 0 || locks_restore(fs, f) < 0 || install_owners(fs, f) < 0 ||
	    revive_finish(fs, f) < 0)
		return -1;
	fs->finished = true;
	return 0;
}

/* Nobody waits for the end, but the tasks do not run before this worker is gone. */
static bool idle(void *ctx)
{
	struct files *fs = ctx;

	if (fs->finished)
		end(fs, false);
	return install_early(fs);
}

static int on_files_keep(struct call *c, struct fault *f)
{
	struct files *fs = begin(c);
	const size_t max = mqueue_count(fs) + tun_count(fs) + 1;
	AUTO_FREE int *fds = xcalloc(max, sizeof(*fds));
	size_t n = mqueue_hand_over(fs, fds, max);

	n += tun_hand_over(fs, fds + n, max - n);
	fds[n] = revive_hand_over(fs);
	n += fds[n] >= 0;
	return worker_send_keepers(c, fds, n, f);
}

static const struct handler handlers[] = {
	[REQUEST__BODY_FILES_PREFLIGHT] = { STAGE__PREPARE, on_files_preflight },
	[REQUEST__BODY_FILES_SURVEY] = { STAGE__PREPARE, on_files_survey },
	[REQUEST__BODY_FILES_COLLECT] = { STAGE__COLLECT, on_files_collect },
	[REQUEST__BODY_FILES_ADOPT] = { STAGE__COLLECT, on_files_adopt },
	[REQUEST__BODY_FILES_WRITE] = { STAGE__WRITE, on_files_write },
	[REQUEST__BODY_FILES_SEAL] = { STAGE__SEAL, on_files_seal },
	[REQUEST__BODY_FILES_ROLLBACK] = { STAGE__SEAL, on_files_rollback },
	[REQUEST__BODY_FILES_PREPARE] = { STAGE__PREPARE, on_files_prepare },
	[REQUEST__BODY_GATES] = { STAGE__FORKING, on_gates },
	[REQUEST__BODY_FILES_INSTALL_MAPPED] = { STAGE__RESTORE, on_files_install_mapped },
	[REQUEST__BODY_FILES_TAKE_MEMORY] = { STAGE__RESTORE, on_files_take_memory },
	[REQUEST__BODY_FILES_CREATE] = { STAGE__RESTORE, on_files_create },
	[REQUEST__BODY_FILES_TAKE_MADE] = { STAGE__RESTORE, on_files_take_made },
	[REQUEST__BODY_FILES_LEND] = { STAGE__RESTORE, on_files_lend },
	[REQUEST__BODY_FILES_RESTORE] = { STAGE__RESTORE, on_files_restore },
	[REQUEST__BODY_FILES_FINISH] = { STAGE__RELEASE, on_files_finish },
	[REQUEST__BODY_FILES_KEEP] = { STAGE__RELEASE, on_files_keep },
};

struct worker files_worker = {
	.name = "files",
	.caps = files_caps,
	.ncaps = ARRAY_LEN(files_caps),
	.handlers = handlers,
	.nhandlers = ARRAY_LEN(handlers),
	.ctx = &state,
	.idle = idle,
};
