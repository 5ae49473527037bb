/* SPDX-License-Identifier: MIT */
/*
 * cuda_faults_test.c - CUDA tasks, and a deed that fails, hangs or is interrupted at every position
 * where it can.
 */
#include "workers/gpu/nvidia/cuda.h"

#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "tests/world/cuda_scene.h"

/* fail: nothing done; late: done all the same; die: the tool crashes. */
static void test_lock_fails(void)
{
	static const char *const scripts[] = { "lock:2:fail", "lock:2:late", "lock:2:die" };
	struct scene s;
	size_t i;

	for (i = 0; i < ARRAY_LEN(scripts); i++) {
		scene_begin(&s, scripts[i]);
		CHECK(scene_for_all(&s, cuda_pause) == 1);
		CHECK(scene_says(&s, "CUDA's lock"));
		CHECK(cuda_end(s.cuda, true));
		CHECK(scene_calls("lock") == 2 && scene_calls("unlock") == (i == 1 ? 2 : 1));
		scene_finish(&s, true);
	}
}

static void test_checkpoint_fails(void)
{
	static const char *const scripts[] = { "checkpoint:2:fail", "checkpoint:2:late",
					       "checkpoint:2:die", "checkpoint:2:hang" };
	struct scene s;
	size_t i;

	for (i = 0; i < ARRAY_LEN(scripts); i++) {
		scene_begin(&s, scripts[i]);
		CHECK(scene_for_all(&s, cuda_pause) == TASKS &&
		      scene_for_all(&s, cuda_checkpoint) == 1);
		CHECK(scene_says(&s, i == 3 ? "no end after 1 s" : "CUDA's checkpoint"));
		CHECK(cuda_end(s.cuda, true));
		CHECK(scene_calls("restore") == (i == 1 ? 2 : 1) && scene_calls("unlock") == TASKS);
		scene_finish(&s, true);
	}
}

/* What fails at the end is tried once more by the keeper. */
static void test_end_fails(void)
{
	static const char *const scripts[] = { "restore:2:fail", "restore:1:die", "unlock:3:fail",
					       "unlock:1:late" };
	struct scene s;
	size_t i;

	for (i = 0; i < ARRAY_LEN(scripts); i++) {
		scene_begin(&s, scripts[i]);
		CHECK(scene_for_all(&s, cuda_pause) == TASKS &&
		      scene_for_all(&s, cuda_checkpoint) == TASKS);
		CHECK(!cuda_end(s.cuda, true));
		scene_finish(&s, true);
	}
}

static void test_given_up(void)
{
	struct scene s;

	scene_begin(&s, "checkpoint:1:break");
	CHECK(scene_for_all(&s, cuda_pause) == TASKS && scene_for_all(&s, cuda_checkpoint) == 0);
	CHECK(!cuda_end(s.cuda, true));
	CHECK(scene_works(s.pid[1]) && scene_works(s.pid[2]) && scene_state(s.pid[0]) == FAILED);
	CHECK(cuda_judge(s.cuda, s.pid[0], "x", &s.f) == -1);
	scene_finish(&s, false);
}

/* Restore fails in the restored task: said, nothing else. */
static void test_resume_fails(void)
{
	struct scene s;
	struct cuda *dump;

	scene_begin(&s, "restore:2:fail");
	CHECK(scene_for_all(&s, cuda_pause) == TASKS &&
	      scene_for_all(&s, cuda_checkpoint) == TASKS);
	dump = s.cuda;
	s.cuda = cuda_new(&s.opts);
	CHECK(cuda_require(s.cuda, &s.f) == 0 && scene_for_all(&s, cuda_resume) == 1);
	CHECK(scene_says(&s, "CUDA's restore"));
	cuda_free(dump);
	scene_finish(&s, true);
}

/* A call of the API that takes longer than the time limit. */
static void test_lock_times_out(void)
{
	struct scene s;

	scene_begin(&s, "");
	scene_slow(&s);
	CHECK(scene_for_all(&s, cuda_pause) == 0 && scene_says(&s, "CUDA's lock"));
	CHECK(cuda_end(s.cuda, true) && scene_calls("unlock") == 0);
	scene_fast();
	scene_finish(&s, true);
}

static void test_tool_hangs(void)
{
	struct scene s;

	scene_begin(&s, "lock:2:hang");
	CHECK(scene_for_all(&s, cuda_pause) == 1 && scene_says(&s, "no end after 6 s"));
	CHECK(cuda_end(s.cuda, true));
	scene_finish(&s, true);
}

/* Killed at any point between the first lock and the end, the worker leaves tasks that work. */
static void test_killed_worker(void)
{
	struct scene s;
	int paused, checkpointed, i;
	pid_t worker;

	for (paused = 1; paused <= TASKS; paused++)
		for (checkpointed = 0; checkpointed <= (paused == TASKS ? TASKS : 0);
		     checkpointed++) {
			scene_begin(&s, "");
			worker = fork();
			if (worker == 0) {
				for (i = 0; i < paused; i++)
					cuda_pause(s.cuda, s.pid[i], &s.f);
				for (i = 0; i < checkpointed; i++)
					cuda_checkpoint(s.cuda, s.pid[i], &s.f);
				raise(SIGKILL);
			}
			waitpid(worker, NULL, 0);
			scene_finish(&s, true);
			CHECK(scene_calls("unlock") == paused &&
			      scene_calls("restore") == checkpointed);
		}
}

static char *hide(pid_t pid, const char *name)
{
	char *path = xasprintf("/proc/%d/%s", pid, name);

	CHECK(mount("/dev/null", path, NULL, MS_BIND, NULL) == 0);
	return path;
}

/* /proc tells nothing of a task, which is not gone for that: it is put right all the same. */
static void test_unreadable(void)
{
	static const char *const names[] = { "stat", "status" };
	struct scene s;
	size_t i;

	for (i = 0; i < ARRAY_LEN(names); i++) {
		AUTO_FREE char *path = NULL;

		scene_begin(&s, "");
		CHECK(scene_for_all(&s, cuda_pause) == TASKS &&
		      scene_for_all(&s, cuda_checkpoint) == TASKS);
		path = hide(s.pid[1], names[i]);
		CHECK(cuda_end(s.cuda, true));
		CHECK(umount2(path, MNT_DETACH) == 0);
		CHECK(scene_calls("restore") == TASKS && scene_calls("unlock") == TASKS);
		scene_finish(&s, true);
	}
}

/*
 * Neither /proc nor the tool can be used, for want of descriptors: an error, and the keeper does
 * it.
 */
static void test_no_descriptors(void)
{
	struct rlimit all, none;
	struct scene s;

	scene_begin(&s, "");
	CHECK(scene_for_all(&s, cuda_pause) == TASKS &&
	      scene_for_all(&s, cuda_checkpoint) == TASKS);
	CHECK(getrlimit(RLIMIT_NOFILE, &all) == 0);
	none = (struct rlimit){ 3, all.rlim_max };
	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	CHECK(cuda_resume(s.cuda, s.pid[0], &s.f) == -1);
	CHECK(!cuda_end(s.cuda, true));
	CHECK(setrlimit(RLIMIT_NOFILE, &all) == 0);
	CHECK(scene_says(&s, "its CUDA state") &&
	      scene_says(&s, "nor can it be seen whether it lives"));
	CHECK(scene_state(s.pid[0]) == CHECKPOINTED);
	scene_finish(&s, true);
}

/* While the tool is at work: it ends its work first. */
static void test_killed_in_call(void)
{
	struct scene s;
	pid_t worker;

	scene_begin(&s, "");
	cuda_free(s.cuda);
	s.opts.timeout_s = 10;
	s.cuda = cuda_new(&s.opts);
	scene_slow(&s);
	worker = fork();
	if (worker == 0) {
		cuda_pause(s.cuda, s.pid[0], &s.f);
		_exit(0);
	}
	while (!scene_calls("lock") && waitpid(worker, NULL, WNOHANG) == 0)
		usleep(1000);
	kill(worker, SIGKILL);
	waitpid(worker, NULL, 0);
	scene_fast();
	scene_finish(&s, true);
	CHECK(scene_calls("unlock") == 1);
}

static void run_by_each(void)
{
	check_run("a lock that fails, unlocks all", test_lock_fails);
	check_run("a checkpoint that fails, resumes all", test_checkpoint_fails);
	check_run("what fails at the end, is tried again", test_end_fails);
	check_run("a restore that fails, says so", test_resume_fails);
	check_run("a task that /proc does not show is put right", test_unreadable);
	check_run("without descriptors: an error, and another try", test_no_descriptors);
	check_run("a lock ends in time", test_lock_times_out);
	check_run("a killed worker leaves tasks that work", test_killed_worker);
}

static void run_once(void)
{
	check_run("a state that the driver gave up, is named", test_given_up);
	check_run("a tool that hangs, is killed", test_tool_hangs);
	check_run("a worker killed while the tool works", test_killed_in_call);
}

int main(void)
{
	return scene_main(run_by_each, run_once);
}
