# SPDX-License-Identifier: GPL-2.0-only
"""The under-flush race, every time: a request that an older operation cannot cover.

One call is held inside firmware after its operation. Then the CPU and a device
store to the same lines, and a second caller asks for them. Its request is only
covered by an operation that started after it; whoever merges it with the first,
in the kernel or in firmware, leaves stale lines behind.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pyctl.coherency.cases import PARITIES, CaseResult
from pyctl.coherency.stage import Stage
from pyctl.errors import OperationFailed, UsageError
from pyctl.firmware.client import Faults
from pyctl.firmware.faults import parse_faults
from pyctl.numbers import errno_name
from pyctl.ranges import Range
from pyctl.target.answers import Request
from pyctl.target.bounded import Child, finish, waiting_beside
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
_END_TIMEOUT_S = 60.0
_BUSY = ("EBUSY", "EAGAIN")
_AGAIN_S = 0.05
_AGAIN_TIMEOUT_S = 30.0


def race_case(observer: Observer, window: Range, via: str, page_size: int) -> CaseResult:
    """The case, not yet tried: both calls ``via`` the kernel (memregion), or directly (smccc).

    It asks for whole pages, where the window has any: firmware may take no others.
    """
    size = min(max(LINES * observer.line_size, page_size), window.size)
    request = Range(window.addr, window.addr + size)
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
    stub, debugfs = observer.stub, observer.debugfs
    # The kernel cannot take us off a CPU that is held.
    with contextlib.ExitStack() as stack:
        stack.enter_context(waiting_beside(cpus[1:]))
        slots = Faults(stub).add(parse_faults(f"hold:{HOLD_US}@next=1@cpu={cpus[-1]}"))
        try:
            since = stub.get("log_total")
            first = stack.enter_context(_caller(debugfs, request, cpus[-1]))
            _wait(lambda: stub.get("log_total") > since or first.wait(0), _REACH_TIMEOUT_S)
            if stub.get("log_total") == since:
                raise OperationFailed(_not_reached(first))
            stage.store()
            second = stack.enter_context(_caller(debugfs, request, cpus[-2]))
            # In firmware, asleep on a lock, or back already: it has asked.
            asked = _has_asked(second)
            _wait(lambda: stub.get("log_total") > since + 1 or next(asked), _ASK_TIMEOUT_S)
        finally:
            Faults(stub).clear(slots)
        _first, refusal = finish([first, second], _END_TIMEOUT_S)
        if refusal in _BUSY:
            # Firmware may refuse a call while another is inside; then nothing is promised.
            again = stack.enter_context(_caller(debugfs, request, cpus[0], _AGAIN_TIMEOUT_S))
            if failure := finish([again], _END_TIMEOUT_S)[0]:
                raise OperationFailed(f"The call failed with {failure} when nobody was inside.")


def _caller(
    debugfs: Debugfs, request: Request, cpu: int, patience_s: float = 0
) -> Child[str | None]:
    """A process that makes a call from one CPU; its errno's name, or None for success.

    What is refused for now is asked for again within ``patience_s``.
    """

    def call() -> str | None:
        deadline = time.monotonic() + patience_s
        while True:
            name = errno_name(debugfs.invalidate_unbounded(request).errno)
            if name not in _BUSY or time.monotonic() > deadline:
                return name
            time.sleep(_AGAIN_S)

    return Child(call, {cpu})


def _not_reached(caller: Child[str | None]) -> str:
    """Why a call has not come to firmware."""
    if not caller.wait(0):
        return "The first call did not reach firmware."
    name = caller.result()
    if name == "EOPNOTSUPP":
        return (
            "EOPNOTSUPP: The call was not made, since firmware does not offer it now: it does not "
            "announce both functions, or gives no attributes."
        )
    return f"The first call ended with {name or 'success'} and did not reach firmware."


def _has_asked(caller: Child[str | None]) -> Iterator[bool]:
    """Whether a call has come back, or sleeps for a lock (asked a few times over)."""
    asleep = 0
    while True:
        try:
            state = Path(f"/proc/{caller.pid}/stat").read_text().rpartition(") ")[2][0]
        except OSError:
            state = "Z"
        asleep = asleep + 1 if state == "D" else 0
        yield state == "Z" or asleep >= _ASLEEP_POLLS


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
