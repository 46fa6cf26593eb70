# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel's log says of this project's modules and of what they stand on."""

from __future__ import annotations

import os
import re

from pyctl.target.system import System

_OURS = re.compile(r"memregion_test|smccc|psci|cpu_cache_invalidate|cache_maint", re.IGNORECASE)
_RECORD_BYTES = 8192
"""More than any record takes (include/linux/printk.h: CONSOLE_EXT_LOG_MAX)."""


def our_lines(system: System) -> list[str] | None:
    """Messages that name our modules, SMCCC, PSCI or the kernel's call, oldest first.

    Each has the seconds since boot before it, as dmesg prints them. None where the log
    cannot be read. The form of a record is that of Documentation/ABI/testing/dev-kmsg.
    """
    try:
        fd = os.open(system.path("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return [line for record in _records(fd) for line in _ours(record)]
    except OSError:
        return None
    finally:
        os.close(fd)


def _records(fd: int) -> list[str]:
    records: list[str] = []
    while True:
        try:
            record = os.read(fd, _RECORD_BYTES)
        except BlockingIOError:
            return records
        except BrokenPipeError:
            # Messages were overwritten before they could be read; the next are there.
            continue
        if not record:
            return records
        records.append(record.decode(errors="replace"))


def _ours(record: str) -> list[str]:
    """The lines of what was read; those that begin with a space are about a message."""
    found = []
    for line in record.splitlines():
        prefix, separator, text = line.partition(";")
        if separator and not line.startswith(" ") and _OURS.search(text):
            found.append(f"[{int(prefix.split(',')[2]) / 1e6:12.6f}] {text}")
    return found
