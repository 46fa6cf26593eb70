# SPDX-License-Identifier: GPL-2.0-only
"""One trial: stores from both sides, a call, and a look at every line.

The steps are apart, because other things happen between them: threads wait for
each other before the call, and the under-flush race takes two calls.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import replace
from itertools import chain

from pyctl.coherency.lines import (
    GOOD,
    GUARD_LINES,
    Count,
    Patterns,
    Roles,
    judge,
    lines_of,
)
from pyctl.ranges import Range, intersection, subtract
from pyctl.target.observers import Observer

Invalidate = Callable[[Range], None]
"""Cleans and invalidates a range, or raises what came instead."""
_ALTERNATING_LINES = 256
_RUN_LINES = 8
"""Of one role in a longer area, where an access for every second line would take seconds.

What depends on the very next line shows where lines alternate; each line has both roles.
"""


class Stage:
    """The lines around a request, with their bytes.

    ``within`` bounds what is touched and watched; ``parity`` says which lines are
    dirty and which are stored to by the device; where it ``is_sparse``, one byte of each is.
    """

    def __init__(
        self,
        observer: Observer,
        request: Range,
        within: Range,
        parity: int,
        seed: int,
        is_sparse: bool = False,
    ) -> None:
        self.observer = observer
        self.request = request
        self.within = within
        size = observer.line_size
        guard = GUARD_LINES * size
        self.area = Range(
            max(request.addr // size * size - guard, within.addr),
            min(-(-request.end // size) * size + guard, within.end),
        )
        self.patterns = Patterns(self.area, seed, size if is_sparse else 0)
        is_long = self.area.size > _ALTERNATING_LINES * size
        self.roles = Roles(size, parity, _RUN_LINES if is_long else 1)

    def prepare(self) -> None:
        """Let both sides see the same old bytes."""
        self.observer.prepare(self.area.addr, self.patterns.old)

    def store(self) -> None:
        """Let the CPU store to its lines, and the device to the others."""
        self.observer.cpu_write(self._pieces(dirty=True))
        self.observer.device_write(self._pieces(dirty=False))

    def _pieces(self, dirty: bool) -> list[tuple[int, bytes]]:
        data = self.patterns.cpu if dirty else self.patterns.device
        base = self.area.addr
        return [
            (run.addr, data[run.addr - base : run.end - base])
            for run in self.roles.runs(self.area)
            if self.roles.is_dirty(run.addr) == dirty
        ]

    def verify(self) -> Count:
        """Look at every line from both sides."""
        cpu = self.observer.cpu_read(self.area.addr, self.area.size)
        device = self.observer.device_read(self.area.addr, self.area.size)
        count = Count()
        inner = self._covered_lines()
        if not self._agree(inner, cpu, device):
            inner = Range(inner.addr, inner.addr)
        size = self.observer.line_size
        count.lines[GOOD] += inner.size // size
        rest = (Range(self.area.addr, inner.addr), Range(inner.end, self.area.end))
        for line in chain(*(lines_of(part, self.request, self.roles) for part in rest)):
            span = slice(line.addr - self.area.addr, line.addr - self.area.addr + line.size)
            count.judged(judge(line, self.patterns, cpu[span], device[span]))
        return count

    def _covered_lines(self) -> Range:
        """The lines of the area that the request covers as a whole."""
        size = self.observer.line_size
        start = max(-(-self.request.addr // size) * size, self.area.addr)
        end = min(self.request.end // size * size, self.area.end)
        return Range(start, max(start, end))

    def _agree(self, lines: Range, cpu: bytes, device: bytes) -> bool:
        """Whether both sides see in all of ``lines`` what was stored last: then each is good."""
        span = slice(lines.addr - self.area.addr, lines.end - self.area.addr)
        stored = bytearray(self.patterns.device)
        for addr, data in self._pieces(dirty=True):
            offset = addr - self.area.addr
            stored[offset : offset + len(data)] = data
        return cpu[span] == stored[span] == device[span]

    def run(self, invalidate: Invalidate) -> Count:
        """All of it."""
        self.prepare()
        self.store()
        invalidate(self.request)
        count = self.verify()
        if not count.bad:
            self._look_again(invalidate, count)
        return count

    def _look_again(self, invalidate: Invalidate, count: Count) -> None:
        """Clean the neighbours, too: what firmware has made of them may show only then.

        A neighbour whose dirty bytes are forgotten is seen as it should be, by the CPU from
        the cache, until it is to be cleaned.
        """
        size = self.observer.line_size
        inner = Range(
            self.request.addr // size * size,
            min(-(-self.request.end // size) * size, self.area.end),
        )
        guards = list(subtract(self.area, [inner]))
        if not guards:
            return
        invalidate(self._pages())
        for guard in guards:
            cpu = self.observer.cpu_read(guard.addr, guard.size)
            device = self.observer.device_read(guard.addr, guard.size)
            for line in lines_of(guard, guard, self.roles):
                span = slice(line.addr - guard.addr, line.addr - guard.addr + size)
                if bad := judge(line, self.patterns, cpu[span], device[span]):
                    count.lines[GOOD] -= 1
                    count.judged(replace(bad, later=True))

    def _pages(self) -> Range:
        """The area with the rest of its pages, for firmware may refuse parts of them."""
        page = mmap.PAGESIZE
        return intersection(
            Range(self.area.addr // page * page, -(-self.area.end // page) * page), self.within
        )
