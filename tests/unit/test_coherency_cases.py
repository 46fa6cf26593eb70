# SPDX-License-Identifier: GPL-2.0-only
"""The cases of the coherency engine: each range is what its name says, wherever the window is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pyctl.coherency.cases import MIN_LINES, SPARSE, check_window, run_single, single_cases
from pyctl.coherency.run import Plan, Run
from pyctl.coherency.threads import callers_case, run_callers
from pyctl.errors import UsageError
from pyctl.ranges import Range
from pyctl.target.observers import ModelObserver
from tests.unit.test_coherency_lines import BASE, LINE, WINDOW, PythonObserver

PAGE = 4096
# Ends in the middle of a page, and has not only whole ones.
WINDOWS = [Range(BASE, BASE + 16 * PAGE), Range(BASE + 3 * 128, BASE + 9 * PAGE + 128)]


def shape(request: Range, unit: int) -> tuple[bool, int, bool]:
    """Whether its first unit is covered in part, how many it touches, and the same of its last."""
    number = (request.end - 1) // unit - request.addr // unit + 1
    return bool(request.addr % unit), number, bool(request.end % unit)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("line", [16, LINE, 128])
def test_each_case_is_what_its_name_says(window: Range, line: int) -> None:
    cases = single_cases(window, line, PAGE)
    of_lines = {name: shape(request, line) for name, request in cases.items()}
    assert of_lines["one line"] == (False, 1, False)
    assert of_lines["one byte"] == (True, 1, True)
    assert of_lines["first byte of a line"] == (False, 1, True)
    assert of_lines["a line, and the next one's first byte"] == (False, 2, True)
    assert of_lines["middle of a line"] == (True, 1, True)
    assert of_lines["end of one line, start of the next"] == (True, 2, True)
    assert of_lines["lines, the outer two in part"] == (True, 5, True)
    for name in ("one byte", "first byte of a line"):
        assert cases[name].size == 1
    assert cases["a line, and the next one's first byte"].size == line + 1
    of_pages = {name: shape(request, PAGE) for name, request in cases.items()}
    assert of_pages["across a page border"] == (True, 2, True)
    assert of_lines["across a page border"] == (True, 4, True)
    assert of_pages["a page"] == (False, 1, False)
    assert of_pages["a page and a bit"] == (True, 2, True)
    assert PAGE < cases["a page and a bit"].size < 2 * PAGE
    first, touched, last = of_pages["pages, the outer two in part"]
    assert (first, touched >= 4, last) == (True, True, True)
    assert of_lines["pages, the outer two in part"][::2] == (True, True)
    assert cases["start of the window"].addr == window.addr
    assert cases["end of the window"].end == window.end
    assert of_lines["end of the window"] == (True, 2, False)
    for name in (SPARSE, "half the window", "whole window"):
        assert cases[name].addr == window.addr
    assert cases["whole window"] == window
    # All that is left of the window is a guard that must not be touched.
    assert cases["half the window"].size == window.size // 2
    assert 16 * line <= cases[SPARSE].size <= window.size // 2


def test_a_small_window_has_the_cases_that_fit() -> None:
    window = Range(BASE + LINE, BASE + LINE + 2 * PAGE - LINE)
    cases = single_cases(window, LINE, PAGE)
    assert shape(cases["one line"], LINE) == (False, 1, False)
    assert abs(cases["one line"].addr - (window.addr + window.end) // 2) <= LINE
    # The middle of this one lies in a page that begins before it.
    window = Range(BASE + 1024, BASE + 1024 + 2048)
    assert {"one line", "one byte", "middle of a line"} <= single_cases(window, LINE, PAGE).keys()


def test_a_window_of_two_pages_has_a_page_border() -> None:
    cases = single_cases(Range(BASE + 1024, BASE + 1024 + 2 * PAGE), LINE, PAGE)
    assert shape(cases["across a page border"], PAGE)[1] == 2


@pytest.mark.parametrize("size", [1024, 4096, 0x2400, 0x4000, 1 << 20])
@pytest.mark.parametrize("line", [16, 64, 1024])
@pytest.mark.parametrize("page", [4096, 65536])
def test_cases_stay_in_their_window(size: int, line: int, page: int) -> None:
    window = Range(BASE, BASE + max(size, 16 * line))
    cases = single_cases(window, line, page)
    assert {"one line", "one byte", "whole window"} <= set(cases)
    for request in cases.values():
        assert request.size > 0
        assert window.addr <= request.addr
        assert request.end <= window.end
    assert not {name for name in cases if "GiB" in name}
    if window.size >= 2 * page:
        border = cases["across a page border"]
        assert border.addr // page != (border.end - 1) // page


@pytest.mark.parametrize(("name", "border"), [("2 MiB", 2 << 20), ("4 GiB", 1 << 32)])
def test_a_border_in_the_window_is_a_case(name: str, border: int) -> None:
    window = Range(border - 0x8000, border + 0x8000)
    case = single_cases(window, LINE, 4096)[f"across a {name} border"]
    assert case == Range(border - 4096, border + 4096)


def test_every_trial_has_bytes_of_its_own_and_the_same_in_every_run() -> None:
    def bytes_of(name: str) -> list[bytes]:
        class Observer(PythonObserver):
            def prepare(self, addr: int, data: bytes) -> None:
                seen.append(data)
                super().prepare(addr, data)

        seen: list[bytes] = []
        observer = Observer()
        run_single(
            observer,
            name,
            Range(BASE, BASE + LINE),
            WINDOW,
            lambda one: observer.reference.clean_inv(one.addr, one.size),
        )
        return seen

    # Twice, for each line is the CPU's once and a device's once.
    one, other = bytes_of("one line"), bytes_of("one byte")
    assert len({*one, *other}) == 4
    assert bytes_of("one line") == one


@pytest.mark.parametrize(
    "window",
    [
        Range(BASE + 1, BASE + 1 + MIN_LINES * LINE),
        Range(BASE, BASE + MIN_LINES * LINE + 1),
        Range(BASE, BASE + (MIN_LINES - 1) * LINE),
    ],
)
def test_a_window_in_which_nothing_could_be_seen_is_refused(window: Range) -> None:
    words = f"not at least {MIN_LINES} whole lines of 64 bytes"
    with pytest.raises(UsageError, match=words) as raised:
        check_window(window, LINE)
    assert raised.value.hint


def test_the_smallest_window_is_accepted() -> None:
    check_window(Range(BASE, BASE + MIN_LINES * LINE), LINE)


# -- ranges that are longer than anybody's memory -----------------------------------


class Model(ModelObserver):
    """A model that nobody asks for anything."""

    def __init__(self) -> None:
        """There is no firmware."""


def ranges_of(observer: Any, pa_bits: int) -> dict[str, Range]:
    calls: Any = SimpleNamespace(info=SimpleNamespace(pa_bits=pa_bits, page_size=PAGE))
    return Run(observer, Plan(WINDOW, LINE, "model", 1, 1), calls)._ranges()


def test_long_ranges_cover_a_known_half_of_the_window_or_all_of_it() -> None:
    ranges = ranges_of(Model(), 48)
    middle, gib = (WINDOW.addr + WINDOW.end) // 2, 1 << 30
    longest = ranges["more than 4 GiB"]
    assert (longest.addr, longest.size > 4 * gib) == (WINDOW.addr, True)
    assert longest.end >= WINDOW.end
    before = ranges["much before the window, and half of it"]
    # The window lies below 4 GiB, and so there is no more before it.
    assert before == Range(0, middle)
    assert ranges["half the window, and all addresses beyond"] == Range(middle, 1 << 48)


def test_long_ranges_stay_within_what_addresses_there_are() -> None:
    assert all(one.end <= 1 << 32 for one in ranges_of(Model(), 32).values())
    assert "half the window, and all addresses beyond" in ranges_of(Model(), 32)
    assert "more than 4 GiB" not in ranges_of(Model(), 32)


def test_on_a_real_cache_nothing_is_called_for_that_is_not_ours() -> None:
    ranges = ranges_of(PythonObserver(), 48)
    assert ranges == single_cases(WINDOW, LINE, PAGE)


@pytest.mark.parametrize(
    ("callers", "edge", "why"),
    [
        (1, LINE, "there is one caller only"),
        # Each would have fewer lines than there must be, or only edges.
        (WINDOW.size // LINE // (MIN_LINES - 1), LINE, "the window is too small"),
        (2, WINDOW.size // 6 + LINE, "the window is too small"),
    ],
)
def test_callers_that_cannot_be_told_apart_are_not_tried(callers: int, edge: int, why: str) -> None:
    result = callers_case(WINDOW, callers)
    run_callers(result, PythonObserver(), callers, edge, lambda _one: None, 1)
    assert (result.skipped, result.is_good) == (why, False)
    assert sum(result.count.lines.values()) == 0
