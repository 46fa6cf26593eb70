/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls by which a guest that knows this stub reads and changes it: owner
 * "vendor specific hypervisor" (DEN0028, table 6-2).
 */
#ifndef VENDOR_H
#define VENDOR_H

#include "smccc.h"

/* SMCCC's standard pair for every owner: who answers, and which revision. */
#define VENDOR_UID	FID32(OWNER_VENDOR_HYP, 0xff01U)
#define VENDOR_REVISION	FID32(OWNER_VENDOR_HYP, 0xff03U)

#define VENDOR_GET	FID64(OWNER_VENDOR_HYP, 1U)	/* key, index -> status, value */
#define VENDOR_SET	FID64(OWNER_VENDOR_HYP, 2U)	/* key, index, value -> status */
#define VENDOR_RESET	FID64(OWNER_VENDOR_HYP, 3U)	/* what -> status */
#define VENDOR_QUEUE	FID64(OWNER_VENDOR_HYP, 4U)	/* status, repeat -> status, places */
#define VENDOR_LOG	FID64(OWNER_VENDOR_HYP, 5U)	/* seq -> status, record in x1-x10 */
#define VENDOR_MODEL	FID64(OWNER_VENDOR_HYP, 6U)	/* base, size, line size -> status */
#define VENDOR_MEDIA_READ FID64(OWNER_VENDOR_HYP, 7U)	/* address, length -> status, x1-x8 */
#define VENDOR_MEDIA_WRITE FID64(OWNER_VENDOR_HYP, 8U)	/* address, length, x3-x10 -> status */
#define VENDOR_MEDIA_COPY FID64(OWNER_VENDOR_HYP, 9U)	/* address, length, buffer, way -> status */

#define VENDOR_MAJOR	1
#define VENDOR_MINOR	1

/* VENDOR_RESET: everything as configured at boot with an empty queue, or only
 * counters and log.
 */
#define RESET_ALL	0
#define RESET_RECORDS	1

/* VENDOR_GET: what can only be read. */
#define KEY_COUNTERS		0x20U	/* COUNT_CLEAN_INV to COUNT_UNKNOWN */
#define KEY_LOG_TOTAL		0x25U
#define KEY_QUEUE_LENGTH	0x26U
#define KEY_COUNTER_HZ		0x27U
#define KEY_CPUS_ONLINE		0x28U
#define KEY_OTHER_CONDUIT	0x29U

struct call;

void vendor_uid(struct call *call);
void vendor_revision(struct call *call);
void vendor_get(struct call *call);
void vendor_set(struct call *call);
void vendor_reset(struct call *call);
void vendor_queue(struct call *call);
void vendor_log(struct call *call);

#endif
