/* SPDX-License-Identifier: MIT */
/*
 * plugin_dir.h - the folder of plugins (CRIU's plugin ABI), as CRIU finds it: -L, $CRIU_LIBS_DIR
 * (which the command line reader makes an option), the default.
 */
#ifndef STASIS_PLUGIN_DIR_H
#define STASIS_PLUGIN_DIR_H

#include <stdbool.h>

#include "proto/control/control.pb-c.h"

const char *plugin_dir(const Options *o);

/* Did the user name it? Then what is wrong with it is his error. */
bool plugin_dir_asked(const Options *o);

/* Is this the name of a plugin's file? */
bool plugin_dir_is_plugin(const char *name);

/*
 * A plugin of CRIU itself, built on CRIU's inside, in whose place we have a driver of the same
 * name. Returns that name, NULL for any other file.
 */
const char *plugin_dir_replaced(const char *name);

/*
 * Is there anything to load? A folder that cannot be read counts when the user named it: to say so.
 */
bool plugin_dir_any(const Options *o);

#endif
