// SPDX-License-Identifier: MIT
/*
 * tree.c - many tasks with many threads, each of which knows who it is.
 *
 *   tree [-p PROCESSES] [-t THREADS] DIR       defaults 100 and 10
 *
 * The first task makes the others: every tenth leads a session of its own, the
 * nine after it are its children (in two groups). Each thread remembers pid,
 * parent, tid, session and group, and 64 KiB of memory with a pattern. When
 * DIR/ready exists all are in place. When DIR/go exists, each thread checks
 * all of that; a task with a fault writes one line to DIR/failures. The first
 * task collects the others and writes DIR/result: "ok N tasks N threads".
 *
 * Alone:  mkdir /tmp/d; build/tests/programs/tree /tmp/d &
 *         sleep 1; touch /tmp/d/go; sleep 1; cat /tmp/d/result
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GROUP = 10, MEMORY = 64 * 1024 };

struct identity {
	pid_t pid, parent, tid, session, group;
};

struct shared {				/* counts, in memory all tasks share */
	int threads_ready;
	int threads_ok;
};

static struct shared *shared;
static const char *dir;
static int nthreads = 10;

static void nap(void)
{
	struct timespec t = { 0, 5000000 };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static int exists(const char *name)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static void write_line(const char *name, const char *line)
{
	char path[600];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		perror(path);
	if (fd >= 0)
		close(fd);
}

static struct identity who_am_i(void)
{
	return (struct identity){ getpid(), getppid(), gettid(), getsid(0), getpgid(0) };
}

static unsigned char pattern(pid_t tid, int i)
{
	return tid * 31 + i * 7 + i / 4096;
}

/* What every thread of every task does. */
static void *guard(void *arg)
{
	struct identity then = who_am_i(), now;
	unsigned char *memory = malloc(MEMORY);
	char line[300];
	int bad = 0;

	(void)arg;
	for (int i = 0; i < MEMORY; i++)
		memory[i] = pattern(then.tid, i);
	__atomic_fetch_add(&shared->threads_ready, 1, __ATOMIC_SEQ_CST);
	while (!exists("go"))
		nap();
	now = who_am_i();
	for (int i = 0; i < MEMORY; i++)
		bad += memory[i] != pattern(then.tid, i);
	if (memcmp(&now, &then, sizeof(now)) || bad) {
		snprintf(line, sizeof(line),
			 "pid %d parent %d tid %d session %d group %d became %d %d %d %d %d; "
			 "%d bytes changed\n",
			 then.pid, then.parent, then.tid, then.session, then.group, now.pid,
			 now.parent, now.tid, now.session, now.group, bad);
		write_line("failures", line);
	} else {
		__atomic_fetch_add(&shared->threads_ok, 1, __ATOMIC_SEQ_CST);
	}
	free(memory);
	return NULL;
}

/* Run the other threads of this task and its own part. */
static void guard_all(void)
{
	pthread_t *threads = calloc(nthreads, sizeof(*threads));

	for (int i = 1; i < nthreads; i++) {
		if (pthread_create(&threads[i], NULL, guard, NULL) != 0) {
			write_line("failures", "pthread_create failed\n");
			exit(1);
		}
	}
	guard(NULL);
	for (int i = 1; i < nthreads; i++)
		pthread_join(threads[i], NULL);
	free(threads);
}

/* Nobody leaves before all have looked: an early exit changes parents. */
static void wait_for_others(int total)
{
	while (__atomic_load_n(&shared->threads_ok, __ATOMIC_SEQ_CST) < total &&
	       !exists("failures"))
		nap();
}

static void spawn_group(int members, int total)
{
	pid_t first = 0, pid;

	if (setsid() < 0)
		write_line("failures", "setsid failed\n");
	for (int i = 0; i < members; i++) {
		pid = fork();
		if (pid == 0) {
			if (i % 2 == 1)
				setpgid(0, first);
			else if (i == 0)
				setpgid(0, 0);
			guard_all();
			wait_for_others(total);
			exit(0);
		}
		if (i == 0) {
			first = pid;
			setpgid(first, first);
		}
	}
	guard_all();
	wait_for_others(total);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	exit(0);
}

int main(int argc, char **argv)
{
	int processes = 100, total, opt;
	char line[100];

	while ((opt = getopt(argc, argv, "p:t:")) != -1) {
		if (opt == 'p')
			processes = atoi(optarg);
		else if (opt == 't')
			nthreads = atoi(optarg);
		else
			return 2;
	}
	if (optind != argc - 1 || processes < 1 || nthreads < 1) {
		fprintf(stderr, "usage: %s [-p PROCESSES] [-t THREADS] DIR\n", argv[0]);
		return 2;
	}
	dir = argv[optind];
	total = processes * nthreads;
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int made = 1; made < processes; made += GROUP) {
		int members = processes - made < GROUP ? processes - made : GROUP;

		if (fork() == 0)
			spawn_group(members - 1, total);
	}
	/* a helper says when all are in place, and is gone (a zombie until the end) */
	if (fork() == 0) {
		while (__atomic_load_n(&shared->threads_ready, __ATOMIC_SEQ_CST) < total)
			nap();
		write_line("ready", "\n");
		exit(0);
	}
	guard_all();
	wait_for_others(total);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	snprintf(line, sizeof(line), "%s %d tasks %d threads\n",
		 exists("failures") || shared->threads_ok != total ? "failed" : "ok", processes,
		 shared->threads_ok);
	write_line("result", line);
	return 0;
}
