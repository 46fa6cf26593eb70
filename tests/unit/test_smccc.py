# SPDX-License-Identifier: GPL-2.0-only
"""Numbers, ranges and the texts of debugfs: rules that hold for all input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyctl import smccc
from pyctl.errors import NotReady, UsageError
from pyctl.numbers import errno_name, parse_number, size_text
from pyctl.ranges import Range, check_width, target_range
from pyctl.target.answers import Discovery, Fields, Info, Request

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
def test_a_size_for_people_is_never_further_off_than_rounding(size: int) -> None:
    text = size_text(size)
    unit = SUFFIXES.get(text[-1], 1)
    value = float(text.rstrip("KMGT"))
    assert abs(value * unit - size) <= max(unit * 0.05, size * 1e-9)


@given(numbers, numbers)
def test_a_target_range_is_neither_empty_nor_wrapping(addr: int, size: int) -> None:
    if size == 0:
        with pytest.raises(UsageError, match="empty"):
            target_range(addr, size)
    elif addr + size > 1 << 64:
        with pytest.raises(UsageError, match="wraps"):
            target_range(addr, size)
    else:
        assert target_range(addr, size) == Range(addr, addr + size)


@given(st.integers(min_value=32, max_value=52), st.integers(min_value=-3, max_value=3))
def test_the_last_physical_address_is_the_last_allowed(bits: int, off: int) -> None:
    target = Range(0x1000, (1 << bits) + off)
    if off > 0:
        with pytest.raises(UsageError, match=f"{bits} bits"):
            check_width(target, bits)
    else:
        check_width(target, bits)


@given(st.integers(min_value=-(1 << 31), max_value=(1 << 31) - 1), st.integers(0, (1 << 32) - 1))
def test_a_status_is_the_signed_low_half_whatever_is_above(status: int, upper: int) -> None:
    assert smccc.signed32((upper << 32) | (status & 0xFFFF_FFFF)) == status


def test_ids_and_statuses_are_those_of_the_specification() -> None:
    # Fast call, SMC64, owner 0, numbers 5 and 6 (Arm DEN0028, sections 2.5, 7.10, 7.11).
    for number, function in (
        (5, smccc.CLEAN_INV_MEMREGION),
        (6, smccc.CLEAN_INV_MEMREGION_ATTRIBUTES),
    ):
        assert function == 1 << 31 | 1 << 30 | 0 << 24 | number
    assert [smccc.status_name(-n) for n in range(6)] == [
        "SUCCESS",
        "NOT_SUPPORTED",
        "NOT_REQUIRED",
        "INVALID_PARAMETER",
        "RATE_LIMITED",
        "BUSY",
    ]
    assert smccc.version_text(0x10002) == "1.2"
    assert "-77" in smccc.status_name(-77)


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


def test_a_text_of_another_version_is_named_as_such() -> None:
    for text in ("version", "version=0.1.0 conduit", "version=0.1.0\npa_bits=many"):
        with pytest.raises(NotReady, match="does not say what this pyctl expects") as caught:
            Info.parse(Fields("the file", text))
        assert "pyctl build" in caught.value.hint


def test_attributes_take_only_the_bits_that_the_specification_gives_them() -> None:
    fields = Fields(
        "x",
        "smccc_version=0x10001 conduit=smc features_clean_inv=0 features_attributes=0 status=0 "
        "x0=0x0 x1=0xfffffffffffffffe x2=0xdeadbeef000000fa x3=0x100000000 x4=0x40",
    )
    found = Discovery.parse(fields)
    assert found.is_global is False
    assert found.latency_us == 250
    assert found.rate_per_s == 1 << 32
    assert found.break_even_bytes == 64


def test_attributes_of_a_failed_call_mean_nothing() -> None:
    fields = Fields(
        "x",
        "smccc_version=0x10001 conduit=smc features_clean_inv=0 features_attributes=0 status=-3 "
        "x0=0xfffffffd x1=0x1 x2=0xfa x3=0x64 x4=0x40",
    )
    found = Discovery.parse(fields)
    assert (found.is_global, found.latency_us, found.rate_per_s) == (None, None, None)
    assert found.break_even_bytes is None
    assert found.raw == (0xFFFF_FFFD, 1, 0xFA, 0x64, 0x40)


def test_a_request_says_dry_run_only_where_it_is_one() -> None:
    plain = Request(0x1000, 64)
    assert plain.text() == "addr=0x1000 size=0x40 via=memregion count=1 threads=1\n"
    dry = Request(0x1000, 64, "smccc", 3, 2, dry_run=True)
    assert dry.text() == "addr=0x1000 size=0x40 via=smccc count=3 threads=2 dry_run=1\n"
    assert dry.calls == 6
