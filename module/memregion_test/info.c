// SPDX-License-Identifier: GPL-2.0-only
/*
 * The files "info" (what this kernel, CPU and module are) and "attributes" (what
 * firmware says, asked anew by every read).
 */
#include "config_check.h"

#include <linux/debugfs.h>
#include <linux/mm.h>
#include <linux/module.h>

#include "memregion_test.h"
#include "module_version.h"

static int info_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "version=%s\n", PROJECT_VERSION);
	seq_printf(m, "framework=%d\n", framework_present());
	seq_printf(m, "provider=%d\n", provider_registered());
	seq_printf(m, "smccc_version=0x%x\n", arm_smccc_get_version());
	seq_printf(m, "conduit=%s\n", smccc_conduit_name(arm_smccc_1_1_get_conduit()));
	seq_printf(m, "pa_bits=%u\n", physical_address_bits());
	seq_printf(m, "page_size=%lu\n", PAGE_SIZE);
	seq_printf(m, "dcache_line_size=%lu\n", dcache_line_bytes());
	seq_printf(m, "raw_calls=%d\n", raw_calls);
	seq_printf(m, "max_count=%u\n", MAX_CALLS);
	seq_printf(m, "max_threads=%u\n", MAX_THREADS);
	seq_printf(m, "max_request_bytes=%u\n", MAX_REQUEST_BYTES);
	seq_printf(m, "scratch_max_bytes=%lu\n", scratch_max_bytes);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(info);

/* What firmware says now; the kernel asked it once, at boot. */
static u32 smccc_version_now(enum arm_smccc_conduit conduit)
{
	struct arm_smccc_1_2_regs regs = {
		.a0 = ARM_SMCCC_VERSION_FUNC_ID,
	};

	if (conduit == SMCCC_CONDUIT_NONE)
		return arm_smccc_get_version();
	smccc_invoke(conduit, &regs, &regs);
	/* Version 1.0 has no such call. */
	return smccc_status(&regs) < 0 ? ARM_SMCCC_VERSION_1_0 : smccc_status(&regs);
}

/* A line that is missing is a question that could not be asked. */
static int attributes_show(struct seq_file *m, void *unused)
{
	enum arm_smccc_conduit conduit = arm_smccc_1_1_get_conduit();
	u32 version = smccc_version_now(conduit);
	struct memregion_firmware fw = {};
	unsigned int i;

	if (version >= ARM_SMCCC_VERSION_1_1)
		memregion_firmware_ask(&fw);

	seq_printf(m, "smccc_version=0x%x\n", version);
	seq_printf(m, "conduit=%s\n", smccc_conduit_name(conduit));
	if (fw.asked_features) {
		seq_printf(m, "features_clean_inv=%d\n", fw.features_clean_inv);
		seq_printf(m, "features_attributes=%d\n", fw.features_attributes);
	}
	if (fw.asked_attributes) {
		seq_printf(m, "status=%d\n", fw.status);
		for (i = 0; i < ARRAY_SIZE(fw.x); i++)
			seq_printf(m, "x%u=0x%llx\n", i, fw.x[i]);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(attributes);

void info_create_files(struct dentry *dir)
{
	debugfs_create_file("info", 0400, dir, NULL, &info_fops);
	debugfs_create_file("attributes", 0400, dir, NULL, &attributes_fops);
}
