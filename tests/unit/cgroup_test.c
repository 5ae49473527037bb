/* SPDX-License-Identifier: MIT */
/*
 * cgroup_test.c - the table of control files, descriptions that change it, and --cgroup-root.
 */
#include <string.h>

#include "coordinator/cgroup_fs.h"
#include "coordinator/cgroup_props.h"
#include "coordinator/cgroup_roots.h"
#include "proto/control/util.h"
#include "tests/unit/check.h"

/* "FILE FILE ..." of a controller, or NULL. The caller frees it. */
static char *files_of(const struct cgroup_props *p, const char *controller)
{
	const char *const *f = cgroup_props_of(p, controller);
	char *all = f ? xstrdup("") : NULL;

	for (; f && *f; f++) {
		char *longer = xasprintf("%s%s%s", all, *all ? " " : "", *f);

		free(all);
		all = longer;
	}
	return all;
}

static const struct {
	const char *what, *text, *controller, *files;
} good[] = {
	{ "nothing", "", "pids", "pids.max" },
	{ "blanks only", " \n\t\n", "pids", "pids.max" },
	{ "merge", "\"pids\":\n - \"strategy\": \"merge\"\n - \"properties\": [ \"a\", \"b\" ]\n",
	  "pids", "pids.max a b" },
	{ "merge what is there", "\"pids\":\n - \"strategy\": \"merge\"\n"
	  " - \"properties\": [ \"pids.max\", \"b\" ]", "pids", "pids.max b" },
	{ "replace", "\"pids\":\n - \"strategy\": \"replace\"\n - \"properties\": [\"c\"]\n",
	  "pids", "c" },
	{ "replace by nothing", "\"pids\":\n - \"strategy\": \"replace\"\n - \"properties\": []\n",
	  "pids", "" },
	{ "a new controller",
	  "\"new\":\n - \"strategy\": \"merge\"\n - \"properties\": [ \"x\" ]\n", "new", "x" },
	{ "two, the second indented as in CRIU's manual",
	  "\"c1\":\n - \"strategy\": \"merge\"\n - \"properties\": [\"a\", \"b\"]\n \"c2\":\n"
	  " - \"strategy\": \"replace\"\n - \"properties\": [\"c\", \"d\"]", "c2", "c d" },
	{ "one twice", "\"c\":\n - \"strategy\": \"merge\"\n - \"properties\": [\"a\"]\n"
	  "\"c\":\n - \"strategy\": \"merge\"\n - \"properties\": [\"b\"]\n", "c", "a b" },
	{ "many files", "\"c\":-\"strategy\":\"merge\"-\"properties\":[\"01\",\"02\",\"03\",\"04\","
	  "\"05\",\"06\",\"07\",\"08\",\"09\",\"10\",\"11\",\"12\",\"13\",\"14\",\"15\","
	  "\"16\",\"17\"]", "c", "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17" },
};

static void descriptions_change_the_table(void)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(good); i++) {
		struct cgroup_props *p = cgroup_props_new();
		struct fault f = { 0 };
		bool parsed = cgroup_props_parse(p, good[i].text, strlen(good[i].text), &f) == 0;
		AUTO_FREE char *files = files_of(p, good[i].controller);

		if (!CHECK(parsed && files && strcmp(files, good[i].files) == 0))
			fprintf(stderr, "  %s: %s, %s\n", good[i].what, f.text,
				files ? files : "-");
		cgroup_props_free(p);
	}
}

static const struct {
	const char *text, *says;
} bad[] = {
	{ "pids", "line 1: the name of a controller" },
	{ "\"pids", "line 1: the name of a controller" },
	{ "\"pi\nds\":", "line 1: the name of a controller" },
	{ "\"\":", "line 1: the name of a controller" },
	{ "\"pids\"", "':' is missing" },
	{ "\"pids\":\n", "line 2: '-' is missing" },
	{ "\"pids\":\n - \"properties\": []", "line 2: \"properties\" stands where \"strategy\"" },
	{ "\"pids\":\n - \"strategy\": \"add\"\n", "\"add\" of pids is neither" },
	{ "\"pids\":\n - \"strategy\": \"merge\"\n", "line 3: '-' is missing" },
	{ "\"pids\":\n - \"strategy\": \"merge\"\n - \"properties\": \"a\"", "'[' is missing" },
	{ "\"pids\":\n - \"strategy\": \"merge\"\n - \"properties\": [\"a\" \"b\"]",
	  "']' is missing" },
	{ "\"pids\":\n - \"strategy\": \"merge\"\n - \"properties\": [\"a\",]", "a control file" },
	{ "\"pids\":\n - \"strategy\": \"merge\"\n - \"properties\": [\"../a\"]",
	  "../a is no name" },
	{ "\"pids\":\n - \"strategy\": \"merge\"\n - \"properties\": [\"..\"]", ".. is no name" },
	{ "\"pids\":\n - \"strategy\": \"merge\"\n - \"properties\": [\"a\"", "']' is missing" },
};

static void bad_descriptions_are_refused_by_line(void)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(bad); i++) {
		struct cgroup_props *p = cgroup_props_new();
		struct fault f = { 0 };

		if (!CHECK(cgroup_props_parse(p, bad[i].text, strlen(bad[i].text), &f) < 0 &&
			   strstr(f.text, bad[i].says)))
			fprintf(stderr, "  wanted %s: %s\n", bad[i].says, f.text);
		cgroup_props_free(p);
	}
}

/* Every start of a good text, from memory that ends with it. */
static void cut_descriptions_are_safe(void)
{
	size_t len = strlen(good[9].text), n;

	for (n = 0; n < len; n++) {
		struct cgroup_props *p = cgroup_props_new();
		AUTO_FREE char *text = xcalloc(n + 1, 1);
		char *exact = xrealloc(take_ptr(&text), n ? n : 1, 1);
		struct fault f = { 0 };

		memcpy(exact, good[9].text, n);
		CHECK((cgroup_props_parse(p, exact, n, &f) < 0) == (n > 0));
		free(exact);
		cgroup_props_free(p);
	}
}

static void paths_are_joined_and_compared_by_components(void)
{
	static const struct { const char *a, *b, *joined; } joins[] = {
		{ "", "", "/" }, { "/", "", "/" }, { "/", "a", "/a" },
		{ "/a/", "/b//c/", "/a/b/c" }, { "", "/x", "/x" },
	};
	const char *rest = cgroup_path_below("/a/b", "/a");
	size_t i;

	for (i = 0; i < ARRAY_LEN(joins); i++) {
		AUTO_FREE char *path = cgroup_path_join(joins[i].a, joins[i].b);

		CHECK(strcmp(path, joins[i].joined) == 0);
	}
	CHECK(rest && strcmp(rest, "/b") == 0);
	CHECK(!cgroup_path_below("/ab", "/a"));
	CHECK(cgroup_path_below("/ab", "/") && cgroup_path_below("/a", "/a"));
	CHECK(cgroup_path_good("/") && cgroup_path_good("/a.b/..c") && !cgroup_path_good("/a/..") &&
	      !cgroup_path_good("a") && !cgroup_path_good("/./a"));
	CHECK(cgroup_names_have("cpu,cpuacct", "cpuacct") && !cgroup_names_have("cpuset", "cpu") &&
	      cgroup_names_have("", "") && !cgroup_names_have("cpu", ""));
}

static void roots_are_chosen_by_controller(void)
{
	char *given[] = { "/all", "cpu:/c", "name=x:/n", ":/two" };
	char *clash[] = { "cpu:/a", "cpuacct:/b" };
	char *wrong[] = { "cpu:a" }, *dots[] = { "/a/../b" };
	Options o = OPTIONS__INIT;
	struct fault f = { 0 };
	const char *root;

	o.cgroup_root = given;
	o.n_cgroup_root = ARRAY_LEN(given);
	CHECK(cgroup_roots_check(&o, &f) == 0);
	CHECK(cgroup_root_of(&o, "cpu,cpuacct", &root, &f) == 0 && strcmp(root, "/c") == 0);
	CHECK(cgroup_root_of(&o, "name=x", &root, &f) == 0 && strcmp(root, "/n") == 0);
	CHECK(cgroup_root_of(&o, "", &root, &f) == 0 && strcmp(root, "/two") == 0);
	CHECK(cgroup_root_of(&o, "memory", &root, &f) == 0 && strcmp(root, "/all") == 0);
	o.cgroup_root = clash;
	o.n_cgroup_root = 2;
	CHECK(cgroup_root_of(&o, "cpu,cpuacct", &root, &f) < 0 && strstr(f.text,
									 "share a hierarchy"));
	o.n_cgroup_root = 1;
	o.cgroup_root = wrong;
	CHECK(cgroup_roots_check(&o, &f) < 0);
	o.cgroup_root = dots;
	CHECK(cgroup_roots_check(&o, &f) < 0);
}

/* An image: one hierarchy, a directory, a set in it. */
static void image_moves_below_a_root(const char *dir, const char *member, const char *new_dir,
				     const char *new_member)
{
	CgroupEntry image = CGROUP_ENTRY__INIT;
	CgControllerEntry c = CG_CONTROLLER_ENTRY__INIT, *controllers = &c;
	CgroupDirEntry d = CGROUP_DIR_ENTRY__INIT, *dirs = &d;
	CgSetEntry set = CG_SET_ENTRY__INIT, *sets = &set;
	CgMemberEntry m = CG_MEMBER_ENTRY__INIT, *ctls = &m;
	char *names[] = { "cpu", "cpuacct" }, *root[] = { "cpuacct:/new" };
	Options o = OPTIONS__INIT;
	struct fault f = { 0 };

	o.cgroup_root = root;
	o.n_cgroup_root = 1;
	d.dir_name = xstrdup(dir);
	m.name = "cpu,cpuacct";
	m.path = xstrdup(member);
	c.cnames = names;
	c.n_cnames = 2;
	c.dirs = &dirs;
	set.ctls = &ctls;
	image.controllers = &controllers;
	image.sets = &sets;
	c.n_dirs = set.n_ctls = image.n_controllers = image.n_sets = 1;
	CHECK(cgroup_roots_apply(&o, &image, &f) == 0);
	if (!CHECK(strcmp(d.dir_name, new_dir) == 0 && strcmp(m.path, new_member) == 0))
		fprintf(stderr, "  %s %s\n", d.dir_name, m.path);
	free(d.dir_name);
	free(m.path);
}

static void images_move_below_new_roots(void)
{
	image_moves_below_a_root("a", "/a", "/new", "/new");
	image_moves_below_a_root("a/b", "/a/b/c/d", "/new", "/new/c/d");
	image_moves_below_a_root("", "/x", "/new", "/new/x");
	image_moves_below_a_root("", "/", "/new", "/new");
	image_moves_below_a_root("a", "/ab", "a", "/ab");
}

static void modes_have_crius_names(void)
{
	enum cgroup_mode mode;

	CHECK(cgroup_mode_parse(NULL, &mode) == 0 && mode == CGROUP_SOFT);
	CHECK(cgroup_mode_parse("strict", &mode) == 0 && mode == CGROUP_STRICT);
	CHECK(cgroup_mode_parse("ignore", &mode) == 0 && mode == CGROUP_IGNORE);
	CHECK(cgroup_mode_parse("hard", &mode) < 0);
}

int main(void)
{
	check_run("descriptions change the table", descriptions_change_the_table);
	check_run("bad descriptions are refused by line", bad_descriptions_are_refused_by_line);
	check_run("cut descriptions are safe", cut_descriptions_are_safe);
	check_run("paths go by components", paths_are_joined_and_compared_by_components);
	check_run("roots are chosen by controller", roots_are_chosen_by_controller);
	check_run("images move below new roots", images_move_below_new_roots);
	check_run("modes have CRIU's names", modes_have_crius_names);
	return check_done();
}
