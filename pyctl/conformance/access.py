# SPDX-License-Identifier: GPL-2.0-only
"""What a run needs of the machine under test, and how memregion_test gives it.

The rules' own tests put firmware made of Python in the place of the machine.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Protocol

from pyctl.conformance.outcome import NotRun
from pyctl.errors import NotReady, OperationFailed, TargetLost
from pyctl.firmware.client import Stub
from pyctl.ranges import Range
from pyctl.target.aim import Aim, Wish, aim
from pyctl.target.answers import Info, RawAnswer, RawRequest, Record, Request
from pyctl.target.debugfs import Debugfs
from pyctl.target.observers import AliasObserver, ModelObserver, Observer
from pyctl.target.provider import calls_inside
from pyctl.target.system import System

_OLD, _NEW = b"o", b"n"
MAX_BYTES = 1 << 20
"""Of the largest range that is cleaned and invalidated."""


class Lines(Protocol):
    """Cache lines of memory that may be targeted."""

    number: int
    observer: str

    def store(self) -> None:
        """Let old bytes be in memory, then store others through the cache."""

    def in_memory(self) -> int:
        """How many of the lines have their new bytes in memory, and not in a cache alone."""


class Access(Protocol):
    """The machine, as far as a run has to do with it."""

    conduit: str
    cpus: list[int]
    """Numbers of the CPUs that are online."""
    max_threads: int
    """Of one request to ``invalidate``."""
    pa_bits: int
    target: Range | None
    """Memory that may be cleaned and invalidated."""

    def calls(
        self, requests: Sequence[RawRequest], interval_s: float, timeout_s: float
    ) -> list[RawAnswer]:
        """Make calls, ``interval_s`` or more apart; what each returned.

        This and the next two raise TargetLost or OperationFailed where all of it is not
        done within ``timeout_s``.
        """

    def vectors(self, requests: Sequence[RawRequest], cpu: int, timeout_s: float) -> list[str]:
        """Make calls from ``cpu``; SIMD and floating-point registers that this changed."""

    def invalidate(self, request: Request, timeout_s: float, cpu: int | None) -> Record:
        """Make CLEAN_INV_MEMREGION calls in a loop inside the kernel, from ``cpu`` if given."""

    @property
    def is_virtual(self) -> bool:
        """Whether this is the virtual board, where nothing can be hurt."""

    def lines(self) -> AbstractContextManager[Lines]:
        """Some cache lines at the beginning of ``target``; see Lines."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""


class ObservedLines(Lines):
    """Lines between an observer's two sides: the CPU's, and the memory's."""

    number = 16

    def __init__(self, observer: Observer, addr: int) -> None:
        self._observer, self._addr = observer, addr
        self._size = self.number * observer.line_size
        self.observer = observer.name

    def store(self) -> None:
        with _if_possible():
            self._observer.prepare(self._addr, _OLD * self._size)
            self._observer.cpu_write([(self._addr, _NEW * self._size)])

    def in_memory(self) -> int:
        line_size = self._observer.line_size
        with _if_possible():
            data = self._observer.device_read(self._addr, self._size)
        lines = (data[start : start + line_size] for start in range(0, self._size, line_size))
        return sum(line == _NEW * line_size for line in lines)


@contextlib.contextmanager
def _if_possible() -> Iterator[None]:
    """Memory that cannot be looked at says nothing about firmware."""
    try:
        yield
    except (NotReady, OperationFailed) as error:
        raise NotRun(f"The lines cannot be watched: {error.message}") from None


class ModuleAccess(Access):
    """Access through the files of memregion_test."""

    def __init__(self, debugfs: Debugfs, info: Info, target: Aim | None) -> None:
        """NotReady where the module allows no raw calls; ``target`` None is none to be had."""
        if not info.raw_calls:
            raise NotReady(
                "Conformance needs raw SMCCC calls, and memregion_test was loaded without them.",
                "Run `pyctl unload`, then `pyctl load --raw`.",
            )
        self._debugfs = debugfs
        self.conduit = info.conduit
        self.max_threads = info.max_threads
        self.pa_bits = info.pa_bits
        self._line_size = info.dcache_line_size
        self.cpus = online_cpus(debugfs.system)
        self._aim = target
        self.target = target.range if target else None

    @cached_property
    def is_virtual(self) -> bool:
        return Stub(self._debugfs.raw_call).is_ours()

    def calls(
        self, requests: Sequence[RawRequest], interval_s: float, timeout_s: float
    ) -> list[RawAnswer]:
        with self._watching():
            return self._debugfs.raw_calls(requests, timeout_s, interval_s)

    def vectors(self, requests: Sequence[RawRequest], cpu: int, timeout_s: float) -> list[str]:
        with self._watching():
            return self._debugfs.vectors_changed_by(requests, cpu, timeout_s)

    def invalidate(self, request: Request, timeout_s: float, cpu: int | None) -> Record:
        with self._watching():
            record, ending = self._debugfs.invalidate(request, timeout_s, cpu)
        if ending.interrupted:
            raise KeyboardInterrupt
        if ending.timed_out:
            raise OperationFailed(
                f"{request.calls} calls of firmware were not done after {timeout_s:g} s.",
                "See `pyctl attributes` for the latency that firmware states.",
            )
        return record

    @contextlib.contextmanager
    def lines(self) -> Iterator[ObservedLines]:
        assert self.target is not None
        addr, line_size = self.target.addr, self._line_size
        size = ObservedLines.number * line_size
        scratch = self._aim.scratch if self._aim else None
        if size > self.target.size:
            raise NotRun("The memory that is safe to target is too small.")
        if not self.is_virtual:
            yield ObservedLines(AliasObserver(self._debugfs, line_size, scratch), addr)
            return
        with ModelObserver(self._debugfs, addr, size, line_size, scratch) as observer:
            yield ObservedLines(observer, addr)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Look for damage beside the target after calls.

        A loss of the machine is told with the calls that are stuck, where firmware can say that.
        """
        try:
            yield
        except TargetLost as lost:
            lost.message = " ".join([lost.message, *calls_inside(self._debugfs)])
            raise
        if damage := self._aim.damage() if self._aim else None:
            raise damage


@contextlib.contextmanager
def target_of(debugfs: Debugfs, wish: Wish) -> Iterator[Aim | None]:
    """Memory to aim at: the first range that is safe, whole, or scratch memory.

    None where there is no scratch memory, either, unless that was asked for: most rules
    need no memory.
    """
    with contextlib.ExitStack() as stack:
        found: Aim | None = None
        try:
            target = aim(debugfs, wish, MAX_BYTES, spare=ModelObserver.SPARE_BYTES, whole=True)
            found = stack.enter_context(target)
        except NotReady:
            if wish != Wish():
                raise
        yield found


def online_cpus(system: System) -> list[int]:
    """Numbers of the CPUs that are online (``0-3,5``); CPU 0 where the kernel does not say."""
    text = system.text("/sys/devices/system/cpu/online") or "0"
    cpus: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus
