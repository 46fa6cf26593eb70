# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl load`: the modules into the kernel, both that are wanted or none."""

from __future__ import annotations

from pathlib import Path

import click

from pyctl.cli.params import Session, json_option, pass_session

SHAPE = {"modules": [], "provider": {"registered": None, "name": None}}
_WORDS = {"loaded": "loaded", "kept": "loaded already, same build"}


@click.command(short_help="Load the test module and, where needed, our provider.")
@click.option(
    "--provider",
    type=click.Choice(["auto", "ours", "none"]),
    default="auto",
    show_default=True,
    help="auto: load our provider where the kernel has the framework and no provider.",
)
@click.option("--raw", is_flag=True, help="Allow raw SMCCC calls through the test module.")
@click.option(
    "--modules",
    "directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Directory of the .ko files.  [default: PYCTL_MODULES, then what `pyctl build` made]",
)
@json_option(SHAPE)
@pass_session
def load(session: Session, provider: str, raw: bool, directory: Path | None) -> None:
    """Load memregion_test and, where the kernel has no provider, smccc_cache.

    If anything fails, and on Ctrl-C, what this command has loaded is unloaded again.

    \b
    Examples:
      pyctl load
      pyctl load --provider none
      pyctl load --raw --modules ./built
    """
    from pyctl.target.debugfs import Debugfs
    from pyctl.target.kmod import load as load_modules
    from pyctl.target.provider import find_provider

    changes = load_modules(session.system, provider, raw, directory)
    session.answer["modules"] = [change.as_json() for change in changes]
    for change in changes:
        session.say(f"{change.name:14}  {_WORDS[change.action]} ({change.path})")
    found = find_provider(session.system, Debugfs(session.system).info())
    session.answer["provider"] = found.as_json()
    session.say(f"{'provider':14}  {found}")
    session.succeed()
