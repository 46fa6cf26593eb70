# SPDX-License-Identifier: GPL-2.0-only
"""Rules about the two functions at work: attributes, the operation, dry runs, CPUs."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from pyctl.conformance.rule import ATTRIBUTES_SECTION, CLEAN_INV_SECTION, rule
from pyctl.numbers import errno_name
from pyctl.smccc import CLEAN_INV_MEMREGION_ATTRIBUTES, NOT_REQUIRED, status_name
from pyctl.target.answers import RawRequest

ATTRIBUTES = RawRequest(CLEAN_INV_MEMREGION_ATTRIBUTES)
WATCH_ROUNDS = 3
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
    if changed := differing(made, lambda call: call.x[:5]):
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
        return observed("NOT_REQUIRED; nobody says what that means here.", [last])
    return failed(f"{last} at try {len(made)}.", [last])


@rule(
    "CALL-2",
    REQUIRED,
    CLEAN_INV_SECTION,
    "But for BUSY and RATE_LIMITED, the operation gives one status each time and on each CPU.",
)
def _each_time(prober: Prober) -> Outcome:
    made = prober.settled(0) + prober.clean_inv(prober.sample(prober.everywhere(prober.request())))
    answers = [call for call in made if call.status not in PASSING]
    if not answers:
        raise Blocked("There was nothing but BUSY and RATE_LIMITED.")
    if changed := differing(answers, lambda call: call.status):
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


@rule("DRY-1", REQUIRED, CLEAN_INV_SECTION, "A dry run gives the status that the operation gives.")
def _dry_run(prober: Prober) -> Outcome:
    real, dry = prober.settled(0)[-1], prober.settled(DRY_RUN)[-1]
    if real.status in PASSING:
        raise Blocked(f"The operation itself gave nothing but {status_name(real.status)}.")
    if real.status == dry.status:
        return passed(f"Both gave {status_name(real.status)}.")
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
