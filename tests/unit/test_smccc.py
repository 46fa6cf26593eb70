# SPDX-License-Identifier: GPL-2.0-only
"""Function ids and statuses are those of the specification."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyctl import smccc


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
