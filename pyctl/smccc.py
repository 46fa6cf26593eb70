# SPDX-License-Identifier: GPL-2.0-only
"""Function ids and statuses of the SMCCC cache calls: the one place on the Python side.

Arm DEN0028 v1.7, sections 7.10 and 7.11. The firmware stub and the kernel
modules have transcriptions of their own, so that one wrong number cannot pass
on both sides.
"""

from __future__ import annotations

from pyctl.errors import UsageError
from pyctl.numbers import parse_number

SMCCC_VERSION = 0x8000_0000
ARCH_FEATURES = 0x8000_0001
CLEAN_INV_MEMREGION = 0xC000_0005
CLEAN_INV_MEMREGION_ATTRIBUTES = 0xC000_0006

NOT_SUPPORTED = -1
NOT_REQUIRED = -2
INVALID_PARAMETER = -3
RATE_LIMITED = -4
BUSY = -5

STATUS_NAMES = {
    0: "SUCCESS",
    NOT_SUPPORTED: "NOT_SUPPORTED",
    NOT_REQUIRED: "NOT_REQUIRED",
    INVALID_PARAMETER: "INVALID_PARAMETER",
    RATE_LIMITED: "RATE_LIMITED",
    BUSY: "BUSY",
}

VERSIONS = {"1.0": 0x1_0000, "1.1": 0x1_0001, "1.2": 0x1_0002}
"""What SMCCC_VERSION answers, by the version's name."""

VERSION_WITH_FEATURES = 0x1_0001
"""SMCCC 1.1, the first version that has ARCH_FEATURES."""

VERSION_WITH_SVE = 0x1_0002
"""SMCCC 1.2, the first version that says what becomes of the state of SVE."""


def signed32(register: int) -> int:
    """The status that a register holds: its low half, signed (DEN0028 section 7)."""
    low = register & 0xFFFF_FFFF
    return low - (1 << 32) if low & 0x8000_0000 else low


def status_name(status: int) -> str:
    """Name of a status as the specification writes it, or the number in words."""
    return STATUS_NAMES.get(status, f"unknown status {status}")


def parse_status(text: str) -> int:
    """A status by its name in DEN0028 (any case), or as a signed 32-bit number.

    Raises UsageError, which lists the names, for everything else.
    """
    for status, name in STATUS_NAMES.items():
        if text.upper() == name:
            return status
    try:
        number = parse_number(text.removeprefix("-"))
    except UsageError:
        number = 1 << 32
    number = -number if text.startswith("-") else number
    if not -(1 << 31) <= number < 1 << 31:
        raise UsageError(
            f"{text!r} is neither the name of a status nor a signed 32-bit number.",
            f"The names are {', '.join(STATUS_NAMES.values())}.",
        )
    return number


def version_text(version: int) -> str:
    """``0x10002`` as ``1.2`` (major in bits 30:16, minor in bits 15:0)."""
    return f"{version >> 16}.{version & 0xFFFF}"
