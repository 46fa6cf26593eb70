# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl coherency`: whether clean+invalidate does it, line by line."""

from __future__ import annotations

import os
from typing import Any

import click

from pyctl.cli.params import COUNT, SIZE, Session, aim_options, json_option, pass_session
from pyctl.cli.report import ASK, BAD, REST, coloured, progress, section
from pyctl.cli.report import GOOD as COLOUR_GOOD
from pyctl.coherency.cases import CaseResult
from pyctl.coherency.lines import DAMAGED, GOOD, LOST, STALE, BadLine
from pyctl.coherency.run import (
    REFUSED,
    CaseResults,
    Plan,
    check_plan,
    choose_observer,
    execute,
)
from pyctl.coherency.window import target_of
from pyctl.errors import NotReady, OperationFailed, PyctlError
from pyctl.numbers import size_text
from pyctl.target.aim import NO_JSON, Aim, Wish
from pyctl.target.debugfs import Debugfs
from pyctl.target.invalidate import check_timeout

SHAPE: dict[str, Any] = {
    "observer": None,
    "addr": None,
    "size": None,
    "line_size": None,
    "lines": {"good": 0, "stale": 0, "lost": 0, "damaged": 0},
    "first_bad": None,
    "cases": [],
    "limits": [],
    "target": NO_JSON,
    "shown": None,
}
_KEYS = {"good": GOOD, "stale": STALE, "lost": LOST, "damaged": DAMAGED}
_MAX_CALLERS = 4
_LISTED_LINES = 64


@click.command(short_help="Prove that clean+invalidate does it, line by line.")
@aim_options
@click.option("--size", type=SIZE, help="Length of the window in bytes.  [default: 256K]")
@click.option(
    "--observer",
    type=click.Choice(["auto", "model", "alias"]),
    default="auto",
    show_default=True,
    help="The device's side: the virtual board's modelled cache, or a non-cacheable mapping.",
)
@click.option(
    "--line-size", type=SIZE, help="Line size of the modelled cache.  [default: the CPU's]"
)
@click.option(
    "--threads",
    type=COUNT,
    help=f"Callers at once, in one of the cases.  [default: the CPUs, at most {_MAX_CALLERS}]",
)
@click.option(
    "--timeout",
    type=float,
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Give up a call after this time.",
)
@json_option(SHAPE)
@pass_session
def coherency(
    session: Session,
    addr: int | None,
    scratch: int | None,
    node: int | None,
    size: int | None,
    observer: str,
    line_size: int | None,
    threads: int | None,
    timeout: float,
) -> None:
    """Store to memory, change it behind the CPU, invalidate, and look at every line.

    All that the window holds is overwritten; it must lie in memory that `pyctl
    regions` marks safe, or is scratch memory. A line is good, stale (one side sees
    old bytes), has lost dirty data, or is a neighbour that was damaged. Exit status 3
    where nothing can be seen. Needs `pyctl load --raw`.

    \b
    Examples:
      pyctl coherency
      pyctl coherency --size 1M --line-size 128 --json
      pyctl vm run --firmware fault=skip_last_line -- pyctl coherency
    """
    timeout_s = check_timeout(timeout)
    debugfs = Debugfs(session.system)
    with target_of(debugfs, Wish(addr, size, scratch, node)) as target:
        session.answer["target"] = target.as_json()
        plan = Plan(
            window=target.range,
            line_size=line_size or debugfs.info().dcache_line_size,
            observer=choose_observer(debugfs, observer),
            callers=threads or min(len(os.sched_getaffinity(0)), _MAX_CALLERS),
            timeout_s=timeout_s,
            scratch=target.scratch,
        )
        _run(session, plan, target)


def _run(session: Session, plan: Plan, target: Aim) -> None:
    session.answer.update(
        observer=plan.observer,
        addr=f"0x{plan.window.addr:x}",
        size=plan.window.size,
        line_size=plan.line_size,
    )
    info = check_plan(session.system, plan)
    known: list[CaseResult] = []

    def keep(case: CaseResult) -> None:
        known.append(case)
        _keep(session, case)

    try:
        progress("The first case is under way.")
        report = execute(session.system, plan, info, keep)
    except (KeyboardInterrupt, PyctlError):
        progress("")
        section(session, "Known so far, and incomplete:", REST, map(_row_of, known))
        raise
    progress("")
    session.answer.update(limits=report.limits, shown=not report.is_blind, target=target.as_json())
    _tell(session, report)
    session.say(
        f"note: The window was {target} + {size_text(plan.window.size)}, with lines of "
        f"{plan.line_size} bytes; the device's side: {plan.observer}."
    )
    _judge(session, report)
    session.succeed()


def _keep(session: Session, case: CaseResult) -> None:
    progress(f"{len(session.answer['cases']) + 1} cases done, the last was '{case.name}'")
    lines = {key: case.count.lines[verdict] for key, verdict in _KEYS.items()}
    session.answer["cases"].append(
        {
            "name": case.name,
            "ok": case.is_good,
            "addr": f"0x{case.request.addr:x}",
            "size": case.request.size,
            "lines": lines,
            "skipped": case.skipped,
            "error": case.error,
            "bad": [_bad_json(bad) for bad in case.count.bad[:_LISTED_LINES]],
        }
    )


def _tell(session: Session, report: CaseResults) -> None:
    """Say what is known; the worst comes first."""
    bad = [case for case in report.cases if case.count.bad or case.error]
    skipped = [case for case in report.cases if case.skipped and case not in bad]
    odd = [case for case in skipped if case.skipped == REFUSED]
    good = [case for case in report.cases if case.is_good]
    if bad:
        session.say(coloured(f"FAIL: {len(bad)} of {len(report.cases)} cases are bad.", BAD))
        section(session, _row("case", [*_KEYS]), BAD, map(_row_of, bad))
    elif report.is_blind:
        session.say(coloured("NOTHING SHOWN: no line could be bad here.", ASK))
    else:
        total = report.total()[GOOD]
        session.say(coloured(f"PASS: all {total} lines are good.", COLOUR_GOOD))
    section(session, "Worth asking your firmware vendor:", ASK, map(_row_of, odd))
    others = [case for case in skipped if case not in odd]
    section(session, "Not tried:", REST, map(_row_of, others))
    section(session, _row("good cases", [*_KEYS]), REST, map(_row_of, good))
    for limit in report.limits:
        session.say(f"note: {limit}")


def _row_of(case: CaseResult) -> str:
    if case.error:
        return f"{case.name:36}  failed: {case.error}"
    if case.skipped:
        return f"{case.name:36}  {case.skipped}"
    return _row(case.name, [case.count.lines[verdict] or "-" for verdict in _KEYS.values()])


def _row(name: str, numbers: list[object]) -> str:
    return f"{name:36}  {' '.join(f'{number:>7}' for number in numbers)}"


def _bad_json(bad: BadLine) -> dict[str, object]:
    return {
        "line": f"0x{bad.line:x}",
        "verdict": bad.verdict,
        "side": bad.side,
        "addr": f"0x{bad.addr:x}",
        "expected": bad.expected.hex(),
        "found": bad.found.hex(),
        "later": bad.later,
        "sentence": str(bad),
    }


def _judge(session: Session, report: CaseResults) -> None:
    total = report.total()
    session.answer["lines"] = {key: total[verdict] for key, verdict in _KEYS.items()}
    first = report.first_bad()
    if first:
        case, bad = first
        session.answer["first_bad"] = {"case": case.name, **_bad_json(bad)}
        raise OperationFailed(
            f"{sum(total.values()) - total[GOOD]} of {sum(total.values())} lines are bad. The "
            f"first, in case '{case.name}' (0x{case.request.addr:x} + "
            f"{size_text(case.request.size)}), {bad}.",
            "Firmware, provider or kernel did less, or more, than clean and invalidate.",
        )
    failed = [case for case in report.cases if case.error]
    if failed:
        raise OperationFailed(f"Case '{failed[0].name}' failed: {failed[0].error}")
    if report.is_blind:
        raise NotReady(
            "This has shown nothing: here each side sees at once what the other has stored, also "
            "without a call, so that no line could be bad.",
            "An emulator has no caches: use a real board, or the virtual one with its modelled "
            "cache (--observer auto).",
        )
