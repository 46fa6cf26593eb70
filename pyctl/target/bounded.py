# SPDX-License-Identifier: GPL-2.0-only
"""Runs one system call that may never return, in a process that can be given up on.

A request to the module ends up in firmware, and firmware may not come back.
The call is therefore made in a forked child. A signal makes the module stop
between two calls and report what it has done so far; where even that brings
nothing the child is left to its fate and the target counts as lost.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NoReturn

from pyctl.errors import OperationFailed, TargetLost

GRACE_S = 5.0
"""How long a call that was told to stop may take until the target counts as lost."""
_NUDGE_S = 0.1
"""Between two signals: one that arrives just before the system call stops nothing."""
_PATIENCE = 2
"""More presses of Ctrl-C than this mean: do not wait for the call any longer."""
_REAP_S = 1.0
"""How long a child that was killed may take to end before it counts as stuck."""
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_ERROR = b"E"
_ANSWER = b"A"


@dataclass(frozen=True)
class Outcome:
    """What the child brought back, and why it was told to stop, if it was."""

    data: bytes
    timed_out: bool = False
    interrupted: bool = False


def run_bounded(
    job: Callable[[], bytes],
    timeout_s: float,
    grace_s: float = GRACE_S,
    cpus: Collection[int] = (),
) -> Outcome:
    """Run ``job`` in a child for at most ``timeout_s`` seconds and return what it returned.

    ``cpus`` are those that the job binds its calls to. Firmware that does not return takes
    a CPU with it, and the timers of whoever waits there: we wait on another one.

    After the timeout or a Ctrl-C the child gets signals until the job returns.
    Raises what the job raised as OSError, TargetLost when nothing comes back
    within ``grace_s`` of the first signal, OperationFailed if the child dies.
    """
    interrupts: list[int] = []
    # Before the fork: the child then has it too, and no Ctrl-C can end either of them.
    previous = signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    receiver, sender = os.pipe()
    parent = os.getpid()
    allowed = os.sched_getaffinity(0)
    ours = min(allowed - set(cpus) or allowed)
    child = os.fork()
    if child == 0:
        _child(job, sender, parent, allowed - {ours})
    os.close(sender)
    try:
        os.sched_setaffinity(0, {ours})
        data, timed_out = _supervise(child, receiver, interrupts, timeout_s, grace_s)
    finally:
        os.close(receiver)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _reap(child)
        os.sched_setaffinity(0, allowed)
        signal.signal(signal.SIGINT, previous)
    return Outcome(_unpack(data), timed_out, bool(interrupts))


def _child(job: Callable[[], bytes], sender: int, parent: int, cpus: set[int]) -> NoReturn:
    """Do the job and send what came of it; never return into the caller's code."""
    status = 1
    try:
        # A parent that is killed must not leave its request running.
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if cpus:
            os.sched_setaffinity(0, cpus)
        if os.getppid() == parent:
            _send(sender, _ANSWER + job())
            status = 0
    except OSError as error:
        _send(sender, _ERROR + f"{error.errno}".encode())
        status = 0
    finally:
        os._exit(status)


def _send(sender: int, data: bytes) -> None:
    while data:
        data = data[os.write(sender, data) :]


def _supervise(
    child: int, receiver: int, interrupts: list[int], timeout_s: float, grace_s: float
) -> tuple[bytes, bool]:
    """Collect what the child sends; on timeout or Ctrl-C signal it until it answers.

    Gives the data and whether the time ran out.
    """
    data = bytearray()
    deadline = time.monotonic() + timeout_s
    stopped_at: float | None = None
    timed_out = False
    while not _receive(receiver, data):
        now = time.monotonic()
        if stopped_at is None and (interrupts or now > deadline):
            stopped_at, timed_out = now, not interrupts
        if stopped_at is None:
            continue
        if now > stopped_at + grace_s or len(interrupts) > _PATIENCE:
            raise TargetLost(
                f"The call never came back: it was {'given up' if timed_out else 'interrupted'}"
                f", and {now - stopped_at:.1f} s after the signal to stop there is no answer.",
                "Firmware seems to hold a CPU: reset the target.",
            )
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGINT)
    return bytes(data), timed_out


def _receive(receiver: int, data: bytearray) -> bool:
    """Add what the child sends within a moment to ``data``; True once it has sent everything."""
    if not select.select([receiver], [], [], _NUDGE_S)[0]:
        return False
    part = os.read(receiver, 65536)
    data += part
    return not part


def _unpack(data: bytes) -> bytes:
    if data.startswith(_ERROR):
        number = int(data[1:])
        raise OSError(number, os.strerror(number))
    if not data.startswith(_ANSWER):
        raise OperationFailed(
            "The process that made the call died before it could say what happened.",
            "See the kernel log (`dmesg`).",
        )
    return data[1:]


def _reap(child: int) -> None:
    """Collect the child if it is gone; one that is stuck in firmware cannot be waited for."""
    end = os.pidfd_open(child)
    try:
        if select.select([end], [], [], _REAP_S)[0]:
            os.waitpid(child, 0)
    finally:
        os.close(end)
