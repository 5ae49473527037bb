/* SPDX-License-Identifier: MIT */
/*
 * registers.c - general registers and extended state of one x86-64 thread, both directions.
 *
 * Dump:     PTRACE_GETREGSET; components in their initial state are left out.
 * Restore:  the same buffer built again, in the layout of this processor (CPUID 0xD).
 * Rights:   being the tracer of a stopped thread.
 * Holds:    nothing but the layout, which never changes.
 */
#include "coordinator/registers.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "coordinator/restart.h"
#include "proto/control/util.h"

#define USER_CS 0x33
#define USER_DS 0x2b
#define COMPONENTS 32
#define FIRST_EXTENDED 2
#define PKRU 9
#define AMX_CONFIG 17
#define AMX_DATA 18
#define AREA_MAX 32768		/* the largest area now is 11008 bytes */

/* The beginning of every XSAVE area. */
struct legacy_area {
	uint16_t cwd, swd, twd, fop;
	uint64_t rip, rdp;
	uint32_t mxcsr, mxcsr_mask;
	uint32_t st[32], xmm[64], padding[24];
	uint64_t xstate_bv, header[7];
};

_Static_assert(sizeof(struct legacy_area) == 576, "XSAVE: 512 bytes and a header of 64");

struct layout {
	uint32_t size[COMPONENTS], offset[COMPONENTS];	/* size 0: this processor lacks it */
	uint32_t total;		/* the kernel takes no other size; the same for all threads */
};

/* Components with a field of their own: a count and a pointer. */
static const struct field {
	unsigned number;
	size_t unit, count, array;
} fields[] = {
#define FIELD(nr, name) { nr, sizeof(*((UserX86XsaveEntry *)0)->name), \
			  offsetof(UserX86XsaveEntry, n_##name), offsetof(UserX86XsaveEntry, name) }
	FIELD(2, ymmh_space),
	FIELD(3, bndreg_state),
	FIELD(4, bndcsr_state),
	FIELD(5, opmask_reg),
	FIELD(6, zmm_upper),
	FIELD(7, hi16_zmm),
	FIELD(PKRU, pkru),
#undef FIELD
};

/* CPUID leaves a virtual machine each time, so it is asked once. */
static const struct layout *layout(void)
{
	static struct layout known;
	static bool asked;
	uint32_t a, b, c, d, i, enabled = 0;

	if (asked)
		return &known;
	asked = true;
	if (__get_cpuid_count(0xd, 0, &enabled, &b, &c, &d) && b <= AREA_MAX)
		known.total = b;
	for (i = FIRST_EXTENDED; i < COMPONENTS; i++)
		if (enabled >> i & 1 && __get_cpuid_count(0xd, i, &a, &b, &c, &d) && a &&
		    !(c & 1) && b + a <= AREA_MAX) {
			known.size[i] = a;
			known.offset[i] = b;
		}
	return &known;
}

void registers_prepare(void)
{
	layout();
}

static const struct field *field_of(unsigned number)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(fields); i++)
		if (fields[i].number == number)
			return &fields[i];
	return NULL;
}

static void save_more(UserX86XsaveEntry *x, unsigned number, const void *from, size_t size)
{
	UserX86ComponentEntry *e = xcalloc(1, sizeof(*e));

	user_x86_component_entry__init(e);
	e->number = number;
	e->state.data = memcpy(xcalloc(1, size), from, size);
	e->state.len = size;
	x->more = xrealloc(x->more, x->n_more + 1, sizeof(*x->more));
	x->more[x->n_more++] = e;
}

static void save_components(UserX86XsaveEntry *x, const char *area, size_t area_size)
{
	const struct layout *l = layout();
	const struct field *fd;
	unsigned i;

	for (i = FIRST_EXTENDED; i < COMPONENTS; i++) {
		if (!(x->xstate_bv >> i & 1) || !l->size[i] ||
		    l->offset[i] + l->size[i] > area_size)
			continue;
		fd = field_of(i);
		if (!fd) {
			save_more(x, i, area + l->offset[i], l->size[i]);
			continue;
		}
		*(size_t *)((char *)x + fd->count) = l->size[i] / fd->unit;
		*(void **)((char *)x + fd->array) =
			memcpy(xcalloc(1, l->size[i]), area + l->offset[i], l->size[i]);
	}
}

static int save_extended(pid_t tid, UserX86FpregsEntry *e, struct fault *f)
{
	char area[AREA_MAX] __attribute__((aligned(64)));
	struct iovec v = { area, sizeof(area) };
	const struct legacy_area *a = (const void *)area;

	if (ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &v) < 0)
		return fault(f, errno, "read the extended registers of thread %d", tid);
	if (v.iov_len < sizeof(*a))
		return fault(f, -ENOTSUP, "thread %d: this processor has no XSAVE", tid);
	e->cwd = a->cwd;
	e->swd = a->swd;
	e->twd = a->twd;
	e->fop = a->fop;
	e->rip = a->rip;
	e->rdp = a->rdp;
	e->mxcsr = a->mxcsr;
	e->mxcsr_mask = a->mxcsr_mask;
	e->n_st_space = ARRAY_LEN(a->st);
	e->st_space = memcpy(xcalloc(1, sizeof(a->st)), a->st, sizeof(a->st));
	e->n_xmm_space = ARRAY_LEN(a->xmm);
	e->xmm_space = memcpy(xcalloc(1, sizeof(a->xmm)), a->xmm, sizeof(a->xmm));
	e->xsave = xcalloc(1, sizeof(*e->xsave));
	user_x86_xsave_entry__init(e->xsave);
	e->xsave->xstate_bv = a->xstate_bv;
	save_components(e->xsave, area, v.iov_len);
	return 0;
}

/* The registers both records have under the same or a similar name: image, kernel. */
#define SAME_REGISTERS(R) \
	R(r15, r15) R(r14, r14) R(r13, r13) R(r12, r12) R(bp, rbp) R(bx, rbx) R(r11, r11) \
	R(r10, r10) R(r9, r9) R(r8, r8) R(ax, rax) R(cx, rcx) R(dx, rdx) R(si, rsi) R(di, rdi) \
	R(orig_ax, orig_rax) R(ip, rip) R(cs, cs) R(flags, eflags) R(sp, rsp) R(ss, ss) \
	R(fs_base, fs_base) R(gs_base, gs_base) R(ds, ds) R(es, es) R(fs, fs) R(gs, gs)

int registers_save(pid_t tid, const struct user_regs_struct *regs, ThreadInfoX86 *info,
		   struct fault *f)
{
	UserX86RegsEntry *g = info->gpregs = xcalloc(1, sizeof(*g));

	if (regs->cs != USER_CS)
		return fault(f, -ENOTSUP, "thread %d runs 32-bit code: this is not supported", tid);
	user_x86_regs_entry__init(g);
#define SAVE(image, kernel) g->image = regs->kernel;
	SAME_REGISTERS(SAVE)
#undef SAVE
	g->has_mode = true;
	g->mode = USER_X86_REGS_MODE__NATIVE;
	restart_save(tid, info);
	info->fpregs = xcalloc(1, sizeof(*info->fpregs));
	user_x86_fpregs_entry__init(info->fpregs);
	return save_extended(tid, info->fpregs, f);
}

static int check_component(unsigned number, size_t bytes, const char *who, struct fault *f)
{
	const struct layout *l = layout();

	if (number < FIRST_EXTENDED || number >= COMPONENTS || !l->size[number])
		return fault(f, -ENOTSUP, "%s: this processor does not know extended state %u", who,
			     number);
	if (l->size[number] != bytes)
		return fault(f, -EINVAL, "%s: extended state %u has %zu bytes, not %u", who, number,
			     bytes, l->size[number]);
	return 0;
}

static int check_extended(const UserX86FpregsEntry *e, const char *who, struct fault *f)
{
	const UserX86XsaveEntry *x = e->xsave;
	size_t i, n;

	if (e->n_st_space != 32 || e->n_xmm_space != 64)
		return fault(f, -EINVAL, "%s: fpregs has %zu st_space and %zu xmm_space words", who,
			     e->n_st_space, e->n_xmm_space);
	if (!x)
		return 0;
	if (x->cet && (x->cet->cet || x->cet->ssp))
		return fault(f, -ENOTSUP, "%s: the thread uses a shadow stack: this is not "
			     "supported", who);
	for (i = 0; i < ARRAY_LEN(fields); i++) {
		n = *(const size_t *)((const char *)x + fields[i].count);
		if (n && x->xstate_bv >> fields[i].number & 1 &&
		    check_component(fields[i].number, n * fields[i].unit, who, f) < 0)
			return -1;
	}
	for (i = 0; i < x->n_more; i++)
		if (check_component(x->more[i]->number, x->more[i]->state.len, who, f) < 0)
			return -1;
	return 0;
}

int registers_check(const ThreadInfoX86 *info, const char *who, struct fault *f)
{
	const UserX86RegsEntry *g = info->gpregs;

	if ((g->has_mode && g->mode != USER_X86_REGS_MODE__NATIVE) || g->cs != USER_CS)
		return fault(f, -ENOTSUP, "%s: the thread runs 32-bit code: this is not "
			     "supported", who);
	if (restart_check(info, who, f) < 0)
		return -1;
	return check_extended(info->fpregs, who, f);
}

bool registers_need_amx(const ThreadInfoX86 *info)
{
	const UserX86XsaveEntry *x = info->fpregs->xsave;
	size_t i;

	for (i = 0; x && i < x->n_more; i++)
		if (x->more[i]->number == AMX_DATA)
			return true;
	return false;
}

static void put_component(char *area, unsigned number, const void *from)
{
	const struct layout *l = layout();

	memcpy(area + l->offset[number], from, l->size[number]);
	((struct legacy_area *)area)->xstate_bv |= 1ull << number;
}

/* A component that is not in the image keeps its bit clear: it gets its initial state. */
static void build_area(char *area, const UserX86FpregsEntry *e)
{
	struct legacy_area *a = memset(area, 0, sizeof(*a));
	const UserX86XsaveEntry *x = e->xsave;
	const struct field *fd;
	const char *from;

	a->cwd = e->cwd;
	a->swd = e->swd;
	a->twd = e->twd;
	a->fop = e->fop;
	a->rip = e->rip;
	a->rdp = e->rdp;
	a->mxcsr = e->mxcsr;
	a->mxcsr_mask = e->mxcsr_mask;
	memcpy(a->st, e->st_space, sizeof(a->st));
	memcpy(a->xmm, e->xmm_space, sizeof(a->xmm));
	a->xstate_bv = 3;		/* x87 and SSE */
	for (fd = fields; x && fd < fields + ARRAY_LEN(fields); fd++) {
		from = (const char *)x;
		if (*(const size_t *)(from + fd->count) && x->xstate_bv >> fd->number & 1)
			put_component(area, fd->number, *(void *const *)(from + fd->array));
	}
	for (size_t i = 0; x && i < x->n_more; i++)
		put_component(area, x->more[i]->number, x->more[i]->state.data);
}

/* A kernel may leave out components that the processor has: then it says how large its area is. */
static int load_extended(pid_t tid, const UserX86FpregsEntry *e, struct fault *f)
{
	char area[AREA_MAX] __attribute__((aligned(64)));
	struct iovec v = { area, layout()->total };

	build_area(area, e);
	if (!ptrace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &v))
		return 0;
	v.iov_len = sizeof(area);
	if (ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &v) < 0)
		return fault(f, errno, "read the extended registers of thread %d", tid);
	build_area(area, e);
	if (ptrace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &v) < 0)
		return fault(f, errno, "load the extended registers of thread %d "
			     "(made on another kind of processor?)", tid);
	return 0;
}

int registers_load(pid_t tid, const ThreadInfoX86 *info, struct fault *f)
{
	const UserX86RegsEntry *g = info->gpregs;
	struct user_regs_struct regs;

#define LOAD(image, kernel) regs.kernel = g->image;
	SAME_REGISTERS(LOAD)
#undef LOAD
	regs.ss = USER_DS;
	restart_load(&regs, info);
	if (ptrace(PTRACE_SETREGS, tid, NULL, &regs) < 0)
		return fault(f, errno, "load the registers of thread %d", tid);
	return load_extended(tid, info->fpregs, f);
}
