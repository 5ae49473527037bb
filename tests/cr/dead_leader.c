// SPDX-License-Identifier: MIT
/*
 * dead_leader.c - tasks whose main thread has exited while others live: one that runs, with a child
 * that would be killed should a thread of its parent exit, and one that is stopped. Both hold a
 * pty.
 */
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../case.h"

#define EXIT_CODE 7		/* of the last thread, which is the task's */
#define LEADER_CODE 3
#define CODE_FIELD 50		/* of /proc/PID/stat, counted from the one after the state */
#define TASKS 2

static struct shared {
	atomic_int ready;
	pid_t tids[TASKS][2];
} *shared;
static pid_t kids[TASKS];
static int number;			/* of this task */
static int ends[2];

static pid_t my_tid(void)
{
	return syscall(SYS_gettid);
}

/* The leader's state; *code when it is dead. */
static char leader_state(int *code)
{
	char path[64], state = '?';
	FILE *s;
	int i;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	s = fopen(path, "re");
	if (!s || fscanf(s, "%*d (%*[^)]) %c", &state) != 1)
		return '?';
	for (i = 1; i < CODE_FIELD - 1; i++)
		fscanf(s, "%*s");
	if (fscanf(s, "%d", code) != 1)
		*code = -1;
	fclose(s);
	return state;
}

static pid_t make_child(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	atomic_fetch_add(&shared->ready, 1);
	case_child_wait();
	int sig = 0;
	CHECK(prctl(PR_GET_PDEATHSIG, &sig) == 0 && sig == SIGKILL);
	_exit(0);
}

static void *second(void *arg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	CHECK(prctl(PR_SET_NAME, "second") == 0);
	shared->tids[number][1] = my_tid();
	atomic_fetch_add(&shared->ready, 1);
	case_child_wait();
	CHECK(pthread_sigmask(SIG_SETMASK, NULL, &set) == 0 && sigismember(&set, SIGUSR1));
	CHECK(my_tid() == shared->tids[number][1]);
	return arg;
}

/* The last to end. */
static void *first(void *arg)
{
	int master, slave;
	char path[64], byte;
	pid_t child;
	int code;

	while (leader_state(&code) != 'Z')
		case_sleep_ms(1);
	child = make_child();
	CHECK(pipe(ends) == 0 && write(ends[1], "x", 1) == 1);
	CHECK(openpty(&master, &slave, NULL, NULL, NULL) == 0);
	shared->tids[number][0] = my_tid();
	atomic_fetch_add(&shared->ready, 1);
	case_child_wait();
	CHECK(leader_state(&code) == 'Z' && code == LEADER_CODE << 8);
	CHECK(my_tid() == shared->tids[number][0]);
	CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x');
	CHECK(write(slave, "p", 1) == 1 && read(master, &byte, 1) == 1 && byte == 'p');
	case_child_ok(child);
	snprintf(path, sizeof(path), "/proc/self/task/%d", shared->tids[number][1]);
	while (access(path, F_OK) == 0)
		case_sleep_ms(1);
	syscall(SYS_exit, EXIT_CODE);
	return arg;
}

static void make_task(void)
{
	pthread_t thread;

	CHECK(prctl(PR_SET_NAME, "leader") == 0);
	CHECK(pthread_create(&thread, NULL, first, NULL) == 0);
	CHECK(pthread_create(&thread, NULL, second, NULL) == 0);
	syscall(SYS_exit, LEADER_CODE);
}

static void before(void)
{
	siginfo_t info;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	for (number = 0; number < TASKS; number++) {
		kids[number] = fork();
		if (kids[number] == 0)
			make_task();
	}
	while (atomic_load(&shared->ready) != 3 * TASKS)
		case_sleep_ms(1);
	CHECK(kill(kids[1], SIGSTOP) == 0);
	CHECK(waitid(P_PID, kids[1], &info, WSTOPPED | WNOWAIT) == 0);
}

static void check_name(pid_t pid)
{
	char path[64], name[32] = "";
	FILE *s;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	s = fopen(path, "re");
	CHECK(s && fgets(name, sizeof(name), s) && !strcmp(name, "leader\n"));
	if (s)
		fclose(s);
}

static void after(void)
{
	siginfo_t info = { 0 };
	int i, status;

	CHECK(waitid(P_PID, kids[1], &info, WSTOPPED) == 0 && info.si_status == SIGSTOP);
	case_release();
	case_sleep_ms(300);
	info.si_pid = 0;
	CHECK(waitid(P_PID, kids[1], &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0);
	CHECK(kill(kids[1], SIGCONT) == 0);
	for (i = 0; i < TASKS; i++) {
		check_name(kids[i]);
		CHECK(waitpid(kids[i], &status, 0) == kids[i]);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CODE);
	}
}

const struct test_case test_case = {
	.proves = "a task whose main thread is dead keeps it so, its other threads go on",
	.criu_fails = "CRIU 4.2 refuses tasks with a dead main thread",
	.before = before,
	.after = after,
};
