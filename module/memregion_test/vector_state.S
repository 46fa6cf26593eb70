/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All of SVE's registers, and SME's ZA, to and from memory. The instructions of SME
 * are numbers here, since not every assembler that builds kernels knows them.
 */
#include <linux/linkage.h>

	.arch_extension sve

	/* Z0 to Z31, then P0 to P15, each as long as it is on this CPU now. */
	.macro	all_z instr, base
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\instr	z\n, [\base, #\n, mul vl]
	.endr
	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	\instr	z\n, [\base, #\n, mul vl]
	.endr
	.endm

	.macro	all_p instr, base
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\instr	p\n, [\base, #\n, mul vl]
	.endr
	.endm

	/* x1: what lies behind the Z registers at x0. */
	.macro	behind_z
	addvl	x1, x0, #16
	addvl	x1, x1, #16
	.endm

	/* One row of ZA, by number in w12, in memory at x0. */
	.macro	row_of_za instr
	.ifc	\instr, ldr
	.inst	0xe1000000	/* ldr	za[w12, 0], [x0] */
	.else
	.inst	0xe1200000	/* str	za[w12, 0], [x0] */
	.endif
	.endm

	.macro	all_za instr
	mov	w12, #0
1:	row_of_za \instr
	add	x0, x0, x1
	add	w12, w12, #1
	cmp	w12, w1
	b.lo	1b
	.endm

SYM_FUNC_START(sve_vector_bytes)
	rdvl	x0, #1
	ret
SYM_FUNC_END(sve_vector_bytes)

SYM_FUNC_START(sve_store)
	behind_z
	all_z	str, x0
	all_p	str, x1
	rdffr	p0.b
	str	p0, [x1, #16, mul vl]
	ldr	p0, [x1]
	ret
SYM_FUNC_END(sve_store)

SYM_FUNC_START(sve_load)
	behind_z
	ldr	p0, [x1, #16, mul vl]
	wrffr	p0.b
	all_p	ldr, x1
	all_z	ldr, x0
	ret
SYM_FUNC_END(sve_load)

SYM_FUNC_START(sme_vector_bytes)
	.inst	0x04bf5820	/* rdsvl	x0, #1 */
	ret
SYM_FUNC_END(sme_vector_bytes)

SYM_FUNC_START(za_store)
	all_za	str
	ret
SYM_FUNC_END(za_store)

SYM_FUNC_START(za_load)
	all_za	ldr
	ret
SYM_FUNC_END(za_load)
