// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reset: check what the board was given, say what this firmware is, enter the
 * kernel.  Whatever is wrong ends in one line on the UART and power-off, since
 * a guest that starts on wrong premises is much harder to explain.
 */
#include "boot.h"
#include "compiler.h"
#include "console.h"
#include "cpu.h"
#include "fault.h"
#include "mmu.h"
#include "psci.h"
#include "queue.h"
#include "settings.h"
#include "smccc.h"
#include "string.h"
#include "vendor.h"

#define DTB_MAGIC	0xd00dfeedU
#define IMAGE_MAGIC	0x644d5241U	/* "ARM\x64" */
#define LINE_LEAST	16UL		/* bytes: the shortest cache line that there can be */

/* arm64 kernel Image header: Linux Documentation/arch/arm64/booting.rst. */
struct image_header {
	uint32_t code[2];
	uint64_t text_offset;
	uint64_t image_size;
	uint64_t flags;
	uint64_t reserved[3];
	uint32_t magic;
	uint32_t pe_offset;
};

#define IMAGE_BIG_ENDIAN 1UL

/*
 * The board's description goes to the base of RAM, over the one that QEMU has put
 * there and that knows nothing of firmware's memory: there UEFI looks for it, and a
 * kernel is told.
 */
static void place_device_tree(void)
{
	uint64_t at = firmware_base() + DTB_OFFSET;
	const uint32_t *header = (const uint32_t *)at;
	uint64_t magic = __builtin_bswap32(header[0]);
	uint64_t size = __builtin_bswap32(header[1]);
	uint8_t *copy;

	if (magic != DTB_MAGIC)
		boot_refuse("no device tree at %lx (magic %lx)", at, magic);
	if (size > DTB_SIZE)
		boot_refuse("the device tree is too big: %lu bytes, at most %lu fit", size,
			    (uint64_t)DTB_SIZE);

	copy = mmu_show(VIEW_BUFFER, RAM_BASE, size);
	memcpy(copy, header, size);
	/* Whoever reads it begins without caches. */
	for (uint64_t offset = 0; offset < size; offset += LINE_LEAST)
		__asm__ volatile("dc civac, %0" : : "r"(copy + offset) : "memory");
	__asm__ volatile("dsb sy" : : : "memory");
}

static void check_kernel(uint64_t entry)
{
	const struct image_header *image = mmu_show(VIEW_BUFFER, entry, sizeof(*image));

	if (image->magic != IMAGE_MAGIC)
		boot_refuse("no arm64 kernel Image at %lx (magic %lx)", entry,
			    (uint64_t)image->magic);
	if (image->text_offset != 0 || (image->flags & IMAGE_BIG_ENDIAN))
		boot_refuse("this kernel Image cannot start at %lx (text offset %lx, flags %lx)",
			    entry, image->text_offset, image->flags);
}

static const char *version_name(uint64_t version)
{
	switch (version) {
	case VERSION_1_0:
		return "1.0";
	case VERSION_1_1:
		return "1.1";
	case VERSION_1_2:
		return "1.2";
	default:
		return "none";
	}
}

static void introduce(const struct settings *settings)
{
	uint64_t queued, faults;

	lock_acquire(&state_lock);
	queued = queue_length();
	faults = fault_armed();
	lock_release(&state_lock);

	console_print("stub: pyctl firmware %lu.%lu at EL2, MIDR %lx, conduit %s, smccc %s\n"
		      "stub: clean_inv %lu attributes %lu global %lu latency_us %lu rate %lu "
		      "break_even %lu duration_us %lu attributes_status %ld queued %lu faults %lu\n",
		      (uint64_t)VENDOR_MAJOR, (uint64_t)VENDOR_MINOR, read_sysreg(midr_el1),
		      settings->value[KEY_CONDUIT] == CONDUIT_SMC ? "smc" : "hvc",
		      version_name(settings->value[KEY_SMCCC_VERSION]),
		      settings->value[KEY_CLEAN_INV], settings->value[KEY_ATTRIBUTES],
		      settings->value[KEY_GLOBAL], settings->value[KEY_LATENCY_US],
		      settings->value[KEY_RATE], settings->value[KEY_BREAK_EVEN],
		      settings->value[KEY_DURATION_US],
		      (int64_t)(int32_t)settings->value[KEY_ATTRIBUTES_STATUS], queued, faults);
}

/* Where start.S takes the boot CPU, with the MMU on. */
__noreturn void boot_main(struct cpu *cpu)
{
	struct settings settings;
	uint64_t entry;

	console_init();
	psci_boot_cpu(cpu);
	config_apply(&settings);
	place_device_tree();
	entry = settings.value[KEY_GUEST_ENTRY];
	if (entry)
		check_kernel(entry);
	introduce(&settings);

	cpu_open_to_guest();
	enter_guest(entry, RAM_BASE);
}

/* Where start.S takes it when there is no EL2: MMU off, no vectors. */
__noreturn void refuse_el(void)
{
	uint64_t el = read_sysreg(CURRENT_EL) >> CURRENT_EL_SHIFT & CURRENT_EL_MASK;

	console_init();
	console_print("stub: refusing to start: this firmware needs EL2 but was started at EL%lu "
		      "(QEMU: -M virt,virtualization=on,secure=off)\n", el);
	if (el == 1)
		psci_hvc(PSCI_SYSTEM_OFF, 0, 0, 0);
	for (;;)
		__asm__ volatile("wfi");
}
