# SPDX-License-Identifier: GPL-2.0-only
"""What conformance asks for, and a call as evidence of what came back."""

from __future__ import annotations

import pytest

from pyctl.conformance.access import MAX_BYTES
from pyctl.conformance.calls import _shapes
from pyctl.conformance.outcome import Call, failed, observed, passed
from pyctl.ranges import Range
from pyctl.smccc import SMCCC_VERSION
from pyctl.target.answers import RawRequest
from tests.unit.fake_firmware import ATTRIBUTES, OPERATION

SENT = tuple(range(101, 118))


def call(fid: int = OPERATION, status: int = 0, cpu: int | None = None, **changed: int) -> Call:
    x = [status & (1 << 64) - 1, *SENT]
    for name, value in changed.items():
        x[int(name[1:])] = value
    return Call(RawRequest(fid, SENT[:3], cpu), SENT, tuple(x), lost=(("x19", 7),))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (call(), "0xc0000005(0x65, 0x66, 0x67) gave SUCCESS"),
        (call(cpu=0), "0xc0000005(0x65, 0x66, 0x67) on CPU 0 gave SUCCESS"),
        (call(status=-5, cpu=3), "0xc0000005(0x65, 0x66, 0x67) on CPU 3 gave BUSY"),
        # A version is a number of its own, but for what is no version.
        (call(SMCCC_VERSION, 0x1_0002), "0x80000000(0x65, 0x66, 0x67) gave 1.2"),
        (call(SMCCC_VERSION, 1), "0x80000000(0x65, 0x66, 0x67) gave 0.1"),
        (call(SMCCC_VERSION, 0), "0x80000000(0x65, 0x66, 0x67) gave SUCCESS"),
        (call(SMCCC_VERSION, -1), "0x80000000(0x65, 0x66, 0x67) gave NOT_SUPPORTED"),
        (call(ATTRIBUTES, 0x1_0002), "0xc0000006(0x65, 0x66, 0x67) gave unknown status 65538"),
    ],
)
def test_a_call_is_told_in_one_line(made: Call, words: str) -> None:
    assert str(made) == words


def test_registers_are_those_from_the_first_to_the_last() -> None:
    made = call(x1=0xAB, x4=5, x17=6)
    assert made.registers(1, 3) == "x1=0xab x2=0x66 x3=0x67"
    assert made.registers(4, 4) == "x4=0x5"
    assert made.changed(1, 3) == ["x1"]
    assert made.changed(2, 17) == ["x4", "x17"]
    assert made.changed(5, 16) == []


def test_the_evidence_has_every_register_that_came_back() -> None:
    answer = call(status=-2, cpu=1, x2=9).as_json()
    assert (answer["fid"], answer["cpu"]) == ("0xc0000005", 1)
    assert answer["in"] == {f"x{n}": f"0x{value:x}" for n, value in enumerate(SENT, 1)}
    assert answer["out"]["x0"] == "0xfffffffffffffffe"
    assert (answer["out"]["x2"], answer["out"]["x19"]) == ("0x9", "0x7")
    assert len(answer["out"]) == 19


def test_what_came_of_a_rule_keeps_its_numbers_and_its_calls() -> None:
    made = call()
    assert failed("Why.", [made], cpu=1).as_json() == {
        "summary": "Why.",
        "cpu": 1,
        "calls": [made.as_json()],
    }
    assert passed("Why.", n=2).as_json() == {"summary": "Why.", "n": 2}
    odd = observed("Why.", [made], is_odd=True, n=0)
    assert (odd.is_odd, odd.as_json()["n"], len(odd.as_json()["calls"])) == (True, 0, 1)
    assert not observed("Why.").is_odd
    assert not failed("Why.").is_odd


# -- what is called for ----------------------------------------------------------------

PAGES = Range(0x5F00_0000, 0x5F04_0000)


@pytest.mark.parametrize(
    ("name", "lines", "pages"),
    [
        ("one page", (False, 64, False), (False, 1, False)),
        ("three pages", (False, 192, False), (False, 3, False)),
        ("the last page", (False, 64, False), (False, 1, False)),
        ("everything", (False, 4096, False), (False, 64, False)),
        ("one byte", (True, 1, True), (True, 1, True)),
        ("one line", (False, 1, False), (True, 1, True)),
        ("a line's end and the next one's start", (True, 2, True), (True, 2, True)),
        ("a page and a bit", (True, 65, False), (True, 2, True)),
        ("pages from an odd base", (True, 192, False), (True, 3, False)),
    ],
)
def test_each_shape_is_what_its_name_says(
    name: str, lines: tuple[bool, int, bool], pages: tuple[bool, int, bool]
) -> None:
    shape = _shapes(PAGES)[name]
    for unit, expected in ((64, lines), (4096, pages)):
        touched = (shape.end - 1) // unit - shape.addr // unit + 1
        assert (bool(shape.addr % unit), touched, bool(shape.end % unit)) == expected
    assert PAGES.addr <= shape.addr < shape.end <= PAGES.end


def test_the_last_page_and_everything_are_that() -> None:
    shapes = _shapes(PAGES)
    assert shapes["one byte"].size == 1
    assert shapes["the last page"].end == PAGES.end
    assert shapes["everything"] == PAGES
    # No more than one call may take.
    assert _shapes(Range(0, 4 * MAX_BYTES))["everything"].size == MAX_BYTES


def test_memory_of_one_page_has_the_shapes_that_fit() -> None:
    page = Range(PAGES.addr, PAGES.addr + 4096)
    shapes = _shapes(page)
    assert {"one page", "one byte", "one line", "everything", "the last page"} == shapes.keys()
    assert shapes["one page"] == page
