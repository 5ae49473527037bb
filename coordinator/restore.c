/* SPDX-License-Identifier: MIT */
/*
 * restore.c - the restore: its stages, each with its undo.
 *
 * tree      the tree's images and those of cgroups read and checked; workers up
 * places    cgroups made, empty: tasks may have files of theirs open
 * read      every other image read and checked, by us and by the workers; no task exists yet
 * root      the root task, running nothing but its agent
 * fork      all others, in their sessions; parents that share pages with children are filled first
 * groups    process groups, helpers gone
 * threads   all threads, each in its agent
 * cgroups   tasks into their cgroups, before they use memory
 * memory    mappings and contents
 * files     descriptors, directories
 * zombies   dead tasks die, with their status
 * finish    owners of files; workers are done
 * seccomp   filters installed, suspended as long as we trace
 * state     signals, timers, limits, credentials
 * leaders   main threads that had exited exit
 * limits    control files of the cgroups
 * stop      every thread stopped, agents out, registers loaded
 * release   tasks run
 *
 * After a fault all tasks made so far are killed: nothing is left behind.
 *
 * Rights:   see fork_tree.c, task_restore.c, finish.c.
 * Holds:    the tree traced with PTRACE_O_EXITKILL until "release".
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "coordinator/births.h"
#include "coordinator/cgroup_restore.h"
#include "coordinator/clocks.h"
#include "coordinator/crew.h"
#include "coordinator/devices.h"
#include "coordinator/finish.h"
#include "coordinator/fork_tree.h"
#include "coordinator/labels.h"
#include "coordinator/rebuild.h"
#include "coordinator/restore_stats.h"
#include "coordinator/scripts.h"
#include "coordinator/seccomp.h"
#include "coordinator/sockets.h"
#include "coordinator/task_restore.h"
#include "coordinator/threads_restore.h"
#include "coordinator/tree_load.h"
#include "coordinator/zombies.h"
#include "proto/control/util.h"
#include "workers/common/log.h"

/* ---- read ---- */

static int read_tree(struct job *job, struct fault *f)
{
	if (crew_start(job, 1u << ROLE_MEM | 1u << ROLE_FILES, f) < 0 ||
	    tree_load(job, f) < 0 || births_plan(job, f) < 0 || clocks_read(job, f) < 0)
		return -1;
	return cgroups_check(job, f);
}

static void forget_tree(struct job *job)
{
	births_free(job);
	cgroups_free(job);
	devices_free(job);
}

/* Plugins hear of the end before workers are gone. */
static void abandon_devices(struct job *job)
{
	devices_end(job, -1);
}

static int read_images(struct job *job, struct fault *f)
{
	if (rebuild_ask(job, f) == 0 && tree_load_threads(job, f) == 0 &&
	    labels_prepare(job, f) == 0 && seccomp_check(job, f) == 0 &&
	    tree_ids_free(job, f) == 0 && rebuild_learn(job, f) == 0)
		return 0;
	abandon_devices(job);
	return -1;
}

/* ---- processes ---- */

static int make_root(struct job *job, struct fault *f)
{
	if (scripts_run(job, "pre-restore", f) < 0)
		return -1;
	job->timing.forking_us = job_elapsed_us(job);
	if (fork_prepare(job, f) < 0 || fork_root(job, f) < 0 ||
	    clocks_restore(job, f) < 0) {
		fork_undo(job);
		return -1;
	}
	return 0;
}

static int make_others(struct job *job, struct fault *f)
{
	if (fork_rest(job, rebuild_memory, f) < 0)
		return -1;
	job->timing.forking_us = job_elapsed_us(job) - job->timing.forking_us;
	return 0;
}

/* The workers open the gates meanwhile. */
static int make_threads(struct job *job, struct fault *f)
{
	return rebuild_tell(job, f) < 0 || devices_forked(job, f) < 0 ? -1 : threads_make(job, f);
}

static int fill_memory(struct job *job, struct fault *f)
{
	return rebuild_memory(job, job->tasks, job->ntasks, f);
}

static int end_zombies(struct job *job, struct fault *f)
{
	if (zombies_end(job, f) < 0)
		return -1;
	return fork_check_orphans(job, f);
}

/* ---- the end ---- */

static void remove_pidfile(struct job *job)
{
	if (job->opts->pidfile)
		unlinkat(job->work_dir, job->opts->pidfile, 0);
}

static int write_pidfile(struct job *job, struct fault *f)
{
	AUTO_CLOSE int fd = -1;

	if (!job->opts->pidfile)
		return 0;
	fd = openat(job->work_dir, job->opts->pidfile, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return fault(f, errno, "make the pidfile %s", job->opts->pidfile);
	if (dprintf(fd, "%d", job->tasks[0]->pid) > 0)
		return 0;
	fault(f, errno, "write the pidfile %s", job->opts->pidfile);
	remove_pidfile(job);
	return -1;
}

static int end_leaders(struct job *job, struct fault *f)
{
	return finish_prepare(job, f) < 0 ? -1 : task_restore_late(job, f);
}

static int load_tasks(struct job *job, struct fault *f)
{
	if (finish_seize(job, f) < 0)
		return -1;
	step(job, "all stopped");
	if (finish_registers(job, f) < 0)
		return -1;
	step(job, "registers");
	return devices_resume(job, f);
}

static int stop_tasks(struct job *job, struct fault *f)
{
	if (scripts_run(job, "post-restore", f) < 0 || write_pidfile(job, f) < 0)
		return -1;
	if (load_tasks(job, f) < 0) {
		remove_pidfile(job);
		return -1;
	}
	job->timing.restore_us = job_elapsed_us(job);
	return 0;
}

/* Scripts and statistics that fail now must not cost the tasks their lives. */
static void degraded(struct fault *f)
{
	if (f->code)
		log_warnx("%s", f->text);
	*f = (struct fault){ 0 };
}

static int release(struct job *job, struct fault *f)
{
	struct fault own = { 0 };

	/* Ends of pipes, locked files: tasks must not meet the duplicates of the workers. */
	crew_bury(job->crew, ROLE_FILES);
	crew_bury(job->crew, ROLE_MEM);
	crew_bury(job->crew, ROLE_GPU);
	scripts_run(job, "pre-resume", &own);
	degraded(&own);
	fork_release(job);
	/* Last: connections that go on are lost when the tasks do not. */
	if (sockets_release(job, f) < 0 || finish_release(job, f) < 0)
		return -1;
	crew_stop(job->crew);
	job->crew = NULL;
	rebuild_keep(job);
	cgroups_freeze(job, &own);
	degraded(&own);
	restore_stats(job, &own);
	degraded(&own);
	scripts_run(job, "post-resume", &own);
	degraded(&own);
	return 0;
}

/* ---- the sequence ---- */

static const struct stage stages[] = {
	{ "tree", read_tree, forget_tree },
	{ "places", cgroups_make, cgroups_remove },
	{ "read", read_images, abandon_devices },
	{ "root", make_root, fork_undo },
	{ "fork", make_others, NULL },
	{ "groups", fork_groups, NULL },
	{ "threads", make_threads, NULL },
	{ "cgroups", cgroups_move, NULL },
	{ "memory", fill_memory, NULL },
	{ "files", rebuild_files, NULL },
	{ "zombies", end_zombies, NULL },
	{ "finish", rebuild_finish, NULL },
	{ "seccomp", seccomp_restore, NULL },
	{ "state", task_restore, NULL },
	{ "leaders", end_leaders, NULL },
	{ "limits", cgroups_write, NULL },
	{ "stop", stop_tasks, remove_pidfile },
	{ "release", release, NULL },
};

/* Not detached: stay as long as the root task and whatever else became our child. */
static void await_tree(void)
{
	while (wait(NULL) >= 0 || errno == EINTR)
		;
}

int restore(struct job *job, struct fault *f)
{
	if (run_stages(stages, ARRAY_LEN(stages), job, f) < 0)
		return -1;
	log_info("Restore finished successfully. Tasks resumed.");
	forget_tree(job);
	if (!job->opts->restore_detached)
		await_tree();
	return 0;
}
