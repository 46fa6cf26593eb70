# SPDX-License-Identifier: GPL-2.0-only
"""The ranges that are tried: whole and partial lines, borders, one line to everything."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyctl.coherency.lines import Count
from pyctl.coherency.stage import Invalidate, Stage
from pyctl.errors import UsageError
from pyctl.ranges import Range
from pyctl.target.observers import Observer

PARITIES = (0, 1)
BORDERS = {"2 MiB": 2 << 20, "1 GiB": 1 << 30, "4 GiB": 1 << 32}
"""Of what a CPU's page tables map as one, and of what fits into 32 bits."""
MIN_LINES = 16
SPARSE = "one byte of each line"
_SPARSE_LINES = 64


@dataclass
class CaseResult:
    """What came of one case; ``skipped`` says why it was not tried, ``error`` why it broke off."""

    name: str
    request: Range
    count: Count = field(default_factory=Count)
    skipped: str | None = None
    error: str | None = None

    @property
    def is_good(self) -> bool:
        """Nothing bad was seen; a case that was not tried is not good either."""
        return not self.count.bad and not self.error and not self.skipped


def single_cases(window: Range, line: int, page: int) -> dict[str, Range]:
    """Name and range of each case that a window of this size has room for."""
    unit = page if window.size >= 2 * page else line
    middle = (window.addr + window.size // 2) // unit * unit

    # Neither whole lines nor whole words.
    odd = line + 13

    def at(start: int, size: int) -> Range:
        return Range(start, start + size)

    cases = {
        "one line": at(middle, line),
        "one byte": at(middle + line // 2 + 1, 1),
        "first byte of a line": at(middle + 2 * line, 1),
        "a line, and the next one's first byte": at(middle, line + 1),
        "middle of a line": at(middle + line // 4, line // 2),
        "end of one line, start of the next": at(middle + line - 3, 7),
        "lines, the outer two in part": at(middle + line // 2, 4 * line),
        "across a page border": at(middle - line - line // 4, 3 * line),
        "start of the window": at(window.addr, 2 * line),
        "end of the window": at(window.end - line - line // 2, line + line // 2),
        "a page": at(middle, page),
        "a page and a bit": at(middle - page + line // 2, page + line),
        "pages, the outer two in part": at(middle - page - odd, 3 * page + 2 * odd),
        SPARSE: at(window.addr, min(_SPARSE_LINES * line, window.size // 2)),
        "half the window": at(window.addr, window.size // 2),
        "whole window": window,
    }
    for name, size in BORDERS.items():
        border = -(-window.addr // size) * size
        cases[f"across a {name} border"] = at(border - page, 2 * page)
    return {
        name: request
        for name, request in cases.items()
        if window.addr <= request.addr and request.end <= window.end
    }


def check_window(window: Range, line_size: int) -> None:
    """Refuse, with UsageError, a window in which there is not enough to see."""
    if window.addr % line_size or window.size % line_size or window.size < MIN_LINES * line_size:
        raise UsageError(
            f"The window 0x{window.addr:x} + 0x{window.size:x} is not at least {MIN_LINES} whole "
            f"lines of {line_size} bytes.",
            "Give --addr and --size as multiples of the line size.",
        )


def run_single(
    observer: Observer, name: str, request: Range, window: Range, invalidate: Invalidate
) -> Count:
    """One case with the lines' roles one way, and then the other."""
    count = Count()
    for parity in PARITIES:
        seed = hash_of(name) + parity
        stage = Stage(observer, request, window, parity, seed, is_sparse=name == SPARSE)
        count.add(stage.run(invalidate))
    return count


def hash_of(name: str) -> int:
    """A seed that is the same in every run."""
    return int.from_bytes(name.encode(), "little")
