// SPDX-License-Identifier: GPL-2.0-only
/*
 * via=va: clean and invalidate by virtual address, line by line, which is what the
 * firmware call is meant to beat. Reaches the Point of Coherency only: a cache
 * beyond it does not hear of it.
 *
 * A range of one piece is mapped once; a longer one piece by piece in every call, so
 * that its size costs no address space. Only the loop over the lines is timed.
 */
#include "config_check.h"

#include <linux/align.h>
#include <linux/err.h>
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sizes.h>

#include <asm/barrier.h>

#include "kernel_compat.h"
#include "memregion_test.h"

#define PIECE_BYTES		SZ_2M

/*
 * A line that faults, because the kernel has unmapped or unplugged its memory, is
 * left by the fixup without the step to the next. The barrier belongs to the work:
 * without it, lines may still be on their way.
 */
int clean_inv_lines(unsigned long start, unsigned long end, unsigned long line_size)
{
	unsigned long va = ALIGN_DOWN(start, line_size);
	unsigned long next = va;

	for (; va < end; va = next) {
		asm volatile("1:	dc	civac, %0\n"
			     "	add	%0, %0, %1\n"
			     "2:\n"
			     _ASM_EXTABLE_KACCESS(1b, 2b)
			     : "+r" (next)
			     : "r" (line_size)
			     : "memory");
		if (next == va)
			return -EFAULT;
	}
	dsb(sy);
	return 0;
}

/* Up to the next multiple of PIECE_BYTES; where RAM ends or begins, page by page. */
static u64 piece_size(u64 addr, u64 end)
{
	u64 size = min(end, ALIGN_DOWN(addr, PIECE_BYTES) + PIECE_BYTES) - addr;

	if (is_partly_ram(addr, size))
		size = min(end, ALIGN_DOWN(addr, PAGE_SIZE) + PAGE_SIZE) - addr;
	return size;
}

/* Policy is the caller's business, but what cannot be mapped is refused here. */
static int va_prepare(struct run *run)
{
	const struct invalidate_request *request = run->request;
	void *mapping;

	if (!is_addressable(request->addr, request->size))
		return -EINVAL;
	run->line_size = dcache_line_bytes();
	if (piece_size(request->addr, request->addr + request->size) < request->size)
		return 0;
	mapping = map_memory(request->addr, request->size);
	if (IS_ERR(mapping))
		return PTR_ERR(mapping);
	run->mapping = mapping;
	return 0;
}

static int clean_inv_timed(const struct run *run, void *mapping, u64 size, u64 *ns)
{
	unsigned long va = (unsigned long)mapping;
	u64 start_ns = ktime_get_ns();
	int ret = clean_inv_lines(va, va + size, run->line_size);

	*ns += ktime_get_ns() - start_ns;
	return ret;
}

static int clean_inv_pieces(const struct run *run, u64 *ns)
{
	u64 addr = run->request->addr;
	u64 end = addr + run->request->size;

	while (addr < end) {
		u64 size = piece_size(addr, end);
		void *mapping;
		int ret;

		if (run_should_stop(run))
			return -EINTR;
		mapping = map_memory(addr, size);
		if (IS_ERR(mapping))
			return PTR_ERR(mapping);
		ret = clean_inv_timed(run, mapping, size, ns);
		memunmap(mapping);
		if (ret)
			return ret;
		addr += size;
		cond_resched();
	}
	return 0;
}

static int va_call(const struct run *run, struct invalidate_tally *tally, u64 *ns)
{
	if (run->mapping)
		return clean_inv_timed(run, run->mapping, run->request->size, ns);
	return clean_inv_pieces(run, ns);
}

static void va_finish(struct run *run)
{
	if (run->mapping)
		memunmap(run->mapping);
}

const struct invalidate_way via_va = {
	.name = "va",
	.prepare = va_prepare,
	.call = va_call,
	.finish = va_finish,
};
