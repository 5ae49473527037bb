/* SPDX-License-Identifier: MIT */
/*
 * style.c - the table behind style_of.
 *
 * Bits and values are those of the Linux ABI and, for VMA and PE, of CRIU's
 * images. Fields that have no row are printed as decimal numbers.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "proto/images/style.h"

#include <stddef.h>
#include <string.h>

#include "proto/control/util.h"

static const struct style_word prot_bits[] = {
	{ 1, "PROT_READ" }, { 2, "PROT_WRITE" }, { 4, "PROT_EXEC" }, { 0, NULL }
};

static const struct style_word map_bits[] = {
	{ 0x1, "MAP_SHARED" }, { 0x2, "MAP_PRIVATE" }, { 0x8, "MAP_DROPPABLE" },
	{ 0x20, "MAP_ANON" }, { 0x100, "MAP_GROWSDOWN" }, { 0x40000, "MAP_HUGETLB" }, { 0, NULL }
};

static const struct style_word vma_bits[] = {
	{ 1u << 0, "VMA_AREA_REGULAR" }, { 1u << 1, "VMA_AREA_STACK" },
	{ 1u << 2, "VMA_AREA_VSYSCALL" }, { 1u << 3, "VMA_AREA_VDSO" },
	{ 1u << 5, "VMA_AREA_HEAP" }, { 1u << 6, "VMA_FILE_PRIVATE" },
	{ 1u << 7, "VMA_FILE_SHARED" }, { 1u << 8, "VMA_ANON_SHARED" },
	{ 1u << 9, "VMA_ANON_PRIVATE" }, { 1u << 10, "VMA_AREA_SYSVIPC" },
	{ 1u << 11, "VMA_AREA_SOCKET" }, { 1u << 12, "VMA_AREA_VVAR" },
	{ 1u << 13, "VMA_AREA_AIORING" }, { 1u << 14, "VMA_AREA_MEMFD" },
	{ 1u << 15, "VMA_AREA_SHSTK" }, { 1u << 16, "VMA_AREA_GUARD" },
	{ 1u << 17, "VMA_AREA_UPROBES" }, { 1u << 27, "VMA_EXT_PLUGIN" },
	{ 1u << 31, "VMA_UNSUPP" }, { 0, NULL }
};

static const struct style_word open_bits[] = {
	{ 01, "O_WRONLY" }, { 02, "O_RDWR" }, { 0100, "O_CREAT" }, { 0200, "O_EXCL" },
	{ 0400, "O_NOCTTY" }, { 01000, "O_TRUNC" }, { 02000, "O_APPEND" },
	{ 04000, "O_NONBLOCK" }, { 010000, "O_DSYNC" }, { 020000, "FASYNC" },
	{ 040000, "O_DIRECT" }, { 0100000, "O_LARGEFILE" }, { 0200000, "O_DIRECTORY" },
	{ 0400000, "O_NOFOLLOW" }, { 01000000, "O_NOATIME" }, { 02000000, "O_CLOEXEC" },
	{ 010000000, "O_PATH" }, { 0, NULL }
};

static const struct style_word pagemap_bits[] = {
	{ 1, "PE_PARENT" }, { 2, "PE_LAZY" }, { 4, "PE_PRESENT" }, { 0, NULL }
};

static const struct style_word seal_bits[] = {
	{ 1, "F_SEAL_SEAL" }, { 2, "F_SEAL_SHRINK" }, { 4, "F_SEAL_GROW" },
	{ 8, "F_SEAL_WRITE" }, { 16, "F_SEAL_FUTURE_WRITE" }, { 32, "F_SEAL_EXEC" }, { 0, NULL }
};

static const struct style_word task_states[] = {
	{ 1, "alive" }, { 2, "dead" }, { 3, "stopped" }, { 6, "zombie" }, { 0, NULL }
};

static const struct style_word socket_families[] = {
	{ 1, "UNIX" }, { 2, "INET" }, { 10, "INET6" }, { 16, "NETLINK" }, { 17, "PACKET" },
	{ 0, NULL }
};

static const struct style_word socket_types[] = {
	{ 1, "STREAM" }, { 2, "DGRAM" }, { 3, "RAW" }, { 5, "SEQPACKET" }, { 10, "PACKET" },
	{ 0, NULL }
};

static const struct style_word socket_protocols[] = {
	{ 0, "IP" }, { 1, "ICMP" }, { 6, "TCP" }, { 17, "UDP" }, { 58, "ICMPV6" },
	{ 136, "UDPLITE" }, { 0, NULL }
};

static const struct style_word socket_states[] = {
	{ 1, "ESTABLISHED" }, { 2, "SYN_SENT" }, { 3, "SYN_RECV" }, { 4, "FIN_WAIT1" },
	{ 5, "FIN_WAIT2" }, { 6, "TIME_WAIT" }, { 7, "CLOSE" }, { 8, "CLOSE_WAIT" },
	{ 9, "LAST_ACK" }, { 10, "LISTEN" }, { 11, "CLOSING" }, { 0, NULL }
};

/* The enum fstype: mnt_entry keeps it as a bare number. */
static const struct style_word file_systems[] = {
	{ 0, "UNSUPPORTED" }, { 1, "PROC" }, { 2, "SYSFS" }, { 3, "DEVTMPFS" },
	{ 4, "BINFMT_MISC" }, { 5, "TMPFS" }, { 6, "DEVPTS" }, { 7, "SIMFS" }, { 8, "PSTORE" },
	{ 9, "SECURITYFS" }, { 10, "FUSECTL" }, { 11, "DEBUGFS" }, { 12, "CGROUP" },
	{ 13, "AUFS" }, { 14, "MQUEUE" }, { 15, "FUSE" }, { 16, "AUTO" }, { 17, "OVERLAYFS" },
	{ 18, "AUTOFS" }, { 19, "TRACEFS" }, { 23, "CGROUP2" }, { 0, NULL }
};

static const struct style styles[] = {
	{ "bpfmap_file_entry", "flags", STYLE_BITS, open_bits },
	{ "user_x86_cet_entry", "cet", STYLE_HEX, NULL },
	{ "user_x86_cet_entry", "ssp", STYLE_HEX, NULL },
	{ "thread_info_x86", "clear_tid_addr", STYLE_HEX, NULL },
	{ "user_x86_regs_entry", NULL, STYLE_HEX, NULL },
	{ "AddressRange", NULL, STYLE_HEX, NULL },
	{ "MemNeeds", "vdso", STYLE_HEX, NULL },
	{ "SocketMap", "start", STYLE_HEX, NULL },
	{ "SocketMap", "end", STYLE_HEX, NULL },
	{ "sa_entry", "sigaction", STYLE_HEX, NULL },
	{ "sa_entry", "flags", STYLE_HEX, NULL },
	{ "sa_entry", "restorer", STYLE_HEX, NULL },
	{ "sa_entry", "mask", STYLE_HEX, NULL },
	{ "sa_entry", "mask_extended", STYLE_HEX, NULL },
	{ "task_core_entry", "task_state", STYLE_NAME, task_states },
	{ "task_core_entry", "blk_sigset", STYLE_HEX, NULL },
	{ "task_core_entry", "blk_sigset_extended", STYLE_HEX, NULL },
	{ "task_core_entry", "membarrier_registration_mask", STYLE_HEX, NULL },
	{ "reg_file_entry", "flags", STYLE_BITS, open_bits },
	{ "tcp_stream_entry", "opt_mask", STYLE_HEX, NULL },
	{ "inet_sk_entry", "family", STYLE_NAME, socket_families },
	{ "inet_sk_entry", "type", STYLE_NAME, socket_types },
	{ "inet_sk_entry", "proto", STYLE_NAME, socket_protocols },
	{ "inet_sk_entry", "state", STYLE_NAME, socket_states },
	{ "inet_sk_entry", "flags", STYLE_HEX, NULL },
	{ "inet_sk_entry", "src_addr", STYLE_ADDRESS, NULL },
	{ "inet_sk_entry", "dst_addr", STYLE_ADDRESS, NULL },
	{ "packet_sock_entry", "flags", STYLE_HEX, NULL },
	{ "netlink_sk_entry", "flags", STYLE_HEX, NULL },
	{ "signalfd_entry", "flags", STYLE_HEX, NULL },
	{ "signalfd_entry", "sigmask", STYLE_HEX, NULL },
	{ "tun_link_entry", "flags", STYLE_HEX, NULL },
	{ "timerfd_entry", "flags", STYLE_HEX, NULL },
	{ "timerfd_entry", "settime_flags", STYLE_HEX, NULL },
	{ "irmap_cache_entry", "dev", STYLE_STAT_DEVICE, NULL },
	{ "inotify_wd_entry", "mask", STYLE_HEX, NULL },
	{ "inotify_wd_entry", "ignored_mask", STYLE_HEX, NULL },
	{ "inotify_wd_entry", "s_dev", STYLE_DEVICE, NULL },
	{ "inotify_file_entry", "flags", STYLE_HEX, NULL },
	{ "fanotify_mark_entry", "mflags", STYLE_HEX, NULL },
	{ "fanotify_mark_entry", "mask", STYLE_HEX, NULL },
	{ "fanotify_mark_entry", "ignored_mask", STYLE_HEX, NULL },
	{ "fanotify_mark_entry", "s_dev", STYLE_DEVICE, NULL },
	{ "fanotify_file_entry", "flags", STYLE_HEX, NULL },
	{ "fanotify_file_entry", "faflags", STYLE_HEX, NULL },
	{ "fanotify_file_entry", "evflags", STYLE_HEX, NULL },
	{ "unix_sk_entry", "type", STYLE_NAME, socket_types },
	{ "unix_sk_entry", "state", STYLE_NAME, socket_states },
	{ "unix_sk_entry", "flags", STYLE_HEX, NULL },
	{ "unix_sk_entry", "uflags", STYLE_HEX, NULL },
	{ "unix_sk_entry", "name", STYLE_TEXT, NULL },
	{ "pipe_entry", "flags", STYLE_HEX, NULL },
	{ "tty_file_entry", "flags", STYLE_HEX, NULL },
	{ "memfd_file_entry", "flags", STYLE_BITS, open_bits },
	{ "memfd_inode_entry", "seals", STYLE_BITS, seal_bits },
	{ "ghost_file_entry", "dev", STYLE_DEVICE, NULL },
	{ "ghost_file_entry", "rdev", STYLE_STAT_DEVICE, NULL },
	{ "vma_entry", "start", STYLE_HEX, NULL },
	{ "vma_entry", "end", STYLE_HEX, NULL },
	{ "vma_entry", "prot", STYLE_BITS, prot_bits },
	{ "vma_entry", "flags", STYLE_BITS, map_bits },
	{ "vma_entry", "status", STYLE_BITS, vma_bits },
	{ "vma_entry", "madv", STYLE_HEX, NULL },
	{ "vma_entry", "fdflags", STYLE_HEX, NULL },
	{ "mm_entry", "mm_start_code", STYLE_HEX, NULL },
	{ "mm_entry", "mm_end_code", STYLE_HEX, NULL },
	{ "mm_entry", "mm_start_data", STYLE_HEX, NULL },
	{ "mm_entry", "mm_end_data", STYLE_HEX, NULL },
	{ "mm_entry", "mm_start_stack", STYLE_HEX, NULL },
	{ "mm_entry", "mm_start_brk", STYLE_HEX, NULL },
	{ "mm_entry", "mm_brk", STYLE_HEX, NULL },
	{ "mm_entry", "mm_arg_start", STYLE_HEX, NULL },
	{ "mm_entry", "mm_arg_end", STYLE_HEX, NULL },
	{ "mm_entry", "mm_env_start", STYLE_HEX, NULL },
	{ "mm_entry", "mm_env_end", STYLE_HEX, NULL },
	{ "mnt_entry", "root_dev", STYLE_DEVICE, NULL },
	{ "mnt_entry", "flags", STYLE_HEX, NULL },
	{ "mnt_entry", "sb_flags", STYLE_HEX, NULL },
	{ "mnt_entry", "fstype", STYLE_NAME, file_systems },
	{ "sit_entry", "local", STYLE_ADDRESS, NULL },
	{ "sit_entry", "remote", STYLE_ADDRESS, NULL },
	{ "sit_entry", "rd_prefix", STYLE_ADDRESS, NULL },
	{ "sit_entry", "relay_prefix", STYLE_ADDRESS, NULL },
	{ "net_device_entry", "flags", STYLE_HEX, NULL },
	{ "pagemap_entry", "vaddr", STYLE_HEX, NULL },
	{ "pagemap_entry", "flags", STYLE_BITS, pagemap_bits },
	{ "thread_core_entry", "futex_rla", STYLE_HEX, NULL },
	{ "thread_core_entry", "blk_sigset", STYLE_HEX, NULL },
	{ "thread_core_entry", "blk_sigset_extended", STYLE_HEX, NULL },
	{ "thread_sas_entry", "ss_sp", STYLE_HEX, NULL },
	{ "rseq_entry", "rseq_abi_pointer", STYLE_HEX, NULL },
	{ "rseq_entry", "rseq_cs_pointer", STYLE_HEX, NULL },
	{ "rseq_entry", "signature", STYLE_HEX, NULL },
	{ "creds_entry", "cap_inh", STYLE_HEX, NULL },
	{ "creds_entry", "cap_prm", STYLE_HEX, NULL },
	{ "creds_entry", "cap_eff", STYLE_HEX, NULL },
	{ "creds_entry", "cap_bnd", STYLE_HEX, NULL },
	{ "creds_entry", "cap_amb", STYLE_HEX, NULL },
	{ "aio_ring_entry", "id", STYLE_HEX, NULL },
	{ "ns_file_entry", "ns_cflag", STYLE_HEX, NULL },
	{ "user_x86_xsave_entry", "xstate_bv", STYLE_HEX, NULL },
	{ "user_x86_fpregs_entry", "mxcsr", STYLE_HEX, NULL },
	{ "user_x86_fpregs_entry", "mxcsr_mask", STYLE_HEX, NULL },
	{ "kfd_bo_entry", "addr", STYLE_HEX, NULL },
	{ "kfd_bo_entry", "offset", STYLE_HEX, NULL },
	{ "kfd_bo_entry", "alloc_flags", STYLE_HEX, NULL },
	{ "kfd_bo_entry", "gpu_id", STYLE_HEX, NULL },
	{ "kfd_device_entry", "gpu_id", STYLE_HEX, NULL },
	{ "kfd_device_entry", "actual_gpu_id", STYLE_HEX, NULL },
	{ "criu_render_node", "gpu_id", STYLE_HEX, NULL },
	{ "drm_bo_entry", "addr", STYLE_HEX, NULL },
	{ "drm_bo_entry", "offset", STYLE_HEX, NULL },
	{ "drm_bo_entry", "alloc_flags", STYLE_HEX, NULL },
	{ "drm_vm_entry", "addr", STYLE_HEX, NULL },
	{ "drm_vm_entry", "flags", STYLE_HEX, NULL },
};

const struct style *style_of(const char *message, const char *field)
{
	static const struct style plain = { "", NULL, STYLE_PLAIN, NULL };
	size_t i;

	for (i = 0; i < ARRAY_LEN(styles); i++) {
		if (strcmp(styles[i].message, message) != 0)
			continue;
		if (!styles[i].field || strcmp(styles[i].field, field) == 0)
			return &styles[i];
	}
	return &plain;
}
