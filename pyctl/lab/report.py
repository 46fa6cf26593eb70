# SPDX-License-Identifier: GPL-2.0-only
"""What somebody reads in the morning: one page, or one mail, about a night.

The verdict and what is new come first, each failure with the rule in words, what shows
it, and the command that repeats it. The page is one file without scripts that loads
nothing; whatever a board has printed is text in it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pyctl import __version__
from pyctl.errors import NotReady
from pyctl.lab.compare import (
    ItemChange,
    NightComparison,
    Verdict,
    compare_nights,
    count,
    firmware_text,
    judge,
)
from pyctl.lab.results import BoardIdentity, ItemKind, ItemOutcome, ItemResult, now
from pyctl.lab.store import NightRow, RunRow, Store

GRID_NIGHTS = 21
PLOT_NIGHTS = 365
_TEMPLATE = "report.html"
_LIBRARIES = {"jinja2": "jinja2", "pygal": "pygal"}
# So much of what a board printed; all of it is in the night's logs.
_SHOWN_CHARACTERS = 4000


@dataclass(frozen=True)
class Cell:
    """A board in a night, for the grid: a class of the page's, a sign, and a sentence."""

    kind: str
    sign: str
    title: str


@dataclass(frozen=True)
class NightReport:
    """Everything that is told of a night. ``skipped`` are reasons, each with what it kept away."""

    night: NightRow
    verdict: Verdict
    runs: dict[str, RunRow]
    before: NightComparison | None
    grid_nights: tuple[NightRow, ...]
    grid: dict[str, tuple[Cell, ...]]
    skipped: tuple[tuple[str, tuple[str, ...]], ...]
    log_directory: Path

    @property
    def kind(self) -> str:
        """The class of the verdict: good, fail or lost."""
        return {0: "good", 1: "fail"}.get(self.verdict.exit_status, "lost")


def make_report(store: Store, night: NightRow) -> NightReport:
    """Gather what is to be told of a night."""
    nights = [one for one in store.nights() if one.id <= night.id]
    runs = {run.board.name: run for run in store.runs(night.id)}
    shown = tuple(reversed(nights[:GRID_NIGHTS]))
    return NightReport(
        night,
        judge(store, night.id),
        runs,
        compare_nights(store, nights[1].id, night.id) if len(nights) > 1 else None,
        shown,
        _grid(store, shown, night),
        _skipped(store, runs),
        store.directory(night.id),
    )


def _grid(
    store: Store, nights: tuple[NightRow, ...], last: NightRow
) -> dict[str, tuple[Cell, ...]]:
    cells = {one.id: {run.board.name: _cell(run) for run in store.runs(one.id)} for one in nights}
    boards = sorted({*last.boards, *(name for one in cells.values() for name in one)})
    nothing = Cell("none", "", "not in this night")
    return {name: tuple(cells[one.id].get(name, nothing) for one in nights) for name in boards}


def _cell(run: RunRow) -> Cell:
    counted = ", ".join(f"{number} {key}" for key, number in run.counts.items() if number)
    title = " ".join(filter(None, (counted, run.trouble)))
    failed = run.counts[ItemOutcome.FAIL]
    lost = bool(run.trouble or run.counts[ItemOutcome.ERROR])
    if failed:
        return Cell("fail", f"{failed}{'!' if lost else ''}", title)
    if lost:
        return Cell("lost", "!", title)
    return Cell("good", "✓", title) if run.counts[ItemOutcome.PASS] else Cell("none", "-", title)


def _skipped(store: Store, runs: dict[str, RunRow]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Reasons, with what they kept away, those of the most things first."""
    reasons: dict[str, list[str]] = {}
    for name, run in runs.items():
        skips = store.results(run.id, lambda _path, _kind, one: one == ItemOutcome.SKIP)
        for result in skips.values():
            reasons.setdefault(result.reason, []).append(f"{name}: {result.path}")
    ordered = sorted(reasons.items(), key=lambda one: (-len(one[1]), one[0]))
    return tuple((reason, tuple(things)) for reason, things in ordered)


def repeat_command(board: BoardIdentity, result: ItemResult, fleet: str) -> str:
    """The command line that asks the same of the same board again."""
    if result.kind is ItemKind.RULE or not result.path.startswith("tests/"):
        # Asked by a command of pyctl, which the lab runs as a step.
        return f"pyctl lab run {shlex.quote(fleet)} --board {shlex.quote(board.name)}"
    return f".venv/bin/pytest {shlex.quote(result.path)} {board.reached}".strip()


def replay_command(change: ItemChange, night: int) -> str:
    """The command line that shows a failure on a virtual board."""
    name = shlex.quote(change.board)
    make = f"pyctl lab replay {name} {night} --output {name}.replay"
    return f"{make} && pyctl vm run --replay {name}.replay"


def evidence_text(result: ItemResult) -> str:
    """What shows that an outcome is true, as one text."""
    evidence = result.evidence
    parts = [*evidence.registers, evidence.log]
    if evidence.console:
        parts += ["--- the console's last lines ---", evidence.console]
    text = "\n".join(filter(None, parts))
    return text if len(text) <= _SHOWN_CHARACTERS else f"[...]{text[-_SHOWN_CHARACTERS:]}"


def text_report(report: NightReport) -> str:
    """The report for a mail: plain lines."""
    return "\n".join(_text_lines(report)) + "\n"


def _text_lines(report: NightReport) -> Iterator[str]:
    night, verdict = report.night, report.verdict
    yield f"Night {night.id}, {night.started[:16]} UTC, {count(len(night.boards), 'board')}"
    yield verdict.sentence
    if night.trouble:
        yield f"The night did not come to its end: {night.trouble}"
    for title, changes in (("NEW FAILURES", verdict.new), ("KNOWN FAILURES", verdict.known)):
        if changes:
            yield from ("", title)
        for change in changes:
            yield from _text_of(report, change, with_evidence=changes is verdict.new)
    if verdict.troubles:
        yield from ("", "TROUBLE OF THE LAB")
        yield from (f"  {one.board}: {one.why}" for one in verdict.troubles)
    if verdict.fixed:
        yield from ("", "FIXED")
        yield from (f"  {one.board}: {one.path}" for one in verdict.fixed)
    if verdict.silent:
        yield from ("", "NO LONGER TRIED")
        yield from (f"  {one.board}: {one.path}  {one.result.reason}" for one in verdict.silent)
    if report.before and report.before.identities:
        yield from ("", "OTHER FIRMWARE OR KERNEL THAN IN THE NIGHT BEFORE")
        for board, what, old, new in report.before.identities:
            yield f"  {board}: {what} was {old}, and is {new}"
    yield from ("", "BOARDS")
    for name, run in report.runs.items():
        cell = _cell(run)
        yield f"  {name:16}  {cell.kind:5}  {cell.title}"
    skipped = sum(len(things) for _, things in report.skipped)
    yield from ("", f"{count(skipped, 'result')} skipped; logs: {report.log_directory}")


def _text_of(report: NightReport, change: ItemChange, with_evidence: bool) -> Iterator[str]:
    result, board = change.result, report.runs[change.board].board
    yield f"  {change.board}: {change.path}{'  (flaky)' if change.is_flaky else ''}"
    if result.statement:
        yield f"    should hold: {result.statement}"
    for line in result.reason.splitlines()[: None if with_evidence else 1]:
        yield f"    {line}"
    if with_evidence:
        yield f"    firmware: {firmware_text(board) or 'unknown'}"
        yield f"    kernel: {board.kernel or 'unknown'}"
        yield f"    repeat: {repeat_command(board, result, report.night.fleet)}"
        yield f"    replay: {replay_command(change, report.night.id)}"


def html_report(store: Store, report: NightReport) -> str:
    """The report as one page. Raises NotReady where a library is missing."""
    need_libraries()
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from pyctl.lab.plots import plots_of

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    known: dict[str, Any] = {
        "report": report,
        "plots": plots_of(store, report.night, PLOT_NIGHTS),
        "version": __version__,
        "made": now()[:16],
        "evidence": evidence_text,
        "firmware": firmware_text,
        "replay": lambda change: replay_command(change, report.night.id),
        "repeat": lambda change: repeat_command(
            report.runs[change.board].board, change.result, report.night.fleet
        ),
    }
    return environment.get_template(_TEMPLATE).render(known)


def need_libraries() -> None:
    """Raise NotReady where a library of the extra ``lab`` is missing."""
    if missing := [name for module, name in _LIBRARIES.items() if find_spec(module) is None]:
        raise NotReady(
            f"The page needs the Python package {missing[0]}, which is not installed.",
            "Run `pip install jinja2 pygal`, or install pyctl with its extra: `pip install "
            "'.[lab]'`. `--text` needs neither.",
        )
