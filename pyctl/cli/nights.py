# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl lab report`, `history`, `compare` and `prune`: the nights that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pyctl.cli.params import COUNT, Session, json_option, pass_session

if TYPE_CHECKING:
    from pyctl.lab.compare import ItemChange, Verdict
    from pyctl.lab.store import Store

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path, dir_okay=False)


def store_option(command: F) -> F:
    """Add ``--store``."""
    return click.option(
        "--store",
        "store_path",
        type=FILE,
        envvar="PYCTL_LAB_STORE",
        show_envvar=True,
        default=lambda: default_store(),
        metavar="FILE",
        help="Where nights are kept.  [default: ~/.local/state/pyctl/lab.sqlite]",
    )(command)


def default_store() -> Path:
    """Where nights are kept if nobody says where."""
    from pyctl.places import state_root

    return state_root() / "lab.sqlite"


NIGHT_SHAPE: dict[str, Any] = {
    "night": None,
    "verdict": None,
    "new": [],
    "known": [],
    "fixed": [],
    "silent": [],
    "troubles": [],
}


def answer_verdict(session: Session, verdict: Verdict) -> None:
    """Put into the answer what a night has shown."""
    for key in ("new", "known", "fixed", "silent", "troubles"):
        session.answer[key] = [one.as_json() for one in getattr(verdict, key)]
    session.answer["verdict"] = verdict.sentence
    session.answer["ok"] = not verdict.exit_status


def tell_verdict(session: Session, verdict: Verdict) -> None:
    """Say what a night has shown; the worst comes first."""
    answer_verdict(session, verdict)
    session.say(verdict.sentence)
    _tell_changes(session, "New failures:", verdict.new)
    for trouble in verdict.troubles:
        session.say(f"  {trouble.board}: {trouble.why}")
    _tell_changes(session, "Fixed:", verdict.fixed)
    _tell_changes(session, "No longer tried:", verdict.silent)


def _tell_changes(session: Session, title: str, changes: Iterable[ItemChange]) -> None:
    changes = list(changes)
    if changes:
        session.say(title)
    for one in changes:
        flaky = "  (flaky)" if one.is_flaky else ""
        why = one.result.reason.partition("\n")[0]
        session.say(f"  {one.board}: {one.path}{flaky}  {why}".rstrip())


@click.command(short_help="List the nights that are kept.")
@click.option("--last", type=COUNT, default=30, show_default=True, help="So many.")
@store_option
@json_option({"nights": []})
@pass_session
def history(session: Session, last: int, store_path: Path) -> None:
    """List the nights that are kept, the newest first: what was found on how many boards."""
    from pyctl.lab.night import adopt

    with _existing(store_path) as store:
        adopt(store)
        for night in store.nights(last):
            runs = store.runs(night.id)
            counts = {
                key: sum(run.counts[key] for run in runs)
                for key in (runs[0].counts if runs else ())
            }
            ended = night.trouble or ("" if night.ended else "It goes on.")
            session.answer["nights"].append(
                {
                    "night": night.id,
                    "started": night.started,
                    "ended": night.ended,
                    "trouble": ended,
                    "boards": len(night.boards),
                    "counts": counts,
                }
            )
            told = ", ".join(f"{number} {key}" for key, number in counts.items() if number)
            line = (
                f"{night.id:5}  {night.started[:16]}  {len(night.boards)} boards: {told}  {ended}"
            )
            session.say(line.rstrip())
    session.succeed()
    if not session.answer["nights"]:
        session.say("No night is kept. `pyctl lab run` makes one.")


def _existing(path: Path) -> Store:
    from pyctl.errors import UsageError
    from pyctl.lab.store import Store

    if not path.is_file():
        raise UsageError(f"There is no store {path}.", "`pyctl lab run` makes it, or see --store.")
    return Store(path)


COMPARE_SHAPE: dict[str, Any] = {
    "changes": [],
    "observed": [],
    "moved": [],
    "identities": [],
    "boards": [],
}


@click.command(short_help="Say what changed from one night to another.")
@click.argument("old")
@click.argument("new")
@store_option
@json_option(COMPARE_SHAPE)
@pass_session
def compare(session: Session, old: str, new: str, store_path: Path) -> int:
    """Say what changed from the night OLD to the night NEW.

    A night is a number of `pyctl lab history`, or last, last-1 and so on. Exit status 1 if
    something fails that did not.

    \b
    Example:
      pyctl lab compare last-1 last
    """
    from pyctl.lab.compare import compare_nights
    from pyctl.lab.results import ItemOutcome

    with _existing(store_path) as store:
        found = compare_nights(store, store.night(old).id, store.night(new).id)
    session.answer.update(
        changes=[one.as_json() for one in found.changes],
        observed=[one.as_json() for one in found.observed],
        moved=[
            {"board": board, "name": name, "old": was, "new": now, "unit": unit}
            for board, name, was, now, unit in found.moved
        ],
        identities=[
            {"board": board, "what": what, "old": was, "new": now}
            for board, what, was, now in found.identities
        ],
        boards=[{"board": board, "why": why} for board, why in found.boards],
    )
    for board, what, was, now in found.identities:
        session.say(f"{board}: {what} was {was}, and is {now}")
    for board, why in found.boards:
        session.say(f"{board}: {why}")
    failed = [one for one in found.changes if one.new is ItemOutcome.FAIL]
    fixed = [
        one for one in found.changes if one.old is ItemOutcome.FAIL and one.new is ItemOutcome.PASS
    ]
    rest = [one for one in found.changes if one not in failed and one not in fixed]
    _tell_changes(session, "Fails now:", failed)
    _tell_changes(session, "Fixed:", fixed)
    if rest:
        session.say("Other changes:")
    for one in rest:
        session.say(f"  {one.board}: {one.path}  {one.old or 'missing'} -> {one.new or 'missing'}")
    _tell_changes(session, "Firmware answers otherwise where nothing is demanded:", found.observed)
    for board, name, before, after, unit in found.moved:
        session.say(f"{board}: {name} was {before:g} {unit}, and is {after:g} {unit}")
    if not any(session.answer[key] for key in COMPARE_SHAPE):
        session.say("Nothing changed.")
    session.answer["ok"] = not failed
    return 1 if failed else 0


@click.command(short_help="Forget old nights.")
@click.option("--keep", type=COUNT, required=True, help="Keep so many of the newest.")
@store_option
@pass_session
def prune(session: Session, keep: int, store_path: Path) -> None:
    """Forget all nights but the newest, with their journals and logs."""
    with _existing(store_path) as store:
        forgotten = store.prune(keep)
    session.say(f"forgot {len(forgotten)} nights")


@click.command(short_help="Report on a night.")
@click.argument("night", default="last")
@click.option("--html", type=FILE, metavar="FILE", help="Write the page here; else print text.")
@store_option
@json_option(NIGHT_SHAPE)
@pass_session
def report(session: Session, night: str, html: Path | None, store_path: Path) -> int:
    """Report on NIGHT, by default the last one: as text for a mail, or as one page.

    The page is one file that loads nothing and needs no script; it needs the Python
    packages jinja2 and pygal. The exit status is that of the night, as `pyctl lab run`
    gave it.

    \b
    Examples:
      pyctl lab report
      pyctl lab report last-1 --html night.html
    """
    from pyctl.lab.night import adopt
    from pyctl.lab.report import html_report, make_report, text_report
    from pyctl.lab.writers import replace_file

    with _existing(store_path) as store:
        adopt(store)
        made = make_report(store, store.night(night))
        if html:
            replace_file(html, html_report(store, made))
    session.answer["night"] = made.night.id
    answer_verdict(session, made.verdict)
    session.say(made.verdict.sentence if html else text_report(made).rstrip())
    return made.verdict.exit_status


@click.command(short_help="Make a file that replays a board's failures on a virtual one.")
@click.argument("board")
@click.argument("night", default="last")
@click.option("--output", type=FILE, required=True, metavar="FILE", help="Write the replay here.")
@store_option
@json_option({"board": None, "firmware": [], "command": [], "cannot": []})
@pass_session
def replay(session: Session, board: str, night: str, output: Path, store_path: Path) -> None:
    """Make a file with which `pyctl vm run --replay` shows the failures of BOARD in NIGHT.

    Its firmware answers discovery as the board's did, and breaks the same rules where it
    can; what cannot be seen there is said, with the reason.

    \b
    Example:
      pyctl lab replay grace-7 --output grace-7.replay
      pyctl vm run --replay grace-7.replay
    """
    from pyctl.errors import UsageError
    from pyctl.lab.replay import replay_of
    from pyctl.lab.writers import replace_file

    with _existing(store_path) as store:
        runs = {run.board.name: run for run in store.runs(store.night(night).id)}
        if board not in runs:
            raise UsageError(
                f"There are no results of a board {board!r} in that night.",
                f"There are {', '.join(runs) or 'none'}.",
            )
        made = replay_of(runs[board].board, store.results(runs[board].id).values())
    replace_file(output, made.as_text())
    cannot = [{"path": path, "why": why} for path, why in made.cannot]
    session.answer.update(
        board=made.board, firmware=made.firmware, command=made.command, cannot=cannot
    )
    session.succeed()
    session.say(f"firmware: {' '.join(made.firmware) or 'as usual'}")
    for path, why in made.cannot:
        session.say(f"{path} cannot be seen there: {why}")
