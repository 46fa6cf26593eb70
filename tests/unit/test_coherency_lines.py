# SPDX-License-Identifier: GPL-2.0-only
"""The coherency engine's judgement, on a cache that is a few lines of Python.

What it must never do is accuse an operation that only did more than it was asked
for; what it must always do is see an operation that did less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyctl.coherency.cases import SPARSE, run_single, single_cases
from pyctl.coherency.lines import (
    DAMAGED,
    GOOD,
    LOST,
    STALE,
    Count,
    Line,
    Patterns,
    judge,
)
from pyctl.coherency.stage import Stage
from pyctl.ranges import Range
from pyctl.target.observers import Piece, _spans, joined
from tests.reference import Reference

BASE = 0x5F00_0000
LINE = 64
WINDOW = Range(BASE, BASE + 0x4000)


class PythonObserver:
    """Both sides of the reference model."""

    name = "python"
    line_size = LINE
    limits: Sequence[str] = ()

    def __init__(self) -> None:
        self.reference = Reference(BASE, bytes(WINDOW.size), LINE)

    def prepare(self, addr: int, data: bytes) -> None:
        for copy in (self.reference.cache, self.reference.media, self.reference.synced):
            copy[addr - BASE : addr - BASE + len(data)] = data

    def cpu_write(self, pieces: Iterable[Piece]) -> None:
        for addr, data in pieces:
            self.reference.cpu_write(addr, data)

    def cpu_read(self, addr: int, size: int) -> bytes:
        return bytes(self.reference.cache[addr - BASE : addr - BASE + size])

    def device_write(self, pieces: Iterable[Piece]) -> None:
        for addr, data in pieces:
            self.reference.device_write(addr, data)

    def device_read(self, addr: int, size: int) -> bytes:
        return bytes(self.reference.media[addr - BASE : addr - BASE + size])


def stage_run(request: Range, parity: int, operation: Callable[[Reference, Range], None]) -> Count:
    observer = PythonObserver()
    stage = Stage(observer, request, WINDOW, parity, seed=1)

    def invalidate(asked: Range) -> None:
        assert isinstance(asked.addr, int)
        operation(observer.reference, asked)

    count = stage.run(invalidate)
    assert all(isinstance(number, int) for number in count.lines.values())
    assert all(len(bad.found) == len(bad.expected) for bad in count.bad)
    return count


def good(reference: Reference, request: Range) -> None:
    reference.clean_inv(request.addr, request.size)


requests = st.tuples(st.integers(0, WINDOW.size - 1), st.integers(1, 1000)).map(
    lambda pair: Range(BASE + pair[0], min(BASE + pair[0] + pair[1], WINDOW.end))
)
parities = st.sampled_from([0, 1])


@given(requests, parities, st.integers(0, 2000), st.integers(0, 2000), st.booleans())
def test_doing_more_than_was_asked_for_is_good(
    request: Range, parity: int, before: int, after: int, is_global: bool
) -> None:
    count = stage_run(
        request,
        parity,
        lambda reference, r: reference.clean_inv(
            r.addr - before, r.size + before + after, is_global
        ),
    )
    assert count.bad == []
    assert count.lines[GOOD] > 0


@given(requests, parities, st.data())
def test_every_line_that_is_left_out_is_found(
    request: Range, parity: int, data: st.DataObject
) -> None:
    """All lines of the request are operated on, but for one."""
    lines = range(request.addr // LINE * LINE, request.end, LINE)
    missed = data.draw(st.sampled_from(list(lines)))

    def all_but_one(reference: Reference, _range: Range) -> None:
        for line in lines:
            if line != missed:
                reference.clean_inv(line, 1)

    [bad] = stage_run(request, parity, all_but_one).bad
    assert (bad.line, bad.verdict) == (missed, STALE)
    assert missed <= bad.addr < missed + LINE
    assert request.addr <= bad.addr < request.end


@pytest.mark.parametrize("parity", [0, 1])
@pytest.mark.parametrize(
    ("fault", "sides"),
    [("noop", ["device", "cpu"]), ("clean_only", ["cpu"]), ("invalidate_only", ["cpu"])],
)
def test_side_that_sees_the_wrong_bytes_is_named(parity: int, fault: str, sides: list[str]) -> None:
    request = Range(BASE + 4 * LINE, BASE + 8 * LINE)
    count = stage_run(
        request, parity, lambda reference, r: reference.clean_inv(r.addr, r.size, fault=fault)
    )
    assert {bad.side for bad in count.bad} == set(sides)
    assert {bad.verdict for bad in count.bad} == {LOST if fault == "invalidate_only" else STALE}


def test_lost_neighbour_in_a_partly_covered_line_is_damaged() -> None:
    """The bytes beside the request go, those in it are as they must be."""
    request = Range(BASE + 4 * LINE + 8, BASE + 4 * LINE + 16)

    def careless(reference: Reference, r: Range) -> None:
        good(reference, r)
        line = slice(4 * LINE, 4 * LINE + 8)
        reference.cache[line] = reference.media[line] = bytes(8)

    verdicts = {
        bad.verdict for parity in (0, 1) for bad in stage_run(request, parity, careless).bad
    }
    assert verdicts == {DAMAGED}


@pytest.mark.parametrize("distance", [-2, -1, 1, 2])
@pytest.mark.parametrize("parity", [0, 1])
def test_lost_neighbour_line_is_damaged(distance: int, parity: int) -> None:
    request = Range(BASE + 8 * LINE, BASE + 9 * LINE)

    def careless(reference: Reference, r: Range) -> None:
        good(reference, r)
        start = (8 + distance) * LINE
        reference.cache[start : start + LINE] = bytes(LINE)
        reference.media[start : start + LINE] = bytes(LINE)

    [bad] = stage_run(request, parity, careless).bad
    assert (bad.line, bad.verdict) == (BASE + (8 + distance) * LINE, DAMAGED)


@pytest.mark.parametrize("parity", [0, 1])
def test_a_neighbour_whose_dirty_bytes_are_forgotten_is_seen_when_it_is_cleaned(
    parity: int,
) -> None:
    """The CPU goes on to see them, and memory never gets them."""
    request = Range(BASE + 8 * LINE, BASE + 9 * LINE)

    def forgetful(reference: Reference, r: Range) -> None:
        good(reference, r)
        for distance in (-1, 1):
            line = slice((8 + distance) * LINE, (9 + distance) * LINE)
            reference.synced[line] = reference.cache[line]

    count = stage_run(request, parity, forgetful)
    bad = count.bad
    # Each of the five lines is counted once, as what it turned out to be.
    assert count.lines == {GOOD: 5 - len(bad), STALE: 0, LOST: len(bad), DAMAGED: 0}
    # The other two of the four have a device's bytes, and nothing to forget.
    dirty = [line for line in (7, 9) if (BASE // LINE + line + parity) % 2 == 0]
    assert [line.line for line in bad] == [BASE + line * LINE for line in dirty]
    assert all(line.later for line in bad)
    if bad:
        assert "after a call for itself" in str(bad[0])


@pytest.mark.parametrize("dirty", [True, False])
@pytest.mark.parametrize(
    ("wrong", "verdict", "side"),
    [
        # Who stored must find it again, whatever the other one finds.
        ({"writer": [10, 12]}, LOST, "writer"),
        ({"writer": [20, 60]}, DAMAGED, "writer"),
        ({"writer": [60]}, DAMAGED, "writer"),
        # The other one must find it in what the request covers, and elsewhere old bytes or new.
        ({"reader": [10, 12]}, STALE, "reader"),
        ({"reader": [20, 60]}, DAMAGED, "reader"),
        ({"reader": [0]}, DAMAGED, "reader"),
        ({"old": [10]}, STALE, "reader"),
        ({"old": [0, 20, 63]}, None, ""),
        ({}, None, ""),
        # The worst is told.
        ({"writer": [10], "reader": [8]}, LOST, "writer"),
        ({"writer": [20], "reader": [15]}, STALE, "reader"),
        ({"writer": [20], "reader": [0]}, DAMAGED, "writer"),
    ],
)
def test_a_line_is_judged_by_what_each_side_sees(dirty: bool, wrong, verdict, side) -> None:
    patterns = Patterns(WINDOW, 3)
    line = Line(BASE + LINE, LINE, dirty, range(8, 16))
    own = slice(LINE, 2 * LINE)
    new, old = (patterns.cpu if dirty else patterns.device)[own], patterns.old[own]
    # Bytes that nobody has stored there.
    seen = {one: bytearray(new) for one in ("writer", "reader")}
    for one, offsets in wrong.items():
        for offset in offsets:
            if one == "old":
                seen["reader"][offset] = old[offset]
            else:
                seen[one][offset] = new[offset] ^ 1
    cpu, device = (seen["writer"], seen["reader"]) if dirty else (seen["reader"], seen["writer"])
    bad = judge(line, patterns, bytes(cpu), bytes(device))
    if verdict is None:
        assert bad is None
        return
    offset = wrong[side][0] if side in wrong else wrong["old"][0]
    assert bad is not None
    assert (bad.line, bad.verdict, bad.addr) == (line.addr, verdict, line.addr + offset)
    assert bad.side == ("cpu" if dirty == (side == "writer") else "device")
    assert bad.expected == new[offset : offset + 16]
    assert bad.found == bytes(seen[side][offset : offset + 16])


def test_counts_add_up() -> None:
    request = Range(BASE + 4 * LINE, BASE + 8 * LINE)
    counts = [stage_run(request, parity, lambda _one, _range: None) for parity in (0, 1)]
    both = Count()
    for count in counts:
        both.add(count)
    assert both.bad == counts[0].bad + counts[1].bad
    assert both.lines == {name: sum(one.lines[name] for one in counts) for name in both.lines}
    assert both.lines[STALE] == 8


@pytest.mark.parametrize("parity", [0, 1])
def test_of_a_line_that_is_bad_at_its_end_no_more_is_shown(parity: int) -> None:
    request = Range(BASE + 4 * LINE + 60, BASE + 5 * LINE)
    [bad] = stage_run(request, parity, lambda _one, _range: None).bad
    assert (bad.line, len(bad.found)) == (BASE + 4 * LINE, 4)

    def forgetful(reference: Reference, r: Range) -> None:
        good(reference, r)
        for line in (3, 5):
            end = slice((line + 1) * LINE - 4, (line + 1) * LINE)
            reference.synced[end] = reference.cache[end]
            reference.media[end] = bytes(4)

    assert all(
        len(one.found) == 4 for one in stage_run(request, parity, forgetful).bad if one.later
    )


@pytest.mark.parametrize("parity", [0, 1])
def test_each_line_of_a_long_area_has_both_roles(parity: int) -> None:
    window = Range(BASE, BASE + 1024 * LINE)
    roles = Stage(PythonObserver(), window, window, parity, seed=1).roles
    other = Stage(PythonObserver(), window, window, 1 - parity, seed=1).roles
    lines = range(window.addr, window.end, LINE)
    assert all(roles.is_dirty(line) != other.is_dirty(line) for line in lines)
    runs = list(roles.runs(window))
    assert [run.addr for run in runs] == [BASE, *(run.end for run in runs[:-1])]
    assert runs[-1].end == window.end
    assert len(runs) == 128


def test_bad_line_is_told_in_one_sentence() -> None:
    request = Range(BASE + 4 * LINE + 8, BASE + 5 * LINE)
    [bad] = stage_run(request, 0, lambda _reference, _range: None).bad
    assert str(bad).startswith(
        f"line {BASE + 4 * LINE:#x}: stale: at {BASE + 4 * LINE + 8:#x} the "
    )
    assert len(bad.expected) == len(bad.found) == 16
    assert bad.expected.hex(" ") in str(bad)


def test_every_byte_of_a_pattern_tells_whose_it_is() -> None:
    patterns = Patterns(WINDOW, 7)
    for three in zip(patterns.old, patterns.cpu, patterns.device, strict=True):
        assert len(set(three)) == 3
    assert Patterns(WINDOW, 7).cpu == patterns.cpu
    assert Patterns(WINDOW, 8).cpu != patterns.cpu


def test_good_cache_is_clean_in_every_case() -> None:
    for name, request in single_cases(WINDOW, LINE, 4096).items():
        observer = PythonObserver()
        count = run_single(
            observer,
            name,
            request,
            WINDOW,
            lambda r, o=observer: good(o.reference, r),  # type: ignore[misc]
        )
        assert count.bad == []


def test_a_sparse_pattern_differs_in_one_byte_of_each_line_and_in_every_byte_of_some() -> None:
    patterns = Patterns(WINDOW, 7, LINE)
    differing = [n for n, old in enumerate(patterns.old) if patterns.cpu[n] != old]
    assert differing == [n for n, old in enumerate(patterns.old) if patterns.device[n] != old]
    assert [n // LINE for n in differing] == list(range(WINDOW.size // LINE))
    assert {n % LINE for n in differing[:LINE]} == set(range(LINE))
    assert all(patterns.cpu[n] != patterns.device[n] for n in differing)


@pytest.mark.parametrize("looked_at", [slice(0, 8), slice(0, LINE // 2), slice(8, LINE)])
def test_a_line_that_counts_as_dirty_by_a_part_of_it_is_bad_in_one_case(looked_at: slice) -> None:
    def clean_inv(reference: Reference, request: Range) -> None:
        for _, line in reference.lines(request.addr, request.end - 1):
            is_dirty = reference.cache[line][looked_at] != reference.synced[line][looked_at]
            reference.operate(line, clean=is_dirty, invalidate=True)

    bad = {name: bad_lines(name, request, clean_inv) for name, request in CASES.items()}
    assert {name for name, lines in bad.items() if lines} == {SPARSE}


def test_a_line_of_which_one_byte_is_asked_for_is_not_left_out() -> None:
    def clean_inv(reference: Reference, request: Range) -> None:
        for start, line in reference.lines(request.addr, request.end - 1):
            if start != request.end - 1:
                reference.operate(line, clean=True, invalidate=True)

    bad = {name: bad_lines(name, request, clean_inv) for name, request in CASES.items()}
    assert {name for name, lines in bad.items() if lines} == {
        "first byte of a line",
        "a line, and the next one's first byte",
    }


@pytest.mark.parametrize("parity", [0, 1])
@pytest.mark.parametrize(
    "request_",
    [Range(0, WINDOW.addr + 1024), Range(WINDOW.end - 1024, 1 << 48), Range(0, 1 << 48)],
)
def test_of_a_range_beyond_the_window_only_its_lines_are_counted(
    parity: int, request_: Range
) -> None:
    count = stage_run(request_, parity, good)
    inside = min(request_.end, WINDOW.end) - max(request_.addr, WINDOW.addr)
    guards = 2 if inside < WINDOW.size else 0
    assert count.lines == {GOOD: inside // LINE + guards, STALE: 0, LOST: 0, DAMAGED: 0}
    nothing = stage_run(request_, parity, lambda _reference, _range: None)
    assert nothing.lines[STALE] == inside // LINE


CASES = single_cases(WINDOW, LINE, 4096)


def bad_lines(name: str, request: Range, operation: Callable[[Reference, Range], None]) -> int:
    observer = PythonObserver()
    count = run_single(
        observer, name, request, WINDOW, lambda one: operation(observer.reference, one)
    )
    return len(count.bad)


@given(st.dictionaries(st.integers(0, 40), st.binary(min_size=8, max_size=8)))
def test_joined_pieces_are_the_same_bytes(words: dict[int, bytes]) -> None:
    pieces = [(n * 8, data) for n, data in words.items()]
    whole = joined(pieces)
    assert {a + i: b for a, d in whole for i, b in enumerate(d)} == {
        a + i: b for a, d in pieces for i, b in enumerate(d)
    }
    ends = [addr + len(data) for addr, data in whole]
    assert all(end < start for end, (start, _) in zip(ends, whole[1:], strict=False))


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 200)), min_size=1))
def test_groups_of_pieces_fit_into_the_buffer(sizes: list[tuple[int, int]]) -> None:
    addr, pieces = BASE, []
    for gap, size in sizes:
        pieces.append((addr + gap * 1024, bytes(size * 1024)))
        addr = pieces[-1][0] + len(pieces[-1][1])
    groups = list(_spans(pieces))
    assert all(group[-1][0] + len(group[-1][1]) - group[0][0] <= 0x1_0000 for group in groups)
    assert joined(piece for group in groups for piece in group) == joined(pieces)
