# SPDX-License-Identifier: GPL-2.0-only
"""Deliberate misbehaviour of the virtual board's firmware, as people write it.

A fault is ``KIND[:PARAMETER][@next=N][@every=K][@cpu=C][@call=NAME]``; a script is
faults separated by commas. A script is good as a whole or refused as a whole:
here, before anything is sent, and once more by the firmware, which puts a script
into force with a single write. The firmware's table is in pyctl/vm/stub/fault.c;
tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pyctl.errors import UsageError
from pyctl.firmware.numbers import (
    ANY_CPU,
    DURATION_LIMIT_US,
    KEY_CALLS,
    KEY_COMMIT,
    KEY_COUNT,
    KEY_CPU,
    KEY_EVERY,
    KEY_KIND,
    KEY_PARAMETER,
    MAX_CPUS,
    SLOTS,
    U32_LIMIT,
    U64_LIMIT,
)
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
_OPERATION = frozenset({"first", "last", "half", "below", "queued", "base", "partial", "mode"})

Word = tuple[int, int, int]
"""Key, index (the slot) and value of one SET call or boot configuration entry."""


def _none(text: str) -> int:
    raise UsageError(f"It takes no parameter, not {text!r}.")


def _number(minimum: int, limit: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = parse_number(text)
        if not minimum <= value <= limit:
            raise UsageError(f"{text!r} is not between {minimum} and {limit}.")
        return value

    return parse


def _offset(text: str) -> int:
    value = parse_number(text.removeprefix("-"))
    if not 0 < value < 1 << 63:
        raise UsageError(f"{text!r} is no distance from the right base.")
    return -value & U64_LIMIT if text.startswith("-") else value


def _limit(text: str) -> int:
    calls, slash, window_us = text.partition("/")
    if not slash:
        raise UsageError(f"{text!r} is not CALLS/WINDOW_US.")
    window = _number(1, DURATION_LIMIT_US)(window_us)
    return _number(1, U32_LIMIT)(calls) << 32 | window


def _status(text: str) -> int:
    return parse_status(text) & U64_LIMIT


def _version(text: str) -> int:
    return VERSIONS[text] if text in VERSIONS else _number(0, U32_LIMIT)(text)


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


def _attribute(name: str, number: int, what: str, limit: int = U64_LIMIT) -> FaultKind:
    return FaultKind(
        name,
        number,
        f"ATTRIBUTES lies about {what}.",
        "N",
        _number(0, limit),
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
    return FaultKind(name, number, help_text, "US", _number(0, DURATION_LIMIT_US))


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
        _number(0, DURATION_LIMIT_US),
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
        _number(1, U64_LIMIT),
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
        _number(0, U32_LIMIT),
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
)
_KINDS = {kind.name: kind for kind in KINDS}
KINDS_BY_NUMBER = {kind.number: kind for kind in KINDS}


@dataclass(frozen=True)
class Fault:
    """One fault: what, and on which calls.

    ``count`` is the most times that it happens (0: no limit), ``every`` k stands for
    every k-th call, ``cpu`` for one CPU as QEMU numbers them (None: any).
    """

    kind: FaultKind
    parameter: int
    count: int = 0
    every: int = 1
    cpu: int | None = None
    calls: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = self.kind.name
        if self.kind.parameter:
            text += f":{self.kind.show(self.parameter)}"
        text += f"@next={self.count}" if self.count else ""
        text += f"@every={self.every}" if self.every > 1 else ""
        text += f"@cpu={self.cpu}" if self.cpu is not None else ""
        if self.calls != self.kind.usual:
            text += f"@call={'+'.join(self.calls)}"
        return text

    def contradicts(self, other: Fault) -> bool:
        """Whether both decide the same thing for a call that may meet both."""
        same_cpu = self.cpu == other.cpu or None in (self.cpu, other.cpu)
        if not same_cpu or not set(self.calls) & set(other.calls):
            return False
        return self.kind is other.kind or bool(self.kind.decides & other.kind.decides)

    def words(self, slot: int) -> list[Word]:
        """What the firmware gets, the commit excepted."""
        return [
            (KEY_KIND, slot, self.kind.number),
            (KEY_PARAMETER, slot, self.parameter),
            (KEY_COUNT, slot, self.count),
            (KEY_EVERY, slot, self.every),
            (KEY_CPU, slot, ANY_CPU if self.cpu is None else affinity(self.cpu)),
            (KEY_CALLS, slot, sum(CALLS[name] for name in self.calls)),
        ]


def affinity(cpu: int) -> int:
    """MPIDR affinity of a CPU of the virtual board: 16 to a cluster, for the GICv3."""
    return cpu % 16 | cpu // 16 << 8


def cpu_of(mpidr: int) -> int:
    """The reverse of ``affinity``."""
    return (mpidr & 0xFF) + 16 * (mpidr >> 8 & 0xFF)


def parse_fault(text: str) -> Fault:
    """One fault; UsageError says what is wrong with it."""
    head, *qualifiers = text.strip().split("@")
    name, colon, parameter = head.partition(":")
    if name not in _KINDS:
        raise UsageError(f"There is no fault {name!r}.", f"There are {', '.join(_KINDS)}.")
    kind = _KINDS[name]
    try:
        values: dict[str, int | tuple[str, ...]] = {}
        for qualifier in qualifiers:
            key, value = _qualifier(kind, qualifier)
            if key in values:
                raise UsageError(f"@{qualifier.partition('=')[0]} is given twice.")
            values[key] = value
        if colon:
            number = kind.parse(parameter)
        elif kind.initial is None:
            raise UsageError("It needs a parameter.")
        else:
            number = kind.initial
    except UsageError as error:
        raise UsageError(
            f"The fault {text.strip()!r} makes no sense. {error.message}",
            f"Write {kind.usage}[@next=N][@every=K][@cpu=C][@call={'|'.join(kind.calls)}].",
        ) from None
    return Fault(kind, number, **{"calls": kind.usual} | values)  # type: ignore[arg-type]


def _qualifier(kind: FaultKind, text: str) -> tuple[str, int | tuple[str, ...]]:
    key, equals, value = text.partition("=")
    if equals and key == "next":
        return "count", _number(1, U32_LIMIT)(value)
    if equals and key == "every":
        return "every", _number(1, U32_LIMIT)(value)
    if equals and key == "cpu":
        return "cpu", _number(0, MAX_CPUS - 1)(value)
    if equals and key == "call":
        names = value.split("+")
        if not set(names) <= set(kind.calls):
            raise UsageError(f"It cannot be about {value!r}.")
        return "calls", tuple(name for name in kind.calls if name in names)
    raise UsageError(f"'@{text}' says nothing about when.")


def parse_faults(text: str) -> tuple[Fault, ...]:
    """The faults of a script.

    Raises UsageError for the first fault that makes no sense, for two that contradict
    each other, and for more than SLOTS.
    """
    faults = tuple(parse_fault(part) for part in text.split(","))
    check(faults)
    return faults


def check(faults: Sequence[Fault]) -> None:
    """Refuse what cannot be armed together, with UsageError."""
    if len(faults) > SLOTS:
        raise UsageError(f"{len(faults)} faults are more than the {SLOTS} that can be armed.")
    for index, fault in enumerate(faults):
        for other in faults[:index]:
            if fault.contradicts(other):
                raise UsageError(
                    f"The faults {str(other)!r} and {str(fault)!r} contradict each other.",
                    "Both decide the same thing for the same call: give them different CPUs, "
                    "or one at a time.",
                )


def script_words(faults: Sequence[Fault]) -> list[Word]:
    """What makes ``faults`` all that is armed."""
    words = [word for slot, fault in enumerate(faults) for word in fault.words(slot)]
    fill = (1 << len(faults)) - 1
    return [*words, commit_word(fill, (1 << SLOTS) - 1 & ~fill)]


def commit_word(fill: int, empty: int) -> Word:
    """The write that puts what was staged for some slots into force, and empties others.

    Both are masks of slots.
    """
    return KEY_COMMIT, 0, fill | empty << 32


def slot_mask(slots: Iterable[int]) -> int:
    """The mask of slots that has a bit for each of these numbers."""
    return sum(1 << slot for slot in set(slots))
