/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A call of firmware that looks at the registers that no call may change; see
 * watched.S. Plain numbers first, since the assembler reads this file too.
 */
#ifndef WATCHED_H
#define WATCHED_H

#define WATCHED_X18		0
#define WATCHED_X19		1	/* x19 to x28: what the caller puts into them */
#define WATCHED_X28		10
#define WATCHED_X29		11
#define WATCHED_X30		12
#define WATCHED_SP_EL0		13
#define WATCHED_TPIDR_EL0	14
#define WATCHED_TPIDRRO_EL0	15
#define NR_WATCHED		16

#ifndef __ASSEMBLER__

#include <linux/arm-smccc.h>
#include <linux/types.h>

/**
 * struct watched_registers - registers that a call preserves, by WATCHED_*
 * @before: as firmware is given them
 * @after: as they come back
 */
struct watched_registers {
	u64 before[NR_WATCHED];
	u64 after[NR_WATCHED];
};

/*
 * Interrupts are off, for the kernel finds its current task by SP_EL0. All registers
 * are put back as they were.
 */
void watched_hvc(const struct arm_smccc_1_2_regs *args, struct arm_smccc_1_2_regs *res,
		 struct watched_registers *watched);
void watched_smc(const struct arm_smccc_1_2_regs *args, struct arm_smccc_1_2_regs *res,
		 struct watched_registers *watched);

#endif
#endif
