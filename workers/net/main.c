/* SPDX-License-Identifier: MIT */
/*
 * main.c - the net worker as a program: stasis-net --listen URL, for gdb.
 *
 * Rights:   those of net.c.
 * Holds:    nothing.
 */
#include "workers/net/net.h"

int main(int argc, char **argv)
{
	return worker_main(&net_worker, argc, argv);
}
