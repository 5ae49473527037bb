/* SPDX-License-Identifier: MIT */
/*
 * log.h - one log file for all processes of an operation, one write per line.
 *
 * A line reads "(00.012345) mem[4711] text"; an error line has "Error (file.c:12): "
 * before its text, as scripts written for CRIU expect.
 */
#ifndef STASIS_LOG_H
#define STASIS_LOG_H

#include <time.h>

enum log_level { LOG_MSG, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };	/* CRIU's -v numbers */

/*
 * Set once by each process: where (descriptor, kept), how much, under which name, and the
 * moment that counts as zero (CLOCK_MONOTONIC of the operation's start).
 */
void log_init(int fd, enum log_level level, const char *who, const struct timespec *start);
int log_fd(void);

#define log_error(...) log_line(LOG_ERROR, __FILE__, __LINE__, __VA_ARGS__)
#define log_warnx(...) log_line(LOG_WARN, __FILE__, __LINE__, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __FILE__, __LINE__, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __FILE__, __LINE__, __VA_ARGS__)

void log_line(enum log_level level, const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
