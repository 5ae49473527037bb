/* SPDX-License-Identifier: MIT */
/*
 * target.h - how a target program of the software GPU talks to what freezes and thaws it.
 *
 * The program sets up, prints "ready", and waits for SIGUSR1; it may be dumped and restored any
 * number of times meanwhile. Then it verifies and prints "ok" (exit 0) or lines "failed: ..."
 * (exit 1). "skip: ..." is exit 77.
 */
#ifndef SOFTGPU_TARGET_H
#define SOFTGPU_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Note a failure, with errno, and go on. Value: cond. */
#define CHECK(cond) target_check((cond), #cond, __FILE__, __LINE__)
/* The same, but nothing makes sense without it: end. */
#define NEED(cond) target_need((cond), #cond, __FILE__, __LINE__)

bool target_check(bool ok, const char *text, const char *file, int line);
void target_need(bool ok, const char *text, const char *file, int line);

/* First call of main(): SIGUSR1 waits until it is asked for. */
void target_begin(void);
/* Sleep until SIGUSR1 is there. */
void target_wait(void);
/* Say "ready" and sleep until SIGUSR1 is there. */
void target_ready(void);
/*
 * Last call of each process; value: exit status. The first process says "ok" if it and its
 * children found nothing.
 */
int target_end(void);

/* A child of the calling task, which dies with it. In the child 0. */
pid_t target_fork(void);
/* Let a child verify (it is in target_wait()), and check that it ends with 0. */
void target_wake(pid_t child);
void target_join(pid_t child);

/*
 * Words that depend on seed and place; filling and checking of whole buffers of "size" bytes from
 * word "from" on.
 */
void fill(volatile uint32_t *words, size_t from, size_t size, uint32_t seed);
bool is_filled(const volatile uint32_t *words, size_t from, size_t size, uint32_t seed);

/*
 * Two ends of one shared word pair: one writes and waits for the answer, the other waits and
 * answers. Up to 20 s;
 * false: nothing came, so the memory is not shared.
 */
bool call_through(volatile uint32_t *words, uint32_t token);
bool answer_through(volatile uint32_t *words, uint32_t token);

/* Descriptors over a socket of socketpair(). */
void fd_send(int sock, int fd);
int fd_receive(int sock);

#endif
