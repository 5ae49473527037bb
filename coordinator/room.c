/* SPDX-License-Identifier: MIT */
/*
 * room.c - where in a task the self-restoring stub can lie.
 *
 * It must be memory that is executable, there before the agent and after it, and that no thread of
 * the task will ever run or read. The unused end of the vDSO is such a place. A task may have no
 * vDSO (vdso=0, or it unmapped it): then the last page of an ELF file's code will do, behind
 * the last byte that the file's headers say belongs to it. Linkers leave zeros there; the mapping
 * is private, so what is written stays in this task.
 *
 * Dump:     before the agent goes in.
 * Rights:   CAP_SYS_PTRACE; CAP_CHECKPOINT_RESTORE for /proc/PID/map_files.
 * Holds:    nothing.
 */
#include "coordinator/room.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/procfs.h"

#define VDSO_ROOM_MIN 512	/* the leader's stub and the code for guests */
#define TAIL_MIN 320		/* the leader's stub alone: a task of one thread needs no more */
#define HEADERS_MAX 64

/* The end of what an ELF image in memory describes; 0 when it is none. */
static uint64_t image_end(const uint8_t *image, uint64_t size)
{
	const Elf64_Ehdr *e = (const void *)image;
	const Elf64_Phdr *ph = (const void *)(image + e->e_phoff);
	uint64_t end = e->e_shoff + (uint64_t)e->e_shnum * e->e_shentsize;
	int i;

	if (memcmp(e->e_ident, ELFMAG, SELFMAG) || e->e_phentsize != sizeof(*ph) ||
	    e->e_phoff > size || e->e_phnum > (size - e->e_phoff) / sizeof(*ph) ||
	    e->e_shoff > size)
		return 0;
	for (i = 0; i < e->e_phnum; i++)
		if (ph[i].p_offset + ph[i].p_filesz > end)
			end = ph[i].p_offset + ph[i].p_filesz;
	return end < size ? (end + 15) & ~15ull : 0;
}

/* Is room[0..size) unused? Notes a killed stasis' region. */
static bool is_unused(const uint8_t *bytes, uint64_t size, struct stub_room *room)
{
	struct stub_mark m;
	uint64_t i;

	room->old_region = room->old_size = 0;
	if (size < sizeof(m))
		return false;
	memcpy(&m, bytes, sizeof(m));
	if (m.magic == STUB_MAGIC) {
		room->old_region = m.region;
		room->old_size = m.size;
		return true;
	}
	for (i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

static bool find_in_vdso(int mem, uint64_t vdso, uint64_t vdso_end, struct stub_room *room)
{
	uint64_t size = vdso_end - vdso, end;
	uint8_t image[STUB_ROOM_MAX];

	if (vdso_end <= vdso || size > sizeof(image) || size < sizeof(Elf64_Ehdr) ||
	    pread(mem, image, size, vdso) != (ssize_t)size)
		return false;
	end = image_end(image, size);
	if (!end || size - end < VDSO_ROOM_MIN || !is_unused(image + end, size - end, room))
		return false;
	room->start = vdso + end;
	room->end = vdso_end;
	return true;
}

/* ---- without a vDSO ---- */

struct tails {
	struct stub_room *tail;
	size_t n, cap;
};

/* The end in the file of the code segment that has the file's byte `last`; 0: none. */
static uint64_t code_end(int fd, uint64_t last)
{
	Elf64_Phdr ph[HEADERS_MAX];
	ssize_t size;
	Elf64_Ehdr e;
	int i;

	if (pread(fd, &e, sizeof(e), 0) != sizeof(e) || memcmp(e.e_ident, ELFMAG, SELFMAG) ||
	    e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_phentsize != sizeof(ph[0]) ||
	    e.e_phnum > HEADERS_MAX)
		return 0;
	size = e.e_phnum * sizeof(ph[0]);
	if (pread(fd, ph, size, e.e_phoff) != size)
		return 0;
	for (i = 0; i < e.e_phnum; i++)
		if (ph[i].p_type == PT_LOAD && (ph[i].p_flags & (PF_X | PF_W)) == PF_X &&
		    ph[i].p_memsz == ph[i].p_filesz && ph[i].p_offset <= last &&
		    last - ph[i].p_offset < ph[i].p_filesz)
			return ph[i].p_offset + ph[i].p_filesz;
	return 0;
}

/* One line of maps: does the mapping end with the last page of a file's code? */
static void add_tail(pid_t pid, const char *line, struct tails *all)
{
	uint64_t start, end, offset, used;
	AUTO_CLOSE int fd = -1;
	char path[80], perms[5];
	struct stub_room *t;
	int name = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*u %n", &start, &end, perms,
		   &offset, &name) < 4 || strcmp(perms, "r-xp") || !name || line[name] != '/')
		return;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, pid, start, end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	offset += end - start;			/* behind the last page */
	used = code_end(fd, offset - STASIS_PAGE);
	used = (used + 15) & ~15ull;
	/* A made-up header may say anything: the room is in the last page. */
	if (used > offset || offset - used < TAIL_MIN || offset - used >= STASIS_PAGE)
		return;
	t = grow(&all->tail, all->n++, &all->cap, sizeof(*t));
	*t = (struct stub_room){ .start = end - (offset - used), .end = end };
}

static int by_size(const void *a, const void *b)
{
	const struct stub_room *x = a, *y = b;
	uint64_t xs = x->end - x->start, ys = y->end - y->start;

	return xs > ys ? -1 : xs < ys;
}

/*
 * The largest that is unused. The order follows from the files alone, so a second stasis finds it.
 */
static bool find_in_code(pid_t pid, int mem, char *maps, struct stub_room *room)
{
	struct tails all = { 0 };
	char *line, *save = NULL;
	uint8_t bytes[4096];
	bool found = false;
	size_t i;

	for (line = strtok_r(maps, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		add_tail(pid, line, &all);
	if (all.n)
		qsort(all.tail, all.n, sizeof(*all.tail), by_size);
	for (i = 0; i < all.n && !found; i++) {
		uint64_t size = all.tail[i].end - all.tail[i].start;

		*room = all.tail[i];
		found = pread(mem, bytes, size, room->start) == (ssize_t)size &&
			is_unused(bytes, size, room);
	}
	free(all.tail);
	return found;
}

int room_find(pid_t pid, int mem, uint64_t vdso, uint64_t vdso_end, struct stub_room *room,
	      struct fault *f)
{
	AUTO_FREE char *maps = NULL;

	memset(room, 0, sizeof(*room));
	if (vdso && find_in_vdso(mem, vdso, vdso_end, room))
		return 0;
	maps = procfs_read(pid, 0, "maps", NULL, f);
	if (!maps)
		return -1;
	if (find_in_code(pid, mem, maps, room))
		return 0;
	return fault(f, -ENOTSUP, "task %d %s, and no page of its programs and libraries has %d "
		     "unused bytes behind its code: its agent has nowhere to start", pid,
		     vdso ? "has a vDSO with too little room" : "has no vDSO (vdso=0, or unmapped)",
		     TAIL_MIN);
}
