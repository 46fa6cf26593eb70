/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * PSCI (Arm DEN0022): identifiers, results, and what boot and traps need of it.
 */
#ifndef PSCI_H
#define PSCI_H

#include <stdint.h>

#include "compiler.h"
#include "smccc.h"

struct call;
struct cpu;

#define PSCI_VERSION		FID32(OWNER_STANDARD, 0x00U)
#define PSCI_CPU_SUSPEND	FID32(OWNER_STANDARD, 0x01U)
#define PSCI_CPU_SUSPEND64	FID64(OWNER_STANDARD, 0x01U)
#define PSCI_CPU_OFF		FID32(OWNER_STANDARD, 0x02U)
#define PSCI_CPU_ON		FID32(OWNER_STANDARD, 0x03U)
#define PSCI_CPU_ON64		FID64(OWNER_STANDARD, 0x03U)
#define PSCI_AFFINITY_INFO	FID32(OWNER_STANDARD, 0x04U)
#define PSCI_AFFINITY_INFO64	FID64(OWNER_STANDARD, 0x04U)
#define PSCI_MIGRATE_INFO_TYPE	FID32(OWNER_STANDARD, 0x06U)
#define PSCI_SYSTEM_OFF		FID32(OWNER_STANDARD, 0x08U)
#define PSCI_SYSTEM_RESET	FID32(OWNER_STANDARD, 0x09U)
#define PSCI_FEATURES		FID32(OWNER_STANDARD, 0x0aU)

#define PSCI_VERSION_0_2	0x00002
#define PSCI_VERSION_1_1	0x10001

enum psci_status {
	PSCI_SUCCESS = 0,
	PSCI_NOT_SUPPORTED = -1,
	PSCI_INVALID_PARAMETERS = -2,
	PSCI_ALREADY_ON = -4,
	PSCI_ON_PENDING = -5,
	PSCI_INTERNAL_FAILURE = -6,
	PSCI_INVALID_ADDRESS = -9,
};

/* Of the table in dispatch.c. */
void psci_version(struct call *call);
void psci_cpu_on(struct call *call);
void psci_cpu_off(struct call *call);
void psci_forward(struct call *call);

void psci_boot_cpu(struct cpu *cpu);
uint64_t psci_cpus_online(void);

/* Powers the machine off; stays here if that is refused. */
__noreturn void psci_system_off(void);

/* Where start.S has a CPU begin that CPU_ON started, and where it takes it. */
extern uint8_t secondary_entry[];
__noreturn void secondary_main(struct cpu *cpu);

/* start.S; x1 to x3 are the call's arguments, the result is its x0 */
int64_t psci_smc(uint64_t fid, uint64_t x1, uint64_t x2, uint64_t x3);
int64_t psci_hvc(uint64_t fid, uint64_t x1, uint64_t x2, uint64_t x3);

#endif
