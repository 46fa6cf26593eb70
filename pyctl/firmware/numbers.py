# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of the stub: its vendor calls, keys and limits.

A transcription of their own; the stub's are in its settings.h, vendor.h and
fault.h, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

RawCall = Callable[[int, Sequence[int]], Sequence[int]]
"""Makes one SMCCC call: function id and x1..., gives x0 to x17."""
U32_LIMIT = (1 << 32) - 1
U64_LIMIT = (1 << 64) - 1
LOG_RECORDS = 256
"""CLEAN_INV_MEMREGION calls that the firmware remembers."""
QUEUE_RUNS = 64
"""Runs of equal statuses that the firmware's queue holds."""
UUID_WORDS = (0x17B0C6CB, 0xD3436850, 0x22D92DA3, 0xB048A850)
"""cbc6b017-5068-43d3-a32d-d92250a848b0, as DEN0028 puts a UUID into w0 to w3."""
MAJOR_REVISION = 1
CALL_UID = 0x8600_FF01
CALL_REVISION = 0x8600_FF03
GET = 0xC600_0001
SET = 0xC600_0002
RESET = 0xC600_0003
QUEUE = 0xC600_0004
LOG = 0xC600_0005
MODEL = 0xC600_0006
MEDIA_READ = 0xC600_0007
MEDIA_WRITE = 0xC600_0008
MEDIA_COPY = 0xC600_0009
MEDIA_BYTES_PER_CALL = 64
MEDIA_BYTES_PER_COPY = 0x1_0000
MODEL_WINDOW_LIMIT = 4 << 20
MODEL_LINE_LIMITS = (16, 4096)
KEY_QUEUED_STATUS = 0x0A
KEY_GUEST_ENTRY = 0x0B
KEY_MEMORY_SIZE = 0x0C
KEY_TARGET_BASE = 0x0D
KEY_TARGET_SIZE = 0x0E
KEY_CONDUIT = 0x0F
CONDUITS = ("hvc", "smc")
CONFIG_MAGIC = 0x3130_4746_434C_5450
CONFIG_SIZE = 0x1_0000


@dataclass(frozen=True)
class ConfigEntry:
    """One word pair of the boot configuration, or one SET call."""

    key: int
    index: int
    value: int


SLOTS = 16
"""Faults that can be armed at the same time."""
MAX_CPUS = 64
DURATION_LIMIT_US = 600_000_000
ANY_CPU = U64_LIMIT
KEY_KIND = 0x40
KEY_PARAMETER = 0x41
KEY_COUNT = 0x42
KEY_EVERY = 0x43
KEY_CPU = 0x44
KEY_CALLS = 0x45
KEY_COMMIT = 0x46
KEY_SEEN = 0x47
KEY_FIRED = 0x48
