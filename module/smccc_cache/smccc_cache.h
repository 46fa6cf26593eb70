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
 * @requests: calls of the framework that went to firmware
 * @calls: firmware calls, each try counts
 * @busy: firmware calls answered BUSY
 * @rate_limited: firmware calls answered RATE_LIMITED
 * @errors: requests that firmware did not serve in the end
 * @waited_ns: time slept between tries
 * @last_status: status of the latest firmware call
 *
 * Written under the lock only, so no atomic operation weighs on the path that is
 * measured. Readers don't take the lock, for they must not wait for firmware: each
 * value is exact, a set of them is not a snapshot.
 */
struct smccc_cache_counters {
	u64 requests;
	u64 calls;
	u64 busy;
	u64 rate_limited;
	u64 errors;
	u64 waited_ns;
	s32 last_status;
};

/**
 * struct smccc_cache - the one instance
 * @cci: what the framework knows of us; first, because it frees the whole by it
 * @lock: held from the first try of a request to its last, so that firmware never
 *	  sees two of our requests interleaved; protects @args, @result and @counters.
 *	  Taken inside the framework's list lock (read side), and nothing is taken
 *	  inside it.
 * @args: registers of the next call; function id and flags never change
 * @result: registers of the last call. Here and not on the stack, where setting them
 *	    to zero would cost each call more than the lock does.
 * @fw: firmware's answers at load time; constant afterwards
 * @delay_us: sleep after a failed try; constant afterwards
 * @counters: see there
 * @refused: requests of size 0, which never come as far as the lock
 * @debugfs: our directory, or an error pointer that debugfs itself understands
 */
struct smccc_cache {
	struct cache_coherency_ops_inst cci;
	struct mutex lock;	/* one request in firmware at a time */
	struct arm_smccc_1_2_regs args;
	struct arm_smccc_1_2_regs result;
	struct memregion_firmware fw;
	unsigned int delay_us;
	struct smccc_cache_counters counters;
	atomic64_t refused;
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
