# SPDX-License-Identifier: GPL-2.0-only
"""What a rule is, and how a topic states one: with its id and its words right above its check.

A rule that the specification leaves open is *observed*: what firmware did is
kept with the exact registers, and nobody says whether it is right.

To add one, put its check with ``@rule(...)`` above it into the topic that it
belongs to, where its turn shall be: it goes on from what was called before. What
it calls goes through the prober, so that it is paced and remembered; what it
needs and does not find it raises as NotRun or Blocked. An id is never used
again. Firmware that breaks the rule, and nothing else, goes into BROKEN of
``tests/unit/test_conformance.py`` (a test says if it is missing there) and, where
the stub can be made to, into that of ``tests/target/test_conformance.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyctl.conformance.outcome import Outcome

WHOLE_SPEC = "DEN0028 v1.7"
CLEAN_INV_SECTION = "DEN0028 v1.7, 7.10"
WHOLE_SPEC_DEDUCED = "deduced from DEN0028 v1.7"
CLEAN_INV_DEDUCED = "deduced from DEN0028 v1.7, 7.10"
ATTRIBUTES_SECTION = "DEN0028 v1.7, 7.11"

Check = Callable[[Any], Outcome]
"""Finds out whether a rule holds; raises NotRun where it cannot be said.

It takes what its rule is about: a Prober for firmware, a Chain for a provider.
"""


@dataclass(frozen=True)
class Rule:
    """One statement about firmware or a provider, and how to find out whether it holds.

    ``id`` is stable: ledgers of different versions are compared by it. ``risky`` names
    what the check does only when it was allowed to.
    """

    id: str
    severity: str
    section: str
    statement: str
    risky: str
    check: Check


def rule(
    id: str, severity: str, section: str, statement: str, risky: str = ""
) -> Callable[[Check], Rule]:
    """Make a rule of the check below; ``run`` finds it by its kind, in the order of the file."""
    return lambda check: Rule(id, severity, section, statement, risky, check)
