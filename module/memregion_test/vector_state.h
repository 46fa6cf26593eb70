/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Vector registers to and from memory, for who has seen to it that the CPU has them,
 * that it is not in streaming mode, that ZA is on where it is meant, and that nobody
 * else uses them meanwhile.
 */
#ifndef VECTOR_STATE_H
#define VECTOR_STATE_H

#include <linux/types.h>

/* Of one Z register now, in bytes. */
unsigned long sve_vector_bytes(void);

/* Z0 to Z31, P0 to P15 and FFR, back to back. */
void sve_store(u8 *state);
void sve_load(const u8 *state);

/* Of one row of ZA now, in bytes; it has as many rows. */
unsigned long sme_vector_bytes(void);

void za_store(u8 *state, unsigned long row_bytes);
void za_load(const u8 *state, unsigned long row_bytes);

#endif
