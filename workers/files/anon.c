/* SPDX-License-Identifier: MIT */
/*
 * anon.c - the fdinfo of kernel services. It is asked of our duplicate: nothing of it depends on
 * the task, and a row may want it after it has done something to the duplicate.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/files/anon.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "proto/control/util.h"

bool anon_is(const struct facts *x, const char *name)
{
	static const char prefix[] = "anon_inode:";

	return x->link && strncmp(x->link, prefix, sizeof(prefix) - 1) == 0 &&
	       strcmp(x->link + sizeof(prefix) - 1, name) == 0;
}

char *anon_info(const struct facts *x, struct fault *f)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int fd = -1;
	size_t len = 0, size = 0;
	char path[64], who[400];
	ssize_t n = 1;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", x->dup);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && n > 0) {
		if (len + 2048 > size) {
			size = (len + 2048) * 2;
			text = xrealloc(text, size, 1);
		}
		n = read(fd, text + len, size - len - 1);
		len += n > 0 ? n : 0;
		text[len] = '\0';
	}
	if (fd < 0 || n < 0) {
		fault(f, errno, "%s: read its fdinfo", facts_name(x, who, sizeof(who)));
		return NULL;
	}
	return take_ptr(&text);
}

const char *anon_field(const char *info, const char *key)
{
	const size_t n = strlen(key);

	while (info && *info) {
		if (strncmp(info, key, n) == 0 && info[n] == ':')
			return info + n + 1 + strspn(info + n + 1, " \t");
		info = strchr(info, '\n');
		info += info ? 1 : 0;
	}
	return NULL;
}

int anon_unknown(const struct facts *x, const char *what, struct fault *f)
{
	char who[400];

	return fault(f, -EPROTO, "%s: fdinfo does not tell its %s in the form expected",
		     facts_name(x, who, sizeof(who)), what);
}
