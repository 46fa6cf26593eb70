# SPDX-License-Identifier: GPL-2.0-only
"""A whole run: choose window and observer, try every case, collect what was seen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pyctl.coherency.calls import Calls, Refused
from pyctl.coherency.cases import CaseResult, check_window, run_single, single_cases
from pyctl.coherency.lines import VERDICTS, BadLine
from pyctl.coherency.race import race_case, run_race
from pyctl.coherency.stage import Stage
from pyctl.coherency.threads import callers_case, cpu_cases, run_callers, run_from_cpu
from pyctl.errors import OperationFailed, UsageError
from pyctl.firmware.client import Stub
from pyctl.firmware.numbers import MODEL_LINE_LIMITS, MODEL_WINDOW_LIMIT
from pyctl.ranges import Range
from pyctl.target.answers import Info, Request
from pyctl.target.debugfs import Debugfs
from pyctl.target.invalidate import prepare
from pyctl.target.observers import AliasObserver, ModelObserver, Observer
from pyctl.target.scratch import Scratch
from pyctl.target.system import System

REFUSED = "firmware refuses what is not of whole pages (INVALID_PARAMETER)"
"""Of a case that was not tried; the specification does not say which ranges must be taken."""
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
        for case in Run(observer, plan, Calls(debugfs, info, plan.scratch, plan.timeout_s)).cases():
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


_LONG = 1 << 32
_IN_PART = "lines, the outer two in part"


class Run:
    """All cases of a checked plan, one after the other."""

    def __init__(self, observer: Observer, plan: Plan, calls: Calls) -> None:
        self.observer, self.plan, self.calls = observer, plan, calls
        self.refused: list[Range] = []

    def cases(self) -> Iterator[CaseResult]:
        """What came of each case, as soon as it is known."""
        ranges = self._ranges()
        for name, request in ranges.items():
            result = CaseResult(name, request)
            with self._failure_of(result):
                result.count = run_single(
                    self.observer, name, request, self.plan.window, self.calls.bounded
                )
            yield result
        edge, request = self._taken(ranges)
        yield self._at_once(edge)
        yield from self._races()
        # Behind them: a CPU may have been left in no state to call.
        yield from self._from_cpus(request)
        yield from self._refusals()

    def _ranges(self) -> dict[str, Range]:
        window, end = self.plan.window, 1 << self.calls.info.pa_bits
        ranges = single_cases(window, self.plan.line_size, self.calls.info.page_size)
        # They have much in them that is nobody's to call; a model touches its window only.
        if not isinstance(self.observer, ModelObserver):
            return ranges
        middle = window.addr + window.size // 2
        long = {
            "more than 4 GiB": Range(window.addr, middle + _LONG),
            "much before the window, and half of it": Range(max(0, middle - _LONG), middle),
            "half the window, and all addresses beyond": Range(middle, end),
        }
        return ranges | {name: one for name, one in long.items() if one.end <= end}

    def _taken(self, ranges: dict[str, Range]) -> tuple[int, Range]:
        """What firmware takes: how much of a line or page is covered, and a range to begin with."""
        line, page = self.plan.line_size, self.calls.info.page_size
        if ranges[_IN_PART] in self.refused and "a page" in ranges:
            return page, ranges["a page"]
        return 2 * line + line // 2, ranges[_IN_PART]

    def _at_once(self, edge: int) -> CaseResult:
        """Several callers, each with a range of its own."""
        plan = self.plan
        result = callers_case(plan.window, plan.callers)
        with self._failure_of(result):
            run_callers(
                result, self.observer, plan.callers, edge, self.calls.unbounded, plan.timeout_s
            )
        return result

    def _from_cpus(self, request: Range) -> Iterator[CaseResult]:
        """The same from CPUs that are named."""
        plan = self.plan
        for cpu, result in cpu_cases(request).items():
            with self._failure_of(result):
                run_from_cpu(
                    result, self.observer, plan.window, cpu, self.calls.unbounded, plan.timeout_s
                )
            yield result

    def _races(self) -> Iterator[CaseResult]:
        if not isinstance(self.observer, ModelObserver):
            return
        for via in ("memregion", "smccc"):
            result = race_case(self.observer, self.plan.window, via, self.calls.info.page_size)
            with self._failure_of(result):
                run_race(result, self.observer, self.plan.window, via)
            yield result

    def _refusals(self) -> Iterator[CaseResult]:
        """What was refused must be refused each time: anything else nobody can rely on."""
        if not self.refused:
            return
        result = CaseResult("refused ranges, once more", self.refused[0])
        for request in self.refused:
            try:
                self.calls.bounded(request)
            except Refused:
                continue
            except OperationFailed as error:
                result.error = error.message
            else:
                result.error = f"The range {request} was refused once, and accepted now."
        yield result

    @contextlib.contextmanager
    def _failure_of(self, result: CaseResult) -> Iterator[None]:
        """Keep what a call failed with; the other cases may still tell something."""
        try:
            yield
        except Refused:
            if result.request not in self.refused:
                self.refused.append(result.request)
            result.skipped = REFUSED
        except OperationFailed as error:
            result.error = error.message
