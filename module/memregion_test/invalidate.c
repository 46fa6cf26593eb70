// SPDX-License-Identifier: GPL-2.0-only
/*
 * The file "invalidate": what a request may say, and what its result block says.
 *
 * Which ranges are wise to name is user space's business: the kernel's call and
 * firmware get what was written, (0, 2^64 - 1) and a size of 0 included.
 */
#include "config_check.h"

#include <linux/kernel.h>

#include "memregion_test.h"

struct invalidate_record {
	struct invalidate_request request;
	struct invalidate_result result;
};

enum { KEY_ADDR, KEY_SIZE, KEY_VIA, KEY_COUNT, KEY_THREADS, KEY_DRY_RUN };

static const char * const keys[] = {
	[KEY_ADDR] = "addr",
	[KEY_SIZE] = "size",
	[KEY_VIA] = "via",
	[KEY_COUNT] = "count",
	[KEY_THREADS] = "threads",
	[KEY_DRY_RUN] = "dry_run",
};

static const struct invalidate_way * const ways[] = {
	&via_memregion,
	&via_smccc,
	&via_va,
};

static int parse_way(const char *value, const struct invalidate_way **way)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		if (!strcmp(value, ways[i]->name)) {
			*way = ways[i];
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_bounded(const char *value, u64 min, u64 max, u64 *number)
{
	int ret = parse_number(value, number);

	if (ret)
		return ret;
	return *number < min || *number > max ? -EINVAL : 0;
}

static int take_word(void *record, unsigned int key, const char *value)
{
	struct invalidate_request *request = &((struct invalidate_record *)record)->request;
	u64 number = 0;
	int ret;

	switch (key) {
	case KEY_ADDR:
		return parse_number(value, &request->addr);
	case KEY_SIZE:
		return parse_number(value, &request->size);
	case KEY_VIA:
		return parse_way(value, &request->way);
	case KEY_COUNT:
		ret = parse_bounded(value, 1, MAX_CALLS, &number);
		request->count = number;
		return ret;
	case KEY_THREADS:
		ret = parse_bounded(value, 1, MAX_THREADS, &number);
		request->threads = number;
		return ret;
	case KEY_DRY_RUN:
		ret = parse_bounded(value, 0, 1, &number);
		request->dry_run = number;
		return ret;
	default:
		return -EINVAL;
	}
}

static int invalidate_parse(char *line, void *record)
{
	struct invalidate_request *request = &((struct invalidate_record *)record)->request;
	int ret;

	*request = (struct invalidate_request) {
		.way = &via_memregion,
		.count = 1,
		.threads = 1,
	};
	ret = parse_line(line, keys, ARRAY_SIZE(keys), BIT(KEY_ADDR) | BIT(KEY_SIZE),
			 take_word, record);
	if (ret)
		return ret;

	/* One time sample per call is kept, and that is what this bounds. */
	if ((u64)request->count * request->threads > MAX_CALLS)
		return -EINVAL;
	/* Only the firmware call itself knows a rehearsal. */
	if (request->dry_run && request->way != &via_smccc)
		return -EINVAL;
	return 0;
}

static void invalidate_run(void *record)
{
	struct invalidate_record *invalidate = record;

	run_invalidate(&invalidate->request, &invalidate->result);
}

static void invalidate_show(struct seq_file *m, const void *record)
{
	const struct invalidate_record *invalidate = record;
	const struct invalidate_request *request = &invalidate->request;
	const struct invalidate_tally *tally = &invalidate->result.tally;
	const struct invalidate_times *ns = &invalidate->result.ns;

	seq_printf(m, "addr=0x%llx\n", request->addr);
	seq_printf(m, "size=0x%llx\n", request->size);
	seq_printf(m, "via=%s\n", request->way->name);
	seq_printf(m, "count=%u\n", request->count);
	seq_printf(m, "threads=%u\n", request->threads);
	seq_printf(m, "dry_run=%d\n", request->dry_run);
	seq_printf(m, "errno=%d\n", -tally->error);
	seq_printf(m, "completed=%llu\n", tally->completed);
	seq_printf(m, "vacuous=%llu\n", tally->vacuous);
	seq_printf(m, "interrupted=%d\n", tally->interrupted);
	seq_printf(m, "provider=%d\n", tally->provider);
	seq_printf(m, "min_ns=%llu\n", ns->min);
	seq_printf(m, "p50_ns=%llu\n", ns->p50);
	seq_printf(m, "p99_ns=%llu\n", ns->p99);
	seq_printf(m, "max_ns=%llu\n", ns->max);
	seq_printf(m, "total_ns=%llu\n", ns->total);
	if (request->way != &via_smccc)
		return;
	seq_printf(m, "fw_calls=%llu\n", tally->fw_calls);
	seq_printf(m, "fw_busy=%llu\n", tally->fw_busy);
	seq_printf(m, "fw_rate_limited=%llu\n", tally->fw_rate_limited);
	seq_printf(m, "fw_last_status=%d\n", tally->fw_last_status);
}

const struct request_type invalidate_type = {
	.record_size = sizeof(struct invalidate_record),
	.parse = invalidate_parse,
	.run = invalidate_run,
	.show = invalidate_show,
};
