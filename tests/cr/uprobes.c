// SPDX-License-Identifier: MIT
/*
 * uprobes.c - a task whose code has an active uprobe: the kernel has put a breakpoint into its
 * code, and an area of its own, [uprobes], beside it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static volatile int probed_calls;

/* Its first instruction is one the kernel runs out of line. */
static __attribute__((noinline)) void probed(void)
{
	__asm__ volatile("mov %0, %%eax\n\tinc %%eax\n\tmov %%eax, %0"
			 : "+m"(probed_calls) : : "eax");
}

static void (*volatile call_probed)(void) = probed;

/* The offset of an address in the file that is mapped there. */
static unsigned long file_offset(unsigned long at)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long start, end, pgoff, found = 0;
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &pgoff) == 3 && start <= at &&
		    at < end)
			found = at - start + pgoff;
	if (f)
		fclose(f);
	return found;
}

static bool has_area(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	bool found = false;
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		found |= strstr(line, "[uprobes]") != NULL;
	if (f)
		fclose(f);
	return found;
}

static int tell(const char *name, const char *text)
{
	int fd = open(case_path(name), O_WRONLY | O_APPEND | O_CLOEXEC);
	int r = fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ? -1 : 0;

	if (fd >= 0)
		close(fd);
	return r;
}

/* The machine has one list of probes: a name that no suite beside us has. */
static const char *group_name(void)
{
	static char name[40];
	struct stat st = { 0 };

	if (!*name && CHECK(stat("/proc/self/ns/mnt", &st) == 0))
		snprintf(name, sizeof(name), "stasis_case_%lu", (unsigned long)st.st_ino);
	return name;
}

static int enable_probe(bool on)
{
	char path[100];

	snprintf(path, sizeof(path), "trace/events/%s/probe/enable", group_name());
	return tell(path, on ? "1" : "0");
}

static void end_probe(void)
{
	char text[100];

	enable_probe(false);
	snprintf(text, sizeof(text), "-:%s/probe\n", group_name());
	tell("trace/uprobe_events", text);
}

static void before(void)
{
	char exe[512], text[700];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	CHECK(n > 0 && mkdir(case_path("trace"), 0755) == 0);
	exe[n > 0 ? n : 0] = '\0';
	if (mount("none", case_path("trace"), "tracefs", 0, NULL) < 0)
		case_skip("no tracefs");
	end_probe();			/* of a run that was killed */
	snprintf(text, sizeof(text), "p:%s/probe %s:0x%lx\n", group_name(), exe,
		 file_offset((unsigned long)probed));
	if (tell("trace/uprobe_events", text) < 0) {
		umount2(case_path("trace"), MNT_DETACH);
		case_skip("no uprobes");
	}
	CHECK(enable_probe(true) == 0);
	call_probed();
	CHECK(probed_calls == 1 && has_area());
}

static void after(void)
{
	call_probed();
	CHECK(probed_calls == 2 && has_area());
	end_probe();
	CHECK(umount2(case_path("trace"), MNT_DETACH) == 0);
	call_probed();
	CHECK(probed_calls == 3);
}

const struct test_case test_case = {
	.proves = "a task with an active uprobe comes back with it",
	.options = "--allow-uprobes",
	.needs_root = true,
	.before = before,
	.after = after,
};
