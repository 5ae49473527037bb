/* SPDX-License-Identifier: MIT */
/*
 * types.h - the kinds of image files: names, magics, messages.
 */
#ifndef STASIS_IMAGE_TYPES_H
#define STASIS_IMAGE_TYPES_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_MAGIC_COMMON 0x54564319u
#define IMAGE_HOST_IPC_NS 3		/* the number of the host's IPC namespace in our images */
#define IMAGE_MAGIC_SERVICE 0x55105940u

enum img_type {
	IMG_INVENTORY,
	IMG_PSTREE,
	IMG_CORE,
	IMG_IDS,
	IMG_MM,
	IMG_CREDS,
	IMG_FS,
	IMG_FDINFO,
	IMG_FILES,
	IMG_PAGEMAP,
	IMG_SHMEM_PAGEMAP,
	IMG_PAGES,
	IMG_SECCOMP,
	IMG_CGROUP,
	IMG_APPARMOR,
	IMG_CPUINFO,
	IMG_REMAP_FPATH,
	IMG_GHOST_FILE,
	IMG_FILE_LOCKS,
	IMG_PIPES_DATA,
	IMG_FIFO_DATA,
	IMG_SK_QUEUES,
	IMG_TCP_STREAM,
	IMG_TTY_INFO,
	IMG_TTY_DATA,
	IMG_MEMFD_INODE,
	IMG_BPFMAP_FILE,
	IMG_BPFMAP_DATA,
	IMG_UTSNS,
	IMG_TIMENS,
	IMG_PIDNS,
	IMG_USERNS,
	IMG_MNTS,
	IMG_AUTOFS,
	IMG_BINFMT_MISC,
	IMG_IPC_VAR,
	IMG_IPCNS_SHM,
	IMG_IPCNS_MSG,
	IMG_IPCNS_SEM,
	IMG_NETDEV,
	IMG_NETNS,
	IMG_IFADDR,
	IMG_ROUTE,
	IMG_ROUTE6,
	IMG_RULE,
	IMG_IPTABLES,
	IMG_IP6TABLES,
	IMG_NFTABLES,
	IMG_NETNF_CT,
	IMG_NETNF_EXP,
	IMG_TMPFS_IMG,
	IMG_TMPFS_DEV,
	IMG_STATS_DUMP,
	IMG_STATS_RESTORE,
	IMG_IRMAP_CACHE,
	/* Not written since CRIU 1.x to 3.x, still read and shown. */
	IMG_REG_FILES,
	IMG_EXT_FILES,
	IMG_NS_FILES,
	IMG_EVENTFD_FILE,
	IMG_EVENTPOLL_FILE,
	IMG_EVENTPOLL_TFD,
	IMG_SIGNALFD,
	IMG_INOTIFY_FILE,
	IMG_INOTIFY_WD,
	IMG_FANOTIFY_FILE,
	IMG_FANOTIFY_MARK,
	IMG_TIMERFD,
	IMG_TUNFILE,
	IMG_PIDFD,
	IMG_PIPES,
	IMG_FIFO,
	IMG_TTY_FILES,
	IMG_UNIXSK,
	IMG_INETSK,
	IMG_PACKETSK,
	IMG_NETLINK_SK,
	IMG_VMAS,
	IMG_SIGACT,
	IMG_ITIMERS,
	IMG_POSIX_TIMERS,
	IMG_RLIMIT,
	IMG_SIGNAL,
	IMG_PSIGNAL,
	IMG_BINFMT_MISC_OLD,
	IMG_SHM_PAGES_OLD,
	/* Of AMD GPUs: u64 length, one message. */
	IMG_AMDGPU_KFD,
	IMG_AMDGPU_RENDER,
	IMG_AMDGPU_DMABUF,
	IMG_TYPES
};

/* What is known of a type. */
struct img_info {
	const char *tag;			/* name in JSON, as crit calls it: "CORE" */
	const char *name;			/* of the file; %u or %x stands for the id */
	uint32_t magic;				/* 0: raw, no magic at all */
	const ProtobufCMessageDescriptor *entry; /* NULL: raw */
	const ProtobufCMessageDescriptor *head;	/* of the first entry, when that differs */
	bool many;				/* false: exactly one entry */
};

const struct img_info *image_info(enum img_type type);

/* "core-12.img". The id is ignored by types that exist once. Returns buf. */
char *image_name(enum img_type type, uint64_t id, char *buf, size_t size);

/*
 * The type of a file by its name ("core-12.img", no directory), or -1. When id is
 * not NULL it receives the number in the name (0 when it has none).
 */
int image_type_by_name(const char *name, uint64_t *id);

/* The first type with this magic (several share one: see image_name), or -1. */
int image_type_by_magic(uint32_t magic);

/* Does the file start with the service magic (statistics, caches), not the common one? */
bool image_is_service(enum img_type type);

#endif
