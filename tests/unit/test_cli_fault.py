# SPDX-License-Identifier: GPL-2.0-only
"""The commands `fault` and `coherency` where there is nothing for them to work on, or nonsense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pyctl.firmware.fault_kinds import KINDS
from pyctl.firmware.numbers import CALL_UID, SLOTS, UUID_WORDS
from pyctl.target.debugfs import Debugfs
from tests.unit.fake_machine import Machine

COMMANDS = [
    ["list"],
    ["set", "noop"],
    ["set", "--add", "noop"],
    ["clear"],
    ["clear", "1"],
    ["show"],
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Function ids that were called; the firmware below is somebody else's."""
    made: list[int] = []

    def raw_call(_self: Any, fid: int, _arguments: Sequence[int]) -> list[int]:
        made.append(fid)
        return [(1 << 64) - 1, *[0] * 17]

    monkeypatch.setattr(Debugfs, "raw_call", raw_call)
    return made


@pytest.fixture
def our_stub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Calls that a stub of ours got; it has no fault armed and accepts everything."""
    made: list[tuple[int, ...]] = []

    def raw_call(_self: Any, fid: int, arguments: Sequence[int]) -> list[int]:
        made.append((fid, *arguments))
        if fid == CALL_UID:
            return [*UUID_WORDS, *[0] * 14]
        if fid == CALL_UID + 2:
            return [1, *[0] * 17]
        return [0, 1 if arguments and arguments[0] == 0x27 else 0, *[0] * 16]

    monkeypatch.setattr(Debugfs, "raw_call", raw_call)
    return made


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_foreign_firmware_is_3_and_gets_the_identification_only(
    pyctl: Any, calls: list[int], words: list[str]
) -> None:
    ended = pyctl("fault", *words)
    assert ended.status == 3
    assert "not the stub" in ended.err
    assert "pyctl vm run" in ended.err
    assert calls == [CALL_UID]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_without_raw_calls_is_3(pyctl: Any, machine: Machine, words: list[str]) -> None:
    ended = pyctl("fault", *words, "--json")
    assert ended.status == 3
    assert ended.json["ok"] is False
    assert "Raw SMCCC calls are not enabled" in ended.json["error"]


@pytest.mark.parametrize(
    "script",
    [["nonsense"], ["noop", "hang:1"], ["noop@next=1", "noop@next=0"], ["hang,status:BUSY"], [""]],
)
def test_bad_script_is_2_and_nothing_is_called(
    pyctl: Any, calls: list[int], script: list[str]
) -> None:
    ended = pyctl("fault", "set", *script)
    assert ended.status == 2
    assert calls == []


@pytest.mark.parametrize("slot", [SLOTS, 99])
def test_slot_that_is_none_is_2(pyctl: Any, calls: list[int], slot: int) -> None:
    assert pyctl("fault", "clear", slot).status == 2
    assert calls == []


def test_list_has_every_kind(pyctl: Any, our_stub: list[tuple[int, ...]]) -> None:
    ended = pyctl("fault", "list", "--json")
    assert [kind["name"] for kind in ended.json["kinds"]] == [kind.name for kind in KINDS]
    text = pyctl("fault", "list").out
    for kind in KINDS:
        assert kind.usage in text


def test_nothing_armed_is_said(pyctl: Any, our_stub: list[tuple[int, ...]]) -> None:
    ended = pyctl("fault", "show")
    assert (ended.status, ended.out) == (0, "no fault is armed\n")
    assert pyctl("fault", "show", "--json").json == {"ok": True, "error": None, "faults": []}


def test_boot_help_lists_the_kinds(pyctl: Any) -> None:
    """Who writes a script for `vm run` has no stub to ask yet."""
    text = pyctl("vm", "run", "--firmware", "help").out
    for kind in KINDS:
        assert kind.usage in text


def test_coherency_without_raw_calls_is_3(pyctl: Any, machine: Machine) -> None:
    ended = pyctl("coherency", "--json")
    assert ended.status == 3
    assert "pyctl load --raw" in ended.json["hint"]
    assert set(ended.json) >= {"observer", "cases", "lines", "first_bad", "limits"}


@pytest.mark.parametrize(
    "options",
    [
        ["--size", "100"],
        ["--size", "512"],
        ["--addr", "0x5f000008"],
        ["--addr", "0x48000000"],
        ["--line-size", "128"],
        ["--timeout", "0"],
        ["--threads", "0"],
        ["--observer", "eye"],
    ],
)
def test_coherency_refuses_what_makes_no_sense(
    pyctl: Any, calls: list[int], options: list[str]
) -> None:
    """Also on a real board, where the firmware is not ours and the other eye is used."""
    assert pyctl("coherency", *options).status == 2
    assert set(calls) <= {CALL_UID}


def test_coherency_with_the_model_on_foreign_firmware_is_3(pyctl: Any, calls: list[int]) -> None:
    ended = pyctl("coherency", "--observer", "model")
    assert ended.status == 3
    assert calls == [CALL_UID]
