/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the stub keeps per CPU: its stacks and its PSCI state.
 */
#ifndef CPU_H
#define CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compiler.h"
#include "layout.h"
#include "regs.h"
#include "sysreg.h"

/* More than any board we start; CPU_ON beyond it is refused, not mishandled. */
#define MAX_CPUS 64

enum cpu_state {
	CPU_UNUSED,	/* no CPU has this slot */
	CPU_OFF,
	CPU_PENDING,	/* CPU_ON accepted, not yet in the stub */
	CPU_ON,
};

struct cpu {
	uint64_t mpidr;		/* affinity fields only */
	enum cpu_state state;	/* under psci.c's lock, as are the next two */
	uint64_t entry;		/* where in the guest this CPU starts */
	uint64_t context;	/* and its x0 there */
	bool dying;		/* a fatal exception is being reported */
	/* The rest of this page is the emergency stack; see layout.h. */
	uint8_t guard[4096] __aligned(4096);
	uint8_t stack[CPU_STACK_TOP - CPU_GUARD - 4096];
} __aligned(4096);

static_assert(offsetof(struct cpu, dying) < 64, "leave room for the emergency stack");
static_assert(offsetof(struct cpu, guard) == CPU_GUARD, "layout.h");
static_assert(sizeof(struct cpu) == CPU_SIZE, "layout.h");

extern struct cpu cpus[MAX_CPUS];	/* the boot CPU's is the first */

static inline uint64_t cpu_affinity(void)
{
	return read_sysreg(mpidr_el1) & MPIDR_AFFINITY;
}

static inline struct cpu *this_cpu(void)
{
	return (struct cpu *)read_sysreg(tpidr_el2);
}

/* Gives the guest everything that this CPU's ID registers advertise. */
void cpu_open_to_guest(void);

/* start.S */
__noreturn void enter_guest(uint64_t entry, uint64_t context);

#endif
