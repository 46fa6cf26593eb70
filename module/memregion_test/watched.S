/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SMCCC calls whose caller finds out what has become of x18 to x30, SP_EL0,
 * TPIDR_EL0 and TPIDRRO_EL0, and outlives it: after the call only the stack pointer
 * is relied upon. The kernel's own arm_smccc_1_2_hvc() and _smc() rely on all of them.
 *
 * x19 to x28 go in with numbers of the caller's. The others are what they are: the
 * kernel itself needs them, or whoever walks the stack meanwhile.
 */
#include <linux/linkage.h>

#include "watched.h"

#define WORD		8
#define AFTER		(NR_WATCHED * WORD)

/* On the stack: what the procedure call standard wants back, and what we need ourselves. */
#define SAVED_X19	16
#define OUR_ARGUMENTS	96
#define THEIR_FRAME	112
#define FRAME_BYTES	128

	/* A system register, by its place in struct watched_registers: x2 before, x30 after. */
	.macro	keep which, place
	mrs	x4, \which
	str	x4, [x2, #(\place * WORD)]
	.endm

	.macro	look_at which, place
	mrs	x0, \which
	str	x0, [x30, #(AFTER + \place * WORD)]
	ldr	x0, [x30, #(\place * WORD)]
	msr	\which, x0
	.endm

	.macro	watched instr
	stp	x29, x30, [sp, #-FRAME_BYTES]!
	mov	x29, sp
	stp	x19, x20, [sp, #SAVED_X19]
	stp	x21, x22, [sp, #(SAVED_X19 + 2 * WORD)]
	stp	x23, x24, [sp, #(SAVED_X19 + 4 * WORD)]
	stp	x25, x26, [sp, #(SAVED_X19 + 6 * WORD)]
	stp	x27, x28, [sp, #(SAVED_X19 + 8 * WORD)]
	stp	x1, x2, [sp, #OUR_ARGUMENTS]

	str	x18, [x2, #(WATCHED_X18 * WORD)]
	str	x29, [x2, #(WATCHED_X29 * WORD)]
	str	x30, [x2, #(WATCHED_X30 * WORD)]
	keep	sp_el0, WATCHED_SP_EL0
	keep	tpidr_el0, WATCHED_TPIDR_EL0
	keep	tpidrro_el0, WATCHED_TPIDRRO_EL0

	ldp	x27, x28, [x2, #((WATCHED_X19 + 8) * WORD)]
	ldp	x25, x26, [x2, #((WATCHED_X19 + 6) * WORD)]
	ldp	x23, x24, [x2, #((WATCHED_X19 + 4) * WORD)]
	ldp	x21, x22, [x2, #((WATCHED_X19 + 2) * WORD)]
	ldp	x19, x20, [x2, #(WATCHED_X19 * WORD)]
	ldp	x16, x17, [x0, #(16 * WORD)]
	ldp	x14, x15, [x0, #(14 * WORD)]
	ldp	x12, x13, [x0, #(12 * WORD)]
	ldp	x10, x11, [x0, #(10 * WORD)]
	ldp	x8, x9, [x0, #(8 * WORD)]
	ldp	x6, x7, [x0, #(6 * WORD)]
	ldp	x4, x5, [x0, #(4 * WORD)]
	ldp	x2, x3, [x0, #(2 * WORD)]
	ldp	x0, x1, [x0]

	\instr	#0

	/* Two registers to work with, and theirs out of the way. */
	stp	x29, x30, [sp, #THEIR_FRAME]
	ldp	x29, x30, [sp, #OUR_ARGUMENTS]
	stp	x0, x1, [x29]
	stp	x2, x3, [x29, #(2 * WORD)]
	stp	x4, x5, [x29, #(4 * WORD)]
	stp	x6, x7, [x29, #(6 * WORD)]
	stp	x8, x9, [x29, #(8 * WORD)]
	stp	x10, x11, [x29, #(10 * WORD)]
	stp	x12, x13, [x29, #(12 * WORD)]
	stp	x14, x15, [x29, #(14 * WORD)]
	stp	x16, x17, [x29, #(16 * WORD)]

	str	x18, [x30, #(AFTER + WATCHED_X18 * WORD)]
	stp	x19, x20, [x30, #(AFTER + WATCHED_X19 * WORD)]
	stp	x21, x22, [x30, #(AFTER + (WATCHED_X19 + 2) * WORD)]
	stp	x23, x24, [x30, #(AFTER + (WATCHED_X19 + 4) * WORD)]
	stp	x25, x26, [x30, #(AFTER + (WATCHED_X19 + 6) * WORD)]
	stp	x27, x28, [x30, #(AFTER + (WATCHED_X19 + 8) * WORD)]
	ldp	x0, x1, [sp, #THEIR_FRAME]
	str	x0, [x30, #(AFTER + WATCHED_X29 * WORD)]
	str	x1, [x30, #(AFTER + WATCHED_X30 * WORD)]
	look_at	sp_el0, WATCHED_SP_EL0
	look_at	tpidr_el0, WATCHED_TPIDR_EL0
	look_at	tpidrro_el0, WATCHED_TPIDRRO_EL0

	ldr	x18, [x30, #(WATCHED_X18 * WORD)]
	ldp	x19, x20, [sp, #SAVED_X19]
	ldp	x21, x22, [sp, #(SAVED_X19 + 2 * WORD)]
	ldp	x23, x24, [sp, #(SAVED_X19 + 4 * WORD)]
	ldp	x25, x26, [sp, #(SAVED_X19 + 6 * WORD)]
	ldp	x27, x28, [sp, #(SAVED_X19 + 8 * WORD)]
	ldp	x29, x30, [sp], #FRAME_BYTES
	ret
	.endm

SYM_FUNC_START(watched_hvc)
	watched	hvc
SYM_FUNC_END(watched_hvc)

SYM_FUNC_START(watched_smc)
	watched	smc
SYM_FUNC_END(watched_smc)
