/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a range of the stub's identity map is for; see mmu.c.
 */
#ifndef MMU_H
#define MMU_H

#include <stdint.h>

enum mmu_kind { MMU_DEVICE, MMU_CODE, MMU_READ_ONLY, MMU_DATA };

extern uint64_t mmu_root[];	/* start.S puts it into TTBR0_EL2 */
void mmu_init(void);

#endif
