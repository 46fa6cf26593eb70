/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a number may be that the guest or the host gives: for the tables of settings
 * and of faults.
 */
#ifndef VALUE_H
#define VALUE_H

#include <stdbool.h>
#include <stdint.h>

/* The most that a call may be told to take: ten minutes. */
#define DURATION_LIMIT_US	600000000UL

bool is_anything(uint64_t value);
bool is_flag(uint64_t value);
bool is_u32(uint64_t value);
bool is_status(uint64_t value);		/* signed, 32 bit, sign- or zero-extended */
bool is_duration(uint64_t value);	/* in us */

#endif
