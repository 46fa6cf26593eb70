# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl doctor`: what is missing on the way from the shell to the firmware."""

from __future__ import annotations

import click

from pyctl.cli.params import Session, json_option, pass_session
from pyctl.errors import NotReady
from pyctl.target.doctor import MISSING, OK, examine, is_ready


@click.command(short_help="Check each prerequisite and say how to fix it.")
@json_option({"checks": []})
@pass_session
def doctor(session: Session) -> None:
    """Check each prerequisite of the main job and say how to fix what is missing.

    Each is ok, missing or unknown. Exit status 0 if all that is needed is ok, else 3.

    \b
    Examples:
      pyctl doctor
      pyctl doctor --json
    """
    checks = examine(session.system)
    session.answer["checks"] = [check.as_json() for check in checks]
    width = max(len(check.name) for check in checks)
    for check in checks:
        state = check.state if check.needed or check.state == OK else f"({check.state})"
        session.say(f"{check.name:{width}}  {state:9}  {check.why}")
        if check.state != OK and check.fix:
            session.say(f"{'':{width}}  {'':9}  -> {check.fix}")
    if not is_ready(checks):
        faults = [check for check in checks if check.needed and check.state != OK]
        first = next((check for check in faults if check.state == MISSING), faults[0])
        names = ", ".join(check.name for check in faults)
        raise NotReady(f"Not ready: {names}.", first.fix)
    session.succeed()
