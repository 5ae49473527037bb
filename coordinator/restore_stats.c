/* SPDX-License-Identifier: MIT */
/*
 * restore_stats.c - write and show the figures of a restore.
 *
 * Rights:   the work directory.
 * Holds:    nothing.
 */
#include "coordinator/restore_stats.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/images/image.h"
#include "proto/images/stats.pb-c.h"

static void show(const RestoreStatsEntry *r)
{
	printf("Displaying restore stats:\n");
	printf("Pages compared: %" PRIu64 " (0x%" PRIx64 ")\n", r->pages_compared,
	       r->pages_compared);
	printf("Pages skipped COW: %" PRIu64 " (0x%" PRIx64 ")\n", r->pages_skipped_cow,
	       r->pages_skipped_cow);
	printf("Pages restored: %" PRIu64 " (0x%" PRIx64 ")\n", r->pages_restored,
	       r->pages_restored);
	printf("Restore time: %u us\n", r->restore_time);
	printf("Forking time: %u us\n", r->forking_time);
	fflush(stdout);
}

int restore_stats(struct job *job, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_create(job->work_dir, IMG_STATS_RESTORE, 0, f);
	RestoreStatsEntry r = RESTORE_STATS_ENTRY__INIT;
	StatsEntry e = STATS_ENTRY__INIT;

	r.restore_time = job->timing.restore_us;
	r.forking_time = job->timing.forking_us;
	r.pages_compared = job->pages.compared;
	r.pages_skipped_cow = job->pages.skipped_cow;
	r.has_pages_restored = true;
	r.pages_restored = job->pages.restored;
	e.restore = &r;
	if (!img || image_write(img, &e.base, f) < 0 || image_close(&img, f) < 0)
		return -1;
	if (job->opts->display_stats)
		show(&r);
	return 0;
}
