/* SPDX-License-Identifier: MIT */
/* An eBPF filter cannot be read: its socket is refused. */
#include <linux/bpf.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

#ifndef SO_ATTACH_BPF
#define SO_ATTACH_BPF 50
#endif

/* Lets every packet pass. */
static int load(void)
{
	static const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0xffff },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr a = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = 2,
		.insns = (uintptr_t)code, .license = (uintptr_t)"MIT",
	};

	return syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof(a));
}

static void before(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0), prog = load();

	if (prog < 0)
		case_skip("no eBPF programs here");
	CHECK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &prog, sizeof(prog)) == 0 &&
	      close(prog) == 0);
}

static void after(void)
{
}

const struct test_case test_case = {
	.proves = "a socket with an eBPF filter is refused",
	.before = before,
	.after = after,
	.later = "eBPF",
	.criu_fails = "it refuses too",
};
