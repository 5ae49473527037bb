// SPDX-License-Identifier: MIT
/* bits32.c - a child that is a 32-bit program is refused by name, and lives on. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "../case.h"

#define BASE 0x08048000u

struct program {
	Elf32_Ehdr e;
	Elf32_Phdr p;
	unsigned char code[9];		/* for (;;) pause(); */
} __attribute__((packed));

static void write_program(const char *path)
{
	static const struct program it = {
		.e = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC, .e_machine = EM_386, .e_version = EV_CURRENT,
			.e_entry = BASE + offsetof(struct program, code),
			.e_phoff = offsetof(struct program, p), .e_ehsize = sizeof(Elf32_Ehdr),
			.e_phentsize = sizeof(Elf32_Phdr), .e_phnum = 1,
		},
		.p = {
			.p_type = PT_LOAD, .p_vaddr = BASE, .p_filesz = sizeof(it),
			.p_memsz = sizeof(it), .p_flags = PF_R | PF_X, .p_align = 4096,
		},
		.code = { 0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7 },
	};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);

	CHECK(fd >= 0 && write(fd, &it, sizeof(it)) == sizeof(it) && close(fd) == 0);
}

static void before(void)
{
	int report[2], err = 0;

	write_program(case_path("a32"));
	CHECK(pipe2(report, O_CLOEXEC) == 0);
	if (fork() == 0) {
		execl(case_path("a32"), "a32", (char *)NULL);
		err = errno;
		CHECK(write(report[1], &err, sizeof(err)) == sizeof(err));
		_exit(1);
	}
	close(report[1]);
	if (read(report[0], &err, sizeof(err)) != 0)
		case_skip("this kernel runs no 32-bit programs");
	close(report[0]);
}

static void after(void)
{
}

const struct test_case test_case = {
	.proves = "a 32-bit program is refused by name",
	.later = "32-bit program: no register set of that form is in the images",
	.criu_fails = "it was built without support for them",
	.before = before,
	.after = after,
};
