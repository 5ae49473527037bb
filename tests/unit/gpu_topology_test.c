/* SPDX-License-Identifier: MIT */
/*
 * gpu_topology_test.c - sysfs trees are read, GPUs find their places, or the reason why not is
 * told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "workers/gpu/amdgpu/match.h"

static const struct device kernel = { &kernel_device, NULL };

/* ---- recorded trees ---- */

static void put(const char *root, const char *path, const char *text)
{
	AUTO_FREE char *full = xasprintf("%s/%s", root, path);
	AUTO_CLOSE int fd = -1;
	char *slash;

	for (slash = strchr(full + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(full, 0700);
		*slash = '/';
	}
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && write_full(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

/* As of a machine with one processor, two GPUs in a hive and one alone. */
static void record(const char *root)
{
	static const char *const files[][2] = {
		{ "nodes/0/gpu_id", "0\n" },
		{ "nodes/0/properties",
		  "cpu_cores_count 16\nsimd_count 0\nmem_banks_count 1\nio_links_count 2\n" },
		{ "nodes/0/io_links/0/properties",
		  "type 2\nversion_major 0\nnode_from 0\nnode_to 1\nweight 20\n" },
		{ "nodes/0/io_links/1/properties", "type 2\nnode_from 0\nnode_to 2\n" },
		{ "nodes/1/gpu_id", "51110\n" },
		{ "nodes/1/properties",
		  "cpu_cores_count 0\nsimd_count 240\nmem_banks_count 1\nvendor_id 4098\n"
		  "device_id 26273\ndrm_render_minor 128\nhive_id 11749380186428312178\nnum_gws "
		  "64\n"
		  "max_waves_per_simd 10\nfw_version 440\ncapability 745472\nunknown_to_us 7\n" },
		{ "nodes/1/mem_banks/0/properties",
		  "heap_type 2\nsize_in_bytes 34342961152\nflags 0\n" },
		{ "nodes/1/io_links/0/properties", "type 2\nnode_from 1\nnode_to 0\n" },
		{ "nodes/1/io_links/1/properties", "type 11\nnode_from 1\nnode_to 2\n" },
		{ "nodes/2/gpu_id", "34039\n" },
		{ "nodes/2/properties",
		  "cpu_cores_count 0\nsimd_count 240\nmem_banks_count 1\ndrm_render_minor 129\n" },
		{ "nodes/2/mem_banks/0/properties", "heap_type 1\nsize_in_bytes 17163091968\n" },
		{ "nodes/2/io_links/0/properties", "type 2\nnode_from 2\nnode_to 0\n" },
		{ "nodes/2/io_links/1/properties", "type 11\nnode_from 2\nnode_to 1\n" },
		{ "nodes/2/io_links/2/properties", "type 1\nnode_from 2\nnode_to 1\n" },
		{ "nodes/10/gpu_id", "9\n" },
		{ "nodes/10/properties",
		  "simd_count 8\nmem_banks_count 1\ndrm_render_minor 130\n" },
		{ "nodes/10/mem_banks/0/properties", "heap_type 0\nsize_in_bytes 1\n" },
		{ "nodes/10/io_links/0/properties", "type 2\nnode_from 10\nnode_to 33\n" },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(files); i++)
		put(root, files[i][0], files[i][1]);
}

static void a_recorded_tree_is_read(void)
{
	char root[] = "/dev/shm/stasis-topo-XXXXXX";
	struct topology t;
	struct fault f = { 0 };

	if (!CHECK(mkdtemp(root)))
		return;
	record(root);
	if (CHECK(topology_read(&kernel, root, &t, &f) == 0 && t.n == 4)) {
		CHECK(!node_is_gpu(t.node[0]) && t.node[0]->cpu_cores_count == 16 &&
		      t.node[0]->n_iolinks == 2);
		CHECK(t.node[1]->gpu_id == 51110 && t.node[1]->simd_count == 240 &&
		      t.node[1]->vendor_id == 4098 &&
		      t.node[1]->hive_id == 11749380186428312178ull &&
		      t.node[1]->capability == 745472 && t.node[1]->vram_size == 34342961152 &&
		      !t.node[1]->vram_public && t.node[1]->n_iolinks == 2);
		CHECK(t.node[2]->vram_public == 1 &&
		      t.node[2]->n_iolinks == 2); /* type 1 is no link of ours */
		CHECK(t.node[3]->node_id == 10 &&
		      !t.node[3]->n_iolinks); /* leads to a node that is masked */
		CHECK(topology_minor(t.node, t.n, 129) == t.node[2] &&
		      topology_gpu(t.node, t.n, 9) == t.node[3]);
		topology_free(&t);
	}
	put(root, "nodes/2/gpu_id", "");
	CHECK(unlink("/nonexistent") < 0);	/* errno: what a masked file gives */
	CHECK(topology_read(&kernel, root, &t, &f) == 0);
	CHECK(t.n == 3 && t.node[1]->n_iolinks == 1 && t.node[0]->n_iolinks == 1);
	topology_free(&t);
	CHECK(topology_read(&kernel, "/nonexistent", &t, &f) == 0 && !t.n);
	{
		AUTO_FREE char *rm = xasprintf("rm -rf %s", root);

		CHECK(system(rm) == 0);
	}
}

/* ---- matching ---- */

/*
 * A machine in words: "c0 c1 g1 g2:v" nodes in order (c: processor, g: GPU, letters behind a colon
 * change properties: v less VRAM, V more, f newer firmware, c other capability, d other device),
 * then links "a-b" PCIe both ways, "a>b" PCIe one way, "a=b" XGMI both ways, "a~b" XGMI one way, by
 * positions. GPU ids are 0x100 + position.
 */
static void add_link(struct topology *t, unsigned int a, unsigned int b, uint32_t type)
{
	KfdDeviceEntry *e = t->node[a];
	DevIolink *l = xcalloc(1, sizeof(*l));

	dev_iolink__init(l);
	l->type = type;
	l->node_to_id = b;
	e->iolinks = xrealloc(e->iolinks, e->n_iolinks + 1, sizeof(*e->iolinks));
	e->iolinks[e->n_iolinks++] = l;
}

static void add_node(struct topology *t, const char *word, uint32_t base)
{
	KfdDeviceEntry *e = xcalloc(1, sizeof(*e));
	const char *k = strchr(word, ':');

	kfd_device_entry__init(e);
	e->node_id = t->n;
	if (*word == 'g') {
		e->gpu_id = base + t->n;
		e->drm_render_minor = 128 + t->n;
		e->simd_count = 240;
		e->vram_size = 100;
	}
	for (; k && *k; k++) {
		e->vram_size += *k == 'V' ? 50 : *k == 'v' ? -50ull : 0;
		e->fw_version += *k == 'f';
		e->capability += *k == 'c';
		e->device_id += *k == 'd';
	}
	t->node = xrealloc(t->node, t->n + 1, sizeof(*t->node));
	t->node[t->n++] = e;
}

static struct topology machine(const char *words, uint32_t base)
{
	AUTO_FREE char *copy = xstrdup(words);
	struct topology t = { 0 };
	char *word, *save, how;
	unsigned int a, b;

	for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (sscanf(word, "%u%c%u", &a, &how, &b) != 3) {
			add_node(&t, word, base);
			continue;
		}
		add_link(&t, a, b, how == '=' || how == '~' ? LINK_XGMI : LINK_PCIE);
		if (how == '-' || how == '=')
			add_link(&t, b, a, how == '=' ? LINK_XGMI : LINK_PCIE);
	}
	return t;
}

static const struct {
	const char *what, *src, *dst, *env;
	bool all;
	const char *map; /* positions "src>dst", or NULL: what the fault says is in says */
	const char *says;
} cases[] = {
	{ "the same", "c g g 0-1 0-2", "c g g 0-1 0-2", NULL, true, "1>1 2>2", NULL },
	{ "another device id swaps", "c g g:d 0-1 0-2", "c g:d g 0-1 0-2", NULL, true, "1>2 2>1",
	  NULL },
	{ "more VRAM is fine, less is not", "c g:V g 0-1 0-2", "c g g:V 0-1 0-2", NULL, true,
	  "1>2 2>1", NULL },
	{ "too little VRAM", "c g:V 0-1", "c g 0-1", NULL, true, NULL, "KFD_VRAM_SIZE_CHECK" },
	{ "unless nobody looks", "c g:V 0-1", "c g 0-1", "KFD_VRAM_SIZE_CHECK=0", true, "1>1",
	  NULL },
	{ "older firmware", "c g:f 0-1", "c g 0-1", NULL, true, NULL, "KFD_FW_VER_CHECK" },
	{ "allowed", "c g:f 0-1", "c g 0-1", "KFD_FW_VER_CHECK=NO", true, "1>1", NULL },
	{ "newer firmware", "c g 0-1", "c g:f 0-1", NULL, true, "1>1", NULL },
	{ "capability", "c g 0-1", "c g:c 0-1", NULL, true, NULL, "KFD_CAPABILITY_CHECK" },
	{ "too few", "c g g 0-1 0-2", "c g 0-1", NULL, true, NULL, "2 GPUs" },
	{ "too many for KFD", "c g 0-1", "c g g 0-1 0-2", NULL, true, NULL, "2: restore" },
	{ "a node needs one only", "c g:d 0-1", "c g g:d 0-1 0-2", NULL, false, "1>2", NULL },
	{ "a hive among others", "c g g g 0-1 0-2 0-3 2=3", "c g g g 0-1 0-2 0-3 1=2", NULL, true,
	  "1>3 2>1 3>2", NULL },
	{ "two hives, crosswise", "c g g g g 0-1 0-2 0-3 0-4 1=3 2=4",
	  "c g g g g 0-1 0-2 0-3 0-4 1=2 3=4", NULL, true, "1>1 2>3 3>2 4>4", NULL },
	{ "a hive torn apart", "c g g 0-1 0-2 1=2", "c g g 0-1 0-2 1-2", NULL, true, NULL,
	  "links between" },
	{ "XGMI one way does for PCIe, not for two ways", "c g g 0-1 0-2 1=2",
	  "c g g 0-1 0-2 1~2 2>1", NULL, true, NULL, "links between" },
	{ "two ways stand in for one", "c g g 0-1 0-2 1~2", "c g g 0-1 0-2 1=2", NULL, true,
	  "1>1 2>2", NULL },
	{ "XGMI to the processor stands in for PCIe", "c g 0-1", "c g 0=1", NULL, true, "1>1",
	  NULL },
	{ "not the reverse", "c g 0=1", "c g 0-1", NULL, true, NULL, "links between" },
	{ "one way to the processor", "c g 0-1", "c g 1>0", NULL, true, NULL, "links between" },
	{ "the other way round it is better", "c g 1>0", "c g 0-1", NULL, true, "1>1", NULL },
	{ "processors stay together", "c c g g g g 0-2 0-3 1-4 1-5", "c c g g g g 0-2 1-3 0-4 1-5",
	  NULL, true, "2>2 3>4 4>3 5>5", NULL },
	{ "three on one cannot be two and one", "c c g g g 0-2 0-3 0-4", "c c g g g 0-2 0-3 1-4",
	  NULL, true, NULL, "KFD_NUMA_CHECK" },
	{ "unless nobody looks", "c c g g g 0-2 0-3 0-4", "c c g g g 0-2 0-3 1-4",
	  "KFD_NUMA_CHECK=0", true, "2>2 3>3 4>4", NULL },
	{ "fewer links", "c g g 0-1 0-2 1-2", "c g g 0-1 0-2", NULL, true, NULL,
	  "number of links" },
	{ "no GPU at all", "c", "c", NULL, true, "", NULL },
};

static bool as_expected(const struct gpu_map *map, const char *want)
{
	unsigned int a, b, n = 0;
	int used;

	for (; sscanf(want, "%u>%u%n", &a, &b, &used) == 2; want += used, n++) {
		const struct gpu_place *p = gpu_map_of(map, 0x100 + a);

		if (!p || p->new_gpu_id != 0x500 + b || p->new_minor != 128 + b ||
		    p->old_minor != 128 + a)
			return false;
	}
	return n == map->n;
}

static void gpus_find_their_places(void)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct topology src = machine(cases[i].src, 0x100),
				dst = machine(cases[i].dst, 0x500);
		AUTO_FREE char *env = cases[i].env ? xstrdup(cases[i].env) : NULL;
		struct match_switches s;
		struct gpu_map map;
		struct fault f = { 0 };
		char *eq = env ? strchr(env, '=') : NULL;
		int r;

		if (eq) {
			*eq = '\0';
			setenv(env, eq + 1, 1);
		}
		CHECK(match_switches_read(&s, &f) == 0);
		r = gpu_map_find(src.node, src.n, &dst, &s, cases[i].all, &map, &f);
		if (!CHECK(cases[i].map ? r == 0 && as_expected(&map, cases[i].map) :
			   r < 0 && strstr(f.text, cases[i].says)))
			fprintf(stderr, "  %s: %d %s\n", cases[i].what, r, f.text);
		if (eq)
			unsetenv(env);
		gpu_map_free(&map);
		topology_free(&src);
		topology_free(&dst);
	}
}

/* 32 equal GPUs whose links fit nowhere: the search gives up. */
static void an_impossible_map_ends(void)
{
	AUTO_FREE char *a = xstrdup("c"), *b = xstrdup("c");
	struct topology src, dst;
	struct match_switches s;
	struct gpu_map map;
	struct fault f = { 0 };
	int i;

	for (i = 0; i < 32; i++) {
		char *x = xasprintf("%s g", a), *y = xasprintf("%s g", b);

		free(a);
		free(b);
		a = x;
		b = y;
	}
	for (i = 1; i <= 32; i++) {		/* a ring, and two half as long */
		char *x = xasprintf("%s 0-%d %d=%d", a, i, i, i % 32 + 1);
		char *y = xasprintf("%s 0-%d %d=%d", b, i, i, i % 16 == 0 ? i - 15 : i + 1);

		free(a);
		free(b);
		a = x;
		b = y;
	}
	src = machine(a, 0x100);
	dst = machine(b, 0x500);
	CHECK(match_switches_read(&s, &f) == 0);
	CHECK(gpu_map_find(src.node, src.n, &dst, &s, true, &map, &f) < 0 &&
	      strstr(f.text, "links"));
	topology_free(&src);
	topology_free(&dst);
}

static void the_environment_is_checked(void)
{
	static const struct {
		const char *name, *value;
		bool good;
		uint64_t size;
	} env[] = {
		{ "KFD_NUMA_CHECK", "maybe", false, 0 },
		{ "KFD_NUMA_CHECK", "YES", true, 0 },
		{ "KFD_MAX_BUFFER_SIZE", "64M", true, 64ull << 20 },
		{ "KFD_MAX_BUFFER_SIZE", "2G", true, 2ull << 30 },
		{ "KFD_MAX_BUFFER_SIZE", "4096", true, 4096 },
		{ "KFD_MAX_BUFFER_SIZE", "12X", false, 0 },
		{ "KFD_MAX_BUFFER_SIZE", "M", false, 0 },
		{ "KFD_MAX_BUFFER_SIZE", "1MB", false, 0 },
		{ "KFD_MAX_BUFFER_SIZE", "99999999999999999999", false, 0 },
	};
	struct match_switches s;
	size_t i;

	for (i = 0; i < ARRAY_LEN(env); i++) {
		struct fault f = { 0 };

		errno = ERANGE;			/* must not matter */
		setenv(env[i].name, env[i].value, 1);
		CHECK((match_switches_read(&s, &f) == 0) == env[i].good);
		CHECK(env[i].good ? s.buffer_max == env[i].size
				  : strstr(f.text, env[i].name) != NULL);
		unsetenv(env[i].name);
	}
}

static void twins_are_refused(void)
{
	struct topology src = machine("c g g 0-1 0-2", 0x100),
			dst = machine("c g g 0-1 0-2", 0x500);
	struct match_switches s;
	struct gpu_map map;
	struct fault f = { 0 };

	CHECK(match_switches_read(&s, &f) == 0);
	src.node[2]->gpu_id = src.node[1]->gpu_id;
	CHECK(gpu_map_find(src.node, src.n, &dst, &s, true, &map, &f) < 0 &&
	      strstr(f.text, "twice"));
	topology_free(&src);
	topology_free(&dst);
}

int main(void)
{
	check_run("a recorded sysfs tree is read, masked nodes left out", a_recorded_tree_is_read);
	check_run("GPUs find their places, or it is told why not", gpus_find_their_places);
	check_run("an impossible map of 32 GPUs ends", an_impossible_map_ends);
	check_run("wrong values in the environment are refused", the_environment_is_checked);
	check_run("images with a GPU twice are refused", twins_are_refused);
	return check_done();
}
