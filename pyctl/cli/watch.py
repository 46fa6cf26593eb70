# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl watch`: every call of the kernel's own callers, and what became of it."""

from __future__ import annotations

import json as text_of
from typing import TYPE_CHECKING, Any

import click

from pyctl.cli.params import Session, json_option, pass_session
from pyctl.errors import OperationFailed, UsageError

if TYPE_CHECKING:
    from pyctl.watch.calls import KernelCall
    from pyctl.watch.run import Summary

SHAPE: dict[str, Any] = {
    "kind": "summary",
    "calls": 0,
    "failed": 0,
    "unanswered": 0,
    "swallowed": 0,
    "open": 0,
    "lost": 0,
    "status": None,
}


@click.command(short_help="Show every call of the kernel's own callers, and what became of it.")
@click.option(
    "--fail-on-swallowed",
    is_flag=True,
    help="Exit with 1 where the command said success and a call had failed.",
)
@json_option(SHAPE)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_session
def watch(session: Session, fail_on_swallowed: bool, command: tuple[str, ...]) -> int:
    """Show every call that CXL, NVDIMM or others in the kernel make, and what became of it.

    Each has its time, process, caller, range, result and duration. COMMAND is run meanwhile,
    and its exit status is ours; without one, Ctrl-C ends the watch. A call is swallowed if it
    failed, or nobody answered it, and the command's exit status is 0 all the same. Uses
    kprobes and tracefs, and needs none of our modules where the kernel has a provider.

    With a command the calls are told on standard error. With --json each call is an object
    on a line of standard output, and so is the summary that follows; what the command prints
    then goes to standard error.

    \b
    Examples:
      pyctl watch
      pyctl watch -- ndctl disable-region region0
      pyctl watch --json --fail-on-swallowed -- sh -c 'echo 0 > commit'
    """
    from pyctl.watch.run import watch as watch_calls

    if fail_on_swallowed and not command:
        raise UsageError("--fail-on-swallowed needs a command.", "Give one after '--'.")

    def tell(call: KernelCall) -> None:
        if session.json:
            click.echo(text_of.dumps(call.as_json()))
        elif command:
            session.note(str(call))
        else:
            session.say(str(call))

    summary = watch_calls(session.system, command, session.json, tell, session.note)
    session.answer.update(summary.as_json())
    session.note(f"pyctl watch: {_told(summary)}")
    if summary.ok:
        session.succeed()
    if command and summary.status is None:
        raise KeyboardInterrupt("Interrupted; the command was left running.")
    if fail_on_swallowed and summary.status == 0 and (summary.swallowed or not summary.is_whole):
        raise OperationFailed(
            "The command said success, but calls had failed."
            if summary.swallowed
            else "The command said success, but whether calls had failed is not known: some were "
            "not seen.",
            "See the calls that are marked above.",
        )
    return summary.status or 0


def _told(summary: Summary) -> str:
    """The summary for people."""
    words = [f"calls {summary.calls}", f"failed {summary.failed}"]
    if summary.unanswered:
        words.append(f"answered by nobody {summary.unanswered}")
    words.append(f"swallowed {summary.swallowed}")
    if summary.open:
        words.append(f"not seen to return {summary.open}")
    if summary.lost:
        words.append(f"LOST {summary.lost} events, so calls may be missing")
    return ", ".join(words)
