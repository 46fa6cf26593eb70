/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Statuses that the next CLEAN_INV_MEMREGION calls return, in order.
 * state_lock (settings.h) held.
 */
#ifndef QUEUE_H
#define QUEUE_H

#include <stdbool.h>
#include <stdint.h>

/* Appends a status, repeat times (1 or more); false if there is no place. */
bool queue_append(int32_t status, uint64_t repeat);

/* The next status; SUCCESS from an empty queue. */
int32_t queue_take(void);

uint64_t queue_length(void);	/* statuses */
uint64_t queue_places(void);	/* different runs of statuses that still fit */
void queue_clear(void);

#endif
