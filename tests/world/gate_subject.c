/* SPDX-License-Identifier: MIT */
/*
 * gate_subject.c - a task for the agent: a cloned child that keeps nothing but the region and runs
 * the blob in GATE_MODE_RESTORE.
 *
 * Rights:   none.
 * Holds:    the task until it is stopped.
 */
#include "tests/world/gate_subject.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/check.h"

double gate_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* In the child: map the region, block signals, become the agent. */
static noreturn void become_agent(int memory, size_t size)
{
	uint64_t all = ~0ull;
	void *map;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	map = mmap((void *)SUBJECT_BASE, size, PROT_READ | PROT_WRITE | PROT_EXEC,
		   MAP_SHARED | MAP_FIXED_NOREPLACE, memory, 0);
	if (map != (void *)SUBJECT_BASE)
		_exit(99);
	close_range(3, ~0u, 0);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
	__asm__ volatile("jmp *%0" : : "r"(SUBJECT_BASE), "b"(SUBJECT_BASE + GATE_BLOB_SIZE) :
			 "memory");
	__builtin_unreachable();
}

void gate_subject_start(struct subject *s, uint32_t threads, uint64_t arena)
{
	struct gate_place place = { .base = SUBJECT_BASE, .nmailboxes = threads };

	memset(s, 0, sizeof(*s));
	place.size = gate_region_size(threads, arena);
	s->memory = memfd_create("gate", MFD_CLOEXEC);
	if (ftruncate(s->memory, 2 * place.size) < 0)
		die("memfd");
	s->gate = gate_open(s->memory, &place, true, GATE_MODE_RESTORE, &s->f);
	s->pid = fork();
	if (!s->pid)
		become_agent(s->memory, place.size);
	gate_close(s->gate);
	place.pid = s->pid;
	s->gate = gate_open(s->memory, &place, false, GATE_MODE_RESTORE, &s->f);
	CHECK(s->gate && !gate_wait_ready(s->gate, 0, 5000, &s->f));
}

void gate_subject_stop(struct subject *s)
{
	if (s->f.code)
		fprintf(stderr, "fault: %s\n", s->f.text);
	gate_close(s->gate);
	close(s->memory);
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
}
