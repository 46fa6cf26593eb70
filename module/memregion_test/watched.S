/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SMCCC calls whose caller finds out what has become of x18 to x30, SP_EL0,
 * TPIDR_EL0 and TPIDRRO_EL0, and outlives it: after the call only the stack pointer
 * is relied upon. The kernel's own arm_smccc_1_2_hvc() and _smc() rely on all of them.
 *
 * x18 to x28 go in with numbers of the caller's. The others are what they are: the
 * kernel itself needs them, or whoever walks the stack meanwhile. So is x18 where it
 * points to a shadow call stack, on which an NMI would go on.
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

	/* x19 to x28, in their order. */
	.macro	ten_registers instr, base, offset
	\instr	x19, x20, [\base, #(\offset)]
	\instr	x21, x22, [\base, #(\offset + 2 * WORD)]
	\instr	x23, x24, [\base, #(\offset + 4 * WORD)]
	\instr	x25, x26, [\base, #(\offset + 6 * WORD)]
	\instr	x27, x28, [\base, #(\offset + 8 * WORD)]
	.endm

	.macro	watched instr
	stp	x29, x30, [sp, #-FRAME_BYTES]!
	mov	x29, sp
	ten_registers stp, sp, SAVED_X19
	stp	x1, x2, [sp, #OUR_ARGUMENTS]

#ifdef CONFIG_SHADOW_CALL_STACK
	str	x18, [x2, #(WATCHED_X18 * WORD)]
#else
	ldr	x18, [x2, #(WATCHED_X18 * WORD)]
#endif
	str	x29, [x2, #(WATCHED_X29 * WORD)]
	str	x30, [x2, #(WATCHED_X30 * WORD)]
	keep	sp_el0, WATCHED_SP_EL0
	keep	tpidr_el0, WATCHED_TPIDR_EL0
	keep	tpidrro_el0, WATCHED_TPIDRRO_EL0

	ten_registers ldp, x2, WATCHED_X19 * WORD
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
	ten_registers stp, x30, AFTER + WATCHED_X19 * WORD
	ldp	x0, x1, [sp, #THEIR_FRAME]
	str	x0, [x30, #(AFTER + WATCHED_X29 * WORD)]
	str	x1, [x30, #(AFTER + WATCHED_X30 * WORD)]
	look_at	sp_el0, WATCHED_SP_EL0
	look_at	tpidr_el0, WATCHED_TPIDR_EL0
	look_at	tpidrro_el0, WATCHED_TPIDRRO_EL0

	ldr	x18, [x30, #(WATCHED_X18 * WORD)]
	ten_registers ldp, sp, SAVED_X19
	ldp	x29, x30, [sp], #FRAME_BYTES
	ret
	.endm

SYM_FUNC_START(watched_hvc)
	watched	hvc
SYM_FUNC_END(watched_hvc)

SYM_FUNC_START(watched_smc)
	watched	smc
SYM_FUNC_END(watched_smc)
