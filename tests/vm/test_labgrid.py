# SPDX-License-Identifier: GPL-2.0-only
"""Places of a real labgrid coordinator and exporter on loopback, with --full.

Mostly the board of the place is off: that is about who has it, and that nobody keeps it.
One board runs tests, dies, and is given a fresh start by its power switch; nights over
places are in test_lab.
"""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from pyctl.errors import TargetLost
from pyctl.lab.journal import read_journal
from pyctl.lab.results import ItemOutcome
from pyctl.vm.network import free_port
from tests.harness.place import EnvTarget, PlaceTarget
from tests.vm.conftest import TOP, NetworkBoard
from tests.vm.coordinator import PATIENCE_S, Labgrid, kill_in_a_test, wait_until

PLACE = "grace-7"
TESTS = "tests/target/test_discovery.py"
BOB = {"LG_USERNAME": "bob", "LG_HOSTNAME": "elsewhere"}


@pytest.fixture(scope="module")
def labgrid(request, tmp_path_factory):
    """A coordinator that has one place, whose board is off."""
    if not request.config.getoption("full"):
        pytest.skip("a coordinator takes its time: --full")
    with Labgrid(tmp_path_factory.mktemp("labgrid"), {PLACE: free_port()}) as made:
        yield made


@pytest.fixture
def in_here(labgrid, monkeypatch):
    """Have labgrid in this process, too."""
    for name in ("LG_COORDINATOR", "PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, labgrid.env[name])
    monkeypatch.syspath_prepend(labgrid.env["PYTHONPATH"])


def as_bob(labgrid, *words):
    """Run labgrid's client as somebody else; gives what it says."""
    done = labgrid.client(PLACE, *words, **BOB)
    assert done.returncode == 0, done.stderr
    return done.stdout


def released(labgrid):
    wait_until(lambda: labgrid.owner(PLACE) == "None", "the place was not released")


def begin(labgrid, journal, *options, tests=False, **more):
    """Begin a run on the place, up to the attributes of its board, or with tests.

    ``more`` is what its environment has besides.
    """
    steps = "attributes,tests" if tests else "attributes"
    options = (f"--target=labgrid:{PLACE}", f"--steps={steps}", f"--journal={journal}", *options)
    words = ["-q", "-p", "no:cacheprovider", *options, TESTS]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *words],
        cwd=TOP,
        env=labgrid.env | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def reason(journal):
    """Why the board could not be had."""
    lines = [json.loads(line) for line in journal.read_text().splitlines() if line]
    [result] = [line["result"] for line in lines if "result" in line]
    assert result["outcome"] == "error"
    return result["reason"]


def test_a_place_is_acquired_and_released(labgrid, tmp_path):
    process = begin(labgrid, tmp_path / "journal")
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert "nothing answers at its ssh port" in reason(tmp_path / "journal"), said
    released(labgrid)


def test_a_place_that_somebody_has_is_waited_for_and_then_said_whose_it_is(labgrid, tmp_path):
    as_bob(labgrid, "acquire")
    try:
        process = begin(labgrid, tmp_path / "journal", "--wait=1")
        said, _ = process.communicate(timeout=PATIENCE_S)
        assert "already acquired by elsewhere/bob" in reason(tmp_path / "journal"), said
        assert labgrid.owner(PLACE) == "elsewhere/bob"
        process = begin(labgrid, tmp_path / "second", "--wait=60")
        wait_until(lambda: "waiting" in process.stdout.readline(), "it did not wait")
        # It stands in line: whoever comes now does not get the place first.
        wait_until(lambda: "state: waiting" in as_bob(labgrid, "reservations"), "not in line")
    finally:
        as_bob(labgrid, "release")
    process.communicate(timeout=PATIENCE_S)
    assert "nothing answers" in reason(tmp_path / "second")
    assert as_bob(labgrid, "reservations") == ""
    released(labgrid)


def test_who_gives_up_waiting_leaves_the_line(labgrid, tmp_path):
    as_bob(labgrid, "acquire")
    try:
        process = begin(labgrid, tmp_path / "journal", "--wait=600")
        wait_until(lambda: "state: waiting" in as_bob(labgrid, "reservations"), "not in line")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
        assert as_bob(labgrid, "reservations") == ""
        assert labgrid.owner(PLACE) == "elsewhere/bob"
    finally:
        as_bob(labgrid, "release")


def test_a_place_that_is_kept_for_somebody_is_said_for_whom(labgrid, tmp_path):
    token = as_bob(labgrid, "reserve", "--shell", f"name={PLACE}").strip().rpartition("=")[2]
    try:
        process = begin(labgrid, tmp_path / "journal", "--wait=1")
        said, _ = process.communicate(timeout=PATIENCE_S)
        assert "it is reserved for elsewhere/bob" in reason(tmp_path / "journal"), said
    finally:
        as_bob(labgrid, "cancel-reservation", token)
    assert as_bob(labgrid, "reservations") == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_place_is_released_however_a_run_ends(labgrid, tmp_path, number):
    # The board that is off is waited for, as one that was lost.
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "ssh").chmod(0o755)
    process = begin(labgrid, tmp_path / "journal", PATH=f"{tmp_path}:{labgrid.env['PATH']}")
    wait_until(lambda: labgrid.owner(PLACE) != "None", "the place was not acquired")
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_S)
    released(labgrid)


def test_no_coordinator_is_trouble_of_the_lab(labgrid, tmp_path):
    process = begin(labgrid, tmp_path / "journal", LG_COORDINATOR=f"127.0.0.1:{free_port()}")
    process.communicate(timeout=PATIENCE_S)
    assert "coordinator" in reason(tmp_path / "journal")


def test_a_place_that_is_taken_away_is_a_lost_board(labgrid, in_here):
    target = PlaceTarget(PLACE, None)
    target.acquire()
    target.refuse_what_is_not_ours()
    as_bob(labgrid, "release", "--kick")
    as_bob(labgrid, "acquire")
    with pytest.raises(TargetLost, match="taken away from this run: elsewhere/bob has it now"):
        target.refuse_what_is_not_ours()
    target.close()
    assert labgrid.owner(PLACE) == "elsewhere/bob"
    as_bob(labgrid, "release")


ENVIRONMENT = """\
targets:
  main:
    resources:
      NetworkService:
        address: 127.0.0.1
        username: root
        port: {port}
    drivers:
      ExternalPowerDriver:
        cmd_on: "true"
        cmd_off: "true"
        cmd_cycle: "touch {cycled}"
"""


def test_an_environment_of_labgrids_pytest_plugin_is_a_target(labgrid, tmp_path, in_here):
    environment, cycled = tmp_path / "env.yaml", tmp_path / "cycled"
    environment.write_text(ENVIRONMENT.format(port=free_port(), cycled=cycled))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    options = [f"--lg-env={environment}", "--steps=attributes", f"--journal={tmp_path / 'journal'}"]
    done = subprocess.run(
        [*command, *options, TESTS],
        cwd=TOP,
        env=labgrid.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "nothing answers at its ssh port" in reason(tmp_path / "journal"), done.stdout
    from labgrid import Environment

    target = EnvTarget(Environment(str(environment)), None)
    assert (target.cycle(), cycled.exists()) == ("", True)


class Outlet:
    """A board of the network behind a power switch: always at one port, with the same keys."""

    def __init__(self, here):
        self.here, self.board = here, None
        self.port = free_port()
        self.switched = []

    def set_power(self, is_on):
        self.switched.append(is_on)
        if is_on:
            self.board = NetworkBoard("--port", str(self.port))
            self.board.__enter__()
            if not (self.here / "ssh_config").exists():
                # It outlives the board that it was written for.
                old = self.board.config.parent
                for name in ("user_key", "known_hosts"):
                    shutil.copy(old / name, self.here)
                text = self.board.config.read_text().replace(str(old), str(self.here))
                (self.here / "ssh_config").write_text(text)
        elif self.board is not None:
            self.board.__exit__()
            self.board = None


def test_a_board_that_dies_is_power_cycled_and_goes_on(request, tmp_path):
    if not request.config.getoption("full"):
        pytest.skip("a coordinator and a board that dies take their time: --full")
    outlet = Outlet(tmp_path)
    outlet.set_power(True)
    journal = tmp_path / "journal"
    try:
        with Labgrid(tmp_path, {PLACE: outlet.port}, {PLACE: outlet.set_power}) as labgrid:
            process = begin(labgrid, journal, f"--ssh-config={tmp_path / 'ssh_config'}", tests=True)
            kill_in_a_test(outlet.board, journal)
            said, _ = process.communicate(timeout=10 * PATIENCE_S)
            released(labgrid)
    finally:
        outlet.set_power(False)
    assert "cycling its power" in said
    assert "is back, and has rebooted" in said
    assert outlet.switched == [True, False, True, False]
    found = [result.outcome for result in read_journal(journal).results]
    assert found.count(ItemOutcome.ERROR) == 1, said
    assert found.count(ItemOutcome.PASS) > 10, said
    assert ItemOutcome.FAIL not in found, said
