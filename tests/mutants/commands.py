# SPDX-License-Identifier: GPL-2.0-only
"""What `pyctl conformance` and `pyctl coherency` say of a board's firmware, by default options.

A program of its own, so that a score that is interrupted ends its boards: it takes a board
and a fault as JSON, and prints what the commands said as JSON. The board is pristine, and
the fault is armed when it is up, as a board's firmware that is bad from the beginning
would be found by who has just loaded the modules.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pyctl.cache import Cache
from pyctl.errors import TargetLost
from pyctl.firmware.settings import parse_settings
from pyctl.vm.factory import BoardFactory
from pyctl.vm.session import Board, Streams
from pyctl.vm.spec import Spec

TIMEOUT_S = 900
COMMANDS = ("conformance", "coherency")


def said(board: Board, *words: str) -> tuple[int, dict[str, Any]]:
    """Run a command of pyctl's on the board; its exit status and its answer."""
    out, err = bytearray(), bytearray()
    board.start(("pyctl", *words, "--json"))
    status = board.follow(Streams(out.extend, err.extend), TIMEOUT_S)
    try:
        return status, json.loads(out)
    except ValueError:
        raise SystemExit(f"pyctl {' '.join(words)}: {(out + err).decode()[-500:]}") from None


def complaints(command: str, status: int, answer: dict[str, Any]) -> list[str]:
    """What a command has against firmware: itself, the rule or case, and the sentence."""
    found = []
    for rule in answer.get("rules", ()):
        is_odd = rule["id"] in answer["ask_vendor"]
        if rule["result"] == "fail" or is_odd:
            asks = "ask: " if is_odd else ""
            found.append(f"{command} {rule['id']}: {asks}{rule['evidence']['summary']}")
    for case in answer.get("cases", ()):
        if case["bad"] or case["error"]:
            found.append(f"{command} '{case['name']}': {answer['error']}")
            break
    if status in (1, 4) and not found:
        found.append(f"{command}: {answer['error']}")
    return found


def main() -> None:
    """Boot, plant, ask, and print what was said."""
    asked = json.loads(sys.argv[1])
    settings = asked["board"].pop("firmware", ())
    spec = Spec(firmware=tuple(parse_settings(settings)), **asked["board"])
    found: list[str] = []
    statuses: dict[str, int] = {}
    try:
        with BoardFactory(Cache()).boot(spec) as board:
            if asked["fault"]:
                status, answer = said(board, "fault", "set", asked["fault"])
                if status:
                    raise SystemExit(f"the fault was not armed: {answer['error']}")
            for command in COMMANDS:
                status, answer = said(board, command)
                statuses[command] = status
                found += complaints(command, status, answer)
                # One command that says it is enough, and a CPU may be gone.
                if asked["fault"] and not asked["all"] and found:
                    break
    except TargetLost as lost:
        found.append(f"the board was lost: {lost.message}")
    print(json.dumps({"found": found, "statuses": statuses}))


if __name__ == "__main__":
    main()
