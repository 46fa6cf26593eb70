# SPDX-License-Identifier: GPL-2.0-only
"""What `pyctl conformance` and `pyctl coherency` say of a board's firmware, by default options.

A program of its own, so that a score that is interrupted ends its boards: it takes a board
and a fault, or an edit of the stub's source, as JSON, and prints what the commands said as
JSON. The board is pristine, and the fault is armed when it is up, as a board's firmware that
is bad from the beginning would be found by who has just loaded the modules.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyctl.cache import Cache
from pyctl.errors import PyctlError, TargetLost
from pyctl.firmware.settings import parse_settings
from pyctl.vm.build import stub_source
from pyctl.vm.factory import BoardFactory
from pyctl.vm.session import Board, Streams
from pyctl.vm.spec import Spec
from tests.harness import virtual
from tests.mutants import firmware, stub
from tests.mutants.source import Edit, edited

TIMEOUT_S = 900
# A CPU that never returns takes all others along where it keeps the kernel's time; which one
# keeps it is another one on another board. One that was starved by its host is lost, too.
BOARDS_TO_LOSE = 3
NOT_BUILT = "the stub does not build"
COMMANDS = ("coherency", "conformance")
"""In this order, for what only the first call does is seen by who looks at memory."""
BOARDS: dict[str, dict[str, Any]] = {"dt": {"cpus": 4}, "uefi": {"boot": "uefi", "cpus": 4}}
"""Those that defects are planted on: with a range for tests, and with scratch memory."""
UNUSUAL_BOARDS = ("@hvc-4cpu", "@uefi-4cpu")
SETTINGS = ("", "global=1", "latency_us=50000", "rate=1000")
"""Of firmware that conforms, each on every kind of board."""
_ABOVE_4_GIB = "only_below"


def asked(board: str, fault: str, edit: Edit | None = None) -> dict[str, Any]:
    """What this program takes, for a defect on one of BOARDS."""
    options = dict(BOARDS[board])
    if fault == _ABOVE_4_GIB:
        options["high_target"] = True
    return {"board": options, "fault": fault, "edit": edit, "is_good": False, "may_ask": False}


def clean(
    board: str, settings: Sequence[str], fault: str = "", may_ask: bool = False
) -> dict[str, Any]:
    """The same for firmware that conforms, on a board of the matrix."""
    firmware = [setting for setting in settings if setting]
    options = virtual.BOARDS[board] | {"firmware": firmware}
    return {"board": options, "fault": fault, "edit": None, "is_good": True, "may_ask": may_ask}


def defects() -> dict[str, dict[str, Any]]:
    """What this program takes for each defect on each board, by name."""
    wanted = {
        f"{board}: {name}": asked(board, fault)
        for board in BOARDS
        for name, fault in firmware.DEFECTS.items()
        if (board, name) not in firmware.INVISIBLE
    }
    wanted |= {
        f"{board}: source: {name}": asked(board, "", edit)
        for board in BOARDS
        for name, edit in stub.DEFECTS.items()
        if board == "dt" or name in stub.SEEN_WITH_UEFI
    }
    return wanted


def good() -> dict[str, dict[str, Any]]:
    """The same for firmware that conforms, on boards of the matrix."""
    usual = {
        f"clean: {board} {settings or 'usual'}": clean(board, (settings,))
        for board, settings in itertools.product(virtual.BOARDS, SETTINGS)
    }
    unusual = {
        f"clean: {board} {name}": clean(board, settings, fault, name in firmware.WORTH_ASKING)
        for board in UNUSUAL_BOARDS
        for name, (settings, fault) in firmware.UNUSUAL.items()
    }
    return usual | unusual


def said(board: Board, *words: str) -> tuple[int, dict[str, Any]]:
    """Run a command of pyctl's on the board; its exit status and its answer."""
    out, err = bytearray(), bytearray()
    board.start(("pyctl", *words, "--json"))
    status = board.follow(Streams(out.extend, err.extend), TIMEOUT_S)
    try:
        return status, json.loads(out)
    except ValueError:
        raise SystemExit(f"pyctl {' '.join(words)}: {(out + err).decode()[-500:]}") from None


def complaints(
    command: str, status: int, answer: dict[str, Any], may_ask: bool = False
) -> list[str]:
    """What a command has against firmware: itself, the rule or case, and the sentence.

    With ``may_ask`` it is no complaint that something is worth asking the vendor.
    """
    found = []
    for rule in answer.get("rules", ()):
        is_odd = rule["id"] in answer["ask_vendor"]
        if rule["result"] == "fail" or (is_odd and not may_ask):
            asks = "ask: " if is_odd else ""
            found.append(f"{command} {rule['id']}: {asks}{rule['evidence']['summary']}")
    for case in answer.get("cases", ()):
        if case["bad"] or case["error"]:
            # The answer's own sentence may be about another case.
            says = case["bad"][0]["sentence"] if case["bad"] else case["error"]
            found.append(f"{command} '{case['name']}': {says}")
            break
    if status not in (0, 3) and not found:
        found.append(f"{command}: {answer['error']}")
    return found


@contextlib.contextmanager
def _board(spec: Spec, edit: Edit | None) -> Iterator[Board]:
    """A pristine board, whose firmware is made of our source or of an edit of it."""
    boards = BoardFactory(Cache())
    if edit is None:
        with boards.boot(spec) as board:
            yield board
        return
    with tempfile.TemporaryDirectory() as directory:
        edited(stub_source(), edit).write(Path(directory))
        try:
            boards.builder.stub(Path(directory))
        except PyctlError as error:
            raise SystemExit(f"{NOT_BUILT}: {error}") from None
        # A snapshot of each would cost more than it spares.
        with boards.boot(replace(spec, stub=Path(directory)), cold=True) as board:
            yield board


def judged(wanted: dict[str, Any]) -> tuple[list[str], dict[str, int]]:
    """Boot, plant and ask: what the commands have against firmware, and their exit statuses."""
    options = dict(wanted["board"])
    settings = options.pop("firmware", ())
    spec = Spec(firmware=tuple(parse_settings(settings)), **options)
    found: list[str] = []
    statuses: dict[str, int] = {}
    with _board(spec, wanted["edit"]) as board:
        if wanted["fault"]:
            status, answer = said(board, "fault", "set", wanted["fault"])
            if status:
                raise SystemExit(f"the fault was not armed: {answer['error']}")
        for command in COMMANDS:
            status, answer = said(board, command)
            statuses[command] = status
            found += complaints(command, status, answer, wanted["may_ask"])
            if status and wanted["is_good"] and not found:
                found.append(f"{command}: exit status {status}: {answer['error']}")
            # One command that says it is enough, and a CPU may be gone.
            if found and not wanted["is_good"]:
                break
    return found, statuses


def main() -> None:
    """Print what was said; a board that is lost has said nothing, and another one is asked."""
    wanted = json.loads(sys.argv[1])
    for lost_before in range(BOARDS_TO_LOSE):
        try:
            found, statuses = judged(wanted)
        except TargetLost as lost:
            if lost_before + 1 == BOARDS_TO_LOSE or wanted["is_good"]:
                raise SystemExit(f"the board was lost: {lost.message}") from None
        else:
            print(json.dumps({"found": found, "statuses": statuses}))
            return


if __name__ == "__main__":
    main()
