/* SPDX-License-Identifier: MIT */
/*
 * inject_target.c - a small busy program that notices when it is altered.
 *
 * Usage: inject_target LEAD KIND FD	(enum target_work, enum target_kind, the page's file)
 *
 * One thread of each kind of work; the main thread's is chosen. The first violation is noted in
 * the shared page, with its line, and ends the program.
 */
#include "tests/programs/inject_target.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif
#define MDWE_REFUSE_EXEC_GAIN 1
#define ROUNDS 20000
#define MUST(cond) must((cond), __LINE__, errno)

struct job_of {
	enum target_work work;
	int id;
};

static struct target_page *page;
static int fifo[2], quiet[2];

static void must(bool held, int line, long detail)
{
	if (held)
		return;
	page->detail = detail;
	page->wrong = line;
	_exit(3);
}

/* Every register holds a value of its own through a loop; 0 when one changed. */
static uint64_t compute_once(void)
{
	uint64_t ok;

	__asm__ volatile(
		"mov $0x1111, %%r8; mov $0x2222, %%r9; mov $0x3333, %%r10; mov $0x4444, %%r11\n"
		"mov $0x5555, %%r12; mov $0x6666, %%r13; mov $0x7777, %%r14; mov $0x8888, %%r15\n"
		"mov $0x9999, %%esi; mov $0xaaaa, %%edi; mov $0xbbbb, %%edx\n"
		"movq %%r8, %%xmm5; movq %%r9, %%xmm15; movq $0x1234567, -64(%%rsp)\n"
		"mov %[rounds], %%ecx\n"
		"1: stc; nop; jnc 9f; clc; nop; jc 9f; std; nop; cld\n"
		"mov %%rsi, %%rax; imul %%rdi, %%rax; dec %%ecx; jnz 1b\n"
		"cmp $0x1111, %%r8; jne 9f; cmp $0x2222, %%r9; jne 9f; cmp $0x3333, %%r10; jne 9f\n"
		"cmp $0x4444, %%r11; jne 9f; cmp $0x5555, %%r12; jne 9f\n"
		"cmp $0x6666, %%r13; jne 9f; cmp $0x7777, %%r14; jne 9f\n"
		"cmp $0x8888, %%r15; jne 9f; cmp $0x9999, %%rsi; jne 9f\n"
		"cmp $0xaaaa, %%rdi; jne 9f; cmp $0xbbbb, %%rdx; jne 9f\n"
		"cmpq $0x1234567, -64(%%rsp); jne 9f\n"
		"movq %%xmm5, %%rax; cmp %%rax, %%r8; jne 9f\n"
		"movq %%xmm15, %%rax; cmp %%rax, %%r9; jne 9f\n"
		"mov $1, %%eax; jmp 2f\n"
		"9: xor %%eax, %%eax\n"
		"2:\n"
		: "=a"(ok)
		: [rounds] "i"(ROUNDS)
		: "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
		  "xmm5", "xmm15", "cc", "memory");
	return ok;
}

/*
 * A restartable sequence that copies a counter and checks, at its end, that it was not left in the
 * middle: the abort handler is where it lands instead.
 */
static uint64_t rseq_once(struct rseq *area, uint64_t *aborted)
{
	uint64_t through = 0;

	__asm__ volatile(
		".pushsection __rseq_cs, \"aw\"\n"
		".balign 32\n"
		"3: .long 0, 0\n"
		".quad 1f, (2f - 1f), 4f\n"
		".popsection\n"
		"lea 3b(%%rip), %%rax\n"
		"mov %%rax, 8(%[area])\n"
		"1: mov $300, %%ecx\n"
		"5: dec %%ecx; jnz 5b\n"
		"movq $1, %[through]\n"
		"2: jmp 6f\n"
		".long 0x53053053\n"		/* the signature before an abort handler */
		"4: incq (%[aborted])\n"
		"6: movq $0, 8(%[area])\n"
		: [through] "+r"(through)
		: [area] "r"(area), [aborted] "r"(aborted)
		: "rax", "rcx", "memory", "cc");
	return through;
}

static void sleep_once(void)
{
	const struct timespec t = { .tv_nsec = 8000000 };

	MUST(nanosleep(&t, NULL) == 0);
}

static void poll_once(void)
{
	struct pollfd p = { .fd = quiet[0], .events = POLLIN };

	MUST(poll(&p, 1, 7) == 0);
}

static void futex_once(void)
{
	const struct timespec t = { .tv_nsec = 6000000 };
	uint32_t word = 0;

	MUST(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0) == -1 &&
	     errno == ETIMEDOUT);
}

static void calls_once(void)
{
	int i;

	for (i = 0; i < 1000; i++)
		MUST(syscall(SYS_getppid) > 0);
}

static void read_once(void)
{
	static unsigned char expected;		/* one thread only */
	unsigned char c;

	MUST(read(fifo[0], &c, 1) == 1 && c == expected);
	expected++;
}

static void rseq_many(void)
{
	struct rseq *area = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	uint64_t aborted = 0, i;

	if (!__rseq_size) {
		sleep_once();
		return;
	}
	for (i = 0; i < 1000; i++)
		if (!rseq_once(area, &aborted))
			MUST(aborted > 0);
}

static void work(enum target_work w, int id)
{
	static void (*const once[])(void) = {
		[WORK_SLEEP] = sleep_once, [WORK_POLL] = poll_once, [WORK_FUTEX] = futex_once,
		[WORK_CALLS] = calls_once, [WORK_READ] = read_once, [WORK_RSEQ] = rseq_many,
	};

	for (;;) {
		if (w == WORK_COMPUTE)
			MUST(compute_once());
		else
			once[w]();
		page->count[id]++;
	}
}

static void *thread(void *arg)
{
	const struct job_of *j = arg;

	work(j->work, j->id);
	return NULL;
}

static void on_signal(int signo)
{
	(void)signo;
	page->signals++;
}

/* Fills the pipe for WORK_READ until its parent is gone. */
static void feed(pid_t parent)
{
	unsigned char c = 0;

	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent && write(fifo[1], &c, 1) == 1) {
		c++;
		usleep(3000);
	}
	_exit(0);
}

static bool set_filter(bool strict)
{
	static const int known[] = {
		SYS_futex, SYS_futex_waitv, SYS_mmap, SYS_munmap, SYS_rt_sigprocmask,
		SYS_rt_sigreturn, SYS_sigaltstack, SYS_prctl, SYS_nanosleep, SYS_clock_nanosleep,
		SYS_poll, SYS_getppid, SYS_read, SYS_write, SYS_exit_group, SYS_restart_syscall,
		SYS_sched_yield,
	};
	struct sock_filter code[2 * (sizeof(known) / sizeof(known[0])) + 3];
	struct sock_fprog prog = { .filter = code };
	size_t i, n = 0;

	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, nr));
	for (i = 0; strict && i < sizeof(known) / sizeof(known[0]); i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, known[i], 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, strict ?
						 SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ALLOW);
	prog.len = n;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) == 0;
}

static bool become(enum target_kind kind)
{
	switch (kind) {
	case TARGET_PLAIN:
		return true;
	case TARGET_MDWE:
		return prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0;
	case TARGET_SECCOMP:
		return set_filter(false);
	case TARGET_STRICT:
		return set_filter(true);
	}
	return false;
}

static void run(enum target_work lead, enum target_kind kind)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	static struct job_of jobs[TARGET_THREADS];
	sigset_t set;
	pthread_t t;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	MUST(pipe(fifo) == 0 && pipe(quiet) == 0);
	sigaction(SIGRTMIN, &sa, NULL);
	if (lead == WORK_READ)
		feed(getpid());
	/*
	 * Signals go to the main thread: the others' sleeps have a right to end by EINTR otherwise.
	 */
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (i = 1; i < TARGET_THREADS; i++) {
		static const enum target_work works[TARGET_THREADS] = {
			0, WORK_SLEEP, WORK_COMPUTE, WORK_POLL, WORK_FUTEX, WORK_RSEQ,
		};

		jobs[i] = (struct job_of){ works[i], i };
		pthread_create(&t, NULL, thread, &jobs[i]);
	}
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	for (i = 1; i < TARGET_THREADS; i++)	/* a filter must not meet what starts a thread */
		while (!page->count[i])
			usleep(1000);
	page->ready = become(kind) ? 1 : 2;
	work(lead, 0);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[3]), 0);
	if (page == MAP_FAILED)
		return 2;
	run(atoi(argv[1]), atoi(argv[2]));
	return 1;
}
