# SPDX-License-Identifier: GPL-2.0-only
"""The fleet file: what it may say, and everything that is wrong with one at once."""

from __future__ import annotations

import pytest

from pyctl.errors import UsageError
from pyctl.lab.fleet import FleetBoard, read_fleet
from pyctl.lab.night import environment, pytest_command

GOOD = """
parallel = 2
budget = "90m"
[defaults]
budget = "20m"
steps = ["tests", "doctor"]
[board.grace-7]
target = "ssh:root@10.0.0.7:2222"
ssh-config = "ssh_config"
reset = "pdu cycle 7"
[board."virtual.1"]
target = "vm"
kind = "@uefi-4cpu"
firmware = ["fault=skip_last_line"]
budget = "5s"
"""


@pytest.fixture
def fleet(tmp_path):
    def write(text):
        path = tmp_path / "fleet.toml"
        path.write_text(text)
        return path

    return write


def test_a_fleet_as_a_person_writes_it(fleet, tmp_path, monkeypatch) -> None:
    found = read_fleet(fleet(GOOD))
    assert (found.parallel, found.budget_s) == (2, 5400.0)
    board, virtual = found.boards
    assert board == FleetBoard(
        "grace-7",
        "ssh:root@10.0.0.7:2222",
        steps=("doctor", "tests"),
        budget_s=1200.0,
        ssh_config=tmp_path / "ssh_config",
        reset="pdu cycle 7",
    )
    assert (virtual.name, virtual.budget_s, virtual.kind) == ("virtual.1", 5.0, "@uefi-4cpu")
    words = pytest_command(board, tmp_path / "journal")
    assert f"--ssh-config={tmp_path / 'ssh_config'}" in words
    assert "--steps=doctor,tests" in words
    # A board of which nothing is said has firmware of its own, and is not told of any.
    monkeypatch.setenv("PYCTL_FIRMWARE", "fault=noop")
    assert "PYCTL_FIRMWARE" not in environment(board)
    assert environment(virtual)["PYCTL_FIRMWARE"] == "fault=skip_last_line"


def test_everything_that_is_wrong_is_said_at_once_with_its_line(fleet) -> None:
    text = GOOD.replace("parallel", "paralel").replace('"20m"', '"20 years"')
    text = text.replace('"ssh:root@10.0.0.7:2222"', '"telnet:x"').replace("reset", "restart")
    text = text.replace("fault=skip_last_line", "fault=no_such") + '[board.c]\nbudget = "1h"\n'
    with pytest.raises(UsageError) as caught:
        read_fleet(fleet(text))
    lines = caught.value.message.splitlines()[1:]
    assert [line.strip().partition(" is ")[0] for line in lines[:5]] == [
        "line 2: paralel",
        "line 5: defaults.budget",
        "line 8: board.grace-7.target",
        "line 10: board.grace-7.restart",
        "line 14: board.virtual.1.firmware",
    ]
    assert lines[5].strip() == "line 16: board.c has no target."
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no board"),
        ("board = 1", "needs a table"),
        ("[board]\nx = 1", "is no table"),
        ("parallel = ", "is no TOML"),
        ('[board."a b"]\ntarget = "vm"', "not of letters"),
        ('defaults = 3\n[board.a]\ntarget = "vm"', "is no table"),
        ('[board.a]\ntarget = "vm"\nsteps = ["bench"]', "has 'bench'"),
        ('[board.a]\ntarget = "vm"\ntests = []', "no list of texts"),
        ('parallel = 0\n[board.a]\ntarget = "vm"', "no number from 1 on"),
        ('parallel = true\n[board.a]\ntarget = "vm"', "no number from 1 on"),
    ],
)
def test_what_no_fleet_is(fleet, pyctl, text, words) -> None:
    path = fleet(text)
    ended = pyctl("lab", "run", path, "--json")
    assert (ended.status, ended.json["ok"]) == (2, False)
    assert words in ended.json["error"]


def test_a_fleet_that_is_not_there_is_bad_usage(pyctl, tmp_path) -> None:
    assert pyctl("lab", "check", tmp_path / "fleet.toml").status == 2
