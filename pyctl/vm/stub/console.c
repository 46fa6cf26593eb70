// SPDX-License-Identifier: GPL-2.0-only
/*
 * The board's PL011 UART, polled, and the little formatting that the stub's few
 * messages need.
 */
#include <stdarg.h>
#include <stdint.h>

#include "console.h"
#include "layout.h"
#include "lock.h"

#define UART_DR		0x00
#define UART_FR		0x18
#define UART_IBRD	0x24
#define UART_FBRD	0x28
#define UART_LCRH	0x2c
#define UART_CR		0x30

#define FR_BUSY		(1U << 3)
#define FR_TXFF		(1U << 5)
#define LCRH_8N1_FIFO	0x70
#define CR_ENABLE	0x301	/* UARTEN, TXE, RXE */

/* The device drains in microseconds; a wedged one must not hang the stub. */
#define POLLS		1000000
/* How long a fatal message waits for a holder that may never come back. */
#define LOCK_TRIES	100000

static struct lock console_lock;	/* the UART, for one whole message */

static volatile uint32_t *uart(unsigned int offset)
{
	return (volatile uint32_t *)((uintptr_t)UART_BASE + offset);
}

static void wait_clear(uint32_t flag)
{
	for (unsigned int i = 0; i < POLLS && (*uart(UART_FR) & flag); i++)
		;
}

void console_init(void)
{
	/* 115200 baud at the board's 24 MHz. */
	*uart(UART_CR) = 0;
	*uart(UART_IBRD) = 13;
	*uart(UART_FBRD) = 1;
	*uart(UART_LCRH) = LCRH_8N1_FIFO;
	*uart(UART_CR) = CR_ENABLE;
}

static void put(char c)
{
	if (c == '\n')
		put('\r');
	wait_clear(FR_TXFF);
	*uart(UART_DR) = (unsigned char)c;
}

static void put_string(const char *s)
{
	while (*s)
		put(*s++);
}

static void put_number(uint64_t value, unsigned int base)
{
	char digits[21];
	char *p = &digits[sizeof(digits) - 1];

	*p = '\0';
	do {
		*--p = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	put_string(p);
}

static void put_signed(int64_t value)
{
	if (value < 0)
		put('-');
	put_number(value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10);
}

void console_print(const char *format, ...)
{
	unsigned int tries = 0;
	bool locked;
	va_list args;

	while (!(locked = lock_try(&console_lock)) && ++tries < LOCK_TRIES)
		__asm__ volatile("yield");

	va_start(args, format);
	for (const char *f = format; *f; f++) {
		if (*f != '%') {
			put(*f);
			continue;
		}
		f++;
		if (*f == 'l')
			f++;
		if (*f == 's') {
			put_string(va_arg(args, const char *));
		} else if (*f == 'x') {
			put_string("0x");
			put_number(va_arg(args, uint64_t), 16);
		} else if (*f == 'd') {
			put_signed(va_arg(args, int64_t));
		} else {
			put_number(va_arg(args, uint64_t), 10);
		}
	}
	va_end(args);
	wait_clear(FR_BUSY);

	if (locked)
		lock_release(&console_lock);
}
