/* SPDX-License-Identifier: MIT */
/*
 * facts.c - what can be known of a task's open files without its help.
 *
 * /proc/PID/fdinfo tells position, flags, close-on-exec, mount and locks; a real duplicate
 * (pidfd_getfd) answers fstat, owner and signal, and is what contents are read from.
 *
 * Rights:   ptrace access to the task.
 * Holds:    while a probe is open: a pidfd, two directories of /proc, one duplicate.
 */
#include "workers/files/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/procfs.h"
#include "workers/files/files.h"
#include "workers/common/fown.h"

const char *facts_name(const struct facts *x, char *buf, size_t size)
{
	static const char *const places[] = {
		[-FACTS_CWD] = "working directory",
		[-FACTS_ROOT] = "root directory",
		[-FACTS_MAPPED] = "mapped file",
	};
	const char *link = x->link ? x->link : "?";

	if (x->fd >= 0)
		snprintf(buf, size, "task %d, descriptor %d (%.300s)", x->pid, x->fd, link);
	else
		snprintf(buf, size, "task %d, %s (%.300s)", x->pid, places[-x->fd], link);
	return buf;
}

bool link_deleted(const char *text, size_t *len)
{
	static const char suffix[] = " (deleted)";
	size_t n = strlen(text);

	if (n < sizeof(suffix) || strcmp(text + n - (sizeof(suffix) - 1), suffix) != 0)
		return false;
	if (len)
		*len = n - (sizeof(suffix) - 1);
	return true;
}

static int open_proc_dir(pid_t pid, const char *name, struct fault *f)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? fault(f, errno, "open %s", path) : fd;
}

int probe_open(struct probe *p, pid_t pid, struct fault *f)
{
	*p = (struct probe){ .pid = pid, .pidfd = -1, .fd_dir = -1, .info_dir = -1 };
	p->x.dup = -1;
	p->pidfd = procfs_pidfd(pid);
	if (p->pidfd < 0)
		return fault(f, errno, "open task %d", pid);
	p->fd_dir = open_proc_dir(pid, "fd", f);
	p->info_dir = p->fd_dir < 0 ? -1 : open_proc_dir(pid, "fdinfo", f);
	return p->info_dir < 0 ? -1 : 0;
}

/* Forget the last descriptor. */
static void probe_reset(struct probe *p, int fd)
{
	if (!p->x.dup_kept)
		auto_close(&p->x.dup);
	p->x = (struct facts){ .pid = p->pid, .fd = fd, .dup = -1, .mnt_id = -1, .fown = &p->fown };
	fown_entry__init(&p->fown);
}

void probe_close(struct probe *p)
{
	if (!p->x.dup_kept)
		auto_close(&p->x.dup);
	p->x.dup = -1;
	auto_close(&p->pidfd);
	auto_close(&p->fd_dir);
	auto_close(&p->info_dir);
	free(p->info);
}

size_t probe_count(const struct probe *p)
{
	struct stat st;

	return fstat(p->fd_dir, &st) < 0 ? 0 : st.st_size;
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/*
 * Listing fdinfo, not fd, of which there are as many: the kernel then has its files ready, which
 * makes opening them 2 us cheaper, at the preflight already.
 */
int probe_list(struct probe *p, int **fds, size_t *n, struct fault *f)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	AUTO_FREE int *list = NULL;
	struct dirent *de;
	size_t cap = 0;
	int fd;

	*n = 0;
	fd = fcntl(p->info_dir, F_DUPFD_CLOEXEC, 0);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return fault(f, errno, "list descriptors of task %d", p->pid);
	rewinddir(dir);
	while ((de = readdir(dir)) != NULL)
		if (de->d_name[0] != '.')
			*(int *)grow(&list, (*n)++, &cap, sizeof(int)) = atoi(de->d_name);
	if (*n)
		qsort(list, *n, sizeof(int), by_number);
	*fds = take_ptr(&list);
	return 0;
}

static void take_link(struct probe *p, const char *text)
{
	snprintf(p->link, sizeof(p->link), "%s", text);
	p->x.link = p->link;
}

static int read_link(struct probe *p, int dir, const char *name, struct fault *f)
{
	ssize_t n = readlinkat(dir, name, p->link, sizeof(p->link) - 1);

	if (n < 0)
		return fault(f, errno, "read link %s of task %d", name, p->pid);
	p->link[n] = '\0';
	p->x.link = p->link;
	return 0;
}

/* Read all of /proc/PID/fdinfo/N into p->info. */
static int read_info(struct probe *p, const char *name, struct fault *f)
{
	AUTO_CLOSE int fd = openat(p->info_dir, name, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 1;

	if (fd < 0)
		return fault(f, errno, "open /proc/%d/fdinfo/%s", p->pid, name);
	while (n > 0) {
		if (len + 2048 > p->info_cap) {
			p->info_cap = (len + 2048) * 2;
			p->info = xrealloc(p->info, p->info_cap, 1);
		}
		n = read(fd, p->info + len, p->info_cap - len - 1);
		if (n < 0)
			return fault(f, errno, "read /proc/%d/fdinfo/%s", p->pid, name);
		len += n;
		p->info[len] = '\0';
		/* A short read is the end: seq_file fills the buffer when there is more. */
		if (len + 1024 < p->info_cap)
			break;
	}
	return 0;
}

/* The number behind "key:" in fdinfo text; the base is told by its form. False: not there. */
static bool info_number(const char *info, const char *key, uint64_t *value)
{
	const char *at = strstr(info, key);

	if (at)
		*value = strtoull(at + strlen(key), NULL, 0);
	return at != NULL;
}

bool info_shows_unix(const char *info, int sock_mnt)
{
	uint64_t mnt_id, ino;

	return strstr(info, "\nscm_fds:") && info_number(info, "\nmnt_id:", &mnt_id) &&
	       (int)mnt_id == sock_mnt && info_number(info, "\nino:", &ino);
}

int probe_sock_mnt(struct probe *p)
{
	AUTO_CLOSE int sock = p->sock_mnt ? -1 : socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct statx stx;

	if (!p->sock_mnt)
		p->sock_mnt = sock >= 0 &&
			      statx(sock, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) == 0 &&
			      stx.stx_mask & STATX_MNT_ID ? (int)stx.stx_mnt_id : -1;
	return p->sock_mnt;
}

/* The name of a socket follows from its number. */
static void name_socket(struct probe *p, uint64_t ino)
{
	snprintf(p->link, sizeof(p->link), "socket:[%lu]", (unsigned long)ino);
	p->x.link = p->link;
}

int probe_glance(struct probe *p, int fd, const struct look *look, struct fault *f)
{
	struct fault gone = { 0 };
	uint64_t flags;
	char name[16];

	probe_reset(p, fd);
	p->x.st.st_mode = S_IFREG;
	p->x.st.st_nlink = 1;
	snprintf(name, sizeof(name), "%d", fd);
	if (look && look->link) {
		take_link(p, look->link);
	} else if (read_link(p, p->fd_dir, name, &gone) < 0) {
		if (gone.code == ENOENT || gone.code == ESRCH)
			return 0;
		return fault(f, gone.code, "read the descriptors of task %d", p->pid);
	}
	if (strncmp(p->link, "/dev/", 5) && !link_deleted(p->link, NULL))
		return 1;
	if (fstatat(p->fd_dir, name, &p->x.st, 0) < 0)
		return 0;
	if (S_ISREG(p->x.st.st_mode) || S_ISDIR(p->x.st.st_mode))
		return 1;
	/* What cannot be opened as other files are may be known by its path alone. */
	if (read_info(p, name, &gone) == 0 && info_number(p->info, "flags:", &flags))
		p->x.flags = flags & ~(uint64_t)O_CLOEXEC;
	return 1;
}

static void take_info(struct probe *p, const char *text)
{
	size_t n = strlen(text) + 1;

	if (n > p->info_cap) {
		p->info_cap = n * 2;
		p->info = xrealloc(p->info, p->info_cap, 1);
	}
	memcpy(p->info, text, n);
}

/* No fdinfo was read: the rest of it is not known yet. A socket has no position. */
static void take_socket(struct probe *p, const struct look *look)
{
	take_info(p, "");
	p->x.st = look->st;
	p->x.flags = look->flags & ~O_CLOEXEC;
	p->x.mnt_id = p->sock_mnt;
	p->x.unix_socket = look->unix_socket;
	p->x.owed = true;
}

int probe_info(struct probe *p, int fd, struct look *look, struct fault *f)
{
	uint64_t flags, mnt_id, ino = 0;
	char name[16];

	probe_reset(p, fd);
	snprintf(name, sizeof(name), "%d", fd);
	p->look = look;
	if (look)
		p->x.dup = take_fd(&look->dup);
	if (look && look->socket) {
		take_socket(p, look);
		return 0;
	}
	if (look && look->info)
		take_info(p, look->info);
	else if (read_info(p, name, f) < 0)
		return -1;
	if (!info_number(p->info, "pos:", &p->x.pos) || !info_number(p->info, "flags:", &flags) ||
	    !info_number(p->info, "mnt_id:", &mnt_id))
		return fault(f, EPROTO, "/proc/%d/fdinfo/%d has not the form expected", p->pid, fd);
	info_number(p->info, "\nino:", &ino);	/* since Linux 5.14 */
	p->x.unix_socket = info_shows_unix(p->info, probe_sock_mnt(p));
	p->x.st.st_ino = ino;
	p->x.flags = flags & ~(uint64_t)O_CLOEXEC;
	p->x.cloexec = flags & O_CLOEXEC;
	p->x.mnt_id = mnt_id;
	return 0;
}

/* The device number of what the kernel makes of a pipe or of a socket, 0: unknown. */
static dev_t own_device(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : st.st_dev;
}

static void learn_devices(struct probe *p)
{
	int ends[2], sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (pipe2(ends, O_CLOEXEC) == 0) {
		p->pipe_dev = own_device(ends[0]);
		close(ends[0]);
		close(ends[1]);
	}
	if (sock >= 0) {
		p->sock_dev = own_device(sock);
		close(sock);
	}
}

dev_t probe_sock_dev(struct probe *p)
{
	if (!p->sock_dev)
		learn_devices(p);
	return p->sock_dev;
}

/*
 * The name of a pipe or a socket follows from its inode: no look at /proc, which costs 3 us. Not so
 * of a FIFO or a socket's name in a file system.
 */
static bool name_by_inode(struct probe *p)
{
	const bool pipe = S_ISFIFO(p->x.st.st_mode);

	if (!pipe && !S_ISSOCK(p->x.st.st_mode))
		return false;
	if (!p->pipe_dev)
		learn_devices(p);
	if (p->x.st.st_dev != (pipe ? p->pipe_dev : p->sock_dev))
		return false;
	if (!pipe) {
		name_socket(p, p->x.st.st_ino);
		return true;
	}
	snprintf(p->link, sizeof(p->link), "pipe:[%lu]", (unsigned long)p->x.st.st_ino);
	p->x.link = p->link;
	return true;
}

int probe_file(struct probe *p, struct fault *f)
{
	char name[16];

	if (p->x.unix_socket) {
		p->x.st.st_mode = S_IFSOCK;
		name_socket(p, p->x.st.st_ino);
		return 0;
	}
	if (p->x.dup < 0)
		p->x.dup = syscall(SYS_pidfd_getfd, p->pidfd, p->x.fd, 0);
	if (p->x.dup < 0)
		return fault(f, errno, "duplicate descriptor %d of task %d", p->x.fd, p->pid);
	if (p->look && p->look->seen)
		p->x.st = p->look->st;
	else if (fstat(p->x.dup, &p->x.st) < 0)
		return fault(f, errno, "stat descriptor %d of task %d", p->x.fd, p->pid);
	snprintf(name, sizeof(name), "%d", p->x.fd);
	if (!name_by_inode(p) && read_link(p, p->fd_dir, name, f) < 0)
		return -1;
	/* A socket's is read by net. */
	return S_ISSOCK(p->x.st.st_mode) ? 0 : fown_read(p->x.dup, p->x.flags, &p->fown, f);
}

int probe_path(struct probe *p, enum facts_place place, const char *name, struct fault *f)
{
	struct statx stx;
	char path[96];

	probe_reset(p, place);
	snprintf(path, sizeof(path), "/proc/%d/%s", p->pid, name);
	p->x.dup = open(path, O_PATH | O_CLOEXEC);
	if (p->x.dup < 0)
		return fault(f, errno, "open %s", path);
	if (fstat(p->x.dup, &p->x.st) < 0 ||
	    statx(p->x.dup, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0)
		return fault(f, errno, "stat %s", path);
	if (stx.stx_mask & STATX_MNT_ID)
		p->x.mnt_id = stx.stx_mnt_id;
	return read_link(p, AT_FDCWD, path, f);
}

const DumpTask *facts_task(const struct files *fs, pid_t tid)
{
	const FilesCollect *c = fs->collect;
	struct fault gone = { 0 };
	struct proc_status st;
	uint32_t leader;
	size_t i;

	if (procfs_status(tid, 0, &st, &gone) < 0)
		return NULL;
	leader = st.tgid;
	proc_status_free(&st);
	for (i = 0; i < c->n_task; i++)
		if (c->task[i]->pid == leader)
			return c->task[i];
	return NULL;
}
