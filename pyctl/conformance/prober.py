# SPDX-License-Identifier: GPL-2.0-only
"""What a rule may do to the machine: calls that are paced, counted and remembered.

Everything here is safe on a real board: CLEAN_INV_MEMREGION goes only to a
range that ``pyctl regions`` calls safe, at the rate that firmware allows, and
every call that comes back is kept so that the last rules can judge all.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from pyctl.conformance.access import MAX_BYTES, Access
from pyctl.conformance.outcome import Blocked, Call, NotRun
from pyctl.ranges import Range
from pyctl.smccc import (
    ARCH_FEATURES,
    BUSY,
    CLEAN_INV_MEMREGION,
    CLEAN_INV_MEMREGION_ATTRIBUTES,
    RATE_LIMITED,
    SMCCC_VERSION,
    VERSION_WITH_FEATURES,
)
from pyctl.target.answers import RawRequest, Record, Request

PSCI_FEATURES = 0x8400_000A
"""DEN0022: says whether SMCCC_VERSION may be called."""
DRY_RUN = 1
SVE_HINT = 1 << 16
"""The bit of an id by which a caller says that it keeps nothing in the SVE registers."""
PASSING = (BUSY, RATE_LIMITED)
"""Statuses that ask to try again."""
ANSWER_S = 30.0
"""For what should take a few seconds at most; calls that are known to be slow come on top."""
BACKOFF_S = (*(0.001 * 2**n for n in range(9)), *[0.5] * 8)
"""Waits between tries: short at first, and about five seconds in all."""
WINDOW_S = 1.0
"""After this time without a call a limit per second has nothing left to count."""
PATIENCE_S = 2.5
"""What the calls of one rule may take, where they are slow or must be far apart."""
TRIES = 3
REPEATS = 32
"""Calls where one might differ from another."""
CALLS_AT_ONCE = 256
"""Of each CPU."""
BURST_CALLS = 1000
UNSTATED_BURST_CALLS = 250
UNKNOWN_FIDS = (0x8000_0ABC, 0x8000_0F0F, 0xC000_0ABC, 0xC000_0F0F)
"""Of the Arm architecture service, far from every function that was ever specified."""

T = TypeVar("T")


class Prober:
    """One run's view of firmware: what it said about itself, and every call so far."""

    def __init__(self, access: Access, risky: bool = False) -> None:
        self.access = access
        self.risky = risky
        self.log: list[Call] = []
        self.is_limited = False
        """Firmware has refused a call as too frequent."""
        self._slowest_s = 0.0
        self._vectors: dict[tuple[int | RawRequest, ...], list[str]] = {}

    # Calls.

    def calls(self, requests: Sequence[RawRequest], interval_s: float = 0) -> list[Call]:
        """Make calls in this order and remember them; on the first CPU unless one is named.

        Registers that are no arguments go in filled, so that every call of a run shows
        what becomes of them.
        """
        if self.access.conduit == "none":
            raise Blocked("The kernel knows no conduit, so firmware cannot be called (DISC-1).")
        requests = [self._placed(request) for request in requests]
        filled = [_filled(one, len(self.log) + n) for n, one in enumerate(requests)]
        operations = sum(_is_operation(request) for request in requests)
        timeout_s = self._timeout_s(operations) + len(requests) * interval_s
        answers = self.access.calls(filled, interval_s, timeout_s)
        made = [
            Call(request, sent.x, answer.x, answer.lost, answer.sve_bytes, answer.za_bytes)
            for request, sent, answer in zip(requests, filled, answers, strict=True)
        ]
        self.log += made
        self.is_limited |= any(call.status == RATE_LIMITED for call in made)
        return made

    def _placed(self, request: RawRequest) -> RawRequest:
        return request if request.cpu is not None else replace(request, cpu=self.access.cpus[0])

    def vectors(self, requests: Sequence[RawRequest], cpu: int) -> list[str]:
        """SIMD and floating-point registers that calls from ``cpu`` change; made once."""
        key: tuple[int | RawRequest, ...] = (cpu, *requests)
        if key not in self._vectors:
            timeout_s = self._timeout_s(sum(map(_is_operation, requests)))
            self._vectors[key] = self.access.vectors(requests, cpu, timeout_s)
        return self._vectors[key]

    def _timeout_s(self, operations: int) -> float:
        """When firmware counts as stuck.

        It may do one operation after the other, and each may take what firmware states or
        what one has taken before.
        """
        longest_s = max(self.latency_us / 1e6, self._slowest_s) if operations else 0
        return ANSWER_S + operations * longest_s

    def call(self, fid: int, *x: int) -> Call:
        """Make one call with ``x`` in x1..."""
        return self.calls([RawRequest(fid, x)])[0]

    def clean_inv(self, requests: Sequence[RawRequest]) -> list[Call]:
        """CLEAN_INV_MEMREGION calls, as far apart as firmware wants them."""
        self.need_operation()
        # The call before this one may have been of another rule.
        self.access.wait(self.interval_s)
        return self.calls(requests, self.interval_s)

    def settled(self, flags: int, far: bool = False) -> list[Call]:
        """Ask for a clean+invalidate as ``settle`` does; see ``request``."""
        return self.settle(self.request(flags, far))

    def settle(self, request: RawRequest) -> list[Call]:
        """Make a call until firmware says neither BUSY nor RATE_LIMITED.

        The last call is the answer, or one more refusal where it never settled.
        """
        made: list[Call] = []
        for delay_s in BACKOFF_S:
            made += self.clean_inv([request])
            if made[-1].status not in PASSING:
                break
            self.access.wait(delay_s)
        return made

    def request(self, flags: int = 0, far: bool = False) -> RawRequest:
        """A clean+invalidate of the first bytes that may be targeted, or the last, ``far`` off.

        Raises Blocked where there is no such memory, NotRun where it is too little for both.
        """
        target, size = self.target, min(4096, self.target.size)
        if far and target.size < 2 * size:
            raise NotRun("The memory that is safe to target is too small.")
        addr = target.end - size if far else target.addr
        return RawRequest(CLEAN_INV_MEMREGION, (addr, size, flags))

    def loop(
        self, count: int, threads: int = 1, dry_run: bool = False, cpu: int | None = None
    ) -> Record:
        """``count`` calls of each of ``threads`` threads, as fast as the kernel can.

        Each thread stops at the first status other than SUCCESS. One alone may be bound to
        a ``cpu``.
        """
        self.need_attributes()
        target = self.target
        self.access.wait(self.interval_s)
        size = min(target.size, MAX_BYTES)
        request = Request(target.addr, size, "smccc", count, threads, dry_run)
        record = self.access.invalidate(request, self._timeout_s(request.calls), cpu)
        self._slowest_s = max(self._slowest_s, record.elapsed.max / 1e9)
        self.is_limited |= record.errno == errno.EAGAIN
        return record

    def burst(self, threads: int) -> Record:
        """Calls of some CPUs at once, each until one is refused, after a rest."""
        self.rest()
        return self.loop(self.burst_calls, threads)

    def all_at_once(self) -> tuple[int, Record]:
        """A loop on each CPU at the same time; the number of calls, and what came of them."""
        threads = self.threads
        # Firmware may let one CPU in after the other.
        count = max(1, self.affordable(threads * CALLS_AT_ONCE) // threads)
        return threads * count, self.loop(count, threads)

    @property
    def threads(self) -> int:
        """One for each CPU, as far as the module has so many."""
        return min(len(self.access.cpus), self.access.max_threads)

    def rest(self) -> None:
        """Let a limit of calls per second forget, where there is one."""
        if self.rate_per_s or self.is_limited:
            self.access.wait(WINDOW_S)

    def affordable(self, calls: int) -> int:
        """How many of ``calls`` fit into a rule's time, one at least."""
        return max(1, min(calls, int(PATIENCE_S / (self.interval_s + self.call_s))))

    def sample(self, calls: Sequence[T]) -> list[T]:
        """As many of the calls as are affordable, from everywhere in the sequence."""
        count = min(len(calls), self.affordable(len(calls)))
        return [calls[n * len(calls) // count] for n in range(count)]

    @property
    def burst_calls(self) -> int:
        """Calls to make at once: more than a second's rate where time allows, and at least one."""
        wanted = 2 * self.rate_per_s + 10 if self.rate_per_s else UNSTATED_BURST_CALLS
        return max(1, min(wanted, BURST_CALLS, int(PATIENCE_S / self.call_s)))

    @cached_property
    def call_s(self) -> float:
        """What one call takes: the worst that firmware advertises, or that it is seen to take.

        Seen is the best of a few tries, for a slow moment of the machine says nothing.
        """
        tried = self.loop(1 if self.interval_s else TRIES)
        return max(self.latency_us / 1e6, tried.elapsed.min / 1e9, 1e-6)

    def everywhere(self, *requests: RawRequest, times: int = REPEATS) -> list[RawRequest]:
        """The requests on one CPU after the other, each ``times`` or more in all.

        A rare fault shall show on few CPUs, too.
        """
        cpus = self.access.cpus
        rounds = -(-times // len(cpus))
        return [replace(one, cpu=cpu) for cpu in cpus for _ in range(rounds) for one in requests]

    @property
    def cpus_text(self) -> str:
        """The number of CPUs, in words."""
        count = len(self.access.cpus)
        return "1 CPU" if count == 1 else f"{count} CPUs"

    # What firmware says of itself.

    @cached_property
    def version(self) -> int:
        """SMCCC version as firmware says it now; 1.0 where it cannot say."""
        if self.call(PSCI_FEATURES, SMCCC_VERSION).status < 0:
            return 0x1_0000
        return max(self.call(SMCCC_VERSION).status, 0x1_0000)

    def features(self, fid: int) -> Call:
        """Ask ARCH_FEATURES for a function."""
        self.need_features()
        return self.call(ARCH_FEATURES, fid)

    @cached_property
    def has_clean_inv(self) -> bool:
        """Whether CLEAN_INV_MEMREGION is announced."""
        return self.features(CLEAN_INV_MEMREGION).status >= 0

    @cached_property
    def has_attributes(self) -> bool:
        """Whether CLEAN_INV_MEMREGION_ATTRIBUTES is announced."""
        return self.features(CLEAN_INV_MEMREGION_ATTRIBUTES).status >= 0

    @cached_property
    def attributes(self) -> Call | None:
        """What ATTRIBUTES returned with SUCCESS; None if it did not."""
        if not self.has_attributes:
            return None
        call = self.call(CLEAN_INV_MEMREGION_ATTRIBUTES)
        return call if call.status == 0 else None

    @property
    def is_global(self) -> bool:
        """Whether firmware says that the operation covers more than the range."""
        return bool(self.attributes and self.attributes.x[1] & 1)

    @property
    def latency_us(self) -> int:
        """Advertised worst case of a call; 0 where firmware states none."""
        return self.attributes.x[2] & 0xFFFF_FFFF if self.attributes else 0

    @property
    def rate_per_s(self) -> int:
        """Advertised most calls per second; 0 where firmware states none."""
        return self.attributes.x[3] if self.attributes else 0

    @property
    def interval_s(self) -> float:
        """Time between two calls that is safely within the advertised rate."""
        return 1.25 / self.rate_per_s if self.rate_per_s else 0

    @property
    def target(self) -> Range:
        """Memory to clean and invalidate; blocks the rule where that is out of the question."""
        self.need_operation()
        if self.access.target is None:
            raise Blocked("No memory of this machine is safe to target; see `pyctl regions`.")
        return self.access.target

    def need_operation(self) -> None:
        """Block the rule where the operation may not be called."""
        if not self.has_clean_inv:
            raise Blocked("Firmware does not announce CLEAN_INV_MEMREGION (DISC-2).")

    def need_features(self) -> None:
        """Block the rule where there is nobody to ask for functions."""
        if self.version < VERSION_WITH_FEATURES:
            raise Blocked("This SMCCC version has no ARCH_FEATURES (DISC-1).")

    def need_cpus(self) -> None:
        """Skip a rule that compares CPUs where there is one."""
        if len(self.access.cpus) < 2:
            raise NotRun("Only one CPU is online.")

    def need_attributes(self) -> None:
        """Block the rule where there are no attributes to speak of."""
        if self.attributes is None:
            raise Blocked("Firmware gave no attributes (DISC-3, DISC-4).")


def differing(calls: Sequence[Call], key: Callable[[Call], object]) -> list[Call]:
    """The first call and the first that differs from it in ``key``; empty if none does."""
    return next(([calls[0], call] for call in calls if key(call) != key(calls[0])), [])


def _is_operation(request: RawRequest) -> bool:
    return request.fid & ~SVE_HINT == CLEAN_INV_MEMREGION


def _filled(request: RawRequest, number: int) -> RawRequest:
    """The request with numbers in all registers up to x17 that are no arguments.

    Two patterns without a common bit take turns, so that a register that is always
    set to the same value shows.
    """
    pattern = (0xA5A5_A5A5_5A5A_5A40, 0x5A5A_5A5A_A5A5_A580)[number % 2]
    filler = tuple(pattern | n for n in range(len(request.x) + 1, 18))
    return replace(request, x=request.x + filler)
