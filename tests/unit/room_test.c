/* SPDX-License-Identifier: MIT */
/*
 * room_test.c - where the agent's code starts when there is no vDSO, in programs honest and not.
 */
#include "coordinator/room.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"

#define FILE_SIZE 0x10000

/*
 * A file whose only segment is code from offset on, mapped into ourselves. NULL: impossible here.
 */
static void *map_program(uint64_t offset, uint64_t size)
{
	AUTO_CLOSE int fd = memfd_create("program", MFD_CLOEXEC);
	Elf64_Ehdr e = { .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1, .e_phoff = sizeof(e) };
	Elf64_Phdr ph = { .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_offset = offset,
			  .p_filesz = size, .p_memsz = size };
	void *p;

	memcpy(e.e_ident, ELFMAG, SELFMAG);
	e.e_ident[EI_CLASS] = ELFCLASS64;
	if (ftruncate(fd, FILE_SIZE) < 0 || pwrite(fd, &e, sizeof(e), 0) != sizeof(e) ||
	    pwrite(fd, &ph, sizeof(ph), sizeof(e)) != sizeof(ph))
		return NULL;
	p = mmap(NULL, FILE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static void find_with(uint64_t offset, uint64_t size, bool good)
{
	AUTO_CLOSE int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	char *p = map_program(offset, size);
	struct stub_room room = { 0 };
	struct fault f = { 0 };
	uint64_t end = (uint64_t)p + FILE_SIZE;
	int r;

	if (mem < 0 || !p) {
		check_skip("no memory file can be mapped as code");
		return;
	}
	r = room_find(getpid(), mem, 0, 0, &room, &f);
	CHECK(r == 0 || f.code);
	CHECK(r < 0 || room.end - room.start < STASIS_PAGE);
	CHECK((r == 0 && room.end == end) == good);
	munmap(p, FILE_SIZE);
}

/* Nearly the whole last page: no other program has more. */
static void test_honest(void)
{
	find_with(0, FILE_SIZE - STASIS_PAGE + 16, true);
}

/* Sizes that wrap around, or end before the last page. */
static void test_made_up(void)
{
	find_with(0x1000, UINT64_MAX, false);
	find_with(0, UINT64_MAX, false);
	find_with(0x8000, -0x4000ull, false);
	find_with(0, 16, false);
	find_with(0, FILE_SIZE, false);
	find_with(UINT64_MAX, 16, false);
}

int main(void)
{
	check_run("the room is behind the code", test_honest);
	check_run("no header makes it larger than a page", test_made_up);
	return check_done();
}
