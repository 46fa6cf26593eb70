# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl conformance`: what firmware does, rule by rule, and what changed since another run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyctl.cli.params import Session, json_option, pass_session, scratch_options
from pyctl.cli.report import ASK, BAD, GOOD, REST, coloured, progress, section
from pyctl.errors import NotReady, OperationFailed, PyctlError, UsageError
from pyctl.numbers import size_text

if TYPE_CHECKING:
    from pyctl.conformance.run import Finding, Report
    from pyctl.target.aim import Aim
    from pyctl.target.answers import Info
    from pyctl.target.debugfs import Debugfs

SHAPE: dict[str, Any] = {
    "complete": False,
    "risky": False,
    "firmware": None,
    "kernel": None,
    "version": None,
    "date": None,
    "rules": [],
    "target": None,
    "ask_vendor": [],
}


@click.group(short_help="Check what firmware does, rule by rule.", invoke_without_command=True)
@click.option(
    "--risky",
    is_flag=True,
    help="Also give firmware arguments that may be bad, and store to memory.",
)
@click.option(
    "--provider",
    is_flag=True,
    help="Check the provider that is registered, whoever's it is, and not firmware.",
)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the results in this file, rule by rule as they come.",
)
@scratch_options
@json_option(SHAPE)
@pass_session
@click.pass_context
def conformance(
    ctx: click.Context,
    session: Session,
    risky: bool,
    provider: bool,
    ledger: Path | None,
    scratch: int | None,
    node: int | None,
) -> None:
    """Check the firmware's cache call against its specification, rule by rule.

    A rule passes, fails, is observed (the specification leaves it open) or is not run,
    with the reason. Only memory that `pyctl regions` marks safe is touched, or scratch
    memory; the module must have been loaded with `pyctl load --raw`. Exit status 1 if a
    required rule failed, 3 if one could not be run; a recommended rule that fails is a
    warning.

    \b
    Examples:
      pyctl conformance
      pyctl conformance --ledger firmware-1.4.json --json
      pyctl vm run -- pyctl conformance --provider
      pyctl conformance diff firmware-1.3.json firmware-1.4.json
    """
    if ctx.invoked_subcommand is None:
        from pyctl.conformance.access import target_of
        from pyctl.target.aim import Wish
        from pyctl.target.debugfs import Debugfs

        debugfs = Debugfs(session.system)
        with target_of(debugfs, Wish(scratch=scratch, node=node)) as target:
            info = debugfs.info()
            report = _report(debugfs, info, target, risky, provider)
            _run(session, info, report, target, risky, ledger)


def _report(
    debugfs: Debugfs, info: Info, target: Aim | None, risky: bool, provider: bool
) -> Report:
    from pyctl.conformance.access import ModuleAccess
    from pyctl.conformance.chain import ModuleChain
    from pyctl.conformance.run import ProviderReport, Report

    if not provider:
        return Report(ModuleAccess(debugfs, info, target), risky)
    if risky:
        raise UsageError("--risky is about firmware, and --provider about the provider.")
    return ProviderReport(ModuleChain(debugfs, info, target))


def _run(
    session: Session,
    info: Info,
    report: Report,
    target: Aim | None,
    risky: bool,
    ledger: Path | None,
) -> None:
    from pyctl.conformance.identity import identify
    from pyctl.conformance.ledger import write

    rules = report.rules
    session.answer.update(risky=risky, **identify(session.system, info))
    if risky:
        session.note("pyctl: With --risky there are also:")
        for rule in rules:
            if rule.risky:
                session.note(f"       {rule.id}: {rule.risky}")

    def keep() -> None:
        if target:
            found = {"addr": f"0x{target.range.addr:x}", "size": target.range.size}
            session.answer["target"] = found | target.as_json()
        session.answer["firmware"]["attributes"] = report.attributes
        session.answer["complete"] = report.complete
        if ledger:
            write(ledger, {key: session.answer[key] for key in SHAPE})

    keep()
    try:
        progress(rules[0].statement)
        for finding in report.run():
            session.answer["rules"].append(finding.as_json())
            session.answer["ask_vendor"] = [odd.rule.id for odd in report.odd]
            keep()
            done = len(report.findings)
            progress(f"{done} of {len(rules)}: {rules[done % len(rules)].statement}")
    except PyctlError:
        _tell(session, report, target)
        raise
    except KeyboardInterrupt:
        _tell(session, report, target)
        raise KeyboardInterrupt(
            f"Interrupted after {len(report.findings)} of {len(rules)} rules; "
            "what is known so far is incomplete and no pass."
        ) from None
    keep()
    _tell(session, report, target)
    _conclude(session, report)


def _tell(session: Session, report: Report, target: Aim | None) -> None:
    """Say what is known; the worst comes first."""
    progress("")
    bad, warnings = report.broken, report.warnings
    rules = "1 required rule" if len(bad) == 1 else f"{len(bad)} required rules"
    if bad:
        section(session, f"FAIL: {report.subject} breaks {rules}.", BAD, _lines(bad))
    elif report.complete and not report.blocked:
        session.say(coloured(f"PASS: {report.subject} breaks no required rule.", GOOD))
    else:
        session.say(coloured("INCOMPLETE: no rule that was run is broken.", ASK))
    section(session, "Broken, but only recommended:", ASK, _lines(warnings))
    section(session, "Worth asking your firmware vendor:", ASK, _lines(report.odd))
    section(session, "Could not be run:", ASK, _lines(report.unrun))
    section(session, "Not applicable, or not asked for:", REST, _lines(report.not_applicable))
    section(session, "All else:", REST, _lines(report.rest))
    if target:
        session.say(f"aimed at {target} + {size_text(target.range.size)}")


_SHOWN_CALLS = 2


def _lines(findings: Iterable[Finding]) -> Iterator[str]:
    from pyctl.conformance.outcome import FAIL

    for finding in findings:
        rule, outcome = finding.rule, finding.outcome
        yield f"{rule.id:8}  {rule.severity:11}  {outcome.result:8}  {rule.statement}"
        yield f"{'':8}  {'':11}  {'':8}  -> {outcome.summary}"
        if outcome.result == FAIL or outcome.is_odd:
            for call in outcome.calls[:_SHOWN_CALLS]:
                yield f"{'':8}  {'':11}  {'':8}     {call}: {call.registers(0, 4)}"


def _conclude(session: Session, report: Report) -> None:
    for finding in report.warnings:
        session.note(f"pyctl: warning: {finding.rule.id}: {finding.outcome.summary}")
    if report.broken:
        names = ", ".join(finding.rule.id for finding in report.broken)
        raise OperationFailed(
            f"{report.subject.capitalize()} breaks required rules: {names}.",
            "The evidence is in the lines of these rules, the registers in --json.",
        )
    if report.blocked:
        first = report.blocked[0]
        names = ", ".join(finding.rule.id for finding in report.blocked)
        raise NotReady(
            f"Required rules could not be run: {names}.",
            f"{first.rule.id}: {first.outcome.summary}",
        )
    session.succeed()


@conformance.command(short_help="Compare two ledgers.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@json_option({"changes": [], "firmware": {"old": None, "new": None}, "complete": None})
@pass_session
def diff(session: Session, old: Path, new: Path) -> None:
    """Say what changed from the ledger OLD to the ledger NEW.

    Exit status 1 if a rule that passed does not pass any more, is missing, or NEW is
    incomplete; 2 if a file is no ledger.

    \b
    Example:
      pyctl conformance diff firmware-1.3.json firmware-1.4.json
    """
    from pyctl.conformance.ledger import compare, read

    before, after = read(old), read(new)
    changes = compare(before, after)
    session.answer.update(
        changes=[change.as_json() for change in changes],
        firmware={"old": before["firmware"], "new": after["firmware"]},
        complete=after["complete"],
    )
    known = after["firmware"] or {}
    for part in known:
        was, now = (before["firmware"] or {}).get(part), known[part]
        if was != now:
            session.say(f"{part}: {was} -> {now}")
    for change in changes:
        mark = "  REGRESSION" if change.is_regression else ""
        session.say(f"{change.id:8}  {change.old} -> {change.new}{mark}")
        if change.summary:
            session.say(f"{'':8}  {change.summary}")
    if worse := [change.id for change in changes if change.is_regression]:
        raise OperationFailed(f"No longer passed: {', '.join(worse)}.")
    if not after["complete"]:
        raise OperationFailed(f"{new} is incomplete, and incomplete is never a pass.")
    if not changes:
        session.say("No rule changed its result.")
    session.succeed()
