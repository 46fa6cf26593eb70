# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl fault`: make the virtual board's firmware misbehave, while it runs.

Every command identifies the firmware first and then speaks to our stub only.
"""

from __future__ import annotations

from typing import Any

import click

from pyctl.cli.params import Number, Session, json_option, pass_session
from pyctl.errors import UsageError
from pyctl.firmware.client import ArmedFault, Faults, Stub
from pyctl.firmware.fault_kinds import KINDS
from pyctl.firmware.faults import parse_faults
from pyctl.firmware.numbers import SLOTS
from pyctl.target.debugfs import Debugfs

LIST_SHAPE: dict[str, Any] = {"kinds": []}
SHOW_SHAPE: dict[str, Any] = {"faults": []}


def _faults(session: Session) -> Faults:
    """The faults of our stub, once it has said that it is ours."""
    stub = Stub(Debugfs(session.system).raw_call)
    stub.identify()
    return Faults(stub)


@click.group(short_help="Make the virtual board's firmware misbehave.")
def fault() -> None:
    """Make the virtual board's firmware misbehave, or find out how it does.

    Works on the virtual board only. To have faults from the first call of the kernel
    on, start it with `pyctl vm run --firmware fault=...`.
    """


@fault.command("list", short_help="List what can go wrong.")
@json_option(LIST_SHAPE)
@pass_session
def list_kinds(session: Session) -> None:
    """List the kinds of faults, their parameters and the calls that they can be about.

    \b
    Examples:
      pyctl fault list
      pyctl fault list --json
    """
    _faults(session)
    session.answer["kinds"] = [
        {
            "name": kind.name,
            "usage": kind.usage,
            "help": kind.help,
            "calls": list(kind.calls),
            "usual_calls": list(kind.usual),
        }
        for kind in KINDS
    ]
    width = max(len(kind.usage) for kind in KINDS)
    for kind in KINDS:
        session.say(f"{kind.usage:{width}}  {kind.help}")
    session.say()
    session.say("Add @next=N (N times only), @every=K (every k-th call), @cpu=C (one CPU only),")
    session.say(
        "@call=clean_inv, attributes, features or version, where a kind knows more than one."
    )
    session.succeed()


@fault.command("set", short_help="Arm faults.")
@click.argument("script", nargs=-1, required=True)
@click.option("--add", is_flag=True, help="Keep what is armed already.")
@json_option(SHOW_SHAPE)
@pass_session
def set_faults(session: Session, script: tuple[str, ...], add: bool) -> None:
    """Arm the faults of SCRIPT, in place of all that were armed.

    A fault is KIND[:PARAMETER][@next=N][@every=K][@cpu=C][@call=NAME]; several are
    words of their own, or separated by commas. Where one of them makes no sense, or
    two contradict each other, nothing changes.

    \b
    Examples:
      pyctl fault set noop@next=1
      pyctl fault set status:BUSY@every=3 latency:500@cpu=1
      pyctl fault set --add rate_limit:10/1000000
    """
    wanted = parse_faults(",".join(script))
    faults = _faults(session)
    if add:
        faults.add(wanted)
    else:
        faults.replace(wanted)
    _show(session, faults)


@fault.command("clear", short_help="Disarm faults.")
@click.argument("slots", nargs=-1, type=Number("slot"))
@json_option(SHOW_SHAPE)
@pass_session
def clear(session: Session, slots: tuple[int, ...]) -> None:
    """Disarm the faults in SLOTS (see `pyctl fault show`), or all of them.

    A call that one of them holds in firmware goes on.

    \b
    Examples:
      pyctl fault clear
      pyctl fault clear 0 2
    """
    wrong = [slot for slot in slots if slot >= SLOTS]
    if wrong:
        raise UsageError(f"There is no slot {wrong[0]}.", f"Slots are 0 to {SLOTS - 1}.")
    faults = _faults(session)
    faults.clear(slots or range(SLOTS))
    _show(session, faults)


@fault.command("show", short_help="Show what is armed, and what it did.")
@json_option(SHOW_SHAPE)
@pass_session
def show(session: Session) -> None:
    """Show each armed fault, how many calls it was about, and how many suffered it.

    \b
    Examples:
      pyctl fault show
      pyctl fault show --json
    """
    _show(session, _faults(session))


def _show(session: Session, faults: Faults) -> None:
    armed = faults.armed()
    session.answer["faults"] = [_as_json(one) for one in armed]
    if not armed:
        session.say("no fault is armed")
    for one in armed:
        session.say(f"{one.slot:2}  {one.fault!s:40}  calls {one.seen}, suffered {one.fired}")
    session.succeed()


def _as_json(one: ArmedFault) -> dict[str, object]:
    fault = one.fault
    return {
        "slot": one.slot,
        "text": str(fault),
        "kind": fault.kind.name,
        "parameter": fault.parameter if fault.kind.parameter else None,
        "next": fault.count or None,
        "every": fault.every,
        "cpu": fault.cpu,
        "calls": list(fault.calls),
        "seen": one.seen,
        "fired": one.fired,
    }
