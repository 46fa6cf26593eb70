# SPDX-License-Identifier: GPL-2.0-only
"""Numbers as people write and read them: rules that hold for all input."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyctl.errors import UsageError
from pyctl.numbers import errno_name, parse_number, size_text

SUFFIXES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
numbers = st.integers(min_value=0, max_value=(1 << 64) - 1)
suffixes = st.sampled_from(sorted(SUFFIXES))


@given(numbers, suffixes, st.sampled_from(["{}", "{:#x}", "{:#X}", "{:_}", "{:#_x}"]))
def test_every_way_to_write_a_number_means_the_same(number: int, suffix: str, form: str) -> None:
    text = form.format(number).replace("0X", "0x")
    assert parse_number(text + suffix) == number * SUFFIXES[suffix]
    assert parse_number(text + suffix.lower()) == number * SUFFIXES[suffix]


@given(st.text(max_size=12))
def test_what_is_not_of_that_form_is_refused_with_its_text(text: str) -> None:
    plain = text.replace("_", "")
    unit = SUFFIXES.get(plain[-1:].upper(), 0) if plain[-1:] in tuple("kKmMgGtT") else 1
    try:
        number = parse_number(text)
    except UsageError as error:
        refusal = error.message
    else:
        refusal = repr(text)
        digits = plain if unit == 1 else plain[:-1]
        assert digits.isascii()
        assert int(digits, 16 if digits[:2] in ("0x", "0X") else 10) * unit == number
    assert repr(text) in refusal


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        ("-1", "negative"),
        ("-0x10", "negative"),
        ("64Q", "suffix"),
        ("64KB", "suffix"),
        ("9" * 65, "too long"),
        ("+1", "not a number"),
        (" 1", "not a number"),
        ("1 K", "suffix"),
        ("0x", "not a number"),
        ("0b1", "not a number"),
        ("1__0", "not a number"),
        ("_1", "not a number"),
        ("1_", "not a number"),
        ("1.5G", "not a number"),
        ("1e3", "not a number"),
        ("٣", "not a number"),
        ("0xg", "not a number"),
        ("K", "not a number"),
    ],
)
def test_the_refusal_names_the_fault(text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        parse_number(text)


@given(st.integers(min_value=0, max_value=1 << 60))
@example(10496)
def test_a_size_for_people_is_never_further_off_than_rounding(size: int) -> None:
    text = size_text(size)
    unit = SUFFIXES.get(text[-1], 1)
    value = Fraction(text.rstrip("KMGT"))
    assert abs(value * unit - size) <= max(Fraction(unit, 20), size * Fraction(1, 10**9))


def test_errnos_have_the_names_that_the_kernel_uses() -> None:
    assert [errno_name(n) for n in (0, 4, 11, 16, 22, 95, 110)] == [
        None,
        "EINTR",
        "EAGAIN",
        "EBUSY",
        "EINVAL",
        "EOPNOTSUPP",
        "ETIMEDOUT",
    ]
