# SPDX-License-Identifier: GPL-2.0-only
"""A board's failures once more on a virtual board: what its firmware must be told to do.

What firmware answers in discovery is imitated exactly. A broken rule is imitated where
our stub knows a way of breaking it, so that it fails in the same way, not for the same
reason; of every other failure it is said why it cannot be had there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyctl.errors import UsageError
from pyctl.firmware.settings import parse_settings
from pyctl.lab.results import BoardIdentity, ItemKind, ItemOutcome, ItemResult
from pyctl.smccc import signed32

FORMAT_VERSION = 1
_OFFERED = ("1.0", "1.1", "1.2")
_COMMAND = ("pyctl", "conformance")
_FAULTS = {
    "DRY-2": "dry_run_acts",
    "FID-1": "smc32_alias",
    "FID-2": "loose_id",
    "FID-3": "refuse_sve",
    "FID-4": "answer_unknown",
    "REG-1": "clobber_x4_x17",
    "REG-2": "clobber_x1_x3",
    "REG-4": "clobber_simd",
    "REG-5": "clobber_fpcr",
    "CALL-4": "busy_over",
    "STAT-2": "x0_garbage",
}
"""Rules that our stub can be made to break, each by one fault."""
_OF_DISCOVERY = ("DISC-1", "DISC-2", "DISC-3", "DISC-4")
"""Those that are broken by what the settings imitate already."""


@dataclass(frozen=True)
class BoardReplay:
    """What a virtual board must be told, and what is to be run there.

    ``cannot`` has the failures that will not be seen there, each with a sentence.
    """

    board: str
    conduit: str
    firmware: tuple[str, ...]
    command: tuple[str, ...]
    cannot: tuple[tuple[str, str], ...]

    def as_text(self) -> str:
        """The replay for a file; ``read_replay`` reads it."""
        cannot = [{"path": path, "why": why} for path, why in self.cannot]
        known = {
            "replay": FORMAT_VERSION,
            "board": self.board,
            "conduit": self.conduit,
            "firmware": self.firmware,
            "command": self.command,
            "cannot": cannot,
        }
        return json.dumps(known, indent=2) + "\n"


def replay_of(board: BoardIdentity, results: Iterable[ItemResult]) -> BoardReplay:
    """How to see a board's failures once more. Raises UsageError where it has none."""
    failed = [result for result in results if result.outcome is ItemOutcome.FAIL]
    if not failed:
        raise UsageError(f"Board {board.name} has no failures in that night.")
    broken = {result.path for result in failed}
    firmware, faults = _discovery(board, broken), []
    cannot, tests = [], []
    for result in failed:
        fault = _fault_of(result)
        if fault:
            faults.append(fault)
        elif result.path.startswith("tests/"):
            tests.append(result.path)
        elif result.path not in _OF_DISCOVERY:
            cannot.append((result.path, _why_not(result)))
    if not board.firmware.attributes:
        cannot.append(("attributes", "The board did not say what its firmware answers."))
    # Twice the same fault is no fault more.
    if faults:
        firmware.append(f"fault={','.join(dict.fromkeys(faults))}")
    # A test may fail for whatever reason: it is run there with the same answers.
    command = _COMMAND if len(tests) < len(failed) or not tests else ("pytest", *tests)
    return BoardReplay(board.name, board.firmware.conduit, tuple(firmware), command, tuple(cannot))


def _discovery(board: BoardIdentity, broken: Collection[str]) -> list[str]:
    """Settings with which firmware answers discovery as the board's did."""
    firmware, found = board.firmware, []
    if firmware.smccc_version:
        known = firmware.smccc_version in _OFFERED
        # Later versions change nothing that the two functions rely on.
        found.append(f"smccc={firmware.smccc_version if known else _OFFERED[-1]}")
    if "DISC-2" in broken:
        # Who announces ATTRIBUTES alone breaks the next rule, too.
        return [*found, "clean_inv=0", f"attributes={int('DISC-3' in broken)}"]
    if "DISC-3" in broken:
        return [*found, "attributes=0"]
    registers = {name: int(value, 0) for name, value in firmware.attributes.items()}
    if not registers:
        return found
    if status := signed32(registers.get("x0", 0)):
        return [*found, f"attributes_status={status}"]
    return [
        *found,
        f"global={registers.get('x1', 0) & 1}",
        f"latency_us={registers.get('x2', 0)}",
        f"rate={registers.get('x3', 0)}",
        f"break_even={registers.get('x4', 0)}",
    ]


def _fault_of(result: ItemResult) -> str:
    """The fault that makes our stub break a rule as the board's firmware did; "" for none."""
    if result.kind is not ItemKind.RULE:
        return ""
    if result.path in _FAULTS:
        return _FAULTS[result.path]
    make: Callable[[ItemResult], str] | None = {
        "CALL-1": _status,
        "STAT-1": _status,
        "TIME-1": _latency,
    }.get(result.path)
    return make(result) if make else ""


def _status(result: ItemResult) -> str:
    """The status that the calls ended with, where it was the same in each that is known."""
    found = {
        signed32(int(match[1], 16))
        for line in result.evidence.registers
        if (match := re.search(r"-> x0=0x([0-9a-f]+)", line))
    }
    return f"status:{found.pop()}" if len(found) == 1 and 0 not in found else ""


def _latency(result: ItemResult) -> str:
    """As long as the best of the rounds was at its worst."""
    rounds = [number.value for name, number in result.numbers.items() if name.startswith("round")]
    return f"latency:{min(rounds):.0f}" if rounds else ""


def _why_not(result: ItemResult) -> str:
    if result.kind is ItemKind.RULE:
        registers = result.evidence.registers
        known = f" The registers are known: {registers[0]}" if registers else ""
        return f"The virtual board's firmware has no way of breaking this rule alone.{known}"
    if result.path.startswith("coherency"):
        return (
            "What firmware left out is seen in memory only; which of its faults does that can "
            "only be guessed (`pyctl fault list`)."
        )
    return "This is no answer of firmware."


def read_replay(path: Path) -> BoardReplay:
    """The replay in a file. Raises UsageError if it is none, or one of a later version."""
    try:
        found: Mapping[str, Any] = json.loads(path.read_bytes())
        version = int(found["replay"])
        replay = BoardReplay(
            str(found["board"]),
            str(found["conduit"]),
            tuple(map(str, found["firmware"])),
            tuple(map(str, found["command"])),
            tuple((str(one["path"]), str(one["why"])) for one in found["cannot"]),
        )
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(
            f"{path} is no replay.", "`pyctl lab replay BOARD --output FILE` makes one."
        ) from None
    if version > FORMAT_VERSION:
        raise UsageError(
            f"{path} is of a later version ({version}) than this pyctl knows ({FORMAT_VERSION}).",
            "Use the pyctl that wrote it, or a later one.",
        )
    parse_settings(replay.firmware)
    return replay
