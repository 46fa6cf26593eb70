/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two functions that the compiler itself calls, for everyone.
 */
#ifndef STRING_H
#define STRING_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);

#endif
