/* SPDX-License-Identifier: MIT */
/*
 * uprobes.c - dump: code with breakpoints of uprobes in it.
 *
 * The kernel writes a breakpoint into a copy of the page. Such a page must not be stored: where the
 * probe is active at the restore, the kernel writes it again when the file is mapped, but only into
 * a mapping that cannot be written to, as no mapping with stored pages begins; where it is
 * not, the breakpoint would kill the task.
 *
 * Rights:   CAP_SYS_PTRACE over the task; CAP_CHECKPOINT_RESTORE (map_files).
 * Holds:    nothing.
 */
#include "workers/mem/uprobes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/mem/vma.h"

#define BREAKPOINT 0xcc

static bool may_have_probes(const VmaEntry *e)
{
	return vma_is(e, VMA_FILE_PRIVATE) && (e->prot & PROT_EXEC) && !(e->prot & PROT_WRITE);
}

/* Is the page the file's, but for at least one breakpoint? */
static bool is_probed(int mem, int file, const VmaEntry *e, uint64_t page)
{
	uint8_t now[STASIS_PAGE], then[STASIS_PAGE] = { 0 };
	bool any = false;
	size_t i;

	if (pread(mem, now, sizeof(now), page) != sizeof(now) ||
	    pread(file, then, sizeof(then), e->pgoff + (page - e->start)) < 0)
		return false;
	for (i = 0; i < sizeof(now); i++) {
		if (now[i] == then[i])
			continue;
		if (now[i] != BREAKPOINT)
			return false;
		any = true;
	}
	return any;
}

static int open_file(const struct space *s, const VmaEntry *e, struct fault *f)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, s->pid, e->start,
		 e->end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? fault(f, errno, "open %s", path) : fd;
}

/* Pages of one run, which lies in one mapping. */
static int sift(const struct space *s, int mem, const VmaEntry *e, const struct run *run,
		struct runs *out, struct fault *f)
{
	AUTO_CLOSE int file = open_file(s, e, f);
	struct run one = *run;

	if (file < 0)
		return -1;
	for (one.start = run->start; one.start < run->end; one.start = one.end) {
		one.end = one.start + STASIS_PAGE;
		if (!is_probed(mem, file, e, one.start))
			runs_add(out, one);
	}
	return 0;
}

static int sift_all(const struct space *s, int mem, const struct runs *runs, struct runs *out,
		    struct fault *f)
{
	uint64_t at, end;
	size_t i, v = 0;

	for (i = 0; i < runs->n; i++) {
		/* Runs are in address order, and may reach across mappings. */
		for (at = runs->run[i].start; at < runs->run[i].end; at = end) {
			struct run part = runs->run[i];

			while (s->vma[v].e.end <= at)
				v++;
			end = s->vma[v].e.end < part.end ? s->vma[v].e.end : part.end;
			part.start = at;
			part.end = end;
			if (!may_have_probes(&s->vma[v].e))
				runs_add(out, part);
			else if (sift(s, mem, &s->vma[v].e, &part, out, f) < 0)
				return -1;
		}
	}
	return 0;
}

int uprobes_leave_out(const struct space *s, struct runs *runs, struct fault *f)
{
	AUTO_CLOSE int mem = -1;
	struct runs out = { 0 };
	char path[40];

	if (!s->probed)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/mem", s->pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	if (mem < 0)
		return fault(f, errno, "open %s", path);
	if (sift_all(s, mem, runs, &out, f) < 0) {
		free(out.run);
		return -1;
	}
	free(runs->run);
	*runs = out;
	return 0;
}
