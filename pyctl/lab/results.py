# SPDX-License-Identifier: GPL-2.0-only
"""The one form in which results are kept, whoever found them and whoever reads them.

Tests, rules and measurements of one board in one go are a run. Writers (KTAP, KCIDB,
LAVA), the store and the report read this and nothing else. An outcome says whose
fault it is: FAIL accuses firmware or kernel, ERROR the lab (a board that was lost or
could not be had), and INCOMPLETE says that nobody knows. None of these is a pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from pyctl import __version__


class ItemKind(StrEnum):
    """What a result is about."""

    TEST = "test"
    RULE = "rule"
    MEASUREMENT = "measurement"


class ItemOutcome(StrEnum):
    """What came of a test, a rule or a measurement, or of a whole run."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    """Not tried, or nothing to judge; the reason says why."""
    ERROR = "error"
    """Trouble of the lab: a board lost or not to be had, a fault of our own."""
    INCOMPLETE = "incomplete"
    """Begun, or planned, and nobody knows what came of it."""


_WORST_FIRST = (ItemOutcome.INCOMPLETE, ItemOutcome.ERROR, ItemOutcome.FAIL, ItemOutcome.PASS)


def now() -> str:
    """The time of this machine in UTC, as results say it (ISO 8601, to the millisecond)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Quantity:
    """A number and its unit, such as 12.5 us; the unit is empty for a plain count."""

    value: float
    unit: str = ""


@dataclass(frozen=True)
class ItemEvidence:
    """What shows that an outcome is true.

    ``log`` is what a test printed or the kernel logged, ``registers`` one line for each
    call that matters, ``console`` the last lines of a board that was lost.
    """

    log: str = ""
    registers: tuple[str, ...] = ()
    console: str = ""


@dataclass(frozen=True)
class FirmwareIdentity:
    """By what two builds of firmware can be told apart; empty where the board does not say.

    ``attributes`` are x0 to x4 of the ATTRIBUTES call, such as ``{"x0": "0x0"}``.
    """

    vendor: str = ""
    version: str = ""
    date: str = ""
    smccc_version: str = ""
    conduit: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BoardIdentity:
    """Which board it was, and what ran on it; empty where it is not known (yet).

    ``name`` is the lab's, ``model`` the board's own. ``compatible`` has the device tree's
    words, from the most exact one on. ``reached`` are the options of pytest with which
    everything was asked.
    """

    name: str
    model: str = ""
    compatible: tuple[str, ...] = ()
    kernel: str = ""
    firmware: FirmwareIdentity = FirmwareIdentity()
    reached: str = ""


@dataclass(frozen=True)
class ItemResult:
    """What came of one test, rule or measurement.

    ``path`` is its stable name: a test's node id, a rule's id, a quantity's name.
    ``started`` is this machine's time (see ``now``), for a board's own may be wrong by
    years. ``statement`` says in words what should hold, ``reason`` why it does not, or why
    it was skipped. ``numbers`` are quantities by name.
    """

    path: str
    kind: ItemKind
    outcome: ItemOutcome
    reason: str = ""
    duration_s: float = 0.0
    started: str = ""
    statement: str = ""
    evidence: ItemEvidence = ItemEvidence()
    numbers: Mapping[str, Quantity] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The result for a file; ``result_from`` reads it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class RunHead:
    """What is known of a run before its first result.

    ``what`` is the part of pyctl that ran: ``target``, ``conformance``, ``coherency``,
    ``bench``.
    """

    what: str
    board: BoardIdentity
    id: str = field(default_factory=lambda: uuid4().hex)
    started: str = field(default_factory=now)
    version: str = __version__

    def as_json(self) -> dict[str, Any]:
        """The head for a file; ``head_from`` reads it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class RunResults:
    """A run as far as it is known.

    What was planned and has no result is among the results as INCOMPLETE. ``ended`` is
    empty as long as nobody said that it came to its end, and forever for one that was
    killed. ``trouble`` is why it ended early, if it did.
    """

    head: RunHead
    results: Sequence[ItemResult] = ()
    ended: str = ""
    trouble: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether everything that was planned has a result."""
        unknown = any(result.outcome is ItemOutcome.INCOMPLETE for result in self.results)
        return bool(self.ended) and not (self.trouble or unknown)

    @property
    def why_incomplete(self) -> str:
        """A sentence that says why not everything has a result; empty where all has one."""
        if self.is_complete:
            return ""
        number = self.counts[ItemOutcome.INCOMPLETE]
        missing = f"{number} of {len(self.results)} have no result."
        return self.trouble or (missing if self.ended else f"It did not come to its end. {missing}")

    @property
    def outcome(self) -> ItemOutcome:
        """The worst that is known of it; a run that has only skips, or nothing, is a SKIP.

        INCOMPLETE comes before what was found so far, ERROR before FAIL: ask ``counts``
        for those.
        """
        if not self.is_complete:
            return ItemOutcome.INCOMPLETE
        found = {result.outcome for result in self.results}
        return next((one for one in _WORST_FIRST if one in found), ItemOutcome.SKIP)

    @property
    def counts(self) -> dict[ItemOutcome, int]:
        """How many results there are of each outcome."""
        found = [result.outcome for result in self.results]
        return {outcome: found.count(outcome) for outcome in ItemOutcome}


def board_from(found: Mapping[str, Any]) -> BoardIdentity:
    """The board of a file; keys of a later version are passed over.

    Raises KeyError, TypeError, AttributeError or ValueError where it is none, as do the
    two below.
    """
    known = _known(BoardIdentity, found)
    firmware = FirmwareIdentity(**_known(FirmwareIdentity, found.get("firmware", {})))
    compatible = tuple(found.get("compatible", ()))
    return BoardIdentity(**known | {"firmware": firmware, "compatible": compatible})


def head_from(found: Mapping[str, Any]) -> RunHead:
    """The head of a file."""
    known = _known(RunHead, found)
    # These would be made up if they were not there.
    for name in ("id", "started", "version"):
        known[name] = str(found[name])
    return RunHead(**known | {"board": board_from(found["board"])})


def result_from(found: Mapping[str, Any]) -> ItemResult:
    """The result of a file."""
    evidence = _known(ItemEvidence, found.get("evidence", {}))
    evidence["registers"] = tuple(evidence.get("registers", ()))
    numbers = found.get("numbers", {})
    return ItemResult(
        **_known(ItemResult, found)
        | {
            "path": str(found["path"]),
            "kind": ItemKind(found["kind"]),
            "outcome": ItemOutcome(found["outcome"]),
            "evidence": ItemEvidence(**evidence),
            "numbers": {
                name: Quantity(float(one["value"]), str(one.get("unit", "")))
                for name, one in numbers.items()
            },
        }
    )


def _known(kind: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in dataclasses.fields(kind)}
    return {name: value for name, value in found.items() if name in names}
