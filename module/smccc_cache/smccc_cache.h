/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the provider (main.c) and its window to user space (debugfs.c) share.
 */
#ifndef SMCCC_CACHE_H
#define SMCCC_CACHE_H

#include <linux/atomic.h>
#include <linux/cache_coherency.h>
#include <linux/mutex.h>

#include "smccc_memregion.h"

#define SMCCC_CACHE_TRIES		5
#define SMCCC_CACHE_DELAY_DEFAULT_US	1000U
#define SMCCC_CACHE_DELAY_MAX_US	20000U

/**
 * struct smccc_cache_counters - since the module was loaded
 * @requests: calls of the framework, refused ones included
 * @calls: firmware calls, each try counts
 * @busy: firmware calls answered BUSY
 * @rate_limited: firmware calls answered RATE_LIMITED
 * @errors: requests that ended with an error
 * @waited_ns: time slept between tries
 * @last_status: status of the latest firmware call
 *
 * Atomic, because a refused request counts without taking the lock and readers
 * must not wait for firmware; each is exact, a set of them is not a snapshot.
 */
struct smccc_cache_counters {
	atomic64_t requests;
	atomic64_t calls;
	atomic64_t busy;
	atomic64_t rate_limited;
	atomic64_t errors;
	atomic64_t waited_ns;
	atomic_t last_status;
};

/**
 * struct smccc_cache - the one instance
 * @cci: what the framework knows of us; first, because it frees the whole by it
 * @lock: held from the first try of a request to its last, so that firmware never
 *	  sees two of our requests interleaved; protects no data. Taken inside the
 *	  framework's list lock (read side), and nothing is taken inside it.
 * @fw: firmware's answers at load time; constant afterwards
 * @delay_us: sleep after a failed try; constant afterwards
 * @counters: see there
 * @debugfs: our directory, or an error pointer that debugfs itself understands
 */
struct smccc_cache {
	struct cache_coherency_ops_inst cci;
	struct mutex lock;	/* one request in firmware at a time */
	struct memregion_firmware fw;
	unsigned int delay_us;
	struct smccc_cache_counters counters;
	struct dentry *debugfs;
};

/* The attributes as this provider takes them: 32 bits of latency and of rate. */
static inline u32 smccc_cache_latency_us(const struct smccc_cache *cache)
{
	return lower_32_bits(cache->fw.x[2]);
}

static inline u32 smccc_cache_rate_per_s(const struct smccc_cache *cache)
{
	return lower_32_bits(cache->fw.x[3]);
}

void smccc_cache_debugfs_init(struct smccc_cache *cache);
void smccc_cache_debugfs_exit(struct smccc_cache *cache);

#endif /* SMCCC_CACHE_H */
