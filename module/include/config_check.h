/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What both modules need of the kernel's configuration, one assertion each, so
 * that a build for the wrong kernel ends with the reason and not with a missing
 * header or symbol. Include it before anything else.
 */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include <linux/kconfig.h>

#if !IS_ENABLED(CONFIG_ARM64)
#error "CONFIG_ARM64 is off: the SMCCC cache calls exist on 64-bit Arm only"
#endif

#if !IS_ENABLED(CONFIG_HAVE_ARM_SMCCC_DISCOVERY)
#error "CONFIG_HAVE_ARM_SMCCC_DISCOVERY is off: this kernel cannot tell its SMCCC version"
#endif

#endif /* CONFIG_CHECK_H */
