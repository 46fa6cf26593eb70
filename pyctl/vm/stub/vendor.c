// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vendor calls; vendor.h has their arguments and results.  Every one is
 * done under the state's lock, so that what it returns belongs together.
 */
#include "call.h"
#include "model.h"
#include "psci.h"
#include "queue.h"
#include "record.h"
#include "smccc.h"
#include "sysreg.h"
#include "vendor.h"

/* cbc6b017-5068-43d3-a32d-d92250a848b0: four bytes a register, the first lowest. */
void vendor_uid(struct call *call)
{
	call->x[0] = 0x17b0c6cb;
	call->x[1] = 0xd3436850;
	call->x[2] = 0x22d92da3;
	call->x[3] = 0xb048a850;
}

void vendor_revision(struct call *call)
{
	call->x[0] = VENDOR_MAJOR;
	call->x[1] = VENDOR_MINOR;
}

static bool read_key(uint64_t key, uint64_t index, uint64_t *value)
{
	if (key < SETTING_KEYS || key >= KEY_FAULT_KIND)
		return settings_get(key, index, value);
	if (index != 0)
		return false;
	switch (key) {
	case KEY_COUNTERS ... KEY_COUNTERS + COUNT_UNKNOWN:
		*value = record_counter(key - KEY_COUNTERS);
		return true;
	case KEY_LOG_TOTAL:
		*value = record_total();
		return true;
	case KEY_QUEUE_LENGTH:
		*value = queue_length();
		return true;
	case KEY_COUNTER_HZ:
		*value = read_sysreg(cntfrq_el0);
		return true;
	case KEY_CPUS_ONLINE:
		*value = psci_cpus_online();
		return true;
	case KEY_OTHER_CONDUIT:
		*value = record_counter(COUNT_OTHER_CONDUIT);
		return true;
	default:
		return false;
	}
}

void vendor_get(struct call *call)
{
	uint64_t value;
	bool known;

	lock_acquire(&state_lock);
	known = read_key(call->arg[1], call->arg[2], &value);
	lock_release(&state_lock);

	call_return(call, known ? SMCCC_SUCCESS : SMCCC_INVALID_PARAMETER);
	if (known)
		call->x[1] = value;
}

void vendor_set(struct call *call)
{
	bool done;

	lock_acquire(&state_lock);
	done = settings_set(AT_RUNTIME, call->arg[1], call->arg[2], call->arg[3]);
	lock_release(&state_lock);
	call_return(call, done ? SMCCC_SUCCESS : SMCCC_INVALID_PARAMETER);
}

void vendor_reset(struct call *call)
{
	if (call->arg[1] > RESET_RECORDS) {
		call_return(call, SMCCC_INVALID_PARAMETER);
		return;
	}
	lock_acquire(&state_lock);
	record_clear();
	if (call->arg[1] == RESET_ALL) {
		settings_restore();
		queue_clear();
	}
	lock_release(&state_lock);
	if (call->arg[1] == RESET_ALL)
		model_stop();
	call_return(call, SMCCC_SUCCESS);
}

void vendor_queue(struct call *call)
{
	uint64_t places;
	bool done;

	lock_acquire(&state_lock);
	done = queue_append((int32_t)call->arg[1], call->arg[2]);
	places = queue_places();
	lock_release(&state_lock);

	call_return(call, done ? SMCCC_SUCCESS : SMCCC_INVALID_PARAMETER);
	if (done)
		call->x[1] = places;
}

void vendor_log(struct call *call)
{
	struct record record;
	bool known;

	lock_acquire(&state_lock);
	known = record_get(call->arg[1], &record);
	lock_release(&state_lock);

	call_return(call, known ? SMCCC_SUCCESS : SMCCC_INVALID_PARAMETER);
	if (!known)
		return;
	/* x1, the sequence number, is the argument itself. */
	call->x[2] = record.fid;
	call->x[3] = record.base;
	call->x[4] = record.length;
	call->x[5] = record.flags;
	call->x[6] = record.mpidr;
	call->x[7] = record.entered;
	call->x[8] = record.left;
	call->x[9] = record.returned;
	call->x[10] = record.conduit;
}
