# SPDX-License-Identifier: GPL-2.0-only
"""The words of a conformance run: rules, the outcomes they have, and single calls.

A rule that the specification leaves open is *observed*: what firmware did is
kept with the exact registers, and nobody says whether it is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyctl.conformance.outcome import Outcome
from pyctl.conformance.prober import Prober

WHOLE_SPEC = "DEN0028 v1.7"
CLEAN_INV_SECTION = "DEN0028 v1.7, 7.10"
ATTRIBUTES_SECTION = "DEN0028 v1.7, 7.11"


@dataclass(frozen=True)
class Rule:
    """One statement about firmware, and how to find out whether it holds.

    ``id`` is stable: ledgers of different versions are compared by it. ``risky`` names
    what the check does only when it was allowed to.
    """

    id: str
    severity: str
    section: str
    statement: str
    check: Callable[[Prober], Outcome]
    risky: str = ""
