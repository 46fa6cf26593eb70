// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the provider tells about itself, under /sys/kernel/debug/smccc_cache/: the
 * attributes that it took from firmware, its counters, its fixed parameters.
 *
 * Read only, and never a condition: if debugfs fails, the provider works without.
 */
#include "config_check.h"

#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "smccc_cache.h"

static int attributes_show(struct seq_file *m, void *unused)
{
	const struct smccc_cache *cache = m->private;
	const struct memregion_firmware *fw = &cache->fw;
	unsigned int i;

	seq_printf(m, "smccc_version=0x%x\n", fw->version);
	seq_printf(m, "conduit=%s\n", smccc_conduit_name(fw->conduit));
	seq_printf(m, "status=%d\n", fw->status);
	for (i = 0; i < ARRAY_SIZE(fw->x); i++)
		seq_printf(m, "x%u=0x%llx\n", i, fw->x[i]);
	seq_printf(m, "global=%d\n", !!(fw->x[1] & CLEAN_INV_ATTR_GLOBAL));
	seq_printf(m, "latency_us=%u\n", smccc_cache_latency_us(cache));
	seq_printf(m, "rate_per_s=%u\n", smccc_cache_rate_per_s(cache));
	seq_printf(m, "break_even_bytes=%llu\n", fw->x[4]);
	seq_printf(m, "delay_us=%u\n", cache->delay_us);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(attributes);

static int counters_show(struct seq_file *m, void *unused)
{
	struct smccc_cache *cache = m->private;
	struct smccc_cache_counters *counters = &cache->counters;
	u64 refused = atomic64_read(&cache->refused);

	seq_printf(m, "requests=%llu\n", READ_ONCE(counters->requests) + refused);
	seq_printf(m, "calls=%llu\n", READ_ONCE(counters->calls));
	seq_printf(m, "busy=%llu\n", READ_ONCE(counters->busy));
	seq_printf(m, "rate_limited=%llu\n", READ_ONCE(counters->rate_limited));
	seq_printf(m, "errors=%llu\n", READ_ONCE(counters->errors) + refused);
	seq_printf(m, "waited_ns=%llu\n", READ_ONCE(counters->waited_ns));
	seq_printf(m, "last_status=%d\n", READ_ONCE(counters->last_status));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

static int parameters_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "tries=%u\n", SMCCC_CACHE_TRIES);
	seq_printf(m, "delay_default_us=%u\n", SMCCC_CACHE_DELAY_DEFAULT_US);
	seq_printf(m, "delay_max_us=%u\n", SMCCC_CACHE_DELAY_MAX_US);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(parameters);

void smccc_cache_debugfs_init(struct smccc_cache *cache)
{
	cache->debugfs = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("attributes", 0400, cache->debugfs, cache, &attributes_fops);
	debugfs_create_file("counters", 0400, cache->debugfs, cache, &counters_fops);
	debugfs_create_file("parameters", 0400, cache->debugfs, cache, &parameters_fops);
}

void smccc_cache_debugfs_exit(struct smccc_cache *cache)
{
	debugfs_remove(cache->debugfs);
}
