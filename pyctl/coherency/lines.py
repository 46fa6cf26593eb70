# SPDX-License-Identifier: GPL-2.0-only
"""What each cache line must hold after a clean+invalidate, and what it is if it does not.

Before the call every line near the range has a role: the CPU has stored to it
(dirty), or a device has stored to the memory behind it while the CPU holds an
old copy (device). No line has both, because then nobody could say whose bytes
are right. All bytes of old content, the CPU's and the device's differ from each
other, so that every byte tells where it comes from.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from pyctl.ranges import Range

GOOD = "good"
STALE = "stale"
LOST = "lost dirty data"
DAMAGED = "neighbour damaged"
VERDICTS = (GOOD, STALE, LOST, DAMAGED)
GUARD_LINES = 2
"""Lines on either side of a range that are watched, too."""
_SHOWN_BYTES = 16
_CPU, _DEVICE = 0x55, 0xAA
_STEP = 37
"""Odd, so that it comes by every byte of a line before it repeats itself."""


@dataclass(frozen=True)
class BadLine:
    """A line that is not good: ``addr`` and ``side`` (cpu, device) of its first wrong byte.

    ``expected`` and ``found`` are bytes from there on, at most 16.
    """

    line: int
    verdict: str
    side: str
    addr: int
    expected: bytes
    found: bytes
    later: bool = False
    """Seen only after a further call, which was for the line itself."""

    def __str__(self) -> str:
        when = " after a call for itself" if self.later else ""
        return (
            f"line 0x{self.line:x}: {self.verdict}{when}: at 0x{self.addr:x} the {self.side} "
            f"sees {self.found.hex(' ')} instead of {self.expected.hex(' ')}"
        )


@dataclass
class Count:
    """Lines by verdict, and the bad ones in order."""

    lines: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    bad: list[BadLine] = field(default_factory=list)

    def add(self, other: Count) -> None:
        """Count what another one has counted."""
        for verdict, number in other.lines.items():
            self.lines[verdict] += number
        self.bad += other.bad

    def judged(self, bad: BadLine | None) -> None:
        """Count one line: ``bad`` is what is wrong with it, None if nothing is."""
        self.lines[bad.verdict if bad else GOOD] += 1
        if bad:
            self.bad.append(bad)


class Patterns:
    """Bytes of an area for each role; the same seed gives the same bytes.

    In lines of ``sparse`` bytes, if that is not 0, only one byte is another one than of old: a
    line is dirty as a whole, wherever it was stored to.
    """

    def __init__(self, area: Range, seed: int, sparse: int = 0) -> None:
        self.area = area
        self.old = random.Random(seed).randbytes(area.size)
        where = _one_byte_each(area.size, sparse) if sparse else b"\xff" * area.size
        self.cpu = _flip(self.old, where, _CPU)
        self.device = _flip(self.old, where, _DEVICE)


def _one_byte_each(size: int, line_size: int) -> bytes:
    """0xff for one byte of each line, which is another one from line to line."""
    where = bytearray(size)
    for number, start in enumerate(range(0, size, line_size)):
        where[start + (_STEP * number + _STEP) % line_size] = 0xFF
    return bytes(where)


def _flip(data: bytes, where: bytes, mask: int) -> bytes:
    masks = int.from_bytes(bytes([mask]) * len(data), "little") & int.from_bytes(where, "little")
    return (int.from_bytes(data, "little") ^ masks).to_bytes(len(data), "little")


@dataclass(frozen=True)
class Line:
    """One line of an area, and which of its bytes a request covers (offsets in the line)."""

    addr: int
    size: int
    dirty: bool
    covered: range


@dataclass(frozen=True)
class Roles:
    """Who stores to which line: the CPU to ``run`` lines, a device to the next ``run``."""

    line_size: int
    parity: int
    run: int

    def is_dirty(self, addr: int) -> bool:
        """Whether it is the CPU that stores to the line at ``addr``."""
        return (addr // self.line_size // self.run + self.parity) % 2 == 0

    def runs(self, area: Range) -> Iterator[Range]:
        """An area of whole lines, cut wherever the other one's lines begin."""
        size = self.run * self.line_size
        start = area.addr
        while start < area.end:
            end = min((start // size + 1) * size, area.end)
            yield Range(start, end)
            start = end


def lines_of(area: Range, request: Range, roles: Roles) -> Iterator[Line]:
    """The lines of an area, dirty and device-stored by turns."""
    line_size = roles.line_size
    for addr in range(area.addr, area.end, line_size):
        first = min(max(request.addr - addr, 0), line_size)
        last = min(max(request.end - addr, 0), line_size)
        yield Line(addr, line_size, roles.is_dirty(addr), range(first, last))


def judge(line: Line, patterns: Patterns, cpu: bytes, device: bytes) -> BadLine | None:
    """Compare a line, as the CPU and a device see it, with what it must be; None if good."""
    span = slice(line.addr - patterns.area.addr, line.addr - patterns.area.addr + line.size)
    old = patterns.old[span]
    new = (patterns.cpu if line.dirty else patterns.device)[span]
    # Whoever stored must find it again, in every byte; the other side must find it in
    # what the request covers, and elsewhere may be shown either.
    writer, reader = (cpu, device) if line.dirty else (device, cpu)
    names = ("cpu", "device") if line.dirty else ("device", "cpu")
    if writer == new and reader == new:
        return None

    def bad(verdict: str, offset: int, side: int, found: bytes) -> BadLine:
        part = slice(offset, offset + _SHOWN_BYTES)
        return BadLine(line.addr, verdict, names[side], line.addr + offset, new[part], found[part])

    gone = [offset for offset in range(line.size) if writer[offset] != new[offset]]
    covered_gone = [offset for offset in gone if offset in line.covered]
    if covered_gone:
        return bad(LOST, covered_gone[0], 0, writer)
    for offset in line.covered:
        if reader[offset] != new[offset]:
            return bad(STALE, offset, 1, reader)
    if gone:
        return bad(DAMAGED, gone[0], 0, writer)
    for offset in range(line.size):
        if reader[offset] not in (new[offset], old[offset]):
            return bad(DAMAGED, offset, 1, reader)
    return None
