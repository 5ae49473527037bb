// SPDX-License-Identifier: MIT
/*
 * creds.c - user ids, groups, capabilities, securebits and no_new_privs, with
 * another set in a second thread (by the bare system calls: glibc would change
 * all threads).
 */
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

struct cap_state {
	struct __user_cap_data_struct sets[2];
	int bounding;			/* is CAP_MKNOD in it? */
	int ambient;			/* is CAP_NET_RAW in it? */
};

static pthread_t thread;
static volatile int ready, go_on;

static void read_caps(struct cap_state *c)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };

	memset(c, 0, sizeof(*c));
	CHECK(syscall(SYS_capget, &h, c->sets) == 0);
	c->bounding = prctl(PR_CAPBSET_READ, CAP_MKNOD);
	c->ambient = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_RAW, 0, 0);
}

static void set_caps(unsigned int effective, unsigned int permitted, unsigned int inheritable)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { effective, permitted, inheritable } };

	CHECK(syscall(SYS_capset, &h, d) == 0);
}

static void check_ids(uid_t r, uid_t e, uid_t s, gid_t gid)
{
	uid_t ru, eu, su;

	CHECK(syscall(SYS_getresuid, &ru, &eu, &su) == 0);
	CHECK(ru == r && eu == e && su == s);
	CHECK((gid_t)syscall(SYS_getegid) == gid);
}

static void *other_thread(void *arg)
{
	const gid_t groups[2] = { 4001, 4002 };
	struct cap_state then, now;
	gid_t got[4];

	(void)arg;
	CHECK(syscall(SYS_setgroups, 2, groups) == 0);
	CHECK(syscall(SYS_setresgid, 501, 501, 501) == 0);
	CHECK(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP) == 0);
	CHECK(syscall(SYS_setresuid, 600, 601, 602) == 0);
	set_caps(1u << CAP_NET_RAW, 1u << CAP_NET_RAW | 1u << CAP_CHOWN, 1u << CAP_NET_RAW);
	CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0) == 0);
	read_caps(&then);
	ready = 1;
	while (!go_on)
		case_sleep_ms(5);
	read_caps(&now);
	CHECK(memcmp(&then, &now, sizeof(now)) == 0);
	CHECK(then.ambient == 1);
	check_ids(600, 601, 602, 501);
	CHECK(prctl(PR_GET_SECUREBITS) == (SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP));
	CHECK(syscall(SYS_getgroups, 4, got) == 2 && got[0] == 4001 && got[1] == 4002);
	return NULL;
}

static struct cap_state main_caps;

static void before(void)
{
	const gid_t groups[3] = { 7, 8, 70000 };

	CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
	while (!ready)
		case_sleep_ms(5);
	CHECK(syscall(SYS_setgroups, 3, groups) == 0);
	CHECK(prctl(PR_CAPBSET_DROP, CAP_MKNOD) == 0);
	read_caps(&main_caps);
	CHECK(main_caps.bounding == 0);
}

static void after(void)
{
	struct cap_state now;
	gid_t got[4];

	read_caps(&now);
	CHECK(memcmp(&now, &main_caps, sizeof(now)) == 0);
	check_ids(0, 0, 0, 0);
	CHECK(prctl(PR_GET_SECUREBITS) == 0);
	CHECK(syscall(SYS_getgroups, 4, got) == 3 && got[2] == 70000);
	go_on = 1;
	CHECK(pthread_join(thread, NULL) == 0);
}

const struct test_case test_case = {
	.proves = "each thread keeps its ids, groups, capability sets and securebits",
	.needs_root = true,
	.before = before,
	.after = after,
};
