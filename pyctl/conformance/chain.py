# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's call, and what firmware saw of it, for the rules about the provider."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

from pyctl.conformance.provider import Chain, Seen
from pyctl.errors import NotReady, OperationFailed
from pyctl.firmware.client import Faults, LogEntry, Stub
from pyctl.firmware.faults import parse_faults
from pyctl.ranges import Range
from pyctl.smccc import CLEAN_INV_MEMREGION
from pyctl.target.aim import Aim
from pyctl.target.answers import Info, Request
from pyctl.target.bounded import Child, finish
from pyctl.target.debugfs import Debugfs

_TIMEOUT_S = 60.0
_LONG = "latency:20000"
"""How firmware spends the time in which another request begins, on a busy machine too."""
_OTHERS = (
    *("attributes_calls", "arch_features_calls", "smccc_version_calls"),
    *("unknown_calls", "other_conduit_calls"),
)
"""What firmware counts of other calls, and of those over the conduit that is not announced."""


class ModuleChain(Chain):
    """The chain of this machine, asked through memregion_test."""

    def __init__(self, debugfs: Debugfs, info: Info, target: Aim | None) -> None:
        """NotReady where the kernel has no such call, or nobody answers it."""
        if not (info.framework and info.provider):
            raise NotReady(
                "No provider is registered, so that there is none to check."
                if info.framework
                else "This kernel has no cpu_cache_invalidate_memregion(), and so no provider.",
                "See `pyctl doctor`, and `pyctl load`.",
            )
        self._debugfs, self._aim = debugfs, target
        self.target = target.range if target else None
        self._stub = Stub(debugfs.raw_call)
        self.is_watched = info.raw_calls and self._stub.is_ours()
        self.stated = debugfs.discovery()
        self.rate_per_s = self.stated.rate_per_s or 0
        self.latency_us = self.stated.latency_us or 0
        if debugfs.has_provider_module():
            # Ours tells what it has taken; firmware may say something else by now.
            taken = debugfs.provider_attributes()
            self.rate_per_s, self.latency_us = taken.rate_per_s, taken.latency_us

    def ask(self, addr: int, size: int, statuses: Sequence[int] = (), faults: str = "") -> Seen:
        others = self._others()
        with self._firmware(statuses, faults) as calls:
            record, ending = self._debugfs.invalidate(Request(addr, size), _TIMEOUT_S)
        if ending.interrupted:
            raise KeyboardInterrupt
        if not record.errno and not record.completed:
            raise OperationFailed(
                "The kernel's call said 0, and nobody has answered it.",
                "Was the provider unloaded meanwhile? See `pyctl status`.",
            )
        if damage := self._aim.damage() if self._aim else None:
            raise damage
        return Seen(record.errno, calls, record.elapsed.total, self._others() - others)

    def ask_at_once(
        self, requests: Sequence[Range], statuses: Sequence[int]
    ) -> tuple[list[int], list[LogEntry]]:
        with self._firmware(statuses, _LONG) as calls, contextlib.ExitStack() as stack:
            jobs = [partial(self._ask, one) for one in requests]
            errnos = finish([stack.enter_context(Child(job)) for job in jobs], _TIMEOUT_S)
        return errnos, calls

    def _ask(self, one: Range) -> int:
        return self._debugfs.invalidate_unbounded(Request(one.addr, one.size)).errno

    def _others(self) -> int:
        return sum(map(self._stub.get, _OTHERS)) if self.is_watched else 0

    @contextlib.contextmanager
    def _firmware(self, statuses: Sequence[int], faults: str) -> Iterator[list[LogEntry]]:
        """Let firmware answer so; gives, in the end, the calls that it saw meanwhile."""
        calls: list[LogEntry] = []
        if not (self.is_watched and self.target):
            yield calls
            return
        since = self._stub.get("log_total")
        slots = Faults(self._stub).add(parse_faults(faults)) if faults else []
        try:
            for status in statuses:
                self._stub.queue(status)
            yield calls
            calls += self._stub.log(since)
        finally:
            if slots:
                Faults(self._stub).clear(slots)
            self._drain()

    def _drain(self) -> None:
        """Take what nobody has asked for, so that it is not the next one's."""
        assert self.target
        for _ in range(self._stub.get("queue_length")):
            dry_run = (self.target.addr, self.target.size, 1)
            self._debugfs.raw_call(CLEAN_INV_MEMREGION, dry_run)
