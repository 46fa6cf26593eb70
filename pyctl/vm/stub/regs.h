/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fields of the system registers that the stub reads and writes, by the names of
 * Arm DDI 0487.  Plain numbers only, since the assembler reads this file too.
 */
#ifndef REGS_H
#define REGS_H

#ifdef __ASSEMBLER__
#define FIELD(value, shift)	((value) << (shift))
#else
#define FIELD(value, shift)	((unsigned long)(value) << (shift))
#endif
#define BIT(n)			FIELD(1, n)
/* All bits from the high one down to the low one. */
#define BITS(high, low)		(FIELD(2, high) - FIELD(1, low))

/* Fields of ID registers: four bits each, by their shift. */
#define ID_WIDTH_MASK		0xf
#define MMFR0_PARANGE		0
#define MMFR0_FGT		56
#define MMFR0_ECV		60
#define MMFR1_HCX		40
#define MMFR3_TCRX		0
#define MMFR3_SCTLRX		4
#define PFR0_GIC		24
#define PFR0_SVE		32
#define PFR0_MPAM		40
#define PFR0_AMU		44
#define PFR1_MPAM_FRAC		16
#define PFR1_SME		24
#define DFR0_PMUVER		8
#define DFR0_PMUVER_OTHER	0xf	/* not the Arm PMU */
#define SMFR0_SMEVER		56
#define SMFR0_FA64		63	/* one bit */

/* CurrentEL, by its encoding. */
#define CURRENT_EL		s3_0_c4_c2_2
#define CURRENT_EL_SHIFT	2
#define CURRENT_EL_MASK		3

#define HCR_TSC			BIT(19)	/* SMC from EL1 comes to us */
#define HCR_RW			BIT(31)
#define HCR_E2H			BIT(34)
#define HCR_APK			BIT(40)	/* pointer authentication: keys */
#define HCR_API			BIT(41)	/* and instructions */
#define HCR_FIEN		BIT(47)	/* RAS fault injection registers */
#define HCR_ENSCXT		BIT(53)	/* SCXTNUM */
#define HCR_ATA			BIT(56)	/* allocation tags */

#define HCRX_ENAS0		BIT(0)
#define HCRX_ENALS		BIT(1)
#define HCRX_ENASR		BIT(2)
#define HCRX_MSCEN		BIT(11)
#define HCRX_TCR2EN		BIT(14)
#define HCRX_SCTLR2EN		BIT(15)
#define HCRX_D128EN		BIT(17)
#define HCRX_ENSNERR		BIT(18)
#define HCRX_ENSDERR		BIT(20)
#define HCRX_ENIDCP128		BIT(21)
#define HCRX_GCSEN		BIT(22)
#define HCRX_ENFPM		BIT(23)
#define HCRX_PACMEN		BIT(24)
#define HCRX_SRMASKEN		BIT(26)

#define SCTLR_M			BIT(0)
#define SCTLR_C			BIT(2)
#define SCTLR_SA		BIT(3)
#define SCTLR_I			BIT(12)
#define SCTLR_EL2_RES1		0x30c50830
#define SCTLR_EL1_RES1		0x30d00800

/* One byte for each kind of memory that a descriptor can name. */
#define MAIR_NORMAL_WB		0xff
#define MAIR_DEVICE_NGNRNE	0x00
#define MAIR(index, kind)	FIELD(kind, 8 * (index))

#define TCR_EL2_RES1		(BIT(31) | BIT(23))
#define TCR_T0SZ(bits)		(64 - (bits))
#define TCR_IRGN0_WB		FIELD(1, 8)
#define TCR_ORGN0_WB		FIELD(1, 10)
#define TCR_SH0_INNER		FIELD(3, 12)
#define TCR_PS_SHIFT		16
#define TCR_IPS_SHIFT		32	/* the same where E2H is 1 */
#define TCR_PS_48_BITS		5

#define SPSR_M_EL1H		0x5
#define SPSR_DAIF		BITS(9, 6)
#define SPSR_BTYPE		BITS(11, 10)
#define SPSR_SS			BIT(21)

#define ESR_EC_SHIFT		26
#define ESR_EC_MASK		0x3f
#define ESR_IMM16_MASK		0xffff
#define EC_HVC64		0x16
#define EC_SMC64		0x17

#define CPTR_RES1		0x22ff
#define CPTR_TZ			BIT(8)	/* RES1 without SVE */
#define CPTR_TSM		BIT(12)	/* RES1 without SME */
/* Where E2H is 1, the layout is that of CPACR_EL1. */
#define CPTR_E2H_ZEN		FIELD(3, 16)
#define CPTR_E2H_FPEN		FIELD(3, 20)
#define CPTR_E2H_SMEN		FIELD(3, 24)
#define CPTR_E2H_E0POE		BIT(29)

#define ZCR_LEN_LONGEST		0xf
#define SMCR_LEN_LONGEST	0xf
#define SMCR_EZT0		BIT(30)
#define SMCR_FA64		BIT(31)

#define CNTHCTL_EL1PCTEN	BIT(0)
#define CNTHCTL_EL1PCEN		BIT(1)
#define CNTHCTL_E2H_EL1PCTEN	BIT(10)
#define CNTHCTL_E2H_EL1PTEN	BIT(11)

#define MDCR_E2PB_EL1		FIELD(3, 12)	/* the profiling buffer is EL1's */
#define MDCR_ENSPM		BIT(15)
#define MDCR_E2TB_EL1		FIELD(3, 24)	/* the trace buffer, too */
#define MDCR_EBWE		BIT(43)
#define MDCR_ENSTEPOP		BIT(50)
#define PMCR_N_SHIFT		11
#define PMCR_N_MASK		0x1f

#define ICC_SRE_SRE		BIT(0)
#define ICC_SRE_DFB		BIT(1)
#define ICC_SRE_DIB		BIT(2)
#define ICC_SRE_ENABLE		BIT(3)

#define MPIDR_AFFINITY		(BITS(39, 32) | BITS(23, 0))

#endif
