// SPDX-License-Identifier: MIT
/* zombies.c - dead children not waited for, a stopped child, a zombie's status. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../case.h"

static pid_t exited, killed, stopped;

static pid_t child(int code)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (code < 0)
			for (;;)
				case_sleep_ms(1000);
		exit(code);
	}
	CHECK(pid > 0);
	return pid;
}

static void before(void)
{
	siginfo_t info;

	exited = child(42);
	killed = child(-1);
	stopped = child(-1);
	CHECK(kill(killed, SIGTERM) == 0 && kill(stopped, SIGSTOP) == 0);
	CHECK(waitid(P_PID, exited, &info, WEXITED | WNOWAIT) == 0);
	CHECK(waitid(P_PID, killed, &info, WEXITED | WNOWAIT) == 0);
	CHECK(waitid(P_PID, stopped, &info, WSTOPPED | WNOWAIT) == 0);
}

static void after(void)
{
	siginfo_t info = { 0 };
	int status;

	CHECK(waitid(P_PID, exited, &info, WEXITED | WNOWAIT | WNOHANG) == 0 &&
	      info.si_pid == exited && info.si_code == CLD_EXITED && info.si_status == 42);
	CHECK(waitpid(exited, &status, WNOHANG) == exited);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	CHECK(waitpid(killed, &status, WNOHANG) == killed);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	CHECK(waitpid(stopped, &status, WUNTRACED | WNOHANG) == stopped);
	CHECK(WIFSTOPPED(status));
	CHECK(kill(stopped, SIGCONT) == 0 && kill(stopped, SIGKILL) == 0);
	CHECK(waitpid(stopped, &status, 0) == stopped && WTERMSIG(status) == SIGKILL);
}

const struct test_case test_case = {
	.proves = "zombies keep their status and a stopped child stays stopped",
	.before = before,
	.after = after,
};
