# SPDX-License-Identifier: GPL-2.0-only
"""Firmware made of Python, for the rules of a conformance run: good, until a test breaks it.

It stands where ``pyctl.conformance.access`` stands otherwise. Time is its own,
so that a test of a rate takes none.
"""

from __future__ import annotations

import contextlib
import errno
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pyctl.errors import OperationFailed, TargetLost
from pyctl.ranges import Range
from pyctl.target.answers import (
    Elapsed,
    FirmwareCalls,
    RawAnswer,
    RawRequest,
    Record,
    Request,
)

VERSION, FEATURES, PSCI_FEATURES = 0x8000_0000, 0x8000_0001, 0x8400_000A
OPERATION, ATTRIBUTES = 0xC000_0005, 0xC000_0006
SVE_HINT = 1 << 16
SUCCESS, NOT_SUPPORTED, INVALID_PARAMETER, RATE_LIMITED, BUSY = 0, -1, -3, -4, -5
ERRNO = {
    SUCCESS: 0,
    NOT_SUPPORTED: errno.EOPNOTSUPP,
    INVALID_PARAMETER: errno.EINVAL,
    RATE_LIMITED: errno.EAGAIN,
    BUSY: errno.EBUSY,
}
TARGET = Range(0x5F00_0000, 0x6000_0000)

GIVEN_UP = ("z7", "p0", "FFR", "ZA", "SVCR")
"""What a caller gives up with the SVE hint."""
Tamper = Callable[["FakeFirmware", RawRequest, list[int]], None]


@dataclass
class FakeLines:
    """Lines of which those that are cleaned, and some others, reach memory."""

    idle: int
    there: int = 0
    number: int = 16
    observer: str = "fake"

    def store(self) -> None:
        self.there = self.idle

    def in_memory(self) -> int:
        return self.there


@dataclass
class FakeFirmware:
    """Answers SMCCC calls; ``tamper`` changes registers x0 to x17 on the way out."""

    version: int = 0x1_0002
    conduit: str = "hvc"
    cpus: list[int] = field(default_factory=lambda: [0, 1, 2, 3])
    max_threads: int = 256
    pa_bits: int = 44
    target: Range | None = TARGET
    clean_inv: bool = True
    attributes: bool = True
    x1: int = 0
    latency_us: int = 0
    rate: int = 0
    limit_per_s: int = 0
    limit_per_cpu: bool = False
    """Whether each CPU has the limit for itself."""
    duration_us: float = 5
    fids: Callable[[int], int] = lambda fid: fid & ~SVE_HINT
    """Which function firmware takes an id for."""
    is_virtual: bool = True
    dry_run_acts: bool = False
    global_lie: bool = False
    idle_lines: int = 0
    """Dirty lines that reach memory by themselves."""
    watched: FakeLines | None = None
    tamper: Tamper = lambda _self, _request, _x: None
    spoils: dict[int, list[str]] = field(default_factory=dict)
    """SIMD and floating-point registers that the operation changes, by CPU."""
    loses: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Registers that it may not change and does, by CPU."""
    sve_bytes: int = 16
    za_bytes: int = 32
    now: float = 0
    windows: dict[int, deque[float]] = field(default_factory=dict)
    """Times of the calls that were let through, by CPU."""
    cpu: int = 0
    """That a thread of a loop is on."""
    made: list[RawRequest] = field(default_factory=list)

    @contextlib.contextmanager
    def lines(self) -> Iterator[FakeLines]:
        self.watched = FakeLines(self.idle_lines)
        yield self.watched
        self.watched = None

    def wait(self, seconds: float) -> None:
        self.now += seconds

    @contextlib.contextmanager
    def within(self, timeout_s: float) -> Iterator[None]:
        """Give up on what takes longer, as bounded calls do."""
        deadline = self.now + timeout_s
        yield
        if self.now > deadline:
            raise TargetLost("The call never came back.")

    def calls(
        self, requests: Sequence[RawRequest], interval_s: float, timeout_s: float
    ) -> list[RawAnswer]:
        answers: list[RawAnswer] = []
        with self.within(timeout_s):
            for request in requests:
                self.now += interval_s if answers else 0
                x = tuple(self.answer(request))
                lost = self.loses.get(request.cpu or 0, ()) if request.fid == OPERATION else ()
                lost = GIVEN_UP if request.fid & SVE_HINT else lost
                names = tuple((name, 0) for name in lost)
                answers.append(RawAnswer(x, names, self.sve_bytes, self.za_bytes))
        return answers

    def vectors(self, requests: Sequence[RawRequest], cpu: int, timeout_s: float) -> list[str]:
        assert all(request.cpu is None for request in requests)
        self.calls(requests, 0, timeout_s)
        called = OPERATION in {request.fid for request in requests}
        return self.spoils.get(cpu, []) if called else []

    def answer(self, request: RawRequest) -> list[int]:
        """Serve one call."""
        self.made.append(request)
        x = [request.fid, *request.x] + [0] * (17 - len(request.x))
        self.serve(self.fids(request.fid), x)
        self.tamper(self, request, x)
        return x

    def serve(self, fid: int, x: list[int]) -> None:
        arguments = x[1:4]
        status = NOT_SUPPORTED
        if fid == PSCI_FEATURES:
            status = SUCCESS if arguments[0] == VERSION and self.version > 0x1_0000 else status
        elif fid == VERSION:
            status = self.version if self.version > 0x1_0000 else status
        elif fid == FEATURES and self.version > 0x1_0000:
            status = SUCCESS if self.offers(arguments[0]) else status
        elif fid == ATTRIBUTES and self.attributes:
            status = SUCCESS
            x[1:5] = [self.x1, self.latency_us, self.rate, 0]
        elif fid == OPERATION and self.clean_inv:
            status = self.operation(*arguments)
        x[0] = status & (1 << 64) - 1

    def offers(self, fid: int) -> bool:
        offered = {VERSION: True, FEATURES: True}
        return (offered | {OPERATION: self.clean_inv, ATTRIBUTES: self.attributes}).get(fid, False)

    def operation(self, base: int, length: int, flags: int) -> int:
        if flags & ~1 or length == 0 or base + length > 1 << self.pa_bits:
            return INVALID_PARAMETER
        window = self.windows.setdefault(self.cpu if self.limit_per_cpu else 0, deque())
        while window and window[0] <= self.now - 1:
            window.popleft()
        if self.limit_per_s and len(window) >= self.limit_per_s:
            return RATE_LIMITED
        window.append(self.now)
        self.now += self.duration_us / 1e6
        covered = base == TARGET.addr or (self.x1 & 1 and not self.global_lie)
        if self.watched and covered and (not flags or self.dry_run_acts):
            self.watched.there = self.watched.number
        return SUCCESS

    def invalidate(self, request: Request, timeout_s: float, cpu: int | None) -> Record:
        """Serve what memregion_test makes of a request ``via=smccc``."""
        if not (request.count > 0 and 0 < request.threads <= self.max_threads):
            raise OperationFailed("The file invalidate refused the request: Invalid argument.")
        with self.within(timeout_s):
            return self.loop(request, cpu or 0)

    def loop(self, request: Request, first_cpu: int) -> Record:
        """Make the calls of all threads, one after the other."""
        completed, statuses, times = 0, [], []
        for self.cpu in range(first_cpu, first_cpu + request.threads):
            for _ in range(request.count):
                before = self.now
                raw = RawRequest(
                    OPERATION, (request.addr, request.size, int(request.dry_run)), self.cpu
                )
                status = self.answer(raw)[0] & 0xFFFF_FFFF
                statuses.append(status - (1 << 32) if status >> 31 else status)
                times.append(round((self.now - before) * 1e9) + 800)
                if statuses[-1]:
                    break
                completed += 1
        self.cpu = 0
        wrong = [status for status in statuses if status]
        return Record(
            errno=ERRNO.get(wrong[0], errno.EIO) if wrong else 0,
            completed=completed,
            vacuous=0,
            interrupted=False,
            provider=True,
            elapsed=Elapsed(min(times), times[0], max(times), max(times), sum(times)),
            firmware=FirmwareCalls(
                len(statuses), statuses.count(BUSY), statuses.count(RATE_LIMITED), statuses[-1]
            ),
        )
