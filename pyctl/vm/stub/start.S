/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything of the stub that cannot be C: the first instructions of the boot
 * CPU and of those that CPU_ON starts, the exception vectors, and the way into
 * the guest.  Nothing here decides anything.
 *
 * Registers: x19 = this CPU's struct cpu, as soon as there is one.
 */
#include "layout.h"
#include "regs.h"

	.file "start.S"		/* or the symbol table names a temporary file */

#define SCTLR_MMU_ON	(SCTLR_EL2_RES1 | SCTLR_I | SCTLR_SA | SCTLR_C | SCTLR_M)
/* In the order in which mmu.c counts them. */
#define MAIR_KINDS	(MAIR(0, MAIR_NORMAL_WB) | MAIR(1, MAIR_DEVICE_NGNRNE))
#define TCR_BASE	(TCR_EL2_RES1 | TCR_SH0_INNER | TCR_ORGN0_WB | TCR_IRGN0_WB | TCR_T0SZ(39))
#define SPSR_EL1H_DAIF	(SPSR_DAIF | SPSR_M_EL1H)

/* Encodings of what Armv8.0 lacks. */
#define ID_AA64MMFR3_EL1 s3_0_c0_c7_3
#define TCR2_EL2	s3_4_c2_c0_3
#define SCTLR2_EL2	s3_4_c1_c0_3

	.section .text.reset, "ax"
	.global _start
_start:
	adrp	x19, cpus
	add	x19, x19, :lo12:cpus

	/* Before anything else is touched: a board without virtualization=on
	 * has no EL2, and every _el2 register below would be undefined.
	 */
	mrs	x0, CURRENT_EL
	lsr	x0, x0, #CURRENT_EL_SHIFT
	cmp	x0, #2
	b.eq	1f
	add	x1, x19, #CPU_STACK_TOP
	mov	sp, x1
	b	refuse_el

	/* Linked at 0: add where we are to each pointer in memory.  An image without
	 * symbols from elsewhere has relocations of that one kind (R_AARCH64_RELATIVE).
	 */
1:	adrp	x0, _start
	adrp	x1, __rela_start
	add	x1, x1, :lo12:__rela_start
	adrp	x2, __rela_end
	add	x2, x2, :lo12:__rela_end
2:	cmp	x1, x2
	b.hs	3f
	ldr	x3, [x1], #16		/* r_offset, past r_info */
	ldr	x4, [x1], #8		/* r_addend */
	add	x4, x4, x0
	str	x4, [x0, x3]
	b	2b

3:	adrp	x0, __bss_start
	adrp	x1, __bss_end
4:	stp	xzr, xzr, [x0], #16
	cmp	x0, x1
	b.lo	4b

	bl	cpu_reset
	bl	mmu_init
	bl	mmu_enable
	mov	x0, x19
	b	boot_main

	/* PSCI brings a secondary here with its struct cpu as context id. */
	.global secondary_entry
secondary_entry:
	mov	x19, x0
	bl	cpu_reset
	bl	mmu_enable
	mov	x0, x19
	b	secondary_main

	/* Make exceptions and C possible on this CPU. */
cpu_reset:
	msr	tpidr_el2, x19
	adrp	x0, vectors
	add	x0, x0, :lo12:vectors
	msr	vbar_el2, x0
	mov	x0, #HCR_RW
	msr	hcr_el2, x0
	isb
	add	x0, x19, #CPU_STACK_TOP
	mov	sp, x0
	ret

	/*
	 * Switch on translation and caches, with mmu.c's tables.  Until here this
	 * CPU has used memory uncached; from here on exclusives and so locks work.
	 */
mmu_enable:
	/* Extensions of the two control registers, where they exist: off. */
	mrs	x0, ID_AA64MMFR3_EL1
	tst	x0, #(ID_WIDTH_MASK << MMFR3_TCRX)
	b.eq	1f
	msr	TCR2_EL2, xzr
1:	tst	x0, #(ID_WIDTH_MASK << MMFR3_SCTLRX)
	b.eq	2f
	msr	SCTLR2_EL2, xzr
2:	ldr	x0, =MAIR_KINDS
	msr	mair_el2, x0
	adrp	x0, mmu_root
	msr	ttbr0_el2, x0
	ldr	x0, =TCR_BASE
	mrs	x1, id_aa64mmfr0_el1
	and	x1, x1, #(ID_WIDTH_MASK << MMFR0_PARANGE)
	mov	x2, #TCR_PS_48_BITS
	cmp	x1, x2
	csel	x1, x1, x2, lo
	/* The output size moves where E2H cannot be cleared. */
	mrs	x2, hcr_el2
	lsl	x3, x1, #TCR_PS_SHIFT
	lsl	x1, x1, #TCR_IPS_SHIFT
	tst	x2, #HCR_E2H
	csel	x1, x1, x3, ne
	orr	x0, x0, x1
	msr	tcr_el2, x0
	isb
	tlbi	alle2
	ic	iallu
	dsb	nsh
	isb
	ldr	x0, =SCTLR_MMU_ON
	msr	sctlr_el2, x0
	isb
	ret

	.text

	/*
	 * enter_guest(entry, context): leave for EL1 with x0 = context and all
	 * other general registers 0, as PSCI and the arm64 boot protocol want.
	 */
	.global enter_guest
enter_guest:
	msr	elr_el2, x0
	mov	x0, #SPSR_EL1H_DAIF
	msr	spsr_el2, x0
	mrs	x2, tpidr_el2
	add	x2, x2, #CPU_STACK_TOP
	mov	sp, x2
	mov	x0, x1
	.irp	n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	mov	x\n, xzr
	.endr
	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
	mov	x\n, xzr
	.endr
	eret

	/* psci_smc(function, x1, x2, x3): ask the machine below us. */
	.global psci_smc
psci_smc:
	smc	#0
	ret

	/* The same for the refusal at EL1, where HVC is the machine's conduit. */
	.global psci_hvc
psci_hvc:
	hvc	#0
	ret

	/* Everything but x0, x1 and the stack pointer, into the frame at sp. */
	.macro	save_from_x2
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x19, [sp, #144]
	stp	x20, x21, [sp, #160]
	stp	x22, x23, [sp, #176]
	stp	x24, x25, [sp, #192]
	stp	x26, x27, [sp, #208]
	stp	x28, x29, [sp, #224]
	str	x30, [sp, #240]
	mrs	x2, elr_el2
	mrs	x3, spsr_el2
	stp	x2, x3, [sp, #FRAME_ELR]
	.endm

	/* A call, or a trap, from the guest: the one exception that is expected. */
guest_sync_entry:
	sub	sp, sp, #FRAME_SIZE
	stp	x0, x1, [sp]
	save_from_x2
	mrs	x2, sp_el1
	str	x2, [sp, #FRAME_SP]
	mov	x0, sp
	bl	guest_sync
	ldp	x2, x3, [sp, #FRAME_ELR]
	msr	elr_el2, x2
	msr	spsr_el2, x3
	ldp	x0, x1, [sp]
	ldp	x2, x3, [sp, #16]
	ldp	x4, x5, [sp, #32]
	ldp	x6, x7, [sp, #48]
	ldp	x8, x9, [sp, #64]
	ldp	x10, x11, [sp, #80]
	ldp	x12, x13, [sp, #96]
	ldp	x14, x15, [sp, #112]
	ldp	x16, x17, [sp, #128]
	ldp	x18, x19, [sp, #144]
	ldp	x20, x21, [sp, #160]
	ldp	x22, x23, [sp, #176]
	ldp	x24, x25, [sp, #192]
	ldp	x26, x27, [sp, #208]
	ldp	x28, x29, [sp, #224]
	ldr	x30, [sp, #240]
	add	sp, sp, #FRAME_SIZE
	eret

	/*
	 * Anything else ends the machine.  The stack may be what is broken, so
	 * move to this CPU's emergency stack.  The three thread registers serve
	 * as scratch: the guest never runs again.  x1 = number of the vector.
	 */
fatal_entry:
	msr	tpidr_el0, x2
	mov	x2, sp
	mrs	x0, tpidr_el2
	add	x0, x0, #CPU_EMERGENCY_TOP
	mov	sp, x0
	sub	sp, sp, #FRAME_SIZE
	str	x2, [sp, #FRAME_SP]
	mrs	x2, tpidr_el0
	save_from_x2
	mrs	x2, tpidr_el1
	mrs	x3, tpidrro_el0
	stp	x2, x3, [sp]
	mov	x0, sp
	b	fatal_exception

	.macro	fatal_vector number
	.balign	128
	msr	tpidr_el1, x0
	msr	tpidrro_el0, x1
	mov	x1, #\number
	b	fatal_entry
	.endm

	.balign	2048
	.global vectors
vectors:
	/* From EL2 on SP_EL0, then from EL2 on its own stack. */
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	fatal_vector \n
	.endr
	/* From AArch64 below. */
	.balign	128
	b	guest_sync_entry
	/* Its interrupts stay there (HCR_EL2); then AArch32, which we never start. */
	.irp	n, 9, 10, 11, 12, 13, 14, 15
	fatal_vector \n
	.endr
	.balign	128
