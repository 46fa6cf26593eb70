// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of the state of SVE and SME in a call of firmware. SMCCC 1.2 wants it
 * preserved; a call that has the hint of SMCCC 1.3 in its function id gives it up.
 *
 * The kernel keeps this state for programs, partly in the registers while others run. So
 * all of it is put away first and put back afterwards, bit by bit, with interrupts off.
 */
#include "config_check.h"

#include <linux/bitops.h>
#include <linux/cpufeature.h>
#include <linux/irqflags.h>
#include <linux/lockdep.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/stddef.h>
#include <linux/string.h>

#include <asm/barrier.h>
#include <asm/sysreg.h>

#include "kernel_compat.h"
#include "vector_state.h"
#include "vectors.h"

/* Arm DDI 0487, "SVE vector length": 2048 bits at most; the same for SME. */
#define VECTOR_BYTES_MAX	256
#define V_BYTES			16
#define P_BYTES(vector_bytes)	((vector_bytes) / 8)
#define SVE_BYTES_MAX		(NR_Z * VECTOR_BYTES_MAX + (NR_P + 1) * P_BYTES(VECTOR_BYTES_MAX))
#define ZA_BYTES_MAX		(VECTOR_BYTES_MAX * VECTOR_BYTES_MAX)

/**
 * struct vector_watch - vector state around one call
 * @theirs: SVE registers of whoever had them before
 * @sve_before: as firmware is given them: Z0 to Z31, P0 to P15, FFR, back to back
 * @sve_after: as they come back
 * @svcr_after: which of streaming mode and ZA is on after the call
 * @sve_bytes: of each Z register, 0 if they are left alone
 * @za_bytes: of each row of ZA, 0 if it is left alone
 * @zcr: by which somebody's Z registers may be shorter than the CPU's
 * @smcr: the same for ZA
 * @za_before: ZA as firmware is given it; last, for not every machine needs the two
 * @za_after: as it comes back
 */
struct vector_watch {
	u8 theirs[SVE_BYTES_MAX];
	u8 sve_before[SVE_BYTES_MAX];
	u8 sve_after[SVE_BYTES_MAX];
	u64 svcr_after;
	unsigned int sve_bytes;
	unsigned int za_bytes;
	u64 zcr;
	u64 smcr;
	u8 za_before[ZA_BYTES_MAX];
	u8 za_after[ZA_BYTES_MAX];
};

int vectors_alloc(struct vector_watch **watch)
{
	bool sme = kernel_has_sme();

	*watch = NULL;
	if (!sme && !cpu_have_named_feature(SVE))
		return 0;
	*watch = kvmalloc(sme ? sizeof(**watch) : offsetof(struct vector_watch, za_before),
			  GFP_KERNEL_ACCOUNT);
	if (!*watch)
		return -ENOMEM;
	/* Where no call is made nothing is looked at. */
	(*watch)->sve_bytes = 0;
	(*watch)->za_bytes = 0;
	return 0;
}

/* Bytes each unlike its neighbours, none of them zero, and no register like another. */
static void fill(u8 *state, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes; i++)
		state[i] = (i * 37 + i / 251) | 1;
}

static u8 *ffr_of(u8 *sve, unsigned int vector_bytes)
{
	return sve + NR_Z * vector_bytes + NR_P * P_BYTES(vector_bytes);
}

static void fill_sve(struct vector_watch *watch)
{
	unsigned int bytes;
	u8 *ffr;

	watch->zcr = read_sysreg_s(SYS_ZCR_EL1);
	write_sysreg_s(watch->zcr | ZCR_ELx_LEN_MASK, SYS_ZCR_EL1);
	isb();
	bytes = sve_vector_bytes();
	sve_store(watch->theirs);

	/* FFR holds nothing but ones below zeroes. */
	ffr = ffr_of(watch->sve_before, bytes);
	fill(watch->sve_before, ffr - watch->sve_before);
	memset(ffr, 0, P_BYTES(bytes));
	memset(ffr, 0xff, P_BYTES(bytes) / 2);
	sve_load(watch->sve_before);
	watch->sve_bytes = bytes;
}

static void take_sve(struct vector_watch *watch)
{
	sve_store(watch->sve_after);
	sve_load(watch->theirs);
	write_sysreg_s(watch->zcr, SYS_ZCR_EL1);
	isb();
}

static void fill_za(struct vector_watch *watch)
{
	watch->smcr = read_sysreg_s(SYS_SMCR_EL1);
	write_sysreg_s(watch->smcr | SMCR_ELx_LEN_MASK, SYS_SMCR_EL1);
	isb();
	write_sysreg_s(SVCR_ZA_MASK, SYS_SVCR);
	isb();
	watch->za_bytes = sme_vector_bytes();
	fill(watch->za_before, watch->za_bytes * watch->za_bytes);
	za_load(watch->za_before, watch->za_bytes);
}

static void take_za(struct vector_watch *watch)
{
	watch->svcr_after = read_sysreg_s(SYS_SVCR);
	if (watch->svcr_after & SVCR_ZA_MASK)
		za_store(watch->za_after, watch->za_bytes);
	/* Out of streaming mode, too, for its Z registers are others. */
	write_sysreg_s(0, SYS_SVCR);
	isb();
	write_sysreg_s(watch->smcr, SYS_SMCR_EL1);
	isb();
}

void vectors_fill(struct vector_watch *watch)
{
	bool sme = kernel_has_sme();
	u64 svcr;

	lockdep_assert_irqs_disabled();
	if (!watch)
		return;
	svcr = sme ? read_sysreg_s(SYS_SVCR) : 0;
	/* A program's streaming mode has other registers, and ZA is its own while it is on. */
	if (cpu_have_named_feature(SVE) && !(svcr & SVCR_SM_MASK))
		fill_sve(watch);
	if (sme && !svcr)
		fill_za(watch);
}

void vectors_take(struct vector_watch *watch)
{
	if (!watch)
		return;
	if (watch->za_bytes)
		take_za(watch);
	if (watch->sve_bytes)
		take_sve(watch);
}

static void compare(struct lost_vectors *lost, unsigned int which, const u8 *before,
		    const u8 *after, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes && before[i] == after[i]; i++)
		;
	if (i == bytes)
		return;
	i = round_down(i, sizeof(u64));
	__set_bit(which, lost->registers);
	memcpy(&lost->value[which], after + i, min(bytes - i, sizeof(u64)));
}

void vectors_compare(const struct vector_watch *watch, struct lost_vectors *lost)
{
	const u8 *before, *after;
	unsigned int i, bytes;

	if (!watch)
		return;
	lost->sve_bytes = watch->sve_bytes;
	lost->za_bytes = watch->za_bytes;
	if (watch->sve_bytes) {
		before = watch->sve_before;
		after = watch->sve_after;
		bytes = watch->sve_bytes;
		for (i = 0; i < NR_Z; i++, before += bytes, after += bytes) {
			compare(lost, VECTOR_V + i, before, after, V_BYTES);
			compare(lost, VECTOR_Z + i, before + V_BYTES, after + V_BYTES,
				bytes - V_BYTES);
		}
		bytes = P_BYTES(bytes);
		for (i = VECTOR_P; i <= VECTOR_FFR; i++, before += bytes, after += bytes)
			compare(lost, i, before, after, bytes);
	}
	if (!watch->za_bytes)
		return;
	if (watch->svcr_after != SVCR_ZA_MASK) {
		__set_bit(VECTOR_SVCR, lost->registers);
		lost->value[VECTOR_SVCR] = watch->svcr_after;
	}
	if (watch->svcr_after & SVCR_ZA_MASK)
		compare(lost, VECTOR_ZA, watch->za_before, watch->za_after,
			watch->za_bytes * watch->za_bytes);
}
