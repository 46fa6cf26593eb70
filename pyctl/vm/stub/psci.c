// SPDX-License-Identifier: GPL-2.0-only
/*
 * PSCI for the guest.  The machine below answers PSCI itself, to SMC from EL2;
 * most calls go on to it.  CPU_ON does not: a CPU must come up in the stub
 * first, or it would run the guest at EL2.
 */
#include <stddef.h>

#include "compiler.h"
#include "call.h"
#include "cpu.h"
#include "psci.h"

struct cpu cpus[MAX_CPUS];

static struct lock cpus_lock;	/* mpidr, state, entry and context of all CPUs */

static void set_state(struct cpu *cpu, enum cpu_state state)
{
	lock_acquire(&cpus_lock);
	cpu->state = state;
	lock_release(&cpus_lock);
}

void psci_boot_cpu(struct cpu *cpu)
{
	cpu->mpidr = cpu_affinity();
	set_state(cpu, CPU_ON);
}

uint64_t psci_cpus_online(void)
{
	uint64_t online = 0;

	lock_acquire(&cpus_lock);
	for (unsigned int i = 0; i < MAX_CPUS; i++)
		online += cpus[i].state == CPU_ON;
	lock_release(&cpus_lock);
	return online;
}

__noreturn void psci_system_off(void)
{
	psci_smc(PSCI_SYSTEM_OFF, 0, 0, 0);
	for (;;)
		__asm__ volatile("wfi");
}

/* 0.2 is the last version without PSCI_FEATURES, through which an operating
 * system would find SMCCC.
 */
void psci_version(struct call *call)
{
	bool smccc = call->settings.value[KEY_SMCCC_VERSION];

	call_return(call, smccc ? PSCI_VERSION_1_1 : PSCI_VERSION_0_2);
}

void psci_forward(struct call *call)
{
	/* The function of the width that the guest used; only x0 comes back. */
	call_return(call, psci_smc(call->fid, call->arg[1], call->arg[2], call->arg[3]));
}

/* The slot of this CPU, or a free one; cpus_lock held. */
static struct cpu *slot_of(uint64_t mpidr)
{
	struct cpu *unused = NULL;

	for (unsigned int i = 0; i < MAX_CPUS; i++) {
		if (cpus[i].state == CPU_UNUSED)
			unused = unused ? unused : &cpus[i];
		else if (cpus[i].mpidr == mpidr)
			return &cpus[i];
	}
	return unused;
}

static int64_t cpu_on(uint64_t mpidr, uint64_t entry, uint64_t context)
{
	struct cpu *cpu = slot_of(mpidr);
	enum cpu_state before;
	int64_t status;

	if (!cpu)
		return PSCI_INTERNAL_FAILURE;
	before = cpu->state;
	if (before == CPU_ON)
		return PSCI_ALREADY_ON;
	if (before == CPU_PENDING)
		return PSCI_ON_PENDING;

	cpu->mpidr = mpidr;
	cpu->entry = entry;
	cpu->context = context;
	cpu->state = CPU_PENDING;
	/* The CPU may be running before this returns; it waits for the lock. */
	status = psci_smc(PSCI_CPU_ON64, mpidr, (uint64_t)secondary_entry, (uint64_t)cpu);
	if (status != PSCI_SUCCESS)
		cpu->state = before;
	return status;
}

void psci_cpu_on(struct call *call)
{
	uint64_t mpidr = call->arg[1];
	uint64_t entry = call->arg[2];
	int64_t status;

	if (mpidr & ~MPIDR_AFFINITY) {
		call_return(call, PSCI_INVALID_PARAMETERS);
		return;
	}
	/* Below its base the difference wraps, and so is beyond its end. */
	if (entry % 4 || entry - firmware_base() < FIRMWARE_SIZE) {
		call_return(call, PSCI_INVALID_ADDRESS);
		return;
	}
	lock_acquire(&cpus_lock);
	status = cpu_on(mpidr, entry, call->arg[3]);
	lock_release(&cpus_lock);
	call_return(call, status);
}

/* Where start.S takes a CPU that CPU_ON started. */
__noreturn void secondary_main(struct cpu *cpu)
{
	uint64_t entry, context;

	lock_acquire(&cpus_lock);
	cpu->state = CPU_ON;
	entry = cpu->entry;
	context = cpu->context;
	lock_release(&cpus_lock);

	cpu_open_to_guest();
	enter_guest(entry, context);
}

void psci_cpu_off(struct call *call)
{
	struct cpu *cpu = this_cpu();

	/* Another CPU may start this one from here on; the machine refuses that
	 * until this one is really off.
	 */
	set_state(cpu, CPU_OFF);
	call_return(call, psci_smc(PSCI_CPU_OFF, 0, 0, 0));
	set_state(cpu, CPU_ON);
}
