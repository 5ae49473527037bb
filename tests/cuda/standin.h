/* SPDX-License-Identifier: MIT */
/*
 * standin.h - a stand-in for what NVIDIA's driver keeps of a CUDA task, written from its public
 * documentation alone: it shows that our side of the conversation is right, not NVIDIA's.
 *
 * In the task (libcuda.c): a page at STANDIN_AT, device memory behind it, a restore thread that
 * does what the page asks for. Outside (libcuda.c again, program.c): standin_ask writes the
 * request into the page and waits for that thread, without end when it may not run.
 *
 * STANDIN_SCRIPT="lock:2:fail,checkpoint:1:hang": what becomes of the n-th call of a deed.
 * STANDIN_LOG: a file with a line for each call, by which they are counted.
 */
#ifndef TESTS_CUDA_STANDIN_H
#define TESTS_CUDA_STANDIN_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define STANDIN_AT 0x5cda00000000ul
#define STANDIN_MEMORY (STANDIN_AT + 0x10000)	/* of the device */
#define STANDIN_SIZE 0x10000ul
#define STANDIN_MAGIC 0x61647563646e6174ull

/* Values of CUresult that matter here. */
enum {
	OK = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, ILLEGAL_STATE = 401, NOT_READY = 600,
	UNKNOWN = 999,
};
enum { RUNNING, LOCKED, CHECKPOINTED, FAILED };
/* BREAK is scripted: the driver gives up. */
enum { LOCK, CHECKPOINT, RESTORE, UNLOCK, BREAK, NDEEDS };

struct standin {
	uint64_t magic;
	uint32_t state;
	int32_t tid;
	uint32_t request, done;		/* the thread works while they differ */
	uint32_t deed, timeout_ms;
	int32_t result;
	uint32_t locked;		/* calls of the API wait */
	uint32_t in_call;
	int32_t devices[3];		/* descriptors; -1: closed */
	uint8_t *saved;			/* device memory, in the host's */
};

static const char *const standin_deeds[NDEEDS] = { "lock", "checkpoint", "restore", "unlock",
						   "break" };
static const char *const standin_states[] = { "running", "locked", "checkpointed", "failed" };

static inline int standin_read(pid_t pid, struct standin *s)
{
	struct iovec to = { s, sizeof(*s) }, from = { (void *)STANDIN_AT, sizeof(*s) };

	if (process_vm_readv(pid, &to, 1, &from, 1, 0) != (ssize_t)sizeof(*s))
		return errno == ESRCH || errno == EPERM ? INVALID_VALUE : NOT_INITIALIZED;
	return s->magic == STANDIN_MAGIC ? OK : NOT_INITIALIZED;
}

/* Write the words from deed to timeout_ms, then the request. */
static inline int standin_ask(pid_t pid, unsigned deed, unsigned timeout_ms)
{
	struct standin s;
	struct iovec from = { &s.deed, 8 };
	struct iovec to = { (void *)(STANDIN_AT + offsetof(struct standin, deed)), 8 };
	int r = standin_read(pid, &s);

	if (r != OK)
		return r;
	s.deed = deed;
	s.timeout_ms = timeout_ms;
	if (process_vm_writev(pid, &from, 1, &to, 1, 0) != 8)
		return UNKNOWN;
	s.request++;
	from = (struct iovec){ &s.request, 4 };
	to = (struct iovec){ (void *)(STANDIN_AT + offsetof(struct standin, request)), 4 };
	if (process_vm_writev(pid, &from, 1, &to, 1, 0) != 4)
		return UNKNOWN;
	do {
		usleep(1000);
		r = standin_read(pid, &s);
	} while (r == OK && s.done != s.request);
	return r == OK ? s.result : r;
}

/* Count this call; what the script says of it, NULL: nothing. */
static inline const char *standin_scripted(const char *deed, pid_t pid)
{
	const char *path = getenv("STANDIN_LOG"), *script = getenv("STANDIN_SCRIPT");
	static char what[16];
	char line[64], word[32];
	int n = 0, fd = path ? open(path, O_RDWR | O_CREAT | O_APPEND, 0666) : -1;
	FILE *log = fd < 0 ? NULL : fdopen(fd, "a+");

	if (!log)
		return NULL;
	fprintf(log, "%s %d\n", deed, pid);
	fflush(log);
	rewind(log);
	while (fgets(line, sizeof(line), log))
		n += sscanf(line, "%31s", word) == 1 && !strcmp(word, deed);
	fclose(log);
	snprintf(line, sizeof(line), "%s:%d:", deed, n);
	for (; script; script = strchr(script, ',')) {
		script += *script == ',';
		if (!strncmp(script, line, strlen(line)) &&
		    sscanf(script + strlen(line), "%15[a-z]", what) == 1)
			return what;
	}
	return NULL;
}

/*
 * A deed as the script has it: fail (nothing done), late (done, but said to have failed), hang,
 * die, break.
 */
static inline int standin_act(pid_t pid, unsigned deed, unsigned timeout_ms)
{
	const char *what = standin_scripted(standin_deeds[deed], pid);
	int r;

	if (what && !strcmp(what, "fail"))
		return UNKNOWN;
	if (what && !strcmp(what, "die"))
		abort();
	while (what && !strcmp(what, "hang"))
		pause();
	if (what && !strcmp(what, "break"))
		return standin_ask(pid, BREAK, 0), UNKNOWN;
	r = standin_ask(pid, deed, timeout_ms);
	return r == OK && what && !strcmp(what, "late") ? UNKNOWN : r;
}

#endif
