/* SPDX-License-Identifier: MIT */
/*
 * util.h - resources that release themselves, allocation that cannot fail.
 */
#ifndef STASIS_UTIL_H
#define STASIS_UTIL_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define STASIS_PAGE 4096ul

/* Leaves -1: a number that is closed is soon another's. */
static inline void auto_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void auto_free(void *p)
{
	free(*(void **)p);
}

static inline void auto_fclose(FILE **s)
{
	if (*s)
		fclose(*s);
}

static inline void auto_closedir(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* Start an AUTO_CLOSE at -1, the others at NULL. */
#define AUTO_CLOSE __attribute__((cleanup(auto_close)))
#define AUTO_FREE __attribute__((cleanup(auto_free)))
#define AUTO_FCLOSE __attribute__((cleanup(auto_fclose)))
#define AUTO_CLOSEDIR __attribute__((cleanup(auto_closedir)))

/* Hand ownership on: the variable is emptied, its value returned. */
static inline int take_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

static inline void *take_ptr(void *p)
{
	void *v = *(void **)p;

	*(void **)p = NULL;
	return v;
}

/* Zeroed memory; die() when there is none. The caller frees. */
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Make room for one more element in a growing array: *arr has n used elements
 * of the given size, *cap allocated. The new element is zeroed; returns it.
 */
void *grow(void *arr_ptr, size_t n, size_t *cap, size_t size);

struct ProtobufCMessage;
/* A copy of a whole message (its base), to be freed as one that was unpacked. */
void *message_copy(const struct ProtobufCMessage *m);

/* CLOCK_MONOTONIC: nanoseconds from then to now; milliseconds. */
uint64_t elapsed_ns(const struct timespec *since);
int64_t monotonic_ms(void);

/* Read or write all bytes; -1 with errno, else the count (short only at EOF). */
ssize_t read_full(int fd, void *buf, size_t n);
ssize_t write_full(int fd, const void *buf, size_t n);
/* The same at an offset of a file. */
ssize_t pread_full(int fd, void *buf, size_t n, uint64_t at);
ssize_t pwrite_full(int fd, const void *buf, size_t n, uint64_t at);

#endif
