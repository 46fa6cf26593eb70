// SPDX-License-Identifier: GPL-2.0-only
/*
 * memregion_test: drive the cache clean+invalidate chain from user space.
 *
 * The kernel's own callers (CXL, NVDIMM) need the hardware and ignore the result;
 * this module gives the same calls to a test, with every answer and its time. It
 * prints nothing: results are read back from the file that took the request.
 *
 * The tree is for root alone, and a file that is open holds the module, so that
 * unloading can never meet a request at work.
 */
#include "config_check.h"

#if !IS_ENABLED(CONFIG_DEBUG_FS)
#error "CONFIG_DEBUG_FS is off: this module has no other door to user space"
#endif

#include <linux/debugfs.h>
#include <linux/module.h>

#include "memregion_test.h"
#include "module_version.h"

bool raw_calls;
module_param(raw_calls, bool, 0400);
MODULE_PARM_DESC(raw_calls, "offer the files smccc (any SMCCC call) and memory_* (bytes of physical memory) (default: no)");

static struct dentry *debugfs_dir;

static int __init memregion_test_init(void)
{
	debugfs_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	/* Without its tree this module is useless, so here failure is an error. */
	if (IS_ERR(debugfs_dir))
		return PTR_ERR(debugfs_dir);

	info_create_files(debugfs_dir);
	debugfs_create_file("invalidate", 0600, debugfs_dir, (void *)&invalidate_type,
			    &session_fops);
	scratch_create_files(debugfs_dir);
	if (raw_calls) {
		debugfs_create_file("smccc", 0600, debugfs_dir, (void *)&raw_type,
				    &session_fops);
		memory_create_files(debugfs_dir);
	}
	return 0;
}

static void __exit memregion_test_exit(void)
{
	debugfs_remove(debugfs_dir);
}

module_init(memregion_test_init);
module_exit(memregion_test_exit);

MODULE_DESCRIPTION("Test access to cache invalidation of physical memory regions");
MODULE_LICENSE("GPL");
MODULE_VERSION(PROJECT_VERSION);
