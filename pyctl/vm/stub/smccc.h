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

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "frame.h"
#include "settings.h"

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

/* One call, from the exception to the return. */
struct call {
	uint64_t *x;		/* the guest's x0-x17, where results go */
	uint32_t fid;		/* without the SVE hint */
	uint64_t arg[5];	/* [1]-[4] = x1-x4, cut to 32 bits for an SMC32 call */
	unsigned int conduit;	/* CONDUIT_HVC or CONDUIT_SMC */
	uint64_t entered;	/* CNTPCT */
	struct settings settings; /* as they were on entry: one call, one truth */
	struct faults faults;	/* that it suffers, decided on entry too */
};

/* Results: only what a function defines is written; the rest stays as it was. */
static inline void call_return(struct call *call, int64_t status)
{
	call->x[0] = (uint64_t)status;
	if (fault_hits(&call->faults, FAULT_X0_GARBAGE))
		call->x[0] = (uint32_t)status | call->faults.parameter[FAULT_X0_GARBAGE] << 32;
}

/* Serves the call in the guest's registers. */
void smccc_dispatch(struct frame *frame, unsigned int conduit, unsigned int immediate);

/* Whether this exact identifier is a function that is offered now. */
bool smccc_offers(uint32_t fid, const struct settings *settings);

/* Handlers of the table in smccc.c.  psci.c: */
void psci_version(struct call *call);
void psci_features(struct call *call);
void psci_cpu_on(struct call *call);
void psci_cpu_off(struct call *call);
void psci_forward(struct call *call);

/* cache.c */
void clean_inv(struct call *call);
void clean_inv_attributes(struct call *call);

/* vendor.c and, the last four, model.c */
void vendor_uid(struct call *call);
void vendor_revision(struct call *call);
void vendor_get(struct call *call);
void vendor_set(struct call *call);
void vendor_reset(struct call *call);
void vendor_queue(struct call *call);
void vendor_log(struct call *call);
void vendor_model(struct call *call);
void vendor_media_read(struct call *call);
void vendor_media_write(struct call *call);
void vendor_media_copy(struct call *call);

#endif
