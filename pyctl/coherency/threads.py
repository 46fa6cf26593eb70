# SPDX-License-Identifier: GPL-2.0-only
"""Callers that are bound to CPUs: one on each CPU in turn, and several at once.

They are processes rather than threads: firmware may keep one for ever, and then
it must be possible to give it up.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError

from pyctl.coherency.cases import MIN_LINES, PARITIES, CaseResult, hash_of
from pyctl.coherency.lines import Count
from pyctl.coherency.stage import Call, Stage
from pyctl.errors import OperationFailed, PyctlError, TargetLost
from pyctl.ranges import Range
from pyctl.target.observers import Observer

READY_TIMEOUT_S = 60.0
_Answer = Count | PyctlError


def cpu_cases(request: Range) -> dict[int, CaseResult]:
    """A case for each CPU that we may use, not yet tried; all are about the same range."""
    cpus = sorted(os.sched_getaffinity(0))
    return {cpu: CaseResult(f"a call from CPU {cpu}", request) for cpu in cpus}


def run_from_cpu(
    result: CaseResult, observer: Observer, window: Range, cpu: int, call: Call, timeout_s: float
) -> None:
    """One case with the call made from one CPU, the lines' roles one way and the other."""
    for parity in PARITIES:
        stage = Stage(observer, result.request, window, parity, hash_of(result.name) + parity)
        stage.prepare()
        for count in _at_once({cpu: [stage]}, call, timeout_s):
            result.count.add(count)


def callers_case(window: Range, callers: int) -> CaseResult:
    """The case, not yet tried."""
    return CaseResult(f"{callers} callers at once", window)


def run_callers(
    result: CaseResult, observer: Observer, callers: int, call: Call, timeout_s: float
) -> None:
    """Each caller stores, asks for most of its part at the same time as the others, looks."""
    window = result.request
    parts = _parts(window, observer.line_size, callers)
    if callers < 2 or parts is None:
        result.skipped = "there is one caller only" if callers < 2 else "the window is too small"
        return
    for parity in PARITIES:
        stages = [
            Stage(
                observer,
                _inner(part, observer.line_size),
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
        for count in _at_once(_spread(stages), call, timeout_s):
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


def _inner(part: Range, line_size: int) -> Range:
    """All of a part but what is left to be watched; the outer lines are covered in part."""
    edge = 2 * line_size + line_size // 2
    return Range(part.addr + edge, part.end - edge)


def _at_once(places: dict[int, list[Stage]], call: Call, timeout_s: float) -> list[Count]:
    """Have each stage run on its CPU, all calls at the same time; stages must be prepared."""
    context = multiprocessing.get_context("fork")
    work = [(cpu, stage) for cpu, stages in places.items() for stage in stages]
    barrier = context.Barrier(len(work))
    pairs = [context.Pipe(duplex=False) for _ in work]
    workers = [
        context.Process(target=_work, args=(cpu, stage, call, barrier, sender))
        for (cpu, stage), (_receiver, sender) in zip(work, pairs, strict=True)
    ]
    for worker in workers:
        worker.start()
    for _receiver, sender in pairs:
        sender.close()
    # A CPU that firmware keeps takes along whoever waits there.
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed - set(places) or allowed)})
    try:
        answers = [_answer(pair[0], timeout_s + READY_TIMEOUT_S) for pair in pairs]
    finally:
        os.sched_setaffinity(0, allowed)
        for worker in workers:
            worker.kill()
    for answer in answers:
        if isinstance(answer, PyctlError):
            raise answer
    return [answer for answer in answers if isinstance(answer, Count)]


def _work(cpu: int, stage: Stage, call: Call, barrier: Barrier, answer: Connection) -> None:
    os.sched_setaffinity(0, {cpu})
    try:
        stage.store()
        barrier.wait(READY_TIMEOUT_S)
        call(stage.request)
        answer.send(stage.verify())
    except PyctlError as error:
        answer.send(error)
    except BrokenBarrierError:
        answer.send(OperationFailed("Another caller did not get ready."))


def _answer(receiver: Connection, timeout_s: float) -> _Answer:
    if not receiver.poll(timeout_s):
        raise TargetLost(
            f"One of several callers did not come back within {timeout_s:g} s.",
            "Firmware seems to hold a CPU: reset the target.",
        )
    try:
        answer: _Answer = receiver.recv()
    except EOFError:
        raise OperationFailed("One of several callers died.", "See the kernel log.") from None
    return answer
