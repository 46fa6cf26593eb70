# SPDX-License-Identifier: GPL-2.0-only
"""Rules about the two functions at work: attributes, the operation, dry runs, CPUs."""

from __future__ import annotations

import errno

from pyctl.conformance.bench import DRY_RUN, PASSING, Bench, differing
from pyctl.conformance.rule import (
    ATTRIBUTES_SECTION,
    CLEAN_INV_SECTION,
    REQUIRED,
    Blocked,
    Call,
    NotRun,
    Outcome,
    Rule,
    failed,
    observed,
    passed,
)
from pyctl.model import RawRequest, errno_name
from pyctl.smccc import CLEAN_INV_MEMREGION_ATTRIBUTES, NOT_REQUIRED, status_name

CALLS_AT_ONCE = 64
"""Of each CPU."""


def _repeated(bench: Bench) -> Outcome:
    bench.need_attributes()
    made = bench.calls([RawRequest(CLEAN_INV_MEMREGION_ATTRIBUTES)] * 32)
    if changed := differing(made, _answer):
        return failed("ATTRIBUTES gave different answers.", changed)
    return passed(f"The same in {len(made)} calls.")


def _on_each_cpu(bench: Bench) -> Outcome:
    bench.need_attributes()
    need_cpus(bench)
    made = bench.calls(bench.everywhere(RawRequest(CLEAN_INV_MEMREGION_ATTRIBUTES)))
    if changed := differing(made, _answer):
        return failed("ATTRIBUTES gave different answers.", changed)
    return passed(f"The same on {bench.cpus_text}.")


def _answer(call: Call) -> tuple[int, ...]:
    return call.x[:5]


def need_cpus(bench: Bench) -> None:
    """Skip a rule that compares CPUs where there is one."""
    if len(bench.access.cpus) < 2:
        raise NotRun("Only one CPU is online.")


def _operation(bench: Bench) -> Outcome:
    made = bench.settled(0)
    last = made[-1]
    if last.status == 0:
        return passed(f"SUCCESS at try {len(made)}.")
    if last.status == NOT_REQUIRED:
        return observed("NOT_REQUIRED; nobody says what that means here.", [last])
    return failed(f"{last} at try {len(made)}.", [last])


def _dry_run(bench: Bench) -> Outcome:
    real, dry = bench.settled(0)[-1], bench.settled(DRY_RUN)[-1]
    if real.status in PASSING:
        raise Blocked(f"The operation itself gave nothing but {status_name(real.status)}.")
    if real.status == dry.status:
        return passed(f"Both gave {status_name(real.status)}.")
    return failed(
        f"The operation gave {status_name(real.status)}, its dry run {status_name(dry.status)}.",
        [real, dry],
    )


def _each_cpu(bench: Bench) -> Outcome:
    need_cpus(bench)
    made = bench.clean_inv([bench.request(cpu=cpu) for cpu in bench.access.cpus])
    answers = [call for call in made if call.status not in PASSING]
    if not answers:
        raise Blocked("No CPU got anything but BUSY or RATE_LIMITED.")
    if changed := differing(answers, lambda call: call.status):
        return failed("The operation gave different statuses on different CPUs.", changed)
    return passed(f"{status_name(answers[0].status)} on {len(answers)} of {bench.cpus_text}.")


def _all_at_once(bench: Bench) -> Outcome:
    need_cpus(bench)
    bench.need_attributes()
    threads = len(bench.access.cpus)
    record = bench.loop(CALLS_AT_ONCE, threads)
    done = f"{record.completed} of {threads * CALLS_AT_ONCE} calls succeeded"
    if record.errno in (0, errno.EBUSY, errno.EAGAIN):
        stopped = f"; the first other answer was {errno_name(record.errno)}" if record.errno else ""
        return passed(f"{done}{stopped}.")
    return failed(f"{done}, then there was {errno_name(record.errno)}.")


RULES = (
    Rule(
        "ATTR-1",
        REQUIRED,
        ATTRIBUTES_SECTION,
        "ATTRIBUTES gives the same answer every time.",
        _repeated,
    ),
    Rule(
        "ATTR-2",
        REQUIRED,
        ATTRIBUTES_SECTION,
        "ATTRIBUTES gives the same answer on every CPU.",
        _on_each_cpu,
    ),
    Rule(
        "CALL-1",
        REQUIRED,
        CLEAN_INV_SECTION,
        "A range of memory can be cleaned and invalidated.",
        _operation,
    ),
    Rule(
        "CALL-2",
        REQUIRED,
        CLEAN_INV_SECTION,
        "The operation gives the same status on every CPU, but for BUSY and RATE_LIMITED.",
        _each_cpu,
    ),
    Rule(
        "CALL-3",
        REQUIRED,
        CLEAN_INV_SECTION,
        "Calls from all CPUs at once give SUCCESS, BUSY or RATE_LIMITED.",
        _all_at_once,
    ),
    Rule(
        "DRY-1",
        REQUIRED,
        CLEAN_INV_SECTION,
        "A dry run gives the status that the operation gives.",
        _dry_run,
    ),
)
