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

#define FIELD(reg, shift) ((read_sysreg(reg) >> (shift)) & 0xf)

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

#define HCR_TSC		(1UL << 19)	/* SMC from EL1 comes to us */
#define HCR_RW		(1UL << 31)
#define HCR_E2H		(1UL << 34)
#define HCR_APK		(1UL << 40)	/* pointer authentication: keys */
#define HCR_API		(1UL << 41)	/* and instructions */
#define HCR_FIEN	(1UL << 47)	/* RAS fault injection registers */
#define HCR_ENSCXT	(1UL << 53)	/* SCXTNUM */
#define HCR_ATA		(1UL << 56)	/* allocation tags */

#define SCTLR_EL1_RESET	0x30d00800UL	/* RES1 bits; MMU, caches and checks off */

/* EnAS0 EnALS EnASR MSCEn TCR2En SCTLR2En D128En EnSNERR EnSDERR EnIDCP128
 * GCSEn EnFPM PACMEn SRMASKEn
 */
#define HCRX_ALLOW	(0x7UL | 1UL << 11 | 1UL << 14 | 1UL << 15 | 1UL << 17 | 1UL << 18 | \
			 1UL << 20 | 1UL << 21 | 1UL << 22 | 1UL << 23 | 1UL << 24 | 1UL << 26)

/* Fine-grained traps: the bits whose name begins with n allow when they are 1. */
#define HFGTR_ALLOW	(0xffUL << 56 | 0x3dUL << 50)	/* nACCDATA nGCS nSMPRI .. nAMAIR2 */
#define HFGITR_ALLOW	(0x1fUL << 55)			/* nBRB* nGCS* */
#define HDFGRTR_ALLOW	(0xfUL << 59)			/* nBRB* nPMSNEVFR */
#define HDFGWTR_ALLOW	(0x7UL << 60)
#define HFGTR2_ALLOW	0x7fffUL
#define HFGITR2_ALLOW	(1UL << 1)			/* nDCCIVAPS */
#define HDFGTR2_ALLOW	(0x1ffffffUL & ~(1UL << 21))	/* all but bit 21 */
#define HDFGWTR2_NPMZR	(1UL << 21)			/* which only writes have */

/* E2PB and E2TB: profiling and trace buffers belong to EL1; EnSPM, EBWE, EnSTEPOP. */
#define MDCR_ALLOW	(3UL << 12 | 1UL << 15 | 3UL << 24 | 1UL << 43 | 1UL << 50)

static void open_traps(void)
{
	uint64_t fgt = FIELD(id_aa64mmfr0_el1, 56);

	if (FIELD(id_aa64mmfr1_el1, 40))
		write_sysreg(HCRX_EL2, HCRX_ALLOW);
	if (fgt >= 1) {
		write_sysreg(HFGRTR_EL2, HFGTR_ALLOW);
		write_sysreg(HFGWTR_EL2, HFGTR_ALLOW);
		write_sysreg(HFGITR_EL2, HFGITR_ALLOW);
		write_sysreg(HDFGRTR_EL2, HDFGRTR_ALLOW);
		write_sysreg(HDFGWTR_EL2, HDFGWTR_ALLOW);
		if (FIELD(id_aa64pfr0_el1, 44))
			write_sysreg(HAFGRTR_EL2, 0);
	}
	if (fgt >= 2) {
		write_sysreg(HFGRTR2_EL2, HFGTR2_ALLOW);
		write_sysreg(HFGWTR2_EL2, HFGTR2_ALLOW);
		write_sysreg(HFGITR2_EL2, HFGITR2_ALLOW);
		write_sysreg(HDFGRTR2_EL2, HDFGTR2_ALLOW);
		write_sysreg(HDFGWTR2_EL2, HDFGTR2_ALLOW | HDFGWTR2_NPMZR);
	}
	if (FIELD(id_aa64pfr0_el1, 40) || FIELD(id_aa64pfr1_el1, 16))
		write_sysreg(MPAM2_EL2, 0);
	write_sysreg(hstr_el2, 0);
}

/* Floating point, SVE and SME: no traps, and the longest vectors. */
static void open_vectors(bool e2h)
{
	bool sve = FIELD(id_aa64pfr0_el1, 32);
	bool sme = FIELD(id_aa64pfr1_el1, 24);

	if (e2h)	/* E0POE, SMEN, FPEN, ZEN: the layout of CPACR_EL1 */
		write_sysreg(cptr_el2, 1UL << 29 | 3UL << 24 | 3UL << 20 | 3UL << 16);
	else		/* RES1 bits, and TSM and TZ where they are RES1 too */
		write_sysreg(cptr_el2, 0x22ffUL | (sme ? 0 : 1UL << 12) | (sve ? 0 : 1UL << 8));
	isb();
	if (sve)
		write_sysreg(ZCR_EL2, 0xf);
	if (sme) {
		uint64_t features = read_sysreg(ID_AA64SMFR0);
		uint64_t smcr = 0xf;

		if (features >> 63)			/* FA64 */
			smcr |= 1UL << 31;
		if ((features >> 56) & 0xf)		/* SME2: ZT0 */
			smcr |= 1UL << 30;
		write_sysreg(SMCR_EL2, smcr);
	}
}

static void open_timers(bool e2h)
{
	/* Physical counter and timer for EL1 (EL1PCTEN, EL1PCEN). */
	write_sysreg(cnthctl_el2, e2h ? 3UL << 10 : 3UL);
	write_sysreg(cntvoff_el2, 0);
	if (FIELD(id_aa64mmfr0_el1, 60) >= 2)
		write_sysreg(CNTPOFF_EL2, 0);
}

static void open_debug(void)
{
	uint64_t pmu = FIELD(id_aa64dfr0_el1, 8);
	uint64_t mdcr = MDCR_ALLOW;

	/* All event counters are EL1's; 0xf means "not the Arm PMU". */
	if (pmu && pmu != 0xf)
		mdcr |= (read_sysreg(pmcr_el0) >> 11) & 0x1f;
	write_sysreg(mdcr_el2, mdcr);
}

static void open_gic(void)
{
	if (!FIELD(id_aa64pfr0_el1, 24))
		return;
	write_sysreg(ICC_SRE_EL2, 0xf);	/* SRE, DFB, DIB, Enable */
	isb();
	write_sysreg(ICH_HCR_EL2, 0);
}

void cpu_open_to_guest(void)
{
	bool e2h;

	write_sysreg(hcr_el2, HCR_TSC | HCR_RW | HCR_APK | HCR_API | HCR_FIEN | HCR_ENSCXT | HCR_ATA);
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
	if (e2h)
		write_sysreg(SCTLR_EL12, SCTLR_EL1_RESET);
	else
		write_sysreg(sctlr_el1, SCTLR_EL1_RESET);
	isb();
}
