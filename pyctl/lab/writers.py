# SPDX-License-Identifier: GPL-2.0-only
"""A run in the forms that labs read: KTAP, KCIDB and LAVA's result lines.

All three end with ``run-complete``, so that a reader who counts what is there sees a
run that was killed. Trouble of the lab is an error where the form has a word for one;
LAVA's lines have none, so there the thing itself is a skip and ``run-complete`` fails.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyctl.errors import UsageError
from pyctl.lab.results import ItemKind, ItemOutcome, ItemResult, Quantity, RunResults

RUN_COMPLETE = "run-complete"
KCIDB_VERSION = {"major": 5, "minor": 3}
_EXCERPT_CHARACTERS = 16384
_KCIDB_STATUS = {
    ItemOutcome.PASS: "PASS",
    ItemOutcome.FAIL: "FAIL",
    ItemOutcome.SKIP: "SKIP",
    ItemOutcome.ERROR: "ERROR",
    ItemOutcome.INCOMPLETE: "MISS",
}
_LAVA_STATUS = {ItemOutcome.PASS: "pass", ItemOutcome.FAIL: "fail"}
_ACCUSES_THE_LAB = (ItemOutcome.ERROR, ItemOutcome.INCOMPLETE)


def ktap(run: RunResults) -> str:
    """The run as KTAP, version 1 (the kernel's Documentation/dev-tools/ktap.rst).

    What a reason or a log says stands in diagnostic lines before the result that it is of.
    """
    results = [*run.results, _completeness(run)]
    lines = ["KTAP version 1", f"1..{len(results)}", *map(_diagnostic, _head(run))]
    for number, result in enumerate(results, 1):
        word, directive = _ktap_words(result)
        lines += map(_diagnostic, _reasons(result))
        lines.append(f"{word} {number} {_without_hash(result.path)}{directive}")
    return "\n".join(lines) + "\n"


def lava(run: RunResults) -> str:
    """The run as lines ``NAME pass|fail|skip [VALUE UNITS]``, each name only once."""
    lines = []
    for name, result, number in _named(run):
        status = _LAVA_STATUS.get(result.outcome, "skip")
        if name == RUN_COMPLETE:
            status = "pass" if result.outcome is ItemOutcome.PASS else "fail"
        value = f" {number.value:g} {_word(number.unit) or 'count'}" if number else ""
        lines.append(f"{name} {status}{value}")
    return "\n".join(lines) + "\n"


def kcidb(run: RunResults, origin: str, build_id: str) -> str:
    """The run as a report for KCIDB, schema 5.3.

    ``origin`` is the lab's name there, ``build_id`` (``ORIGIN:...``) the kernel's build,
    which KCIDB has learned of from whoever made it.
    """
    tests = []
    for place, (name, result, number) in enumerate(_named(run), 1):
        start = result.started or run.head.started
        test: dict[str, Any] = {
            "id": f"{origin}:{run.head.id}.{place}",
            "origin": origin,
            "build_id": build_id,
            "path": f"pyctl.{name}",
            "status": _KCIDB_STATUS[result.outcome],
            "start_time": start,
            "duration": result.duration_s,
            "environment": _environment(run),
            "comment": _clean(" ".join(filter(None, (result.path, result.statement)))),
            "misc": {"kind": str(result.kind), "reason": _clean(result.reason)},
        }
        if excerpt := "\n".join(_reasons(result)):
            test["log_excerpt"] = _clean(excerpt)[-_EXCERPT_CHARACTERS:]
        if number:
            unit = {"unit": _clean(number.unit)} if number.unit else {}
            test["number"] = {"value": number.value, **unit}
        tests.append(test)
    return json.dumps({"version": KCIDB_VERSION, "tests": tests}, indent=1) + "\n"


def _completeness(run: RunResults) -> ItemResult:
    """Whether everything that was planned has a result that tells of the board."""
    outcome, reason = ItemOutcome.PASS, run.why_incomplete
    errors = run.counts[ItemOutcome.ERROR]
    if reason:
        outcome = ItemOutcome.INCOMPLETE
    elif errors:
        outcome, reason = ItemOutcome.ERROR, f"{errors} ended with an error of the lab."
    elif not run.results:
        outcome, reason = ItemOutcome.INCOMPLETE, "It has no results."
    return ItemResult(RUN_COMPLETE, ItemKind.TEST, outcome, reason)


def _named(run: RunResults) -> Iterator[tuple[str, ItemResult, Quantity | None]]:
    """All results under names of letters, digits, ``_``, ``-`` and dots, each only once.

    One with several numbers comes again for each.
    """
    used: set[str] = {RUN_COMPLETE}
    for result in run.results:
        numbers = list(result.numbers.items())
        only = numbers[0][1] if len(numbers) == 1 else None
        yield _unused(result.path, used), result, only
        for name, number in numbers if not only else ():
            yield _unused(f"{result.path}.{name}", used), result, number
    yield RUN_COMPLETE, _completeness(run), None


def _unused(path: str, used: set[str]) -> str:
    plain = name = re.sub(r"[^A-Za-z0-9_-]+", ".", path).strip(".") or "unnamed"
    number = 1
    while name in used:
        number += 1
        name = f"{plain}-{number}"
    used.add(name)
    return name


def _ktap_words(result: ItemResult) -> tuple[str, str]:
    if result.outcome is ItemOutcome.SKIP:
        return "ok", f" # SKIP {_without_hash(result.reason)}".rstrip()
    if result.outcome in _ACCUSES_THE_LAB:
        return "not ok", f" # ERROR {_without_hash(result.reason.partition(chr(10))[0])}".rstrip()
    return ("ok" if result.outcome is ItemOutcome.PASS else "not ok"), ""


def _diagnostic(line: str) -> str:
    # Two blanks more than a line that parsers look into, such as "# Subtest: ".
    return f"#   {_printable(line)}".rstrip()


def _head(run: RunResults) -> Iterator[str]:
    for name, value in _about(run).items():
        yield f"{name}: {value}"


def _about(run: RunResults) -> dict[str, str]:
    """What ran, and on what; only what is known."""
    board, firmware = run.head.board, run.head.board.firmware
    attributes = " ".join(f"{name}={value}" for name, value in firmware.attributes.items())
    found = {
        "run": run.head.id,
        "pyctl": run.head.version,
        "board": board.name,
        "model": board.model,
        "kernel": board.kernel,
        "firmware": " ".join(filter(None, (firmware.vendor, firmware.version, firmware.date))),
        "smccc": " ".join(filter(None, (firmware.smccc_version, firmware.conduit))),
        "attributes": attributes,
    }
    return {name: _clean(value) for name, value in found.items() if value}


def _environment(run: RunResults) -> dict[str, Any]:
    board = run.head.board
    known = {"comment": _clean(board.name), "misc": _about(run)}
    pattern = re.compile(r"[^ \0]+(,[^ \0]+)*")
    if compatible := [word for word in board.compatible if pattern.fullmatch(word)]:
        known["compatible"] = compatible
    return known


def _reasons(result: ItemResult) -> list[str]:
    """What is to be told of a result, line by line; of a pass its numbers only."""
    lines = [
        f"{name}: {number.value:g} {number.unit}".rstrip()
        for name, number in result.numbers.items()
    ]
    if result.outcome in (ItemOutcome.PASS, ItemOutcome.SKIP):
        return lines
    evidence = result.evidence
    texts = (result.statement, result.reason, *evidence.registers, evidence.log, evidence.console)
    return lines + [line for text in texts for line in text.splitlines() if line.strip()]


def _without_hash(text: str) -> str:
    return _printable(text).replace("#", "_").strip()


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _clean(text: str) -> str:
    """Text that every reader of JSON takes: no zero, and no half of a surrogate pair."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _word(unit: str) -> str:
    return re.sub(r"\s+", "_", unit.strip())


@dataclass(frozen=True)
class Outputs:
    """The files that a run shall be written to; None for a form that nobody wants.

    Raises UsageError at once for an origin or a build that KCIDB would not take.
    """

    ktap: Path | None = None
    lava: Path | None = None
    kcidb: Path | None = None
    origin: str = ""
    build_id: str = ""

    def __post_init__(self) -> None:
        if self.kcidb and not re.fullmatch(r"[a-z0-9_]+", self.origin):
            raise UsageError(
                f"KCIDB does not know an origin {self.origin!r}.",
                "Name the lab with --kcidb-origin: small letters, digits and _.",
            )
        if self.kcidb and not re.fullmatch(r"[a-z0-9_]+:[^\0]*", self.build_id):
            raise UsageError(
                f"KCIDB does not know a build {self.build_id!r}.",
                "Name the kernel's build with --kcidb-build ORIGIN:ID, as it was reported there.",
            )

    def __bool__(self) -> bool:
        return bool(self.ktap or self.lava or self.kcidb)

    def write(self, run: RunResults) -> None:
        """Write the run to each file, whole or not at all. Raises OSError where one takes none."""
        for path, text in (
            (self.ktap, ktap),
            (self.lava, lava),
            (self.kcidb, lambda found: kcidb(found, self.origin, self.build_id)),
        ):
            if path:
                replace_file(path, text(run))


def replace_file(path: Path, text: str) -> None:
    """Put a text where a reader finds the one before it or this one, never half of it."""
    if path.exists() and not path.is_file():
        # What is no file, such as a pipe or a terminal, cannot be replaced.
        path.write_text(text)
        return
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
