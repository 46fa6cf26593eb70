// SPDX-License-Identifier: GPL-2.0-only
/*
 * via=smccc: the firmware call itself, without the kernel's framework and without
 * a provider: one call, no retry, so that firmware's own answer is seen.
 */
#include "config_check.h"

#include <linux/ktime.h>

#include "memregion_test.h"

/* Asked for every request: a call that firmware does not know is never made. */
static int smccc_prepare(struct run *run)
{
	struct memregion_firmware fw;

	memregion_firmware_ask(&fw);
	if (!memregion_firmware_usable(&fw))
		return -EOPNOTSUPP;
	run->conduit = fw.conduit;
	return 0;
}

static int smccc_call(const struct run *run, struct invalidate_tally *tally, u64 *ns)
{
	const struct invalidate_request *request = run->request;
	struct arm_smccc_1_2_regs regs = {
		.a0 = ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION,
		.a1 = request->addr,
		.a2 = request->size,
		.a3 = request->dry_run ? CLEAN_INV_FLAG_DRY_RUN : 0,
	};
	u64 start_ns;
	s32 status;

	start_ns = ktime_get_ns();
	smccc_invoke(run->conduit, &regs, &regs);
	*ns = ktime_get_ns() - start_ns;

	status = smccc_status(&regs);
	tally->fw_calls++;
	tally->fw_busy += status == SMCCC_RET_BUSY;
	tally->fw_rate_limited += status == SMCCC_RET_RATE_LIMITED;
	tally->fw_last_status = status;
	return memregion_status_to_errno(status);
}

const struct invalidate_way via_smccc = {
	.name = "smccc",
	.prepare = smccc_prepare,
	.call = smccc_call,
};
