# SPDX-License-Identifier: GPL-2.0-only
"""Callers that are bound to CPUs: one on each CPU in turn, and several at once.

They are processes rather than threads: firmware may keep one for ever, and then
it must be possible to give it up.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Sequence
from functools import partial

from pyctl.coherency.cases import MIN_LINES, PARITIES, CaseResult, hash_of
from pyctl.coherency.lines import Count
from pyctl.coherency.stage import Invalidate, Stage
from pyctl.errors import OperationFailed
from pyctl.ranges import Range
from pyctl.target.bounded import Child, finish, waiting_beside
from pyctl.target.observers import Observer

READY_TIMEOUT_S = 60.0
_LOOK_S = 0.1
"""Between two looks at whether somebody who is waited for has died."""


class Gate:
    """Holds children until all have come to it, and lets them go at the same time."""

    def __init__(self) -> None:
        self._arrived = 0
        self._arrivals = os.eventfd(0)
        self._passes = os.eventfd(0, os.EFD_SEMAPHORE)

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._arrivals)
        os.close(self._passes)

    def go_through(self) -> None:
        """In a child: wait for the others."""
        os.eventfd_write(self._arrivals, 1)
        os.eventfd_read(self._passes)

    def wait_for(self, children: Sequence[Child[None]], timeout_s: float) -> None:
        """In the parent: wait for all ``children`` to come to the gate.

        Raises OperationFailed where that takes too long, and what a child raised before it
        came to the gate.
        """
        deadline = time.monotonic() + timeout_s
        while self._arrived < len(children):
            ready, _, _ = select.select([self._arrivals], [], [], _LOOK_S)
            self._arrived += os.eventfd_read(self._arrivals) if ready else 0
            for child in children:
                if child.wait(0):
                    child.result()
            if time.monotonic() > deadline:
                raise OperationFailed(
                    f"A caller did not get ready within {timeout_s:g} s.",
                    "Is this machine very busy? Try fewer callers.",
                )

    def open(self) -> None:
        """In the parent: let through who is there."""
        os.eventfd_write(self._passes, self._arrived)


def cpu_cases(request: Range) -> dict[int, CaseResult]:
    """A case for each CPU that we may use, not yet tried; all are about the same range."""
    cpus = sorted(os.sched_getaffinity(0))
    return {cpu: CaseResult(f"a call from CPU {cpu}", request) for cpu in cpus}


def run_from_cpu(
    result: CaseResult,
    observer: Observer,
    window: Range,
    cpu: int,
    invalidate: Invalidate,
    timeout_s: float,
) -> None:
    """One case with the call made from one CPU, the lines' roles one way and the other."""
    for parity in PARITIES:
        stage = Stage(observer, result.request, window, parity, hash_of(result.name) + parity)
        stage.prepare()
        for count in _at_once({cpu: [stage]}, invalidate, timeout_s):
            result.count.add(count)


def callers_case(window: Range, callers: int) -> CaseResult:
    """The case, not yet tried."""
    return CaseResult(f"{callers} callers at once", window)


def run_callers(
    result: CaseResult,
    observer: Observer,
    callers: int,
    edge: int,
    invalidate: Invalidate,
    timeout_s: float,
) -> None:
    """Each caller stores, and asks for its part at the same time as the others.

    ``edge`` bytes at either end of each part are left to be watched.
    """
    window = result.request
    parts = _parts(window, observer.line_size, callers)
    if callers < 2 or parts is None or parts[0].size < 3 * edge:
        result.skipped = "there is one caller only" if callers < 2 else "the window is too small"
        return
    for parity in PARITIES:
        stages = [
            Stage(
                observer,
                Range(part.addr + edge, part.end - edge),
                part,
                parity,
                hash_of(result.name) + index,
            )
            for index, part in enumerate(parts)
        ]
        # One preparation for all: on the model it starts everything anew.
        old = bytearray(window.size)
        for stage in stages:
            start = stage.area.addr - window.addr
            old[start : start + stage.area.size] = stage.patterns.old
        observer.prepare(window.addr, bytes(old))
        for count in _at_once(_spread(stages), invalidate, timeout_s):
            result.count.add(count)


def _spread(stages: Sequence[Stage]) -> dict[int, list[Stage]]:
    """Give each stage a CPU, the last CPUs first."""
    cpus = sorted(os.sched_getaffinity(0), reverse=True)
    places: dict[int, list[Stage]] = {}
    for index, stage in enumerate(stages):
        places.setdefault(cpus[index % len(cpus)], []).append(stage)
    return places


def _parts(window: Range, line_size: int, callers: int) -> list[Range] | None:
    size = window.size // callers // line_size * line_size
    if size < MIN_LINES * line_size:
        return None
    starts = range(window.addr, window.addr + callers * size, size)
    return [Range(start, start + size) for start in starts]


def _at_once(
    places: dict[int, list[Stage]], invalidate: Invalidate, timeout_s: float
) -> list[Count]:
    """Have each stage run on its CPU, all calls at the same time; stages must be prepared."""
    work = [(cpu, stage) for cpu, stages in places.items() for stage in stages]
    with contextlib.ExitStack() as stack:
        stack.enter_context(waiting_beside(places))
        gate = stack.enter_context(Gate())

        def job(stage: Stage) -> None:
            stage.store()
            gate.go_through()
            invalidate(stage.request)

        callers: list[Child[None]] = []
        for cpu, stage in work:
            callers.append(stack.enter_context(Child(partial(job, stage), {cpu})))
            # Only the calls are to meet: where CPUs are emulated, stores at the same time
            # wait for each other far longer than one after the other.
            gate.wait_for(callers, READY_TIMEOUT_S)
        gate.open()
        finish(callers, timeout_s)
        return [stage.verify() for _cpu, stage in work]
