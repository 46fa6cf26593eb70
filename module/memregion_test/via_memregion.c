// SPDX-License-Identifier: GPL-2.0-only
/*
 * via=memregion: the kernel's own call, as CXL and NVDIMM make it. The only file
 * that needs the framework of Linux 6.19; on older kernels it says so.
 */
#include "config_check.h"

#include <linux/build_bug.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/stddef.h>

#include "memregion_test.h"

#if IS_ENABLED(CONFIG_GENERIC_CPU_CACHE_MAINTENANCE)

#include <linux/memregion.h>

MODULE_IMPORT_NS("DEVMEM");

bool framework_present(void)
{
	return true;
}

bool provider_registered(void)
{
	return cpu_cache_has_invalidate_memregion();
}

#else

/* Older headers declare the call with other parameters, and arm64 lacks it. */
static int cpu_cache_invalidate_memregion(phys_addr_t addr, size_t size)
{
	return -EOPNOTSUPP;
}

bool framework_present(void)
{
	return false;
}

bool provider_registered(void)
{
	return false;
}

#endif

static int memregion_prepare(struct run *run)
{
	return framework_present() ? 0 : -EOPNOTSUPP;
}

/* Who traces this function finds the range by these (pyctl/watch/probes.py). */
static_assert(offsetof(struct run, request) == 0);
static_assert(offsetof(struct invalidate_request, addr) == 0);
static_assert(offsetof(struct invalidate_request, size) == 8);

static int memregion_call(const struct run *run, struct invalidate_tally *tally, u64 *ns)
{
	const struct invalidate_request *request = run->request;
	u64 start_ns;
	int ret;

	start_ns = ktime_get_ns();
	ret = cpu_cache_invalidate_memregion(request->addr, request->size);
	*ns = ktime_get_ns() - start_ns;
	return ret;
}

/* With no provider registered the kernel's call returns 0 and does nothing. */
const struct invalidate_way via_memregion = {
	.name = "memregion",
	.needs_provider = true,
	.prepare = memregion_prepare,
	.call = memregion_call,
};
