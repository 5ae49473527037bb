// SPDX-License-Identifier: MIT
/*
 * host_test.c - the host of plugins without the worker around it: descriptors, the inventory, the
 * retry flag, tables that are shorter than ours, descriptors over a socket. Plugins as files:
 * tests/harness/plugins.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "proto/control/util.h"
#include "workers/common/plugin_dir.h"
#include "workers/gpu/amdgpu/amdgpu.h"
#include "workers/gpu/drivers.h"
#include "workers/gpu/gpu.h"
#include "workers/gpu/host.h"
#include "workers/gpu/nvidia/nvidia.h"

int send_fds(int sock, void *addr, int len, int *fds, int nr_fds, void *data, unsigned size);
int __recv_fds(int sock, int *fds, int nr_fds, void *data, unsigned size, int flags);
bool check_and_remove_inventory_plugin(const char *name, size_t n);
int add_inventory_plugin(const char *name);
int criu_get_image_dir(void);

static void test_descriptors(void)
{
	static const struct {
		unsigned version, max_hooks;
		const char *name;
		bool good;
	} rows[] = {
		{ 0x200, 15, "now", true },	  { 0x200, 13, "CRIU 4.2", true },
		{ 0x200, 10, "CRIU 3", true },	  { 0x100, 0, "no hooks", true },
		{ 0x201, 15, "newer", false },	  { 0x300, 15, "newer", false },
		{ 0x10000, 15, "newer", false },  { 0x200, 16, "more hooks", false },
		{ 0x200, 0xffffffff, "more hooks", false }, { 0, 15, "no version", false },
		{ 0x200, 15, NULL, false },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++) {
		const struct plugin_desc d = { .name = rows[i].name, .version = rows[i].version,
					       .max_hooks = rows[i].max_hooks };

		CHECK((host_check_desc(&d) == NULL) == rows[i].good);
	}
}

static void test_names(void)
{
	CHECK(plugin_dir_is_plugin("a.so") && plugin_dir_is_plugin(".so"));
	CHECK(!plugin_dir_is_plugin("a.so.1") && !plugin_dir_is_plugin("so") &&
	      !plugin_dir_is_plugin(""));
	CHECK(plugin_dir_replaced("amdgpu_plugin.so") && plugin_dir_replaced("cuda_plugin.so"));
	CHECK(!plugin_dir_replaced("cuda_plugin.so.1") &&
	      !plugin_dir_replaced("my_cuda_plugin.so"));
}

/* ---- a worker's state with an empty folder of plugins ---- */

static char empty[] = "/tmp/stasis-host-XXXXXX";
static Options opts;
static struct worker worker;
static struct gpu gpu = { .worker = &worker };

static void setup(void)
{
	options__init(&opts);
	opts.mode = MODE__MODE_DUMP;
	opts.libdir = empty;
	worker.set.opts = &opts;
	worker.set.image_dir = 77;
}

static void test_inventory(void)
{
	struct fault f = { 0 };
	char **names = NULL;
	size_t n;

	setup();
	CHECK(criu_get_image_dir() == -1 && add_inventory_plugin("early") < 0);
	if (!CHECK(drivers_begin(&gpu, DRIVER_DUMP, &f) == 0))
		return;
	CHECK(criu_get_image_dir() == 77);
	CHECK(add_inventory_plugin("one") == 0 && add_inventory_plugin("two") == 0 &&
	      add_inventory_plugin("one") == 0);
	n = drivers_needed(&gpu, &names);
	CHECK(n == 2 && !strcmp(names[0], "one") && !strcmp(names[1], "two"));
	while (n)
		free(names[--n]);
	free(names);
	drivers_end(&gpu, 0);
	CHECK(criu_get_image_dir() == -1);
	CHECK(!nvidia_driver.ctx && !amdgpu_driver.ctx);	/* nothing to undo: let go */
}

static void test_required(void)
{
	char *list[] = { (char *)"alpha", (char *)"beta" };
	GpuPrepare prepare = GPU_PREPARE__INIT;
	struct fault f = { 0 };

	setup();
	prepare.required = list;
	prepare.n_required = 2;
	gpu.prepared = &prepare;
	if (!CHECK(drivers_begin(&gpu, DRIVER_RESTORE, &f) == 0))
		return;
	CHECK(check_and_remove_inventory_plugin("alpha", 5));
	CHECK(!check_and_remove_inventory_plugin("alpha", 5));
	CHECK(drivers_missing(&gpu) && !strcmp(drivers_missing(&gpu), "beta"));
	CHECK(!check_and_remove_inventory_plugin("gamma", 5));
	CHECK(check_and_remove_inventory_plugin("beta", 4) && !drivers_missing(&gpu));
	prepare.has_any_plugin = prepare.any_plugin = true;
	CHECK(check_and_remove_inventory_plugin("gamma", 5));
	drivers_end(&gpu, 0);
	gpu.prepared = NULL;
}

/* ---- a plugin's functions ---- */

static int answer, calls;
static bool wants_retry, flag_was_set;

static int restore_two(int id, bool *retry)
{
	calls++;
	flag_was_set = *retry;
	if (wants_retry)
		*retry = true;
	return id == 5 ? answer : -1;
}

static int restore_one(int id)
{
	calls++;
	return id == 5 ? answer : -1;
}

static int number(int n)
{
	calls++;
	return n == 7 ? answer : -1;
}

static enum hook_answer call_restore(struct plugin_desc *desc, int *fd)
{
	struct plugin p = { .desc = desc };
	struct fault f = { 0 };

	setup();
	p.driver = (struct driver){ .name = "x", .ops = &plugin_ops, .gpu = &gpu, .ctx = &p };
	return plugin_ops.restore_file(&p.driver, 5, fd, &f);
}

static void test_retry(void)
{
	struct plugin_desc d = { .name = "x", .version = 0x200, .max_hooks = 15 };
	int fd = -1;

	d.hooks[3] = restore_two;
	answer = 9;
	wants_retry = true;
	CHECK(call_restore(&d, &fd) == HOOK_RETRY && fd == -1 && !flag_was_set);
	wants_retry = false;
	CHECK(call_restore(&d, &fd) == HOOK_DONE && fd == 9);
	answer = -ENOTSUP;
	CHECK(call_restore(&d, &fd) == HOOK_NOT_MINE);
	answer = -5;
	CHECK(call_restore(&d, &fd) == HOOK_FAILED);
	d.hooks[3] = restore_one;
	answer = 11;
	CHECK(call_restore(&d, &fd) == HOOK_DONE && fd == 11);
}

static void test_short_table(void)
{
	struct plugin_desc d = { .name = "x", .version = 0x200, .max_hooks = 10 };
	struct plugin p = { .desc = &d };
	struct fault f = { 0 };

	setup();
	p.driver = (struct driver){ .name = "x", .ops = &plugin_ops, .gpu = &gpu, .ctx = &p };
	d.hooks[9] = d.hooks[10] = d.hooks[11] = number;
	answer = calls = 0;
	CHECK(plugin_ops.pause(&p.driver, 7, &f) == HOOK_NOT_MINE && calls == 0);
	CHECK(plugin_ops.checkpoint(&p.driver, 7, &f) == HOOK_NOT_MINE && calls == 0);
	CHECK(plugin_ops.resume(&p.driver, 7, &f) == HOOK_DONE && calls == 1);
	answer = -ENOTSUP;
	CHECK(plugin_ops.resume(&p.driver, 7, &f) == HOOK_NOT_MINE && !f.code);
	answer = -EBUSY;
	CHECK(plugin_ops.resume(&p.driver, 7, &f) == HOOK_FAILED && f.code == EBUSY);
}

/* The hooks of mounts and links, which no stage asks for yet: all arguments arrive. */
static int link_hook(int index, int type, char *kind)
{
	return index == 3 && type == 4 && !strcmp(kind, "vlan") ? 0 : -1;
}

static int mount_hook(char *mountpoint, int id)
{
	return id == 8 && !strcmp(mountpoint, "/mnt") ? 0 : -1;
}

static int remount_hook(int id, char *mountpoint, char *old_root, int *is_file)
{
	*is_file = 1;
	return id == 8 && !strcmp(mountpoint, "/mnt") && !strcmp(old_root, "/old") ? 0 : -1;
}

static void test_namespaces(void)
{
	struct plugin_desc d = { .name = "x", .version = 0x200, .max_hooks = 15 };
	struct plugin p = { .desc = &d };
	struct fault f = { 0 };
	bool is_file = false;

	setup();
	p.driver = (struct driver){ .name = "x", .ops = &plugin_ops, .gpu = &gpu, .ctx = &p };
	CHECK(plugin_ops.dump_link(&p.driver, 3, 4, "vlan", &f) == HOOK_NOT_MINE);
	d.hooks[4] = mount_hook;
	d.hooks[5] = remount_hook;
	d.hooks[6] = link_hook;
	CHECK(plugin_ops.dump_mount(&p.driver, "/mnt", 8, &f) == HOOK_DONE);
	CHECK(plugin_ops.dump_link(&p.driver, 3, 4, "vlan", &f) == HOOK_DONE);
	CHECK(plugin_ops.restore_mount(&p.driver, 8, "/mnt", "/old", &is_file, &f) == HOOK_DONE &&
	      is_file);
}

/* More than one message holds, each with data. */
static void test_descriptors_sent(void)
{
	enum { N = 300 };
	AUTO_FREE int *fds = xcalloc(N, sizeof(int)), *got = xcalloc(N, sizeof(int));
	AUTO_FREE uint32_t *data = xcalloc(N, sizeof(*data)), *told = xcalloc(N, sizeof(*told));
	int pair[2], i;
	bool same = true;

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	for (i = 0; i < N; i++) {
		fds[i] = pair[0];
		data[i] = i * 3;
	}
	CHECK(send_fds(pair[0], NULL, 0, fds, N, data, sizeof(*data)) == 0);
	CHECK(__recv_fds(pair[1], got, N, told, sizeof(*told), 0) == 0);
	for (i = 0; i < N; i++) {
		same = same && told[i] == data[i] && fcntl(got[i], F_GETFD) >= 0;
		close(got[i]);
	}
	CHECK(same);
	CHECK(send_fds(pair[0], NULL, 0, fds, 1, NULL, 0) == 0);
	CHECK(__recv_fds(pair[1], got, 1, NULL, 0, 0) == 0 && close(got[0]) == 0);
	CHECK(__recv_fds(pair[1], got, 1, NULL, 0, MSG_DONTWAIT) == -EAGAIN);
	close(pair[0]);
	CHECK(__recv_fds(pair[1], got, 1, NULL, 0, 0) == -ENOMSG);
	close(pair[1]);
}

int main(void)
{
	if (!mkdtemp(empty))
		return 1;
	check_run("descriptors of plugins: what is too new or has too many hooks is refused",
		  test_descriptors);
	check_run("names of plugins' files", test_names);
	check_run("the inventory: a name given twice is there once", test_inventory);
	check_run("a required plugin that nobody claims is missed", test_required);
	check_run("the retry flag is false before the call; old plugins have none", test_retry);
	check_run("hooks behind max_hooks are not called", test_short_table);
	check_run("hooks of mounts and links get their arguments", test_namespaces);
	check_run("300 descriptors over a socket with their data", test_descriptors_sent);
	rmdir(empty);
	return check_done();
}
