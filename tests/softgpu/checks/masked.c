// SPDX-License-Identifier: MIT
/*
 * masked.c - a GPU that the cgroup forbids does not exist. Needs two GPUs, minors 128 and 129.
 *
 *   masked                        check it
 *   masked MINOR COMMAND...       run a command in a cgroup that may not use render node MINOR
 */
#include "kfd_raw.h"
#include "../programs/target.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GROUP "/sys/fs/cgroup/masked"
#define TOPOLOGY "/sys/class/kfd/kfd/topology/nodes/"

#define OP(c, d, s, o, i) \
	((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })
#define LOAD(reg, field) \
	OP(BPF_LDX | BPF_W | BPF_MEM, reg, 1, offsetof(struct bpf_cgroup_dev_ctx, field), 0)

/* Every device but char 226:minor. Returns the program's descriptor. */
static int forbid(int minor)
{
	const struct bpf_insn insns[] = {
		LOAD(2, major),
		LOAD(3, minor),
		OP(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1),
		OP(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 2, 226),
		OP(BPF_JMP | BPF_JNE | BPF_K, 3, 0, 1, minor),
		OP(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		OP(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = sizeof(insns) / sizeof(insns[0]);
	attr.license = (uintptr_t) "MIT";
	return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static void enter_group(int minor)
{
	union bpf_attr attr;
	int prog = forbid(minor), group, procs;

	NEED(prog >= 0);
	NEED(mkdir(GROUP, 0755) == 0 || errno == EEXIST);
	group = open(GROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NEED(group >= 0);
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)group;
	attr.attach_bpf_fd = (uint32_t)prog;
	attr.attach_type = BPF_CGROUP_DEVICE;
	NEED(syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) == 0);
	procs = open(GROUP "/cgroup.procs", O_WRONLY | O_CLOEXEC);
	NEED(procs >= 0 && write(procs, "0", 1) == 1);
	close(procs);
	close(group);
	close(prog);
}

static bool readable(const char *path)
{
	char text[64];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && read(fd, text, sizeof(text)) > 0;

	CHECK(fd >= 0 && (ok || errno == EPERM));
	close(fd);
	return ok;
}

static int verify(void)
{
	struct kfd_ioctl_criu_args args = { 0 };
	struct kfd_process p;

	NEED(readable(TOPOLOGY "2/gpu_id"));
	enter_group(128);
	CHECK(open("/dev/dri/renderD128", O_RDWR) < 0 && errno == EPERM);
	CHECK(!readable(TOPOLOGY "1/gpu_id") && !readable(TOPOLOGY "1/properties"));
	CHECK(!readable(TOPOLOGY "1/mem_banks/0/properties"));
	CHECK(readable(TOPOLOGY "2/gpu_id") && readable(TOPOLOGY "0/properties"));
	p.kfd = open("/dev/kfd", O_RDWR | O_CLOEXEC);
	NEED(p.kfd >= 0);
	CHECK(kfd_criu_op(p.kfd, KFD_CRIU_OP_PROCESS_INFO, &args) == 0 && args.num_devices == 1);
	CHECK(kfd_criu_op(p.kfd, KFD_CRIU_OP_UNPAUSE, &args) == 0);
	return target_end();
}

int main(int argc, char **argv)
{
	target_begin();
	if (argc < 3)
		return verify();
	enter_group(atoi(argv[1]));
	execvp(argv[2], argv + 2);
	return 126;
}
