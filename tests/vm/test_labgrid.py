# SPDX-License-Identifier: GPL-2.0-only
"""Places of a real labgrid coordinator and exporter on loopback, with --full.

The board of the place is off: this is about who has it, and that nobody keeps it. That
a board behind an address runs tests is what test_over_ssh.py shows.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyctl.errors import TargetLost
from pyctl.vm.network import free_port
from tests.harness.place import EnvTarget, PlaceTarget
from tests.vm.conftest import TOP

BIN = Path(sys.executable).parent
EXPORTER = """\
boards:
  NetworkService:
    address: 127.0.0.1
    username: root
    port: {port}
"""
PLACE = "grace-7"
PATIENCE_S = 60


def wait_until(what, why):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < deadline, why
        time.sleep(0.2)
    return found


class Client:
    """Labgrid's client at our coordinator, for one place."""

    def __init__(self, here, env):
        self.here, self.env = here, env

    def __call__(self, *words, **more):
        return subprocess.run(
            [BIN / "labgrid-client", "-p", PLACE, *words],
            env=self.env | more,
            cwd=self.here,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )


@pytest.fixture(scope="module")
def labgrid(request, tmp_path_factory):
    """A client of a coordinator that has the place."""
    if not request.config.getoption("full"):
        pytest.skip("a coordinator takes its time: --full")
    if not (BIN / "labgrid-client").exists():
        pytest.skip("missing on the host: labgrid (pip install '.[labgrid]')")
    here = tmp_path_factory.mktemp("labgrid")
    coordinator = f"127.0.0.1:{free_port()}"
    (here / "exporter.yaml").write_text(EXPORTER.format(port=free_port()))
    env = dict(os.environ, LG_COORDINATOR=coordinator)
    env.pop("PYTEST_XDIST_WORKER", None)

    client = Client(here, env)
    with contextlib.ExitStack() as stack:
        for words in (
            ("labgrid-coordinator", "-l", coordinator),
            ("labgrid-exporter", "-c", coordinator, "-n", "here", "exporter.yaml"),
        ):
            process = subprocess.Popen(
                [BIN / words[0], *words[1:]],
                cwd=here,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            if words[0] == "labgrid-coordinator":
                wait_until(lambda: client("create").returncode == 0, "no coordinator came up")
        assert client("add-match", "here/boards/NetworkService").returncode == 0
        wait_until(lambda: "NetworkService" in client("resources").stdout, "no exporter came up")
        yield client


def owner(labgrid):
    lines = labgrid("show").stdout.splitlines()
    return next(line.split()[1] for line in lines if line.strip().startswith("acquired:"))


def begin(labgrid, journal, *options, coordinator=None):
    """Begin a run on the place, up to the attributes of its board."""
    options = (f"--target=labgrid:{PLACE}", "--steps=attributes", f"--journal={journal}", *options)
    env = labgrid.env | ({"LG_COORDINATOR": coordinator} if coordinator else {})
    words = ["-q", "-p", "no:cacheprovider", *options, "tests/target/test_discovery.py"]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *words],
        cwd=TOP,
        env=env,
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
    wait_until(lambda: owner(labgrid) == "None", "the place was not released")


def test_a_place_that_somebody_has_is_waited_for_and_then_said_whose_it_is(labgrid, tmp_path):
    other = {"LG_USERNAME": "bob", "LG_HOSTNAME": "elsewhere"}
    assert labgrid("acquire", **other).returncode == 0
    try:
        process = begin(labgrid, tmp_path / "journal", "--wait=1")
        said, _ = process.communicate(timeout=PATIENCE_S)
        assert "already acquired by elsewhere/bob" in reason(tmp_path / "journal"), said
        assert owner(labgrid) == "elsewhere/bob"
        process = begin(labgrid, tmp_path / "second", "--wait=60")
        wait_until(lambda: "waiting" in process.stdout.readline(), "it did not wait")
    finally:
        labgrid("release", **other)
    process.communicate(timeout=PATIENCE_S)
    assert "nothing answers" in reason(tmp_path / "second")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_place_is_released_however_a_run_ends(labgrid, tmp_path, number):
    # The board that is off is waited for, as one that was lost.
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "ssh").chmod(0o755)
    labgrid.env["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    try:
        process = begin(labgrid, tmp_path / "journal")
    finally:
        labgrid.env["PATH"] = os.environ["PATH"]
    wait_until(lambda: owner(labgrid) != "None", "the place was not acquired")
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_S)
    wait_until(lambda: owner(labgrid) == "None", "the place was not released")


def test_no_coordinator_is_trouble_of_the_lab(labgrid, tmp_path):
    process = begin(labgrid, tmp_path / "journal", coordinator=f"127.0.0.1:{free_port()}")
    process.communicate(timeout=PATIENCE_S)
    assert "coordinator" in reason(tmp_path / "journal")


def test_a_place_that_is_taken_away_is_a_lost_board(labgrid, monkeypatch):
    monkeypatch.setenv("LG_COORDINATOR", labgrid.env["LG_COORDINATOR"])
    target = PlaceTarget(PLACE, None)
    target.acquire()
    target.refuse_what_is_not_ours()
    other = {"LG_USERNAME": "bob", "LG_HOSTNAME": "elsewhere"}
    assert labgrid("release", "--kick", **other).returncode == 0
    assert labgrid("acquire", **other).returncode == 0
    with pytest.raises(TargetLost, match="taken away from this run: elsewhere/bob has it now"):
        target.refuse_what_is_not_ours()
    target.close()
    assert owner(labgrid) == "elsewhere/bob"
    labgrid("release", **other)


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


def test_an_environment_of_labgrids_pytest_plugin_is_a_target(labgrid, tmp_path):
    environment, cycled = tmp_path / "env.yaml", tmp_path / "cycled"
    environment.write_text(ENVIRONMENT.format(port=free_port(), cycled=cycled))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    options = [f"--lg-env={environment}", "--steps=attributes", f"--journal={tmp_path / 'journal'}"]
    done = subprocess.run(
        [*command, *options, "tests/target/test_discovery.py"],
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
