/* SPDX-License-Identifier: MIT */
/*
 * scripts.c - run the user's action scripts.
 *
 * A script is a program without arguments; it learns what happens from its environment, whose
 * names are CRIU's: CRTOOLS_SCRIPT_ACTION, CRTOOLS_IMAGE_DIR (a path that leads to the image
 * directory while we live) and CRTOOLS_INIT_PID (the root task, when there is one).
 *
 * posix_spawn: the coordinator may have a large address space and has nanomsg's thread; the child
 * does nothing but exec. Everything of ours is close-on-exec.
 *
 * Rights:   none.
 * Holds:    nothing; waits for each script to end.
 */
#include "coordinator/scripts.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include "proto/control/util.h"
#include "workers/common/log.h"

extern char **environ;

static pid_t root_pid(const struct job *job)
{
	if (job->ntasks)
		return job->tasks[0]->pid;
	return job->opts->mode == MODE__MODE_DUMP ? (pid_t)job->opts->pid : 0;
}

/* Our environment with the action's variables. The caller owns the strings from `first` on. */
static char **script_environment(const struct job *job, const char *action, size_t *first)
{
	pid_t root = root_pid(job);
	size_t n = 0, i;
	char **env;

	for (i = 0; environ[i]; i++)
		;
	env = xcalloc(i + 4, sizeof(*env));
	for (i = 0; environ[i]; i++)
		if (strncmp(environ[i], "CRTOOLS_", 8) != 0)
			env[n++] = environ[i];
	*first = n;
	env[n++] = xasprintf("CRTOOLS_SCRIPT_ACTION=%s", action);
	env[n++] = xasprintf("CRTOOLS_IMAGE_DIR=/proc/%d/fd/%d", getpid(), job->image_dir);
	if (root)
		env[n++] = xasprintf("CRTOOLS_INIT_PID=%d", root);
	return env;
}

/* Start a script with no signal blocked: a freeze blocks SIGCHLD here. */
static int spawn(const char *path, char **env, pid_t *pid)
{
	char *argv[] = { (char *)path, NULL };
	posix_spawnattr_t attr;
	sigset_t none;
	int err;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	err = posix_spawnp(pid, path, NULL, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	return err;
}

static int run_one(const char *path, const char *action, char **env, struct fault *f)
{
	int status, err;
	pid_t pid;

	err = spawn(path, env, &pid);
	if (err)
		return fault(f, err, "run action script %s", path);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fault(f, errno, "wait for action script %s", path);
	if (WIFSIGNALED(status))
		return fault(f, -ECANCELED, "action script %s was killed by signal %d at %s", path,
			     WTERMSIG(status), action);
	if (WEXITSTATUS(status) != 0)
		return fault(f, -ECANCELED, "action script %s exited with %d at %s", path,
			     WEXITSTATUS(status), action);
	return 0;
}

int scripts_run(struct job *job, const char *action, struct fault *f)
{
	size_t i, first;
	char **env;
	int r = 0;

	if (!job->opts->n_action_script)
		return 0;
	log_debug("running %s scripts", action);
	env = script_environment(job, action, &first);
	for (i = 0; i < job->opts->n_action_script; i++)
		if (run_one(job->opts->action_script[i], action, env, f) < 0)
			r = -1;
	for (i = first; env[i]; i++)
		free(env[i]);
	free(env);
	return r;
}
