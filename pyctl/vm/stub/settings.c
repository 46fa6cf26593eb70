// SPDX-License-Identifier: GPL-2.0-only
/*
 * One table says which settings exist and which values they take.
 */
#include "fault.h"
#include "mmu.h"
#include "queue.h"
#include "settings.h"
#include "smccc.h"
#include "value.h"

static bool is_version(uint64_t value)
{
	return value == 0 || (value >= VERSION_1_0 && value <= VERSION_1_2);
}

/* Of whole pages that a view can show. */
static bool is_memory(uint64_t value)
{
	return value % MMU_PAGE == 0 && value < MMU_SHOWN_END;
}

static bool is_whole_kind(uint64_t value)
{
	return value < WHOLE_KINDS;
}

static const struct setting {
	bool (*allows)(uint64_t value);	/* NULL: there is no such key */
	bool boot_only;
	uint64_t initial;
} table[SETTING_KEYS] = {
	[KEY_SMCCC_VERSION] = { is_version, false, VERSION_1_2 },
	[KEY_CLEAN_INV] = { is_flag, false, 1 },
	[KEY_ATTRIBUTES] = { is_flag, false, 1 },
	[KEY_GLOBAL] = { is_flag, false, 0 },
	[KEY_LATENCY_US] = { is_u32, false, 0 },
	[KEY_RATE] = { is_anything, false, 0 },
	[KEY_BREAK_EVEN] = { is_anything, false, 0 },
	[KEY_DURATION_US] = { is_duration, false, 0 },
	[KEY_ATTRIBUTES_STATUS] = { is_status, false, SMCCC_SUCCESS },
	[KEY_GUEST_ENTRY] = { is_memory, true, 0 },
	[KEY_MEMORY_SIZE] = { is_memory, true, 0 },
	[KEY_TARGET_BASE] = { is_memory, true, 0 },
	[KEY_TARGET_SIZE] = { is_memory, true, 0 },
	[KEY_CONDUIT] = { is_flag, true, CONDUIT_HVC },
	[KEY_WHOLE] = { is_whole_kind, false, WHOLE_REFUSE },
};

struct lock state_lock;

static struct settings current;
static struct settings kept;

bool settings_set(enum settings_when when, uint64_t key, uint64_t index, uint64_t value)
{
	if (key == KEY_QUEUED_STATUS && when == AT_BOOT)
		return index < UINT32_MAX && queue_append((int32_t)value, index + 1);
	if (key >= KEY_FAULT_KIND)
		return fault_set(key, index, value);
	if (key >= SETTING_KEYS || !table[key].allows || index != 0)
		return false;
	if (table[key].boot_only && when != AT_BOOT)
		return false;
	if (!table[key].allows(value))
		return false;
	current.value[key] = key == KEY_ATTRIBUTES_STATUS ? (uint64_t)(int32_t)value : value;
	return true;
}

bool settings_get(uint64_t key, uint64_t index, uint64_t *value)
{
	if (key >= KEY_FAULT_KIND)
		return fault_get(key, index, value);
	if (key >= SETTING_KEYS || !table[key].allows || index != 0)
		return false;
	*value = current.value[key];
	return true;
}

void settings_snapshot(struct settings *copy)
{
	*copy = current;
}

void settings_init(void)
{
	for (unsigned int key = 0; key < SETTING_KEYS; key++)
		current.value[key] = table[key].initial;
	fault_init();
}

void settings_keep(void)
{
	kept = current;
	fault_keep();
}

void settings_restore(void)
{
	current = kept;
	fault_restore();
}
