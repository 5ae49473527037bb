/* SPDX-License-Identifier: MIT */
/*
 * nsfile.c - open namespaces: /proc/PID/ns/NAME.
 *
 * Dump:     it must be a namespace of a task of the tree, whose number in the images (ids-PID.img)
 *           the coordinator told.
 * Restore:  opened again from a task that has that number.
 * Rights:   ptrace access to the tasks.
 * Holds:    nothing; file->priv is the pid of that task.
 */
#include "workers/files/nsfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "proto/images/task.pb-c.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define ID(field) offsetof(TaskKobjIdsEntry, has_##field), offsetof(TaskKobjIdsEntry, field)

static const struct ns_kind {
	const char *name;
	uint32_t cflag;
	size_t has, id;			/* in TaskKobjIdsEntry */
} kinds[] = {
	{ "pid", CLONE_NEWPID, ID(pid_ns_id) },
	{ "net", CLONE_NEWNET, ID(net_ns_id) },
	{ "ipc", CLONE_NEWIPC, ID(ipc_ns_id) },
	{ "uts", CLONE_NEWUTS, ID(uts_ns_id) },
	{ "mnt", CLONE_NEWNS, ID(mnt_ns_id) },
	{ "user", CLONE_NEWUSER, ID(user_ns_id) },
	{ "cgroup", CLONE_NEWCGROUP, ID(cgroup_ns_id) },
	{ "time", CLONE_NEWTIME, ID(time_ns_id) },
};

/* The kind of "net:[4026531840]"; *ino receives the number. */
static const struct ns_kind *kind_of_link(const char *link, unsigned long *ino)
{
	size_t i, n = strcspn(link, ":");

	if (sscanf(link + n, ":[%lu]", ino) != 1)
		return NULL;
	for (i = 0; i < ARRAY_LEN(kinds); i++)
		if (strlen(kinds[i].name) == n && !memcmp(kinds[i].name, link, n))
			return &kinds[i];
	return NULL;
}

static bool match(const struct facts *x)
{
	unsigned long ino;

	return x->link && x->link[0] != '/' && kind_of_link(x->link, &ino);
}

/* Dump */

/* The number of a namespace in the images; 0: no task of the tree is in it. */
static uint32_t find_id(const struct files *fs, const struct ns_kind *kind, unsigned long ino)
{
	const FilesCollect *c = fs->collect;
	struct stat st;
	char path[48];
	size_t i;

	for (i = 0; i < c->n_ns; i++) {
		if (strcmp(c->ns[i]->name, kind->name))
			continue;
		snprintf(path, sizeof(path), "/proc/%u/ns/%s", c->ns[i]->pid, kind->name);
		if (stat(path, &st) == 0 && st.st_ino == ino)
			return c->ns[i]->id;
	}
	return 0;
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	NsFileEntry n = NS_FILE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	const struct ns_kind *kind;
	unsigned long ino;
	char who[400];

	kind = kind_of_link(x->link, &ino);
	n.ns_id = find_id(fs, kind, ino);
	if (!n.ns_id)
		return fault(f, -ENOTSUP, "%s is a namespace that no task of the tree is in; let "
			     "the program close it", facts_name(x, who, sizeof(who)));
	n.id = x->id;
	n.ns_cflag = kind->cflag;
	n.flags = x->flags;
	e.type = FD_TYPES__NS;
	e.id = x->id;
	e.nsf = &n;
	return files_write_entry(fs, &e, f);
}

/* Restore */

static const struct ns_kind *kind_of_entry(const NsFileEntry *n)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].cflag == n->ns_cflag)
			return &kinds[i];
	return NULL;
}

/* Was the task in that namespace? 1, 0, or -1 with f set. */
static int task_has(struct files *fs, pid_t pid, const struct ns_kind *kind, uint32_t id,
		    struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open_optional(files_image_dir(fs), IMG_IDS, pid, f);
	AUTO_MSG ProtobufCMessage *msg = NULL;
	const char *ids;

	if (!img)
		return f->code ? -1 : 0;
	if (image_read_one(img, &msg, f) < 0)
		return -1;
	ids = (const char *)msg;
	return *(const protobuf_c_boolean *)(ids + kind->has) &&
	       *(const uint32_t *)(ids + kind->id) == id;
}

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const FilesPrepare *req = fs->restore->req;
	const NsFileEntry *n = file->entry->nsf;
	const struct ns_kind *kind;
	int r = 0;
	size_t i;

	if (!n || n->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete namespace", file->id);
	kind = kind_of_entry(n);
	if (!kind)
		return fault(f, -EBADMSG, "files.img: file %u: no kind of namespace has the flag "
			     "%#x", file->id, n->ns_cflag);
	for (i = 0; i < req->n_task && r == 0; i++) {
		r = req->task[i]->dead ? 0 : task_has(fs, req->task[i]->pid, kind, n->ns_id, f);
		if (r > 0)
			file->priv = (void *)(uintptr_t)req->task[i]->pid;
	}
	if (r == 0)
		return fault(f, -EBADMSG, "files.img: file %u: no task was in %s namespace %u",
			     file->id, kind->name, n->ns_id);
	return r < 0 ? -1 : 0;
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	const NsFileEntry *n = file->entry->nsf;
	char path[48];

	(void)fs;
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)(uintptr_t)file->priv,
		 kind_of_entry(n)->name);
	file->fd = open(path, O_RDONLY | O_CLOEXEC | (n->flags & (O_PATH | O_NONBLOCK)));
	return file->fd < 0 ? fault(f, errno, "open namespace %s", path) : CREATED;
}

const struct file_type nsfile_type = {
	.name = "namespace",
	.harmless = true,
	.type = FD_TYPES__NS,
	.match = match,
	.dump = dump,
	.check = check,
	.create = create,
};
