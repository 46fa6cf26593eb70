// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exceptions that reach EL2: the guest's calls, and everything that must not
 * happen, which ends the machine with all that is known about it.
 */
#include "compiler.h"
#include "console.h"
#include "cpu.h"
#include "dispatch.h"
#include "frame.h"
#include "psci.h"
#include "regs.h"
#include "settings.h"
#include "sysreg.h"
#include "trap.h"

#define ESR_EC(esr)	((esr) >> ESR_EC_SHIFT & ESR_EC_MASK)
#define ESR_IMM16(esr)	((esr) & ESR_IMM16_MASK)

#define VECTOR_GUEST_SYNC 8

static const char *const vector_names[16] = {
	"synchronous exception at EL2 on SP_EL0",
	"IRQ at EL2 on SP_EL0",
	"FIQ at EL2 on SP_EL0",
	"SError at EL2 on SP_EL0",
	"synchronous exception at EL2",
	"IRQ at EL2",
	"FIQ at EL2",
	"SError at EL2",
	"trap from EL1 or EL0",
	"IRQ from EL1 or EL0",
	"FIQ from EL1 or EL0",
	"SError from EL1 or EL0",
	"synchronous exception from AArch32",
	"IRQ from AArch32",
	"FIQ from AArch32",
	"SError from AArch32",
};

__noreturn void fatal_exception(struct frame *frame, unsigned int vector)
{
	struct cpu *cpu = this_cpu();

	/* A fault in here must not come back here. */
	if (cpu->dying)
		psci_system_off();
	cpu->dying = true;

	console_print("\nstub: fatal: unexpected %s, CPU %lx\n"
		      "stub: ESR_EL2 %lx (EC %lx) ELR_EL2 %lx FAR_EL2 %lx HPFAR_EL2 %lx\n"
		      "stub: SPSR_EL2 %lx SP %lx HCR_EL2 %lx\n",
		      vector_names[vector % 16], cpu_affinity(),
		      read_sysreg(esr_el2), ESR_EC(read_sysreg(esr_el2)), frame->elr,
		      read_sysreg(far_el2), read_sysreg(hpfar_el2),
		      frame->spsr, frame->sp, read_sysreg(hcr_el2));
	for (uint64_t i = 0; i < 31; i++)
		console_print("%s x%lu %lx", i % 4 ? "" : i ? "\nstub:" : "stub:", i, frame->x[i]);
	console_print("\nstub: powering off\n");
	psci_system_off();
}

/* A trapped SMC has not been executed; step over it as if it had been. */
static void skip_instruction(struct frame *frame)
{
	frame->elr += 4;
	frame->spsr &= ~(SPSR_BTYPE | SPSR_SS);
}

void guest_sync(struct frame *frame)
{
	uint64_t esr = read_sysreg(esr_el2);

	switch (ESR_EC(esr)) {
	case EC_HVC64:
		smccc_dispatch(frame, CONDUIT_HVC, ESR_IMM16(esr));
		break;
	case EC_SMC64:
		skip_instruction(frame);
		smccc_dispatch(frame, CONDUIT_SMC, ESR_IMM16(esr));
		break;
	default:
		fatal_exception(frame, VECTOR_GUEST_SYNC);
	}
}
