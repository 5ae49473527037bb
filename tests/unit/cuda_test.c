/* SPDX-License-Identifier: MIT */
/*
 * cuda_test.c - CUDA tasks from lock to unlock, and back from every position where it can fail.
 *
 * Against the stand-ins of tests/cuda (libcuda, cuda-checkpoint, a task), in a mount namespace
 * with a /dev of our own: no NVIDIA device is touched.
 */
#include "workers/gpu/nvidia/cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/cuda/standin.h"
#include "tests/unit/check.h"
#include "workers/common/sandbox.h"
#include "workers/gpu/nvidia/held.h"

#define TASKS 3

static char base[64] = "/tmp/stasis-cuda-XXXXXX";	/* of this run */
static char parts[PATH_MAX];				/* build/tests/cuda */
static const char *kind = "cuda-checkpoint";

/* A tree of TASKS, and what handles them. */
struct scene {
	Options opts;
	struct cuda *cuda;
	pid_t pid[TASKS];
	struct fault f;
};

/* ---- a world with devices ---- */

static bool make_device(const char *dir, const char *name, int major_nr, int minor_nr)
{
	AUTO_FREE char *path = xasprintf("%s/%s", dir, name);

	return mknod(path, S_IFCHR | 0666, makedev(major_nr, minor_nr)) == 0;
}

static bool make_world(void)
{
	AUTO_FREE char *dev = NULL;
	char self[PATH_MAX] = "";

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 || !mkdtemp(base))
		return false;
	dev = xasprintf("%s/dev", base);
	snprintf(parts, sizeof(parts), "%.4000s/../cuda", dirname(self));
	if (mkdir(dev, 0755) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("dev", dev, "tmpfs", 0, "mode=755") < 0)
		return false;
	/* What can be opened and mapped: null twice, zero. */
	return make_device(dev, "null", 1, 3) && make_device(dev, "nvidiactl", 1, 3) &&
	       make_device(dev, "nvidia0", 1, 3) && make_device(dev, "nvidia-uvm", 1, 5) &&
	       mount(dev, "/dev", NULL, MS_MOVE, NULL) == 0;
}

static char *part(const char *name)
{
	return xasprintf("%s/%s", parts, name);
}

static char *read_text(const char *name, size_t size)
{
	AUTO_FREE char *path = xasprintf("%s/%s", base, name);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = xcalloc(1, size);

	if (fd >= 0 && read_full(fd, text, size - 1) < 0)
		text[0] = '\0';
	return text;
}

/* How often the tool was asked for a deed; "" counts all. */
static int calls(const char *deed)
{
	AUTO_FREE char *log = read_text("log", 65536);
	char *line;
	int n = 0;

	for (line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
		n += !strncmp(line, deed, strlen(deed));
	return n;
}

/* The good calls of a task so far; -1: its memory is bad. */
static long progress(pid_t pid)
{
	AUTO_FREE char *name = xasprintf("count-%d", pid);
	AUTO_FREE char *text = read_text(name, 32);

	return strstr(text, "bad") ? -1 : atol(text);
}

/* CUDA works in it: calls succeed, with memory as it was. */
static bool works(pid_t pid)
{
	long before = progress(pid), now = before;
	int i;

	for (i = 0; i < 1000 && now >= 0 && now < before + 3; i++) {
		usleep(5000);
		now = progress(pid);
	}
	return before >= 0 && now >= before + 3;
}

static bool stands(pid_t pid)
{
	long before = -1, now = progress(pid);
	int i;

	/* What was under way ends, soon or on a busy machine later. */
	for (i = 0; i < 20 && now != before; i++) {
		before = now;
		usleep(50000);
		now = progress(pid);
	}
	return before == now;
}

static unsigned state_of(pid_t pid)
{
	struct standin s;

	return standin_read(pid, &s) == OK ? s.state : 99;
}

static pid_t start_task(void)
{
	AUTO_FREE char *task = part("task"), *lib = part("libcuda.so.1");
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(task, task, lib, base, (char *)NULL);
		_exit(127);
	}
	CHECK(works(pid));
	return pid;
}

static void set_script(const char *script)
{
	AUTO_FREE char *log = xasprintf("%s/log", base);

	unlink(log);
	setenv("STANDIN_LOG", log, 1);
	setenv("STANDIN_SCRIPT", script, 1);
}

static void begin(struct scene *s, const char *script)
{
	AUTO_FREE char *tool = part(kind);
	size_t i;

	memset(s, 0, sizeof(*s));
	options__init(&s->opts);
	s->opts.timeout_s = 1;
	setenv("STASIS_CUDA", tool, 1);
	set_script(script);
	for (i = 0; i < TASKS; i++)
		s->pid[i] = start_task();
	s->cuda = cuda_new(&s->opts);
}

/* All tasks work, and end. */
static void finish(struct scene *s, bool alive)
{
	size_t i;

	cuda_free(s->cuda);
	for (i = 0; i < TASKS; i++) {
		if (alive)
			CHECK(works(s->pid[i]));
		kill(s->pid[i], SIGKILL);
		waitpid(s->pid[i], NULL, 0);
	}
}

/* The first tasks as far as it goes: their number. */
static size_t for_all(struct scene *s, int (*deed)(struct cuda *, pid_t, struct fault *))
{
	size_t i;

	for (i = 0; i < TASKS && deed(s->cuda, s->pid[i], &s->f) > 0; i++)
		;
	return i;
}

static bool says(const struct scene *s, const char *word)
{
	bool good = strstr(s->f.text, word);

	if (!good)
		fprintf(stderr, "said: %s\n", s->f.text);
	return good;
}

/* ---- tests ---- */

static void test_cycle(void)
{
	struct scene s;
	pid_t tid;
	size_t i;

	begin(&s, "");
	for (i = 0; i < TASKS; i++)
		if (!CHECK(cuda_judge(s.cuda, s.pid[i], "x", &s.f) == 1))
			fprintf(stderr, "said: %s\n", s.f.text);
	CHECK(for_all(&s, cuda_pause) == TASKS);
	for (i = 0; i < TASKS; i++) {
		CHECK(stands(s.pid[i]));
		CHECK(cuda_helper(s.cuda, s.pid[i], &tid, &s.f) == 1 && tid > s.pid[i]);
		CHECK(held_by(s.pid[i], &s.f) == (HELD_DEVICE | HELD_LIBRARY));
	}
	CHECK(for_all(&s, cuda_checkpoint) == TASKS);
	for (i = 0; i < TASKS; i++)
		CHECK(held_by(s.pid[i], &s.f) == HELD_LIBRARY);
	CHECK(cuda_end(s.cuda, true));
	CHECK(calls("restore") == TASKS && calls("unlock") == TASKS);
	finish(&s, true);
}

static void test_restore(void)
{
	struct scene s;
	struct cuda *dump;
	pid_t tid;
	size_t i;

	begin(&s, "");
	CHECK(for_all(&s, cuda_pause) == TASKS && for_all(&s, cuda_checkpoint) == TASKS);
	dump = s.cuda;
	CHECK(cuda_end(dump, false));
	s.cuda = cuda_new(&s.opts);
	CHECK(cuda_resume(s.cuda, s.pid[0], &s.f) == 0);	/* the images do not say so */
	CHECK(cuda_require(s.cuda, &s.f) == 0);
	for (i = 0; i < TASKS; i++)
		CHECK(cuda_helper(s.cuda, s.pid[i], &tid, &s.f) == 1 && tid > s.pid[i]);
	CHECK(for_all(&s, cuda_resume) == TASKS);
	for (i = 0; i < TASKS; i++)
		CHECK(works(s.pid[i]) && held_by(s.pid[i], &s.f) & HELD_DEVICE);
	cuda_free(dump);
	finish(&s, true);
}

/* Tasks that die are nothing to put right. */
static void test_killed_tasks(void)
{
	struct scene s;
	size_t i;

	begin(&s, "");
	CHECK(for_all(&s, cuda_pause) == TASKS && for_all(&s, cuda_checkpoint) == TASKS);
	CHECK(cuda_end(s.cuda, false));
	for (i = 0; i < TASKS; i++)
		kill(s.pid[i], SIGKILL);
	finish(&s, false);
	CHECK(calls("restore") == 0);
}

/* But if they are not killed after all, the keeper does. */
static void test_not_killed(void)
{
	struct scene s;

	begin(&s, "");
	CHECK(for_all(&s, cuda_pause) == TASKS && for_all(&s, cuda_checkpoint) == TASKS);
	CHECK(cuda_end(s.cuda, false));
	finish(&s, true);
	CHECK(calls("restore") == TASKS);
}

/* fail: nothing done; late: done all the same; die: the tool crashes. */
static void test_lock_fails(void)
{
	static const char *const scripts[] = { "lock:2:fail", "lock:2:late", "lock:2:die" };
	struct scene s;
	size_t i;

	for (i = 0; i < ARRAY_LEN(scripts); i++) {
		begin(&s, scripts[i]);
		CHECK(for_all(&s, cuda_pause) == 1);
		CHECK(says(&s, "CUDA's lock"));
		CHECK(cuda_end(s.cuda, true));
		CHECK(calls("lock") == 2 && calls("unlock") == (i == 1 ? 2 : 1));
		finish(&s, true);
	}
}

static void test_checkpoint_fails(void)
{
	static const char *const scripts[] = { "checkpoint:2:fail", "checkpoint:2:late", "checkpoint:2:die",
					       "checkpoint:2:hang" };
	struct scene s;
	size_t i;

	for (i = 0; i < ARRAY_LEN(scripts); i++) {
		begin(&s, scripts[i]);
		CHECK(for_all(&s, cuda_pause) == TASKS && for_all(&s, cuda_checkpoint) == 1);
		CHECK(says(&s, i == 3 ? "no end after 1 s" : "CUDA's checkpoint"));
		CHECK(cuda_end(s.cuda, true));
		CHECK(calls("restore") == (i == 1 ? 2 : 1) && calls("unlock") == TASKS);
		finish(&s, true);
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
		begin(&s, scripts[i]);
		CHECK(for_all(&s, cuda_pause) == TASKS && for_all(&s, cuda_checkpoint) == TASKS);
		CHECK(!cuda_end(s.cuda, true));
		finish(&s, true);
	}
}

static void test_given_up(void)
{
	struct scene s;

	begin(&s, "checkpoint:1:break");
	CHECK(for_all(&s, cuda_pause) == TASKS && for_all(&s, cuda_checkpoint) == 0);
	CHECK(!cuda_end(s.cuda, true));
	CHECK(works(s.pid[1]) && works(s.pid[2]) && state_of(s.pid[0]) == FAILED);
	CHECK(cuda_judge(s.cuda, s.pid[0], "x", &s.f) == -1);
	finish(&s, false);
}

/* Restore fails in the restored task: said, nothing else. */
static void test_resume_fails(void)
{
	struct scene s;
	struct cuda *dump;

	begin(&s, "restore:2:fail");
	CHECK(for_all(&s, cuda_pause) == TASKS && for_all(&s, cuda_checkpoint) == TASKS);
	dump = s.cuda;
	s.cuda = cuda_new(&s.opts);
	CHECK(cuda_require(s.cuda, &s.f) == 0 && for_all(&s, cuda_resume) == 1);
	CHECK(says(&s, "CUDA's restore"));
	cuda_free(dump);
	finish(&s, true);
}

/* Calls of the API take two seconds, or none. */
static void make_slow(bool on)
{
	AUTO_FREE char *path = xasprintf("%s/slow", base);

	if (on)
		close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	else
		unlink(path);
	usleep(50000);
}

/* A call of the API that takes longer than the time limit. */
static void test_lock_times_out(void)
{
	struct scene s;

	begin(&s, "");
	make_slow(true);
	CHECK(for_all(&s, cuda_pause) == 0 && says(&s, "CUDA's lock"));
	CHECK(cuda_end(s.cuda, true) && calls("unlock") == 0);
	make_slow(false);
	finish(&s, true);
}

static void test_tool_hangs(void)
{
	struct scene s;

	begin(&s, "lock:2:hang");
	CHECK(for_all(&s, cuda_pause) == 1 && says(&s, "no end after 6 s"));
	CHECK(cuda_end(s.cuda, true));
	finish(&s, true);
}

/* Checkpointing is the work of the task's own restore thread: it hangs while that may not run. */
static void test_restore_thread(void)
{
	struct scene s;
	pid_t tid = 0;
	int status, i;

	begin(&s, "");
	CHECK(for_all(&s, cuda_pause) == TASKS);
	CHECK(cuda_helper(s.cuda, s.pid[0], &tid, &s.f) == 1);
	CHECK(ptrace(PTRACE_SEIZE, tid, NULL, NULL) == 0 && ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) == 0 &&
	      waitpid(tid, &status, __WALL) == tid);
	CHECK(for_all(&s, cuda_checkpoint) == 0 && says(&s, "no end after 1 s"));
	CHECK(state_of(s.pid[0]) == LOCKED);
	CHECK(ptrace(PTRACE_DETACH, tid, NULL, NULL) == 0);
	for (i = 0; i < 1000 && state_of(s.pid[0]) == LOCKED; i++)
		usleep(5000);		/* now it does what it was asked for */
	CHECK(state_of(s.pid[0]) == CHECKPOINTED);
	CHECK(cuda_end(s.cuda, true));
	finish(&s, true);
}

/* Killed at any point between the first lock and the end, the worker leaves tasks that work. */
static void test_killed_worker(void)
{
	struct scene s;
	int paused, checkpointed, i;
	pid_t worker;

	for (paused = 1; paused <= TASKS; paused++)
		for (checkpointed = 0; checkpointed <= (paused == TASKS ? TASKS : 0); checkpointed++) {
			begin(&s, "");
			worker = fork();
			if (worker == 0) {
				for (i = 0; i < paused; i++)
					cuda_pause(s.cuda, s.pid[i], &s.f);
				for (i = 0; i < checkpointed; i++)
					cuda_checkpoint(s.cuda, s.pid[i], &s.f);
				raise(SIGKILL);
			}
			waitpid(worker, NULL, 0);
			finish(&s, true);
			CHECK(calls("unlock") == paused && calls("restore") == checkpointed);
		}
}

/* While the tool is at work: it ends its work first. */
static void test_killed_in_call(void)
{
	struct scene s;
	pid_t worker;

	begin(&s, "");
	cuda_free(s.cuda);
	s.opts.timeout_s = 10;
	s.cuda = cuda_new(&s.opts);
	make_slow(true);
	worker = fork();
	if (worker == 0) {
		cuda_pause(s.cuda, s.pid[0], &s.f);
		_exit(0);
	}
	while (!calls("lock") && waitpid(worker, NULL, WNOHANG) == 0)
		usleep(1000);
	kill(worker, SIGKILL);
	waitpid(worker, NULL, 0);
	make_slow(false);
	finish(&s, true);
	CHECK(calls("unlock") == 1);
}

/* Who has locked or checkpointed a task before finds it so. */
static void test_found_so(void)
{
	struct scene s;
	pid_t tid;

	begin(&s, "");
	CHECK(standin_ask(s.pid[0], LOCK, 0) == OK && standin_ask(s.pid[1], LOCK, 0) == OK &&
	      standin_ask(s.pid[1], CHECKPOINT, 0) == OK);
	CHECK(for_all(&s, cuda_pause) == TASKS && calls("lock") == 1);
	CHECK(cuda_helper(s.cuda, s.pid[0], &tid, &s.f) == 1);
	CHECK(cuda_helper(s.cuda, s.pid[1], &tid, &s.f) == 0);
	CHECK(for_all(&s, cuda_checkpoint) == TASKS && calls("checkpoint") == 2);
	CHECK(cuda_end(s.cuda, true));
	CHECK(state_of(s.pid[0]) == LOCKED && state_of(s.pid[1]) == CHECKPOINTED &&
	      state_of(s.pid[2]) == RUNNING);
	CHECK(standin_ask(s.pid[1], RESTORE, 0) == OK && standin_ask(s.pid[1], UNLOCK, 0) == OK &&
	      standin_ask(s.pid[0], UNLOCK, 0) == OK);
	finish(&s, true);
}

/* A task that has nothing of NVIDIA: no program is started, none is even looked for. */
static void test_other_task(void)
{
	Options o = OPTIONS__INIT;
	struct fault f = { 0 };
	struct cuda *c = cuda_new(&o);
	pid_t tid;

	setenv("STASIS_CUDA", "/nonexistent/cuda-checkpoint", 1);
	set_script("");
	CHECK(cuda_pause(c, getpid(), &f) == 0 && cuda_helper(c, getpid(), &tid, &f) == 0 &&
	      cuda_checkpoint(c, getpid(), &f) == 0 && calls("") == 0);
	cuda_free(c);
}

/* It has a device, but is none that the driver can checkpoint. */
static void test_device_alone(void)
{
	AUTO_FREE char *tool = part(kind);
	AUTO_CLOSE int fd = open("/dev/nvidia0", O_RDWR | O_CLOEXEC);
	Options o = OPTIONS__INIT;
	struct fault f = { 0 }, g = { 0 };
	struct cuda *c = cuda_new(&o);

	setenv("STASIS_CUDA", tool, 1);
	CHECK(fd >= 0);
	CHECK(cuda_judge(c, getpid(), "task 1, descriptor 3", &f) == -1);
	CHECK(!strncmp(f.text, "task 1, descriptor 3: task ", 27) && strstr(f.text, "is no CUDA task"));
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
	CHECK(cuda_pause(c, getpid(), &f) == -1 && strstr(f.text, word));
	CHECK(cuda_require(c, &g) == -1 && strstr(g.text, word));
	if (!strstr(f.text, word))
		fprintf(stderr, "said: %s\n", f.text);
	cuda_free(c);
}

static void test_no_tool(void)
{
	AUTO_FREE char *program = part("cuda-checkpoint"), *lib = part("libcuda.so.1");

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
	AUTO_FREE char *path = xasprintf("relative:/nonexistent:%s:/usr/bin", parts);
	struct scene s;

	begin(&s, "");
	setenv("STASIS_CUDA", "program", 1);
	setenv("PATH", path, 1);
	CHECK(for_all(&s, cuda_pause) == TASKS && calls("lock") == TASKS);
	CHECK(cuda_end(s.cuda, true));
	finish(&s, true);
}

/* Left over after a checkpoint, or come after the lock. */
static void test_leftover(void)
{
	struct scene s;
	struct fault g = { 0 };

	begin(&s, "");
	CHECK(cuda_pause(s.cuda, s.pid[0], &s.f) == 1);
	CHECK(cuda_leftover(s.cuda, s.pid[0], &s.f) == -1 && strstr(s.f.text, "NVML"));
	CHECK(cuda_leftover(s.cuda, s.pid[1], &g) == -1 && strstr(g.text, "try again"));
	CHECK(cuda_end(s.cuda, true));
	finish(&s, true);
}

/* The worker's filter and capabilities let all this be. */
static void test_sandbox(void)
{
	static const cap_value_t caps[] = { CAP_SYS_PTRACE };
	struct scene s;
	int status;
	pid_t worker;

	begin(&s, "");
	worker = fork();
	if (worker == 0) {
		if (sandbox_enter(caps, 1, true, &s.f) < 0 || for_all(&s, cuda_pause) != TASKS ||
		    for_all(&s, cuda_checkpoint) != TASKS || !cuda_end(s.cuda, true)) {
			fprintf(stderr, "said: %s\n", s.f.text);
			_exit(1);
		}
		_exit(0);
	}
	CHECK(waitpid(worker, &status, 0) == worker && status == 0);
	finish(&s, true);
	/* And a worker that runs none may not. */
	worker = fork();
	if (worker == 0) {
		if (sandbox_enter(caps, 1, false, &s.f) == 0)
			execl("/bin/true", "true", (char *)NULL);
		_exit(errno == EPERM ? 0 : 1);
	}
	CHECK(waitpid(worker, &status, 0) == worker && status == 0);
}

static void run_kind(const char *name)
{
	kind = name;
	printf("# by %s\n", name);
	check_run("locked, checkpointed, restored, unlocked", test_cycle);
	check_run("a restore resumes what was checkpointed", test_restore);
	check_run("a lock that fails, unlocks all", test_lock_fails);
	check_run("a checkpoint that fails, resumes all", test_checkpoint_fails);
	check_run("what fails at the end, is tried again", test_end_fails);
	check_run("a restore that fails, says so", test_resume_fails);
	check_run("a lock ends in time", test_lock_times_out);
	check_run("a checkpoint needs the restore thread", test_restore_thread);
	check_run("a killed worker leaves tasks that work", test_killed_worker);
	check_run("a task is left in the state it was found in", test_found_so);
	check_run("a device without CUDA is refused", test_device_alone);
	check_run("all this is possible in the sandbox", test_sandbox);
}

int main(void)
{
	if (geteuid() || !make_world()) {
		printf("skip - all: needs root, and a mount namespace of its own (%s)\n", strerror(errno));
		return 77;
	}
	run_kind("cuda-checkpoint");
	run_kind("libcuda.so.1");
	kind = "cuda-checkpoint";
	check_run("tasks that are killed are not resumed", test_killed_tasks);
	check_run("tasks that were to be killed and live, are resumed", test_not_killed);
	check_run("a state that the driver gave up, is named", test_given_up);
	check_run("a tool that hangs, is killed", test_tool_hangs);
	check_run("a worker killed while the tool works", test_killed_in_call);
	check_run("other tasks cost no program", test_other_task);
	check_run("a device that is left over, is named", test_leftover);
	check_run("cuda-checkpoint is found in PATH", test_path);
	check_run("no interface is said with the remedy", test_no_tool);
	return check_done();
}
