# SPDX-License-Identifier: GPL-2.0-only
"""A board's failures as a file for a virtual board; tests/target shows that they come again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyctl.cli.main import main
from pyctl.errors import UsageError
from pyctl.lab.replay import read_replay, replay_of
from pyctl.lab.results import (
    BoardIdentity,
    FirmwareIdentity,
    ItemEvidence,
    ItemKind,
    ItemOutcome,
    ItemResult,
    Quantity,
)
from pyctl.lab.store import Store
from tests.unit.test_lab_report import TEST, fill

ATTRIBUTES = {"x0": "0x0", "x1": "0x1", "x2": "0xfa", "x3": "0x64", "x4": "0x200000"}
BOARD = BoardIdentity(
    "a", firmware=FirmwareIdentity(smccc_version="1.4", conduit="smc", attributes=ATTRIBUTES)
)
LATER = '{"replay": 9, "board": "", "conduit": "", "firmware": [], "command": [], "cannot": []}'
DISCOVERY = ("smccc=1.2", "global=1", "latency_us=250", "rate=100", "break_even=2097152")


def broken(path, *registers, kind=ItemKind.RULE, **numbers):
    evidence = ItemEvidence(registers=registers)
    quantities = {name: Quantity(value, "us") for name, value in numbers.items()}
    return ItemResult(path, kind, ItemOutcome.FAIL, evidence=evidence, numbers=quantities)


def call(x0):
    return f"0xc4000110 on CPU 0: x1=0x5f000000 -> x0={x0} x1=0x0"


def test_discovery_is_imitated_exactly() -> None:
    assert replay_of(BOARD, [broken("DISC-5")]).firmware == DISCOVERY
    refused = ATTRIBUTES | {"x0": "0xffffffffffffffff"}
    board = replace(
        BOARD, firmware=replace(BOARD.firmware, attributes=refused, smccc_version="1.1")
    )
    made = replay_of(board, [broken("DISC-4")])
    assert (made.firmware, made.cannot) == (("smccc=1.1", "attributes_status=-1"), ())
    for rules, settings in (
        (("DISC-2",), ("clean_inv=0", "attributes=0")),
        (("DISC-2", "DISC-3"), ("clean_inv=0", "attributes=1")),
        (("DISC-3",), ("attributes=0",)),
    ):
        assert replay_of(BOARD, map(broken, rules)).firmware == ("smccc=1.2", *settings)


@pytest.mark.parametrize(
    ("failures", "fault"),
    [
        ([broken("REG-1"), broken("FID-1"), broken("REG-1")], "clobber_x4_x17,smc32_alias"),
        ([broken("CALL-1", call("0xfffffffffffffffd"), call("0xfffffffd"))], "status:-3"),
        ([broken("TIME-1", **{"round 1": 900.4, "round 2": 1200.0})], "latency:900"),
    ],
)
def test_a_broken_rule_is_broken_again(failures, fault) -> None:
    made = replay_of(BOARD, failures)
    assert made.firmware == (*DISCOVERY, f"fault={fault}")
    assert (made.cannot, made.command) == ((), ("pyctl", "conformance"))


def test_what_cannot_be_seen_there_says_why() -> None:
    failures = [
        broken("CALL-1", call("0x0"), call("0xfffffffd")),
        broken("CALL-2", call("0x0")),
        broken("coherency: a page", kind=ItemKind.TEST),
    ]
    made = replay_of(BOARD, failures)
    assert made.firmware == DISCOVERY
    assert [path for path, _ in made.cannot] == ["CALL-1", "CALL-2", "coherency: a page"]
    assert "x1=0x5f000000" in made.cannot[1][1]


def test_failed_tests_are_run_there() -> None:
    made = replay_of(BOARD, [broken(TEST, kind=ItemKind.TEST)])
    assert made.command == ("pytest", TEST)


def test_the_command_makes_a_file_that_vm_run_takes(pyctl, tmp_path, monkeypatch) -> None:
    store, path = tmp_path / "lab.sqlite", tmp_path / "replay"
    with Store(store) as made:
        fill(made, 2)
    words = ("--output", path, "--store", store, "--json")
    ended = pyctl("lab", "replay", "grace-2", *words)
    assert (ended.status, ended.json["board"]) == (0, "grace-2")
    assert "cannot be seen there" in pyctl("lab", "replay", "grace-2", *words[:-1]).out
    assert read_replay(path).conduit == "smc"
    for wrong, message in (("grace-1", "has no failures"), ("x", "no results of a board 'x'")):
        ended = pyctl("lab", "replay", wrong, *words)
        assert (ended.status, message in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no replay"),
        ("[]", "is no replay"),
        ("{}", "is no replay"),
        (LATER, "later"),
    ],
)
def test_what_no_replay_is(tmp_path, text, words) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_replay(path)
    assert main(["vm", "run", "--replay", str(path)]) == 2


def test_a_file_that_is_not_there_is_bad_usage(tmp_path) -> None:
    assert main(["vm", "run", "--replay", str(tmp_path / "x")]) == 2
