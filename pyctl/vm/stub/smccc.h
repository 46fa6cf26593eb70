/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The SMC Calling Convention as the stub speaks it: Arm DEN0028 v1.7, and
 * DEN0022 for PSCI.
 *
 * This transcription is the stub's own on purpose.  A header shared with the
 * kernel modules would let one wrong number pass on both sides.
 */
#ifndef SMCCC_H
#define SMCCC_H

/* Function identifier: fast call, 64-bit convention, owner, number. */
#define FID_FAST		(1U << 31)
#define FID_SMC64		(1U << 30)
#define FID_OWNER_SHIFT		24
#define FID_OWNER_MASK		0x3fU
#define FID_SVE_HINT		(1U << 16)	/* no part of the function's identity */
#define FID_RESERVED		0x00fe0000U
#define FID_OWNER(fid)		((fid) >> FID_OWNER_SHIFT & FID_OWNER_MASK)
#define FID32(owner, number)	(FID_FAST | (owner) << FID_OWNER_SHIFT | (number))
#define FID64(owner, number)	(FID32(owner, number) | FID_SMC64)

#define OWNER_ARCH		0U
#define OWNER_STANDARD		4U
#define OWNER_VENDOR_HYP	6U

#define SMCCC_VERSION		FID32(OWNER_ARCH, 0U)
#define SMCCC_ARCH_FEATURES	FID32(OWNER_ARCH, 1U)
#define SMCCC_CLEAN_INV		FID64(OWNER_ARCH, 5U)
#define SMCCC_CLEAN_INV_ATTRIBUTES FID64(OWNER_ARCH, 6U)

#define VERSION_1_0		0x10000U
#define VERSION_1_1		0x10001U
#define VERSION_1_2		0x10002U

enum smccc_status {
	SMCCC_SUCCESS = 0,
	SMCCC_NOT_SUPPORTED = -1,
	SMCCC_NOT_REQUIRED = -2,
	SMCCC_INVALID_PARAMETER = -3,
	SMCCC_RATE_LIMITED = -4,
	SMCCC_BUSY = -5,
};

#endif
