/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a range of the stub's identity map is for, and views of the guest's memory;
 * see mmu.c.
 */
#ifndef MMU_H
#define MMU_H

#include <stdint.h>

#define MMU_PAGE	4096UL
#define MMU_VIEWS	0x7fc0000000UL	/* the last GiB of the map: no memory is there */
#define MMU_SHOWN_END	(1UL << 48)	/* what a page's entry has room for */

enum mmu_kind { MMU_DEVICE, MMU_CODE, MMU_READ_ONLY, MMU_DATA };

/* Places for pieces of the guest's memory, and the most that each can show. */
enum mmu_view { VIEW_WINDOW, VIEW_BUFFER, VIEWS };

#define VIEW_LIMIT	(4UL << 20)

extern uint64_t mmu_root[];	/* start.S puts it into TTBR0_EL2 */
void mmu_init(void);

/*
 * Show up to VIEW_LIMIT bytes from @base on in a view, instead of what it has shown
 * until now, which nobody may be using: each view is one lock's.  Gives where.
 */
void *mmu_show(enum mmu_view view, uint64_t base, uint64_t size);

#endif
