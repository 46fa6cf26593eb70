# SPDX-License-Identifier: GPL-2.0-only
"""Rules about the two functions at work: attributes, the operation, dry runs, CPUs."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyctl.conformance.access import MAX_BYTES
from pyctl.conformance.outcome import (
    REQUIRED,
    Blocked,
    Call,
    NotRun,
    Outcome,
    failed,
    observed,
    passed,
)
from pyctl.conformance.prober import DRY_RUN, PASSING, REPEATS, Prober, differing
from pyctl.conformance.rule import ATTRIBUTES_SECTION, CLEAN_INV_DEDUCED, CLEAN_INV_SECTION, rule
from pyctl.numbers import errno_name
from pyctl.ranges import Range
from pyctl.smccc import (
    CLEAN_INV_MEMREGION,
    CLEAN_INV_MEMREGION_ATTRIBUTES,
    INVALID_PARAMETER,
    NOT_REQUIRED,
    status_name,
)
from pyctl.target.answers import RawRequest

ATTRIBUTES = RawRequest(CLEAN_INV_MEMREGION_ATTRIBUTES)
WATCH_ROUNDS = 3
DRY_ROUNDS = 3
STORES = "stores to the first cache lines of the memory that is safe to target"


@rule("ATTR-1", REQUIRED, ATTRIBUTES_SECTION, "ATTRIBUTES gives the same answer every time.")
def _repeated(prober: Prober) -> Outcome:
    prober.need_attributes()
    prober.calls([ATTRIBUTES] * REPEATS)
    first = prober.access.cpus[0]
    made = [call for call in _all_attributes(prober) if call.request.cpu == first]
    return _same(made, f"In {len(made)} calls on CPU {first}.")


@rule("ATTR-2", REQUIRED, ATTRIBUTES_SECTION, "ATTRIBUTES gives the same answer on every CPU.")
def _on_each_cpu(prober: Prober) -> Outcome:
    prober.need_attributes()
    prober.need_cpus()
    prober.calls(prober.everywhere(ATTRIBUTES))
    return _same(_all_attributes(prober), f"On {prober.cpus_text}.")


def _same(made: Sequence[Call], summary: str) -> Outcome:
    def answer(call: Call) -> tuple[object, ...]:
        # Below SMCCC 1.2 x4 need not be a result, and then it is what went in.
        return (*call.x[:4], call.x[4] if call.changed(4, 4) else "kept")

    if changed := differing(made, answer):
        where = " and ".join(f"{one.registers(0, 4)} on CPU {one.request.cpu}" for one in changed)
        return failed(f"There was {where}.", changed)
    return passed(summary)


def _all_attributes(prober: Prober) -> list[Call]:
    """Every answer of ATTRIBUTES in this run."""
    return [call for call in prober.log if call.request.fid == ATTRIBUTES.fid]


@rule(
    "ATTR-3",
    REQUIRED,
    ATTRIBUTES_SECTION,
    "An operation that ATTRIBUTES calls global cleans lines outside of its range, too.",
    risky=STORES,
)
def _is_global(prober: Prober) -> Outcome:
    """Dirty lines far from the range. One that stays dirty, round by round, is proof."""
    prober.need_attributes()
    if not prober.is_global:
        raise NotRun("Firmware does not say that the operation is global.")
    watched = _watch(prober, lambda: prober.settled(0, far=True)[-1])
    if all(after < watched.lines for after in watched.after):
        return failed(watched.text, watched.calls)
    return passed(watched.text)


@dataclass(frozen=True)
class _Watched:
    """Of so many dirty ``lines``, those that were in memory ``after`` a call, by round."""

    lines: int
    after: tuple[int, ...]
    calls: tuple[Call, ...]
    text: str


def _watch(prober: Prober, make: Callable[[], Call]) -> _Watched:
    """Store to lines, make a call, see which have reached memory; and what they do alone.

    Raises NotRun where too many reach memory by themselves, and Blocked for a refusal.
    """
    if not (prober.risky or prober.access.is_virtual):
        raise NotRun("Only with --risky, or on the virtual board: it stores to memory.")
    counts: list[tuple[int, int]] = []
    calls: list[Call] = []
    with prober.access.lines() as lines:
        for _ in range(WATCH_ROUNDS):
            lines.store()
            idle = lines.in_memory()
            lines.store()
            calls.append(make())
            if calls[-1].status:
                raise Blocked(f"{calls[-1]}.")
            counts.append((idle, lines.in_memory()))
    shown = ", ".join(f"{after} after the call and {idle} without" for idle, after in counts)
    text = f"Of {lines.number} dirty lines were in memory: {shown} ({lines.observer})."
    if any(2 * idle > lines.number for idle, _after in counts):
        raise NotRun(f"No cache holds stores back long enough to tell. {text}")
    return _Watched(lines.number, tuple(after for _idle, after in counts), tuple(calls), text)


@rule("CALL-1", REQUIRED, CLEAN_INV_SECTION, "A range of memory can be cleaned and invalidated.")
def _operation(prober: Prober) -> Outcome:
    made = prober.settled(0)
    last = made[-1]
    if last.status == 0:
        return passed(f"SUCCESS at try {len(made)}.")
    if last.status == NOT_REQUIRED:
        return observed("NOT_REQUIRED; nobody says what that means here.", [last], is_odd=True)
    return failed(f"{last} at try {len(made)}.", [last])


@rule(
    "CALL-2",
    REQUIRED,
    CLEAN_INV_SECTION,
    "But for BUSY and RATE_LIMITED, the operation gives one status each time and on each CPU.",
)
def _each_time(prober: Prober) -> Outcome:
    kinds = (prober.request(), prober.request(DRY_RUN))
    made = prober.settled(0) + prober.clean_inv(prober.sample(prober.everywhere(*kinds)))
    answers = [call for call in made if call.status not in PASSING]
    if not answers:
        raise Blocked("There was nothing but BUSY and RATE_LIMITED.")
    for flags in (0, DRY_RUN):
        alike = [call for call in answers if call.request.x[2] == flags]
        if changed := differing(alike, lambda call: call.status):
            return failed(f"{changed[0]}; {changed[1]}.", changed)
    return passed(f"{status_name(answers[0].status)} in {len(answers)} of {len(made)} calls.")


@rule(
    "CALL-3",
    REQUIRED,
    CLEAN_INV_SECTION,
    "Calls from all CPUs at once give SUCCESS, BUSY or RATE_LIMITED.",
)
def _all_at_once(prober: Prober) -> Outcome:
    made, record = prober.all_at_once()
    done = f"{record.completed} of {made} calls succeeded"
    if record.errno in (0, errno.EBUSY, errno.EAGAIN):
        stopped = f"; the first other answer was {errno_name(record.errno)}" if record.errno else ""
        return passed(f"{done}{stopped}.")
    return failed(f"{done}, then there was {errno_name(record.errno)}.")


PAGE = 4096
LINE = 64
"""What most caches have; the shapes are of this machine's memory, not of its cache."""


def _shapes(target: Range) -> dict[str, Range]:
    """Ranges of every size and shape that ``target`` has room for, by name."""
    base, middle = target.addr, target.addr + target.size // 2 // PAGE * PAGE
    size = min(target.size, MAX_BYTES)
    shapes = {
        "one page": Range(middle, middle + PAGE),
        "three pages": Range(middle - PAGE, middle + 2 * PAGE),
        "the last page": Range(target.end - PAGE, target.end),
        "everything": Range(base, base + size // PAGE * PAGE),
        "one byte": Range(middle + 1, middle + 2),
        "one line": Range(middle + LINE, middle + 2 * LINE),
        "a line's end and the next one's start": Range(middle - 3, middle + 4),
        "a page and a bit": Range(middle - PAGE + 8, middle + LINE),
        "pages from an odd base": Range(base + 4 * PAGE + 1, base + 7 * PAGE),
    }
    return {
        name: shape
        for name, shape in shapes.items()
        if base <= shape.addr < shape.end <= target.end
    }


@rule(
    "CALL-4",
    REQUIRED,
    CLEAN_INV_DEDUCED,
    "A range of each size and shape is cleaned and invalidated within some tries.",
)
def _each_shape(prober: Prober) -> Outcome:
    """BUSY and RATE_LIMITED ask to try again, so some try must be the last.

    Which ranges firmware may refuse is left open, where they are not of whole pages.
    """
    if prober.settled(0)[-1].status:
        raise Blocked("Not even the first of the memory can be cleaned and invalidated (CALL-1).")
    shapes = prober.sample(list(_shapes(prober.target).items()))
    if not shapes:
        raise NotRun("The memory that is safe to target is too small.")
    refused: dict[str, Call] = {}
    for name, shape in shapes:
        request = RawRequest(CLEAN_INV_MEMREGION, (shape.addr, shape.size, 0))
        last = prober.settle(request)[-1]
        if last.status:
            # What was bad luck is another rule's.
            last = prober.settle(request)[-1]
        if last.status == INVALID_PARAMETER and (shape.addr | shape.size) % PAGE:
            refused[name] = last
        elif last.status:
            return failed(f"For {name}: {last}, again and again.", [last])
    if refused:
        return observed(
            f"INVALID_PARAMETER for {', '.join(refused)}: other ranges than whole pages are "
            "refused, which the specification leaves open.",
            [*refused.values()][:1],
            is_odd=True,
        )
    return passed(f"{len(shapes)} shapes were accepted.")


@rule("DRY-1", REQUIRED, CLEAN_INV_SECTION, "A dry run gives the status that the operation gives.")
def _dry_run(prober: Prober) -> Outcome:
    """Where they differ they must do so again: a status that is given at times is CALL-2's."""
    real, dry = prober.settled(0)[-1], prober.settled(DRY_RUN)[-1]
    if real.status in PASSING:
        raise Blocked(f"The operation itself gave nothing but {status_name(real.status)}.")
    for _ in range(DRY_ROUNDS):
        if real.status == dry.status:
            return passed(f"Both gave {status_name(real.status)}.")
        # The other way round, so that nothing that comes at every second call decides.
        dry, real = prober.settled(DRY_RUN)[-1], prober.settled(0)[-1]
    return failed(
        f"The operation gave {status_name(real.status)}, its dry run {status_name(dry.status)}.",
        [real, dry],
    )


@rule("DRY-2", REQUIRED, CLEAN_INV_SECTION, "A dry run cleans no line.", risky=STORES)
def _dry_run_acts(prober: Prober) -> Outcome:
    """Dirty lines that are all in memory after a dry run, and otherwise are not.

    A cache may write a line back at any time, and so may something else: only all lines,
    in every round, against few of them when nothing was called, are the dry run's doing.
    """
    dry = prober.settled(DRY_RUN)[-1]
    if dry.status:
        raise NotRun(f"A dry run gives {status_name(dry.status)}.")
    watched = _watch(prober, lambda: prober.settled(DRY_RUN)[-1])
    if all(after == watched.lines for after in watched.after):
        return failed(watched.text, watched.calls)
    return passed(watched.text)
