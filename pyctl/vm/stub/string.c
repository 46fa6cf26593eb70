// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two functions that the compiler itself calls for structures.  A word at a
 * time where alignment allows: they are on the path of every call.
 */
#include <stdint.h>

#include "string.h"

void *memcpy(void *to, const void *from, size_t size)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	if (((uintptr_t)t | (uintptr_t)f) % 8 == 0)
		for (; size >= 8; size -= 8, t += 8, f += 8)
			*(uint64_t *)t = *(const uint64_t *)f;
	while (size--)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int byte, size_t size)
{
	uint64_t word = 0x0101010101010101UL * (uint8_t)byte;
	uint8_t *t = to;

	if ((uintptr_t)t % 8 == 0)
		for (; size >= 8; size -= 8, t += 8)
			*(uint64_t *)t = word;
	while (size--)
		*t++ = (uint8_t)byte;
	return to;
}
