# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl coherency`: whether clean+invalidate does it, line by line."""

from __future__ import annotations

import os
from typing import Any

import click

from pyctl.cli.params import ADDRESS, COUNT, SIZE, Session, json_option, pass_session
from pyctl.coherency.cases import CaseResult
from pyctl.coherency.lines import DAMAGED, GOOD, LOST, STALE, BadLine
from pyctl.coherency.run import (
    CaseResults,
    Plan,
    check_plan,
    choose_observer,
    choose_window,
    execute,
)
from pyctl.errors import OperationFailed
from pyctl.numbers import size_text
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
}
_KEYS = {"good": GOOD, "stale": STALE, "lost": LOST, "damaged": DAMAGED}
_MAX_CALLERS = 4
_LISTED_LINES = 64


@click.command(short_help="Prove that clean+invalidate does it, line by line.")
@click.option("--addr", type=ADDRESS, help="Base of the window.  [default: the first safe range]")
@click.option("--size", type=SIZE, help="Its length in bytes.  [default: 256K]")
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
    size: int | None,
    observer: str,
    line_size: int | None,
    threads: int | None,
    timeout: float,
) -> None:
    """Store to memory, change it behind the CPU, invalidate, and look at every line.

    All that the window holds is overwritten; it must lie in memory that `pyctl
    regions` marks safe. A line is good, stale (one side sees old bytes), has lost
    dirty data, or is a neighbour that was damaged. Needs `pyctl load --raw`.

    \b
    Examples:
      pyctl coherency
      pyctl coherency --size 1M --line-size 128 --json
      pyctl vm run --firmware fault=skip_last_line -- pyctl coherency
    """
    timeout_s = check_timeout(timeout)
    debugfs = Debugfs(session.system)
    plan = Plan(
        window=choose_window(session.system, addr, size),
        line_size=line_size or debugfs.info().dcache_line_size,
        observer=choose_observer(debugfs, observer),
        callers=threads or min(len(os.sched_getaffinity(0)), _MAX_CALLERS),
        timeout_s=timeout_s,
    )
    session.answer.update(
        observer=plan.observer,
        addr=f"0x{plan.window.addr:x}",
        size=plan.window.size,
        line_size=plan.line_size,
    )
    info = check_plan(session.system, plan)
    session.say(
        f"window 0x{plan.window.addr:x} + {size_text(plan.window.size)}, "
        f"lines of {plan.line_size} bytes, device's side: {plan.observer}"
    )
    session.say(f"{'case':40}  {'good':>7} {'stale':>7} {'lost':>7} {'damaged':>7}")
    report = execute(session.system, plan, info, lambda case: _tell(session, case))
    session.answer["limits"] = report.limits
    session.say()
    for limit in report.limits:
        session.say(f"note: {limit}")
    _judge(session, report)
    session.succeed()


def _tell(session: Session, case: CaseResult) -> None:
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
    text = " ".join(f"{number or '-':>7}" for number in lines.values())
    if case.skipped:
        text = f"not tried: {case.skipped}"
    if case.error:
        text = f"failed: {case.error}"
    session.say(f"{case.name:40}  {text}")


def _bad_json(bad: BadLine) -> dict[str, object]:
    return {
        "line": f"0x{bad.line:x}",
        "verdict": bad.verdict,
        "side": bad.side,
        "addr": f"0x{bad.addr:x}",
        "expected": bad.expected.hex(),
        "found": bad.found.hex(),
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
    session.say(f"all {total[GOOD]} lines are good")
