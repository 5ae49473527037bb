/* SPDX-License-Identifier: MIT */
/*
 * creds_restore.c - ids, groups, securebits, capability sets, no_new_privs of a thread.
 *
 * Order: groups; ids with NO_SETUID_FIXUP, so that capabilities outlive them; the inheritable set,
 * which may hold what the bounding set will not; the bounding set; ambient ones, which must be
 * inheritable; securebits, which may forbid raising ambient ones; the final sets, which may
 * lack CAP_SETPCAP; an AppArmor label; no_new_privs.
 *
 * Rights:   in the thread: CAP_SETUID, CAP_SETGID, CAP_SETPCAP where something differs from ours.
 * Holds:    nothing.
 */
#include "coordinator/creds_restore.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "coordinator/labels.h"
#include "proto/control/util.h"

/* A capability set of the image: words, low first. */
static uint64_t caps(const uint32_t *words, size_t n)
{
	return (n > 0 ? words[0] : 0) | (n > 1 ? (uint64_t)words[1] << 32 : 0);
}

struct sets {
	uint64_t inh, prm, eff, bnd, amb;
};

/* Capabilities this kernel does not know cannot be had or lost. */
static struct sets wanted(const struct inherited *ours, const CredsEntry *c)
{
	uint64_t known = ours->last_cap >= 63 ? ~0ull : (1ull << (ours->last_cap + 1)) - 1;

	return (struct sets){
		.inh = caps(c->cap_inh, c->n_cap_inh) & known,
		.prm = caps(c->cap_prm, c->n_cap_prm) & known,
		.eff = caps(c->cap_eff, c->n_cap_eff) & known,
		.bnd = caps(c->cap_bnd, c->n_cap_bnd) & known,
		.amb = caps(c->cap_amb, c->n_cap_amb) & known,
	};
}

static bool same_ids(const struct proc_status *s, const CredsEntry *c)
{
	return s->uid[0] == c->uid && s->uid[1] == c->euid && s->uid[2] == c->suid &&
		s->uid[3] == c->fsuid && s->gid[0] == c->gid && s->gid[1] == c->egid &&
		s->gid[2] == c->sgid && s->gid[3] == c->fsgid;
}

static bool same_sets(const struct proc_status *s, const struct sets *w)
{
	return s->cap_inh == w->inh && s->cap_prm == w->prm && s->cap_eff == w->eff &&
		s->cap_bnd == w->bnd && s->cap_amb == w->amb;
}

static int add_ids(const struct inherited *ours, struct ops *o, uint32_t thread,
		   const CredsEntry *c, struct fault *f)
{
	const struct proc_status *s = &ours->status;

	if (s->ngroups != c->n_groups ||
	    (c->n_groups && memcmp(s->groups, c->groups, c->n_groups * sizeof(*c->groups)))) {
		if (ops_reserve(o, 1, c->n_groups * sizeof(*c->groups) + 16, f) < 0)
			return -1;
		ops_add(o, thread, "set its supplementary groups (CAP_SETGID)", SYS_setgroups, 2,
			gc(c->n_groups), ops_put(o, c->groups, c->n_groups * sizeof(*c->groups)));
	}
	if (same_ids(s, c))
		return 0;
	if (ops_reserve(o, 7, 0, f) < 0)
		return -1;
	ops_add(o, thread, "set its group ids (CAP_SETGID)", SYS_setresgid, 3, gc(c->gid),
		gc(c->egid), gc(c->sgid));
	ops_try(o, thread, SYS_setfsgid, 1, gc(c->fsgid));
	ops_add(o, thread, "keep its capabilities (CAP_SETPCAP)", SYS_prctl, 2,
		gc(PR_SET_SECUREBITS), gc(ours->securebits | SECBIT_NO_SETUID_FIXUP));
	ops_add(o, thread, "set its user ids (CAP_SETUID)", SYS_setresuid, 3, gc(c->uid),
		gc(c->euid), gc(c->suid));
	ops_try(o, thread, SYS_setfsuid, 1, gc(c->fsuid));
	ops_add(o, thread, "set its file system user id", SYS_setfsuid, 1, gc(-1ul));
	ops_expect(o, c->fsuid);
	ops_add(o, thread, "set its file system group id", SYS_setfsgid, 1, gc(-1ul));
	ops_expect(o, c->fsgid);
	return 0;
}

/* One capability after the other, up to 64 calls. */
static int add_each(struct ops *o, uint32_t thread, uint64_t set, bool ambient, struct fault *f)
{
	int i;

	if (!set)
		return 0;
	if (ops_reserve(o, __builtin_popcountll(set), 0, f) < 0)
		return -1;
	for (i = 0; i < 64; i++) {
		if (!(set & 1ull << i))
			continue;
		if (ambient)
			ops_add(o, thread, "raise an ambient capability", SYS_prctl, 5,
				gc(PR_CAP_AMBIENT), gc(PR_CAP_AMBIENT_RAISE), gc(i), gc(0), gc(0));
		else
			ops_add(o, thread, "drop a capability from its bounding set (CAP_SETPCAP)",
				SYS_prctl, 5, gc(PR_CAPBSET_DROP), gc(i), gc(0), gc(0), gc(0));
	}
	return 0;
}

static int add_capset(struct ops *o, uint32_t thread, uint64_t eff, uint64_t prm, uint64_t inh,
		      struct fault *f)
{
	const struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct data[CAP_WORDS] = {
		{ eff, prm, inh },
		{ eff >> 32, prm >> 32, inh >> 32 },
	};
	struct gate_arg at;

	if (ops_reserve(o, 1, sizeof(head) + sizeof(data) + 32, f) < 0)
		return -1;
	at = ops_put(o, &head, sizeof(head));
	ops_add(o, thread, "set its capabilities (this command may have too few)", SYS_capset, 2,
		at, ops_put(o, data, sizeof(data)));
	return 0;
}

static int add_ambient(const struct inherited *ours, struct ops *o, uint32_t thread, uint64_t set,
		       struct fault *f)
{
	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	if (ours->status.cap_amb & ~set)
		ops_add(o, thread, "clear its ambient capabilities", SYS_prctl, 5,
			gc(PR_CAP_AMBIENT), gc(PR_CAP_AMBIENT_CLEAR_ALL), gc(0), gc(0), gc(0));
	return add_each(o, thread, set, true, f);
}

/* Everything from the inheritable set to the final sets. */
static int add_rights(const struct inherited *ours, struct ops *o, uint32_t thread,
		      const struct sets *w, uint32_t securebits, struct fault *f)
{
	const struct proc_status *s = &ours->status;

	if (w->inh != s->cap_inh && add_capset(o, thread, s->cap_eff, s->cap_prm, w->inh, f) < 0)
		return -1;
	if (add_each(o, thread, s->cap_bnd & ~w->bnd, false, f) < 0 ||
	    add_ambient(ours, o, thread, w->amb, f) < 0 || ops_reserve(o, 1, 0, f) < 0)
		return -1;
	ops_add(o, thread, "set its securebits (CAP_SETPCAP)", SYS_prctl, 2, gc(PR_SET_SECUREBITS),
		gc(securebits));
	return add_capset(o, thread, w->eff, w->prm, w->inh, f);
}

int creds_restore(const struct inherited *ours, struct ops *o, struct task *t, uint32_t thread,
		  struct fault *f)
{
	const CredsEntry *c = t->threads[thread].core->thread_core->creds;
	struct sets w = wanted(ours, c);

	if (add_ids(ours, o, thread, c, f) < 0)
		return -1;
	if ((!same_ids(&ours->status, c) || c->secbits != ours->securebits ||
	     !same_sets(&ours->status, &w)) && add_rights(ours, o, thread, &w, c->secbits, f) < 0)
		return -1;
	if (labels_restore_thread(o, c, thread, f) < 0)
		return -1;
	if (c->has_no_new_privs && c->no_new_privs && !ours->status.no_new_privs) {
		if (ops_reserve(o, 1, 0, f) < 0)
			return -1;
		ops_add(o, thread, "set no_new_privs", SYS_prctl, 5, gc(PR_SET_NO_NEW_PRIVS), gc(1),
			gc(0), gc(0), gc(0));
	}
	return 0;
}
