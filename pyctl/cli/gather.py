# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl report`: what a maintainer asks of a board first, in one piece.

It runs other commands of pyctl and keeps what they print, so that it never says
anything else of a board than they do.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import re
from typing import Any

import click

from pyctl import __version__
from pyctl.cli.params import Session, json_option, pass_session
from pyctl.errors import INTERRUPTED, TargetLost
from pyctl.target.system import System

COMMANDS = ("doctor", "status", "attributes", "regions", "conformance")
CALLING = ("attributes", "conformance")
"""Those of them that call firmware."""
LIBRARIES = ("click", "psutil", "pyudev")


@click.command(short_help="Gather this board's state for a bug report.")
@click.option(
    "--no-calls", is_flag=True, help="Do not call firmware: no attributes and no conformance."
)
@json_option({"version": None, "date": None, "machine": None, "commands": [], "kernel_log": None})
@pass_session
def report(session: Session, no_calls: bool) -> None:
    """Gather this board's state for a bug report, and print it.

    That is what `pyctl doctor`, `status`, `attributes`, `regions` and `conformance` print,
    the versions of kernel, firmware, Python and libraries, and the kernel's log as far as it
    names the modules, SMCCC or PSCI. Serial numbers, addresses of the network and the kernel's
    command line are not in it; the names of this host and of the home directory are replaced.
    Exit status 0 whatever the board's state is, 4 if it was lost on the way.

    \b
    Examples:
      pyctl report > report.txt
      pyctl report --json --no-calls
    """
    from datetime import UTC, datetime

    from pyctl.target.kernel_log import our_lines

    date = datetime.now(UTC).isoformat(timespec="seconds")
    session.answer.update(version=__version__, date=date, machine=_machine(session.system))
    session.say(f"pyctl report, {date}")
    for key, value in session.answer["machine"].items():
        session.say(f"  {key}: {'not known' if value is None else value}")
    lost = ""
    for name in COMMANDS:
        if lost or (no_calls and name in CALLING):
            continue
        session.note(f"pyctl: {name}")
        result = _run(session, name)
        session.answer["commands"].append(result)
        session.say(f"\npyctl {name}: exit status {result['exit_status']}")
        session.say(_indented((result["printed"] or "") + result["said"]))
        if result["exit_status"] == TargetLost.exit_status:
            lost = name
    log = our_lines(session.system)
    session.answer["kernel_log"] = None if log is None else [_private(line) for line in log]
    session.say("\nkernel log")
    session.say(_indented(_private("\n".join(log or ["It cannot be read, or has nothing."]))))
    if lost:
        raise TargetLost(
            f"`pyctl {lost}` lost the target; no other command was run after that.",
            "What was gathered until then is in the report, and so is the kernel's log.",
        )
    session.succeed()


def _run(session: Session, name: str) -> dict[str, Any]:
    """Run a command as a shell would: its answer or text, what it said beside it, its status."""
    from pyctl.cli.main import main

    words = [name, *(["--json"] if session.json else [])]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words, session.system)
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    text = _private(out.getvalue())
    return {
        "command": f"pyctl {name}",
        "exit_status": status,
        "answer": json.loads(text) if session.json else None,
        "printed": None if session.json else text,
        "said": _private(err.getvalue()),
    }


def _machine(system: System) -> dict[str, Any]:
    """What this machine is, and the versions of all that takes part."""
    from importlib.metadata import PackageNotFoundError, version

    from pyctl.conformance.identity import of_machine

    def library(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    found: dict[str, Any] = {
        "pyctl": __version__,
        "kernel": system.release,
        "kernel_build": system.text("/proc/sys/kernel/version"),
        "architecture": system.machine,
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "cpus": system.text("/sys/devices/system/cpu/online"),
        "midr_el1": system.text("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1"),
        "tainted": system.text("/proc/sys/kernel/tainted"),
        "python": platform.python_version(),
    }
    return found | {name: library(name) for name in LIBRARIES} | of_machine(system)


def _private(text: str) -> str:
    """The text without the names of this host and of the user's home directory."""
    home = os.path.expanduser("~")
    if len(home) > 1:
        text = text.replace(home, "~")
    # A name as short as "a" would take half of the words with it.
    host = platform.node()
    return re.sub(rf"\b{re.escape(host)}\b", "HOST", text) if len(host) > 2 else text


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
