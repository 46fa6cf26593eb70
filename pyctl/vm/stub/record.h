/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the guest did: counters, and the last CLEAN_INV_MEMREGION calls.
 * state_lock (settings.h) held.
 */
#ifndef RECORD_H
#define RECORD_H

#include <stdbool.h>
#include <stdint.h>

/* In the order of their keys from 0x20; see vendor.c. */
enum counter {
	COUNT_CLEAN_INV,
	COUNT_ATTRIBUTES,
	COUNT_ARCH_FEATURES,
	COUNT_SMCCC_VERSION,
	COUNT_UNKNOWN,
	COUNT_OTHER_CONDUIT,	/* calls over the conduit that was not announced */
	COUNTERS,
	COUNT_NOTHING = COUNTERS,
};

struct record {
	uint32_t fid;
	unsigned int conduit;
	uint64_t base;
	uint64_t length;
	uint64_t flags;
	uint64_t mpidr;
	uint64_t entered;	/* CNTPCT */
	uint64_t left;		/* CNTPCT; 0 while the call is in the firmware */
	uint64_t returned;	/* x0 */
};

void record_count(enum counter counter);
uint64_t record_counter(enum counter counter);

/* A call comes in; the ticket names its record when it goes out. */
uint64_t record_enter(const struct record *record);
void record_leave(uint64_t ticket, uint64_t left, uint64_t returned);

/*
 * Calls that are inside the firmware to carry out an operation.  Without the lock the
 * number is good for waiting only.
 */
void record_operation(bool begins);
uint64_t record_operations(void);

/* Calls recorded since the last clear; record number seq (from 0) of these. */
uint64_t record_total(void);
bool record_get(uint64_t seq, struct record *record);

/* Counters and log start again; calls that are under way are forgotten. */
void record_clear(void);

#endif
