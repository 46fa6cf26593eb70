# SPDX-License-Identifier: GPL-2.0-only
"""A lab of boards: its nights say exactly what became of each.

By default one good board, which is virtual, and one that is off; with ``--full`` two nights
of four boards that ssh reaches: in the second one has other firmware, with a defect, and
one dies in the middle.
"""

import json
import os
import subprocess
import threading
import time

import pytest

from pyctl.lab.journal import read_journal
from pyctl.lab.results import ItemOutcome
from pyctl.vm.network import free_port
from tests.vm.conftest import PYCTL, TOP, NetworkBoard

SSH = 'target = "ssh:root@127.0.0.1"\nssh-config = "{}"\nback = "5s"\n'
FULL = 'steps = ["doctor", "attributes", "conformance", "coherency", "tests"]\n' + (
    'tests = ["tests/target/test_discovery.py"]\n'
)
NIGHT_S = 1800


@pytest.fixture
def lab(tmp_path):
    """Run `pyctl lab` on boards, by name with their part of the file; gives status and answer."""
    env = dict(os.environ, PYCTL_LAB_STORE=str(tmp_path / "lab.sqlite"))
    env.pop("PYTEST_XDIST_WORKER", None)

    def run(*words, **boards):
        tables = [f"[board.{name}]\n{text}" for name, text in boards.items()]
        (tmp_path / "fleet.toml").write_text(
            'parallel = 2\n[defaults]\nbudget = "20m"\n' + "\n".join(tables)
        )
        done = subprocess.run(
            [*PYCTL, "lab", *words, tmp_path / "fleet.toml", "--json"],
            cwd=TOP,
            env=env,
            capture_output=True,
            text=True,
            timeout=NIGHT_S,
        )
        logs = "\n".join(log.read_text()[-2000:] for log in tmp_path.glob("lab.sqlite.d/*/*.log"))
        return done.returncode, json.loads(done.stdout), f"{done.stderr}\n{logs}"

    return run


def off():
    return f'target = "ssh:root@127.0.0.1:{free_port()}"\n'


def kill_in_a_test(process, journal):
    """End a board while one of its tests runs."""
    deadline = time.monotonic() + NIGHT_S
    while time.monotonic() < deadline:
        if journal.is_file() and '{"begin": "tests/' in journal.read_text():
            process.kill()
            return
        time.sleep(0.1)


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
    with NetworkBoard("--boot", "uefi") as good, NetworkBoard() as mortal:
        boards = {"good": SSH.format(good.config), "dies": SSH.format(mortal.config)}
        with NetworkBoard("--cpus", "4") as worse:
            boards["worse"] = SSH.format(worse.config)
            status, answer, said = lab("run", **{k: v + FULL for k, v in boards.items()}, off=off())
            assert (status, answer["new"]) == (4, []), said
            assert [one["board"] for one in answer["troubles"]] == ["off"], said
        with NetworkBoard("--cpus", "4", "--firmware", "fault=skip_last_line") as worse:
            boards["worse"] = SSH.format(worse.config)
            journal = tmp_path / "lab.sqlite.d/2/dies.journal"
            threading.Thread(
                target=kill_in_a_test, args=(mortal.process, journal), daemon=True
            ).start()
            status, answer, said = lab("run", **{k: v + FULL for k, v in boards.items()}, off=off())
    assert status == 1, said
    assert {one["board"] for one in answer["new"]} == {"worse"}, said
    assert sorted(one["board"] for one in answer["troubles"]) == ["dies", "off"], said
    page = tmp_path / "night.html"
    words = ("lab", "report", "--store", tmp_path / "lab.sqlite", "--html", page)
    assert subprocess.run([*PYCTL, *words], cwd=TOP).returncode == 1
    assert answer["verdict"] in page.read_text()
    print(f"The report of the second night: {page}")
