/* SPDX-License-Identifier: MIT */
/*
 * fault.c - fill a struct fault; stop on a broken invariant.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "proto/control/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int fault(struct fault *f, int code, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	if (f->code)
		return -1;
	f->code = code < 0 ? -code : code;
	if (!f->code)
		f->code = -1;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	n = strlen(f->text);
	if (code > 0)
		snprintf(f->text + n, sizeof(f->text) - n, ": %s", strerror(code));
	return -1;
}

int fault_prefix(struct fault *f, const char *fmt, ...)
{
	char old[sizeof(f->text)];
	va_list ap;
	size_t n;

	memcpy(old, f->text, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	n = strlen(f->text);
	snprintf(f->text + n, sizeof(f->text) - n, ": %s", old);
	return -1;
}

noreturn void die(const char *fmt, ...)
{
	va_list ap;

	fputs("stasis: internal error: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}
