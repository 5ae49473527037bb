/* SPDX-License-Identifier: MIT */
/*
 * ahead.h - read the fdinfo of many descriptors ahead, in a thread.
 */
#ifndef STASIS_FILES_AHEAD_H
#define STASIS_FILES_AHEAD_H

#include <stddef.h>

struct ahead;

/*
 * Begin to read info_dir/FD for each descriptor, in order. info_dir and fds stay the caller's and must
 * outlive it. NULL when that would not pay: few descriptors, one CPU, or no thread to be had.
 */
struct ahead *ahead_begin(int info_dir, const int *fds, size_t n);

/*
 * The text of fds[i], waited for; NULL when it could not be read (read it again to learn
 * why). Valid until ahead_end.
 */
const char *ahead_text(struct ahead *a, size_t i);

/* Waits for the thread. NULL is fine. */
void ahead_end(struct ahead *a);

#endif
