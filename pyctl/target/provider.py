# SPDX-License-Identifier: GPL-2.0-only
"""Who answers the kernel's call, and who counts what reaches firmware.

The kernel says only that some provider is registered. Which one it is decides
whether firmware calls can be counted, and without a count "0" from the kernel
is a claim, not evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyctl.errors import PyctlError
from pyctl.smccc import BUSY, RATE_LIMITED
from pyctl.target.answers import FirmwareCalls, Info
from pyctl.target.debugfs import PROVIDER_MODULE, Debugfs
from pyctl.target.system import System

KNOWN_PROVIDERS = (PROVIDER_MODULE, "arm_smccc_cache", "hisi_soc_hha")
"""Modules that register with lib/cache_maint.c, ours first."""


@dataclass(frozen=True)
class Provider:
    """The provider as far as it shows: ``registered`` None where nobody could be asked."""

    registered: bool | None = None
    name: str | None = None

    def as_json(self) -> dict[str, object]:
        """The part of an answer that every command gives of it."""
        return {"registered": self.registered, "name": self.name}

    def __str__(self) -> str:
        if self.registered is None:
            return "unknown"
        if not self.registered:
            return "none registered"
        return self.name or "registered (built into the kernel, or one that pyctl does not know)"


def find_provider(system: System, info: Info) -> Provider:
    """The provider behind ``info``; its name is None where no loaded module explains it."""
    if not info.provider:
        return Provider(registered=False)
    loaded = (name for name in KNOWN_PROVIDERS if system.path(f"/sys/module/{name}").exists())
    return Provider(registered=True, name=next(loaded, None))


def start_counting(debugfs: Debugfs, info: Info) -> Callable[[], FirmwareCalls] | None:
    """Begin to count CLEAN_INV_MEMREGION calls; the result tells how many there were since.

    Our provider counts them; on a virtual board with raw calls enabled the
    firmware itself does. None where nobody can.
    """
    if debugfs.has_provider_module():
        before = debugfs.provider_counters()
        return lambda: debugfs.provider_counters().since(before)
    if info.raw_calls:
        return _count_in_stub(debugfs)
    return None


def _count_in_stub(debugfs: Debugfs) -> Callable[[], FirmwareCalls] | None:
    from pyctl.firmware.client import Stub

    stub = Stub(debugfs.raw_call)
    if not stub.is_ours():
        return None
    calls_before, log_before = stub.get("clean_inv_calls"), stub.get("log_total")

    def since() -> FirmwareCalls:
        calls = stub.get("clean_inv_calls") - calls_before
        statuses = [entry.status for entry in stub.log(log_before)]
        # The firmware remembers its last calls only.
        is_whole = len(statuses) == calls
        return FirmwareCalls(
            calls=calls,
            busy=statuses.count(BUSY) if is_whole else None,
            rate_limited=statuses.count(RATE_LIMITED) if is_whole else None,
            last_status=statuses[-1] if statuses else None,
        )

    return since


def calls_inside(debugfs: Debugfs) -> list[str]:
    """The calls that firmware has not returned from, a sentence each, by its own log.

    Empty where firmware keeps no log: everywhere but on a virtual board.
    """
    from pyctl.firmware.client import Stub

    try:
        log = Stub(debugfs.raw_call).log()
    except PyctlError:
        return []
    return [f"{call} has not returned." for call in log if call.left_ns is None]
