/* SPDX-License-Identifier: MIT */
/*
 * main.c - the mem worker as a program of its own, for a debugger.
 *
 * Rights:   those of mem_worker.
 * Holds:    nothing.
 */
#include "workers/mem/mem.h"

int main(int argc, char **argv)
{
	return worker_main(&mem_worker, argc, argv);
}
