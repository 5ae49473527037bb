/* SPDX-License-Identifier: MIT */
/*
 * restart.h - system calls that the freeze interrupted: stored, and made to go on.
 */
#ifndef STASIS_RESTART_H
#define STASIS_RESTART_H

#include "coordinator/registers.h"
#include "workers/common/gate_client.h"

/*
 * Dump: gpregs are as at the freeze; turn them into those of a thread about to make its
 * interrupted call and note in info->interrupted what the kernel had in mind.
 */
void restart_save(pid_t tid, ThreadInfoX86 *info);

/*
 * The stop made a call fail that would otherwise have gone on waiting (epoll_wait, ...): change
 * regs so that the kernel makes it again, unless a signal handler runs. True when changed: load
 * them (PTRACE_SETREGS) as soon as the stop is seen: even a killed coordinator leaves no EINTR.
 */
bool restart_undo_eintr(struct user_regs_struct *regs);

/* Frozen in a sleep that the kernel would go on with from its restart block. */
bool restart_interrupted(const struct user_regs_struct *regs);

/* The same, and the rest of the sleep cannot be read from memory. *nr: the call's number. */
bool restart_rest_unknown(pid_t tid, const struct user_regs_struct *regs, uint64_t *nr);

/* What a survey found (sleepers.c); 0: nothing. After restart_save. */
void restart_note_left(ThreadInfoX86 *info, uint64_t left_ns);

int restart_check(const ThreadInfoX86 *info, const char *who, struct fault *f);

/* Restore: regs are gpregs as stored; make the kernel go on as it would have. */
void restart_load(struct user_regs_struct *regs, const ThreadInfoX86 *info);

/*
 * The call is a sleep with a rest only the kernel can keep: before registers_load the thread's
 * agent must make it again, in two steps. restart_again adds it to a batch (-1: the arena is
 * full), which is started but not waited for; PTRACE_INTERRUPT then leaves the kernel with the
 * memory of it, as the freeze did. restart_under_way tells from the stopped thread's
 * registers that this is so; restart_ended notes the call's result instead, and
 * restart_give_up that its full time is to be used.
 */
bool restart_by_agent(const ThreadInfoX86 *info);
int restart_again(struct batch *b, uint32_t thread, const ThreadInfoX86 *info);
bool restart_under_way(const struct user_regs_struct *regs, const ThreadInfoX86 *info);
void restart_ended(ThreadInfoX86 *info, int64_t result);
void restart_give_up(ThreadInfoX86 *info);

#endif
