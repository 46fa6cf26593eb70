# SPDX-License-Identifier: GPL-2.0-only
"""Firmware with a defect in its source: what no setting of the stub makes of it.

Each is (file below pyctl/vm/stub, text, replacement); see ``source``. The suite must fail
on each, and the commands must name it.
"""

from __future__ import annotations

from tests.mutants.source import Edit

CACHE = "cache.c"
MODEL = "model.c"
DISPATCH = "dispatch.c"
CALL = "call.h"

_FIRST = "\t\t.first = call->arg[1],\n"
_LAST = "\t\t.last = call->arg[1] + call->arg[2] - 1,\n"
_OPERATE = "\tif (cover(&operation, faults, window.line_size))\n"
_RETURN = "\tcall_return(call, verdict.status);\n"
_CHECK = "\tif (call->arg[3] & ~FLAG_DRY_RUN)\n"
_JUDGED = "\tif (verdict.status == SMCCC_SUCCESS &&\n"
_EACH_LINE = "\t\tfor (uint64_t line = first; line <= last; line += window.line_size) {\n"
_CLEANED = "\tdo {\n\t\tif (is_dirty(offset))\n\t\t\tclean_line(offset);\n"
_HANDLE = "\tservice->handle(&call);\n"


def _cleaned_by(place: str) -> str:
    """The same for a line of which only the word at a place is looked at."""
    # In a loop that ends at once, so that what is not called any more is still used.
    return (
        f"\tif (*(uint64_t *)(cached + {place}) != *(uint64_t *)(synced + {place}))\n"
        "\t\tclean_line(offset);\n\tif (invalidate)\n\t\tfetch_over_line(offset);\n"
        "\telse\n\tdo {\n\t\tif (!clean && is_dirty(offset))\n\t\t\tclean_line(offset);\n"
    )


DEFECTS: dict[str, Edit] = {
    # Which bytes.
    "the last byte forgotten": (CACHE, _LAST, _LAST.replace("- 1", "- 2")),
    "base and length put together by or": (
        CACHE,
        _LAST,
        "\t\t.last = (call->arg[1] | call->arg[2]) - 1,\n",
    ),
    "base of 28 bits": (
        CACHE,
        _FIRST + _LAST,
        "\t\t.first = call->arg[1] & 0xfffffff,\n"
        "\t\t.last = (call->arg[1] & 0xfffffff) + call->arg[2] - 1,\n",
    ),
    "base and length exchanged": (
        CACHE,
        _FIRST + _LAST,
        "\t\t.first = call->arg[2],\n\t\t.last = call->arg[2] + call->arg[1] - 1,\n",
    ),
    "every second line left out": (MODEL, _EACH_LINE, _EACH_LINE.replace("+= ", "+= 2 * ")),
    "line counted from 1": (
        MODEL,
        _EACH_LINE,
        _EACH_LINE.replace("line = first", "line = first + window.line_size"),
    ),
    "no line where the last byte begins one": (
        MODEL,
        _EACH_LINE,
        _EACH_LINE.replace("line <= last", "line < last"),
    ),
    "no more than 1024 lines": (
        MODEL,
        _EACH_LINE,
        "\t\tif (last - first > 1024 * window.line_size)\n"
        "\t\t\tlast = first + 1024 * window.line_size - 1;\n" + _EACH_LINE,
    ),
    "no more than 64 MiB": (
        CACHE,
        _OPERATE,
        "\tif (operation.last - operation.first >= 64UL << 20)\n"
        "\t\toperation.last = operation.first + (64UL << 20) - 1;\n" + _OPERATE,
    ),
    "pages that are covered in part left out": (
        CACHE,
        _OPERATE,
        "\toperation.first = (operation.first + 4095) & ~4095UL;\n"
        "\toperation.last = ((operation.last + 1) & ~4095UL) - 1;\n" + _OPERATE,
    ),
    "long ranges by an empty operation": (
        CACHE,
        _OPERATE,
        "\tif (call->arg[2] > 1UL << 30)\n\t\treturn;\n" + _OPERATE,
    ),
    # What is done with a line.
    "last word of a line not cleaned": (
        MODEL,
        "\t\tto[i] = known[i];\n",
        "\t\tif (i + 1 < window.line_size / WORD)\n\t\t\tto[i] = known[i];\n",
    ),
    "a line counts as dirty by its first word": (MODEL, _CLEANED, _cleaned_by("offset")),
    "a line counts as dirty by the word in its middle": (
        MODEL,
        _CLEANED,
        _cleaned_by("offset + window.line_size / 2"),
    ),
    "clean lines not invalidated": (
        MODEL,
        "\t\tif (is_dirty(offset))\n\t\t\tclean_line(offset);\n",
        "\t\tif (!is_dirty(offset))\n\t\t\treturn;\n\t\tclean_line(offset);\n",
    ),
    "dirty lines of odd numbers left alone": (
        MODEL,
        "\t\tif (is_dirty(offset))\n\t\t\tclean_line(offset);\n",
        "\t\tif (is_dirty(offset) && offset & window.line_size)\n\t\t\treturn;\n"
        "\t\tif (is_dirty(offset))\n\t\t\tclean_line(offset);\n",
    ),
    # When.
    "the range of the call before": (
        CACHE,
        _OPERATE,
        "\tstatic struct operation before;\n\tstruct operation now = operation;\n\n"
        "\toperation.first = before.first;\n\toperation.last = before.last;\n"
        "\tbefore = now;\n" + _OPERATE,
    ),
    "the same range twice done once": (
        CACHE,
        _OPERATE,
        "\tstatic uint64_t first, last;\n\n"
        "\tif (first == operation.first && last == operation.last)\n\t\treturn;\n"
        "\tfirst = operation.first;\n\tlast = operation.last;\n" + _OPERATE,
    ),
    "a call soon after another not carried out": (
        CACHE,
        _OPERATE,
        "\tstatic uint64_t until;\n\n\tif (counter_read() < until)\n\t\treturn;\n"
        "\tuntil = counter_read() + read_sysreg(cntfrq_el0) / 500;\n" + _OPERATE,
    ),
    "nothing done on CPUs 2 and 3": (
        CACHE,
        _OPERATE,
        "\tif (cpu_affinity() & 2)\n\t\treturn;\n" + _OPERATE,
    ),
    "a call beside another not carried out": (
        CACHE,
        _OPERATE,
        "\tif (record_operations() > 1)\n\t\treturn;\n" + _OPERATE,
    ),
    # Statuses.
    "status 1 after an operation": (CACHE, _RETURN, "\tcall_return(call, verdict.operates);\n"),
    "lengths of a whole page only": (
        CACHE,
        _CHECK,
        "\tif (length != 4096)\n\t\treturn SMCCC_INVALID_PARAMETER;\n" + _CHECK,
    ),
    "32 bits of address": (
        CACHE,
        "last >> physical_address_bits())",
        "last >> (physical_address_bits() & 32))",
    ),
    "busy for ever after a dry run": (
        CACHE,
        _JUDGED,
        "\tstatic bool stuck;\n\n"
        "\tif (stuck && !(call->arg[3] & FLAG_DRY_RUN))\n\t\tverdict.status = SMCCC_BUSY;\n"
        "\tstuck |= call->arg[3] & FLAG_DRY_RUN;\n" + _JUDGED,
    ),
    "busy for ever on a CPU that was interrupted by another": (
        CACHE,
        _JUDGED,
        "\tstatic uint64_t owner = -1UL;\n\n"
        "\tif (record_operations())\n\t\towner = cpu_affinity();\n"
        "\tif (owner == cpu_affinity())\n\t\tverdict.status = SMCCC_BUSY;\n" + _JUDGED,
    ),
    "a penalty for each call that comes too early": (
        CACHE,
        _JUDGED,
        "\tstatic uint64_t next;\n\n"
        "\tif (call->entered < next)\n\t\tverdict.status = SMCCC_RATE_LIMITED;\n"
        "\tnext = call->entered + read_sysreg(cntfrq_el0);\n" + _JUDGED,
    ),
    # Dry runs.
    "dry runs by another bit": (CACHE, "#define FLAG_DRY_RUN\t1UL", "#define FLAG_DRY_RUN\t2UL"),
    "dry runs refused": (
        CACHE,
        _CHECK,
        "\tif (call->arg[3] & FLAG_DRY_RUN)\n\t\treturn SMCCC_NOT_SUPPORTED;\n" + _CHECK,
    ),
    "dry runs always well": (
        CACHE,
        _CHECK,
        "\tif (length == 4096 && !(call->arg[3] & FLAG_DRY_RUN))\n"
        "\t\treturn SMCCC_INVALID_PARAMETER;\n" + _CHECK,
    ),
    # Registers.
    "a time left in x4": (CACHE, _RETURN, _RETURN + "\tcall->x[4] = call->entered;\n"),
    "x9 lost on CPU 1": (
        CACHE,
        _RETURN,
        _RETURN + "\tif (cpu_affinity() == 1)\n\t\tcall->x[9] = 0;\n",
    ),
    "x17 lost with a refusal": (
        CACHE,
        _RETURN,
        _RETURN + "\tif (verdict.status)\n\t\tcall->x[17] = 0;\n",
    ),
    "arguments returned as they were cut": (
        DISPATCH,
        _HANDLE,
        "\tfor (unsigned int i = 1; i <= 3; i++)\n"
        "\t\tcall.x[i] = (uint32_t)call.arg[i];\n" + _HANDLE,
    ),
    "x18 lost": (CACHE, _RETURN, _RETURN + "\tcall->x[18] = 0;\n"),
    "x19 lost": (CACHE, _RETURN, _RETURN + "\tcall->x[19] = call->entered;\n"),
    "x20 to x28 lost with an id that nobody has": (
        DISPATCH,
        "\tif (!service) {\n",
        "\tfor (int i = 20; !service && FID_OWNER(fid) == OWNER_ARCH && i < 29; i++)\n"
        "\t\tcall.x[i] = 0;\n\tif (!service) {\n",
    ),
    "TPIDRRO_EL0 lost": (
        CACHE,
        _RETURN,
        _RETURN + '\t__asm__ volatile("msr tpidrro_el0, %0" : : "r"(call->entered));\n',
    ),
    "status of 16 bits": (
        CACHE,
        _RETURN,
        "\tcall_return(call, (uint16_t)verdict.status);\n",
    ),
    # Discovery and attributes.
    "the SVE hint taken for a part of the id": (
        DISPATCH,
        "call.fid = fid & ~FID_SVE_HINT;",
        "call.fid = fid;",
    ),
    "reserved bits of every id ignored": (
        DISPATCH,
        "call.fid = fid & ~FID_SVE_HINT;",
        "call.fid = fid & ~(FID_SVE_HINT | FID_RESERVED);",
    ),
    "ARCH_FEATURES announces everything": (
        DISPATCH,
        "FID_OWNER(fid) == OWNER_ARCH && offers(fid, &call->settings)",
        "FID_OWNER(fid) == OWNER_ARCH",
    ),
    "ARCH_FEATURES looks at the number alone": (
        DISPATCH,
        "FID_OWNER(fid) == OWNER_ARCH && offers(fid, &call->settings)",
        "FID_OWNER(fid) == OWNER_ARCH && (offers(fid, &call->settings) ||\n"
        "\t\t offers(fid | FID_SMC64, &call->settings))",
    ),
    "arguments of 32 bits": (
        DISPATCH,
        "call.fid & FID_SMC64 ? frame->x[i] : (uint32_t)frame->x[i]",
        "call.fid & 1 ? (uint32_t)frame->x[i] : frame->x[i]",
    ),
    "global by the wrong bit": (
        CACHE,
        "? ATTRIBUTE_GLOBAL : 0;",
        "? ATTRIBUTE_GLOBAL : 2;",
    ),
    "the number of calls told as latency": (
        CACHE,
        "\tcall->x[2] = advertised(call, KEY_LATENCY_US, FAULT_ATTR_LATENCY_US);\n",
        "\tcall->x[2] = record_counter(COUNT_CLEAN_INV);\n",
    ),
    "attributes on the boot CPU only": (
        CACHE,
        "\tint32_t status = (int32_t)advertised(call, KEY_ATTRIBUTES_STATUS, FAULT_STATUS);\n",
        "\tint32_t status = cpu_affinity() ? SMCCC_NOT_SUPPORTED : SMCCC_SUCCESS;\n",
    ),
}

# Planted on a board with UEFI as well, which boots anew for each: one for each way in which
# a defect shows.
SEEN_WITH_UEFI = (
    "every second line left out",
    "last word of a line not cleaned",
    "no more than 64 MiB",
    "nothing done on CPUs 2 and 3",
    "busy for ever after a dry run",
    "x19 lost",
    "ARCH_FEATURES announces everything",
)
