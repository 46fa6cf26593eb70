/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the steps of reset share.
 */
#ifndef BOOT_H
#define BOOT_H

#include "compiler.h"
#include "console.h"
#include "psci.h"
#include "settings.h"

/* One line that says why, and power-off. */
#define boot_refuse(format, ...) do {						\
	console_print("stub: refusing to start: " format "\n", ##__VA_ARGS__);	\
	psci_system_off();							\
} while (0)

/* Where start.S takes the boot CPU, with the MMU on; and where, if there is no EL2. */
__noreturn void boot_main(struct cpu *cpu);
__noreturn void refuse_el(void);

/* Puts the settings at CONFIG_OFFSET into force, or refuses; gives a copy of them. */
void config_apply(struct settings *applied);

#endif
