/* SPDX-License-Identifier: MIT */
/*
 * main.c - the gpu worker as a program: stasis-gpu --listen URL, for gdb.
 *
 * Rights:   those of gpu.c.
 * Holds:    nothing.
 */
#include "workers/gpu/gpu.h"

int main(int argc, char **argv)
{
	return worker_main(&gpu_worker, argc, argv);
}
