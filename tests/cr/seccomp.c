// SPDX-License-Identifier: MIT
/* seccomp.c - a filter in one thread only, and no_new_privs. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

static pthread_t thread;
static volatile int ready, go_on;

/* getppid fails with EDOM. */
static void install(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0);
}

static void *body(void *arg)
{
	(void)arg;
	install();
	CHECK(syscall(SYS_getppid) < 0 && errno == EDOM);
	ready = 1;
	while (!go_on)
		case_sleep_ms(5);
	CHECK(syscall(SYS_getppid) < 0 && errno == EDOM);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	return NULL;
}

static void before(void)
{
	CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
	while (!ready)
		case_sleep_ms(5);
}

static void after(void)
{
	CHECK(syscall(SYS_getppid) >= 0);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
	go_on = 1;
	CHECK(pthread_join(thread, NULL) == 0);
}

const struct test_case test_case = {
	.proves = "a seccomp filter and no_new_privs stay with the thread that has them",
	.before = before,
	.after = after,
};
