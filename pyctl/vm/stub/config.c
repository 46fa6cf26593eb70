// SPDX-License-Identifier: GPL-2.0-only
/*
 * The boot configuration: what the host wants this firmware to be, laid at
 * CONFIG_OFFSET before reset.  Little endian, 64-bit words:
 *
 *	magic, count, count x { key | index << 32, value }, checksum
 *
 * The checksum is FNV-1a, 64 bit, over all bytes before it.
 */
#include "boot.h"
#include "layout.h"
#include "settings.h"

#define CONFIG_MAGIC	0x31304746434c5450UL
#define ENTRIES_LIMIT	((CONFIG_SIZE - 3 * sizeof(uint64_t)) / (2 * sizeof(uint64_t)))

#define FNV_OFFSET	0xcbf29ce484222325UL
#define FNV_PRIME	0x100000001b3UL

struct config {
	uint64_t magic;
	uint64_t count;
	struct entry {
		uint64_t key;	/* index in the upper half */
		uint64_t value;
	} entry[];
};

static uint64_t checksum(const void *start, const void *end)
{
	uint64_t sum = FNV_OFFSET;

	for (const uint8_t *p = start; p < (const uint8_t *)end; p++)
		sum = (sum ^ *p) * FNV_PRIME;
	return sum;
}

static const struct config *config_checked(void)
{
	uint64_t config_base = firmware_base() + CONFIG_OFFSET;
	const struct config *config = (const struct config *)config_base;
	const struct entry *end;
	uint64_t expected, found;

	if (config->magic != CONFIG_MAGIC)
		boot_refuse("no boot configuration at %lx (magic %lx)",
			    config_base, config->magic);
	if (config->count > ENTRIES_LIMIT)
		boot_refuse("boot configuration: count %lu is more than the %lu that fit",
			    config->count, ENTRIES_LIMIT);
	end = &config->entry[config->count];
	expected = checksum(config, end);
	found = end->key;
	if (found != expected)
		boot_refuse("boot configuration: checksum %lx should be %lx", found, expected);
	return config;
}

void config_apply(struct settings *applied)
{
	const struct config *config = config_checked();

	lock_acquire(&state_lock);
	settings_init();
	for (uint64_t i = 0; i < config->count; i++) {
		uint64_t key = (uint32_t)config->entry[i].key;
		uint64_t index = config->entry[i].key >> 32;
		uint64_t value = config->entry[i].value;

		if (!settings_set(AT_BOOT, key, index, value))
			boot_refuse("boot configuration: entry %lu: key %lx index %lu value %lx "
				    "is not allowed", i, key, index, value);
	}
	settings_keep();
	settings_snapshot(applied);
	lock_release(&state_lock);
}
