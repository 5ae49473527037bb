/* SPDX-License-Identifier: MIT */
/*
 * labels_test.c - security labels: what /proc shows becomes what images hold, and that what a
 * thread writes, with and without --lsm-profile.
 *
 * Links the coordinator. A kernel with AppArmor or SELinux is not needed.
 */
#include "coordinator/labels.h"

#include <string.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"

static void test_parse(void)
{
	static const struct {
		Lsmtype module;
		const char *text, *label;	/* NULL: none */
		bool fails;
	} rows[] = {
		{ LSMTYPE__APPARMOR, "unconfined", NULL, false },
		{ LSMTYPE__APPARMOR, "unconfined (enforce)", NULL, false },
		{ LSMTYPE__APPARMOR, "unconfined_thing (enforce)", "unconfined_thing", false },
		{ LSMTYPE__APPARMOR, "docker-default (enforce)", "docker-default", false },
		{ LSMTYPE__APPARMOR, "/usr/sbin/ntpd (complain)", "/usr/sbin/ntpd", false },
		{ LSMTYPE__APPARMOR, ":lxd://&:inner (enforce)", NULL, true },
		{ LSMTYPE__APPARMOR, "a//&b (mixed)", NULL, true },
		{ LSMTYPE__SELINUX, "system_u:system_r:ntpd_t:s0", "system_u:system_r:ntpd_t:s0",
		  false },
		{ LSMTYPE__SELINUX, "u:r:t:s0-s0:c0.c1023", "u:r:t:s0-s0:c0.c1023", false },
		{ LSMTYPE__SELINUX, "kernel", NULL, true },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++) {
		struct fault f = { 0 };
		AUTO_FREE char *label = labels_parse(rows[i].module, rows[i].text, &f);

		CHECK((f.code != 0) == rows[i].fails);
		CHECK(rows[i].label ? label && !strcmp(label, rows[i].label) : !label);
	}
}

static void test_render(void)
{
	static const struct {
		Lsmtype module;
		const char *label, *option, *written;
	} rows[] = {
		{ LSMTYPE__APPARMOR, "docker-default", NULL, "changeprofile docker-default" },
		{ LSMTYPE__APPARMOR, "docker-default", "apparmor:other", "changeprofile other" },
		{ LSMTYPE__APPARMOR, "docker-default", "none:", NULL },
		{ LSMTYPE__SELINUX, "u:r:t:s0", NULL, "u:r:t:s0" },
		{ LSMTYPE__SELINUX, "u:r:t:s0", "selinux:u:r:other:s0", "u:r:other:s0" },
	};
	struct fault f = { 0 };
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *text = labels_render(rows[i].module, rows[i].label, rows[i].option,
						     &f);

		CHECK(!f.code);
		CHECK(rows[i].written ? text && !strcmp(text, rows[i].written) : !text);
	}
	CHECK(!labels_render(LSMTYPE__APPARMOR, "a\nb", NULL, &f) && f.code);
}

static void test_option(void)
{
	static const char *const wrong[] = { "apparmor", "apparmor:", "smack:x", "selinux:", "" };
	Options opts = OPTIONS__INIT;
	size_t i;

	for (i = 0; i < ARRAY_LEN(wrong); i++) {
		struct fault f = { 0 };

		opts.lsm_profile = (char *)wrong[i];
		CHECK(labels_check_option(&opts, &f) < 0);
	}
	struct fault f = { 0 };

	opts.lsm_profile = (char *)"none:";
	CHECK(labels_check_option(&opts, &f) == 0);
	opts.lsm_profile = (char *)"selinux:u:r:t:s0";
	CHECK((labels_check_option(&opts, &f) == 0) == (labels_module() == LSMTYPE__SELINUX));
}

int main(void)
{
	check_run("labels as /proc shows them", test_parse);
	check_run("labels as they are written", test_render);
	check_run("--lsm-profile", test_option);
	return check_done();
}
