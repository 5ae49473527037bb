/* SPDX-License-Identifier: MIT */
/*
 * log.c - compose a line, write it with one write(2), so processes never mix lines.
 *
 * Rights:   none.
 * Holds:    where to write: the one mutable state at file scope, set once.
 */
#include "workers/common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
	int fd;
	enum log_level level;
	char who[24];
	struct timespec start;
} logger = { .fd = 2, .level = LOG_WARN, .who = "stasis" };

void log_init(int fd, enum log_level level, const char *who, const struct timespec *start)
{
	logger.fd = fd;
	logger.level = level;
	snprintf(logger.who, sizeof(logger.who), "%s[%d]", who, getpid());
	logger.start = *start;
}

int log_fd(void)
{
	return logger.fd;
}

void log_line(enum log_level level, const char *file, int line, const char *fmt, ...)
{
	struct timespec now;
	char buf[1024];
	va_list ap;
	long us;
	size_t n;

	if (level > logger.level)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	us = (now.tv_sec - logger.start.tv_sec) * 1000000 +
	     (now.tv_nsec - logger.start.tv_nsec) / 1000;
	n = snprintf(buf, sizeof(buf), "(%02ld.%06ld) %s ", us / 1000000, us % 1000000, logger.who);
	if (level == LOG_ERROR || level == LOG_WARN) {
		file = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
		n += snprintf(buf + n, sizeof(buf) - n, "%s (%s:%d): ",
			      level == LOG_ERROR ? "Error" : "Warn ", file, line);
	}
	va_start(ap, fmt);
	n += vsnprintf(buf + n, sizeof(buf) - n, fmt, ap);
	va_end(ap);
	if (n > sizeof(buf) - 2)
		n = sizeof(buf) - 2;
	buf[n++] = '\n';
	if (write(logger.fd, buf, n) < 0)
		return;		/* a full log disk must not stop the operation */
}
