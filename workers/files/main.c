/* SPDX-License-Identifier: MIT */
/*
 * main.c - the files worker as a program: stasis-files --listen URL, for gdb.
 *
 * Rights:   those of files.c.
 * Holds:    nothing.
 */
#include "workers/files/files.h"

int main(int argc, char **argv)
{
	return worker_main(&files_worker, argc, argv);
}
