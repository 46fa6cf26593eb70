# SPDX-License-Identifier: GPL-2.0-only
"""Deliberate misbehaviour of the virtual board's firmware, as people write it.

A fault is ``KIND[:PARAMETER][@next=N][@every=K][@cpu=C][@call=NAME]``; a script is
faults separated by commas. A script is good as a whole or refused as a whole:
here, before anything is sent, and once more by the firmware, which puts a script
into force with a single write, in pyctl/vm/stub/fault.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyctl.errors import UsageError
from pyctl.firmware.fault_kinds import CALLS, KINDS_BY_NAME, FaultKind, between
from pyctl.firmware.numbers import (
    ANY_CPU,
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
)

Word = tuple[int, int, int]
"""Key, index (the slot) and value of one SET call or boot configuration entry."""


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
    if name not in KINDS_BY_NAME:
        raise UsageError(f"There is no fault {name!r}.", f"There are {', '.join(KINDS_BY_NAME)}.")
    kind = KINDS_BY_NAME[name]
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
        return "count", between(1, U32_LIMIT)(value)
    if equals and key == "every":
        return "every", between(1, U32_LIMIT)(value)
    if equals and key == "cpu":
        return "cpu", between(0, MAX_CPUS - 1)(value)
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
