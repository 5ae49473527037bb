/* SPDX-License-Identifier: MIT */
/*
 * tun.c - tun and tap devices: descriptors of /dev/net/tun and the network device behind them.
 *
 * Dump:     the file, and with the first file of a device the device: kind, owner, settings,
 *           addresses, routes (tun_net.c). CRIU dumps the device with its network namespace and
 *           refuses it elsewhere; the device is in a field of ours, and CRIU refuses the entry for
 *           want of its path.
 * Restore:  a device that is still there (persistent, or held by another program) is attached to
 *           and left as it is. One that is gone is made again. It goes with its last descriptor,
 *           so nothing stays of a restore that fails; of a persistent one a keeper takes care.
 *           Packets not read yet are lost, as networks do.
 *
 * Rights:   CAP_NET_ADMIN.
 * Holds:    restore: the keepers of persistent devices.
 */
#include "workers/files/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/keeper.h"
#include "workers/files/files.h"
#include "workers/files/tun_net.h"

#define PATH "/dev/net/tun"
#define DROP_TRIES 200			/* of 10 ms each */
#define KIND (IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE | IFF_ONE_QUEUE | \
	      IFF_NAPI | IFF_NAPI_FRAGS)
#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)
#endif

struct tun {
	char name[IFNAMSIZ];
	const TunDevice *device;	/* restore; of its first file */
	bool made;
	uint32_t kind;			/* flags of TUNSETIFF */
	struct keeper keeper;		/* of a persistent one that was made */
};

struct tuns {
	struct tun *tun;
	size_t n, cap;
};

static struct tun *find(struct files *fs, const char *name)
{
	struct tuns *s = fs->tuns;
	size_t i;

	for (i = 0; s && i < s->n; i++)
		if (!strcmp(s->tun[i].name, name))
			return &s->tun[i];
	return NULL;
}

static struct tun *add(struct files *fs, const char *name)
{
	struct tun *t;

	if (!fs->tuns)
		fs->tuns = xcalloc(1, sizeof(*fs->tuns));
	t = grow(&fs->tuns->tun, fs->tuns->n++, &fs->tuns->cap, sizeof(*t));
	*t = (struct tun){ .keeper = KEEPER_NONE };
	snprintf(t->name, sizeof(t->name), "%s", name);
	return t;
}

/* Dump */

static bool match(const struct facts *x)
{
	return S_ISCHR(x->st.st_mode) && x->st.st_rdev == makedev(10, 200) && !(x->flags & O_PATH);
}

/* sysfs tells -1 when there is none. */
static int read_owner(const char *name, const char *what, int32_t *id, struct fault *f)
{
	AUTO_FCLOSE FILE *file = NULL;
	char path[96];

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", name, what);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%d", id) != 1)
		return fault(f, errno ? errno : EPROTO, "read %s", path);
	return 0;
}

static int check_filter(int fd, struct fault *f)
{
	struct sock_fprog filter = { 0 };

	if (ioctl(fd, TUNGETFILTER, &filter) < 0)
		return fault(f, errno, "ask for its packet filter");
	if (filter.len)
		return fault(f, -ENOTSUP, "its packet filter cannot be read back: detach it "
			     "(TUNDETACHFILTER)");
	return 0;
}

static int check_namespace(int fd, struct fault *f)
{
	AUTO_CLOSE int ns = ioctl(fd, TUNGETDEVNETNS);
	struct stat its, ours;

	if (ns >= 0 && fstat(ns, &its) == 0 && stat("/proc/self/ns/net", &ours) == 0 &&
	    its.st_ino != ours.st_ino)
		return fault(f, -ENOTSUP, "its device is in another network namespace");
	return 0;
}

static int read_link(int fd, const struct ifreq *r, TunLinkEntry *link, struct fault *f)
{
	int sndbuf, header;

	if (((r->ifr_flags & IFF_TAP) && check_filter(fd, f) < 0) || check_namespace(fd, f) < 0)
		return -1;
	if (ioctl(fd, TUNGETSNDBUF, &sndbuf) < 0 || ioctl(fd, TUNGETVNETHDRSZ, &header) < 0)
		return fault(f, errno, "ask its buffer and header sizes");
	link->flags = (unsigned short)r->ifr_flags & (KIND | IFF_PERSIST);
	link->sndbuf = sndbuf;
	link->vnethdr = header;
	if (read_owner(r->ifr_name, "owner", &link->owner, f) < 0)
		return -1;
	return read_owner(r->ifr_name, "group", &link->group, f);
}

static int write_entry(struct files *fs, const struct facts *x, struct ifreq *r, TunDevice *d,
		       struct fault *f)
{
	TunfileEntry p = TUNFILE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;

	p.id = x->id;
	p.netdev = r ? r->ifr_name : NULL;
	p.has_detached = r && (r->ifr_flags & IFF_DETACH_QUEUE);
	p.detached = p.has_detached;
	p.has_flags = true;
	p.flags = x->flags;
	p.fown = x->fown;
	p.device = d;
	e.type = FD_TYPES__TUNF;
	e.id = x->id;
	e.tunf = &p;
	return files_write_entry(fs, &e, f);
}

static int dump_attached(struct files *fs, const struct facts *x, struct ifreq *r, struct fault *f)
{
	TunLinkEntry link = TUN_LINK_ENTRY__INIT;
	TunDevice d = TUN_DEVICE__INIT;
	int done;

	if (find(fs, r->ifr_name))
		return write_entry(fs, x, r, NULL, f);
	add(fs, r->ifr_name);
	d.name = r->ifr_name;
	d.tun = &link;
	if (read_link(x->dup, r, &link, f) < 0)
		return -1;
	done = tun_net_read(&d, f) < 0 ? -1 : write_entry(fs, x, r, &d, f);
	tun_net_free(&d);
	return done;
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	struct ifreq r = { 0 };
	char who[400];
	int done;

	if (ioctl(x->dup, TUNGETIFF, &r) == 0)
		done = dump_attached(fs, x, &r, f);
	else if (errno == EBADFD)	/* opened, no device yet */
		done = write_entry(fs, x, NULL, NULL, f);
	else
		done = fault(f, errno, "ask for its device");
	return done < 0 ? fault_prefix(f, "%s", facts_name(x, who, sizeof(who))) : 0;
}

/* Restore */

static bool is_name(const char *s)
{
	return *s && strlen(s) < IFNAMSIZ && !strpbrk(s, "/%: \t\n") && strcmp(s, ".") &&
	       strcmp(s, "..");
}

static int check_device(struct file *file, const TunDevice *d, struct fault *f)
{
	bool tun = d->tun->flags & IFF_TUN, tap = d->tun->flags & IFF_TAP;

	if (strcmp(d->name, file->entry->tunf->netdev) || tun == tap || !d->mtu ||
	    d->mtu > INT32_MAX || !d->ifindex || d->ifindex > INT32_MAX ||
	    (d->tun->flags & ~(uint32_t)(KIND | IFF_PERSIST)) ||
	    d->hwaddr.len != sizeof(struct sockaddr))
		return fault(f, -EBADMSG, "files.img: tun file %u: an impossible device", file->id);
	return 0;
}

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const TunfileEntry *p = file->entry->tunf;
	struct tun *t;

	if (!p || p->id != file->id || (p->netdev && !is_name(p->netdev)) ||
	    (p->device && !p->netdev))
		return fault(f, -EBADMSG, "files.img: file %u is no complete tun file", file->id);
	if (!p->has_flags)
		return fault(f, -ENOTSUP, "files.img: tun file %u: devices of a network namespace "
			     "cannot be restored yet", file->id);
	if (!p->netdev)
		return 0;
	t = find(fs, p->netdev);
	if (!t)
		t = add(fs, p->netdev);
	if (!p->device)
		return 0;
	if (t->device)
		return fault(f, -EBADMSG, "files.img: the device %s is described twice", p->netdev);
	t->device = p->device;
	return check_device(file, p->device, f);
}

/* The same index, if it is free: nobody should depend on it. */
static int attach(int fd, struct tun *t, struct fault *f)
{
	unsigned index = t->device->ifindex;
	struct ifreq r = { 0 };

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", t->name);
	r.ifr_flags = t->kind = t->device->tun->flags & KIND;
	if (!t->made && !if_nametoindex(t->name)) {
		char taken[IFNAMSIZ];

		if (!if_indextoname(index, taken) && ioctl(fd, TUNSETIFINDEX, &index) < 0)
			return fault(f, errno, "ask for the device %s under its number", t->name);
	}
	if (ioctl(fd, TUNSETIFF, &r) < 0)
		return fault(f, errno, "attach to the device %s (a persistent one may be of "
			     "another kind now, or in use)", t->name);
	return 0;
}

/* Run by the keeper. A task that is about to die may still hold the device. */
static void drop_device(void *arg)
{
	const struct tun *t = arg;
	struct ifreq r = { 0 };
	int fd = open(PATH, O_RDWR | O_CLOEXEC), i;

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", t->name);
	r.ifr_flags = t->kind;
	for (i = 0; i < DROP_TRIES && ioctl(fd, TUNSETIFF, &r) < 0; i++)
		usleep(10000);
	ioctl(fd, TUNSETPERSIST, 0);
}

static int settle(struct tun *t, int fd, struct fault *f)
{
	const TunLinkEntry *link = t->device->tun;
	int sndbuf = link->sndbuf, header = link->vnethdr;

	if ((link->owner != -1 && ioctl(fd, TUNSETOWNER, link->owner) < 0) ||
	    (link->group != -1 && ioctl(fd, TUNSETGROUP, link->group) < 0))
		return fault(f, errno, "give the device %s its owner", t->name);
	if (ioctl(fd, TUNSETSNDBUF, &sndbuf) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
		return fault(f, errno, "give the device %s its buffer and header sizes", t->name);
	if ((link->flags & IFF_PERSIST) && (keeper_start(&t->keeper, drop_device, t, -1, f) < 0 ||
					    ioctl(fd, TUNSETPERSIST, 1) < 0))
		return f->code ? -1 : fault(f, errno, "make the device %s persistent", t->name);
	return tun_net_apply(t->device, f);
}

static int attach_file(struct tun *t, const struct file *file, struct fault *f)
{
	struct ifreq r = { .ifr_flags = IFF_DETACH_QUEUE };
	bool there = if_nametoindex(t->name);

	if (!t->device)
		return fault(f, -EBADMSG, "files.img: the device %s is not described", t->name);
	if (attach(file->fd, t, f) < 0)
		return -1;
	if (!t->made && !there && settle(t, file->fd, f) < 0)
		return -1;
	t->made = true;
	if (file->entry->tunf->detached && ioctl(file->fd, TUNSETQUEUE, &r) < 0)
		return fault(f, errno, "detach a queue of %s", t->name);
	return 0;
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	const TunfileEntry *p = file->entry->tunf;

	file->fd = open(PATH, (p->flags & (O_ACCMODE | O_NONBLOCK)) | O_CLOEXEC);
	if (file->fd < 0)
		return fault(f, errno, "open " PATH);
	if (p->netdev && attach_file(find(fs, p->netdev), file, f) < 0)
		return CREATE_FAILED;
	return files_set_flags(file->fd, p->flags, f) < 0 ? CREATE_FAILED : CREATED;
}

size_t tun_count(const struct files *fs)
{
	return fs->tuns ? fs->tuns->n : 0;
}

size_t tun_hand_over(struct files *fs, int *fds, size_t max)
{
	size_t i, n = 0;

	for (i = 0; i < tun_count(fs) && n < max; i++) {
		fds[n] = keeper_hand_over(&fs->tuns->tun[i].keeper);
		n += fds[n] >= 0;
	}
	return n;
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->tunf->fown;
}

/* With a keeper the device stays noted, for tun_hand_over. */
static void end(struct files *fs)
{
	struct tuns *s = fs->tuns;
	size_t i, left = 0;

	for (i = 0; s && i < s->n; i++)
		if (s->tun[i].keeper.pid > 0)
			s->tun[left++] = s->tun[i];
	if (s && left)
		s->n = left;
	if (!s || left)
		return;
	free(s->tun);
	free(s);
	fs->tuns = NULL;
}

const struct file_type tun_type = {
	.name = "tun file",
	.type = FD_TYPES__TUNF,
	.match = match,
	.dump = dump,
	.check = check,
	.create = create,
	.fown = fown,
	.end = end,
};
