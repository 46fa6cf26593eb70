/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One call of the guest, as everybody sees it who serves it.
 */
#ifndef CALL_H
#define CALL_H

#include <stdint.h>

#include "fault.h"
#include "settings.h"

/* One call, from the exception to the return. */
struct call {
	uint64_t *x;		/* the guest's x0-x30; results go to x0-x17 */
	uint32_t fid;		/* without the SVE hint */
	uint64_t arg[5];	/* [1]-[4] = x1-x4, cut to 32 bits for an SMC32 call */
	unsigned int conduit;	/* CONDUIT_HVC or CONDUIT_SMC */
	uint64_t entered;	/* CNTPCT */
	struct settings settings; /* as they were on entry: one call, one truth */
	struct faults faults;	/* that it suffers, decided on entry too */
};

/* Results: only what a function defines is written; the rest stays as it was. */
static inline void call_return(struct call *call, int64_t status)
{
	call->x[0] = (uint64_t)status;
	if (fault_hits(&call->faults, FAULT_X0_GARBAGE))
		call->x[0] = (uint32_t)status | call->faults.parameter[FAULT_X0_GARBAGE] << 32;
}

#endif
