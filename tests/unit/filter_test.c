/* SPDX-License-Identifier: MIT */
/*
 * filter_test.c - the classic BPF machine of coordinator/filter.c agrees with the kernel's rules.
 */
#include <stddef.h>

#include "coordinator/filter.h"
#include "proto/control/util.h"
#include "tests/unit/check.h"

#define NR offsetof(struct seccomp_data, nr)
#define ARG0 offsetof(struct seccomp_data, args)

/* A program, the call it judges, and its verdict. */
struct judgement {
	const char *what;
	struct sock_filter code[8];
	size_t n;
	int nr;
	unsigned long arg;
	unsigned verdict;
};

static const struct judgement judgements[] = {
	{ "allow everything",
	  { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) }, 1, 1, 0, SECCOMP_RET_ALLOW },
	{ "one number, hit",
	  { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 7, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS) },
	  4, 7, 0, SECCOMP_RET_ALLOW },
	{ "one number, miss",
	  { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 7, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS) },
	  4, 8, 0, SECCOMP_RET_KILL_PROCESS },
	{ "a mask over an argument",
	  { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG0), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf0),
	    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x20, 1, 0),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 5) },
	  5, 1, 0x2f, SECCOMP_RET_ERRNO | 5 },
	{ "memory and registers",
	  { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG0), BPF_STMT(BPF_ST, 3),
	    BPF_STMT(BPF_LDX | BPF_MEM, 3), BPF_STMT(BPF_LD | BPF_IMM, SECCOMP_RET_ERRNO),
	    BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0), BPF_STMT(BPF_MISC | BPF_TAX, 0),
	    BPF_STMT(BPF_MISC | BPF_TXA, 0), BPF_STMT(BPF_RET | BPF_A, 0) },
	  8, 1, 9, SECCOMP_RET_ERRNO | 9 },
	{ "running off the end kills",
	  { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR) }, 1, 1, 0, SECCOMP_RET_KILL_PROCESS },
	{ "reading outside of the data kills",
	  { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) },
	  2, 1, 0, SECCOMP_RET_KILL_PROCESS },
	{ "dividing by zero kills",
	  { BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) },
	  2, 1, 0, SECCOMP_RET_KILL_PROCESS },
	{ "jumping out kills",
	  { BPF_STMT(BPF_JMP | BPF_JA, 0xfffffff0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) },
	  2, 1, 0, SECCOMP_RET_KILL_PROCESS },
};

static void all_judgements(void)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(judgements); i++) {
		const struct judgement *j = &judgements[i];
		const struct seccomp_data d = { .nr = j->nr, .args = { j->arg } };

		if (!CHECK(filter_run(j->code, j->n, &d) == j->verdict))
			fprintf(stderr, "%s: %#x\n", j->what, filter_run(j->code, j->n, &d));
	}
}

int main(void)
{
	check_run("filters are judged as the kernel judges them", all_judgements);
	return check_done();
}
