// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slots: how faults are armed, which of them a call suffers, and what keeps a call
 * in firmware or ends it with other registers than it should.
 */
#include <stddef.h>

#include "call.h"
#include "console.h"
#include "cpu.h"
#include "fault.h"
#include "fault_kinds.h"
#include "record.h"
#include "smccc.h"
#include "sysreg.h"
#include "value.h"

#define SVCR		s3_3_c4_c2_2
#define SVCR_ZA		BIT(1)

struct fault {
	uint64_t kind;
	uint64_t parameter;
	uint64_t count;
	uint64_t every;
	uint64_t cpu;
	uint64_t calls;
	/* Below: only while armed. */
	uint64_t seen;
	uint64_t fired;
	uint64_t window_start;	/* FAULT_RATE_LIMIT: CNTPCT, */
	uint64_t window_calls;	/* and what it has let through since */
};

static struct fault armed[FAULT_SLOTS];
static struct fault staged[FAULT_SLOTS];
static struct fault kept[FAULT_SLOTS];
/* Goes up with each change of a slot, so that a call held by it sees its end. */
static uint64_t generation[FAULT_SLOTS];

static bool contradict(const struct fault *a, const struct fault *b)
{
	bool same_cpu = a->cpu == b->cpu || a->cpu == FAULT_ANY_CPU || b->cpu == FAULT_ANY_CPU;

	if (!a->kind || !b->kind || !(a->calls & b->calls) || !same_cpu)
		return false;
	return a->kind == b->kind ||
	       (fault_kinds[a->kind].decides & fault_kinds[b->kind].decides & ~DECIDES_ITSELF);
}

static bool consistent(const struct fault *slots)
{
	for (unsigned int i = 0; i < FAULT_SLOTS; i++)
		for (unsigned int j = 0; j < i; j++)
			if (contradict(&slots[i], &slots[j]))
				return false;
	return true;
}

static bool commit(uint64_t value)
{
	uint64_t fill = value & UINT32_MAX;
	uint64_t empty = value >> 32;
	struct fault next[FAULT_SLOTS];

	if (!value || (fill | empty) >> FAULT_SLOTS || (fill & empty))
		return false;
	for (unsigned int i = 0; i < FAULT_SLOTS; i++) {
		next[i] = armed[i];
		if (empty >> i & 1)
			next[i] = (struct fault){ 0 };
		if (fill >> i & 1) {
			if (!staged[i].kind)
				return false;
			next[i] = staged[i];
		}
	}
	if (!consistent(next))
		return false;
	for (unsigned int i = 0; i < FAULT_SLOTS; i++) {
		armed[i] = next[i];
		if ((fill | empty) >> i & 1)
			generation[i]++;
		staged[i].kind = FAULT_NONE;
	}
	return true;
}

static bool stage_kind(struct fault *fault, uint64_t value)
{
	if (value == FAULT_NONE || value >= FAULT_KINDS)
		return false;
	*fault = (struct fault){
		.kind = value,
		.parameter = fault_kinds[value].initial,
		.every = 1,
		.cpu = FAULT_ANY_CPU,
		.calls = fault_kinds[value].usual,
	};
	return true;
}

static bool stage(uint64_t *word, uint64_t value, bool allowed)
{
	if (allowed)
		*word = value;
	return allowed;
}

bool fault_set(uint64_t key, uint64_t slot, uint64_t value)
{
	struct fault *fault = &staged[slot % FAULT_SLOTS];

	if (key == KEY_FAULT_COMMIT)
		return slot == 0 && commit(value);
	if (slot >= FAULT_SLOTS)
		return false;
	if (key == KEY_FAULT_KIND)
		return stage_kind(fault, value);
	if (!fault->kind)
		return false;
	switch (key) {
	case KEY_FAULT_PARAMETER:
		return stage(&fault->parameter, value, fault_kinds[fault->kind].takes(value));
	case KEY_FAULT_COUNT:
		return stage(&fault->count, value, is_u32(value));
	case KEY_FAULT_EVERY:
		return stage(&fault->every, value, value && is_u32(value));
	case KEY_FAULT_CPU:
		return stage(&fault->cpu, value,
			     value == FAULT_ANY_CPU || !(value & ~MPIDR_AFFINITY));
	case KEY_FAULT_CALLS:
		return stage(&fault->calls, value,
			     value && !(value & ~(uint64_t)fault_kinds[fault->kind].calls));
	default:
		return false;
	}
}

bool fault_get(uint64_t key, uint64_t slot, uint64_t *value)
{
	const struct fault *fault = &armed[slot % FAULT_SLOTS];
	const uint64_t words[] = {
		[KEY_FAULT_KIND - KEY_FAULT_KIND] = fault->kind,
		[KEY_FAULT_PARAMETER - KEY_FAULT_KIND] = fault->parameter,
		[KEY_FAULT_COUNT - KEY_FAULT_KIND] = fault->count,
		[KEY_FAULT_EVERY - KEY_FAULT_KIND] = fault->every,
		[KEY_FAULT_CPU - KEY_FAULT_KIND] = fault->cpu,
		[KEY_FAULT_CALLS - KEY_FAULT_KIND] = fault->calls,
		[KEY_FAULT_SEEN - KEY_FAULT_KIND] = fault->seen,
		[KEY_FAULT_FIRED - KEY_FAULT_KIND] = fault->fired,
	};

	if (slot >= FAULT_SLOTS || key < KEY_FAULT_KIND || key >= FAULT_KEYS_END ||
	    key == KEY_FAULT_COMMIT)
		return false;
	*value = words[key - KEY_FAULT_KIND];
	return true;
}

/* A window begins with the first call after the last one's end. */
static bool over_the_limit(struct fault *fault, uint64_t now)
{
	uint64_t ticks = RATE_LIMIT_WINDOW_US(fault->parameter) * read_sysreg(cntfrq_el0) / 1000000;

	if (!fault->window_calls || now - fault->window_start >= ticks) {
		fault->window_start = now;
		fault->window_calls = 0;
	}
	if (fault->window_calls >= RATE_LIMIT_BURST(fault->parameter))
		return true;
	fault->window_calls++;
	return false;
}

/* Whether the situation is one in which the fault can show at all. */
static bool applies(struct fault *fault, const struct call *call)
{
	switch (fault->kind) {
	case FAULT_RATE_LIMIT:
		return over_the_limit(fault, call->entered);
	case FAULT_BUSY_INSIDE:
	case FAULT_SKIP_QUEUED:
		return record_operations() != 0;
	case FAULT_FEATURES_CLEAN_INV:
		return (uint32_t)call->arg[1] == SMCCC_CLEAN_INV;
	case FAULT_FEATURES_ATTRIBUTES:
		return (uint32_t)call->arg[1] == SMCCC_CLEAN_INV_ATTRIBUTES;
	default:
		return true;
	}
}

void fault_select(struct call *call, unsigned int calls)
{
	struct faults *faults = &call->faults;
	uint64_t cpu = cpu_affinity();

	for (unsigned int i = 0; i < FAULT_SLOTS; i++) {
		struct fault *fault = &armed[i];

		if (!(fault->calls & calls) || (fault->cpu != FAULT_ANY_CPU && fault->cpu != cpu))
			continue;
		if (!applies(fault, call) || ++fault->seen % fault->every ||
		    (fault->count && fault->fired == fault->count))
			continue;
		fault->fired++;
		faults->hits |= 1UL << fault->kind;
		faults->parameter[fault->kind] = fault->parameter;
		faults->slot[fault->kind] = i;
		faults->generation[fault->kind] = generation[i];
	}
}

uint64_t fault_armed(void)
{
	uint64_t number = 0;

	for (unsigned int i = 0; i < FAULT_SLOTS; i++)
		number += armed[i].kind != FAULT_NONE;
	return number;
}

static void arm(const struct fault *slots)
{
	for (unsigned int i = 0; i < FAULT_SLOTS; i++) {
		armed[i] = slots[i];
		staged[i].kind = FAULT_NONE;
		generation[i]++;
	}
}

void fault_init(void)
{
	arm(kept);
}

void fault_keep(void)
{
	for (unsigned int i = 0; i < FAULT_SLOTS; i++)
		kept[i] = armed[i];
}

void fault_restore(void)
{
	arm(kept);
}

/* Whether a call that a fault keeps here may go on. */
static bool released(const struct faults *faults, enum fault_kind kind)
{
	const uint64_t *now = &generation[faults->slot[kind]];

	return (kind == FAULT_HOLD || kind == FAULT_HOLD_EARLY) &&
	       __atomic_load_n(now, __ATOMIC_RELAXED) != faults->generation[kind];
}

void fault_stall(const struct call *call, enum fault_kind kind)
{
	const struct faults *faults = &call->faults;
	uint64_t start = counter_read();
	uint64_t ticks;
	bool bounded;

	if (!fault_hits(faults, kind))
		return;
	/* Where no other CPU is left to read the log, the console has it. */
	if (kind == FAULT_HANG)
		console_print("stub: CPU %lx will not return from call %lx (x1 %lx, x2 %lx)\n",
			      cpu_affinity(), (uint64_t)call->fid, call->arg[1], call->arg[2]);
	ticks = faults->parameter[kind] * read_sysreg(cntfrq_el0) / 1000000;
	bounded = kind == FAULT_LATENCY || ticks;
	while (!released(faults, kind) && !(bounded && counter_read() - start >= ticks))
		__asm__ volatile("yield");
}

static void clobber_simd(void)
{
	/* The compiler uses none of them, here and in all of the stub. */
	__asm__ volatile(".arch_extension simd\n"
			 ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
			 "movi	v\\n\\().16b, #0xa5\n"
			 ".endr\n"
			 ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n"
			 "movi	v\\n\\().16b, #0xa5\n"
			 ".endr");
}

/*
 * Bits that nobody's results depend on much: NaNs that are all alike, and that something was
 * divided by zero.  They are set, for what changes twice may be as it was.
 */
static void clobber_fpcr(void)
{
	uint64_t value;

	__asm__ volatile(".arch_extension fp\n"
			 "mrs	%0, fpcr\n"
			 "orr	%0, %0, #1 << 25\n"
			 "msr	fpcr, %0\n"
			 "mrs	%0, fpsr\n"
			 "orr	%0, %0, #1 << 1\n"
			 "msr	fpsr, %0"
			 : "=&r"(value));
}

/* By the first the kernel knows its task, by the others a program its thread. */
static void clobber_thread(void)
{
	write_sysreg(sp_el0, ~read_sysreg(sp_el0));
	write_sysreg(tpidr_el0, ~read_sysreg(tpidr_el0));
	write_sysreg(tpidrro_el0, ~read_sysreg(tpidrro_el0));
}

/* As if v0 to v31 alone had been saved and restored, which clears what lies above them. */
static void clobber_sve(void)
{
	if (!id_field(id_aa64pfr0_el1, PFR0_SVE))
		return;
	__asm__ volatile(".arch_extension sve\n"
			 ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
			 "mov	v\\n\\().16b, v\\n\\().16b\n"
			 "pfalse	p\\n\\().b\n"
			 ".endr\n"
			 ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n"
			 "mov	v\\n\\().16b, v\\n\\().16b\n"
			 ".endr\n"
			 "wrffr	p0.b");
}

static void clobber_sme(void)
{
	if (!id_field(id_aa64pfr1_el1, PFR1_SME) || !(read_sysreg(SVCR) & SVCR_ZA))
		return;
	__asm__ volatile(".inst	0xc00800ff");	/* zero {za} */
}

void fault_clobber(struct call *call, unsigned int calls)
{
	const struct faults *faults = &call->faults;
	/* A result is not what is meant by a register that is not preserved. */
	unsigned int first = calls == FAULT_ON_ATTRIBUTES ? 5 : 4;

	if (fault_hits(faults, FAULT_CLOBBER_X1_X3))
		for (unsigned int i = 1; i <= 3; i++)
			call->x[i] = ~call->x[i];
	if (fault_hits(faults, FAULT_CLOBBER_X4_X17))
		for (unsigned int i = first; i <= 17; i++)
			call->x[i] = ~call->x[i];
	if (fault_hits(faults, FAULT_CLOBBER_X18_X30))
		for (unsigned int i = 18; i <= 30; i++)
			call->x[i] = ~call->x[i];
	if (fault_hits(faults, FAULT_CLOBBER_THREAD))
		clobber_thread();
	if (fault_hits(faults, FAULT_CLOBBER_SIMD))
		clobber_simd();
	if (fault_hits(faults, FAULT_CLOBBER_FPCR))
		clobber_fpcr();
	if (fault_hits(faults, FAULT_CLOBBER_SVE))
		clobber_sve();
	if (fault_hits(faults, FAULT_CLOBBER_SME))
		clobber_sme();
}
