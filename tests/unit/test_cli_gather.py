# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl report`: a board's state in one piece, and nothing private in it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from pyctl.cli import main
from tests.unit.fake_machine import FakeModule, Machine

LOG = (
    "6,500,1000000,-;smccc: version 1.2\n"
    "6,501,1500000,-;smccc_cache: registered on lab-board-7\n SUBSYSTEM=platform\n"
    "6,502,1600000,-;eth0: link up, 192.0.2.7\n"
)


@pytest.fixture
def named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that has a name, and whose user has a home."""
    monkeypatch.setattr(platform, "node", lambda: "lab-board-7")
    monkeypatch.setenv("HOME", str(machine.root))
    machine.write("/dev/kmsg", LOG)
    machine.write("/sys/class/dmi/id/bios_version", "1.4\n")
    machine.write("/sys/class/dmi/id/product_serial", "S3R1AL\n")
    return machine


def test_it_is_what_the_commands_print(pyctl, named: Machine) -> None:
    answer = pyctl("report", "--no-calls", "--json").json
    assert answer["ok"] is True
    assert [one["command"] for one in answer["commands"]] == [
        "pyctl doctor",
        "pyctl status",
        "pyctl regions",
    ]
    status = answer["commands"][1]
    assert status["exit_status"] == 0
    assert status["answer"]["counters"] == pyctl("status", "--json").json["counters"]
    assert answer["machine"]["bios"]["bios_version"] == "1.4"


def test_firmware_is_asked_unless_that_is_forbidden(
    pyctl, named: Machine, module: FakeModule
) -> None:
    text = pyctl("report").out
    assert "pyctl attributes: exit status 0" in text
    assert "break-even" in text
    assert "pyctl conformance: exit status" in text


def test_a_board_that_is_not_ready_is_reported_as_such(pyctl, named: Machine) -> None:
    named.unload_test_module()
    ended = pyctl("report", "--json")
    assert ended.status == 0
    by_name = {one["command"]: one for one in ended.json["commands"]}
    assert by_name["pyctl status"]["exit_status"] == 3
    assert "memregion_test is not loaded." in by_name["pyctl status"]["said"]


def test_nothing_is_asked_of_a_board_that_was_lost(
    pyctl, named: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = main.main
    monkeypatch.setattr(
        "pyctl.cli.main.main",
        lambda words, system: 4 if words[0] == "attributes" else real(words, system),
    )
    ended = pyctl("report")
    assert ended.status == 4
    assert "pyctl attributes: exit status 4" in ended.out
    assert "pyctl regions" not in ended.out
    assert "smccc: version 1.2" in ended.out
    assert "`pyctl attributes` lost the target" in ended.err


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_nothing_private_is_in_it(pyctl, named: Machine, form: list[str]) -> None:
    ended = pyctl("report", "--no-calls", *form)
    assert "smccc_cache: registered on HOST" in ended.out
    assert "[    1.000000] smccc: version 1.2" in ended.out
    for secret in ("lab-board-7", str(named.root), "S3R1AL", "192.0.2.7", "SUBSYSTEM"):
        assert secret not in ended.out


def test_a_log_that_cannot_be_read_is_no_failure(pyctl, named: Machine) -> None:
    named.remove("/dev/kmsg")
    ended = pyctl("report", "--no-calls", "--json")
    assert (ended.status, ended.json["kernel_log"]) == (0, None)


def test_a_home_that_is_the_root_is_no_name(
    pyctl, named: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(Path("/")))
    assert "~" not in pyctl("report", "--no-calls").out
