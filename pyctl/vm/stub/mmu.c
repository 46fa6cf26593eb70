// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stub's own translation at EL2: an identity map of what the stub may
 * touch and of nothing else, so that a stray access is a fault with a dump and
 * never a changed byte of the guest.
 *
 * Built once by the boot CPU with the MMU still off (so in memory, where every
 * CPU's table walk finds it).  Of the guest's memory only views are ever mapped,
 * at addresses of their own, by whoever has checked that it is the guest's.  With
 * the map come caches, and with these exclusives: the locks depend on it.
 */
#include <stdbool.h>

#include "compiler.h"
#include "cpu.h"
#include "layout.h"
#include "mmu.h"
#include "sysreg.h"

#define ENTRIES		512
#define PAGE		MMU_PAGE
#define LEVEL_SHIFT(level) (12 + 9 * (3 - (level)))

#define DESC_TABLE	3UL		/* at level 3: a page */
#define DESC_BLOCK	1UL
#define DESC_ADDRESS	BITS(47, 12)
#define DESC_DEVICE	BIT(2)	/* MAIR index 1, see start.S */
#define DESC_AP1	BIT(6)
#define DESC_READ_ONLY	BIT(7)
#define DESC_INNER	FIELD(3, 8)
#define DESC_AF		BIT(10)
#define DESC_PXN	BIT(53)
#define DESC_XN		BIT(54)

/* A view begins at the page of its first byte, so it may touch a page more. */
#define VIEW_STRIDE	(2 * VIEW_LIMIT)

/* Level 1 (1 GiB each), and what the map below needs: two levels for the UART, two for
 * the stub with its configuration and its device tree, and one for each end of the
 * media if that is not made of whole blocks; one level for all views and, for each,
 * one for every 2 MiB that it may touch.
 */
#define VIEW_TABLES	(VIEW_LIMIT / (1UL << LEVEL_SHIFT(2)) + 1)
#define TABLES		(1 + 2 + 2 + 2 + 1 + VIEWS * VIEW_TABLES)
uint64_t mmu_root[ENTRIES] __aligned(MMU_PAGE);
static uint64_t pool[TABLES - 1][ENTRIES] __aligned(MMU_PAGE);
static unsigned int pool_used;

static uint64_t attributes(enum mmu_kind kind)
{
	bool e2h = read_sysreg(hcr_el2) & HCR_E2H;
	/* With E2H the regime knows EL0: AP[1] would open the page to it, and
	 * there are two execute-never bits.
	 */
	uint64_t desc = DESC_AF | (e2h ? 0 : DESC_AP1);
	uint64_t never = e2h ? DESC_XN | DESC_PXN : DESC_XN;

	switch (kind) {
	case MMU_DEVICE:
		return desc | DESC_DEVICE | never;
	case MMU_CODE:
		return desc | DESC_INNER | DESC_READ_ONLY;
	case MMU_READ_ONLY:
		return desc | DESC_INNER | DESC_READ_ONLY | never;
	default:
		return desc | DESC_INNER | never;
	}
}

static uint64_t *next_table(uint64_t *entry)
{
	if (!*entry) {
		/* The tables are counted for the map below; more is a bug here. */
		if (pool_used == TABLES - 1)
			__builtin_trap();
		*entry = (uint64_t)pool[pool_used++] | DESC_TABLE;
	}
	return (uint64_t *)(*entry & DESC_ADDRESS);
}

static uint64_t *page_entry(uint64_t address)
{
	uint64_t *entry = &mmu_root[(address >> LEVEL_SHIFT(1)) % ENTRIES];

	entry = &next_table(entry)[(address >> LEVEL_SHIFT(2)) % ENTRIES];
	return &next_table(entry)[(address >> LEVEL_SHIFT(3)) % ENTRIES];
}

static void map(uint64_t start, uint64_t end, enum mmu_kind kind)
{
	uint64_t desc = attributes(kind);

	while (start < end) {
		uint64_t block = 1UL << LEVEL_SHIFT(2);
		uint64_t *entry = &mmu_root[(start >> LEVEL_SHIFT(1)) % ENTRIES];

		entry = &next_table(entry)[(start >> LEVEL_SHIFT(2)) % ENTRIES];
		if (start % block == 0 && end - start >= block) {
			*entry = start | desc | DESC_BLOCK;
			start += block;
			continue;
		}
		*page_entry(start) = start | desc | DESC_TABLE;
		start += PAGE;
	}
}

/* Reached from start.S only. */
void mmu_init(void)
{
	uint64_t cpus_end = (uint64_t)&cpus[MAX_CPUS];

	uint64_t base = firmware_base();

	map(UART_BASE, UART_BASE + PAGE, MMU_DEVICE);
	map((uint64_t)__text_start, (uint64_t)__text_end, MMU_CODE);
	map((uint64_t)__text_end, (uint64_t)__rodata_end, MMU_READ_ONLY);

	map((uint64_t)__rodata_end, (uint64_t)cpus, MMU_DATA);
	for (unsigned int i = 0; i < MAX_CPUS; i++) {
		map((uint64_t)&cpus[i], (uint64_t)cpus[i].guard, MMU_DATA);
		map((uint64_t)cpus[i].stack, (uint64_t)&cpus[i + 1], MMU_DATA);
	}
	map(cpus_end, (uint64_t)__stub_end, MMU_DATA);

	map(base + CONFIG_OFFSET, base + CONFIG_OFFSET + CONFIG_SIZE, MMU_READ_ONLY);
	map(base + DTB_OFFSET, base + DTB_OFFSET + DTB_SIZE, MMU_READ_ONLY);
	map(base + MEDIA_OFFSET, base + MEDIA_OFFSET + MEDIA_SIZE, MMU_DATA);
	__asm__ volatile("dsb sy" : : : "memory");
}

/* No CPU may see an old and a new entry of one address: take away, then put. */
void *mmu_show(enum mmu_view view, uint64_t base, uint64_t size)
{
	static struct { uint64_t first, end; } shown[VIEWS];
	uint64_t start = MMU_VIEWS + view * VIEW_STRIDE;
	uint64_t desc = attributes(MMU_DATA) | DESC_TABLE;
	uint64_t first = base & ~(PAGE - 1);

	if (first == shown[view].first && base + size <= shown[view].end)
		return (void *)(start + base % PAGE);
	shown[view].first = first;
	shown[view].end = base + size;
	for (uint64_t offset = 0; offset <= VIEW_LIMIT; offset += PAGE)
		*page_entry(start + offset) = 0;
	__asm__ volatile("dsb ishst\n\ttlbi alle2is\n\tdsb ish\n\tisb" : : : "memory");
	for (uint64_t offset = 0; first + offset < base + size; offset += PAGE)
		*page_entry(start + offset) = (first + offset) | desc;
	__asm__ volatile("dsb ishst\n\tisb" : : : "memory");
	return (void *)(start + base % PAGE);
}
