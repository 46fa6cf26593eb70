# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl unload`: the modules out of the kernel, provider first."""

from __future__ import annotations

import click

from pyctl.cli.params import Session, json_option, pass_session

_WORDS = {"unloaded": "unloaded", "absent": "was not loaded"}


@click.command(short_help="Unload the two kernel modules.")
@json_option({"modules": []})
@pass_session
def unload(session: Session) -> None:
    """Unload smccc_cache and memregion_test; a module that is not loaded is no error.

    \b
    Example:
      pyctl unload
    """
    from pyctl.target.kmod import unload as unload_modules

    changes = unload_modules(session.system)
    session.answer["modules"] = [change.as_json() for change in changes]
    for change in changes:
        session.say(f"{change.name:14}  {_WORDS[change.action]}")
    session.succeed()
