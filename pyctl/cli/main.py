# SPDX-License-Identifier: GPL-2.0-only
"""The command `pyctl`: finds the command asked for and translates errors, once.

Commands are imported only when they are used, so that `pyctl --help` costs
little more than click itself. This is the one place that turns an error into
a message and an exit status.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import click

from pyctl import __version__
from pyctl.cli.params import Session, drain, json_shape_of, tell
from pyctl.errors import INTERRUPTED, PyctlError, TargetLost, UsageError

if TYPE_CHECKING:
    from pyctl.target.system import System

COMMANDS = {
    "doctor": ("pyctl.cli.doctor", "doctor", "Check each prerequisite and say how to fix it."),
    "build": ("pyctl.cli.build", "build", "Build the two kernel modules."),
    "load": ("pyctl.cli.load", "load", "Load the test module and, where needed, our provider."),
    "unload": ("pyctl.cli.unload", "unload", "Unload the two kernel modules."),
    "status": ("pyctl.cli.status", "status", "Show the modules, the provider and its counters."),
    "attributes": ("pyctl.cli.attributes", "attributes", "Ask firmware what it offers."),
    "regions": ("pyctl.cli.regions", "regions", "List physical ranges, safe to target or not."),
    "invalidate": ("pyctl.cli.invalidate", "invalidate", "Clean and invalidate a range."),
    "conformance": (
        "pyctl.cli.conformance",
        "conformance",
        "Check what firmware does, rule by rule.",
    ),
    "coherency": (
        "pyctl.cli.coherency",
        "coherency",
        "Prove that clean+invalidate does it, line by line.",
    ),
    "report": ("pyctl.cli.gather", "report", "Gather this board's state for a bug report."),
    "watch": (
        "pyctl.cli.watch",
        "watch",
        "Show every call of the kernel's own callers, and what became of it.",
    ),
    "fault": ("pyctl.cli.fault", "fault", "Make the virtual board's firmware misbehave."),
    "lab": ("pyctl.cli.lab", "lab", "Run a fleet of boards every night, and report on it."),
    "vm": ("pyctl.cli.vm", "vm", "Run commands on a virtual arm64 board."),
}
"""Name -> module, attribute, short help (equal to the command's own: a test compares them)."""


class LazyGroup(click.Group):
    """A group that imports a command when it is invoked, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a first use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _help = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done; 1 the operation or a check failed; 2 bad usage; 3 not ready; "
    "4 target lost; 130 interrupted.",
)
@click.version_option(__version__, prog_name="pyctl")
def cli() -> None:
    """Exercise the SMCCC cache clean+invalidate call, from the shell to the firmware.

    \b
    Examples:
      pyctl doctor
      pyctl load && pyctl attributes
      pyctl regions
      pyctl invalidate --addr 0x5f000000 --size 64K
      pyctl vm run -- pyctl regions
    """


def main(arguments: Sequence[str] | None = None, system: System | None = None) -> int:
    """Run one command line; gives the exit status. ``system`` is another machine, for tests."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    session = Session(system)
    status = 0
    _plug_holes()
    try:
        try:
            status = _run(words, session)
        except KeyboardInterrupt as interrupt:
            status = _fail(session, str(interrupt) or "Interrupted.", "", INTERRUPTED)
        session.print_answer()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        drain(sys.stdout)
        status = 1
    except OSError as error:
        drain(sys.stdout)
        tell(f"pyctl: The answer could not be written: {error.strerror}.")
        status = status or 1
    return status


def _plug_holes() -> None:
    """Open what the caller has closed, before a file of ours takes its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _run(words: list[str], session: Session) -> int:
    """Invoke the command and turn whatever it raises into a status; one entry per kind."""
    try:
        result = cli.main(
            words,
            prog_name="pyctl",
            standalone_mode=False,
            obj=session,
            terminal_width=_help_width(),
        )
    except click.Abort as abort:
        raise KeyboardInterrupt(*getattr(abort.__cause__, "args", ())) from None
    except click.ClickException as error:
        return _usage_failure(error, words, session)
    except TargetLost as error:
        if error.console:
            tell(f"Last lines of the console:\n{error.console.rstrip()}")
        return _fail(session, error.message, error.hint, error.exit_status)
    except PyctlError as error:
        return _fail(session, error.message, error.hint, error.exit_status)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise BrokenPipeError from None
        where = f" ({error.filename})" if error.filename else ""
        return _fail(session, f"The system refused: {error.strerror}{where}.", "", 1)
    # click gives the status of --help and --version, else what the command returned.
    return result if isinstance(result, int) else 0


def _help_width() -> int:
    """Columns for help, as click itself chooses them, without the import of shutil."""
    try:
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    except (OSError, ValueError):
        columns = 80
    return max(min(columns, 80) - 2, 50)


def _usage_failure(error: click.ClickException, words: list[str], session: Session) -> int:
    """A complaint of click's, with the exit status of bad usage."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    ours = words[: words.index("--")] if "--" in words else words
    if "--json" in ours and context:
        # click stopped before it came to --json, but the caller waits for an object.
        session.expect_json(json_shape_of(context.command))
    hint = f"See `{context.command_path} --help`." if context else ""
    return _fail(session, error.format_message(), hint, UsageError.exit_status)


def _fail(session: Session, message: str, hint: str, status: int) -> int:
    """Tell the person, and put it into the answer where one was asked for."""
    tell(f"pyctl: {message}")
    if hint:
        tell(f"       {hint}")
    session.fail(message, hint)
    return status
