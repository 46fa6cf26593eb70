# SPDX-License-Identifier: GPL-2.0-only
"""Goes through all rules and keeps what came of each, also when it does not come to the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyctl.conformance import calls, discovery, provider, questions, registers, timing
from pyctl.conformance.access import Access
from pyctl.conformance.outcome import FAIL, NOT_RUN, RECOMMENDED, REQUIRED, NotRun, Outcome
from pyctl.conformance.prober import Prober
from pyctl.conformance.rule import Rule
from pyctl.errors import PyctlError
from pyctl.smccc import CLEAN_INV_MEMREGION_ATTRIBUTES

TOPICS = (discovery, calls, timing, questions, registers)
RULES = tuple(one for topic in TOPICS for one in vars(topic).values() if isinstance(one, Rule))
"""All rules in the order in which they are run: topic by topic, each in the order of its file."""


@dataclass(frozen=True)
class Finding:
    """A rule and what came of it."""

    rule: Rule
    outcome: Outcome

    @property
    def applies(self) -> bool:
        """Whether it should be run here: firmware states what it is about, and it was asked for."""
        return self.outcome.result != NOT_RUN or self.outcome.blocked

    def as_json(self) -> dict[str, Any]:
        """One entry of ``rules``."""
        return {
            "id": self.rule.id,
            "severity": self.rule.severity,
            "section": self.rule.section,
            "statement": self.rule.statement,
            "result": self.outcome.result,
            "applies": self.applies,
            "evidence": self.outcome.as_json(),
        }


PROVIDER_RULES = tuple(one for one in vars(provider).values() if isinstance(one, Rule))
"""The same for the provider that is registered."""


class Report:
    """What is known so far; ``complete`` once every rule has had its turn."""

    subject = "firmware"
    rules = RULES

    def __init__(self, access: Access, risky: bool) -> None:
        self._prober = Prober(access, risky)
        self._asked: object = self._prober
        self.findings: list[Finding] = []
        self.complete = False

    def run(self) -> Iterator[Finding]:
        """Check one rule after the other; gives each as it is done.

        An error that is none of firmware's answers ends the run; it names the rule.
        """
        for rule in self.rules:
            try:
                outcome = rule.check(self._asked)
            except NotRun as reason:
                outcome = reason.outcome
            except PyctlError as error:
                error.message = f"{rule.id}: {error.message}"
                raise
            self.findings.append(Finding(rule, outcome))
            yield self.findings[-1]
        self.complete = True

    @property
    def attributes(self) -> dict[str, str] | None:
        """x0 to x4 of the first ATTRIBUTES call, raw; None before there was one."""
        made = (c for c in self._prober.log if c.request.fid == CLEAN_INV_MEMREGION_ATTRIBUTES)
        first = next(made, None)
        return {f"x{n}": f"0x{x:x}" for n, x in enumerate(first.x[:5])} if first else None

    @property
    def broken(self) -> list[Finding]:
        """Required rules that failed."""
        return self._of(REQUIRED)

    @property
    def warnings(self) -> list[Finding]:
        """Recommended rules that failed."""
        return self._of(RECOMMENDED)

    @property
    def blocked(self) -> list[Finding]:
        """Required rules that could not be run though they apply."""
        return [f for f in self.unrun if f.rule.severity == REQUIRED]

    @property
    def odd(self) -> list[Finding]:
        """What breaks no rule and is worth asking the vendor of the firmware."""
        return [f for f in self.findings if f.outcome.is_odd]

    @property
    def unrun(self) -> list[Finding]:
        """Rules that could not be run though they apply."""
        return [f for f in self.findings if f.outcome.blocked]

    @property
    def not_applicable(self) -> list[Finding]:
        """Rules about what firmware does not state, and those that were not asked for."""
        return [f for f in self.findings if not f.applies]

    @property
    def rest(self) -> list[Finding]:
        """All that holds or was only observed."""
        told = (self.broken, self.warnings, self.odd, self.unrun, self.not_applicable)
        others = {id(f) for part in told for f in part}
        return [f for f in self.findings if id(f) not in others]

    def _of(self, severity: str) -> list[Finding]:
        return [
            finding
            for finding in self.findings
            if finding.outcome.result == FAIL and finding.rule.severity == severity
        ]


class ProviderReport(Report):
    """The same of the provider that is registered."""

    subject = "the provider"
    rules = PROVIDER_RULES

    def __init__(self, chain: provider.Chain) -> None:
        self._asked = self._chain = chain
        self.findings = []
        self.complete = False

    @property
    def attributes(self) -> dict[str, str] | None:
        """x0 to x4 of ATTRIBUTES, raw."""
        raw = self._chain.stated.raw
        return {f"x{n}": f"0x{x:x}" for n, x in enumerate(raw)} if raw else None
