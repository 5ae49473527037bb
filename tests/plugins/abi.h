/* SPDX-License-Identifier: MIT */
/*
 * abi.h - CRIU's plugin ABI as plugins see it: what is fact in criu-plugin.h, and the functions
 * CRIU's own plugins find in the program that hosts them.
 */
#ifndef STASIS_TEST_PLUGIN_ABI_H
#define STASIS_TEST_PLUGIN_ABI_H

#include <stdbool.h>
#include <stddef.h>

enum {
	DUMP_UNIX_SK,
	RESTORE_UNIX_SK,
	DUMP_EXT_FILE,
	RESTORE_EXT_FILE,
	DUMP_EXT_MOUNT,
	RESTORE_EXT_MOUNT,
	DUMP_EXT_LINK,
	HANDLE_DEVICE_VMA,
	UPDATE_VMA_MAP,
	RESUME_DEVICES_LATE,
	PAUSE_DEVICES,
	CHECKPOINT_DEVICES,
	POST_FORKING,
	RESTORE_INIT,
	DUMP_DEVICES_LATE,
	HOOKS
};

enum { STAGE_DUMP, STAGE_PRE_DUMP, STAGE_RESTORE };

#define VERSION_02 0x200u

struct desc {
	const char *name;
	int (*init)(int stage);
	void (*exit)(int stage, int result);
	unsigned version, max_hooks;
	void *hooks[HOOKS];
};

int criu_get_image_dir(void);
void print_on_level(unsigned level, const char *format, ...) __attribute__((format(printf, 2, 3)));
int add_inventory_plugin(const char *name);
bool check_and_remove_inventory_plugin(const char *name, size_t n);
int fdstore_add(int fd);
int fdstore_get(int id);

#endif
