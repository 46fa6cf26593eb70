# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl regions`: what physical memory there is, and what of it may be targeted."""

from __future__ import annotations

import click

from pyctl.cli.params import Session, json_option, pass_session
from pyctl.numbers import size_text
from pyctl.target.regions import DEVICE_KIND
from pyctl.target.regions import regions as find_regions


@click.command(short_help="List physical ranges, safe to target or not.")
@json_option({"regions": []})
@pass_session
def regions(session: Session) -> None:
    """List physical memory: System RAM, reserved, persistent, CXL and DAX ranges.

    A range is safe to target only if somebody vouches for it and nobody uses it.

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
    session.succeed()
