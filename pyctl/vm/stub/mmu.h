/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a range of the stub's identity map is for; see mmu.c.
 */
#ifndef MMU_H
#define MMU_H

#include <stdbool.h>
#include <stdint.h>

#define TARGET_LIMIT	(1UL << 30)

enum mmu_kind { MMU_DEVICE, MMU_CODE, MMU_READ_ONLY, MMU_DATA };

extern uint64_t mmu_root[];	/* start.S puts it into TTBR0_EL2 */
void mmu_init(void);

/* Once, by the boot CPU: adds the memory that tests may aim at.  Whole pages;
 * false if it is not where it can be.
 */
bool mmu_map_target(uint64_t base, uint64_t size);

#endif
