# SPDX-License-Identifier: GPL-2.0-only
"""What the virtual board's firmware can do wrong: one table of kinds.

Its counterpart is pyctl/vm/stub/fault_kinds.c; tests compare the two. A few kinds are no
faults: with them firmware conforms, and is unlike the rest.

To add one, begin with the stub (its README says how); then put the kind at the end of
KINDS, what it decides, if anything, into ``_OPERATION``, and a defect into
``tests/mutants/firmware.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pyctl.errors import UsageError
from pyctl.firmware.numbers import DURATION_LIMIT_US, U32_LIMIT, U64_LIMIT
from pyctl.numbers import parse_number
from pyctl.smccc import STATUS_NAMES, VERSIONS, parse_status, signed32

CALLS = {
    "clean_inv": 0x01,
    "attributes": 0x02,
    "features": 0x04,
    "version": 0x08,
    "alias": 0x10,
    "hint": 0x20,
    "unknown": 0x40,
}
"""The calls that a fault can be about."""
_CLEAN_INV = ("clean_inv",)
_CACHE = ("clean_inv", "attributes")
_ALL = (*_CACHE, "features", "version")
_NOBODYS = ("version",)
"""What no kernel calls once it runs; one that does would not outlive some faults."""
_OPERATION = frozenset(
    {
        "first",
        "last",
        "half",
        "below",
        "queued",
        "base",
        "partial",
        "mode",
        "length",
        "border",
        "block",
        "neighbours",
    }
)


def _none(text: str) -> int:
    raise UsageError(f"It takes no parameter, not {text!r}.")


def between(minimum: int, limit: int) -> Callable[[str], int]:
    """What reads a number and refuses, with UsageError, one that is not between these two."""

    def parse(text: str) -> int:
        value = parse_number(text)
        if not minimum <= value <= limit:
            raise UsageError(f"{text!r} is not between {minimum} and {limit}.")
        return value

    return parse


def _block(text: str) -> int:
    value = parse_number(text)
    if not 0 < value <= U64_LIMIT or value & value - 1:
        raise UsageError(f"{text!r} is no power of two.")
    return value


def _offset(text: str) -> int:
    value = parse_number(text.removeprefix("-"))
    if not 0 < value < 1 << 63:
        raise UsageError(f"{text!r} is no distance from the right base.")
    return -value & U64_LIMIT if text.startswith("-") else value


def _limit(text: str) -> int:
    calls, slash, window_us = text.partition("/")
    if not slash:
        raise UsageError(f"{text!r} is not CALLS/WINDOW_US.")
    window = between(1, DURATION_LIMIT_US)(window_us)
    return between(1, U32_LIMIT)(calls) << 32 | window


def _status(text: str) -> int:
    return parse_status(text) & U64_LIMIT


def _version(text: str) -> int:
    return VERSIONS[text] if text in VERSIONS else between(0, U32_LIMIT)(text)


def _show_status(value: int) -> str:
    return STATUS_NAMES.get(signed32(value), str(signed32(value)))


def _show_offset(value: int) -> str:
    return f"-0x{(1 << 64) - value:x}" if value >> 63 else f"0x{value:x}"


def _show_limit(value: int) -> str:
    return f"{value >> 32}/{value & U32_LIMIT}"


@dataclass(frozen=True)
class FaultKind:
    """Something that the firmware can do wrong.

    ``parameter`` is how it is written in a usage text, empty if there is none;
    ``initial`` None means that it must be given. ``decides`` names what two faults
    cannot both decide for the same call.
    """

    name: str
    number: int
    help: str
    parameter: str = ""
    parse: Callable[[str], int] = _none
    show: Callable[[int], str] = str
    initial: int | None = 0
    calls: tuple[str, ...] = _CLEAN_INV
    usual: tuple[str, ...] = _CLEAN_INV
    decides: frozenset[str] = field(default=frozenset())

    @property
    def usage(self) -> str:
        """``KIND:PARAMETER`` for a help text."""
        if not self.parameter:
            return self.name
        return f"{self.name}:{self.parameter}" if self.initial is None else self._optional()

    def _optional(self) -> str:
        return f"{self.name}[:{self.parameter}]"


def _operation(name: str, number: int, help_text: str, *decides: str) -> FaultKind:
    return FaultKind(name, number, help_text, decides=frozenset(decides))


def _blocks(name: str, number: int, help_text: str, initial: int, *decides: str) -> FaultKind:
    return FaultKind(
        name, number, help_text, "BYTES", _block, hex, initial, decides=frozenset(decides)
    )


def _attribute(name: str, number: int, what: str, limit: int = U64_LIMIT) -> FaultKind:
    return FaultKind(
        name,
        number,
        f"ATTRIBUTES lies about {what}.",
        "N",
        between(0, limit),
        initial=None,
        calls=("attributes",),
        usual=("attributes",),
    )


def _features(name: str, number: int, what: str) -> FaultKind:
    return FaultKind(
        name,
        number,
        f"ARCH_FEATURES answers S for {what}, whatever is true.",
        "S",
        _status,
        _show_status,
        None,
        ("features",),
        ("features",),
    )


def _time(name: str, number: int, help_text: str) -> FaultKind:
    return FaultKind(name, number, help_text, "US", between(0, DURATION_LIMIT_US))


KINDS = (
    FaultKind(
        "status",
        1,
        "Return status S (name or number) and do nothing.",
        "S",
        _status,
        _show_status,
        None,
        _CACHE,
        _CLEAN_INV,
        frozenset({"status"}),
    ),
    FaultKind(
        "latency",
        2,
        "Take this much longer, in us.",
        "US",
        between(0, DURATION_LIMIT_US),
        initial=None,
        calls=_CACHE,
        decides=frozenset({"time"}),
    ),
    FaultKind("hang", 3, "Never return.", calls=_CACHE, decides=frozenset({"status", "time"})),
    _time("hold_early", 4, "Stay inside before the operation: this long, or until cleared."),
    _time("hold", 5, "Stay inside after the operation: this long, or until cleared."),
    FaultKind(
        "rate_limit",
        6,
        "RATE_LIMITED after so many calls in a window of time.",
        "CALLS/WINDOW_US",
        _limit,
        _show_limit,
        None,
    ),
    _operation("busy_inside", 7, "BUSY while another CPU is inside.", "queued"),
    _operation("noop", 8, "SUCCESS without doing anything.", *_OPERATION),
    _operation("skip_first_line", 9, "Leave the first line out.", "first"),
    _operation("skip_last_line", 10, "Leave the last line out.", "last"),
    _operation("skip_second_half", 11, "Leave the second half out.", "half"),
    FaultKind(
        "only_below",
        12,
        "Cover only what lies below an address (4 GiB).",
        "ADDR",
        between(1, U64_LIMIT),
        hex,
        1 << 32,
        decides=frozenset({"below"}),
    ),
    _operation(
        "skip_queued", 13, "Of two calls at once carry out only the first; both succeed.", "queued"
    ),
    FaultKind(
        "wrong_base",
        14,
        "Operate this far from the right place (4K), in bytes, also negative.",
        "BYTES",
        _offset,
        _show_offset,
        4096,
        decides=frozenset({"base"}),
    ),
    _operation(
        "lose_partial", 15, "Lose the dirty bytes of a line that is covered in part.", "partial"
    ),
    _operation("clean_only", 16, "Clean without invalidating.", "mode"),
    _operation("invalidate_only", 17, "Invalidate without cleaning.", "mode"),
    FaultKind(
        "x0_garbage",
        18,
        "Return this in the upper half of x0.",
        "VALUE",
        between(0, U32_LIMIT),
        hex,
        0xDEAD_BEEF,
        _ALL,
        _CACHE,
    ),
    FaultKind(
        "clobber_x1_x3", 19, "Do not preserve x1-x3.", calls=("clean_inv", "features", "version")
    ),
    FaultKind("clobber_x4_x17", 20, "Do not preserve x4-x17.", calls=_ALL, usual=_CACHE),
    FaultKind("clobber_simd", 21, "Do not preserve v0-v31.", calls=_ALL, usual=_CACHE),
    _attribute("attr_global", 22, "being global (0, 1)", 1),
    _attribute("attr_latency_us", 23, "its worst-case latency, in us"),
    _attribute("attr_rate", 24, "its most calls per second"),
    _attribute("attr_break_even", 25, "its break-even size, in bytes"),
    FaultKind(
        "version",
        26,
        "SMCCC_VERSION answers V, whatever is offered.",
        "V",
        _version,
        hex,
        None,
        ("version",),
        ("version",),
    ),
    _features("features_clean_inv", 27, "CLEAN_INV_MEMREGION"),
    _features("features_attributes", 28, "its ATTRIBUTES function"),
    FaultKind(
        "smc32_alias",
        29,
        "Answer the cache calls under their SMC32 numbers, too.",
        calls=("alias",),
        usual=("alias",),
    ),
    FaultKind(
        "refuse_sve",
        30,
        "NOT_SUPPORTED for any function id with the SVE hint.",
        calls=("hint",),
        usual=("hint",),
    ),
    FaultKind("dry_run_acts", 31, "Carry out dry runs, too."),
    FaultKind(
        "loose_id",
        32,
        "Take no notice of the reserved bits of a function id.",
        calls=("unknown",),
        usual=("unknown",),
    ),
    FaultKind(
        "answer_unknown",
        33,
        "Answer SUCCESS to ids of the Arm architecture service that nobody has.",
        calls=("unknown",),
        usual=("unknown",),
    ),
    FaultKind(
        "short_length",
        34,
        "Look at this many bits of the length (32).",
        "BITS",
        between(1, 63),
        initial=32,
        decides=frozenset({"length"}),
    ),
    _blocks(
        "stop_at_border",
        35,
        "Stop at the first border of this alignment (2M).",
        2 << 20,
        "border",
    ),
    _operation("skip_parts", 36, "Leave out lines that are covered in part.", "partial"),
    _operation(
        "forget_neighbours",
        37,
        "Take the lines before and after for clean, whether they are or not.",
        "neighbours",
    ),
    FaultKind(
        "busy_over",
        38,
        "BUSY for every range that is longer than this (64K).",
        "BYTES",
        between(1, U64_LIMIT),
        hex,
        0x1_0000,
    ),
    FaultKind("clobber_fpcr", 39, "Do not preserve FPCR and FPSR.", calls=_ALL, usual=_CACHE),
    _blocks("over_flush", 40, "No fault: cover whole blocks of this size (2K).", 2048, "block"),
    _blocks("refuse_unaligned", 41, "No fault: INVALID_PARAMETER for parts of blocks (4K).", 4096),
    FaultKind("accept_anything", 42, "No fault: SUCCESS also for ranges and flags that cannot be."),
    FaultKind(
        "keep_x4",
        43,
        "No fault: ATTRIBUTES leaves x4 alone.",
        calls=("attributes",),
        usual=("attributes",),
    ),
    FaultKind("clobber_x18_x30", 44, "Do not preserve x18-x30.", calls=_ALL, usual=_NOBODYS),
    FaultKind(
        "clobber_thread",
        45,
        "Do not preserve SP_EL0, TPIDR_EL0 and TPIDRRO_EL0.",
        calls=_ALL,
        usual=_NOBODYS,
    ),
    FaultKind(
        "clobber_sve",
        46,
        "Do not preserve what SVE has beside v0-v31, where the CPU has it.",
        calls=_ALL,
        usual=_CACHE,
    ),
    FaultKind(
        "clobber_sme",
        47,
        "Do not preserve ZA, where the CPU has SME.",
        calls=_ALL,
        usual=_CACHE,
    ),
)
KINDS_BY_NAME = {kind.name: kind for kind in KINDS}
KINDS_BY_NUMBER = {kind.number: kind for kind in KINDS}
