# SPDX-License-Identifier: GPL-2.0-only
"""A lab of boards: its nights say exactly what became of each.

By default one good board, which is virtual, and one that is off; with ``--full`` two nights
of four boards that are places of labgrid's: in the second one has other firmware, with a
defect, and one dies in the middle. The clock of the good one is wrong by years.
"""

import json
import os
import re
import subprocess

import pytest

from pyctl.lab.fleet import STEPS
from pyctl.lab.journal import read_journal
from pyctl.lab.results import ItemOutcome
from pyctl.vm.network import free_port
from tests.vm.conftest import PYCTL, TOP, NetworkBoard
from tests.vm.coordinator import Labgrid, kill_in_a_test

PLACE = 'target = "labgrid:{}"\nssh-config = "{}"\nback = "5s"\n'
FULL = f'steps = {json.dumps(STEPS)}\ntests = ["tests/target/test_discovery.py"]\n'
LONG_AGO_S = 1_000_000_000
NIGHT_S = 1800


@pytest.fixture
def lab(tmp_path):
    """Run `pyctl lab` on boards, by name with their part of the file; gives status and answer."""
    store = {"PYCTL_LAB_STORE": str(tmp_path / "lab.sqlite")}

    def run(*words, env=os.environ, **boards):
        tables = [f"[board.{name}]\n{text}" for name, text in boards.items()]
        (tmp_path / "fleet.toml").write_text(
            'parallel = 2\n[defaults]\nbudget = "20m"\n' + "\n".join(tables)
        )
        done = subprocess.run(
            [*PYCTL, "lab", *words, tmp_path / "fleet.toml", "--json"],
            cwd=TOP,
            env={key: value for key, value in env.items() if "XDIST" not in key} | store,
            capture_output=True,
            text=True,
            timeout=NIGHT_S,
        )
        logs = "\n".join(log.read_text()[-2000:] for log in tmp_path.glob("lab.sqlite.d/*/*.log"))
        return done.returncode, json.loads(done.stdout), f"{done.stderr}\n{logs}"

    return run


def off():
    return f'target = "ssh:root@127.0.0.1:{free_port()}"\n'


def test_a_board_that_is_off_is_no_failure_of_firmware(lab, tmp_path):
    good = 'target = "vm"\nsteps = ["attributes", "conformance"]\n'
    status, answer, said = lab("run", good=good, off=off())
    assert status == 4, said
    assert answer["verdict"] == "Nothing new is wrong; trouble of the lab with off."
    assert "nothing answers at its ssh port" in answer["troubles"][0]["why"]
    run = read_journal(tmp_path / "lab.sqlite.d/1/good.journal")
    assert run.outcome is ItemOutcome.PASS
    assert run.head.board.firmware.smccc_version == "1.2"
    assert {"DISC-1", "CALL-1", "conformance"} <= {result.path for result in run.results}


def test_two_nights_say_exactly_what_happened(lab, tmp_path, request):
    if not request.config.getoption("full"):
        pytest.skip("two nights of four boards take minutes: --full")
    port = free_port()
    with (
        NetworkBoard("--boot", "uefi") as good,
        NetworkBoard() as mortal,
        Labgrid(
            tmp_path,
            {"good": good.port, "dies": mortal.port, "worse": port, "off": free_port()},
        ) as labgrid,
    ):
        good.good(f"date -s @{LONG_AGO_S}")

        def night(worse):
            configs = {"good": good, "dies": mortal, "worse": worse, "off": good}
            boards = {
                name: PLACE.format(name, board.config) + FULL for name, board in configs.items()
            }
            return lab("run", env=labgrid.env, **boards)

        with NetworkBoard("--cpus", "4", "--port", str(port)) as worse:
            status, answer, said = night(worse)
            assert (status, answer["new"]) == (4, []), said
            assert [one["board"] for one in answer["troubles"]] == ["off"], said
        flaw = ("--firmware", "fault=skip_last_line")
        with NetworkBoard("--cpus", "4", "--port", str(port), *flaw) as worse:
            journal = tmp_path / "lab.sqlite.d/2/dies.journal"
            kill_in_a_test(mortal, journal, NIGHT_S)
            status, answer, said = night(worse)
        assert {labgrid.owner(place) for place in labgrid.places} == {"None"}
    assert status == 1, said
    assert {one["board"] for one in answer["new"]} == {"worse"}, said
    assert sorted(one["board"] for one in answer["troubles"]) == ["dies", "off"], said
    assert all("nothing answers at its ssh port" in one["why"] for one in answer["troubles"]), said
    log = (tmp_path / "lab.sqlite.d/2/good.log").read_text()
    assert re.search(r"its clock is wrong by \d+ days", log)
    run = read_journal(tmp_path / "lab.sqlite.d/2/good.journal")
    assert run.outcome is ItemOutcome.PASS
    assert all(result.started[:4] == run.head.started[:4] > "2001" for result in run.results)
    measured = next(result for result in run.results if result.path == "invalidate")
    assert measured.numbers["p50"].unit == "us"
    page = tmp_path / "night.html"
    words = ("lab", "report", "--store", tmp_path / "lab.sqlite", "--html", page)
    assert subprocess.run([*PYCTL, *words], cwd=TOP).returncode == 1
    assert answer["verdict"] in page.read_text()
    print(f"The report of the second night: {page}")
