// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the CPUs of this machine are, as far as others here need to know it.
 */
#include "config_check.h"

#include <linux/bits.h>
#include <linux/minmax.h>
#include <linux/types.h>

#include <asm/cpufeature.h>
#include <asm/pgtable.h>
#include <asm/sysreg.h>

#include "kernel_compat.h"
#include "memregion_test.h"

#define CTR_DMINLINE_SHIFT	16

/*
 * The smallest line of any CPU's data or unified cache. Arm DDI 0487, CTR_EL0: bits
 * 19:16 hold the binary logarithm of its number of words.
 */
unsigned long dcache_line_bytes(void)
{
	u64 ctr = read_sanitised_ftr_reg(SYS_CTR_EL0);

	return sizeof(u32) << cpuid_feature_extract_unsigned_field(ctr, CTR_DMINLINE_SHIFT);
}

/* What the CPUs implement; the kernel may be configured for less. */
unsigned int physical_address_bits(void)
{
	u64 mmfr0 = read_sanitised_ftr_reg(SYS_ID_AA64MMFR0_EL1);
	unsigned int parange =
		cpuid_feature_extract_unsigned_field(mmfr0, ID_AA64MMFR0_EL1_PARANGE_SHIFT);

	return id_aa64mmfr0_parange_to_phys_shift(parange);
}

/* The first address that no CPU here has, or that no page table entry can hold. */
u64 physical_address_end(void)
{
	return BIT_ULL(min_t(unsigned int, physical_address_bits(), PHYS_MASK_SHIFT));
}
