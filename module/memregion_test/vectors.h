/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state of SVE and SME around a call of firmware: Z0 to Z31, of which V0 to V31 are
 * the lowest 16 bytes, P0 to P15 and FFR, and ZA. A program cannot look at most of it, for
 * the kernel itself may forget it in a system call.
 */
#ifndef VECTORS_H
#define VECTORS_H

#include <linux/bitmap.h>
#include <linux/types.h>

#define NR_Z		32
#define NR_P		16
#define VECTOR_V	0
#define VECTOR_Z	(VECTOR_V + NR_Z)
#define VECTOR_P	(VECTOR_Z + NR_Z)
#define VECTOR_FFR	(VECTOR_P + NR_P)
#define VECTOR_ZA	(VECTOR_FFR + 1)
#define VECTOR_SVCR	(VECTOR_ZA + 1)
#define NR_VECTORS	(VECTOR_SVCR + 1)

/**
 * struct lost_vectors - what became of vector state in a call, by VECTOR_*
 * @sve_bytes: of each Z register that was looked at, 0 if none was
 * @za_bytes: of each row of ZA, 0 if it was not looked at
 * @registers: bit per register that came back as another one; of a Z register what is no V
 * @value: of those, the first eight bytes that are another's
 */
struct lost_vectors {
	unsigned int sve_bytes;
	unsigned int za_bytes;
	DECLARE_BITMAP(registers, NR_VECTORS);
	u64 value[NR_VECTORS];
};

struct vector_watch;

/*
 * 0, and in @watch where such state is kept, or NULL if this machine has neither SVE
 * nor SME; -ENOMEM. To be freed with kvfree(). May sleep.
 */
int vectors_alloc(struct vector_watch **watch);

/*
 * To be called before and after a call, on its CPU, with interrupts off all the time:
 * nobody else may see what is in the registers meanwhile. They are put back as they were.
 * Both do nothing for NULL.
 */
void vectors_fill(struct vector_watch *watch);
void vectors_take(struct vector_watch *watch);

void vectors_compare(const struct vector_watch *watch, struct lost_vectors *lost);

#endif
