# SPDX-License-Identifier: GPL-2.0-only
"""What came of a rule, and the single calls that show it.

A rule that the specification leaves open is *observed*: what firmware did is
kept with the exact registers, and nobody says whether it is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyctl.smccc import SMCCC_VERSION, signed32, status_name, version_text
from pyctl.target.answers import RawRequest

REQUIRED = "required"


RECOMMENDED = "recommended"


OBSERVED = "observed"
"""A severity, and the only outcome (beside NOT_RUN) that a rule of this severity has."""


PASS = "pass"


FAIL = "fail"


NOT_RUN = "not run"


@dataclass(frozen=True)
class Call:
    """One SMCCC call that was made: what was asked for, and all registers as they came back.

    ``sent`` is x1 to x17 as they went in: beyond the arguments, recognisable numbers.
    ``lost`` are others that came back changed, with their new values. Of vectors, these were
    looked at where ``sve_bytes`` (length of a Z register) and ``za_bytes`` (of a row of ZA)
    are not 0.
    """

    request: RawRequest
    sent: tuple[int, ...]
    x: tuple[int, ...]
    lost: tuple[tuple[str, int], ...] = ()
    sve_bytes: int = 0
    za_bytes: int = 0

    @property
    def status(self) -> int:
        """The status in w0."""
        return signed32(self.x[0])

    def changed(self, first: int, last: int) -> list[str]:
        """Names of the registers from ``first`` to ``last`` that are not what went in."""
        return [f"x{n}" for n in range(first, last + 1) if self.x[n] != self.sent[n - 1]]

    def registers(self, first: int, last: int) -> str:
        """Registers as they came back, for people."""
        return " ".join(f"x{n}=0x{self.x[n]:x}" for n in range(first, last + 1))

    def as_json(self) -> dict[str, Any]:
        """The exact registers."""
        out = [*((f"x{n}", value) for n, value in enumerate(self.x)), *self.lost]
        return {
            "fid": f"0x{self.request.fid:08x}",
            "cpu": self.request.cpu,
            "in": {f"x{n}": f"0x{value:x}" for n, value in enumerate(self.sent, 1)},
            "out": {name: f"0x{value:x}" for name, value in out},
        }

    def __str__(self) -> str:
        where = "" if self.request.cpu is None else f" on CPU {self.request.cpu}"
        arguments = ", ".join(f"0x{value:x}" for value in self.request.x)
        is_version = self.request.fid == SMCCC_VERSION and self.status > 0
        answer = version_text(self.status) if is_version else status_name(self.status)
        return f"0x{self.request.fid:08x}({arguments}){where} gave {answer}"


@dataclass(frozen=True)
class Outcome:
    """What came of a rule: the result, a sentence that says why, and the calls that show it.

    ``values`` are further numbers, for machines. ``blocked`` marks a rule that should have
    been run and could not be, ``is_odd`` what breaks no rule that we know, but is worth
    asking whoever made the firmware.
    """

    result: str
    summary: str
    calls: tuple[Call, ...] = ()
    values: tuple[tuple[str, Any], ...] = ()
    blocked: bool = False
    is_odd: bool = False

    def as_json(self) -> dict[str, Any]:
        """The evidence for an answer."""
        evidence: dict[str, Any] = {"summary": self.summary, **dict(self.values)}
        if self.calls:
            evidence["calls"] = [call.as_json() for call in self.calls]
        return evidence


def passed(summary: str, **values: Any) -> Outcome:
    """The rule holds."""
    return Outcome(PASS, summary, values=tuple(values.items()))


def failed(summary: str, calls: Sequence[Call] = (), **values: Any) -> Outcome:
    """The rule is broken; ``calls`` are those that show it."""
    return Outcome(FAIL, summary, tuple(calls), tuple(values.items()))


def observed(
    summary: str, calls: Sequence[Call] = (), is_odd: bool = False, **values: Any
) -> Outcome:
    """What firmware did where nobody says what it should do."""
    return Outcome(OBSERVED, summary, tuple(calls), tuple(values.items()), is_odd=is_odd)


class NotRun(Exception):
    """The rule has nothing to say here: it does not apply."""

    blocked = False

    @property
    def outcome(self) -> Outcome:
        """Why the rule was not run."""
        return Outcome(NOT_RUN, str(self), blocked=self.blocked)


class Blocked(NotRun):
    """The rule applies, but something that it needs is missing."""

    blocked = True
