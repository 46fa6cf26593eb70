// SPDX-License-Identifier: GPL-2.0-only
/*
 * The file "smccc": any SMCCC call with any arguments, for tests of firmware that
 * no other way reaches. It can switch the machine off or worse, and a conduit that
 * the machine lacks is an undefined instruction; therefore the file exists only if
 * the module was loaded with raw_calls=1.
 */
#include "config_check.h"

#include <linux/bitops.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/smp.h>

#include "kernel_compat.h"
#include "memregion_test.h"
#include "vectors.h"
#include "watched.h"

#define NR_REGISTERS	18	/* x0..x17 */
#define ANY_CPU		(-1)
#define WATCHED_FILLER	0xc3c3c3c33c3c3c00

union raw_registers {
	struct arm_smccc_1_2_regs regs;
	unsigned long x[NR_REGISTERS];
};

static_assert(sizeof(struct arm_smccc_1_2_regs) == NR_REGISTERS * sizeof(unsigned long));

/**
 * struct raw_record - one call
 * @registers: arguments, then results
 * @watched: registers that no call may change
 * @vectors: the same of SVE and SME
 * @watch: where these are kept while the call is made; NULL without SVE and SME
 * @conduit: instruction to use
 * @cpu: where, or %ANY_CPU
 * @error: 0, or why the call was not made
 */
struct raw_record {
	union raw_registers registers;
	struct watched_registers watched;
	struct lost_vectors vectors;
	struct vector_watch *watch;
	enum arm_smccc_conduit conduit;
	int cpu;
	int error;
};

enum { KEY_FID, KEY_X1, KEY_X17 = 17, KEY_CONDUIT, KEY_CPU };

/* The key of a register is its number; the function id is x0. */
static const char * const keys[] = {
	[KEY_FID] = "fid",
	"x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9",
	"x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
	[KEY_CONDUIT] = "conduit",
	[KEY_CPU] = "cpu",
};

static int parse_conduit(const char *value, enum arm_smccc_conduit *conduit)
{
	if (!strcmp(value, "hvc"))
		*conduit = SMCCC_CONDUIT_HVC;
	else if (!strcmp(value, "smc"))
		*conduit = SMCCC_CONDUIT_SMC;
	else
		return -EINVAL;
	return 0;
}

static int parse_cpu(const char *value, int *cpu)
{
	u64 number;
	int ret = parse_number(value, &number);

	if (ret)
		return ret;
	if (number >= nr_cpu_ids || !cpu_possible(number))
		return -EINVAL;
	if (!cpu_online(number))
		return -ENXIO;
	*cpu = number;
	return 0;
}

static int take_word(void *data, unsigned int key, const char *value)
{
	struct raw_record *record = data;
	u64 number;
	int ret;

	if (key == KEY_CONDUIT)
		return parse_conduit(value, &record->conduit);
	if (key == KEY_CPU)
		return parse_cpu(value, &record->cpu);

	ret = parse_number(value, &number);
	if (ret)
		return ret;
	if (key == KEY_FID && number > U32_MAX)
		return -EINVAL;
	record->registers.x[key] = number;
	return 0;
}

static int raw_parse(char *line, void *data)
{
	struct raw_record *record = data;
	int ret;

	record->conduit = arm_smccc_1_1_get_conduit();
	record->cpu = ANY_CPU;
	ret = parse_line(line, keys, ARRAY_SIZE(keys), BIT(KEY_FID), take_word, record);
	if (ret)
		return ret;
	/* The kernel knows no conduit, and the request names none. */
	return record->conduit == SMCCC_CONDUIT_NONE ? -EOPNOTSUPP : 0;
}

static const char * const watched_names[NR_WATCHED] = {
	"x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30",
	[WATCHED_SP_EL0] = "SP_EL0",
	[WATCHED_TPIDR_EL0] = "TPIDR_EL0",
	[WATCHED_TPIDRRO_EL0] = "TPIDRRO_EL0",
};

static const char * const vector_names[] = { "FFR", "ZA", "SVCR" };

static_assert(VECTOR_FFR + ARRAY_SIZE(vector_names) == NR_VECTORS);

static int raw_call(void *data)
{
	struct raw_record *record = data;
	struct arm_smccc_1_2_regs *regs = &record->registers.regs;
	struct watched_registers *watched = &record->watched;
	unsigned long flags;
	unsigned int i;

	/* Each another, and nothing that firmware leaves there by chance, such as zero. */
	for (i = WATCHED_X18; i <= WATCHED_X28; i++)
		watched->before[i] = WATCHED_FILLER | i;

	local_irq_save(flags);
	vectors_fill(record->watch);
	if (record->conduit == SMCCC_CONDUIT_HVC)
		watched_hvc(regs, regs, watched);
	else
		watched_smc(regs, regs, watched);
	vectors_take(record->watch);
	local_irq_restore(flags);
	return 0;
}

static void raw_run(void *data)
{
	struct raw_record *record = data;

	record->error = task_sigpending(current) ? -EINTR : vectors_alloc(&record->watch);
	if (record->error)
		return;
	if (record->cpu == ANY_CPU) {
		record->error = raw_call(record);
	} else {
		/* Offline CPUs are refused inside, and none goes offline meanwhile. */
		cpus_read_lock();
		record->error = smp_call_on_cpu(record->cpu, raw_call, record, false);
		cpus_read_unlock();
	}
	if (!record->error)
		vectors_compare(record->watch, &record->vectors);
	kvfree(record->watch);
	record->watch = NULL;
}

static void show_vectors(struct seq_file *m, const struct lost_vectors *vectors)
{
	unsigned int i;

	if (vectors->sve_bytes)
		seq_printf(m, "sve_bytes=%u\n", vectors->sve_bytes);
	if (vectors->za_bytes)
		seq_printf(m, "za_bytes=%u\n", vectors->za_bytes);
	for_each_set_bit(i, vectors->registers, NR_VECTORS) {
		if (i < VECTOR_Z)
			seq_printf(m, "lost_v%u", i - VECTOR_V);
		else if (i < VECTOR_P)
			seq_printf(m, "lost_z%u", i - VECTOR_Z);
		else if (i < VECTOR_FFR)
			seq_printf(m, "lost_p%u", i - VECTOR_P);
		else
			seq_printf(m, "lost_%s", vector_names[i - VECTOR_FFR]);
		seq_printf(m, "=0x%llx\n", vectors->value[i]);
	}
}

/* Registers if the call was made, otherwise only the reason why not. */
static void raw_show(struct seq_file *m, const void *data)
{
	const struct raw_record *record = data;
	const struct watched_registers *watched = &record->watched;
	unsigned int i;

	if (record->error) {
		seq_printf(m, "errno=%d\n", -record->error);
		return;
	}
	for (i = 0; i < NR_REGISTERS; i++)
		seq_printf(m, "x%u=0x%lx\n", i, record->registers.x[i]);
	for (i = 0; i < NR_WATCHED; i++)
		if (watched->after[i] != watched->before[i])
			seq_printf(m, "lost_%s=0x%llx\n", watched_names[i], watched->after[i]);
	show_vectors(m, &record->vectors);
}

const struct request_type raw_type = {
	.record_size = sizeof(struct raw_record),
	.parse = raw_parse,
	.run = raw_run,
	.show = raw_show,
};
