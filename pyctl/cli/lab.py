# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl lab`: a fleet in the evening, and what became of it in the morning."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyctl.cli.nights import (
    FILE,
    NIGHT_SHAPE,
    compare,
    history,
    prune,
    replay,
    report,
    store_option,
    tell_verdict,
)
from pyctl.cli.params import Session, json_option, pass_session

if TYPE_CHECKING:
    from pyctl.lab.store import Store


@click.group(short_help="Run a fleet of boards every night, and report on it.")
def lab() -> None:
    """Run a fleet of boards every night, say what is new, and pass results on."""


for _command in (report, history, compare, replay, prune):
    lab.add_command(_command)


@lab.command(short_help="Run everything on every board of a fleet.")
@click.argument("fleet", type=FILE)
@click.option("--board", "names", multiple=True, metavar="NAME", help="Only this (repeatable).")
@click.option("--resume", is_flag=True, help="Go on with the last night, if it was broken off.")
@store_option
@json_option(NIGHT_SHAPE)
@pass_session
def run(
    session: Session, fleet: Path, names: tuple[str, ...], resume: bool, store_path: Path
) -> int:
    """Run everything on every board of the file FLEET, and say what is new.

    Exit status 0 if nothing new is wrong, 1 if firmware or kernel fails where it did not
    before, 4 if there is nothing but trouble of the lab: boards that were lost or could
    not be had. What was found is kept at once, whatever ends the night.

    \b
    Example of FLEET:
      parallel = 4                       # boards at once
      budget = "8h"                      # for the night
      [defaults]
      budget = "1h"                      # for each board
      [board.grace-7]
      target = "ssh:root@10.0.0.7"       # or vm, or labgrid:PLACE
      ssh-config = "ssh_config"          # beside this file
      reset = "pdu cycle 7"              # gives a lost board a fresh start
      steps = ["doctor", "attributes", "conformance", "coherency", "invalidate", "tests"]
      tests = ["tests/target"]
    """
    from pyctl.cli.board import terminable
    from pyctl.lab.compare import judge
    from pyctl.lab.fleet import read_fleet
    from pyctl.lab.night import Work, adopt, need_checkout
    from pyctl.lab.results import now
    from pyctl.lab.store import Store

    def tell(text: str) -> None:
        session.note(f"{now()[11:19]} {text}")

    found = read_fleet(fleet)
    boards = _chosen(found.boards, names)
    need_checkout()
    with Store(store_path) as store:
        adopt(store)
        night = _night_to_resume(store, fleet) if resume else None
        if night is None:
            night = store.begin(str(fleet.resolve()), [board.name for board in boards])
        else:
            store.go_on(night)
            whole = {one.board.name for one in store.runs(night) if not one.trouble}
            boards = [board for board in boards if board.name not in whole]
        session.answer["night"] = night
        tell(f"Night {night}: {len(boards)} boards; logs in {store.directory(night)}")
        try:
            with terminable():
                Work(found, store, night, tell).run(boards)
        except BaseException:
            store.end(night, "It was interrupted.")
            raise
        store.end(night)
        verdict = judge(store, night)
    tell_verdict(session, verdict)
    return verdict.exit_status


def _chosen(boards: Iterable[Any], names: tuple[str, ...]) -> list[Any]:
    from pyctl.errors import UsageError

    known = {board.name: board for board in boards}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"There is no board {unknown[0]!r} in the fleet.", f"There are {', '.join(known)}."
        )
    return [known[name] for name in names or known]


def _night_to_resume(store: Store, fleet: Path) -> int | None:
    """The last night of the fleet, where it did not come to its end."""
    path = str(fleet.resolve())
    last = next((night for night in store.nights() if night.fleet == path), None)
    return last.id if last and last.trouble else None


@lab.command(short_help="Say whether every board of a fleet can be had.")
@click.argument("fleet", type=FILE)
@json_option({"boards": []})
@pass_session
def check(session: Session, fleet: Path) -> int:
    """Reach every board of FLEET, prepare it, and say what is missing there.

    Exit status 4 if a board cannot be had, 3 if one is not ready. Nothing is kept.

    \b
    Example:
      pyctl lab check fleet.toml
    """
    import tempfile
    from dataclasses import replace

    from pyctl.cli.board import terminable
    from pyctl.lab.fleet import read_fleet
    from pyctl.lab.night import Work, need_checkout
    from pyctl.lab.results import ItemOutcome
    from pyctl.lab.store import Store

    found = read_fleet(fleet)
    need_checkout()
    boards = [replace(board, steps=("doctor",)) for board in found.boards]
    with tempfile.TemporaryDirectory() as place, Store(Path(place) / "check.sqlite") as store:
        night = store.begin("", [board.name for board in boards])
        with terminable():
            Work(found, store, night, lambda text: None).run(boards)
        status = 0
        for run in store.runs(night):
            said = store.results(run.id).get("doctor")
            lost = run.trouble or (said is not None and said.outcome is ItemOutcome.ERROR)
            ready = said is not None and said.outcome is ItemOutcome.PASS
            why = said.reason if said and said.reason else run.trouble
            status = 4 if lost else max(status, 0 if ready else 3)
            state = "cannot be had" if lost else "ready" if ready else "not ready"
            session.answer["boards"].append({"board": run.board.name, "state": state, "why": why})
            session.say(f"{run.board.name:16}  {state}  {why}".rstrip())
    session.answer["ok"] = not status
    return status


EXPORT_SHAPE: dict[str, Any] = {"board": None, "outcome": None, "counts": {}, "incomplete": None}


@lab.command(short_help="Write results as KTAP, for KCIDB, or for LAVA.")
@click.argument("results", type=FILE)
@click.option("--ktap", type=FILE, metavar="FILE", help="Write them as KTAP, version 1.")
@click.option("--lava", type=FILE, metavar="FILE", help="Write lines for `lava-test-case`.")
@click.option("--kcidb", type=FILE, metavar="FILE", help="Write a report for KCIDB, schema 5.3.")
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
