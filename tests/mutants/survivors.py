# SPDX-License-Identifier: GPL-2.0-only
"""Automatic mutants that nothing can tell from the original, each with the proof.

``SURVIVORS`` are of C, by name; ``JUDGEMENT`` are of Python, by function and a pattern of
what changes (`old -> new`).
"""

from __future__ import annotations

_HEADER = "module/include/smccc_memregion.h"
_MAIN = "module/smccc_cache/main.c"
_GREATER = "the greater, or the lesser, of two is the same one either way"
_DEBUG_ONLY = "only a kernel with CONFIG_DEBUG_MUTEXES does anything there"
_HINT = "to yield is a hint, which changes no result"
_ALL = "a range of all bytes from 0 on, or of all RAM, covers the window in any case"
_68S = "32 bits of the counter, of 62.5 MHz, are 68 s: more than boards are old, or busy"
_WHICH = "which calls may suffer a fault is the instrument's"
_NEVER = "cache_coherency_ops_instance_register() returns 0 in all kernels that have it"

SURVIVORS: dict[str, str] = {
    f"{_HEADER} 'if (fw->version < ARM_SMCCC_VERSION_1_1 || fw->conduit ==...': || -> &&": "the "
    "kernel has a conduit for SMCCC 1.1 exactly where its version is 1.1 or later "
    "(arm_smccc_1_1_get_conduit())",
    f"{_MAIN} 'delay_us = max(delay_us, latency_us);': "
    "delay_us, latency_us -> latency_us, delay_us": _GREATER,
    f"{_MAIN} 'return min(delay_us, SMCCC_CACHE_DELAY_MAX_US);': "
    "delay_us, SMCCC_CACHE_DELAY_MAX_US -> SMCCC_CACHE_DELAY_MAX_US, delay_us": _GREATER,
    f"{_MAIN} 'static void count(u64 *counter, u64 more)': u64 -> u32 again": "no delay, which "
    "is 20 ms at most, takes more than the 4 s that 32 bits can hold",
    f"{_MAIN} 'mutex_destroy(&cache->lock);': mutex_destroy(&cache->lock); -> ;": _NEVER,
    f"{_MAIN} 'cache_coherency_ops_instance_put(&cache->cci);': "
    "cache_coherency_ops_instance_put(&cache->cci); -> ;": _NEVER,
    f"{_MAIN} 'mutex_init(&cache->lock);': mutex_init(&cache->lock); -> ;": "a mutex of zeroes, "
    "as it is allocated, is one that nobody has (struct mutex, Linux 7.3), and " + _DEBUG_ONLY,
    f"{_MAIN} 'mutex_destroy(&smccc_cache->lock);': "
    "mutex_destroy(&smccc_cache->lock); -> ;": _DEBUG_ONLY,
    **{
        f"cache.c 'static const uint8_t bits[] = {{ 32, 36, 40, 42, 44, 48, 5...': {bits} -> "
        f"({bits} + 1)": "no board's CPU has addresses of so many bits: it has 48"
        for bits in (32, 36, 40, 42, 44, 52, 56)
    },
    **{
        f"cache.c 'return bits[range < ARRAY_SIZE(bits) ? range : ARRAY_SIZE...': {change}": "the "
        "CPU of the boards has a width that is in the table"
        for change in ("< -> <=", "- -> +", "1 -> (1 + 1)")
    },
    "cache.c 'uint64_t range = id_field(id_aa64mmfr0_el1, MMFR0_PARANGE);': "
    "uint64_t -> uint32_t": "the field has four bits",
    "cache.c 'static int32_t check_arguments(const struct call *call)': "
    "int32_t -> int16_t": "its three statuses fit into 16 bits",
    "cache.c 'while (counter_read() - since < ticks)': < -> <=": "one more tick of the counter",
    "cache.c 'uint64_t ticks = duration_us * read_sysreg(cntfrq_el0) / ...': "
    "1000000 -> (1000000 + 1)": "shorter by a millionth",
    'cache.c \'__asm__ volatile("yield");\': __asm__ volatile("yield"); -> ;': _HINT,
    'cache.c \'__asm__ volatile("yield");\': __asm__ volatile("yield"); -> ; again': _HINT,
    "cache.c 'uint64_t ticket;': uint64_t -> uint32_t": "nobody makes 2^32 calls",
    **{
        f"cache.c 'uint64_t length = operation->last - operation->first + 1;': {change}": "the "
        "length is looked at by a fault only, of which any wrong length is as good"
        for change in ("uint64_t -> uint32_t", "- -> +", "+ -> -", "1 -> (1 + 1)")
    },
    **{
        f"cache.c 'operation.last = window.base + window.size - 1;': {change}": "the window's last "
        "line has the byte before, too, and nothing lies behind it"
        for change in ("- -> +", "1 -> (1 + 1)")
    },
    "cache.c 'if (is_whole(call) && call->settings.value[KEY_WHOLE] == ...': == -> !=": _ALL,
    "cache.c 'operation.first = RAM_BASE;': operation.first = RAM_BASE; -> ;": _ALL,
    "cache.c 'operation.last = RAM_BASE + call->settings.value[KEY_MEMO...': "
    "operation.last = RAM_BASE + call->settings.value[KEY_MEMO... -> ;": _ALL,
    **{
        f"cache.c 'operation.last = RAM_BASE + call->settings.value[KEY_MEMO...': {change}": _ALL
        for change in ("- -> +", "1 -> (1 + 1)")
    },
    "cache.c 'static void spend(uint64_t since, uint64_t duration_us)': uint64_t -> uint32_t": _68S,
    "cache.c 'static void spend(uint64_t since, uint64_t duration_us)': "
    "uint64_t -> uint32_t again": "the setting has no more than 32 bits",
    "cache.c 'uint64_t ticks = duration_us * read_sysreg(cntfrq_el0) / ...': "
    "uint64_t -> uint32_t": _68S,
    "call.h 'uint64_t entered; /* CNTPCT */': uint64_t -> uint32_t": _68S,
    "call.h 'call->x[0] = (uint64_t)status;': uint64_t -> uint32_t": "a status is w0, and what is "
    "above it may be zero as well as its sign",
    "dispatch.c 'static const struct service anything = { 0, always, answe...': "
    "0 -> (0 + 1)": "nobody looks for it by its identifier",
    "dispatch.c 'static const struct service anything = { 0, always, answe...': "
    "0 -> (0 + 1) again": _WHICH,
    "dispatch.c 'if (call->fid != twin && (twin == SMCCC_CLEAN_INV || twin...': && -> ||": _WHICH,
    "dispatch.c 'service = choose(&call, fid & FID_SVE_HINT);': & -> |": _WHICH,
    "dispatch.c 'call.arg[i] = call.fid & FID_SMC64 ? frame->x[i] : (uint3...': & -> |": "those "
    "SMC32 functions that have arguments look at w1 only, and the aliases are a fault's",
}

JUDGEMENT: dict[tuple[str, str], str] = {
    ("single_cases", r"at\(|odd ="): "another place or length that is what the case's name says, "
    "which test_coherency_cases.py holds for each",
    ("_shapes", r"size // 3|middle - 4|middle \+ 5|PAGE \+ 9|PAGE \+ 2,"): "another place that is "
    "what the shape's name says, which test_conformance_outcome.py holds for each",
    ("_same", "kept.* -> .*kept|kept.* -> .*KEPT"): "another mark that no register can be",
    ("_each_shape", "addr & shape"): "base and size of a shape that is not of whole pages both "
    "have a bit below a page, and it is the same one",
    ("_all_memory", r"calls\[\+1\]"): "the second of two is the last",
    ("_zeroes", r">= LONG_CALL_S|1000000001"): "the one length at which a call is just long",
    ("_rate_per_cpu", "strict|together, [)]"): "each has one number for each round",
    ("run_single", "seed = "): "other bytes, of which test_coherency_cases.py asks no more than "
    "that each trial has its own, and the same in every run",
    ("hash_of", "little"): "another number for the same name",
    ("Calls.unbounded", "return Result"): "what only a call in a child can be, and no failure",
    ("Calls._settle", "> self._patience_s"): "the one moment at which patience just ends",
    ("Calls._settle", "_is_patient = None"): "as little patience",
    ("Patterns.__init__", "sparse"): "one byte in lines of one byte is every byte",
    ("Patterns.__init__", r"xff"): "each byte still tells whose it is",
    ("_one_byte_each", "_STEP"): "another byte of each line, and of every line another one",
    ("_flip", "little"): "the bytes that are another one's lie the other way round",
    ("Roles.is_dirty", "parity|/"): "the same for any address and for parity 0 and 1",
    ("Stage.__init__", "is_sparse"): "one byte in lines of one byte is every byte",
    ("Stage.__init__", "is_long"): "another number of lines that alternate",
    ("Stage.verify", r"\+= inner"): "nothing has been counted before",
    (
        "Stage._covered_lines",
        "start = max|end = min",
    ): "of lines that both sides see as they were stored last each is "
    "good, and if others are among them, all are judged one by one",
    (
        "Stage._agree",
        r"span = |dirty=|offset = |stored\[",
    ): "where it says no, each line is judged by itself, which takes longer",
    (
        "Stage._look_again",
        r"request\.end",
    ): "what the request covers, and is good, is looked at too",
    ("Stage._look_again", "span = "): "more bytes of a bad line are shown; judged are its own",
    ("Stage._pages", "page / page"): "more pages of what may be touched",
    ("_aim", "whole="): "a part of a range has the border in it as well, or scratch is taken",
    ("_worst_of_round", "interval_s|loop"): "a call too many at once is refused, and one that was "
    "let through has been measured",
    ("_is_unsupported", "firmware"): "asked of direct calls only, whose records have counters",
    ("_can_look_at", "read_memory"): "any byte of the window, and the one behind it, is as good",
}
