// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two functions that all this is about: CLEAN_INV_MEMREGION and its
 * ATTRIBUTES (DEN0028 v1.7, 7.10 and 7.11).
 *
 * Where the specification leaves the answer open, this firmware's is: the queue
 * of forced statuses comes first; then, for dry runs too, reserved flag bits,
 * an empty or wrapping range and one beyond the physical address width are
 * INVALID_PARAMETER.  Global firmware looks at the flags only.
 *
 * No cache line is touched.  The virtual board has one coherent view of memory,
 * so a real clean+invalidate would change nothing that anybody could see, and
 * would need the guest's memory mapped here.
 */
#include "cpu.h"
#include "record.h"
#include "queue.h"
#include "smccc.h"
#include "sysreg.h"

#define FLAG_DRY_RUN	1UL
#define ATTRIBUTE_GLOBAL 1UL

static unsigned int physical_address_bits(void)
{
	static const uint8_t bits[] = { 32, 36, 40, 42, 44, 48, 52, 56 };
	uint64_t range = read_sysreg(id_aa64mmfr0_el1) & 0xf;

	return bits[range < sizeof(bits) ? range : sizeof(bits) - 1];
}

static int32_t check_arguments(const struct call *call)
{
	uint64_t base = call->arg[1];
	uint64_t length = call->arg[2];
	uint64_t last = base + length - 1;

	if (call->arg[3] & ~FLAG_DRY_RUN)
		return SMCCC_INVALID_PARAMETER;
	if (call->settings.value[KEY_GLOBAL])
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

static int32_t carry_out(const struct call *call, int32_t queued)
{
	int32_t status;

	if (queued != SMCCC_SUCCESS)
		return queued;
	status = check_arguments(call);
	if (status == SMCCC_SUCCESS && !(call->arg[3] & FLAG_DRY_RUN))
		spend(call->entered, call->settings.value[KEY_DURATION_US]);
	return status;
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
	uint64_t ticket;
	int32_t queued;

	lock_acquire(&state_lock);
	ticket = record_enter(&record);
	queued = queue_take();
	lock_release(&state_lock);

	call_return(call, carry_out(call, queued));

	lock_acquire(&state_lock);
	record_leave(ticket, counter_read(), call->x[0]);
	lock_release(&state_lock);
}

void clean_inv_attributes(struct call *call)
{
	const uint64_t *value = call->settings.value;
	int32_t status = (int32_t)value[KEY_ATTRIBUTES_STATUS];

	call_return(call, status);
	if (status != SMCCC_SUCCESS)
		return;
	call->x[1] = value[KEY_GLOBAL] ? ATTRIBUTE_GLOBAL : 0;
	call->x[2] = value[KEY_LATENCY_US];
	call->x[3] = value[KEY_RATE];
	call->x[4] = value[KEY_BREAK_EVEN];
}
