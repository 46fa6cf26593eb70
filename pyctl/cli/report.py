# SPDX-License-Identifier: GPL-2.0-only
"""Results for a tired person: what broke comes first, and something moves until then.

Colours only mark what the words say anyway; they are for terminals, and not for those
who have set NO_COLOR. Progress is one line on standard error, where that is a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import click

from pyctl.cli.params import Session

GOOD, BAD, ASK, REST = "green", "red", "yellow", "bright_black"
_CLEAR_LINE = "\r\033[K"


def section(session: Session, title: str, colour: str, lines: Iterable[str]) -> None:
    """A heading and what stands below it; nothing at all where that is nothing."""
    lines = list(lines)
    if lines:
        session.say(coloured(title, colour))
        for line in lines:
            session.say(f"  {line}")
        session.say()


def coloured(text: str, colour: str) -> str:
    """The text as a terminal shows it in bold and in ``colour``; see no-color.org."""
    # click takes colours out again where output is no terminal.
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=colour, bold=True)


def progress(text: str) -> None:
    """Show what is at work, in place of what was; empty text ends it."""
    if sys.stderr.isatty():
        click.echo(_CLEAR_LINE + text, nl=False, err=True)
