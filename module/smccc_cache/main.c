// SPDX-License-Identifier: GPL-2.0-only
/*
 * The provider: between the kernel's cpu_cache_invalidate_memregion() and firmware.
 *
 * Stock kernels have the framework and no provider for the SMCCC call, and with no
 * provider the kernel's call returns 0 and does nothing. This one behaves like the
 * provider proposed upstream, so that what is measured here holds for that one.
 *
 * There is no software fallback: without firmware support nothing registers.
 */
#include "config_check.h"

#if !IS_ENABLED(CONFIG_GENERIC_CPU_CACHE_MAINTENANCE)
#error "CONFIG_GENERIC_CPU_CACHE_MAINTENANCE is off: a provider needs the framework of Linux 6.19"
#endif

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/nmi.h>
#include <linux/time64.h>

#include "module_version.h"
#include "smccc_cache.h"

static struct smccc_cache *smccc_cache;

/*
 * The rate asks for a gap between calls and the latency says how long firmware may
 * stay busy: the longer of the two, rounded up, or a guess if neither is stated.
 * The cap keeps a caller from waiting forever on absurd attributes.
 */
static unsigned int smccc_cache_delay_us(u32 rate_per_s, u32 latency_us)
{
	unsigned int delay_us = 0;

	if (rate_per_s)
		delay_us = DIV_ROUND_UP_ULL(USEC_PER_SEC, rate_per_s);
	delay_us = max(delay_us, latency_us);
	if (!delay_us)
		delay_us = SMCCC_CACHE_DELAY_DEFAULT_US;
	return min(delay_us, SMCCC_CACHE_DELAY_MAX_US);
}

/* There is one writer, under the lock; a reader sees the old value or the new one. */
static void count(u64 *counter, u64 more)
{
	WRITE_ONCE(*counter, *counter + more);
}

/*
 * One firmware call, counted. Flags are 0: the operation is done, not rehearsed.
 * A function of its own also when compiled, so that who traces sees each try.
 */
static noinline int smccc_cache_try(struct smccc_cache *cache,
				    const struct cc_inval_params *params)
{
	struct smccc_cache_counters *counters = &cache->counters;
	s32 status;

	/* Firmware may keep the CPU for longer than the watchdog likes. */
	touch_nmi_watchdog();
	cache->args.a1 = params->addr;
	cache->args.a2 = params->size;
	smccc_invoke(cache->fw.conduit, &cache->args, &cache->result);
	status = smccc_status(&cache->result);

	count(&counters->calls, 1);
	WRITE_ONCE(counters->last_status, status);
	if (status == SMCCC_RET_BUSY)
		count(&counters->busy, 1);
	else if (status == SMCCC_RET_RATE_LIMITED)
		count(&counters->rate_limited, 1);
	return memregion_status_to_errno(status);
}

static void smccc_cache_wait(struct smccc_cache *cache)
{
	u64 start_ns = ktime_get_ns();

	fsleep(cache->delay_us);
	count(&cache->counters.waited_ns, ktime_get_ns() - start_ns);
}

/*
 * Only BUSY and RATE_LIMITED can pass with time. Each failed try is followed by a
 * sleep, the last one too: the next request then meets a rested firmware.
 */
static int smccc_cache_tries(struct smccc_cache *cache, const struct cc_inval_params *params)
{
	unsigned int try;
	int ret;

	for (try = 0; try < SMCCC_CACHE_TRIES; try++) {
		ret = smccc_cache_try(cache, params);
		if (ret != -EBUSY && ret != -EAGAIN)
			return ret;
		smccc_cache_wait(cache);
	}
	return -EBUSY;
}

static int smccc_cache_wbinv(struct cache_coherency_ops_inst *cci, struct cc_inval_params *params)
{
	struct smccc_cache *cache = container_of(cci, struct smccc_cache, cci);
	int ret;

	if (!params->size) {
		atomic64_inc(&cache->refused);
		return -EINVAL;
	}

	guard(mutex)(&cache->lock);

	count(&cache->counters.requests, 1);
	ret = smccc_cache_tries(cache, params);
	if (ret)
		count(&cache->counters.errors, 1);
	return ret;
}

static const struct cache_coherency_ops smccc_cache_ops = {
	.wbinv = smccc_cache_wbinv,
};

static int __init smccc_cache_init(void)
{
	struct memregion_firmware fw;
	struct smccc_cache *cache;
	int ret;

	memregion_firmware_ask(&fw);
	if (!memregion_firmware_usable(&fw))
		return -ENODEV;

	cache = cache_coherency_ops_instance_alloc(&smccc_cache_ops, struct smccc_cache, cci);
	if (!cache)
		return -ENOMEM;
	mutex_init(&cache->lock);
	cache->args.a0 = ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION;
	cache->fw = fw;
	cache->delay_us = smccc_cache_delay_us(smccc_cache_rate_per_s(cache),
					       smccc_cache_latency_us(cache));

	ret = cache_coherency_ops_instance_register(&cache->cci);
	if (ret)
		goto put_cache;

	smccc_cache_debugfs_init(cache);
	smccc_cache = cache;
	pr_info("registered, conduit %s\n", smccc_conduit_name(fw.conduit));
	return 0;

put_cache:
	mutex_destroy(&cache->lock);
	cache_coherency_ops_instance_put(&cache->cci);
	return ret;
}

static void __exit smccc_cache_exit(void)
{
	/* Each of the first two waits for its users: open files, then calls in flight. */
	smccc_cache_debugfs_exit(smccc_cache);
	cache_coherency_ops_instance_unregister(&smccc_cache->cci);
	mutex_destroy(&smccc_cache->lock);
	cache_coherency_ops_instance_put(&smccc_cache->cci);
}

module_init(smccc_cache_init);
module_exit(smccc_cache_exit);

MODULE_DESCRIPTION("Cache invalidation through the SMCCC clean+invalidate call");
MODULE_LICENSE("GPL");
MODULE_VERSION(PROJECT_VERSION);
MODULE_IMPORT_NS("CACHE_COHERENCY");
