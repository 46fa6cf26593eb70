/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtual board's memory map, and the layout that start.S shares with C.
 * Plain numbers only, since the assembler reads this file too; cpu.h and
 * frame.h prove that the structures agree.
 */
#ifndef LAYOUT_H
#define LAYOUT_H

/* Physical memory.  The host side places what the stub expects to find.  The base
 * of RAM is not used: QEMU puts a device tree of its own making there.
 */
#define UART_BASE		0x09000000
#define DTB_BASE		0x40100000
#define DTB_LIMIT		0x40200000	/* the stub begins here */
#define STUB_BASE		0x40200000
#define CONFIG_BASE		0x403f0000
#define CONFIG_SIZE		0x10000
#define STUB_LIMIT		0x40400000	/* end of the no-map reservation */
#define KERNEL_BASE		0x40400000
#define MEDIA_BASE		0x47800000	/* what model.c keeps; no-map, like the stub */
#define MEDIA_SIZE		0x800000
#define INITRD_BASE		0x48000000

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

#endif
