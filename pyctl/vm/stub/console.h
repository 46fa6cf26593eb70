/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text on the board's UART.  For reset and for fatal errors: once the guest
 * runs, the UART is its own.
 */
#ifndef CONSOLE_H
#define CONSOLE_H

#include "compiler.h"

void console_init(void);

/*
 * Prints one message whole, not mixed with another CPU's.  Knows %s, and %lu,
 * %ld and %lx for 64-bit values; %lx comes with 0x in front.
 */
__printf(1, 2)
void console_print(const char *format, ...);

#endif
