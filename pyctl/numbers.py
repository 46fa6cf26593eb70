# SPDX-License-Identifier: GPL-2.0-only
"""Numbers as people write them and as they read them."""

from __future__ import annotations

import errno
import re

from pyctl.errors import UsageError

_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|[0-9]+(?:_[0-9]+)*)([kKmMgGtT]?)")


_SHIFT = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


_LONGEST_NUMBER = 64
"""Characters; far more than any address needs, far less than int() refuses."""


def parse_number(text: str) -> int:
    """A number as people write it: decimal or 0x-hex, ``_``, suffix K, M, G or T (binary).

    Raises UsageError, which names what is wrong, for everything else.
    """
    match = _NUMBER.fullmatch(text)
    if match and len(text) <= _LONGEST_NUMBER:
        digits = match[1].lower()
        base = 16 if digits.startswith("0x") else 10
        return int(digits, base) << _SHIFT[match[2].upper()]
    raise UsageError(
        f"{text!r} is not a number{_number_fault(text)}.",
        "Write decimal or 0x-hexadecimal, with '_' between digits and one of K, M, G, T "
        "(powers of 1024) at the end if you like: 4096, 0x1000, 64K, 0x4_0000_0000.",
    )


def _number_fault(text: str) -> str:
    if not text:
        return ": it is empty"
    if len(text) > _LONGEST_NUMBER:
        return ": it is too long"
    if text.startswith("-"):
        return ": negative numbers have no meaning here"
    if _NUMBER.match(text) and text[-1:].isalpha():
        return ": the suffix is unknown"
    return ""


def size_text(size: int) -> str:
    """A size for people: ``64K``, ``1.5G``, ``100``; exact for whole multiples."""
    for suffix in "TGMK":
        unit = 1 << _SHIFT[suffix]
        if size >= unit:
            whole, rest = divmod(size, unit)
            return f"{whole}{suffix}" if rest == 0 else f"{size / unit:.1f}{suffix}"
    return str(size)


def errno_name(number: int) -> str | None:
    """``16`` as ``EBUSY``; 0 as None."""
    if number == 0:
        return None
    # Python may know 95 by its other name only; the modules say EOPNOTSUPP.
    if number == errno.EOPNOTSUPP:
        return "EOPNOTSUPP"
    return errno.errorcode.get(number, f"errno {number}")
