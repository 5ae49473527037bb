/* SPDX-License-Identifier: MIT */
/*
 * filter.c - judge a task's seccomp filters by running them here.
 *
 * Dump:     before the agent goes in.
 * Rights:   CAP_SYS_ADMIN, to read filters; without it nothing is said.
 * Holds:    nothing.
 */
#include "coordinator/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/log.h"

/* The machine of classic BPF. */
struct machine {
	uint32_t a, x, mem[BPF_MEMWORDS];
	const struct seccomp_data *data;
};

/* A call that the stub, the agent on its way out, or a guest makes. */
struct home_call {
	const char *name;
	int nr;
	uint64_t arg[3];
};

static const struct home_call home_calls[] = {
	{ "mmap", SYS_mmap, { 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC } },
	{ "munmap", SYS_munmap, { 0, 4096, 0 } },
	{ "rt_sigprocmask", SYS_rt_sigprocmask, { 2, 4096, 0 } },
	{ "futex", SYS_futex, { 4096, FUTEX_WAKE, 1 } },
	{ "futex", SYS_futex, { 4096, FUTEX_WAIT, 1 } },
	{ "futex_waitv", SYS_futex_waitv, { 4096, 2, 0 } },
	{ "sigaltstack", SYS_sigaltstack, { 0, 4096, 0 } },
	{ "prctl", SYS_prctl, { PR_GET_TID_ADDRESS, 4096, 0 } },
	{ "prctl", SYS_prctl, { PR_GET_PDEATHSIG, 4096, 0 } },
};

static bool load(const struct machine *m, const struct sock_filter *i, uint32_t *value)
{
	switch (BPF_MODE(i->code)) {
	case BPF_IMM:
		*value = i->k;
		return true;
	case BPF_LEN:
		*value = sizeof(*m->data);
		return true;
	case BPF_MEM:
		if (i->k >= BPF_MEMWORDS)
			return false;
		*value = m->mem[i->k];
		return true;
	case BPF_ABS:
		if (i->k > sizeof(*m->data) - 4 || i->k % 4)
			return false;
		memcpy(value, (const char *)m->data + i->k, 4);
		return true;
	}
	return false;
}

static bool compute(struct machine *m, const struct sock_filter *i)
{
	uint32_t v = BPF_SRC(i->code) == BPF_X ? m->x : i->k;

	switch (BPF_OP(i->code)) {
	case BPF_ADD:
		m->a += v;
		break;
	case BPF_SUB:
		m->a -= v;
		break;
	case BPF_MUL:
		m->a *= v;
		break;
	case BPF_DIV:
		if (!v)
			return false;
		m->a /= v;
		break;
	case BPF_AND:
		m->a &= v;
		break;
	case BPF_OR:
		m->a |= v;
		break;
	case BPF_XOR:
		m->a ^= v;
		break;
	case BPF_LSH:
		m->a = v < 32 ? m->a << v : 0;
		break;
	case BPF_RSH:
		m->a = v < 32 ? m->a >> v : 0;
		break;
	case BPF_NEG:
		m->a = -m->a;
		break;
	default:
		return false;
	}
	return true;
}

/* How many instructions a jump skips. */
static uint32_t jump(const struct machine *m, const struct sock_filter *i)
{
	uint32_t v = BPF_SRC(i->code) == BPF_X ? m->x : i->k;

	switch (BPF_OP(i->code)) {
	case BPF_JA:
		return i->k;
	case BPF_JEQ:
		return m->a == v ? i->jt : i->jf;
	case BPF_JGT:
		return m->a > v ? i->jt : i->jf;
	case BPF_JGE:
		return m->a >= v ? i->jt : i->jf;
	case BPF_JSET:
		return m->a & v ? i->jt : i->jf;
	}
	return UINT32_MAX;
}

/* Everything but jumps and returns. */
static bool step_machine(struct machine *m, const struct sock_filter *i)
{
	switch (BPF_CLASS(i->code)) {
	case BPF_LD:
		return load(m, i, &m->a);
	case BPF_LDX:
		return load(m, i, &m->x);
	case BPF_ST:
	case BPF_STX:
		if (i->k >= BPF_MEMWORDS)
			return false;
		m->mem[i->k] = BPF_CLASS(i->code) == BPF_ST ? m->a : m->x;
		return true;
	case BPF_ALU:
		return compute(m, i);
	case BPF_MISC:
		if (BPF_MISCOP(i->code) == BPF_TAX)
			m->x = m->a;
		else
			m->a = m->x;
		return true;
	}
	return false;
}

unsigned filter_run(const struct sock_filter *code, size_t n, const struct seccomp_data *data)
{
	struct machine m = { .data = data };
	size_t i;

	for (i = 0; i < n; i++) {
		if (BPF_CLASS(code[i].code) == BPF_RET)
			return BPF_RVAL(code[i].code) == BPF_A ? m.a : code[i].k;
		if (BPF_CLASS(code[i].code) == BPF_JMP)
			i += jump(&m, &code[i]);
		else if (!step_machine(&m, &code[i]))
			break;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

/* The first call that one filter does not allow, NULL when all are. */
static const char *forbidden(const struct sock_filter *code, size_t n, unsigned long stub)
{
	struct seccomp_data d = { .arch = AUDIT_ARCH_X86_64, .instruction_pointer = stub };
	unsigned action;
	size_t i;

	for (i = 0; i < ARRAY_LEN(home_calls); i++) {
		d.nr = home_calls[i].nr;
		memcpy(d.args, home_calls[i].arg, sizeof(home_calls[i].arg));
		action = filter_run(code, n, &d) & SECCOMP_RET_ACTION_FULL;
		if (action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_LOG)
			return home_calls[i].name;
	}
	return NULL;
}

void filter_check(const struct task *t, unsigned mode, unsigned long stub)
{
	const char *name = mode == SECCOMP_MODE_STRICT ? "munmap" : NULL;
	unsigned long index;
	long n;

	for (index = 0; mode == SECCOMP_MODE_FILTER && !name; index++) {
		AUTO_FREE struct sock_filter *code = NULL;

		n = ptrace(PTRACE_SECCOMP_GET_FILTER, t->pid, index, NULL);
		if (n <= 0)
			break;
		code = xcalloc(n, sizeof(*code));
		n = ptrace(PTRACE_SECCOMP_GET_FILTER, t->pid, index, code);
		if (n > 0)
			name = forbidden(code, n, stub);
	}
	if (name)
		log_warnx("task %d: its seccomp rules do not allow %s; should stasis be killed "
			  "while the task is frozen, they may kill the task", t->pid, name);
}
