# SPDX-License-Identifier: GPL-2.0-only
"""Several callers at once, each with a part of the window to itself.

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
from pyctl.model import Range
from pyctl.observers import Observer

READY_TIMEOUT_S = 60.0
_Answer = Count | PyctlError


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
        for count in _at_once(stages, call, timeout_s):
            result.count.add(count)


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


def _at_once(stages: Sequence[Stage], call: Call, timeout_s: float) -> list[Count]:
    context = multiprocessing.get_context("fork")
    # The last CPUs first: a CPU that firmware keeps takes along whoever waits there.
    cpus = sorted(os.sched_getaffinity(0), reverse=True)
    barrier = context.Barrier(len(stages))
    pairs = [context.Pipe(duplex=False) for _ in stages]
    workers = [
        context.Process(
            target=_work, args=(cpus[index % len(cpus)], stage, call, barrier, pairs[index][1])
        )
        for index, stage in enumerate(stages)
    ]
    for worker in workers:
        worker.start()
    for _receiver, sender in pairs:
        sender.close()
    os.sched_setaffinity(0, {cpus[-1]})
    try:
        answers = [_answer(pair[0], timeout_s + READY_TIMEOUT_S) for pair in pairs]
    finally:
        os.sched_setaffinity(0, cpus)
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
