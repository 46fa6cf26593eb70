# SPDX-License-Identifier: GPL-2.0-only
"""A run's results in a file, whole at any moment, and the difference of two of them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyctl.conformance.outcome import PASS
from pyctl.errors import UsageError

MISSING = "missing"
"""The result of a rule that a ledger does not have."""


def write(path: Path, ledger: dict[str, Any]) -> None:
    """Put a ledger where a reader finds the one before it or this one, never half of it.

    Raises UsageError for a path that names no file, OSError where it cannot be written.
    """
    if not path.name:
        raise UsageError("A ledger needs the name of a file.")
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("w") as file:
            json.dump(ledger, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """A ledger, or a saved answer of ``pyctl conformance --json``; UsageError if it is none.

    ``firmware`` is None where a run ended before it could ask.
    """
    try:
        ledger = json.loads(path.read_bytes())
        # Text that nobody could print, such as half of a surrogate pair, is none of ours.
        json.dumps(ledger, ensure_ascii=False).encode()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        ledger = None
    if not _is_ledger(ledger):
        raise UsageError(
            f"{path} is not a ledger of `pyctl conformance`.",
            "Make one with `pyctl conformance --ledger FILE`.",
        )
    return dict(ledger)


def _is_ledger(found: Any) -> bool:
    """Whether everything is there that a comparison looks at, and of its kind."""
    match found:
        case {"complete": bool(), "firmware": dict() | None, "rules": [*rules]}:
            return all(map(_is_rule, rules))
    return False


def _is_rule(found: Any) -> bool:
    match found:
        case {
            "id": str(),
            "result": str(),
            "severity": str(),
            "evidence": {"summary": str()},
        }:
            return True
    return False


@dataclass(frozen=True)
class Change:
    """A rule whose result, or whose observed registers, are not what they were."""

    id: str
    old: str
    new: str
    summary: str
    """What the new ledger says of it; empty where it says nothing."""

    @property
    def is_regression(self) -> bool:
        """The rule passed, and does not pass any more."""
        return self.old == PASS != self.new

    def as_json(self) -> dict[str, Any]:
        """One entry of ``changes``."""
        return {
            "id": self.id,
            "old": self.old,
            "new": self.new,
            "regression": self.is_regression,
            "summary": self.summary,
        }


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """What changed from ``old`` to ``new``, in the order of the new ledger's rules."""
    before = {rule["id"]: rule for rule in old["rules"]}
    after = {rule["id"]: rule for rule in new["rules"]}
    changes = []
    for name in [*after, *(name for name in before if name not in after)]:
        one, other = before.get(name), after.get(name)
        if _essence(one) != _essence(other):
            changes.append(
                Change(
                    name,
                    one["result"] if one else MISSING,
                    other["result"] if other else MISSING,
                    other["evidence"]["summary"] if other else "",
                )
            )
    return changes


def _essence(rule: dict[str, Any] | None) -> object:
    """What makes a result another one: not the times in the summary, but the registers."""
    return rule and (rule["result"], rule["evidence"].get("calls"))
