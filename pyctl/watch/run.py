# SPDX-License-Identifier: GPL-2.0-only
"""Watching: read the trace while a command runs, or until somebody has seen enough."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pyctl.errors import UsageError
from pyctl.target.system import System
from pyctl.target.tracefs import Tracing
from pyctl.watch.calls import Assembler, KernelCall
from pyctl.watch.probes import Probes

_READ_BYTES = 1 << 16
_LOOK_S = 0.1
"""How often it is looked whether the command has ended; calls are seen at once."""
_PATIENCE = 2
"""More presses of Ctrl-C than this mean: do not wait for the command any longer."""


@dataclass
class Summary:
    """What a watch has seen."""

    calls: int = 0
    failed: int = 0
    """Calls that a provider was asked for and that it did not do."""
    unanswered: int = 0
    """Calls that no provider was seen to be asked for."""
    swallowed: int = 0
    """Of these two, those whose operation said success."""
    open: int = 0
    """Calls of which no return was seen."""
    lost: int = 0
    """Events that could not be recorded, so that calls may be missing."""
    status: int | None = None
    """The command's exit status, 128 and more for a signal; None while it runs or for none."""

    def add(self, call: KernelCall) -> None:
        """Count a call."""
        self.calls += 1
        self.unanswered += not call.answered
        self.failed += bool(call.answered) and not (call.ok or call.is_open)
        self.open += call.is_open
        self.swallowed += bool(call.swallowed)

    @property
    def ok(self) -> bool:
        """Whether all was seen, and nothing of it was amiss."""
        return self.is_whole and not (self.failed or self.unanswered or self.status)

    @property
    def is_whole(self) -> bool:
        """Whether all was seen."""
        return not (self.lost or self.open)

    def as_json(self) -> dict[str, object]:
        """The last line of ``pyctl watch --json``, the errors excepted."""
        return {
            "calls": self.calls,
            "failed": self.failed,
            "unanswered": self.unanswered,
            "swallowed": self.swallowed,
            "open": self.open,
            "lost": self.lost,
            "status": self.status,
        }


def watch(
    system: System,
    command: Sequence[str],
    to_stderr: bool,
    tell: Callable[[KernelCall], None],
    note: Callable[[str], None],
) -> Summary:
    """Watch while ``command`` runs, or until a Ctrl-C or a polite kill where it is empty.

    A polite kill, or a third Ctrl-C, ends the watch of a command that runs on.

    ``tell`` gets each call as soon as all is known of it. Of one that failed, or that nobody
    answered, that is when the command has ended: it is swallowed if the exit status is 0.
    ``note`` gets sentences about what cannot be seen. What the command prints goes
    ``to_stderr``, or where ours does. Raises NotReady where the kernel does not trace, and
    UsageError where there is no such command.
    """
    summary = Summary()
    held: list[KernelCall] = []

    def take(calls: Iterable[KernelCall]) -> None:
        for call in calls:
            if command and not call.ok:
                held.append(call)
            else:
                summary.add(call)
                tell(call)

    with Tracing(system) as tracing:
        probes = Probes.plant(tracing)
        for text in probes.notes:
            note(text)
        assembler = Assembler(probes)
        with _noting_ends() as ends, os.fdopen(tracing.start(), "rb", 0) as pipe:
            process = _start(command, to_stderr) if command else None
            for line in _lines(pipe.fileno(), lambda: _is_over(process, ends), tracing.stop):
                take(assembler.feed(line))
            take(assembler.rest())
            summary.lost = assembler.lost + tracing.missed()
    if process and (status := process.poll()) is not None:
        summary.status = status if status >= 0 else 128 - status
    for call in held:
        is_known = summary.status is not None and not call.is_open
        call = replace(call, swallowed=summary.status == 0 if is_known else None)
        summary.add(call)
        tell(call)
    return summary


def _start(command: Sequence[str], to_stderr: bool) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, stdout=sys.stderr.fileno() if to_stderr else None)
    except OSError as error:
        raise UsageError(
            f"The command {command[0]} cannot be run: {error.strerror}.",
            "Give a program and its arguments after '--'.",
        ) from None


def _is_over(process: subprocess.Popen[bytes] | None, ends: list[int]) -> bool:
    """Whether there is nothing more to wait for."""
    if process is None:
        return bool(ends)
    # The first presses are the command's to handle; whoever goes on means us.
    return process.poll() is not None or len(ends) > _PATIENCE or signal.SIGTERM in ends


def _lines(pipe: int, is_over: Callable[[], bool], stop: Callable[[], None]) -> Iterator[str]:
    """The lines of a trace until it is over, and then what is left in it."""
    begun = ""
    is_last = False
    while not is_last:
        if is_over():
            stop()
            is_last = True
        else:
            select.select([pipe], [], [], _LOOK_S)
        with contextlib.suppress(BlockingIOError):
            while data := os.read(pipe, _READ_BYTES):
                *lines, begun = (begun + data.decode(errors="replace")).split("\n")
                yield from lines


@contextlib.contextmanager
def _noting_ends() -> Iterator[list[int]]:
    """Collect signals that ask us to end, instead of being ended by one."""
    ends: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(kind, lambda number, _frame: ends.append(number)) for kind in kinds]
    try:
        yield ends
    finally:
        for kind, handler in zip(kinds, previous, strict=True):
            signal.signal(kind, handler)
