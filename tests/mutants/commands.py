# SPDX-License-Identifier: GPL-2.0-only
"""What `pyctl conformance` and `pyctl coherency` say of a board's firmware, by default options.

A program of its own, so that a score that is interrupted ends its boards: it takes a board
and a fault, or an edit of the stub's source, as JSON, and prints what the commands said as
JSON. The board is pristine, and the fault is armed when it is up, as a board's firmware that
is bad from the beginning would be found by who has just loaded the modules.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyctl.cache import Cache, Entry
from pyctl.errors import PyctlError, TargetLost
from pyctl.firmware.settings import parse_settings
from pyctl.kbuild import module_source
from pyctl.vm.build import GUEST_TOP, stub_source
from pyctl.vm.factory import BoardFactory
from pyctl.vm.session import Board, Streams
from pyctl.vm.spec import Spec
from tests.harness import virtual
from tests.mutants import firmware, provider, stub
from tests.mutants.source import Edit, edited

TIMEOUT_S = 900
# A CPU that never returns takes all others along where it keeps the kernel's time; which one
# keeps it is another one on another board. One that was starved by its host is lost, too.
BOARDS_TO_LOSE = 3
NOT_BUILT = "what was edited does not build"
NOT_BOOTED = "no board comes up with it"
LOST = "the board was lost"
COMMANDS = (("coherency",), ("conformance",))
"""In this order, for what only the first call does is seen by who looks at memory."""
PROVIDER_COMMANDS = (("conformance", "--provider"),)
"""What there is for the provider, whoever's it is."""
BOARDS: dict[str, dict[str, Any]] = {"dt": {"cpus": 4}, "uefi": {"boot": "uefi", "cpus": 4}}
"""Those that defects are planted on: with a range for tests, and with scratch memory."""
VECTOR_BOARD: dict[str, Any] = {"cpu": "max", "cpus": 2}
"""One whose CPUs have SVE and SME."""
UNUSUAL_BOARDS = ("@hvc-4cpu", "@uefi-4cpu")
SETTINGS = ("", "global=1", "latency_us=50000", "rate=1000")
"""Of firmware that conforms, each on every kind of board."""
_ABOVE_4_GIB = "only_below"


def asked(board: str, fault: str, edit: Edit | None = None) -> dict[str, Any]:
    """What this program takes, for a defect on one of BOARDS."""
    options = dict(BOARDS[board])
    if fault == _ABOVE_4_GIB:
        options["high_target"] = True
    return _wanted(options, fault=fault, edit=edit)


def asked_of_provider(stated: str, edits: Sequence[Edit], is_good: bool = False) -> dict[str, Any]:
    """The same for a provider made of ours by ``edits``, where firmware states something."""
    options = {"cpus": 4, "firmware": [stated] if stated else []}
    return _wanted(options, provider=edits, is_good=is_good)


def _wanted(board: dict[str, Any], **others: Any) -> dict[str, Any]:
    usual = {"fault": "", "edit": None, "provider": None, "is_good": False, "may_ask": False}
    return usual | {"board": board} | others


def clean(
    board: str, settings: Sequence[str], fault: str = "", may_ask: bool = False
) -> dict[str, Any]:
    """The same for firmware that conforms, on a board of the matrix."""
    firmware = [setting for setting in settings if setting]
    options = virtual.BOARDS[board] | {"firmware": firmware}
    return _wanted(options, fault=fault, is_good=True, may_ask=may_ask)


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
    wanted |= {
        f"max: {name}": _wanted(dict(VECTOR_BOARD), fault=fault)
        for name, fault in firmware.VECTOR_DEFECTS.items()
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
    return usual | unusual | {"clean: max usual": _wanted(dict(VECTOR_BOARD), is_good=True)}


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


def provider_defects() -> dict[str, dict[str, Any]]:
    """What this program takes for each defect of a provider that pyctl does not know."""
    return {
        name: asked_of_provider(provider.STATED.get(name, ""), (provider.RENAMED, edit))
        for name, edit in provider.DEFECTS.items()
        if name not in provider.INVISIBLE
    }


def good_providers() -> dict[str, dict[str, Any]]:
    """The same for ours, as little known, with all that firmware states for defects."""
    return {
        f"clean: {stated or 'nothing stated'}": asked_of_provider(stated, (provider.RENAMED,), True)
        for stated in ("", "rate=1000", *provider.STATED.values())
    }


@contextlib.contextmanager
def _board(spec: Spec, wanted: dict[str, Any]) -> Iterator[Board]:
    """A pristine board with our firmware and provider, or with an edit of one of them."""
    boards = BoardFactory(Cache())
    if wanted["provider"]:
        source = functools.reduce(edited, wanted["provider"], module_source())
        modules = _built(lambda: boards.builder.modules(boards.roots.kernel(spec.kernel), source))
        with virtual.VmTarget(boards.cache.say, modules=modules.path).boot(spec, False) as board:
            _exchange_provider(board)
            yield board
    elif wanted["edit"]:
        with tempfile.TemporaryDirectory() as directory:
            edited(stub_source(), wanted["edit"]).write(Path(directory))
            _built(lambda: boards.builder.stub(Path(directory)))
            try:
                # A snapshot of each would cost more than it spares.
                board = boards.boot(replace(spec, stub=Path(directory)), cold=True)
            except TargetLost as lost:
                raise SystemExit(f"{NOT_BOOTED}: {lost.message}") from None
            with board:
                yield board
    else:
        with boards.boot(spec) as board:
            yield board


def _exchange_provider(board: Board) -> None:
    """Load the provider that pyctl does not know, in the place of ours."""
    for command in (
        ("pyctl", "unload"),
        ("pyctl", "load", "--raw", "--provider", "none"),
        ("insmod", f"/{GUEST_TOP}/modules/{provider.STRANGER}.ko"),
    ):
        status, _out, err = board.output(command)
        if status:
            raise SystemExit(f"{' '.join(command)}: {err}")


def _built(make: Callable[[], Entry]) -> Entry:
    """What was made; SystemExit where it does not build."""
    try:
        return make()
    except PyctlError as error:
        raise SystemExit(f"{NOT_BUILT}: {error}") from None


def judged(wanted: dict[str, Any]) -> tuple[list[str], dict[str, int]]:
    """Boot, plant and ask: what the commands have against firmware, and their exit statuses."""
    options = dict(wanted["board"])
    settings = options.pop("firmware", ())
    spec = Spec(firmware=tuple(parse_settings(settings)), **options)
    found: list[str] = []
    statuses: dict[str, int] = {}
    with _board(spec, wanted) as board:
        if wanted["fault"]:
            status, answer = said(board, "fault", "set", wanted["fault"])
            if status:
                raise SystemExit(f"the fault was not armed: {answer['error']}")
        for words in PROVIDER_COMMANDS if wanted["provider"] else COMMANDS:
            command = " ".join(words)
            status, answer = said(board, *words)
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
                raise SystemExit(f"{LOST}: {lost.message}") from None
        else:
            print(json.dumps({"found": found, "statuses": statuses}))
            return


if __name__ == "__main__":
    main()
