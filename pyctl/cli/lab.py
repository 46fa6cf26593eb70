# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl lab`: what became of boards, in the forms that labs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyctl.cli.params import Session, json_option, pass_session

EXPORT_SHAPE: dict[str, Any] = {"board": None, "outcome": None, "counts": {}, "incomplete": None}
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(short_help="Keep results of many boards, and pass them on.")
def lab() -> None:
    """Keep results of many boards, and pass them on in the forms that labs read."""


@lab.command(short_help="Write results as KTAP, for KCIDB, or for LAVA.")
@click.argument("results", type=_FILE)
@click.option("--ktap", type=_FILE, metavar="FILE", help="Write them as KTAP, version 1.")
@click.option("--lava", type=_FILE, metavar="FILE", help="Write lines for `lava-test-case`.")
@click.option("--kcidb", type=_FILE, metavar="FILE", help="Write a report for KCIDB, schema 5.3.")
@click.option("--kcidb-origin", default="", metavar="NAME", help="The lab's name in KCIDB.")
@click.option(
    "--kcidb-build", default="", metavar="ORIGIN:ID", help="The kernel's build, as KCIDB knows it."
)
@click.option("--board", default="", metavar="NAME", help="The board, where the file has no name.")
@json_option(EXPORT_SHAPE)
@pass_session
def export(
    session: Session,
    results: Path,
    ktap: Path | None,
    lava: Path | None,
    kcidb: Path | None,
    kcidb_origin: str,
    kcidb_build: str,
    board: str,
) -> None:
    """Write the results in the file RESULTS in other forms.

    RESULTS is a journal (`pytest --journal`), a ledger (`pyctl conformance --ledger`), or a
    saved answer of `pyctl conformance`, `coherency`, `attributes` or `doctor` with --json.
    A run that was killed is written as far as it got, and said to be incomplete.

    \b
    Examples:
      pyctl lab export night.journal --ktap night.ktap --lava night.lava
      pyctl lab export night.journal --kcidb night.json --kcidb-origin mylab \\
        --kcidb-build mylab:7.3
    """
    from pyctl.lab.answers import read_run
    from pyctl.lab.writers import Outputs

    outputs = Outputs(ktap, lava, kcidb, kcidb_origin, kcidb_build)
    if not outputs:
        raise click.UsageError("In which form? Give --ktap, --lava or --kcidb.")
    run = read_run(results, board)
    outputs.write(run)
    session.answer.update(
        board=run.head.board.name,
        outcome=run.outcome,
        counts=run.counts,
        incomplete=run.why_incomplete,
    )
    session.succeed()
    counted = ", ".join(f"{number} {outcome}" for outcome, number in run.counts.items() if number)
    session.note(f"pyctl: {run.head.board.name}: {counted or 'no results'}.")
    if why := run.why_incomplete:
        session.note(f"pyctl: The run is incomplete: {why}")
