/* SPDX-License-Identifier: MIT */
/*
 * program.c - a stand-in for NVIDIA's cuda-checkpoint: see standin.h. Its command line is that of
 * driver 570; with STANDIN_OLD it is that of 550, which has no --action.
 */
#include "tests/cuda/standin.h"

static int usage(void)
{
	printf("A stand-in for the CUDA checkpoint and restore utility.\n--toggle --pid <pid>\n");
	if (!getenv("STANDIN_OLD"))
		printf("--get-state --pid <pid>\n--get-restore-tid --pid <pid>\n"
		       "--action lock | checkpoint | restore | unlock --pid <pid> [--timeout "
		       "<ms>]\n");
	return 0;
}

static int show(pid_t pid, int tid)
{
	struct standin s;

	standin_scripted(tid ? "tid" : "state", pid);
	if (standin_read(pid, &s) != OK) {
		fprintf(stderr, "Could not find a CUDA process with pid %d\n", pid);
		return 1;
	}
	if (tid)
		printf("%d\n", s.tid);
	else
		printf("%s\n", standin_states[s.state]);
	return 0;
}

static int act(const char *name, pid_t pid, unsigned timeout_ms)
{
	unsigned deed;
	int r;

	for (deed = LOCK; deed < BREAK && strcmp(name, standin_deeds[deed]); deed++)
		;
	r = deed < BREAK ? standin_act(pid, deed, timeout_ms) : INVALID_VALUE;
	if (r != OK)
		fprintf(stderr, "Could not %s on process ID %d: \"error %d\"\n", name, pid, r);
	return r != OK;
}

int main(int argc, char **argv)
{
	const char *action = NULL;
	unsigned timeout_ms = 0;
	int i, state = 0, tid = 0;
	pid_t pid = 0;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return usage();
		if (!strcmp(argv[i], "--get-state"))
			state = 1;
		else if (!strcmp(argv[i], "--get-restore-tid"))
			tid = 1;
		else if (i + 1 == argc)
			return 1;
		else if (!strcmp(argv[i], "--action"))
			action = argv[++i];
		else if (!strcmp(argv[i], "--pid"))
			pid = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--timeout"))
			timeout_ms = atoi(argv[++i]);
		else
			return 1;
	}
	if (pid <= 0 || state + tid + !!action != 1 ||
	    (timeout_ms && (!action || strcmp(action, "lock"))))
		return 1;
	return action ? act(action, pid, timeout_ms) : show(pid, tid);
}
