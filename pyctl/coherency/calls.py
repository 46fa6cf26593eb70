# SPDX-License-Identifier: GPL-2.0-only
"""How a case makes its call: until firmware has done it, or has said that it does not.

BUSY and RATE_LIMITED are no results. A call that meets them is made again, for as long
as what firmware states of itself allows it to stay so.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

from pyctl.errors import OperationFailed
from pyctl.ranges import Range
from pyctl.target.answers import Discovery, Info, Request
from pyctl.target.debugfs import Debugfs
from pyctl.target.invalidate import Result, run
from pyctl.target.provider import Provider
from pyctl.target.scratch import Scratch

PATIENCE_S = 5.0
"""For firmware that states neither a latency nor a rate."""
PATIENCE_CALLS = 8
"""Calls of others, each as slow and as far apart as firmware states, that may be before ours."""
_FIRST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.5
_AGAIN = (errno.EBUSY, errno.EAGAIN)


class Refused(OperationFailed):
    """INVALID_PARAMETER for a range not of whole pages, which the specification leaves open."""


class Calls:
    """The two ways in which the kernel's call is made; either raises what came instead."""

    def __init__(self, debugfs: Debugfs, info: Info, scratch: Scratch | None, timeout_s: float):
        self.debugfs, self.info = debugfs, info
        self.scratch, self.timeout_s = scratch, timeout_s
        self._is_patient = True

    def bounded(self, request: Range) -> None:
        """In a child that is given up on after a time."""
        asked = Request(request.addr, request.size)
        self._settle(lambda: run(self.debugfs, asked, self.info, self.timeout_s))

    def unbounded(self, request: Range) -> None:
        """In this process, from the CPU that it is on."""
        asked = Request(request.addr, request.size)

        def once() -> Result:
            record = self.debugfs.invalidate_unbounded(asked)
            return Result(asked, record, Provider(), None, False, False)

        self._settle(once)

    def _settle(self, once: Callable[[], Result]) -> None:
        """Make the call until it is done.

        Patience that was lost once is not had again: there are many cases.
        """
        started, wait_s = time.monotonic(), _FIRST_WAIT_S
        while failure := self._failure(result := once()):
            waited_s = time.monotonic() - started
            if result.errno not in _AGAIN or not self._is_patient:
                raise failure
            if waited_s > self._patience_s:
                self._is_patient = False
                raise OperationFailed(
                    f"{failure.message} It was so for {waited_s:.1f} s.", failure.hint
                )
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    @property
    def _patience_s(self) -> float:
        return min(self.timeout_s, patience_s(self.debugfs.discovery()))

    def _failure(self, result: Result) -> OperationFailed | None:
        if result.interrupted and result.is_partial:
            raise KeyboardInterrupt
        if damage := self.scratch.damage() if self.scratch else None:
            raise damage
        failure = result.failure()
        if failure is None or isinstance(failure, OperationFailed):
            asked = result.request
            if failure and result.errno == errno.EINVAL and not self.is_of_pages(asked):
                return Refused(failure.message, failure.hint)
            return failure
        raise failure

    def is_of_pages(self, asked: Request) -> bool:
        """Whether base and length are multiples of the page size."""
        return not (asked.addr | asked.size) & (self.info.page_size - 1)


def patience_s(stated: Discovery) -> float:
    """How long firmware may answer BUSY and RATE_LIMITED, by what it states of itself."""
    one_s = (stated.latency_us or 0) / 1e6
    if stated.rate_per_s:
        one_s += 1 / stated.rate_per_s
    return PATIENCE_S + PATIENCE_CALLS * one_s
