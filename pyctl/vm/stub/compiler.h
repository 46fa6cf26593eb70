/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Short names for what the compiler offers.
 */
#ifndef COMPILER_H
#define COMPILER_H

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

#define __aligned(bytes)	__attribute__((aligned(bytes)))
#define __noreturn		__attribute__((noreturn))
#define __printf(string, first)	__attribute__((format(printf, string, first)))

#endif
