/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The firmware's behaviour as numbers: keys, values and the table of what is
 * allowed.  The boot configuration and the vendor calls use the same keys and
 * the same code.
 */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "lock.h"

#define CONDUIT_HVC		0U
#define CONDUIT_SMC		1U

/* Of (0, 2^64 - 1), with which the NVDIMM drivers ask for all memory. */
#define WHOLE_REFUSE		0U
#define WHOLE_ACCEPT		1U
#define WHOLE_CLAMP		2U	/* to the guest's memory */
#define WHOLE_KINDS		3U

#define KEY_SMCCC_VERSION	0x01U	/* 0 = none */
#define KEY_CLEAN_INV		0x02U	/* the function is offered */
#define KEY_ATTRIBUTES		0x03U	/* the function is offered */
#define KEY_GLOBAL		0x04U
#define KEY_LATENCY_US		0x05U	/* advertised, as are the next two */
#define KEY_RATE		0x06U	/* calls per second */
#define KEY_BREAK_EVEN		0x07U	/* bytes */
#define KEY_DURATION_US		0x08U	/* what a call really takes */
#define KEY_ATTRIBUTES_STATUS	0x09U	/* what ATTRIBUTES answers in x0 */
#define KEY_QUEUED_STATUS	0x0aU	/* boot only; index = further repeats */
#define KEY_GUEST_ENTRY		0x0bU	/* boot only, as are the next four: where the
					 * guest starts; an arm64 Image, or 0: the flash
					 */
#define KEY_MEMORY_SIZE		0x0cU	/* of the guest's memory, from RAM_BASE on */
#define KEY_TARGET_BASE		0x0dU	/* memory that tests may aim at, inside */
#define KEY_TARGET_SIZE		0x0eU	/* the guest's or beyond; none if 0 */
#define KEY_CONDUIT		0x0fU	/* boot only; the one the device tree names */
#define KEY_WHOLE		0x10U	/* what is made of a call for all memory */
#define SETTING_KEYS		0x11U	/* the keys above are below this */

/* Values by key, so that a copy of it is one call's view of the firmware. */
struct settings {
	uint64_t value[SETTING_KEYS];
};

/*
 * The settings in force, the queue (queue.h) and the counters and log
 * (record.h) are one state with one lock, so that a reset is one event.  All
 * functions of these three headers want it held.
 */
extern struct lock state_lock;

enum settings_when { AT_BOOT, AT_RUNTIME };

/*
 * Both return false, and change nothing, where the key, the index or the value
 * is not one that is allowed now.
 */
bool settings_set(enum settings_when when, uint64_t key, uint64_t index, uint64_t value);
bool settings_get(uint64_t key, uint64_t index, uint64_t *value);

void settings_snapshot(struct settings *copy);

/* Before the boot configuration; after it; and back to where that left things. */
void settings_init(void);
void settings_keep(void);
void settings_restore(void);

#endif
