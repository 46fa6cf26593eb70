# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl regions`: what physical memory there is, and what of it may be targeted."""

from __future__ import annotations

import click

from pyctl.cli.params import Session, json_option, pass_session
from pyctl.errors import NotReady
from pyctl.numbers import size_text
from pyctl.target.debugfs import Debugfs
from pyctl.target.regions import DEVICE_KIND
from pyctl.target.regions import regions as find_regions


@click.command(short_help="List physical ranges, safe to target or not.")
@json_option({"regions": [], "scratch": {"possible": None, "max_bytes": None, "why": None}})
@pass_session
def regions(session: Session) -> None:
    """List physical memory: System RAM, reserved, persistent, CXL and DAX ranges.

    A range is safe to target only if somebody vouches for it and nobody uses it. Where
    none is, scratch memory can be targeted: the test module allocates it for a command.

    \b
    Examples:
      pyctl regions
      pyctl regions --json
    """
    found = [region for region in find_regions(session.system) if region.kind != DEVICE_KIND]
    session.answer["regions"] = [region.as_json() for region in found]
    session.say(f"{'address':>18}  {'size':>8}  {'kind':8}  {'safe':4}  {'name':24}  why")
    for region in found:
        session.say(
            f"{region.range.addr:#18x}  {size_text(region.range.size):>8}  {region.kind:8}  "
            f"{'yes' if region.safe else 'no':4}  {region.name:24}  {region.why}"
        )
    _tell_of_scratch(session)
    session.succeed()


def _tell_of_scratch(session: Session) -> None:
    told = session.answer["scratch"]
    try:
        most = Debugfs(session.system).info().scratch_max_bytes
    except NotReady as reason:
        told["why"] = reason.message
        session.say(f"Whether there is scratch memory to target is not known: {reason.message}")
        return
    told.update(
        possible=most > 0,
        max_bytes=most,
        why="memregion_test allocates it for whoever asks, and frees it when that one ends.",
    )
    session.say(f"There is scratch memory to target, up to {size_text(most)}: `--scratch SIZE`.")
