# SPDX-License-Identifier: GPL-2.0-only
"""What the answers of pyctl's own commands (``--json``, and ledgers) say as results.

Only what a command itself calls a failure accuses anybody: a rule that is merely
recommended, one that is only observed, and a case that could show nothing are skips
that say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyctl.errors import INTERRUPTED, UsageError
from pyctl.lab.journal import is_journal, read_journal
from pyctl.lab.results import (
    BoardIdentity,
    FirmwareIdentity,
    ItemEvidence,
    ItemKind,
    ItemOutcome,
    ItemResult,
    Quantity,
    RunHead,
    RunResults,
)

COMMANDS: dict[str, tuple[str, ...]] = {
    "doctor": (),
    "attributes": (),
    "conformance": (),
    "coherency": (),
    # Enough for a median, and not too long for firmware that takes a second.
    "invalidate": ("--size", "1M", "--count", "20", "--timeout", "600"),
}
"""Those whose answers are understood, in the order in which a board is looked at.

With each what it is asked beside ``--json``.
"""
_MARKS = {
    "rules": "conformance",
    "cases": "coherency",
    "checks": "doctor",
    "raw": "attributes",
    "elapsed_ns": "invalidate",
}
_NUMBERS = {"latency_us": "us", "rate_per_s": "calls/s", "break_even_bytes": "bytes"}
_TIMES = ("min", "p50", "p99", "max")
_SHOWN_CALLS = 8
# What became of a command as a whole, by its exit status; see the table in README.md.
_BY_STATUS = {
    0: ItemOutcome.PASS,
    1: ItemOutcome.FAIL,
    3: ItemOutcome.SKIP,
    4: ItemOutcome.ERROR,
    INTERRUPTED: ItemOutcome.INCOMPLETE,
}


def results_of(command: str, answer: Mapping[str, Any], status: int) -> list[ItemResult]:
    """The results in a command's answer, and last one that is called as the command is.

    ``status`` is its exit status. Raises KeyError, TypeError or ValueError for what is
    no answer of that command.
    """
    found = list(_READERS[command](answer))
    outcome = _BY_STATUS.get(status, ItemOutcome.ERROR)
    if outcome is ItemOutcome.FAIL and not _is_whole(command, answer):
        outcome = ItemOutcome.INCOMPLETE
    elif outcome is ItemOutcome.FAIL and _accuses(found):
        # The items say what failed; that the command said it too is no second failure.
        outcome = ItemOutcome.PASS
    reason = "" if outcome is ItemOutcome.PASS else _sentences(answer)
    return [*found, ItemResult(command, ItemKind.TEST, outcome, reason, numbers=_numbers(answer))]


def identity_in(answer: Mapping[str, Any], board: BoardIdentity) -> BoardIdentity:
    """The board, with what an answer says of it; ``name`` and what is not said stay."""
    known = board.firmware
    firmware = answer.get("firmware") or {}
    bios = firmware.get("bios") or {}
    smccc, conduit = (firmware.get(key) or answer.get(key) for key in ("smccc_version", "conduit"))
    registers = firmware.get("attributes") or answer.get("raw") or {}
    product = " ".join(filter(None, (bios.get("sys_vendor"), bios.get("product_name"))))
    return replace(
        board,
        model=firmware.get("model") or product or board.model,
        kernel=answer.get("kernel") or board.kernel,
        firmware=FirmwareIdentity(
            bios.get("bios_vendor") or known.vendor,
            bios.get("bios_version") or known.version,
            bios.get("bios_date") or known.date,
            smccc or known.smccc_version,
            conduit or known.conduit,
            {name: str(value) for name, value in registers.items() if value is not None}
            or known.attributes,
        ),
    )


def read_run(path: Path, board: str = "") -> RunResults:
    """The run in a journal, in a ledger, or in a saved answer of one of COMMANDS.

    ``board`` names the board where the file does not. Raises UsageError for other files.
    """
    if is_journal(path):
        return read_journal(path)
    try:
        answer = json.loads(path.read_bytes())
        command = next(name for key, name in _MARKS.items() if key in answer)
        results = results_of(command, answer, _status(command, answer))
        head = RunHead(command, identity_in(answer, BoardIdentity(board or path.stem)))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError):
        raise UsageError(
            f"{path} is neither a journal of results, nor a ledger or an answer of "
            f"{', '.join(COMMANDS)}.",
            "Journals are made by `pytest --journal FILE` and `pyctl lab run`.",
        ) from None
    whole = _is_whole(command, answer)
    ended = answer.get("date") or head.started
    trouble = _sentences(answer) or "The command did not come to its end."
    return RunResults(head, results, ended if whole else "", "" if whole else trouble)


def _is_whole(command: str, answer: Mapping[str, Any]) -> bool:
    """Whether the command came to its end, whatever it found."""
    match command:
        case "conformance":
            return answer["complete"] is True
        case "coherency":
            return answer["shown"] is not None
        case "invalidate":
            # Slow is not wrong: who broke off for want of time has found nothing.
            return answer["interrupted"] is False and answer["errno"] != "ETIMEDOUT"
    return True


def _accuses(results: Iterable[ItemResult]) -> bool:
    return any(result.outcome is ItemOutcome.FAIL for result in results)


def _status(command: str, answer: Mapping[str, Any]) -> int:
    """The exit status that a command must have had; a ledger has no ``ok``."""
    if not _is_whole(command, answer):
        return INTERRUPTED
    if _accuses(_READERS[command](answer)) or answer.get("errno"):
        return 1
    return 0 if answer.get("ok", True) else 3


def _sentences(answer: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (answer.get("error"), answer.get("hint"))))


def _numbers(answer: Mapping[str, Any]) -> dict[str, Quantity]:
    """What firmware states in its attributes, and what calls took; 0 is not stated, or no call."""
    times_ns = answer.get("elapsed_ns") or {}
    return {
        key: Quantity(answer[key], unit) for key, unit in _NUMBERS.items() if answer.get(key)
    } | {key: Quantity(times_ns[key] / 1000, "us") for key in _TIMES if times_ns.get(key)}


def _rules(answer: Mapping[str, Any]) -> Iterator[ItemResult]:
    for rule in answer["rules"]:
        evidence, outcome = rule["evidence"], ItemOutcome.SKIP
        reason = evidence["summary"]
        match rule["result"], rule["severity"]:
            case "pass", _:
                outcome = ItemOutcome.PASS
            case "fail", "required":
                outcome = ItemOutcome.FAIL
            case "fail", _:
                reason = f"Broken, but only recommended: {reason}"
            case "observed", _:
                reason = f"Only observed: {reason}"
        calls = evidence.get("calls", [])[:_SHOWN_CALLS]
        yield ItemResult(
            rule["id"],
            ItemKind.RULE,
            outcome,
            reason,
            statement=f"{rule['statement']} ({rule['section']})",
            numbers=_measured(evidence),
            evidence=ItemEvidence(registers=tuple(map(_registers, calls))),
        )


def _measured(evidence: Mapping[str, Any]) -> dict[str, Quantity]:
    """What was measured of calls: each round's longest one."""
    rounds = sorted(ns / 1000 for ns in evidence.get("worst_ns", ()))
    return {f"round {number}": Quantity(us, "us") for number, us in enumerate(rounds, 1)}


def _registers(call: Mapping[str, Any]) -> str:
    where = "" if call["cpu"] is None else f" on CPU {call['cpu']}"
    sent, came = (
        " ".join(f"{name}={value}" for name, value in call[side].items()) for side in ("in", "out")
    )
    return f"{call['fid']}{where}: {sent} -> {came}"


def _cases(answer: Mapping[str, Any]) -> Iterator[ItemResult]:
    for case in answer["cases"]:
        lines = case["lines"]
        reason, outcome = "", ItemOutcome.PASS
        if case["error"] or any(lines[key] for key in lines if key != "good"):
            outcome = ItemOutcome.FAIL
            counted = ", ".join(f"{number} {key}" for key, number in lines.items() if number)
            reason = case["error"] or f"Lines: {counted}."
        elif case["skipped"] or answer["shown"] is not True:
            outcome = ItemOutcome.SKIP
            reason = case["skipped"] or "Nothing was shown: no line could be bad here."
        yield ItemResult(
            f"coherency: {case['name']}",
            ItemKind.TEST,
            outcome,
            reason,
            statement=f"Every line of {case['addr']} + {case['size']} bytes is good.",
            evidence=ItemEvidence(registers=tuple(map(_bad_line, case["bad"][:_SHOWN_CALLS]))),
        )


def _bad_line(bad: Mapping[str, Any]) -> str:
    return (
        f"line {bad['line']}: {bad['verdict']} as the {bad['side']} sees {bad['addr']}: "
        f"{bad['found']}, expected {bad['expected']}"
    )


def _checks(answer: Mapping[str, Any]) -> Iterator[ItemResult]:
    """Nothing of its own: the answer's error names what is missing."""
    list(answer["checks"])
    yield from ()


def _attributes(answer: Mapping[str, Any]) -> Iterator[ItemResult]:
    """Nothing of its own: the numbers are the command's result."""
    dict(answer["raw"])
    yield from ()


def _calls(answer: Mapping[str, Any]) -> Iterator[ItemResult]:
    """Nothing of its own: what calls took is the command's result."""
    dict(answer["elapsed_ns"])
    yield from ()


_READERS = {
    "doctor": _checks,
    "attributes": _attributes,
    "conformance": _rules,
    "coherency": _cases,
    "invalidate": _calls,
}
