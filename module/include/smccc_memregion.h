/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The firmware interface as both modules see it: function ids, statuses, the one
 * translation of a status into an errno, and discovery.
 *
 * Source: Arm DEN0028 v1.7, sections 7.10 and 7.11. Kernels up to 7.3 lack these
 * names; a kernel that has them must mean the same numbers, which is asserted.
 *
 * Every call goes through the variant that carries x0..x17: ATTRIBUTES returns x4,
 * and the kernel's shorter variant tells the compiler that x4 survives the call.
 */
#ifndef SMCCC_MEMREGION_H
#define SMCCC_MEMREGION_H

#include <linux/arm-smccc.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/types.h>

#ifndef ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION
#define ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION				\
	ARM_SMCCC_CALL_VAL(ARM_SMCCC_FAST_CALL, ARM_SMCCC_SMC_64,	\
			   ARM_SMCCC_OWNER_ARCH, 5)
#endif

#ifndef ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION_ATTRIBUTES
#define ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION_ATTRIBUTES			\
	ARM_SMCCC_CALL_VAL(ARM_SMCCC_FAST_CALL, ARM_SMCCC_SMC_64,	\
			   ARM_SMCCC_OWNER_ARCH, 6)
#endif

#ifndef SMCCC_RET_RATE_LIMITED
#define SMCCC_RET_RATE_LIMITED	(-4)
#endif

#ifndef SMCCC_RET_BUSY
#define SMCCC_RET_BUSY		(-5)
#endif

static_assert(ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION == 0xc0000005);
static_assert(ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION_ATTRIBUTES == 0xc0000006);
static_assert(SMCCC_RET_SUCCESS == 0);
static_assert(SMCCC_RET_NOT_SUPPORTED == -1);
static_assert(SMCCC_RET_NOT_REQUIRED == -2);
static_assert(SMCCC_RET_INVALID_PARAMETER == -3);
static_assert(SMCCC_RET_RATE_LIMITED == -4);
static_assert(SMCCC_RET_BUSY == -5);

/* x3 of CLEAN_INV_MEMREGION */
#define CLEAN_INV_FLAG_DRY_RUN	BIT(0)

/* x1 of CLEAN_INV_MEMREGION_ATTRIBUTES */
#define CLEAN_INV_ATTR_GLOBAL	BIT(0)

/**
 * struct memregion_firmware - what firmware says about the cache calls
 * @version: SMCCC version as the kernel found it at boot (0x10002 is 1.2)
 * @conduit: how firmware is called; none below SMCCC 1.1
 * @asked_features: both @features were asked for (needs version 1.1 and a conduit)
 * @features_clean_inv: ARCH_FEATURES for CLEAN_INV_MEMREGION
 * @features_attributes: ARCH_FEATURES for CLEAN_INV_MEMREGION_ATTRIBUTES
 * @asked_attributes: @status and @x were asked for
 * @status: status of ATTRIBUTES
 * @x: result registers x0 to x4 of ATTRIBUTES, as they came
 */
struct memregion_firmware {
	u32 version;
	enum arm_smccc_conduit conduit;
	bool asked_features;
	s32 features_clean_inv;
	s32 features_attributes;
	bool asked_attributes;
	s32 status;
	u64 x[5];
};

/**
 * memregion_status_to_errno() - what a caller inside the kernel gets for a status
 * @status: signed low 32 bits of x0
 *
 * Return: 0 or a negative errno; NOT_REQUIRED is not an answer that this call may
 * give, so it is -EIO like any other unknown status.
 */
static inline int memregion_status_to_errno(s32 status)
{
	switch (status) {
	case SMCCC_RET_SUCCESS:
		return 0;
	case SMCCC_RET_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	case SMCCC_RET_INVALID_PARAMETER:
		return -EINVAL;
	case SMCCC_RET_RATE_LIMITED:
		return -EAGAIN;
	case SMCCC_RET_BUSY:
		return -EBUSY;
	default:
		return -EIO;
	}
}

/* The signed 32-bit value in w0; firmware may leave anything in the upper half. */
static inline s32 smccc_status(const struct arm_smccc_1_2_regs *res)
{
	return (s32)lower_32_bits(res->a0);
}

/*
 * A direct call per conduit, and no function pointer: the kernel's assembly has
 * no type for control-flow integrity, so an indirect call could be refused.
 */
static inline void smccc_invoke(enum arm_smccc_conduit conduit,
				const struct arm_smccc_1_2_regs *args,
				struct arm_smccc_1_2_regs *res)
{
	if (conduit == SMCCC_CONDUIT_HVC)
		arm_smccc_1_2_hvc(args, res);
	else
		arm_smccc_1_2_smc(args, res);
}

static inline const char *smccc_conduit_name(enum arm_smccc_conduit conduit)
{
	switch (conduit) {
	case SMCCC_CONDUIT_HVC:
		return "hvc";
	case SMCCC_CONDUIT_SMC:
		return "smc";
	default:
		return "none";
	}
}

static inline s32 smccc_arch_features(enum arm_smccc_conduit conduit, u32 fid)
{
	struct arm_smccc_1_2_regs regs = {
		.a0 = ARM_SMCCC_ARCH_FEATURES_FUNC_ID,
		.a1 = fid,
	};

	smccc_invoke(conduit, &regs, &regs);
	return smccc_status(&regs);
}

/**
 * memregion_firmware_ask() - ask firmware, each question only if it may be asked
 * @fw: answers; questions that were not asked leave zeroes and a false @asked_*
 */
static inline void memregion_firmware_ask(struct memregion_firmware *fw)
{
	struct arm_smccc_1_2_regs regs = {
		.a0 = ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION_ATTRIBUTES,
	};

	*fw = (struct memregion_firmware) {
		.version = arm_smccc_get_version(),
		.conduit = arm_smccc_1_1_get_conduit(),
	};
	if (fw->version < ARM_SMCCC_VERSION_1_1 || fw->conduit == SMCCC_CONDUIT_NONE)
		return;

	fw->asked_features = true;
	fw->features_clean_inv =
		smccc_arch_features(fw->conduit, ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION);
	fw->features_attributes =
		smccc_arch_features(fw->conduit,
				    ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION_ATTRIBUTES);
	if (fw->features_attributes < 0)
		return;

	smccc_invoke(fw->conduit, &regs, &regs);
	fw->asked_attributes = true;
	fw->status = smccc_status(&regs);
	fw->x[0] = regs.a0;
	fw->x[1] = regs.a1;
	fw->x[2] = regs.a2;
	fw->x[3] = regs.a3;
	fw->x[4] = regs.a4;
}

/**
 * memregion_firmware_usable() - may CLEAN_INV_MEMREGION be called?
 * @fw: answers of memregion_firmware_ask()
 *
 * Return: true if both functions are there and ATTRIBUTES succeeded.
 */
static inline bool memregion_firmware_usable(const struct memregion_firmware *fw)
{
	return fw->asked_features && fw->features_clean_inv >= 0 &&
	       fw->asked_attributes && fw->status == SMCCC_RET_SUCCESS;
}

#endif /* SMCCC_MEMREGION_H */
