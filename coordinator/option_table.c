/* SPDX-License-Identifier: MIT */
/*
 * option_table.c - one table of options; what CRIU has and Stasis does not is refused by name.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "coordinator/option_table.h"

#include <stdio.h>
#include <string.h>

#include "proto/control/util.h"

#define AT(field) offsetof(Options, has_##field), offsetof(Options, field)
#define STR(field) 0, offsetof(Options, field)
#define LIST(field) offsetof(Options, n_##field), offsetof(Options, field)
#define NO_LAZY "lazy pages, pre-dump and page servers are not supported by this version"
#define NO_NS "tasks in namespaces of their own are not supported by this version"

static const struct row rows[] = {
	{ "tree", 't', K_PID, FOR(CMD_DUMP), AT(pid), "PID  the root of the tree to dump" },
	{ "images-dir", 'D', K_STRING, AGAIN, STR(images_dir), "DIR  where images are" },
	{ "work-dir", 'W', K_STRING, AGAIN, STR(work_dir), "DIR  logs, pidfile and statistics" },
	{ "log-file", 'o', K_STRING, AGAIN | FOR(CMD_TIMELINE), STR(log_file),
	  "FILE  log, in the work directory; timeline: the picture" },
	{ "verbosity", 'v', K_LEVEL, ANY, AT(log_level),
	  "[N]  1 errors, 2 warnings, 3 info, 4 debug" },
	{ "log-pid", 0, K_FLAG, BOTH, AT(log_pid), "the log file is FILE.PID, with our pid" },
	{ "pidfile", 0, K_STRING, BOTH, STR(pidfile), "FILE  restore: the root task's pid" },
	{ "restore-detached", 'd', K_FLAG, FOR(CMD_RESTORE), AT(restore_detached),
	  "do not wait for the tree to exit" },
	{ "daemon", 0, K_FLAG, FOR(CMD_RESTORE), AT(restore_detached),
	  "same as --restore-detached" },
	{ "restore-sibling", 'S', K_FLAG, FOR(CMD_RESTORE), AT(restore_sibling),
	  "the root becomes our sibling" },
	{ "leave-stopped", 's', K_FLAG, BOTH, AT(leave_stopped), "tasks are stopped afterwards" },
	{ "leave-running", 'R', K_FLAG, FOR(CMD_DUMP), AT(leave_running),
	  "tasks run on after the dump" },
	{ "shell-job", 'j', K_FLAG, BOTH, AT(shell_job),
	  "the tree belongs to a shell's session and terminal" },
	{ "link-remap", 0, K_FLAG, BOTH, AT(link_remap),
	  "deleted files with other names get a link" },
	{ "ghost-limit", 0, K_SIZE, FOR(CMD_DUMP), AT(ghost_limit),
	  "SIZE  largest deleted file put into the images" },
	{ "ghost-fiemap", 0, K_FLAG, FOR(CMD_DUMP), AT(ghost_fiemap),
	  "accepted: holes are found by lseek(2) either way" },
	{ "file-locks", 'l', K_FLAG, BOTH, AT(file_locks), "dump and restore file locks" },
	{ "ext-unix-sk", 'x', K_SOCKETS, BOTH, AT(ext_unix_sk),
	  "[=INODE,...]  unix sockets may have peers outside" },
	{ "tcp-established", 0, K_FLAG, BOTH, AT(tcp_established),
	  "keep established TCP connections" },
	{ "tcp-close", 0, K_FLAG, BOTH, AT(tcp_close), "TCP connections come back closed" },
	{ "skip-in-flight", 0, K_FLAG, BOTH, AT(skip_in_flight),
	  "drop TCP connections not accepted yet" },
	{ "network-lock", 0, K_STRING, BOTH, STR(network_lock),
	  "METHOD  nftables (also for iptables) or skip" },
	{ "tcp-map", 0, K_LIST, FOR(CMD_RESTORE), LIST(tcp_map),
	  "OLD=NEW  TCP sockets of address OLD get NEW" },
	{ "external", 0, K_LIST, BOTH, LIST(external),
	  "KEY  a resource that is not in the images: file[MNT:INO], tty[RDEV:DEV]" },
	{ "inherit-fd", 0, K_INHERIT, FOR(CMD_RESTORE), 0, 0,
	  "fd[N]:KEY  use our descriptor N for a resource" },
	{ "root", 'r', K_STRING, FOR(CMD_RESTORE), STR(root), "DIR  root of the restored tree" },
	{ "lsm-profile", 0, K_STRING, BOTH, STR(lsm_profile),
	  "TYPE:NAME  restore with this apparmor or selinux label; none:" },
	{ "display-stats", 0, K_FLAG, BOTH, AT(display_stats), "print statistics" },
	{ "action-script", 0, K_LIST, BOTH, LIST(action_script),
	  "FILE  program run at each stage" },
	{ "libdir", 'L', K_STRING, BOTH | FOR(CMD_CHECK), STR(libdir),
	  "DIR  where plugins are (else $CRIU_LIBS_DIR, else /usr/lib/criu)" },
	{ "manage-cgroups", 0, K_STRING, BOTH, STR(manage_cgroups),
	  "[MODE]  none, props, soft (the default), full, strict or ignore" },
	{ "cgroup-root", 0, K_LIST, BOTH, LIST(cgroup_root),
	  "[CONTROLLER:]/PATH  the cgroup to dump from, or to restore below" },
	{ "cgroup-props", 0, K_STRING, BOTH, STR(cgroup_props),
	  "TEXT  control files to dump, by controller" },
	{ "cgroup-props-file", 0, K_STRING, BOTH, STR(cgroup_props_file),
	  "FILE  same, from a file in the work directory" },
	{ "cgroup-dump-controller", 0, K_LIST, BOTH, LIST(cgroup_dump_controller),
	  "NAME  dump this hierarchy only" },
	{ "cgroup-yard", 0, K_STRING, BOTH, STR(cgroup_yard),
	  "DIR  where the hierarchies are mounted" },
	{ "compress", 0, K_FLAG, FOR(CMD_DUMP), AT(compress),
	  "LZ4 for contents of device memory (other memory stays as it is); CRIU cannot read "
	  "them" },
	{ "timeout", 0, K_SECONDS, FOR(CMD_DUMP), AT(timeout_s),
	  "S  give up freezing after so long" },
	{ "allow-uprobes", 0, K_FLAG, BOTH, AT(allow_uprobes),
	  "leave out areas of active uprobes" },
	{ "evasive-devices", 0, K_FLAG, BOTH, AT(evasive_devices), "use any path to a device" },
	{ "file-validation", 0, K_STRING, BOTH, STR(file_validation),
	  "METHOD  filesize or buildid" },
	{ "force-irmap", 0, K_FLAG, FOR(CMD_DUMP), AT(force_irmap),
	  "look for the paths of watched files that their handles do not tell" },
	{ "irmap-scan-path", 0, K_LIST, FOR(CMD_DUMP), LIST(irmap_scan_path),
	  "DIR  where to look for them first" },
	{ "skip-file-rwx-check", 0, K_FLAG, FOR(CMD_RESTORE), AT(skip_file_rwx_check),
	  "do not compare files' modes" },
	{ "exec-cmd", 0, K_EXEC, FOR(CMD_RESTORE), 0, 0,
	  "-- COMMAND...  run it in our place, as the tree's parent" },
	{ "cpu-cap", 0, K_CPU, BOTH, 0, 0, "=none  processors are not compared" },
	{ "exec-workers", 0, K_FLAG, BOTH, AT(exec_workers), "workers as programs of their own" },
	{ "worker", 0, K_LIST, AGAIN, LIST(worker), "NAME=URL  use a worker started by hand" },
	{ "trace", 0, K_STRING, BOTH, STR(trace),
	  "FILE  record stages and control messages, in the work directory" },
	{ "unprivileged", 0, K_FLAG, ANY, AT(unprivileged), "do with the capabilities there are" },
	{ "pre-dump-mode", 0, K_MODE, FOR(CMD_DUMP), 0, 0, "splice or read (pre-dumps only)" },
	{ "no-default-config", 0, K_NOTHING, ANY, 0, 0, "do not read the default configuration" },
	{ "config", 0, K_NOTHING, ANY, 0, 0, "FILE  read options from there" },
	{ "feature", 0, K_FEATURE, FOR(CMD_CHECK), 0, 0, "NAME  check: is this feature there?" },
	{ "caps", 0, K_CAPS, FOR(CMD_CHECK), 0, 0, "check: the capabilities each worker uses" },
	{ "all", 0, K_NOTHING, FOR(CMD_CHECK), 0, 0, "check: everything (the default)" },
	{ "extra", 0, K_NOTHING, FOR(CMD_CHECK), 0, 0, "check: same" },
	{ "experimental", 0, K_NOTHING, FOR(CMD_CHECK), 0, 0, "check: same" },
	{ "ms", 0, K_NOTHING, FOR(CMD_CHECK), 0, 0, "check: same" },
	{ "deprecated", 0, K_NOTHING, ANY, 0, 0,
	  "accepted: it allows nothing that is refused otherwise" },
	{ "json", 0, K_JSON, FOR(CMD_SHOW), 0, 0, "show: as JSON" },
	{ "veth-pair", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "join-ns", 'J', K_REFUSED, ANY, 0, 0, NO_NS },
	{ "ext-mount-map", 'M', K_REFUSED, ANY, 0, 0, NO_NS },
	{ "skip-mnt", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "enable-fs", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "enable-external-sharing", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "enable-external-masters", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "empty-ns", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "mntns-compat-mode", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "weak-sysctls", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "lsm-mount-context", 0, K_REFUSED, ANY, 0, 0, NO_NS },
	{ "track-mem", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "prev-images-dir", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "auto-dedup", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "page-server", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "lazy-pages", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "stream", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "address", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "port", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "ps-socket", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls-cacert", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls-cacrl", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls-cert", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls-key", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "tls-no-cn-verify", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
	{ "freeze-cgroup", 0, K_REFUSED, ANY, 0, 0, "tasks are frozen by ptrace; leave it out" },
	{ "status-fd", 0, K_REFUSED, ANY, 0, 0,
	  "there is no daemon in this version that would report there" },
	{ "pidfd-store", 0, K_REFUSED, ANY, 0, 0, NO_LAZY },
};

enum value option_value(const struct row *r)
{
	switch (r->kind) {
	case K_FLAG: case K_CAPS: case K_JSON: case K_EXEC:
		return NO_VALUE;
	case K_LEVEL: case K_REFUSED: case K_SOCKETS: case K_CPU:
		return MAY_HAVE_VALUE;
	case K_NOTHING:
		return strcmp(r->name, "config") && strcmp(r->name, "libdir") ? NO_VALUE :
										NEEDS_VALUE;
	default:
		return strcmp(r->name, "manage-cgroups") ? NEEDS_VALUE : MAY_HAVE_VALUE;
	}
}

const struct row *option_long(const char *name, size_t len, bool *off)
{
	size_t i;

	*off = false;
	for (i = 0; i < ARRAY_LEN(rows); i++)
		if (!strncmp(rows[i].name, name, len) && !rows[i].name[len])
			return &rows[i];
	if (len > 3 && !strncmp(name, "no-", 3)) {
		for (i = 0; i < ARRAY_LEN(rows); i++)
			if ((rows[i].kind == K_FLAG || rows[i].kind == K_REFUSED ||
			     rows[i].kind == K_SOCKETS) &&
			    !strncmp(rows[i].name, name + 3, len - 3) && !rows[i].name[len - 3]) {
				*off = true;
				return &rows[i];
			}
	}
	return NULL;
}

const struct row *option_letter(char letter)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].letter == letter)
			return &rows[i];
	return NULL;
}

void options_usage(void)
{
	char left[64];
	size_t i;

	printf("usage: stasis dump -t PID [options]     freeze a process tree into images\n"
	       "       stasis restore [options]         thaw it\n"
	       "       stasis check [--feature NAME]    what this kernel and these rights allow\n"
	       "       stasis check PID [options]       would \"dump -t PID\" with these options "
	       "succeed?\n"
	       "       stasis show [--json] FILE|DIR    print images\n"
	       "       stasis timeline FILE [-o SVG]    draw what --trace recorded\n"
	       "       stasis replay FILE --worker NAME=URL [options]\n"
	       "                                        say to one worker again what was said to "
	       "it\n\n");
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];

		if (r->kind == K_REFUSED)
			continue;
		if (r->letter)
			snprintf(left, sizeof(left), "-%c, --%s", r->letter, r->name);
		else
			snprintf(left, sizeof(left), "    --%s", r->name);
		printf("  %-26s %s\n", left, r->help);
	}
}
