/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtual board's memory map, and the layout that start.S shares with C.
 * Plain numbers only, since the assembler reads this file too; cpu.h and
 * frame.h prove that the structures agree.
 */
#ifndef LAYOUT_H
#define LAYOUT_H

/* Physical memory, QEMU's "virt" machine. */
#define UART_BASE		0x09000000
#define RAM_BASE		0x40000000

/* What firmware keeps for itself: one block, wherever the host has put it, which
 * begins with the stub.  The host places the rest of what the stub expects to find.
 */
#define FIRMWARE_SIZE		0x1000000
#define CONFIG_OFFSET		0x1f0000
#define CONFIG_SIZE		0x10000
#define DTB_OFFSET		0x200000
#define DTB_SIZE		0x10000
#define MEDIA_OFFSET		0x400000	/* what model.c keeps */
#define MEDIA_SIZE		0x800000

/* struct cpu: 4 pages, of which the second is never mapped, so that a stack
 * that overflows faults instead of growing into the next thing.
 */
#define CPU_SIZE		0x4000
#define CPU_EMERGENCY_TOP	0x1000
#define CPU_GUARD		0x1000
#define CPU_STACK_TOP		0x4000

/* struct frame */
#define FRAME_ELR		(31 * 8)
#define FRAME_SPSR		(32 * 8)
#define FRAME_SP		(33 * 8)
#define FRAME_SIZE		(34 * 8)

#ifndef __ASSEMBLER__
#include <stdint.h>

/* stub.ld, and start.S for the first. */
extern uint8_t _start[], __text_start[], __text_end[], __rodata_end[], __stub_end[];

static inline uint64_t firmware_base(void)
{
	return (uint64_t)_start;
}
#endif

#endif
