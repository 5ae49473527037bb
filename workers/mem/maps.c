/* SPDX-License-Identifier: MIT */
/*
 * maps.c - read /proc/PID/smaps.
 *
 * maps has no VmFlags and PROCMAP_QUERY does not tell them either, so smaps is read although
 * the kernel walks page tables for its sums: 10 ms per GiB of small pages (measured), 0.4 ms
 * for a minimal process. Looked at are the first line, Rss, Shared_*,
 * ProtectionKey and VmFlags.
 *
 * Rights:   CAP_SYS_PTRACE over the task.
 * Holds:    nothing.
 */
#include "workers/mem/maps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/common/procfs.h"

static const struct {
	char code[3];
	uint32_t flag;
} vm_flags[] = {
	{ "gd", MAPF_GROWSDOWN },  { "lo", MAPF_LOCKED },	{ "nr", MAPF_NORESERVE },
	{ "ht", MAPF_HUGETLB },	   { "dp", MAPF_DROPPABLE },	{ "sr", MAPF_SEQUENTIAL },
	{ "rr", MAPF_RANDOM },	   { "dc", MAPF_DONTFORK },	{ "dd", MAPF_DONTDUMP },
	{ "mg", MAPF_MERGEABLE },  { "hg", MAPF_HUGEPAGE },	{ "nh", MAPF_NOHUGEPAGE },
	{ "wf", MAPF_WIPEONFORK }, { "io", MAPF_IO },		{ "pf", MAPF_IO },
	{ "ss", MAPF_SHADOW_STACK }, { "um", MAPF_UFFD },	{ "uw", MAPF_UFFD },
	{ "ui", MAPF_UFFD },	   { "sl", MAPF_SEALED },
	{ "sf", MAPF_SYNC },
	{ "mw", MAPF_MAYWRITE },
};

static uint32_t parse_vm_flags(const char *s)
{
	uint32_t flags = 0;
	size_t i;

	for (; *s; s++) {
		if (*s == ' ' || !s[1])
			continue;
		for (i = 0; i < ARRAY_LEN(vm_flags); i++)
			if (!memcmp(s, vm_flags[i].code, 2))
				flags |= vm_flags[i].flag;
		s++;
	}
	return flags;
}

/* A number up to the byte `stop`, which is stepped over. Returns false on anything else. */
static bool parse_number(char **p, int base, char stop, uint64_t *value)
{
	char *end;

	*value = strtoull(*p, &end, base);
	if (end == *p || *end != stop)
		return false;
	*p = end + 1;
	return true;
}

/* "START-END rwxp PGOFF MAJOR:MINOR INO    NAME" */
static bool parse_head(char *p, struct map *m)
{
	uint64_t major, minor;

	if (!parse_number(&p, 16, '-', &m->start) || !parse_number(&p, 16, ' ', &m->end) ||
	    strnlen(p, 5) < 5)
		return false;
	m->prot = (p[0] == 'r' ? PROT_READ : 0) | (p[1] == 'w' ? PROT_WRITE : 0) |
		  (p[2] == 'x' ? PROT_EXEC : 0);
	m->shared = p[3] == 's';
	p += 5;
	if (!parse_number(&p, 16, ' ', &m->pgoff) || !parse_number(&p, 16, ':', &major) ||
	    !parse_number(&p, 16, ' ', &minor))
		return false;
	m->ino = strtoull(p, &p, 10);
	m->dev = makedev(major, minor);
	m->name = p + strspn(p, " ");
	return m->start < m->end;
}

/* Head lines begin with a lower-case hexadecimal digit, all others with a capital. */
static int parse_line(char *line, struct maps *maps, struct fault *f)
{
	struct map *m = maps->n ? &maps->map[maps->n - 1] : NULL;

	if (*line < 'A' || *line > 'Z') {
		m = grow(&maps->map, maps->n++, &maps->cap, sizeof(*m));
		m->alone = true;
		if (!parse_head(line, m))
			return fault(f, -EPROTO, "cannot understand the smaps line \"%s\"", line);
	} else if (m && line[0] == 'V' && !strncmp(line, "VmFlags:", 8)) {
		m->flags = parse_vm_flags(line + 8);
	} else if (m && line[0] == 'S' && !strncmp(line, "Shared_", 7)) {
		if (strtoul(line + strcspn(line, " "), NULL, 10))
			m->alone = false;
	} else if (m && line[0] == 'R' && !strncmp(line, "Rss:", 4)) {
		m->resident = strtoul(line + 4, NULL, 10) << 10;
	} else if (m && line[0] == 'P' && !strncmp(line, "ProtectionKey:", 14)) {
		m->pkey = strtoul(line + 14, NULL, 10);
	}
	return 0;
}

int maps_parse(char *text, struct maps *maps, struct fault *f)
{
	char *line, *end;

	*maps = (struct maps){ .text = text };
	for (line = text; *line; line = end + 1) {
		end = strchrnul(line, '\n');
		if (!*end)
			return fault(f, -EPROTO, "smaps ends inside a line");
		*end = '\0';
		if (parse_line(line, maps, f) < 0)
			return -1;
	}
	return 0;
}

static int read_file(pid_t pid, const char *name, struct maps *maps, struct fault *f)
{
	char *text = procfs_read(pid, 0, name, NULL, f);

	*maps = (struct maps){ 0 };
	if (!text)
		return -1;
	if (maps_parse(text, maps, f) < 0)
		return fault_prefix(f, "task %d", pid);
	return 0;
}

int maps_read(pid_t pid, struct maps *maps, struct fault *f)
{
	return read_file(pid, "smaps", maps, f);
}

int maps_read_names(pid_t pid, struct maps *maps, struct fault *f)
{
	return read_file(pid, "maps", maps, f);
}

void maps_free(struct maps *maps)
{
	free(maps->map);
	free(maps->text);
	*maps = (struct maps){ 0 };
}
