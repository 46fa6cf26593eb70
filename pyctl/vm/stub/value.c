// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a number may be, for tables that say it of each of theirs.
 */
#include "value.h"

bool is_anything(uint64_t value)
{
	(void)value;
	return true;
}

bool is_flag(uint64_t value)
{
	return value <= 1;
}

bool is_u32(uint64_t value)
{
	return value <= UINT32_MAX;
}

bool is_status(uint64_t value)
{
	return is_u32(value) || (int64_t)value == (int32_t)value;
}

bool is_duration(uint64_t value)
{
	return value <= DURATION_LIMIT_US;
}
