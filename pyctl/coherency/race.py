# SPDX-License-Identifier: GPL-2.0-only
"""The under-flush race, every time: a request that an older operation cannot cover.

One call is held inside firmware after its operation. Then the CPU and a device
store to the same lines, and a second caller asks for them. Its request is only
covered by an operation that started after it; whoever merges it with the first,
in the kernel or in firmware, leaves stale lines behind.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from pyctl.coherency.cases import PARITIES, CaseResult
from pyctl.coherency.stage import Stage
from pyctl.errors import OperationFailed, PyctlError, TargetLost, UsageError
from pyctl.firmware.client import Faults
from pyctl.firmware.faults import parse_faults
from pyctl.numbers import errno_name
from pyctl.ranges import Range
from pyctl.target.answers import Request
from pyctl.target.debugfs import Debugfs
from pyctl.target.observers import ModelObserver, Observer

# Far more than the second caller needs to ask, and less than what makes the
# kernel complain about the CPU that it does not hear of.
HOLD_US = 6_000_000
LINES = 8
_POLL_S = 0.005
_ASLEEP_POLLS = 3
_REACH_TIMEOUT_S = 30.0
_ASK_TIMEOUT_S = 3.0
_JOIN_TIMEOUT_S = 60.0
_BUSY = ("EBUSY", "EAGAIN")


def race_case(observer: Observer, window: Range, via: str) -> CaseResult:
    """The case, not yet tried: both calls ``via`` the kernel (memregion), or directly (smccc)."""
    request = Range(window.addr, window.addr + LINES * observer.line_size)
    return CaseResult(f"under-flush race via {via}", request)


def run_race(result: CaseResult, observer: ModelObserver, window: Range, via: str) -> None:
    """Try it, with the lines' roles one way and then the other."""
    request = result.request
    cpus = sorted(os.sched_getaffinity(0))
    needed = 2 if via == "memregion" else 3
    if len(cpus) < needed:
        result.skipped = f"it takes {needed} CPUs: some are held, others must go on"
        return
    for parity in PARITIES:
        stage = Stage(observer, request, window, parity, seed=parity)
        try:
            _try_once(observer, stage, Request(request.addr, request.size, via), cpus)
        except UsageError as error:
            result.skipped = f"no call can be held: {error.message}"
            return
        result.count.add(stage.verify())


def _try_once(observer: ModelObserver, stage: Stage, request: Request, cpus: list[int]) -> None:
    stage.prepare()
    with _keep_to(cpus[0]):
        slots = Faults(observer.stub).add(parse_faults(f"hold:{HOLD_US}@next=1@cpu={cpus[-1]}"))
        try:
            since = observer.stub.get("log_total")
            first = _Caller(observer.debugfs, request, cpus[-1])
            if not _wait(lambda: _inside(observer, since) == 1, _REACH_TIMEOUT_S):
                raise OperationFailed("The first call did not reach firmware.")
            stage.store()
            second = _Caller(observer.debugfs, request, cpus[-2])
            # In firmware, asleep on a lock, or back already: it has asked.
            _wait(lambda: _inside(observer, since) > 1 or second.waits_or_is_back(), _ASK_TIMEOUT_S)
        finally:
            Faults(observer.stub).clear(slots)
        first.finish()
        if second.finish() in _BUSY:
            # Firmware may refuse a call while another is inside; then nothing is promised.
            again = _Caller(observer.debugfs, request, cpus[0])
            if failure := again.finish():
                raise OperationFailed(f"The call failed with {failure} when nobody was inside.")


def _inside(observer: ModelObserver, since: int) -> int:
    """Calls that firmware has not returned from, of those after call number ``since``."""
    return sum(call.left_ns is None for call in observer.stub.log(since))


class _Caller:
    """A process that makes one call from one CPU."""

    def __init__(self, debugfs: Debugfs, request: Request, cpu: int) -> None:
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._asleep = 0
        self._process = context.Process(target=_call, args=(debugfs, request, cpu, sender))
        self._process.start()
        sender.close()

    def waits_or_is_back(self) -> bool:
        """Whether the call has come back, or sleeps for a lock (asked a few times over)."""
        try:
            state = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2][0]
        except OSError:
            return True
        self._asleep = self._asleep + 1 if state == "D" else 0
        return state == "Z" or self._asleep >= _ASLEEP_POLLS

    def finish(self) -> str | None:
        """Wait for the call; its errno's name, or None for success."""
        if not self._receiver.poll(_JOIN_TIMEOUT_S):
            self._process.kill()
            raise TargetLost(
                f"A call did not come back within {_JOIN_TIMEOUT_S:g} s after it was let go.",
                "Firmware seems to hold a CPU: reset the target.",
            )
        answer: str | PyctlError | None = self._receiver.recv()
        self._process.join()
        if isinstance(answer, PyctlError):
            raise answer
        return answer


def _call(debugfs: Debugfs, request: Request, cpu: int, answer: Connection) -> None:
    os.sched_setaffinity(0, {cpu})
    try:
        answer.send(errno_name(debugfs.invalidate_unbounded(request).errno))
    except PyctlError as error:
        answer.send(error)


@contextlib.contextmanager
def _keep_to(cpu: int) -> Iterator[None]:
    """Stay off the CPU that will be held: the kernel cannot take us off it then."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
