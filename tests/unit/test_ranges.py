# SPDX-License-Identifier: GPL-2.0-only
"""Physical ranges: which of them a request may name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyctl.errors import UsageError
from pyctl.ranges import Range, check_width, target_range

numbers = st.integers(min_value=0, max_value=(1 << 64) - 1)


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
