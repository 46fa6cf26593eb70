/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * System registers by name, or by encoding where the assembler's baseline
 * (Armv8.0) has no name for them yet.
 */
#ifndef SYSREG_H
#define SYSREG_H

#include <stdint.h>

#include "regs.h"

#define SYSREG_STRING(name) #name

#define read_sysreg(name) ({						\
	uint64_t value_;						\
	__asm__ volatile("mrs %0, " SYSREG_STRING(name) : "=r"(value_));	\
	value_;								\
})

#define write_sysreg(name, value) ({						\
	__asm__ volatile("msr " SYSREG_STRING(name) ", %x0"			\
			 : : "rZ"((uint64_t)(value)) : "memory");		\
})

/* A field of an ID register, by the name that regs.h has for its place. */
#define id_field(name, shift) (read_sysreg(name) >> (shift) & ID_WIDTH_MASK)

static inline void isb(void)
{
	__asm__ volatile("isb" : : : "memory");
}

/* The physical counter, not read ahead of what comes before it. */
static inline uint64_t counter_read(void)
{
	isb();
	return read_sysreg(cntpct_el0);
}

#endif
