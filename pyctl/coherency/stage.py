# SPDX-License-Identifier: GPL-2.0-only
"""One trial: stores from both sides, a call, and a look at every line.

The steps are apart, because other things happen between them: threads wait for
each other before the call, and the under-flush race takes two calls.
"""

from __future__ import annotations

from collections.abc import Callable

from pyctl.coherency.lines import GOOD, GUARD_LINES, Count, Patterns, judge, lines_of
from pyctl.model import Range
from pyctl.observers import Observer

Call = Callable[[Range], None]
"""Cleans and invalidates a range, or raises what came instead."""


class Stage:
    """The lines around a request, with their bytes.

    ``within`` bounds what is touched and watched; ``parity`` says which lines are
    dirty and which are stored to by the device.
    """

    def __init__(
        self, observer: Observer, request: Range, within: Range, parity: int, seed: int
    ) -> None:
        self.observer = observer
        self.request = request
        size = observer.line_size
        guard = GUARD_LINES * size
        self.area = Range(
            max(request.addr // size * size - guard, within.addr),
            min(-(-request.end // size) * size + guard, within.end),
        )
        self.patterns = Patterns(self.area, seed)
        self.lines = list(lines_of(self.area, request, size, parity))

    def prepare(self) -> None:
        """Let both sides see the same old bytes."""
        self.observer.prepare(self.area.addr, self.patterns.old)

    def store(self) -> None:
        """Let the CPU store to its lines, and the device to the others."""
        self.observer.cpu_write(self._pieces(dirty=True))
        self.observer.device_write(self._pieces(dirty=False))

    def _pieces(self, dirty: bool) -> list[tuple[int, bytes]]:
        data = self.patterns.cpu if dirty else self.patterns.device
        return [
            (line.addr, data[line.addr - self.area.addr :][: line.size])
            for line in self.lines
            if line.dirty == dirty
        ]

    def verify(self) -> Count:
        """Look at every line from both sides."""
        cpu = self.observer.cpu_read(self.area.addr, self.area.size)
        device = self.observer.device_read(self.area.addr, self.area.size)
        count = Count()
        for line in self.lines:
            span = slice(line.addr - self.area.addr, line.addr - self.area.addr + line.size)
            bad = judge(line, self.patterns, cpu[span], device[span])
            count.lines[bad.verdict if bad else GOOD] += 1
            if bad:
                count.bad.append(bad)
        return count

    def run(self, call: Call) -> Count:
        """All of it."""
        self.prepare()
        self.store()
        call(self.request)
        return self.verify()
