/* SPDX-License-Identifier: MIT */
/*
 * host.h - the host of plugins: CRIU's plugin ABI, versions 0.1 and 0.2, up to 15 hooks.
 */
#ifndef STASIS_GPU_HOST_H
#define STASIS_GPU_HOST_H

#include "workers/gpu/driver.h"

struct host;

#define PLUGIN_VERSION_OLD 0x100u	/* also of those without a descriptor */
#define PLUGIN_VERSION 0x200u
#define PLUGIN_HOOKS 15

/*
 * cr_plugin_desc_t of criu-plugin.h, by which a plugin describes itself: the symbol CR_PLUGIN_DESC.
 */
struct plugin_desc {
	const char *name;
	int (*init)(int stage);
	void (*exit)(int stage, int result);
	unsigned version;
	unsigned max_hooks;		/* the table may be shorter than ours: look at no more */
	void *hooks[PLUGIN_HOOKS];
};

/* A loaded plugin; its driver's ctx points here. */
struct plugin {
	struct driver driver;
	const struct plugin_desc *desc;
	struct plugin_desc own;		/* made for one without a descriptor */
	char *path;			/* the name of such a one */
	void *handle;			/* of dlopen */
	struct {			/* what HANDLE_DEVICE_VMA was asked last */
		uint32_t pid;
		uint64_t dev, ino;
		enum hook_answer answer;
		bool valid;
	} vma;
};

extern const struct driver_ops plugin_ops;	/* host_hooks.c */

/* Load what is in the folder of plugins, in its order; nothing is called yet. NULL with f set. */
struct host *host_load(struct gpu *g, struct fault *f);
/* The i-th plugin; NULL: there are no more. */
struct driver *host_plugin(struct host *h, size_t i);
void host_free(struct host *h);

/*
 * What is wrong with a descriptor, for a sentence that begins with the plugin; NULL: nothing.
 */
const char *host_check_desc(const struct plugin_desc *d);

/* ---- what plugins ask of us (host_api.c) ---- */

/*
 * dump: names plugins want to have at the restore. restore: those of the images nobody has claimed
 * yet.
 */
size_t host_inventory(const struct host *h, const char *const **names);
/* Twice is once. */
void host_inventory_add(struct host *h, const char *name);
/* Remove the first name that begins like the n bytes of name; false: there is none. */
bool host_inventory_take(struct host *h, const char *name, size_t n);

struct gpu *host_gpu(const struct host *h);

/* Set while plugins may call: the ABI passes no context. */
void host_api_begin(struct host *h);
void host_api_end(void);

#endif
