# SPDX-License-Identifier: GPL-2.0-only
"""Providers with a defect: small changes to a scratch copy of the sources.

Each is (file, text, replacement); the text must be there exactly once, so a
mutant that no longer fits its source is an error, not a silent pass.
"""

MAIN = "module/smccc_cache/main.c"
HEADER = "module/smccc_cache/smccc_cache.h"
SHARED = "module/include/smccc_memregion.h"

DEFECTS = {
    "no serialisation": (MAIN, "\tguard(mutex)(&cache->lock);\n", ""),
    "permanent errors retried": (
        MAIN,
        "if (ret != -EBUSY && ret != -EAGAIN)",
        "if (!ret)",
    ),
    "no retry": (MAIN, "if (ret != -EBUSY && ret != -EAGAIN)", "if (true)"),
    "BUSY not retried": (MAIN, "if (ret != -EBUSY && ret != -EAGAIN)", "if (ret != -EAGAIN)"),
    "RATE_LIMITED not retried": (
        MAIN,
        "if (ret != -EBUSY && ret != -EAGAIN)",
        "if (ret != -EBUSY)",
    ),
    "six tries": (HEADER, "#define SMCCC_CACHE_TRIES\t\t5", "#define SMCCC_CACHE_TRIES\t\t6"),
    "four tries": (HEADER, "#define SMCCC_CACHE_TRIES\t\t5", "#define SMCCC_CACHE_TRIES\t\t4"),
    "no sleep between tries": (MAIN, "\tfsleep(cache->delay_us);\n", ""),
    "last sleep missing": (
        MAIN,
        "\t\tsmccc_cache_wait(cache);\n",
        "\t\tif (try + 1 < SMCCC_CACHE_TRIES)\n\t\t\tsmccc_cache_wait(cache);\n",
    ),
    "sleep doubled": (MAIN, "\tfsleep(cache->delay_us);\n", "\tfsleep(cache->delay_us * 2);\n"),
    "short sleeps counted in ticks": (
        MAIN,
        "\tfsleep(cache->delay_us);\n",
        "\tmsleep(DIV_ROUND_UP(cache->delay_us, 1000));\n",
    ),
    "final errno is success": (MAIN, "\treturn -EBUSY;\n}", "\treturn 0;\n}"),
    "final errno is EAGAIN": (MAIN, "\treturn -EBUSY;\n}", "\treturn -EAGAIN;\n}"),
    "delay not capped": (
        MAIN,
        "return min(delay_us, SMCCC_CACHE_DELAY_MAX_US);",
        "return delay_us;",
    ),
    "delay not rounded up": (
        MAIN,
        "DIV_ROUND_UP_ULL(USEC_PER_SEC, rate_per_s)",
        "USEC_PER_SEC / rate_per_s",
    ),
    "rate ignored": (MAIN, "if (rate_per_s)", "if (false)"),
    "latency ignored": (MAIN, "delay_us = max(delay_us, latency_us);", ""),
    "no default delay": (MAIN, "delay_us = SMCCC_CACHE_DELAY_DEFAULT_US;", "delay_us = 1;"),
    "size 0 sent to firmware": (MAIN, "if (!params->size) {", "if (false) {"),
    "NOT_REQUIRED taken for success": (
        SHARED,
        "\tcase SMCCC_RET_SUCCESS:\n\t\treturn 0;",
        "\tcase SMCCC_RET_SUCCESS:\n\tcase -2:\n\t\treturn 0;",
    ),
    "INVALID_PARAMETER becomes EIO": (
        SHARED,
        "\tcase SMCCC_RET_INVALID_PARAMETER:\n\t\treturn -EINVAL;\n",
        "",
    ),
    "NOT_SUPPORTED becomes EIO": (
        SHARED,
        "\tcase SMCCC_RET_NOT_SUPPORTED:\n\t\treturn -EOPNOTSUPP;\n",
        "",
    ),
    "unknown statuses taken for success": (SHARED, "\t\treturn -EIO;", "\t\treturn 0;"),
    "registers without the function": (SHARED, "fw->features_clean_inv >= 0 &&", "true &&"),
    "registers without good attributes": (
        SHARED,
        "fw->asked_attributes && fw->status == SMCCC_RET_SUCCESS",
        "fw->asked_attributes",
    ),
    "registers with attributes of an unknown status": (
        SHARED,
        "fw->asked_attributes && fw->status == SMCCC_RET_SUCCESS",
        "fw->asked_attributes && fw->status >= 0",
    ),
    "a positive answer of ARCH_FEATURES taken for a refusal": (
        SHARED,
        "fw->features_clean_inv >= 0 &&",
        "fw->features_clean_inv == 0 &&",
    ),
    "dry run instead of the operation": (
        MAIN,
        "\tsmccc_invoke(cache->fw.conduit, ",
        "\tcache->args.a3 = 1;\n\tsmccc_invoke(cache->fw.conduit, ",
    ),
    "address cut to 32 bits": (MAIN, "= params->addr;", "= (u32)params->addr;"),
    "size cut to 32 bits": (MAIN, "= params->size;", "= (u32)params->size;"),
    "the SMC32 alias called": (
        MAIN,
        "cache->args.a0 = ARM_SMCCC_ARCH_CLEAN_INV_MEMREGION;",
        "cache->args.a0 = 0x80000005;",
    ),
    "upper half of x0 taken seriously": (
        SHARED,
        "\treturn (s32)lower_32_bits(res->a0);",
        "\treturn res->a0 >> 32 ? -1 : (s32)lower_32_bits(res->a0);",
    ),
    "endless retry": (
        MAIN,
        "for (try = 0; try < SMCCC_CACHE_TRIES; try++) {",
        "for (try = 0; try < 1000000; try++) {",
    ),
    "does not unregister": (
        MAIN,
        "\tcache_coherency_ops_instance_unregister(&smccc_cache->cci);\n",
        "",
    ),
    "does not call firmware at all": (
        MAIN,
        "\tret = smccc_cache_tries(cache, params);",
        "\tret = params->size ? 0 : smccc_cache_tries(cache, params);",
    ),
    "last sleep doubled": (
        MAIN,
        "\t\tsmccc_cache_wait(cache);\n",
        "\t\tsmccc_cache_wait(cache);\n"
        "\t\tif (try + 1 == SMCCC_CACHE_TRIES)\n\t\t\tsmccc_cache_wait(cache);\n",
    ),
    # What the series' first version did: whoever waits is content with what is under way.
    "requests merged": (
        MAIN,
        "\tguard(mutex)(&cache->lock);\n",
        "\tif (mutex_is_locked(&cache->lock)) {\n\t\tguard(mutex)(&cache->lock);\n\n"
        "\t\treturn 0;\n\t}\n\tguard(mutex)(&cache->lock);\n",
    ),
    "the other conduit": (
        SHARED,
        "\tif (conduit == SMCCC_CONDUIT_HVC)",
        "\tif (conduit != SMCCC_CONDUIT_HVC)",
    ),
    "unsigned status": (SHARED, "\ts32 features_clean_inv;", "\tu32 features_clean_inv;"),
    "size 0 is a success": (MAIN, "\t\treturn -EINVAL;", "\t\treturn 0;"),
    "lock dropped between tries": (
        MAIN,
        "\tfsleep(cache->delay_us);\n",
        "\tmutex_unlock(&cache->lock);\n\tfsleep(cache->delay_us);\n\tmutex_lock(&cache->lock);\n",
    ),
    "a signal ends the wait for the lock": (
        MAIN,
        "\tguard(mutex)(&cache->lock);\n",
        "\tif (mutex_lock_interruptible(&cache->lock))\n\t\treturn -EINTR;\n"
        "\tmutex_unlock(&cache->lock);\n\tguard(mutex)(&cache->lock);\n",
    ),
    "a sleep before the first try": (
        MAIN,
        "\tint ret;\n\n\tfor (try = 0;",
        "\tint ret;\n\n\tfsleep(cache->delay_us);\n\tfor (try = 0;",
    ),
    "a sleep after a request that needs none": (
        MAIN,
        "\t\t\treturn ret;\n",
        "\t\t\treturn fsleep(cache->delay_us), ret;\n",
    ),
    "attributes asked for with each request": (
        MAIN,
        "\tcount(&cache->counters.requests, 1);\n",
        "\tmemregion_firmware_ask(&cache->fw);\n\tcount(&cache->counters.requests, 1);\n",
    ),
    "results taken for the next call's arguments": (
        MAIN,
        "\tstatus = smccc_status(&cache->result);\n",
        "\tstatus = smccc_status(&cache->result);\n\tcache->args.a3 = cache->result.a3;\n",
    ),
    "whole of x2 taken for the latency": (
        MAIN,
        "smccc_cache_latency_us(cache));\n\n\tret",
        "min(cache->fw.x[2], U32_MAX));\n\n\tret",
    ),
    "the watchdog not touched": (MAIN, "\ttouch_nmi_watchdog();\n", ""),
    "x4 of ATTRIBUTES lost": (SHARED, "\tfw->x[4] = regs.a4;\n", ""),
}

# What `pyctl conformance --provider` has is what anybody has of a provider that is built in:
# the module for tests, and what the virtual board's firmware saw.
STRANGER = "board_cache"
RENAMED = (
    "module/smccc_cache/Kbuild",
    "obj-m := smccc_cache.o\n\nsmccc_cache-y",
    f"obj-m := {STRANGER}.o\n\n{STRANGER}-y",
)
"""The edit after which pyctl knows no more of ours than of one that is built in."""
STATED = {
    "rate ignored": "rate=100",
    "latency ignored": "latency_us=15000",
    "delay not capped": "latency_us=100000",
    "whole of x2 taken for the latency": "fault=attr_latency_us:0x100000000",
}
"""What firmware must state for a defect to make a difference."""
_LONGER = "it waits for longer than it must, which a slow machine does, too"
_AT_REGISTRATION = "it shows when it registers with firmware that lacks something: see PROV-9"
INVISIBLE = {
    "sleep doubled": _LONGER,
    "last sleep doubled": _LONGER,
    "short sleeps counted in ticks": _LONGER,
    "delay not rounded up": "one microsecond is less than clocks agree about",
    "registers without the function": _AT_REGISTRATION,
    "registers without good attributes": _AT_REGISTRATION,
    "registers with attributes of an unknown status": _AT_REGISTRATION,
    "a positive answer of ARCH_FEATURES taken for a refusal": _AT_REGISTRATION,
    "unsigned status": _AT_REGISTRATION,
    "does not unregister": "one that is built in never does",
    "x4 of ATTRIBUTES lost": "it goes into nothing but what ours shows of itself",
    "the watchdog not touched": "it complains where firmware keeps a CPU for seconds: see PROV-10",
    "a signal ends the wait for the lock": "a signal must come while another request has firmware",
}
"""What nobody can tell from outside of the kernel, and why."""
