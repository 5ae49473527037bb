/* SPDX-License-Identifier: MIT */
/*
 * spare.h - restore: descriptor numbers of a task for what stands there for a moment.
 *
 * They begin above all that its image and its mapped files use, and belong to workers that are at
 * work at the same time. files has the first ones; while nobody else needs its own it fetches up to
 * SPARE_FETCHED descriptors to numbers from there on, and a few more.
 */
#ifndef STASIS_SPARE_H
#define STASIS_SPARE_H

#define SPARE_FDS 8			/* files' */
#define SPARE_NET SPARE_FDS		/* as many are net's */
#define SPARE_GPU (2 * SPARE_FDS)	/* all from here on are gpu's: one for each GPU, and two */
#define SPARE_GPU_USUAL 16		/* gpu rarely needs more */
#define SPARE_FETCHED 64
#define SPARE_BESIDES 4		/* with them: its pidfd, two directories, one on its way up */

#endif
