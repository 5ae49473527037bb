/* SPDX-License-Identifier: MIT */
/*
 * trace_read.h - a file of --trace, read whole and checked.
 */
#ifndef STASIS_TRACE_READ_H
#define STASIS_TRACE_READ_H

#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"
#include "proto/control/trace.pb-c.h"

/* A request and what became of it. Times: nanoseconds since the operation's start. */
struct exchange {
	const TraceRequest *req;
	const Reply *rep;		/* NULL: none was taken */
	uint64_t sent_ns, taken_ns;
	uint32_t nfds;			/* descriptors that came with the reply */
};

struct recording {
	TraceRecord **records;		/* as in the file; the first is the TraceStart */
	size_t nrecords, records_cap;
	struct exchange *exchanges;	/* in the order of the requests */
	size_t nexchanges, exchanges_cap;
	uint64_t end_ns;		/* of the last record */
};

/*
 * NULL with f set, naming file and record, unless: lengths and messages are whole, times go
 * forward, every worker and request has a name here, replies answer what was asked in its order, at
 * most CREW_PENDING requests wait, stages do not overlap. Requests without a reply are fine: the
 * operation may have been killed.
 */
struct recording *recording_read(const char *path, struct fault *f);
void recording_free(struct recording *r);

static inline void auto_recording(struct recording **r)
{
	recording_free(*r);
}

#define AUTO_RECORDING __attribute__((cleanup(auto_recording)))

#endif
