// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two functions that all this is about: CLEAN_INV_MEMREGION and its
 * ATTRIBUTES (DEN0028 v1.7, 7.10 and 7.11).
 *
 * Where the specification leaves the answer open, this firmware's is: the queue
 * of forced statuses comes first; then, for dry runs too, reserved flag bits,
 * an empty or wrapping range and one beyond the physical address width are
 * INVALID_PARAMETER.  Global firmware looks at the flags only.  A setting says what
 * becomes of the range that stands for all memory.  Some faults are none: they have this
 * firmware answer as others may.
 *
 * QEMU emulates no caches.  What an operation does shows in the window of the
 * modelled cache (model.c) alone; without one, nothing is touched.
 */
#include "cache.h"
#include "call.h"
#include "compiler.h"
#include "cpu.h"
#include "layout.h"
#include "model.h"
#include "queue.h"
#include "record.h"
#include "smccc.h"
#include "sysreg.h"

#define FLAG_DRY_RUN	1UL
#define ATTRIBUTE_GLOBAL 1UL

static unsigned int physical_address_bits(void)
{
	static const uint8_t bits[] = { 32, 36, 40, 42, 44, 48, 52, 56 };
	uint64_t range = id_field(id_aa64mmfr0_el1, MMFR0_PARANGE);

	return bits[range < ARRAY_SIZE(bits) ? range : ARRAY_SIZE(bits) - 1];
}

/* What a power of two, less one, leaves of an address: the parameter of a fault that hits. */
static uint64_t block_mask(const struct faults *faults, enum fault_kind kind)
{
	return faults->parameter[kind] - 1;
}

/* All memory, as the NVDIMM drivers of Linux ask for it. */
static bool is_whole(const struct call *call)
{
	return call->arg[1] == 0 && call->arg[2] == UINT64_MAX;
}

static int32_t check_arguments(const struct call *call)
{
	const struct faults *faults = &call->faults;
	uint64_t base = call->arg[1];
	uint64_t length = call->arg[2];
	uint64_t last = base + length - 1;

	if (fault_hits(faults, FAULT_BUSY_OVER) && length > faults->parameter[FAULT_BUSY_OVER])
		return SMCCC_BUSY;
	if (fault_hits(faults, FAULT_REFUSE_UNALIGNED) &&
	    (base | length) & block_mask(faults, FAULT_REFUSE_UNALIGNED))
		return SMCCC_INVALID_PARAMETER;
	if (fault_hits(faults, FAULT_ACCEPT_ANYTHING))
		return SMCCC_SUCCESS;
	if (call->arg[3] & ~FLAG_DRY_RUN)
		return SMCCC_INVALID_PARAMETER;
	if (call->settings.value[KEY_GLOBAL])
		return SMCCC_SUCCESS;
	if (is_whole(call) && call->settings.value[KEY_WHOLE] != WHOLE_REFUSE)
		return SMCCC_SUCCESS;
	if (length == 0 || last < base || last >> physical_address_bits())
		return SMCCC_INVALID_PARAMETER;
	return SMCCC_SUCCESS;
}

/* Interrupts stay pending for the guest, as they do in real firmware. */
static void spend(uint64_t since, uint64_t duration_us)
{
	uint64_t ticks = duration_us * read_sysreg(cntfrq_el0) / 1000000;

	while (counter_read() - since < ticks)
		__asm__ volatile("yield");
}

/* How a call is going to end, and whether it operates on the way there. */
struct verdict {
	int32_t status;
	bool operates;
	bool rides;	/* on an operation that is under way: FAULT_SKIP_QUEUED */
};

static struct verdict judge(const struct call *call)
{
	const struct faults *faults = &call->faults;
	struct verdict verdict = { .status = queue_take() };

	if (verdict.status != SMCCC_SUCCESS)
		return verdict;
	if (fault_hits(faults, FAULT_STATUS)) {
		verdict.status = (int32_t)faults->parameter[FAULT_STATUS];
		return verdict;
	}
	if (fault_hits(faults, FAULT_RATE_LIMIT))
		verdict.status = SMCCC_RATE_LIMITED;
	else if (fault_hits(faults, FAULT_BUSY_INSIDE))
		verdict.status = SMCCC_BUSY;
	else
		verdict.status = check_arguments(call);
	if (verdict.status == SMCCC_SUCCESS &&
	    (!(call->arg[3] & FLAG_DRY_RUN) || fault_hits(faults, FAULT_DRY_RUN_ACTS))) {
		verdict.rides = fault_hits(faults, FAULT_SKIP_QUEUED);
		verdict.operates = !verdict.rides;
	}
	return verdict;
}

/* Other bytes than those that were asked for, by how a range is made of lines and blocks. */
static void cut(struct operation *operation, const struct faults *faults, uint64_t line_size)
{
	uint64_t length = operation->last - operation->first + 1;

	if (fault_hits(faults, FAULT_SHORT_LENGTH)) {
		length &= (1UL << faults->parameter[FAULT_SHORT_LENGTH]) - 1;
		operation->last = operation->first + length - 1;
	}
	if (fault_hits(faults, FAULT_STOP_AT_BORDER)) {
		uint64_t end = operation->first | block_mask(faults, FAULT_STOP_AT_BORDER);

		if (end < operation->last)
			operation->last = end;
	}
	if (fault_hits(faults, FAULT_SKIP_PARTS)) {
		operation->first = (operation->first + line_size - 1) & ~(line_size - 1);
		operation->last = ((operation->last + 1) & ~(line_size - 1)) - 1;
	}
	if (fault_hits(faults, FAULT_OVER_FLUSH)) {
		operation->first &= ~block_mask(faults, FAULT_OVER_FLUSH);
		operation->last |= block_mask(faults, FAULT_OVER_FLUSH);
	}
}

/* Clamps an operation to what faults leave of it; false if that is nothing. */
static bool cover(struct operation *operation, const struct faults *faults, uint64_t line_size)
{
	cut(operation, faults, line_size);
	if (fault_hits(faults, FAULT_WRONG_BASE)) {
		operation->first += faults->parameter[FAULT_WRONG_BASE];
		operation->last += faults->parameter[FAULT_WRONG_BASE];
	}
	if (fault_hits(faults, FAULT_SKIP_SECOND_HALF))
		operation->last -= (operation->last - operation->first + 1) / 2;
	if (fault_hits(faults, FAULT_ONLY_BELOW) &&
	    operation->last >= faults->parameter[FAULT_ONLY_BELOW])
		operation->last = faults->parameter[FAULT_ONLY_BELOW] - 1;
	if (fault_hits(faults, FAULT_SKIP_LAST_LINE))
		operation->last = (operation->last & ~(line_size - 1)) - 1;
	if (fault_hits(faults, FAULT_SKIP_FIRST_LINE))
		operation->first = (operation->first | (line_size - 1)) + 1;
	return operation->first <= operation->last && !fault_hits(faults, FAULT_NOOP);
}

static void operate(const struct call *call)
{
	const struct faults *faults = &call->faults;
	struct window window = model_window();
	struct operation operation = {
		.first = call->arg[1],
		.last = call->arg[1] + call->arg[2] - 1,
		.clean = !fault_hits(faults, FAULT_INVALIDATE_ONLY),
		.invalidate = !fault_hits(faults, FAULT_CLEAN_ONLY),
		.lose_partial = fault_hits(faults, FAULT_LOSE_PARTIAL),
		.forget = fault_hits(faults, FAULT_FORGET_NEIGHBOURS),
	};

	if (!window.line_size)
		return;
	if (call->settings.value[KEY_GLOBAL]) {
		operation.first = window.base;
		operation.last = window.base + window.size - 1;
	}
	if (is_whole(call) && call->settings.value[KEY_WHOLE] == WHOLE_CLAMP) {
		operation.first = RAM_BASE;
		operation.last = RAM_BASE + call->settings.value[KEY_MEMORY_SIZE] - 1;
	}
	if (cover(&operation, faults, window.line_size))
		model_operate(&operation);
}

static void carry_out(const struct call *call, struct verdict verdict)
{
	fault_stall(call, FAULT_HANG);
	fault_stall(call, FAULT_HOLD_EARLY);
	if (verdict.operates) {
		operate(call);
		spend(call->entered, call->settings.value[KEY_DURATION_US]);
	}
	while (verdict.rides && record_operations())
		__asm__ volatile("yield");
	fault_stall(call, FAULT_HOLD);
	fault_stall(call, FAULT_LATENCY);
}

void clean_inv(struct call *call)
{
	struct record record = {
		.fid = call->fid,
		.conduit = call->conduit,
		.base = call->arg[1],
		.length = call->arg[2],
		.flags = call->arg[3],
		.mpidr = cpu_affinity(),
		.entered = call->entered,
	};
	struct verdict verdict;
	uint64_t ticket;

	lock_acquire(&state_lock);
	ticket = record_enter(&record);
	verdict = judge(call);
	if (verdict.operates)
		record_operation(true);
	lock_release(&state_lock);

	carry_out(call, verdict);
	call_return(call, verdict.status);

	lock_acquire(&state_lock);
	if (verdict.operates)
		record_operation(false);
	record_leave(ticket, counter_read(), call->x[0]);
	lock_release(&state_lock);
}

/* What is advertised, unless a fault says otherwise. */
static uint64_t advertised(const struct call *call, unsigned int key, enum fault_kind lie)
{
	if (fault_hits(&call->faults, lie))
		return call->faults.parameter[lie];
	return call->settings.value[key];
}

void clean_inv_attributes(struct call *call)
{
	int32_t status = (int32_t)advertised(call, KEY_ATTRIBUTES_STATUS, FAULT_STATUS);

	fault_stall(call, FAULT_HANG);
	fault_stall(call, FAULT_LATENCY);
	call_return(call, status);
	if (status != SMCCC_SUCCESS)
		return;
	call->x[1] = advertised(call, KEY_GLOBAL, FAULT_ATTR_GLOBAL) ? ATTRIBUTE_GLOBAL : 0;
	call->x[2] = advertised(call, KEY_LATENCY_US, FAULT_ATTR_LATENCY_US);
	call->x[3] = advertised(call, KEY_RATE, FAULT_ATTR_RATE);
	if (!fault_hits(&call->faults, FAULT_KEEP_X4))
		call->x[4] = advertised(call, KEY_BREAK_EVEN, FAULT_ATTR_BREAK_EVEN);
}
