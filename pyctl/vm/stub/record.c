// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counters and the log.  A record is made when a call comes in, so that a call
 * that never returns can be read about from another CPU.
 */
#include "record.h"

#define RECORDS 256U

static uint64_t counters[COUNTERS];
static struct record ring[RECORDS];
/* Tickets are never reused, so that a call that was under way during a clear
 * cannot write into a record of the time after it.
 */
static uint64_t next_ticket;
static uint64_t first_ticket;	/* the first since the last clear */

static uint64_t operations;

void record_operation(bool begins)
{
	operations += begins ? 1 : -1UL;
}

uint64_t record_operations(void)
{
	return __atomic_load_n(&operations, __ATOMIC_RELAXED);
}

void record_count(enum counter counter)
{
	if (counter < COUNTERS)
		counters[counter]++;
}

uint64_t record_counter(enum counter counter)
{
	return counters[counter];
}

uint64_t record_enter(const struct record *record)
{
	ring[next_ticket % RECORDS] = *record;
	return next_ticket++;
}

void record_leave(uint64_t ticket, uint64_t left, uint64_t returned)
{
	struct record *record = &ring[ticket % RECORDS];

	if (next_ticket - ticket > RECORDS)
		return;		/* overwritten meanwhile */
	record->left = left;
	record->returned = returned;
}

uint64_t record_total(void)
{
	return next_ticket - first_ticket;
}

bool record_get(uint64_t seq, struct record *record)
{
	uint64_t total = record_total();

	if (seq >= total || total - seq > RECORDS)
		return false;
	*record = ring[(first_ticket + seq) % RECORDS];
	return true;
}

void record_clear(void)
{
	for (unsigned int i = 0; i < COUNTERS; i++)
		counters[i] = 0;
	first_ticket = next_ticket;
}
