/* SPDX-License-Identifier: MIT */
/*
 * cuda_test.c - CUDA tasks from lock to unlock, what is found and refused.
 */
#include "workers/gpu/nvidia/cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "tests/world/cuda_scene.h"
#include "workers/common/sandbox.h"
#include "workers/gpu/nvidia/held.h"

static void test_cycle(void)
{
	struct scene s;
	pid_t tid;
	size_t i;

	scene_begin(&s, "");
	for (i = 0; i < TASKS; i++)
		if (!CHECK(cuda_judge(s.cuda, s.pid[i], "x", &s.f) == 1))
			fprintf(stderr, "said: %s\n", s.f.text);
	CHECK(scene_for_all(&s, cuda_pause) == TASKS);
	for (i = 0; i < TASKS; i++) {
		CHECK(scene_stands(s.pid[i]));
		CHECK(cuda_helper(s.cuda, s.pid[i], &tid, &s.f) == 1 && tid > s.pid[i]);
		CHECK(held_by(s.pid[i], &s.f) == (HELD_DEVICE | HELD_LIBRARY));
	}
	CHECK(scene_for_all(&s, cuda_checkpoint) == TASKS);
	for (i = 0; i < TASKS; i++)
		CHECK(held_by(s.pid[i], &s.f) == HELD_LIBRARY);
	CHECK(cuda_end(s.cuda, true));
	CHECK(scene_calls("restore") == TASKS && scene_calls("unlock") == TASKS);
	scene_finish(&s, true);
}

static void test_restore(void)
{
	struct scene s;
	struct cuda *dump;
	pid_t tid;
	size_t i;

	scene_begin(&s, "");
	CHECK(scene_for_all(&s, cuda_pause) == TASKS &&
	      scene_for_all(&s, cuda_checkpoint) == TASKS);
	dump = s.cuda;
	CHECK(!cuda_end(dump, false));
	s.cuda = cuda_new(&s.opts);
	CHECK(cuda_resume(s.cuda, s.pid[0], &s.f) == 0);	/* the images do not say so */
	CHECK(cuda_require(s.cuda, &s.f) == 0);
	for (i = 0; i < TASKS; i++)
		CHECK(cuda_helper(s.cuda, s.pid[i], &tid, &s.f) == 1 && tid > s.pid[i]);
	CHECK(scene_for_all(&s, cuda_resume) == TASKS);
	for (i = 0; i < TASKS; i++)
		CHECK(scene_works(s.pid[i]) && held_by(s.pid[i], &s.f) & HELD_DEVICE);
	cuda_free(dump);
	scene_finish(&s, true);
}

/* Tasks that die are nothing to put right. */
static void test_killed_tasks(void)
{
	struct scene s;
	size_t i;

	scene_begin(&s, "");
	CHECK(scene_for_all(&s, cuda_pause) == TASKS &&
	      scene_for_all(&s, cuda_checkpoint) == TASKS);
	CHECK(!cuda_end(s.cuda, false));	/* the keeper is armed */
	for (i = 0; i < TASKS; i++)
		kill(s.pid[i], SIGKILL);
	scene_finish(&s, false);
	CHECK(scene_calls("restore") == 0);
}

/* But if they are not killed after all, the keeper does. */
static void test_not_killed(void)
{
	struct scene s;

	scene_begin(&s, "");
	CHECK(scene_for_all(&s, cuda_pause) == TASKS &&
	      scene_for_all(&s, cuda_checkpoint) == TASKS);
	CHECK(!cuda_end(s.cuda, false));	/* the keeper is armed */
	scene_finish(&s, true);
	CHECK(scene_calls("restore") == TASKS);
}

/* Checkpointing is the work of the task's own restore thread: it hangs while that may not run. */
static void test_restore_thread(void)
{
	struct scene s;
	pid_t tid = 0;
	int status, i;

	scene_begin(&s, "");
	CHECK(scene_for_all(&s, cuda_pause) == TASKS);
	CHECK(cuda_helper(s.cuda, s.pid[0], &tid, &s.f) == 1);
	CHECK(ptrace(PTRACE_SEIZE, tid, NULL, NULL) == 0 &&
	      ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) == 0 &&
	      waitpid(tid, &status, __WALL) == tid);
	CHECK(scene_for_all(&s, cuda_checkpoint) == 0 && scene_says(&s, "no end after 1 s"));
	CHECK(scene_state(s.pid[0]) == LOCKED);
	CHECK(ptrace(PTRACE_DETACH, tid, NULL, NULL) == 0);
	for (i = 0; i < 1000 && scene_state(s.pid[0]) == LOCKED; i++)
		usleep(5000);		/* now it does what it was asked for */
	CHECK(scene_state(s.pid[0]) == CHECKPOINTED);
	CHECK(cuda_end(s.cuda, true));
	scene_finish(&s, true);
}

/* Who has locked or checkpointed a task before finds it so. */
static void test_found_so(void)
{
	struct scene s;
	pid_t tid;

	scene_begin(&s, "");
	CHECK(standin_ask(s.pid[0], LOCK, 0) == OK && standin_ask(s.pid[1], LOCK, 0) == OK &&
	      standin_ask(s.pid[1], CHECKPOINT, 0) == OK);
	CHECK(scene_for_all(&s, cuda_pause) == TASKS && scene_calls("lock") == 1);
	CHECK(cuda_helper(s.cuda, s.pid[0], &tid, &s.f) == 1);
	CHECK(cuda_helper(s.cuda, s.pid[1], &tid, &s.f) == 0);
	CHECK(scene_for_all(&s, cuda_checkpoint) == TASKS && scene_calls("checkpoint") == 2);
	CHECK(cuda_end(s.cuda, true));
	CHECK(scene_state(s.pid[0]) == LOCKED && scene_state(s.pid[1]) == CHECKPOINTED &&
	      scene_state(s.pid[2]) == RUNNING);
	CHECK(standin_ask(s.pid[1], RESTORE, 0) == OK && standin_ask(s.pid[1], UNLOCK, 0) == OK &&
	      standin_ask(s.pid[0], UNLOCK, 0) == OK);
	scene_finish(&s, true);
}

/* A task that has nothing of NVIDIA: no program is started, none is even looked for. */
static void test_other_task(void)
{
	Options o = OPTIONS__INIT;
	struct fault f = { 0 };
	struct cuda *c = cuda_new(&o);
	pid_t tid;

	setenv("STASIS_CUDA", "/nonexistent/cuda-checkpoint", 1);
	scene_script("");
	CHECK(cuda_pause(c, getpid(), &f) == 0 && cuda_helper(c, getpid(), &tid, &f) == 0 &&
	      cuda_checkpoint(c, getpid(), &f) == 0 && scene_calls("") == 0);
	cuda_free(c);
}

/* It has a device, but is none that the driver can checkpoint. */
static void test_device_alone(void)
{
	AUTO_FREE char *tool = scene_tool();
	AUTO_CLOSE int fd = open("/dev/nvidia0", O_RDWR | O_CLOEXEC);
	Options o = OPTIONS__INIT;
	struct fault f = { 0 }, g = { 0 };
	struct cuda *c = cuda_new(&o);

	setenv("STASIS_CUDA", tool, 1);
	CHECK(fd >= 0);
	CHECK(cuda_judge(c, getpid(), "task 1, descriptor 3", &f) == -1);
	CHECK(!strncmp(f.text, "task 1, descriptor 3: task ", 27) &&
	      strstr(f.text, "is no CUDA task"));
	CHECK(cuda_pause(c, getpid(), &g) == -1 && strstr(g.text, "is no CUDA task"));
	cuda_free(c);
}

/* No interface: said with the remedy; before a restore too. */
static void refused_without(const char *choice, const char *word)
{
	Options o = OPTIONS__INIT;
	struct fault f = { 0 }, g = { 0 };
	struct cuda *c = cuda_new(&o);
	AUTO_CLOSE int fd = open("/dev/nvidia0", O_RDWR | O_CLOEXEC);

	setenv("STASIS_CUDA", choice, 1);
	CHECK(fd >= 0);
	CHECK(cuda_pause(c, getpid(), &f) == -1 && strstr(f.text, word));
	CHECK(cuda_require(c, &g) == -1 && strstr(g.text, word));
	if (!strstr(f.text, word))
		fprintf(stderr, "said: %s\n", f.text);
	cuda_free(c);
}

static void test_no_tool(void)
{
	AUTO_FREE char *program = scene_part("cuda-checkpoint"), *lib = scene_part("libcuda.so.1");

	setenv("PATH", "/nonexistent", 1);
	refused_without("/nonexistent/cuda-checkpoint", "install driver 570");
	refused_without("/nonexistent/libcuda.so.1", "install driver 570");
	refused_without("program", "not in PATH");
	refused_without("maybe", "STASIS_CUDA=maybe");
	setenv("STANDIN_OLD", "1", 1);
	refused_without(program, "has no --action");
	unsetenv("STANDIN_OLD");
	setenv("STANDIN_VERSION", "12060", 1);
	refused_without(lib, "CUDA 12.6 is too old");
	unsetenv("STANDIN_VERSION");
}

/* Found in PATH. */
static void test_path(void)
{
	AUTO_FREE char *dir = scene_part("");
	AUTO_FREE char *path = xasprintf("relative:/nonexistent:%s:/usr/bin", dir);
	struct scene s;

	scene_begin(&s, "");
	setenv("STASIS_CUDA", "program", 1);
	setenv("PATH", path, 1);
	CHECK(scene_for_all(&s, cuda_pause) == TASKS && scene_calls("lock") == TASKS);
	CHECK(cuda_end(s.cuda, true));
	scene_finish(&s, true);
}

/* Left over after a checkpoint, or come after the lock. */
static void test_leftover(void)
{
	struct scene s;
	struct fault g = { 0 };

	scene_begin(&s, "");
	CHECK(cuda_pause(s.cuda, s.pid[0], &s.f) == 1);
	CHECK(cuda_leftover(s.cuda, s.pid[0], &s.f) == -1 && strstr(s.f.text, "NVML"));
	CHECK(cuda_leftover(s.cuda, s.pid[1], &g) == -1 && strstr(g.text, "try again"));
	CHECK(cuda_end(s.cuda, true));
	scene_finish(&s, true);
}

/* The worker's filter and capabilities let all this be. */
static void test_sandbox(void)
{
	static const cap_value_t caps[] = { CAP_SYS_PTRACE };
	struct scene s;
	int status;
	pid_t worker;

	scene_begin(&s, "");
	worker = fork();
	if (worker == 0) {
		if (sandbox_enter(caps, 1, true, &s.f) < 0 ||
		    scene_for_all(&s, cuda_pause) != TASKS ||
		    scene_for_all(&s, cuda_checkpoint) != TASKS || !cuda_end(s.cuda, true)) {
			fprintf(stderr, "said: %s\n", s.f.text);
			_exit(1);
		}
		_exit(0);
	}
	CHECK(waitpid(worker, &status, 0) == worker && status == 0);
	scene_finish(&s, true);
	/* And a worker that runs none may not. */
	worker = fork();
	if (worker == 0) {
		if (sandbox_enter(caps, 1, false, &s.f) < 0)
			_exit(2);
		execl("/bin/true", "true", (char *)NULL);
		_exit(errno == EPERM ? 0 : 1);
	}
	CHECK(waitpid(worker, &status, 0) == worker && status == 0);
}

static void run_by_each(void)
{
	check_run("locked, checkpointed, restored, unlocked", test_cycle);
	check_run("a restore resumes what was checkpointed", test_restore);
	check_run("a checkpoint needs the restore thread", test_restore_thread);
	check_run("a task is left in the state it was found in", test_found_so);
	check_run("a device without CUDA is refused", test_device_alone);
	check_run("all this is possible in the sandbox", test_sandbox);
}

static void run_once(void)
{
	check_run("tasks that are killed are not resumed", test_killed_tasks);
	check_run("tasks that were to be killed and live, are resumed", test_not_killed);
	check_run("other tasks cost no program", test_other_task);
	check_run("a device that is left over, is named", test_leftover);
	check_run("cuda-checkpoint is found in PATH", test_path);
	check_run("no interface is said with the remedy", test_no_tool);
}

int main(void)
{
	return scene_main(run_by_each, run_once);
}
