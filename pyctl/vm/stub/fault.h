/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Deliberate misbehaviour: what this firmware can be told to do wrong, and on
 * which calls.  A fault occupies a slot; slots are written through the same keys
 * as every other setting, and come into force all together or not at all.
 *
 * Which faults a call suffers is decided once, on entry.  The code that serves
 * the call then only asks fault_hits().
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>
#include <stdint.h>

#define FAULT_SLOTS		16U

/*
 * Keys; index = slot.  Written values wait until a commit.  KIND comes first: it
 * sets the others to their defaults.  Reading gives what is in force.
 */
#define KEY_FAULT_KIND		0x40U	/* enum fault_kind; 0 = the slot is empty */
#define KEY_FAULT_PARAMETER	0x41U
#define KEY_FAULT_COUNT		0x42U	/* most times that it happens; 0 = no limit */
#define KEY_FAULT_EVERY		0x43U	/* on every k-th of the calls it is about */
#define KEY_FAULT_CPU		0x44U	/* MPIDR affinity, or FAULT_ANY_CPU */
#define KEY_FAULT_CALLS		0x45U	/* FAULT_ON_* */
#define KEY_FAULT_COMMIT	0x46U	/* write only: slots to fill | slots to empty << 32 */
#define KEY_FAULT_SEEN		0x47U	/* read only: calls that it was about */
#define KEY_FAULT_FIRED		0x48U	/* read only: calls that suffered it */
#define FAULT_KEYS_END		0x49U

#define FAULT_ANY_CPU		UINT64_MAX

/* The calls that a fault is about. */
#define FAULT_ON_CLEAN_INV	0x01U
#define FAULT_ON_ATTRIBUTES	0x02U
#define FAULT_ON_FEATURES	0x04U	/* SMCCC_ARCH_FEATURES */
#define FAULT_ON_VERSION	0x08U	/* SMCCC_VERSION */
#define FAULT_ON_ALIAS		0x10U	/* SMC32 numbers of the two cache calls */
#define FAULT_ON_HINT		0x20U	/* any call whose identifier has the SVE hint */
#define FAULT_ON_UNKNOWN	0x40U	/* identifiers of the Arm architecture that nobody has */

enum fault_kind {
	FAULT_NONE,
	/* What comes back, and when. */
	FAULT_STATUS,		/* this status, and nothing done */
	FAULT_LATENCY,		/* us */
	FAULT_HANG,
	FAULT_HOLD_EARLY,	/* before the operation, until the slot changes or us pass */
	FAULT_HOLD,		/* the same after it */
	FAULT_RATE_LIMIT,	/* burst << 32 | window in us */
	FAULT_BUSY_INSIDE,
	/* What the operation covers and does. */
	FAULT_NOOP,
	FAULT_SKIP_FIRST_LINE,
	FAULT_SKIP_LAST_LINE,
	FAULT_SKIP_SECOND_HALF,
	FAULT_ONLY_BELOW,	/* address */
	FAULT_SKIP_QUEUED,
	FAULT_WRONG_BASE,	/* bytes, signed */
	FAULT_LOSE_PARTIAL,
	FAULT_CLEAN_ONLY,
	FAULT_INVALIDATE_ONLY,
	/* Registers after the call. */
	FAULT_X0_GARBAGE,	/* the upper half */
	FAULT_CLOBBER_X1_X3,
	FAULT_CLOBBER_X4_X17,
	FAULT_CLOBBER_SIMD,
	/* What firmware says of itself. */
	FAULT_ATTR_GLOBAL,
	FAULT_ATTR_LATENCY_US,
	FAULT_ATTR_RATE,
	FAULT_ATTR_BREAK_EVEN,
	FAULT_VERSION,
	FAULT_FEATURES_CLEAN_INV,
	FAULT_FEATURES_ATTRIBUTES,
	FAULT_SMC32_ALIAS,
	FAULT_REFUSE_HINT,
	FAULT_DRY_RUN_ACTS,
	FAULT_LOOSE_ID,			/* reserved bits of the identifier do not count */
	FAULT_ANSWER_UNKNOWN,
	/* More of what the operation covers and does. */
	FAULT_SHORT_LENGTH,	/* bits that the length has */
	FAULT_STOP_AT_BORDER,	/* bytes, a power of two */
	FAULT_SKIP_PARTS,	/* lines that are covered in part */
	FAULT_FORGET_NEIGHBOURS, /* theirs are dirty bytes no more, and not in memory */
	FAULT_BUSY_OVER,	/* bytes */
	FAULT_CLOBBER_FPCR,	/* and FPSR */
	/* What conforming firmware may do, and most does not. */
	FAULT_OVER_FLUSH,	/* bytes, a power of two: whole blocks of them */
	FAULT_REFUSE_UNALIGNED,	/* bytes, a power of two */
	FAULT_ACCEPT_ANYTHING,	/* ranges and flags that cannot be */
	FAULT_KEEP_X4,		/* ATTRIBUTES returns no break-even size */
	/* Registers that a kernel does not outlive, unless it expects it. */
	FAULT_CLOBBER_X18_X30,
	FAULT_CLOBBER_THREAD,	/* SP_EL0, TPIDR_EL0 and TPIDRRO_EL0 */
	/* What only some CPUs have. */
	FAULT_CLOBBER_SVE,	/* all of its state but v0 to v31 */
	FAULT_CLOBBER_SME,	/* ZA */
	FAULT_KINDS,
};

/* The faults of one call. */
struct faults {
	uint64_t hits;			/* bit per kind */
	uint64_t parameter[FAULT_KINDS];	/* of those that hit */
	unsigned int slot[FAULT_KINDS];	/* as are these two */
	uint64_t generation[FAULT_KINDS];
};

static inline bool fault_hits(const struct faults *faults, enum fault_kind kind)
{
	return faults->hits >> kind & 1;
}

struct call;

/*
 * state_lock (settings.h) held for all of these.  fault_set() and fault_get()
 * return false, and change nothing, for what is not allowed; fault_select() adds
 * the faults that a call suffers by being one of these FAULT_ON_*.
 */
bool fault_set(uint64_t key, uint64_t slot, uint64_t value);
bool fault_get(uint64_t key, uint64_t slot, uint64_t *value);
void fault_select(struct call *call, unsigned int calls);
uint64_t fault_armed(void);

/* As for the settings: the boot configuration's faults come back on a restore. */
void fault_init(void);
void fault_keep(void);
void fault_restore(void);

/*
 * Where faults act in the course of a call, state_lock not held.  fault_stall()
 * keeps it here: FAULT_LATENCY, _HANG, _HOLD_EARLY or _HOLD.  fault_clobber() ends
 * it, with other registers than it should.
 */
void fault_stall(const struct call *call, enum fault_kind kind);
void fault_clobber(struct call *call, unsigned int calls);

#endif
