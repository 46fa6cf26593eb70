// SPDX-License-Identifier: GPL-2.0-only
/*
 * The queue of statuses, kept as runs: "BUSY a million times" takes one place.
 */
#include "queue.h"
#include "smccc.h"

#define RUNS 64U
#define RUN_LIMIT UINT32_MAX

static struct run {
	int32_t status;
	uint64_t left;
} runs[RUNS];
static unsigned int first;
static unsigned int used;

bool queue_append(int32_t status, uint64_t repeat)
{
	struct run *last = &runs[(first + used + RUNS - 1) % RUNS];

	if (repeat == 0 || repeat > RUN_LIMIT)
		return false;
	if (used && last->status == status && last->left <= RUN_LIMIT - repeat) {
		last->left += repeat;
		return true;
	}
	if (used == RUNS)
		return false;
	runs[(first + used) % RUNS] = (struct run){ status, repeat };
	used++;
	return true;
}

int32_t queue_take(void)
{
	struct run *run = &runs[first];

	if (!used)
		return SMCCC_SUCCESS;
	if (--run->left == 0) {
		first = (first + 1) % RUNS;
		used--;
	}
	return run->status;
}

uint64_t queue_length(void)
{
	uint64_t length = 0;

	for (unsigned int i = 0; i < used; i++)
		length += runs[(first + i) % RUNS].left;
	return length;
}

uint64_t queue_places(void)
{
	return RUNS - used;
}

void queue_clear(void)
{
	used = 0;
}
