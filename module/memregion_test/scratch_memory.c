// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scratch: physically contiguous memory that belongs to one open file, so that every
 * machine has a range that may be targeted, also one whose firmware reserves nothing.
 *
 * Firmware that is under test is not trusted. On both sides of scratch lie guards:
 * memory of ours as well, in which a pattern shows whether firmware has written, or
 * has lost what was written, beyond the range that it was given. And memory goes back
 * to the kernel only after every call that was in flight when its owner went: until a
 * call returns, firmware may do to its range what it likes. If one never returns, the
 * memory is never used again.
 */
#include "config_check.h"

#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>

#include "kernel_compat.h"
#include "memregion_test.h"
#include "scratch.h"

/* On either side; more than what firmware that miscounts lines or pages overshoots. */
#define GUARD_BYTES	SZ_64K
#define GUARD_PATTERN	0x5a
/* Between two looks at whether others want the CPU. */
#define STRIDE_BYTES	SZ_256K

static_assert(GUARD_BYTES % PAGE_SIZE == 0);

unsigned long scratch_max_bytes = SZ_1G;
module_param(scratch_max_bytes, ulong, 0400);
MODULE_PARM_DESC(scratch_max_bytes, "most bytes of scratch memory, of all open files together (default: 1 GiB)");

/*
 * Protects all that is static below, and the fields of struct scratch that say so. Held
 * for moments only, never while memory is allocated, freed or given to firmware; a
 * session's or a file's lock may be held around it, none is taken inside.
 */
static DEFINE_MUTEX(scratch_lock);
static LIST_HEAD(live);		/* scratch that has an owner */
static LIST_HEAD(retired);	/* scratch that had one, the oldest first */
static LIST_HEAD(in_flight);	/* calls, the oldest first */
static u64 next_call;
static u64 bytes_in_use;	/* of live and of retired scratch, without guards */

void *scratch_cached(const struct scratch *scratch, u64 addr)
{
	return phys_to_virt(addr);
}

static void *guard_below(const struct scratch *scratch)
{
	return phys_to_virt(scratch->addr - GUARD_BYTES);
}

static void *guard_above(const struct scratch *scratch)
{
	return phys_to_virt(scratch->addr + scratch->size);
}

/* --- pages ------------------------------------------------------------------- */

static void free_pages_of(struct page *page, unsigned long nr_pages)
{
	unsigned long i;

	for (i = 0; i < nr_pages; i++) {
		__free_page(page + i);
		if (!(i % (STRIDE_BYTES / PAGE_SIZE)))
			cond_resched();
	}
}

/* From the page allocator: a block of a power of two, of which the rest goes back. */
static struct page *alloc_block(unsigned long nr_pages, gfp_t gfp, int node)
{
	unsigned int order = get_order(nr_pages << PAGE_SHIFT);
	struct page *page;

	if (order > MAX_PAGE_ORDER)
		return NULL;
	page = alloc_pages_node(node, gfp, order);
	if (!page)
		return NULL;
	split_page(page, order);
	free_pages_of(page + nr_pages, (1UL << order) - nr_pages);
	return page;
}

/* Pages that are each freed by themselves. No process is killed to make room. */
static struct page *alloc_pages_for(unsigned long nr_pages, int node)
{
	gfp_t gfp = GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;
	struct page *page;

	if (node == NUMA_NO_NODE)
		node = numa_mem_id();
	else
		gfp |= __GFP_THISNODE;
	page = alloc_block(nr_pages, gfp, node);
	if (page)
		return page;
	page = alloc_contiguous(nr_pages, gfp, node);
	/* Only of what is larger than any block can be said that this kernel cannot. */
	if (PTR_ERR(page) == -EOPNOTSUPP && get_order(nr_pages << PAGE_SHIFT) <= MAX_PAGE_ORDER)
		return ERR_PTR(-ENOMEM);
	return page;
}

/*
 * Nobody's old bytes are left, neither in the caches nor in memory behind them, where
 * a non-cacheable mapping would show them.
 */
static int clear_to_memory(void *start, u64 size)
{
	unsigned long line_size = dcache_line_bytes();
	int ret = 0;
	u64 done;

	for (done = 0; done < size && !ret; done += STRIDE_BYTES) {
		u64 stride = min_t(u64, size - done, STRIDE_BYTES);
		unsigned long at = (unsigned long)start + done;

		memset((void *)at, 0, stride);
		ret = clean_inv_lines(at, at + stride, line_size);
		cond_resched();
	}
	return ret;
}

static void scratch_free(struct scratch *scratch)
{
	/* The kernel maps these pages cacheable only; no CPU may still see them otherwise. */
	if (scratch->has_alias)
		vm_unmap_aliases();
	free_pages_of(phys_to_page(scratch->addr - GUARD_BYTES),
		      (scratch->size + 2 * GUARD_BYTES) >> PAGE_SHIFT);
	kfree(scratch);
}

/* --- who uses how much --------------------------------------------------------- */

static int reserve_bytes(u64 size)
{
	int ret = 0;

	mutex_lock(&scratch_lock);
	if (size > scratch_max_bytes)
		ret = -E2BIG;
	else if (size > scratch_max_bytes - bytes_in_use)
		ret = -ENOSPC;
	else
		bytes_in_use += size;
	mutex_unlock(&scratch_lock);
	return ret;
}

static void return_bytes(u64 size)
{
	mutex_lock(&scratch_lock);
	bytes_in_use -= size;
	mutex_unlock(&scratch_lock);
}

static struct scratch *make_scratch(u64 size, int node)
{
	struct scratch *scratch = kzalloc(sizeof(*scratch), GFP_KERNEL_ACCOUNT);
	u64 all_bytes = size + 2 * GUARD_BYTES;
	struct page *page;
	int ret;

	if (!scratch)
		return ERR_PTR(-ENOMEM);
	page = alloc_pages_for(all_bytes >> PAGE_SHIFT, node);
	ret = PTR_ERR_OR_ZERO(page);
	if (ret)
		goto free_scratch;
	scratch->addr = page_to_phys(page) + GUARD_BYTES;
	scratch->size = size;
	scratch->node = page_to_nid(page);

	ret = clear_to_memory(guard_below(scratch), all_bytes);
	if (ret)
		goto free_pages;
	/* Not cleaned: where it is lost, zeroes come to light. */
	memset(guard_below(scratch), GUARD_PATTERN, GUARD_BYTES);
	memset(guard_above(scratch), GUARD_PATTERN, GUARD_BYTES);
	return scratch;

free_pages:
	free_pages_of(page, all_bytes >> PAGE_SHIFT);
free_scratch:
	kfree(scratch);
	return ERR_PTR(ret);
}

/**
 * scratch_alloc() - memory for one owner
 * @size: length in bytes, more than 0; rounded up to pages
 * @node: NUMA node that it must be of, or NUMA_NO_NODE: the nearest that has any
 *
 * Zeroed, between two guards. May sleep long; gives up rather than to kill anybody.
 *
 * Return: the memory, for scratch_retire(), or an error pointer: -E2BIG if it is more
 * than scratch_max_bytes, -ENOSPC if others have the rest of that, -ENXIO if there is
 * no such node or it has no memory, -ENOMEM if so much in one piece cannot be had,
 * -EOPNOTSUPP if this kernel has no way to give more than the largest block of its page
 * allocator
 */
struct scratch *scratch_alloc(u64 size, int node)
{
	struct scratch *scratch;
	int ret;

	if (node != NUMA_NO_NODE && (node >= nr_node_ids || !node_state(node, N_MEMORY)))
		return ERR_PTR(-ENXIO);
	/* Before it is rounded up, for it may be any number. */
	if (size > scratch_max_bytes)
		return ERR_PTR(-E2BIG);
	size = ALIGN(size, PAGE_SIZE);
	ret = reserve_bytes(size);
	if (ret)
		return ERR_PTR(ret);
	scratch = make_scratch(size, node);
	if (IS_ERR(scratch)) {
		return_bytes(size);
		return scratch;
	}

	mutex_lock(&scratch_lock);
	list_add(&scratch->entry, &live);
	mutex_unlock(&scratch_lock);
	return scratch;
}

/* --- guards -------------------------------------------------------------------- */

static void check_guards(struct scratch *scratch)
{
	const void *bad;

	lockdep_assert_held(&scratch_lock);
	if (scratch->is_damaged)
		return;
	bad = memchr_inv(guard_below(scratch), GUARD_PATTERN, GUARD_BYTES);
	if (!bad)
		bad = memchr_inv(guard_above(scratch), GUARD_PATTERN, GUARD_BYTES);
	if (!bad)
		return;
	scratch->is_damaged = true;
	scratch->damage = virt_to_phys(bad);
}

/* Look now; what was once seen damaged stays so. */
bool scratch_guards_intact(struct scratch *scratch, u64 *damage)
{
	bool is_damaged;

	mutex_lock(&scratch_lock);
	check_guards(scratch);
	is_damaged = scratch->is_damaged;
	*damage = scratch->damage;
	mutex_unlock(&scratch_lock);
	return !is_damaged;
}

/* --- calls in flight ----------------------------------------------------------- */

/* Retired scratch that no call in flight is older than. */
static void take_unreachable(struct list_head *unreachable)
{
	struct call_in_flight *oldest = list_first_entry_or_null(&in_flight, struct call_in_flight,
								 entry);
	struct scratch *scratch, *next;

	lockdep_assert_held(&scratch_lock);
	list_for_each_entry_safe(scratch, next, &retired, entry) {
		if (oldest && oldest->number < scratch->retired_before)
			break;
		list_move_tail(&scratch->entry, unreachable);
		bytes_in_use -= scratch->size;
	}
}

static void free_all(struct list_head *unreachable)
{
	struct scratch *scratch, *next;

	list_for_each_entry_safe(scratch, next, unreachable, entry)
		scratch_free(scratch);
}

/**
 * scratch_retire() - the owner has gone
 * @scratch: whose file has been closed
 *
 * It is freed now, or by the end of the last call that is in flight now. Never waits
 * for that: firmware may have kept the call for good.
 */
void scratch_retire(struct scratch *scratch)
{
	LIST_HEAD(unreachable);

	mutex_lock(&scratch_lock);
	scratch->retired_before = next_call;
	list_move_tail(&scratch->entry, &retired);
	take_unreachable(&unreachable);
	mutex_unlock(&scratch_lock);
	free_all(&unreachable);
}

/**
 * call_begin() - a request may call firmware from now on
 * @call: to be kept until call_end()
 */
void call_begin(struct call_in_flight *call)
{
	mutex_lock(&scratch_lock);
	call->number = next_call++;
	list_add_tail(&call->entry, &in_flight);
	mutex_unlock(&scratch_lock);
}

/**
 * call_end() - the request will not call firmware any more
 * @call: as given to call_begin()
 *
 * Any call may have hit any memory, so all guards are looked at.
 */
void call_end(struct call_in_flight *call)
{
	struct scratch *scratch;
	LIST_HEAD(unreachable);

	mutex_lock(&scratch_lock);
	list_del(&call->entry);
	list_for_each_entry(scratch, &live, entry)
		check_guards(scratch);
	take_unreachable(&unreachable);
	mutex_unlock(&scratch_lock);
	free_all(&unreachable);
}
