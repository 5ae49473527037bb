/* SPDX-License-Identifier: MIT */
/*
 * iptables.c - restore: remove what CRIU locked the network with.
 *
 * CRIU's default method is a rule of iptables for each connection. Only programs know how such
 * rules are stored, and workers may run none: so it is done here. Our own dumps use nf_tables.
 *
 * Rights:   CAP_NET_ADMIN, CAP_NET_RAW, passed to the program.
 * Holds:    nothing; waits for the program.
 */
#include "coordinator/iptables.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "proto/control/fault.h"
#include "proto/control/util.h"
#include "workers/common/log.h"

extern char **environ;

static int start(const char *program, int input, pid_t *pid)
{
	char *argv[] = { (char *)program, "--noflush", "--wait", NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none;
	int err;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
	posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", 1, 0);
	err = posix_spawnp(pid, program, &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return err;
}

void iptables_unlock(const char *program, const char *rules)
{
	AUTO_CLOSE int input = -1;
	int status = 0, err;
	pid_t pid;

	if (!rules)
		return;
	input = memfd_create("rules", MFD_CLOEXEC);
	if (input < 0 || write_full(input, rules, strlen(rules)) < 0 ||
	    lseek(input, 0, SEEK_SET) < 0)
		die("no memory for a list of rules");
	err = start(program, input, &pid);
	while (!err && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (err || status)
		log_warnx("%s did not remove the rules that locked the connections: they stand "
			  "still if the rules are there still", program);
}
