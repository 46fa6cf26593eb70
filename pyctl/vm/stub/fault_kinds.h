/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is known of each kind of fault; see fault_kinds.c.
 */
#ifndef FAULT_KINDS_H
#define FAULT_KINDS_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"

/*
 * What a kind decides.  Two that decide the same thing for the same call
 * contradict each other.
 */
#define DECIDES_STATUS		(1U << 0)
#define DECIDES_TIME		(1U << 1)
#define DECIDES_FIRST		(1U << 2)	/* what becomes of the first line */
#define DECIDES_LAST		(1U << 3)
#define DECIDES_HALF		(1U << 4)
#define DECIDES_BELOW		(1U << 5)
#define DECIDES_QUEUED		(1U << 6)
#define DECIDES_BASE		(1U << 7)
#define DECIDES_PARTIAL		(1U << 8)
#define DECIDES_MODE		(1U << 9)	/* clean, invalidate or both */
#define DECIDES_LENGTH		(1U << 10)
#define DECIDES_BORDER		(1U << 11)
#define DECIDES_BLOCK		(1U << 12)
#define DECIDES_NEIGHBOURS	(1U << 13)
#define DECIDES_OPERATION	0x3ffcU		/* all of it, from FIRST to NEIGHBOURS */
#define DECIDES_ITSELF		(1U << 31)	/* only its own kind */

/* The parameter of FAULT_RATE_LIMIT. */
#define RATE_LIMIT(burst, window_us)	((uint64_t)(burst) << 32 | (window_us))
#define RATE_LIMIT_BURST(parameter)	((parameter) >> 32)
#define RATE_LIMIT_WINDOW_US(parameter)	((parameter) & UINT32_MAX)

struct fault_kind_rules {
	bool (*takes)(uint64_t parameter);
	uint64_t initial;		/* the parameter, unless one is set */
	unsigned int calls;		/* FAULT_ON_* that it can be about */
	unsigned int usual;		/* and is about, unless that is set */
	unsigned int decides;
};

extern const struct fault_kind_rules fault_kinds[FAULT_KINDS];

#endif
