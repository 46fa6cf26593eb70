# SPDX-License-Identifier: GPL-2.0-only
"""A whole run: choose window and observer, try every case, collect what was seen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from pyctl.coherency.cases import CaseResult, check_window, run_single, single_cases
from pyctl.coherency.lines import VERDICTS, BadLine
from pyctl.coherency.race import race_case, run_race
from pyctl.coherency.stage import Stage
from pyctl.coherency.threads import callers_case, cpu_cases, run_callers, run_from_cpu
from pyctl.errors import NotReady, OperationFailed, UsageError
from pyctl.firmware.client import Stub
from pyctl.firmware.numbers import MODEL_LINE_LIMITS, MODEL_WINDOW_LIMIT
from pyctl.ranges import Range
from pyctl.target.aim import Aim, Wish, aim
from pyctl.target.answers import Info, Request
from pyctl.target.debugfs import Debugfs
from pyctl.target.invalidate import Result, prepare, run
from pyctl.target.observers import AliasObserver, ModelObserver, Observer
from pyctl.target.provider import Provider
from pyctl.target.scratch import Scratch
from pyctl.target.system import System

DEFAULT_SIZE = 256 * 1024
_PROBE_LINES = 64
"""A cache may let go of some lines by itself, but hardly of so many."""


@dataclass(frozen=True)
class Plan:
    """What is tried, and how. ``observer`` is model or alias."""

    window: Range
    line_size: int
    observer: str
    callers: int
    timeout_s: float
    scratch: Scratch | None = None
    """The memory that the window lies in, if it is that."""


@dataclass
class CaseResults:
    """What came of a run, case by case; ``limits`` says what could not be seen."""

    limits: list[str]
    cases: list[CaseResult] = field(default_factory=list)
    is_blind: bool = False
    """Whether both sides see each other's stores at once: then no line can be bad."""

    def total(self) -> dict[str, int]:
        """Lines by verdict, over all cases."""
        return {
            verdict: sum(case.count.lines[verdict] for case in self.cases) for verdict in VERDICTS
        }

    def first_bad(self) -> tuple[CaseResult, BadLine] | None:
        """The first bad line, in the order in which cases were tried."""
        found = ((case, bad) for case in self.cases for bad in case.count.bad[:1])
        return next(found, None)


def target_of(debugfs: Debugfs, wish: Wish) -> AbstractContextManager[Aim]:
    """The window asked for, or a part of the first range that is safe and can be looked at."""
    return aim(
        debugfs,
        wish,
        DEFAULT_SIZE,
        spare=ModelObserver.SPARE_BYTES,
        is_fit=lambda window: _can_look_at(debugfs, window),
    )


def _can_look_at(debugfs: Debugfs, window: Range) -> bool:
    """Whether the module gives access to bytes there; to those of System RAM it never does."""
    try:
        debugfs.read_memory(window.addr, 1)
    except OperationFailed:
        return False
    except NotReady:
        # What is missing is said where the plan is checked.
        return True
    return True


def choose_observer(debugfs: Debugfs, wanted: str) -> str:
    """``auto`` is the model where the firmware is our stub, else the alias."""
    if wanted == "model":
        Stub(debugfs.raw_call).identify()
    if wanted != "auto":
        return wanted
    return "model" if Stub(debugfs.raw_call).is_ours() else "alias"


def check_plan(system: System, plan: Plan) -> Info:
    """Check everything before a byte is touched.

    Raises UsageError for a window that cannot be or is not safe, NotReady where the
    chain to firmware, or access to memory, is missing.
    """
    # Scratch is System RAM, and ours.
    asked = Request(plan.window.addr, plan.window.size)
    info = prepare(system, asked, force=plan.scratch is not None)
    check_window(plan.window, plan.line_size)
    low, high = MODEL_LINE_LIMITS
    if plan.observer == "model" and plan.window.size > MODEL_WINDOW_LIMIT:
        raise UsageError(
            f"The modelled cache has room for a window of {MODEL_WINDOW_LIMIT >> 20} MiB.",
            "Give a smaller --size.",
        )
    if plan.observer == "model" and not low <= plan.line_size <= high:
        raise UsageError(f"A modelled line has {low} to {high} bytes, not {plan.line_size}.")
    if plan.observer == "alias" and plan.line_size != info.dcache_line_size:
        raise UsageError(
            f"This machine's cache lines have {info.dcache_line_size} bytes.",
            "--line-size is for the modelled cache.",
        )
    # Access must exist before anything is written.
    (plan.scratch or Debugfs(system)).read_memory(plan.window.addr, 1)
    return info


@contextlib.contextmanager
def _observer(debugfs: Debugfs, plan: Plan) -> Iterator[Observer]:
    if plan.observer == "alias":
        yield AliasObserver(debugfs, plan.line_size, plan.scratch)
        return
    window = plan.window
    with ModelObserver(debugfs, window.addr, window.size, plan.line_size, plan.scratch) as observer:
        yield observer


class Calls:
    """The two ways in which the kernel's call is made; either raises what came instead."""

    def __init__(self, debugfs: Debugfs, info: Info, plan: Plan) -> None:
        self.debugfs, self.info = debugfs, info
        self.timeout_s, self.scratch = plan.timeout_s, plan.scratch

    def bounded(self, request: Range) -> None:
        """In a child that is given up on after a time."""
        asked = Request(request.addr, request.size)
        result = run(self.debugfs, asked, self.info, self.timeout_s)
        if result.interrupted and result.is_partial:
            raise KeyboardInterrupt
        if failure := self._damage() or result.failure():
            raise failure

    def unbounded(self, request: Range) -> None:
        """In this process, from the CPU that it is on."""
        asked = Request(request.addr, request.size)
        record = self.debugfs.invalidate_unbounded(asked)
        result = Result(asked, record, Provider(), None, False, False)
        if failure := self._damage() or result.failure():
            raise failure

    def _damage(self) -> OperationFailed | None:
        return self.scratch.damage() if self.scratch else None


def execute(
    system: System, plan: Plan, info: Info, progress: Callable[[CaseResult], None]
) -> CaseResults:
    """Try every case of a checked plan; ``progress`` hears of each when it is done.

    A call that fails ends its case with an error, not the run. Raises TargetLost
    where a call never comes back.
    """
    debugfs = Debugfs(system)
    with _observer(debugfs, plan) as observer:
        report = CaseResults(list(observer.limits), is_blind=_is_blind(observer, plan.window))
        for case in _cases(observer, plan, Calls(debugfs, info, plan)):
            report.cases.append(case)
            progress(case)
    return report


def _is_blind(observer: Observer, window: Range) -> bool:
    """Whether nothing is held back from either side, though nobody has invalidated anything."""
    size = min(window.size, _PROBE_LINES * observer.line_size)
    probe = Range(window.addr, window.addr + size)
    stage = Stage(observer, probe, probe, parity=0, seed=0)
    stage.prepare()
    stage.store()
    return observer.cpu_read(probe.addr, size) == observer.device_read(probe.addr, size)


def _cases(observer: Observer, plan: Plan, calls: Calls) -> Iterator[CaseResult]:
    page_size = calls.info.page_size
    ranges = single_cases(plan.window, plan.line_size, page_size)
    for name, request in ranges.items():
        result = CaseResult(name, request)
        with _failure_of(result):
            result.count = run_single(observer, name, request, plan.window, calls.bounded)
        yield result
    for cpu, result in cpu_cases(ranges["lines, the outer two in part"]).items():
        with _failure_of(result):
            run_from_cpu(result, observer, plan.window, cpu, calls.unbounded, plan.timeout_s)
        yield result
    result = callers_case(plan.window, plan.callers)
    with _failure_of(result):
        run_callers(result, observer, plan.callers, calls.unbounded, plan.timeout_s)
    yield result
    if isinstance(observer, ModelObserver):
        for via in ("memregion", "smccc"):
            result = race_case(observer, plan.window, via)
            with _failure_of(result):
                run_race(result, observer, plan.window, via)
            yield result


@contextlib.contextmanager
def _failure_of(result: CaseResult) -> Iterator[None]:
    """Keep what a call failed with; the other cases may still tell something."""
    try:
        yield
    except OperationFailed as error:
        result.error = error.message
