/* SPDX-License-Identifier: MIT */
/*
 * labels.c - the labels of AppArmor or SELinux, both directions.
 *
 * Dump:     /proc/PID/task/TID/attr tells. The mode behind an AppArmor profile's name is no part of
 *           it.
 * Restore:  a thread writes its own. SELinux changes only processes with one thread; what AppArmor
 *           confines may lack the rights for all that comes before. --lsm-profile names another
 *           label for all that had one, or none.
 * Rights:   what the policy asks for in order to change from ours.
 * Holds:    nothing.
 */
#include "coordinator/labels.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/procfs.h"

#define APPARMOR_ON "/sys/kernel/security/apparmor"
#define SELINUX_ON "/sys/fs/selinux"
#define CURRENT "attr/current"
#define APPARMOR_CURRENT "attr/apparmor/current"	/* where several modules are stacked */
#define LABEL_MAX 4000
#define CHANGE "changeprofile "

static const char *const names[] = {
	[LSMTYPE__NO_LSM] = "none", [LSMTYPE__SELINUX] = "selinux",
	[LSMTYPE__APPARMOR] = "apparmor",
};

static bool is_context(const char *label)
{
	int colons = 0;

	for (; *label; label++)
		colons += *label == ':';
	return colons >= 3;
}

static char *read_label(pid_t pid, pid_t tid, const char *name)
{
	struct fault none = { 0 };
	char *text = procfs_read(pid, tid, name, NULL, &none);

	if (text)
		text[strcspn(text, "\n")] = '\0';
	return text;
}

/* SELinux may be there without a policy: its labels are then no contexts. */
Lsmtype labels_module(void)
{
	AUTO_FREE char *own = NULL;

	if (access(APPARMOR_ON, F_OK) == 0)
		return LSMTYPE__APPARMOR;
	if (access(SELINUX_ON, F_OK) < 0)
		return LSMTYPE__NO_LSM;
	own = read_label(getpid(), 0, CURRENT);
	return own && is_context(own) ? LSMTYPE__SELINUX : LSMTYPE__NO_LSM;
}

char *labels_parse(Lsmtype module, const char *text, struct fault *f)
{
	if (strlen(text) > LABEL_MAX) {
		fault(f, -E2BIG, "its security label has more than %d characters", LABEL_MAX);
		return NULL;
	}
	if (module == LSMTYPE__APPARMOR) {
		size_t n = strcspn(text, " \n");

		if (text[0] == ':' || strstr(text, "//&"))
			fault(f, -ENOTSUP, "its profile %s is one of a policy namespace, or a "
			      "stack of profiles: this is not supported", text);
		return f->code || (n == 10 && !strncmp(text, "unconfined", n)) ?
			       NULL : strndup(text, n);
	}
	if (!is_context(text)) {
		fault(f, -EINVAL, "its security label %s is no SELinux context", text);
		return NULL;
	}
	return xstrdup(text);
}

int labels_dump(Lsmtype module, pid_t pid, pid_t tid, CredsEntry *c, struct fault *f)
{
	AUTO_FREE char *text = NULL, *sockets = NULL;

	if (module == LSMTYPE__NO_LSM)
		return 0;
	if (module == LSMTYPE__APPARMOR)
		text = read_label(pid, tid, APPARMOR_CURRENT);
	if (!text)
		text = read_label(pid, tid, CURRENT);
	if (!text)
		return fault(f, -EIO, "task %d, thread %d: its security label cannot be read", pid,
			     tid);
	c->lsm_profile = labels_parse(module, text, f);
	if (f->code)
		return fault_prefix(f, "task %d, thread %d", pid, tid);
	sockets = module == LSMTYPE__SELINUX ? read_label(pid, tid, "attr/sockcreate") : NULL;
	if (sockets && *sockets)
		c->lsm_sockcreate = take_ptr(&sockets);
	return 0;
}

/* ---- restore ---- */

/* The name in "TYPE:NAME", NULL when it is "none:". */
static const char *option_name(const char *option, Lsmtype *module)
{
	size_t i, n = strcspn(option, ":");

	for (i = 0; i < ARRAY_LEN(names); i++)
		if (option[n] && strlen(names[i]) == n && !strncmp(option, names[i], n)) {
			*module = i;
			return i == LSMTYPE__NO_LSM ? NULL : option + n + 1;
		}
	return "";
}

int labels_check_option(const Options *opts, struct fault *f)
{
	Lsmtype module = LSMTYPE__NO_LSM;
	const char *name;

	if (!opts->lsm_profile)
		return 0;
	name = option_name(opts->lsm_profile, &module);
	if (name && (!*name || strlen(name) > LABEL_MAX || strchr(name, '\n')))
		return fault(f, -EINVAL, "--lsm-profile %s: not apparmor:NAME, selinux:CONTEXT or "
			     "none:", opts->lsm_profile);
	if (name && module != labels_module())
		return fault(f, -EINVAL, "--lsm-profile %s: %s is not on here", opts->lsm_profile,
			     names[module]);
	return 0;
}

char *labels_render(Lsmtype module, const char *label, const char *option, struct fault *f)
{
	Lsmtype named;
	const char *name = option ? option_name(option, &named) : label;
	size_t size;
	char *text;

	if (!name)
		return NULL;
	if (strlen(name) > LABEL_MAX || strchr(name, '\n')) {
		fault(f, -EINVAL, "a security label is too long or has two lines");
		return NULL;
	}
	if (module != LSMTYPE__APPARMOR)
		return xstrdup(name);
	size = strlen(CHANGE) + strlen(name) + 1;
	text = xcalloc(1, size);
	snprintf(text, size, CHANGE "%s", name);
	return text;
}

/* The module that was on at the dump; read again for those few that need it. */
static int read_module(struct job *job, Lsmtype *module, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open(job->image_dir, IMG_INVENTORY, 0, f);
	AUTO_MSG ProtobufCMessage *msg = NULL;
	const InventoryEntry *e;

	if (!img || image_read_one(img, &msg, f) < 0)
		return -1;
	e = (const InventoryEntry *)msg;
	*module = e->has_lsmtype ? e->lsmtype : LSMTYPE__NO_LSM;
	return 0;
}

static int prepare_thread(struct job *job, const struct thread *th, struct fault *f)
{
	CredsEntry *c = th->core->thread_core->creds;
	Lsmtype here, then;
	const char *option = job->opts->lsm_profile;
	AUTO_FREE char *label = NULL, *own = NULL;

	if (!c->lsm_profile && !c->lsm_sockcreate)
		return 0;
	label = take_ptr(&c->lsm_profile);
	if (option && !strncmp(option, "none:", 5)) {
		free(take_ptr(&c->lsm_sockcreate));
		return 0;
	}
	if (read_module(job, &then, f) < 0)
		return -1;
	here = labels_module();
	if (here == LSMTYPE__NO_LSM || (then != LSMTYPE__NO_LSM && then != here))
		return fault(f, -ENOTSUP, "thread %d had the security label %s of a module that is "
			     "not on here; --lsm-profile none: restores it without", th->vtid,
			     label ? label : c->lsm_sockcreate);
	own = read_label(getpid(), 0, CURRENT);
	if (!label || (!option && own && !strcmp(own, label)))
		return 0;
	c->lsm_profile = labels_render(here, label, option, f);
	return f->code ? fault_prefix(f, "core-%d.img", th->vtid) : 0;
}

int labels_prepare(struct job *job, struct fault *f)
{
	size_t i, k;

	if (labels_check_option(job->opts, f) < 0)
		return -1;
	for (i = 0; i < job->ntasks; i++)
		for (k = 0; job->tasks[i]->state != TASK_ZOMBIE && k < job->tasks[i]->nthreads; k++)
			if (prepare_thread(job, &job->tasks[i]->threads[k], f) < 0)
				return -1;
	return 0;
}

static int add_write(struct ops *o, uint32_t k, const char *path, const char *text, struct fault *f)
{
	struct gate_arg fd, at;

	if (ops_reserve(o, 3, strlen(path) + strlen(text) + 64, f) < 0)
		return -1;
	at = ops_put_str(o, text);
	ops_add(o, k, "open its security label", SYS_openat, 3, gc(AT_FDCWD), ops_put_str(o, path),
		gc(O_WRONLY));
	fd = ops_last(o);
	ops_add(o, k, "take its security label (the policy must allow it)", SYS_write, 3, fd, at,
		gc(strlen(text)));
	ops_try(o, k, SYS_close, 1, fd);
	return 0;
}

int labels_restore_process(struct ops *o, const CredsEntry *c, struct fault *f)
{
	if (!c->lsm_profile || labels_module() != LSMTYPE__SELINUX)
		return 0;
	return add_write(o, 0, "/proc/thread-self/" CURRENT, c->lsm_profile, f);
}

int labels_restore_thread(struct ops *o, const CredsEntry *c, uint32_t k, struct fault *f)
{
	if (c->lsm_profile && labels_module() == LSMTYPE__APPARMOR &&
	    add_write(o, k, "/proc/thread-self/" CURRENT, c->lsm_profile, f) < 0)
		return -1;
	return c->lsm_sockcreate ?
		add_write(o, k, "/proc/thread-self/attr/sockcreate", c->lsm_sockcreate, f) : 0;
}
