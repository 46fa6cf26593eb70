# SPDX-License-Identifier: GPL-2.0-only
"""Physical ranges: what they are, and which of them make sense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyctl.errors import UsageError


@dataclass(frozen=True, order=True)
class Range:
    """Physical addresses from ``addr`` up to, not including, ``end``."""

    addr: int
    end: int

    def __str__(self) -> str:
        return f"0x{self.addr:x}-0x{self.end - 1:x}"

    @property
    def size(self) -> int:
        """Bytes in the range."""
        return self.end - self.addr

    def overlaps(self, other: Range) -> bool:
        """Whether the two have a byte in common."""
        return max(self.addr, other.addr) < min(self.end, other.end)


def target_range(addr: int, size: int) -> Range:
    """The range that a request names; refuses one that is empty or wraps."""
    if size == 0:
        raise UsageError(
            "The range is empty: size 0 names no memory.", "Give a --size of at least 1 byte."
        )
    if addr + size > 1 << 64:
        raise UsageError(
            f"The range wraps: 0x{addr:x} plus 0x{size:x} bytes ends beyond 64-bit addresses.",
            "Give an --addr and a --size whose sum stays below 2^64.",
        )
    return Range(addr, addr + size)


def check_width(target: Range, pa_bits: int) -> None:
    """Refuse a range that this machine has no physical addresses for."""
    if target.end > 1 << pa_bits:
        raise UsageError(
            f"The range {target} exceeds the physical address width: this CPU has {pa_bits} bits, "
            f"so the last address is 0x{(1 << pa_bits) - 1:x}.",
            "`pyctl regions` lists the ranges that this machine has.",
        )


def intersection(one: Range, other: Range) -> Range:
    """The bytes that both have (empty if they have none in common)."""
    addr = max(one.addr, other.addr)
    return Range(addr, max(addr, min(one.end, other.end)))


def subtract(whole: Range, holes: Iterable[Range]) -> Iterator[Range]:
    """What is left of ``whole`` without ``holes``, in ascending order."""
    position = whole.addr
    for hole in sorted(holes):
        if hole.end <= position or hole.addr >= whole.end:
            continue
        if hole.addr > position:
            yield Range(position, hole.addr)
        position = hole.end
    if position < whole.end:
        yield Range(position, whole.end)
