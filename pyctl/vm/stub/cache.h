/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What others need to know of the cache calls under way.
 */
#ifndef CACHE_H
#define CACHE_H

#include <stdint.h>

/* Calls that are inside the firmware to carry out an operation.  For a decision,
 * hold state_lock (settings.h); without it the number is good for waiting only.
 */
uint64_t cache_operations(void);

#endif
