// SPDX-License-Identifier: GPL-2.0-only
/*
 * Words of a request: key=value pairs separated by blanks, and their numbers.
 *
 * Stricter than the kernel's helpers (no sign, no octal, no trailing newline, each
 * key once), because a typing error must never become a different range.
 */
#include "config_check.h"

#include <linux/kernel.h>
#include <linux/overflow.h>
#include <linux/string.h>

#include "kernel_compat.h"
#include "memregion_test.h"

/**
 * parse_number() - decimal or 0x-hex, optional binary suffix K, M, G or T
 * @text: the number and nothing else
 * @value: result
 *
 * Return: 0, or -EINVAL if it is anything else or exceeds 64 bits
 */
int parse_number(const char *text, u64 *value)
{
	unsigned int base = 10;
	unsigned int shift = 0;
	u64 number = 0;
	int digit;

	if (text[0] == '0' && text[1] == 'x') {
		base = 16;
		text += 2;
	}

	digit = hex_to_bin(*text);
	do {
		if (digit < 0 || digit >= base)
			return -EINVAL;
		if (check_mul_overflow(number, (u64)base, &number) ||
		    check_add_overflow(number, (u64)digit, &number))
			return -EINVAL;
		digit = hex_to_bin(*++text);
	} while (digit >= 0);

	if (*text) {
		const char *suffix = strchr("KMGT", *text);

		if (!suffix || text[1])
			return -EINVAL;
		shift = 10 * (suffix - "KMGT" + 1);
	}
	if (number << shift >> shift != number)
		return -EINVAL;
	*value = number << shift;
	return 0;
}

/**
 * parse_line() - take a line apart
 * @line: the line, without its newline; is cut up
 * @keys: keys that may occur, each once
 * @nr_keys: how many (32 at most)
 * @required: bit n set: keys[n] must occur
 * @take: called for each pair
 * @record: for @take
 *
 * Return: 0, -EINVAL, or what @take returned
 */
int parse_line(char *line, const char * const *keys, unsigned int nr_keys,
	       u32 required, parse_word_fn take, void *record)
{
	u32 seen = 0;
	char *word;

	while ((word = strsep(&line, " \t"))) {
		char *value = word;
		int key;
		int ret;

		if (!*word)
			continue;
		strsep(&value, "=");
		if (!value)
			return -EINVAL;
		key = match_string(keys, nr_keys, word);
		if (key < 0 || seen & BIT(key))
			return -EINVAL;
		ret = take(record, key, value);
		if (ret)
			return ret;
		seen |= BIT(key);
	}
	return (seen & required) == required ? 0 : -EINVAL;
}
