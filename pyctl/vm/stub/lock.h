/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Spinlock between CPUs at EL2.  Interrupts are never taken there, so a holder
 * is never interrupted; sections are short.  Needs cacheable memory, that is
 * the MMU on.
 */
#ifndef LOCK_H
#define LOCK_H

#include <stdbool.h>

struct lock {
	bool taken;
};

static inline bool lock_try(struct lock *lock)
{
	return !__atomic_test_and_set(&lock->taken, __ATOMIC_ACQUIRE);
}

static inline void lock_acquire(struct lock *lock)
{
	while (!lock_try(lock))
		while (__atomic_load_n(&lock->taken, __ATOMIC_RELAXED))
			__asm__ volatile("yield");
}

static inline void lock_release(struct lock *lock)
{
	__atomic_clear(&lock->taken, __ATOMIC_RELEASE);
}

#endif
