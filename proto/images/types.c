/* SPDX-License-Identifier: MIT */
/*
 * types.c - the table of image types, one row each.
 *
 * Names, magics and messages are those of CRIU 4.2. Where types share a magic
 * (pagemaps of tasks and of shared memory) the first row answers for both.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "proto/images/types.h"

#include <stdio.h>
#include <string.h>

#include "proto/images/amdgpu.pb-c.h"
#include "proto/images/files.pb-c.h"
#include "proto/images/inventory.pb-c.h"
#include "proto/images/ipc.pb-c.h"
#include "proto/images/memory.pb-c.h"
#include "proto/images/namespaces.pb-c.h"
#include "proto/images/net.pb-c.h"
#include "proto/images/stats.pb-c.h"

/* { JSON tag, file name, magic, message, message of the first entry if another, many } */
static const struct img_info infos[IMG_TYPES] = {
	[IMG_INVENTORY] = { "INVENTORY", "inventory.img", 0x58313116,
		&inventory_entry__descriptor, NULL, false },
	[IMG_PSTREE] = { "PSTREE", "pstree.img", 0x50273030,
		&pstree_entry__descriptor, NULL, true },
	[IMG_CORE] = { "CORE", "core-%u.img", 0x55053847, &core_entry__descriptor, NULL, false },
	[IMG_IDS] = { "IDS", "ids-%u.img", 0x54432030,
		&task_kobj_ids_entry__descriptor, NULL, false },
	[IMG_MM] = { "MM", "mm-%u.img", 0x57492820, &mm_entry__descriptor, NULL, false },
	[IMG_CREDS] = { "CREDS", "creds-%u.img", 0x54023547,
		&creds_entry__descriptor, NULL, false },
	[IMG_FS] = { "FS", "fs-%u.img", 0x51403912, &fs_entry__descriptor, NULL, false },
	[IMG_FDINFO] = { "FDINFO", "fdinfo-%u.img", 0x56213732,
		&fdinfo_entry__descriptor, NULL, true },
	[IMG_FILES] = { "FILES", "files.img", 0x56303138, &file_entry__descriptor, NULL, true },
	[IMG_PAGEMAP] = { "PAGEMAP", "pagemap-%u.img", 0x56084025,
		&pagemap_entry__descriptor, &pagemap_head__descriptor, true },
	[IMG_SHMEM_PAGEMAP] = { "PAGEMAP", "pagemap-shmem-%u.img", 0x56084025,
		&pagemap_entry__descriptor, &pagemap_head__descriptor, true },
	[IMG_PAGES] = { "PAGES", "pages-%u.img", 0, NULL, NULL, false },
	[IMG_SECCOMP] = { "SECCOMP", "seccomp.img", 0x64413049,
		&seccomp_entry__descriptor, NULL, false },
	[IMG_CGROUP] = { "CGROUP", "cgroup.img", 0x59383330,
		&cgroup_entry__descriptor, NULL, false },
	[IMG_APPARMOR] = { "APPARMOR", "apparmor.img", 0x59423047,
		&apparmor_entry__descriptor, NULL, false },
	[IMG_CPUINFO] = { "CPUINFO", "cpuinfo.img", 0x61404013,
		&cpuinfo_entry__descriptor, NULL, false },
	[IMG_REMAP_FPATH] = { "REMAP_FPATH", "remap-fpath.img", 0x59133954,
		&remap_file_path_entry__descriptor, NULL, true },
	[IMG_GHOST_FILE] = { "GHOST_FILE", "ghost-file-%x.img", 0x52583605,
		&ghost_file_entry__descriptor, NULL, false },
	[IMG_FILE_LOCKS] = { "FILE_LOCKS", "filelocks.img", 0x54323616,
		&file_lock_entry__descriptor, NULL, true },
	[IMG_PIPES_DATA] = { "PIPES_DATA", "pipes-data.img", 0x56453709,
		&pipe_data_entry__descriptor, NULL, true },
	[IMG_FIFO_DATA] = { "FIFO_DATA", "fifo-data.img", 0x59333054,
		&pipe_data_entry__descriptor, NULL, true },
	[IMG_SK_QUEUES] = { "SK_QUEUES", "sk-queues.img", 0x56264026,
		&sk_packet_entry__descriptor, NULL, true },
	[IMG_TCP_STREAM] = { "TCP_STREAM", "tcp-stream-%x.img", 0x51465506,
		&tcp_stream_entry__descriptor, NULL, false },
	[IMG_TTY_INFO] = { "TTY_INFO", "tty-info.img", 0x59453036,
		&tty_info_entry__descriptor, NULL, true },
	[IMG_TTY_DATA] = { "TTY_DATA", "tty-data.img", 0x59413026,
		&tty_data_entry__descriptor, NULL, true },
	[IMG_MEMFD_INODE] = { "MEMFD_INODE", "memfd.img", 0x48453499,
		&memfd_inode_entry__descriptor, NULL, true },
	[IMG_BPFMAP_FILE] = { "BPFMAP_FILE", "bpfmap-file.img", 0x57506142,
		&bpfmap_file_entry__descriptor, NULL, true },
	[IMG_BPFMAP_DATA] = { "BPFMAP_DATA", "bpfmap-data.img", 0x64324033,
		&bpfmap_data_entry__descriptor, NULL, true },
	[IMG_UTSNS] = { "UTSNS", "utsns-%u.img", 0x54473203,
		&utsns_entry__descriptor, NULL, false },
	[IMG_TIMENS] = { "TIMENS", "timens-%u.img", 0x43114433,
		&timens_entry__descriptor, NULL, false },
	[IMG_PIDNS] = { "PIDNS", "pidns-%u.img", 0x61157326,
		&pidns_entry__descriptor, NULL, false },
	[IMG_USERNS] = { "USERNS", "userns-%u.img", 0x55474906,
		&userns_entry__descriptor, NULL, false },
	[IMG_MNTS] = { "MNTS", "mountpoints-%u.img", 0x55563928,
		&mnt_entry__descriptor, NULL, true },
	[IMG_AUTOFS] = { "AUTOFS", "autofs-%u.img", 0x49353943,
		&autofs_entry__descriptor, NULL, false },
	[IMG_BINFMT_MISC] = { "BINFMT_MISC", "binfmt-misc.img", 0x67343323,
		&binfmt_misc_entry__descriptor, NULL, true },
	[IMG_IPC_VAR] = { "IPC_VAR", "ipcns-var-%u.img", 0x53115007,
		&ipc_var_entry__descriptor, NULL, false },
	[IMG_IPCNS_SHM] = { "IPCNS_SHM", "ipcns-shm-%u.img", 0x46283044,
		&ipc_shm_entry__descriptor, NULL, true },
	[IMG_IPCNS_MSG] = { "IPCNS_MSG", "ipcns-msg-%u.img", 0x55453737,
		&ipc_msg_entry__descriptor, NULL, true },
	[IMG_IPCNS_SEM] = { "IPCNS_SEM", "ipcns-sem-%u.img", 0x59573019,
		&ipc_sem_entry__descriptor, NULL, true },
	[IMG_NETDEV] = { "NETDEV", "netdev-%u.img", 0x57373951,
		&net_device_entry__descriptor, NULL, true },
	[IMG_NETNS] = { "NETNS", "netns-%u.img", 0x55933752,
		&netns_entry__descriptor, NULL, false },
	[IMG_IFADDR] = { "IFADDR", "ifaddr-%u.img", 0, NULL, NULL, false },
	[IMG_ROUTE] = { "ROUTE", "route-%u.img", 0, NULL, NULL, false },
	[IMG_ROUTE6] = { "ROUTE6", "route6-%u.img", 0, NULL, NULL, false },
	[IMG_RULE] = { "RULE", "rule-%u.img", 0, NULL, NULL, false },
	[IMG_IPTABLES] = { "IPTABLES", "iptables-%u.img", 0, NULL, NULL, false },
	[IMG_IP6TABLES] = { "IP6TABLES", "ip6tables-%u.img", 0, NULL, NULL, false },
	[IMG_NFTABLES] = { "NFTABLES", "nftables-%u.img", 0, NULL, NULL, false },
	[IMG_NETNF_CT] = { "NETNF_CT", "netns-ct-%u.img", 0, NULL, NULL, false },
	[IMG_NETNF_EXP] = { "NETNF_EXP", "netns-exp-%u.img", 0, NULL, NULL, false },
	[IMG_TMPFS_IMG] = { "TMPFS_IMG", "tmpfs-%u.tar.gz.img", 0, NULL, NULL, false },
	[IMG_TMPFS_DEV] = { "TMPFS_DEV", "tmpfs-dev-%u.tar.gz.img", 0, NULL, NULL, false },
	[IMG_STATS_DUMP] = { "STATS", "stats-dump", 0x57093306,
		&stats_entry__descriptor, NULL, false },
	[IMG_STATS_RESTORE] = { "STATS", "stats-restore", 0x57093306,
		&stats_entry__descriptor, NULL, false },
	[IMG_IRMAP_CACHE] = { "IRMAP_CACHE", "irmap-cache", 0x57004059,
		&irmap_cache_entry__descriptor, NULL, true },
	[IMG_REG_FILES] = { "REG_FILES", "reg-files.img", 0x50363636,
		&reg_file_entry__descriptor, NULL, true },
	[IMG_EXT_FILES] = { "EXT_FILES", "ext-files.img", 0x59255641,
		&ext_file_entry__descriptor, NULL, true },
	[IMG_NS_FILES] = { "NS_FILES", "ns-files.img", 0x61394011,
		&ns_file_entry__descriptor, NULL, true },
	[IMG_EVENTFD_FILE] = { "EVENTFD_FILE", "eventfd.img", 0x44523722,
		&eventfd_file_entry__descriptor, NULL, true },
	[IMG_EVENTPOLL_FILE] = { "EVENTPOLL_FILE", "eventpoll.img", 0x45023858,
		&eventpoll_file_entry__descriptor, NULL, true },
	[IMG_EVENTPOLL_TFD] = { "EVENTPOLL_TFD", "eventpoll-tfd.img", 0x44433746,
		&eventpoll_tfd_entry__descriptor, NULL, true },
	[IMG_SIGNALFD] = { "SIGNALFD", "signalfd.img", 0x57323820,
		&signalfd_entry__descriptor, NULL, true },
	[IMG_INOTIFY_FILE] = { "INOTIFY_FILE", "inotify.img", 0x48424431,
		&inotify_file_entry__descriptor, NULL, true },
	[IMG_INOTIFY_WD] = { "INOTIFY_WD", "inotify-wd.img", 0x54562009,
		&inotify_wd_entry__descriptor, NULL, true },
	[IMG_FANOTIFY_FILE] = { "FANOTIFY_FILE", "fanotify.img", 0x55096122,
		&fanotify_file_entry__descriptor, NULL, true },
	[IMG_FANOTIFY_MARK] = { "FANOTIFY_MARK", "fanotify-mark.img", 0x56506035,
		&fanotify_mark_entry__descriptor, NULL, true },
	[IMG_TIMERFD] = { "TIMERFD", "timerfd.img", 0x50493712,
		&timerfd_entry__descriptor, NULL, true },
	[IMG_TUNFILE] = { "TUNFILE", "tunfile.img", 0x57143751,
		&tunfile_entry__descriptor, NULL, true },
	[IMG_PIDFD] = { "PIDFD", "pidfd.img", 0x54435556, &pidfd_entry__descriptor, NULL, true },
	[IMG_PIPES] = { "PIPES", "pipes.img", 0x56513555, &pipe_entry__descriptor, NULL, true },
	[IMG_FIFO] = { "FIFO", "fifo.img", 0x58364939, &fifo_entry__descriptor, NULL, true },
	[IMG_TTY_FILES] = { "TTY_FILES", "tty.img", 0x59433025,
		&tty_file_entry__descriptor, NULL, true },
	[IMG_UNIXSK] = { "UNIXSK", "unixsk.img", 0x54373943,
		&unix_sk_entry__descriptor, NULL, true },
	[IMG_INETSK] = { "INETSK", "inetsk.img", 0x56443851,
		&inet_sk_entry__descriptor, NULL, true },
	[IMG_PACKETSK] = { "PACKETSK", "packetsk.img", 0x60454618,
		&packet_sock_entry__descriptor, NULL, true },
	[IMG_NETLINK_SK] = { "NETLINK_SK", "netlinksk.img", 0x58005614,
		&netlink_sk_entry__descriptor, NULL, true },
	[IMG_VMAS] = { "VMAS", "vmas-%u.img", 0x54123737, &vma_entry__descriptor, NULL, true },
	[IMG_SIGACT] = { "SIGACT", "sigacts-%u.img", 0x55344201,
		&sa_entry__descriptor, NULL, true },
	[IMG_ITIMERS] = { "ITIMERS", "itimers-%u.img", 0x57464056,
		&itimer_entry__descriptor, NULL, true },
	[IMG_POSIX_TIMERS] = { "POSIX_TIMERS", "posix-timers-%u.img", 0x52603957,
		&posix_timer_entry__descriptor, NULL, true },
	[IMG_RLIMIT] = { "RLIMIT", "rlimit-%u.img", 0x57113925,
		&rlimit_entry__descriptor, NULL, true },
	[IMG_SIGNAL] = { "SIGNAL", "signal-s-%u.img", 0x59255647,
		&siginfo_entry__descriptor, NULL, true },
	[IMG_PSIGNAL] = { "SIGNAL", "signal-p-%u.img", 0x59255647,
		&siginfo_entry__descriptor, NULL, true },
	[IMG_BINFMT_MISC_OLD] = { "BINFMT_MISC", "binfmt-misc-%u.img", 0x67343323,
		&binfmt_misc_entry__descriptor, NULL, true },
	[IMG_SHM_PAGES_OLD] = { "SHM_PAGES_OLD", "pages-shmem-%u.img", 0, NULL, NULL, false },
	[IMG_AMDGPU_KFD] = { "AMDGPU_KFD", "amdgpu-kfd-%u.img", 0,
		&criu_kfd__descriptor, NULL, false },
	[IMG_AMDGPU_RENDER] = { "AMDGPU_RENDER", "amdgpu-renderD-%u.img", 0,
		&criu_render_node__descriptor, NULL, false },
	[IMG_AMDGPU_DMABUF] = { "AMDGPU_DMABUF", "amdgpu-dmabuf_%u.img", 0,
		&criu_dmabuf_node__descriptor, NULL, false },
};

const struct img_info *image_info(enum img_type type)
{
	return &infos[type];
}

bool image_is_service(enum img_type type)
{
	return type == IMG_STATS_DUMP || type == IMG_STATS_RESTORE || type == IMG_IRMAP_CACHE;
}

char *image_name(enum img_type type, uint64_t id, char *buf, size_t size)
{
	const char *fmt = infos[type].name;
	const char *mark = strchr(fmt, '%');
	int n;

	if (!mark) {
		snprintf(buf, size, "%s", fmt);
		return buf;
	}
	n = mark - fmt;
	if (mark[1] == 'x')
		snprintf(buf, size, "%.*s%llx%s", n, fmt, (unsigned long long)id, mark + 2);
	else
		snprintf(buf, size, "%.*s%llu%s", n, fmt, (unsigned long long)id, mark + 2);
	return buf;
}

/* The value of a digit, or -1. Upper case is not ours: we never write it. */
static int digit(char c, unsigned int base)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (base == 16 && c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Does name follow the format of a row? The number in it goes to *id. */
static bool name_matches(const char *fmt, const char *name, uint64_t *id)
{
	const char *mark = strchr(fmt, '%');
	unsigned int base;
	size_t n;

	*id = 0;
	if (!mark)
		return strcmp(fmt, name) == 0;
	n = mark - fmt;
	if (strncmp(fmt, name, n) != 0)
		return false;
	base = mark[1] == 'x' ? 16 : 10;
	name += n;
	if (digit(*name, base) < 0)
		return false;
	for (; digit(*name, base) >= 0; name++)
		*id = *id * base + digit(*name, base);
	return strcmp(name, mark + 2) == 0;
}

int image_type_by_name(const char *name, uint64_t *id)
{
	uint64_t n;
	int i;

	for (i = 0; i < IMG_TYPES; i++) {
		if (!name_matches(infos[i].name, name, &n))
			continue;
		if (id)
			*id = n;
		return i;
	}
	return -1;
}

int image_type_by_magic(uint32_t magic)
{
	int i;

	for (i = 0; magic && i < IMG_TYPES; i++)
		if (infos[i].magic == magic)
			return i;
	return -1;
}
