/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory of our own to aim at: what the file "scratch" (scratch.c) and those who call
 * firmware (session.c) need of it; see scratch_memory.c.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <linux/list.h>
#include <linux/types.h>

/**
 * struct scratch - memory of one open file
 * @addr: base physical address
 * @size: length in bytes, whole pages
 * @node: NUMA node that it is of
 * @has_alias: a non-cacheable mapping of it has been made
 * @entry: where it is listed; this and what follows is under scratch_lock
 * @retired_before: number of the first call that is made after its file was closed
 * @is_damaged: a byte of a guard has changed
 * @damage: physical address of the first byte that was seen changed
 */
struct scratch {
	u64 addr;
	u64 size;
	int node;
	bool has_alias;
	struct list_head entry;
	u64 retired_before;
	bool is_damaged;
	u64 damage;
};

/**
 * struct call_in_flight - a request that may call firmware
 * @entry: in the list of all, oldest first
 * @number: counted since the module was loaded
 */
struct call_in_flight {
	struct list_head entry;
	u64 number;
};

struct scratch *scratch_alloc(u64 size, int node);
void scratch_retire(struct scratch *scratch);
bool scratch_guards_intact(struct scratch *scratch, u64 *damage);
void *scratch_cached(const struct scratch *scratch, u64 addr);

void call_begin(struct call_in_flight *call);
void call_end(struct call_in_flight *call);

#endif /* SCRATCH_H */
