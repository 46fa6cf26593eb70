/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels that the modules are built for: Linux 5.15 and
 * newer. The one place that knows. Everything else is written for the newest kernel;
 * what an older one lacks gets that kernel's name for it here, with the kernel that
 * it is for. Asked for is the thing itself and not a version, because distributions
 * backport.
 *
 * What is new in both modules' kernels as a whole (the framework of Linux 6.19) is no
 * matter of names, and is asked for by its CONFIG where it is used.
 */
#ifndef KERNEL_COMPAT_H
#define KERNEL_COMPAT_H

/* Linux 6.1 and older: hex_to_bin() is declared in kernel.h. */
#if __has_include("linux/hex.h")
#include <linux/hex.h>
#else
#include <linux/kernel.h>
#endif

/* Linux 5.15: kvcalloc(), kvmalloc_array() and kvfree() are declared in mm.h. */
#include <linux/mm.h>

/* Linux 5.15: exception tables for inline assembly come with uaccess.h. */
#if __has_include("asm/asm-extable.h")
#include <asm/asm-extable.h>
#else
#include <linux/uaccess.h>
#endif

/*
 * Linux 6.1: only the general form, which also says where an error code and a zero
 * go; wzr is nowhere. Linux 5.15: one kind of entry for every fault.
 */
#ifndef _ASM_EXTABLE_KACCESS
#ifdef _ASM_EXTABLE_KACCESS_ERR_ZERO
#define _ASM_EXTABLE_KACCESS(insn, fixup) \
	_ASM_EXTABLE_KACCESS_ERR_ZERO(insn, fixup, wzr, wzr)
#else
#define _ASM_EXTABLE_KACCESS(insn, fixup) _ASM_EXTABLE(insn, fixup)
#endif
#endif

/* Linux 5.15: fields of ID registers are named without the exception level. */
#include <asm/sysreg.h>
#ifndef ID_AA64MMFR0_EL1_PARANGE_SHIFT
#define ID_AA64MMFR0_EL1_PARANGE_SHIFT ID_AA64MMFR0_PARANGE_SHIFT
#endif

/* Linux 5.15: no resource is marked as CXL's. Kbuild looks. */
#ifndef HAVE_IORES_DESC_CXL
#define IORES_DESC_CXL IORES_DESC_SOFT_RESERVED
#endif

/*
 * Linux 6.7 and older: the name was MAX_ORDER, first for one order more, later for the
 * same; the smaller of the two is right for both.
 */
#include <linux/mmzone.h>
#ifndef MAX_PAGE_ORDER
#define MAX_PAGE_ORDER (MAX_ORDER - 1)
#endif

/*
 * Linux 6.12 and older keep alloc_contig_pages() from modules. Whether this kernel gives
 * it is no matter of a declaration: Kbuild looks for it.
 */
#include <linux/err.h>
#include <linux/gfp.h>
static inline struct page *alloc_contiguous(unsigned long nr_pages, gfp_t gfp, int node)
{
#ifdef HAVE_ALLOC_CONTIG_PAGES
	return alloc_contig_pages(nr_pages, gfp, node, NULL) ?: ERR_PTR(-ENOMEM);
#else
	return ERR_PTR(-EOPNOTSUPP);
#endif
}

/* Linux 6.11 and older: there is no reserve_mem= on the command line. Kbuild looks. */
static inline bool find_reserved_memory(const char *name, phys_addr_t *addr, phys_addr_t *size)
{
#ifdef HAVE_RESERVE_MEM
	return reserve_mem_find_by_name(name, addr, size);
#else
	return false;
#endif
}

/* Linux 5.18 and older know no SME, and leave it switched off. */
#include <linux/cpufeature.h>
static inline bool kernel_has_sme(void)
{
#ifdef KERNEL_HWCAP_SME
	return cpu_have_named_feature(SME);
#else
	return false;
#endif
}

#ifndef SYS_SVCR
#define SYS_SVCR sys_reg(3, 3, 4, 2, 2)
#define SVCR_SM_MASK BIT(0)
#define SVCR_ZA_MASK BIT(1)
#endif
#ifndef SYS_SMCR_EL1
#define SYS_SMCR_EL1 sys_reg(3, 0, 1, 2, 6)
#endif
#ifndef SMCR_ELx_LEN_MASK
#define SMCR_ELx_LEN_MASK 0x1ff
#endif

#endif /* KERNEL_COMPAT_H */
