// SPDX-License-Identifier: GPL-2.0-only
/*
 * EL2 control registers, on every CPU just before it enters the guest.
 *
 * The guest reads the true ID registers, so whatever they advertise must work
 * at EL1 and EL0: a forgotten enable bit shows as a guest that hangs before its
 * first line.  A register is written only where the ID registers say that it
 * exists.  Within a register the masks are those of every feature known: a bit
 * whose feature is absent is RES0 and without effect.
 */
#include "cpu.h"
#include "regs.h"
#include "sysreg.h"

/* Encodings of what Armv8.0 lacks. */
#define ID_AA64SMFR0	s3_0_c0_c4_5
#define SCTLR_EL12	s3_5_c1_c0_0
#define HCRX_EL2	s3_4_c1_c2_2
#define ZCR_EL2		s3_4_c1_c2_0
#define SMCR_EL2	s3_4_c1_c2_6
#define CNTPOFF_EL2	s3_4_c14_c0_6
#define MPAM2_EL2	s3_4_c10_c5_0
#define ICC_SRE_EL2	s3_4_c12_c9_5
#define ICH_HCR_EL2	s3_4_c12_c11_0
#define HFGRTR_EL2	s3_4_c1_c1_4
#define HFGWTR_EL2	s3_4_c1_c1_5
#define HFGITR_EL2	s3_4_c1_c1_6
#define HDFGRTR_EL2	s3_4_c3_c1_4
#define HDFGWTR_EL2	s3_4_c3_c1_5
#define HAFGRTR_EL2	s3_4_c3_c1_6
#define HFGRTR2_EL2	s3_4_c3_c1_2
#define HFGWTR2_EL2	s3_4_c3_c1_3
#define HFGITR2_EL2	s3_4_c3_c1_7
#define HDFGRTR2_EL2	s3_4_c3_c1_0
#define HDFGWTR2_EL2	s3_4_c3_c1_1

#define HCR_GUEST	(HCR_TSC | HCR_RW | HCR_APK | HCR_API | HCR_FIEN | HCR_ENSCXT | HCR_ATA)

#define HCRX_ALLOW	(HCRX_ENAS0 | HCRX_ENALS | HCRX_ENASR | HCRX_MSCEN | HCRX_TCR2EN | \
			 HCRX_SCTLR2EN | HCRX_D128EN | HCRX_ENSNERR | HCRX_ENSDERR | \
			 HCRX_ENIDCP128 | HCRX_GCSEN | HCRX_ENFPM | HCRX_PACMEN | HCRX_SRMASKEN)

/* Fine-grained traps: the bits whose name begins with n allow when they are 1. */
#define HFGTR_ALLOW	(BITS(63, 52) | BIT(50))	/* nACCDATA nGCS nSMPRI .. nAMAIR2 */
#define HFGITR_ALLOW	BITS(59, 55)			/* nBRB* nGCS* */
#define HDFGRTR_ALLOW	BITS(62, 59)			/* nBRB* nPMSNEVFR */
#define HDFGWTR_ALLOW	BITS(62, 60)
#define HFGTR2_ALLOW	BITS(14, 0)
#define HFGITR2_ALLOW	BIT(1)				/* nDCCIVAPS */
#define HDFGTR2_ALLOW	(BITS(24, 22) | BITS(20, 0))
#define HDFGWTR2_NPMZR	BIT(21)				/* which only writes have */

#define MDCR_ALLOW	(MDCR_E2PB_EL1 | MDCR_ENSPM | MDCR_E2TB_EL1 | MDCR_EBWE | MDCR_ENSTEPOP)

#define CPTR_E2H_OPEN	(CPTR_E2H_E0POE | CPTR_E2H_SMEN | CPTR_E2H_FPEN | CPTR_E2H_ZEN)

static void open_traps(void)
{
	uint64_t fgt = id_field(id_aa64mmfr0_el1, MMFR0_FGT);

	if (id_field(id_aa64mmfr1_el1, MMFR1_HCX))
		write_sysreg(HCRX_EL2, HCRX_ALLOW);
	if (fgt >= 1) {
		write_sysreg(HFGRTR_EL2, HFGTR_ALLOW);
		write_sysreg(HFGWTR_EL2, HFGTR_ALLOW);
		write_sysreg(HFGITR_EL2, HFGITR_ALLOW);
		write_sysreg(HDFGRTR_EL2, HDFGRTR_ALLOW);
		write_sysreg(HDFGWTR_EL2, HDFGWTR_ALLOW);
		if (id_field(id_aa64pfr0_el1, PFR0_AMU))
			write_sysreg(HAFGRTR_EL2, 0);
	}
	if (fgt >= 2) {
		write_sysreg(HFGRTR2_EL2, HFGTR2_ALLOW);
		write_sysreg(HFGWTR2_EL2, HFGTR2_ALLOW);
		write_sysreg(HFGITR2_EL2, HFGITR2_ALLOW);
		write_sysreg(HDFGRTR2_EL2, HDFGTR2_ALLOW);
		write_sysreg(HDFGWTR2_EL2, HDFGTR2_ALLOW | HDFGWTR2_NPMZR);
	}
	if (id_field(id_aa64pfr0_el1, PFR0_MPAM) || id_field(id_aa64pfr1_el1, PFR1_MPAM_FRAC))
		write_sysreg(MPAM2_EL2, 0);
	write_sysreg(hstr_el2, 0);
}

/* Floating point, SVE and SME: no traps, and the longest vectors. */
static void open_vectors(bool e2h)
{
	bool sve = id_field(id_aa64pfr0_el1, PFR0_SVE);
	bool sme = id_field(id_aa64pfr1_el1, PFR1_SME);

	if (e2h)
		write_sysreg(cptr_el2, CPTR_E2H_OPEN);
	else
		write_sysreg(cptr_el2, CPTR_RES1 | (sme ? 0 : CPTR_TSM) | (sve ? 0 : CPTR_TZ));
	isb();
	if (sve)
		write_sysreg(ZCR_EL2, ZCR_LEN_LONGEST);
	if (sme) {
		uint64_t smcr = SMCR_LEN_LONGEST;

		if (read_sysreg(ID_AA64SMFR0) & BIT(SMFR0_FA64))
			smcr |= SMCR_FA64;
		if (id_field(ID_AA64SMFR0, SMFR0_SMEVER))	/* SME2: ZT0 */
			smcr |= SMCR_EZT0;
		write_sysreg(SMCR_EL2, smcr);
	}
}

static void open_timers(bool e2h)
{
	/* Physical counter and timer for EL1. */
	write_sysreg(cnthctl_el2, e2h ? CNTHCTL_E2H_EL1PCTEN | CNTHCTL_E2H_EL1PTEN :
					CNTHCTL_EL1PCTEN | CNTHCTL_EL1PCEN);
	write_sysreg(cntvoff_el2, 0);
	if (id_field(id_aa64mmfr0_el1, MMFR0_ECV) >= 2)
		write_sysreg(CNTPOFF_EL2, 0);
}

static void open_debug(void)
{
	uint64_t pmu = id_field(id_aa64dfr0_el1, DFR0_PMUVER);
	uint64_t mdcr = MDCR_ALLOW;

	/* All event counters are EL1's. */
	if (pmu && pmu != DFR0_PMUVER_OTHER)
		mdcr |= read_sysreg(pmcr_el0) >> PMCR_N_SHIFT & PMCR_N_MASK;
	write_sysreg(mdcr_el2, mdcr);
}

static void open_gic(void)
{
	if (!id_field(id_aa64pfr0_el1, PFR0_GIC))
		return;
	write_sysreg(ICC_SRE_EL2, ICC_SRE_SRE | ICC_SRE_DFB | ICC_SRE_DIB | ICC_SRE_ENABLE);
	isb();
	write_sysreg(ICH_HCR_EL2, 0);
}

void cpu_open_to_guest(void)
{
	bool e2h;

	write_sysreg(hcr_el2, HCR_GUEST);
	isb();
	e2h = read_sysreg(hcr_el2) & HCR_E2H;	/* some CPUs cannot clear it */

	open_traps();
	open_vectors(e2h);
	open_timers(e2h);
	open_debug();
	open_gic();

	write_sysreg(vttbr_el2, 0);
	write_sysreg(vpidr_el2, read_sysreg(midr_el1));
	write_sysreg(vmpidr_el2, read_sysreg(mpidr_el1));
	/* MMU, caches and checks off. */
	if (e2h)
		write_sysreg(SCTLR_EL12, SCTLR_EL1_RES1);
	else
		write_sysreg(sctlr_el1, SCTLR_EL1_RES1);
	isb();
}
