// SPDX-License-Identifier: GPL-2.0-only
/*
 * What memory may be mapped, and how: the one place that decides it.
 *
 * A mapping of Normal memory over registers lets the CPU fetch from them whenever it
 * likes, and an access where nothing answers is an abort and not an error. So a range
 * is mapped only where somebody says of all of it that it is memory: it is System RAM,
 * the kernel has a resource for it that says so, or the machine's own table does (the
 * device tree's reserved-memory, or UEFI's memory map). That a page has a struct page
 * says nothing: each section of memory has them for its holes, too.
 *
 * A mapping is made of pages, so pages are what is judged: the range is rounded to
 * them first.
 */
#include "config_check.h"

#include <linux/align.h>
#include <linux/efi.h>
#include <linux/err.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/overflow.h>

#include "kernel_compat.h"
#include "memregion_test.h"

/**
 * enum memory_kind - what the pages of a range are
 * @MEMORY_NONE: nobody says of all of it that it is memory
 * @MEMORY_RAM: System RAM: in the linear map, and its bytes are the kernel's
 * @MEMORY_PARTLY_RAM: of this and of another kind, so that no one mapping suits it
 * @MEMORY_CLAIMED: outside of System RAM, and a driver has claimed some of it
 * @MEMORY_FREE: outside of System RAM, and nobody uses it as far as the kernel knows
 */
enum memory_kind {
	MEMORY_NONE,
	MEMORY_RAM,
	MEMORY_PARTLY_RAM,
	MEMORY_CLAIMED,
	MEMORY_FREE,
};

/* The end of what the device tree reserves at @addr; @addr itself if there is nothing. */
static u64 reserved_memory_until(u64 addr)
{
	struct device_node *top = of_find_node_by_path("/reserved-memory");
	struct device_node *node;
	struct resource res;
	u64 until = addr;
	int i;

	for_each_available_child_of_node(top, node) {
		for (i = 0; !of_address_to_resource(node, i, &res); i++) {
			if (res.start <= addr && addr <= res.end)
				until = max_t(u64, until, res.end + 1);
		}
	}
	of_node_put(top);
	return until;
}

/* The same for UEFI's memory map, which does not change after boot. */
static u64 efi_memory_until(u64 addr)
{
	efi_memory_desc_t *md;

	if (!IS_ENABLED(CONFIG_EFI) || !efi_enabled(EFI_MEMMAP))
		return addr;
	for_each_efi_memory_desc(md) {
		u64 end = md->phys_addr + (md->num_pages << EFI_PAGE_SHIFT);

		if (md->type == EFI_MEMORY_MAPPED_IO || md->type == EFI_MEMORY_MAPPED_IO_PORT_SPACE)
			continue;
		if (md->attribute & EFI_MEMORY_WB && md->phys_addr <= addr && addr < end)
			return end;
	}
	return addr;
}

static bool is_described(u64 addr, u64 size)
{
	static const unsigned long descs[] = {
		IORES_DESC_SOFT_RESERVED, IORES_DESC_PERSISTENT_MEMORY, IORES_DESC_CXL,
	};
	u64 end = addr + size;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(descs); i++) {
		if (region_intersects(addr, size, IORESOURCE_MEM, descs[i]) == REGION_INTERSECTS)
			return true;
	}
	while (addr < end) {
		u64 until = max(reserved_memory_until(addr), efi_memory_until(addr));

		if (until == addr)
			return false;
		addr = until;
	}
	return true;
}

static enum memory_kind memory_kind(u64 addr, u64 size)
{
	u64 start = ALIGN_DOWN(addr, PAGE_SIZE);

	size = ALIGN(addr + size, PAGE_SIZE) - start;
	switch (region_intersects(start, size, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE)) {
	case REGION_INTERSECTS:
		return MEMORY_RAM;
	case REGION_MIXED:
		return MEMORY_PARTLY_RAM;
	}
	if (!is_described(start, size))
		return MEMORY_NONE;
	if (region_intersects(start, size, IORESOURCE_MEM | IORESOURCE_BUSY,
			      IORES_DESC_NONE) != REGION_DISJOINT)
		return MEMORY_CLAIMED;
	return MEMORY_FREE;
}

/* Neither empty, nor wrapping, nor beyond what a CPU can address. */
bool is_addressable(u64 addr, u64 size)
{
	u64 end;

	return size && !check_add_overflow(addr, size, &end) && end <= physical_address_end();
}

/* Its pages want more than one mapping; a single page of this sort wants none. */
bool is_partly_ram(u64 addr, u64 size)
{
	return memory_kind(addr, size) == MEMORY_PARTLY_RAM;
}

/**
 * map_memory() - map memory cacheable, whoever uses it
 * @addr: base physical address
 * @size: length in bytes
 *
 * For what leaves every byte as it is. System RAM is seen through the kernel's own
 * mapping of it, which may lack single pages: an access must be ready for a fault.
 *
 * Return: the mapping, for memunmap(), or an error pointer: -EINVAL if there cannot be
 * such a range, -ENXIO if it is not all memory, or RAM and other memory within a page
 */
void *map_memory(u64 addr, u64 size)
{
	void *mapping;

	if (!is_addressable(addr, size))
		return ERR_PTR(-EINVAL);
	switch (memory_kind(addr, size)) {
	case MEMORY_NONE:
	case MEMORY_PARTLY_RAM:
		return ERR_PTR(-ENXIO);
	default:
		mapping = memremap(addr, size, MEMREMAP_WB);
		return mapping ?: ERR_PTR(-ENOMEM);
	}
}

/**
 * map_free_memory() - map memory that nobody uses, so that its bytes may be changed
 * @addr: base physical address
 * @size: length in bytes
 * @flags: MEMREMAP_WB or MEMREMAP_WC
 *
 * Return: the mapping, for memunmap(), or an error pointer: -EINVAL and -ENXIO as from
 * map_memory(), -EPERM if any of it is System RAM, -EBUSY if a driver has claimed some
 */
void *map_free_memory(u64 addr, u64 size, unsigned long flags)
{
	void *mapping;

	if (!is_addressable(addr, size))
		return ERR_PTR(-EINVAL);
	switch (memory_kind(addr, size)) {
	case MEMORY_NONE:
		return ERR_PTR(-ENXIO);
	case MEMORY_RAM:
	case MEMORY_PARTLY_RAM:
		return ERR_PTR(-EPERM);
	case MEMORY_CLAIMED:
		return ERR_PTR(-EBUSY);
	case MEMORY_FREE:
		break;
	}
	mapping = memremap(addr, size, flags);
	return mapping ?: ERR_PTR(-ENOMEM);
}
