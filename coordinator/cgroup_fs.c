/* SPDX-License-Identifier: MIT */
/*
 * cgroup_fs.c - the cgroup hierarchies of this machine and their control files.
 *
 * A hierarchy is reached by a mount of our own that appears in no directory (fsopen, Linux 5.2),
 * so it does not matter what is mounted where; or in the directory --cgroup-yard names, where each
 * hierarchy is mounted under its controllers' names. A control file that has its value already
 * is not written: many files refuse what they say themselves.
 *
 * Rights:   CAP_SYS_ADMIN without a yard; write access to the cgroups.
 * Holds:    a descriptor per hierarchy.
 */
#include "coordinator/cgroup_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/log.h"

#define NAMED "name="
#define VALUE_MAX_SIZE (1 << 16)
#define MOUNT_TRIES 5
#define YARD_VERSION2 "unified"

struct hierarchy {
	char *name;
	int fd;				/* its root */
};

struct cgroup_fs {
	const char *yard;
	int work_dir;			/* where a relative yard begins */
	struct hierarchy *list;
	size_t n, cap;
};

int cgroup_mode_parse(const char *text, enum cgroup_mode *mode)
{
	static const char *const names[] = {
		[CGROUP_IGNORE] = "ignore", [CGROUP_NONE] = "none", [CGROUP_PROPS] = "props",
		[CGROUP_SOFT] = "soft", [CGROUP_FULL] = "full", [CGROUP_STRICT] = "strict",
	};
	size_t i;

	*mode = CGROUP_SOFT;
	if (!text)
		return 0;
	for (i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(text, names[i]) == 0) {
			*mode = i;
			return 0;
		}
	return -1;
}

/* ---- hierarchies ---- */

struct cgroup_fs *cgroup_fs_new(const struct job *job)
{
	struct cgroup_fs *fs = xcalloc(1, sizeof(*fs));

	fs->yard = job->opts->cgroup_yard;
	fs->work_dir = job->work_dir;
	return fs;
}

void cgroup_fs_free(struct cgroup_fs *fs)
{
	size_t i;

	if (!fs)
		return;
	for (i = 0; i < fs->n; i++) {
		close(fs->list[i].fd);
		free(fs->list[i].name);
	}
	free(fs->list);
	free(fs);
}

const char *cgroup_fs_title(const char *name)
{
	return *name ? name : "of version 2";
}

static int configure(int fs, const char *name)
{
	AUTO_FREE char *copy = xstrdup(name);
	char *one, *rest = copy;

	/* A hierarchy without controllers that is not there yet is made when we say so. */
	if (strncmp(name, NAMED, strlen(NAMED)) == 0 && !strchr(name, ',') &&
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "none", NULL, 0) < 0)
		return -1;
	while ((one = strsep(&rest, ","))) {
		int r = 0;

		if (strncmp(one, NAMED, strlen(NAMED)) == 0)
			r = syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "name",
				    one + strlen(NAMED), 0);
		else if (*one)
			r = syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, one, NULL, 0);
		if (r < 0)
			return -1;
	}
	return 0;
}

static int try_mount(const char *name)
{
	AUTO_CLOSE int fs = syscall(SYS_fsopen, *name ? "cgroup" : "cgroup2", FSOPEN_CLOEXEC);

	if (fs < 0 || configure(fs, name) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
}

/*
 * A hierarchy that is about to disappear makes the kernel (6.18) restart the fsconfig call after
 * 10 ms, which finds its context failed and says EBUSY: begin anew.
 */
static int mount_hierarchy(const char *name, struct fault *f)
{
	int fd, tries = 0;

	do
		fd = try_mount(name);
	while (fd < 0 && errno == EBUSY && ++tries < MOUNT_TRIES);
	if (fd < 0)
		return fault(f, errno, "mount the cgroup hierarchy %.80s (--manage-cgroups=ignore "
			     "does without, --cgroup-yard takes one that is mounted)",
			     cgroup_fs_title(name));
	return fd;
}

/* The directory of the yard: "cpu,cpuacct", "systemd" for "name=systemd". */
static int open_in_yard(const struct cgroup_fs *fs, const char *name, struct fault *f)
{
	AUTO_FREE char *copy = xstrdup(*name ? name : YARD_VERSION2);
	AUTO_FREE char *path = xcalloc(strlen(fs->yard) + strlen(copy) + 2, 1);
	char *one, *rest = copy, *end;
	int fd;

	end = stpcpy(stpcpy(path, fs->yard), "/");
	while ((one = strsep(&rest, ","))) {
		end = stpcpy(end, strncmp(one, NAMED, strlen(NAMED)) ? one : one + strlen(NAMED));
		if (rest)
			end = stpcpy(end, ",");
	}
	fd = openat(fs->work_dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fault(f, errno, "open %s, where --cgroup-yard promises the cgroup hierarchy "
			     "%.80s", path, cgroup_fs_title(name));
	return fd;
}

int cgroup_fs_root(struct cgroup_fs *fs, const char *name, struct fault *f)
{
	struct hierarchy *h;
	size_t i;
	int fd;

	for (i = 0; i < fs->n; i++)
		if (strcmp(fs->list[i].name, name) == 0)
			return fs->list[i].fd;
	fd = fs->yard ? open_in_yard(fs, name, f) : mount_hierarchy(name, f);
	if (fd < 0)
		return -1;
	h = grow(&fs->list, fs->n, &fs->cap, sizeof(*h));
	h->name = xstrdup(name);
	h->fd = fd;
	fs->n++;
	return fd;
}

bool cgroup_names_have(const char *names, const char *one)
{
	size_t len = strlen(one), n;

	for (;; names += n + 1) {
		n = strcspn(names, ",");
		if (n == len && strncmp(names, one, n) == 0)
			return true;
		if (!names[n])
			return false;
	}
}

char *cgroup_split_line(char *line, char **names, char **path)
{
	char *end = strchr(line, '\n');

	if (!end)
		return NULL;
	*end = '\0';
	*names = strchr(line, ':');
	*path = *names ? strchr(*names + 1, ':') : NULL;
	if (!*path)
		return NULL;
	*(*names)++ = '\0';
	*(*path)++ = '\0';
	return end + 1;
}

/* ---- control files ---- */

/* Lists of tasks are never part of an image: their permissions are. */
static bool lists_tasks(const char *name)
{
	return !strcmp(name, "cgroup.procs") || !strcmp(name, "tasks") ||
	       !strcmp(name, "cgroup.threads");
}

/* The value as an image has it, in place. */
static void settle_value(const char *name, char *text)
{
	size_t len = strlen(text);
	int disabled;

	if (strtoll(text, NULL, 10) == LLONG_MAX)	/* no limit */
		strcpy(text, "-1");
	else if (len && text[len - 1] == '\n')
		text[len - 1] = '\0';
	if (!strcmp(name, "memory.oom_control") &&
	    sscanf(text, "oom_kill_disable %d", &disabled) == 1)
		sprintf(text, "%d", !!disabled);
}

char *cgroup_file_read(int dir, const char *name, struct stat *st, struct fault *f)
{
	AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_FREE char *text = NULL;
	ssize_t n = 0;

	if (fd < 0 && (errno == ENOENT || errno == ENODEV))
		return NULL;
	if (fd < 0 || fstat(fd, st) < 0) {
		fault(f, errno, "open the control file %.80s", name);
		return NULL;
	}
	text = xcalloc(VALUE_MAX_SIZE, 1);
	if (!lists_tasks(name))
		n = read_full(fd, text, VALUE_MAX_SIZE - 1);
	if (n < 0 && errno == ENODEV)
		return NULL;
	if (n < 0 || n == VALUE_MAX_SIZE - 1) {
		fault(f, n < 0 ? errno : EFBIG, "read the control file %.80s", name);
		return NULL;
	}
	settle_value(name, text);
	return xstrdup(text);
}

static int permit(int fd, const CgroupPerms *perms)
{
	struct stat st;

	if (!perms)
		return 0;
	if (fstat(fd, &st) < 0)
		return -1;
	if ((st.st_uid != perms->uid || st.st_gid != perms->gid) &&
	    fchown(fd, perms->uid, perms->gid) < 0)
		return -1;
	return (st.st_mode & 07777) == (perms->mode & 07777) ? 0 : fchmod(fd, perms->mode & 07777);
}

int cgroup_dir_permit(int dir, const char *where, const CgroupPerms *perms, struct fault *f)
{
	if (permit(dir, perms) < 0)
		return fault(f, errno, "set owner and mode of the cgroup %s", where);
	return 0;
}

/* One write, which the kernel takes whole or not at all. */
static int write_value(int dir, const char *name, const char *value, size_t len)
{
	AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, value, len);

	if (n >= 0 && (size_t)n != len)
		errno = EIO;
	return n >= 0 && (size_t)n == len ? 0 : -1;
}

/* The kernel takes one line by one write. */
static int write_lines(int dir, const char *name, const char *value)
{
	for (;; value++) {
		size_t len = strcspn(value, "\n");

		if (len && write_value(dir, name, value, len) < 0)
			return -1;
		value += len;
		if (!*value)
			return 0;
	}
}

/* What is readable is a list of what is allowed: deny all, then allow that. */
static int write_devices(int dir, const char *value)
{
	if (write_value(dir, "devices.deny", "a", 1) < 0)
		return -1;
	return write_lines(dir, "devices.allow", value);
}

/* Interfaces come and go: those that are not here cost nothing. A new map has only zeros. */
static int write_priorities(int dir, const char *name, const char *value)
{
	AUTO_FREE char *copy = xstrdup(value);
	char *line, *rest = copy, *number;

	while ((line = strsep(&rest, "\n"))) {
		number = strchr(line, ' ');
		if (number && strtoul(number, NULL, 10) &&
		    write_value(dir, name, line, strlen(line)) < 0)
			log_warnx("%s \"%s\": %s", name, line, strerror(errno));
	}
	return 0;
}

/* Controllers of the children: those not named are switched off. */
static int write_subtree(int dir, const char *name, const char *old, const char *value)
{
	AUTO_FREE char *change = xcalloc(strlen(old) + strlen(value) + 2, 2);
	AUTO_FREE char *a = xstrdup(old), *b = xstrdup(value);
	char *one, *rest, *end = change;

	for (rest = a; (one = strsep(&rest, " "));)
		if (*one)
			end += sprintf(end, "-%s ", one);
	for (rest = b; (one = strsep(&rest, " "));)
		if (*one)
			end += sprintf(end, "+%s ", one);
	return end == change ? 0 : write_value(dir, name, change, end - change - 1);
}

static int write_changed(int dir, const char *old, const CgroupPropEntry *e)
{
	if (!strcmp(e->name, "devices.list"))
		return write_devices(dir, e->value);
	if (!strcmp(e->name, "net_prio.ifpriomap"))
		return write_priorities(dir, e->name, e->value);
	if (!strcmp(e->name, "cgroup.subtree_control"))
		return write_subtree(dir, e->name, old, e->value);
	/* Other types follow from the cgroups above and below. */
	if (!strcmp(e->name, "cgroup.type") && strcmp(e->value, "threaded"))
		return 0;
	if ((strchr(e->value, '\n') ? write_lines(dir, e->name, e->value) :
	     write_value(dir, e->name, e->value, strlen(e->value))) == 0)
		return 0;
	/* Linux 5.16 and later have given up this limit. */
	return !strcmp(e->name, "memory.kmem.limit_in_bytes") && errno == EOPNOTSUPP ? 0 : -1;
}

static int restore_permissions(int dir, const CgroupPropEntry *e)
{
	AUTO_CLOSE int fd = -1;

	if (!e->perms)
		return 0;
	fd = openat(dir, e->name, (e->perms->mode & 0444 ? O_RDONLY : O_WRONLY) |
		    O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -1 : permit(fd, e->perms);
}

int cgroup_file_restore(int dir, const char *where, const CgroupPropEntry *e, struct fault *f)
{
	struct fault ignored = { 0 };
	struct stat st;
	AUTO_FREE char *old = cgroup_file_read(dir, e->name, &st, &ignored);

	if (restore_permissions(dir, e) < 0)
		return fault(f, errno, "set owner and mode of %.80s of the cgroup %s", e->name,
			     where);
	if (lists_tasks(e->name) || (old && !strcmp(old, e->value)))
		return 0;
	if (write_changed(dir, old ? old : "", e) < 0)
		return fault(f, errno, "write \"%.60s\" to %.80s of the cgroup %s "
			     "(--manage-cgroups=none leaves the properties of existing cgroups "
			     "alone)", e->value, e->name, where);
	return 0;
}

void cgroup_inherit_cpuset(int dir)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(files); i++) {
		AUTO_CLOSE int from = -1;
		char parent[32], text[4096];
		ssize_t n;

		if (faccessat(dir, files[i], F_OK, 0) < 0)
			continue;
		snprintf(parent, sizeof(parent), "../%s", files[i]);
		from = openat(dir, parent, O_RDONLY | O_CLOEXEC);
		n = from < 0 ? -1 : read_full(from, text, sizeof(text));
		if (n > 0 && write_value(dir, files[i], text, n) < 0)
			log_warnx("%s of a new cgroup: %s", files[i], strerror(errno));
	}
}
