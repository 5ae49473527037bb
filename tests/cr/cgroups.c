// SPDX-License-Identifier: MIT
/*
 * cgroups.c - a process, its child and a second thread in cgroups of their own, of a hierarchy with
 * a name (version 1) and of version 2, where the cgroups are threaded; empty cgroups below.
 * All directories are removed before the restore, which must make them again with their files,
 * owners and modes.
 */
#include <pthread.h>
#include <stdlib.h>

#include "cgroup_root.h"

#define OWNER 1234
#define GROUP 1235

static pthread_t thread;
static pid_t child, thread_id;
static volatile int ready, go_on;
static char named[80];

static const char *named_hierarchy(void)
{
	snprintf(named, sizeof(named), "name=%s", cgroup_name());
	return named;
}

static void *other_thread(void *arg)
{
	thread_id = gettid();
	ready = 1;
	while (!go_on)
		case_sleep_ms(5);
	return arg;
}

static void put_id(int root, const char *sub, const char *file, pid_t id)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", id);
	cgroup_put(root, sub, file, text);
}

static void make_version1(void)
{
	int root = cgroup_root(named_hierarchy()), dir, fd;

	if (root < 0)
		case_skip("no cgroup hierarchy with a name can be had");
	dir = cgroup_dir(root, "", true);
	CHECK(fchown(dir, OWNER, GROUP) == 0 && fchmod(dir, 0750) == 0);
	close(cgroup_dir(root, "thread", true));
	close(cgroup_dir(root, "child", true));
	close(cgroup_dir(root, "empty", true));
	close(cgroup_dir(root, "empty/deep", true));
	cgroup_put(root, "", "notify_on_release", "1");
	cgroup_put(root, "empty/deep", "notify_on_release", "0");
	fd = openat(dir, "tasks", O_RDONLY | O_CLOEXEC);
	CHECK(fchown(fd, OWNER, GROUP) == 0 && fchmod(fd, 0640) == 0);
	close(fd);
	close(dir);
	put_id(root, "", "cgroup.procs", getpid());
	put_id(root, "child", "cgroup.procs", child);
	put_id(root, "thread", "tasks", thread_id);
	close(root);
}

static void make_version2(void)
{
	int root = cgroup_root("");

	if (root < 0)
		case_skip("no cgroups of version 2");
	close(cgroup_dir(root, "", true));
	close(cgroup_dir(root, "lead", true));
	close(cgroup_dir(root, "thread", true));
	cgroup_put(root, "lead", "cgroup.max.depth", "7");
	put_id(root, "", "cgroup.procs", getpid());
	cgroup_put(root, "lead", "cgroup.type", "threaded");
	cgroup_put(root, "thread", "cgroup.type", "threaded");
	put_id(root, "lead", "cgroup.threads", getpid());
	put_id(root, "thread", "cgroup.threads", thread_id);
	close(root);
}

static void before(void)
{
	child = fork();
	if (!child) {
		case_child_wait();
		_exit(cgroup_has(named_hierarchy(), "child", getpid()) ? 0 : 1);
	}
	CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
	while (!ready)
		case_sleep_ms(1);
	make_version1();
	make_version2();
}

static void remove_all(void)
{
	int root = cgroup_root(named_hierarchy());

	cgroup_remove(root, "empty/deep");
	cgroup_remove(root, "empty");
	cgroup_remove(root, "child");
	cgroup_remove(root, "thread");
	cgroup_remove(root, "");
	close(root);
	root = cgroup_root("");
	cgroup_remove(root, "thread");
	cgroup_remove(root, "lead");
	cgroup_remove(root, "");
	close(root);
}

static void check_version1(void)
{
	int root = cgroup_root(named_hierarchy()), dir = cgroup_dir(root, "", false);
	struct stat st;

	CHECK(cgroup_has(named, "", getpid()));
	CHECK(cgroup_has(named, "thread", thread_id));
	CHECK(fstat(dir, &st) == 0 && st.st_uid == OWNER && st.st_gid == GROUP);
	CHECK((st.st_mode & 07777) == 0750);
	CHECK(fstatat(dir, "tasks", &st, 0) == 0 && st.st_uid == OWNER && st.st_gid == GROUP);
	CHECK((st.st_mode & 07777) == 0640);
	CHECK(cgroup_says(root, "", "notify_on_release", "1\n"));
	CHECK(cgroup_says(root, "empty/deep", "notify_on_release", "0\n"));
	close(dir);
	cgroup_leave(root);
	close(root);
}

static void check_version2(void)
{
	int root = cgroup_root("");

	CHECK(cgroup_has("", "lead", getpid()));
	CHECK(cgroup_has("", "thread", thread_id));
	CHECK(cgroup_says(root, "lead", "cgroup.max.depth", "7\n"));
	CHECK(cgroup_says(root, "thread", "cgroup.type", "threaded\n"));
	cgroup_leave(root);
	close(root);
}

static void after(void)
{
	case_release();
	case_child_ok(child);
	check_version1();
	check_version2();
	go_on = 1;
	CHECK(pthread_join(thread, NULL) == 0);
	remove_all();
}

const struct test_case test_case = {
	.proves = "cgroups come back with their directories, files, owners, tasks and threads",
	.needs_root = true,
	.before = before,
	.between = remove_all,
	.after = after,
};
