# SPDX-License-Identifier: GPL-2.0-only
"""The files of scripts/lab, which labs take as they are: each does what it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyctl.lab.fleet import STEPS, read_fleet
from tests.unit.test_readme import check

TOP = Path(__file__).resolve().parents[2]
LAB = TOP / "scripts/lab"


def loaded(name):
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((LAB / name).read_text())


def test_the_example_of_a_fleet_is_one() -> None:
    boards = {board.name: board for board in read_fleet(LAB / "fleet.toml").boards}
    assert {board.target.partition(":")[0] for board in boards.values()} == {"ssh", "labgrid", "vm"}
    assert boards["grace-7"].steps == STEPS


def test_lava_gets_a_test_case_for_each_result(tmp_path) -> None:
    """Every step as LAVA runs it, on this machine and with a few tests of its own."""
    found = loaded("lava-test.yaml")
    assert found["metadata"]["format"] == "Lava-Test Test Definition 1.0"
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "python3").symlink_to(sys.executable)
    (bin_ / "lava-test-case").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/cases\n')
    (bin_ / "lava-test-case").chmod(0o755)
    params = found["params"] | {
        "PACKAGES": "",
        "STEPS": "doctor,tests",
        "TESTS": "tests/unit/test_numbers.py",
        "RESULTS": f"{tmp_path}/results",
    }
    script = "\n".join(["set -e", *found["run"]["steps"]])
    env = dict(os.environ, PATH=f"{bin_}:{os.environ['PATH']}", PYCTL_CACHE=str(tmp_path / "cache"))
    env = {name: value for name, value in env.items() if not name.startswith("PYTEST_")} | params
    # A venv's Python knows its venv by where it is called from.
    env |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["sh", "-c", script], cwd=TOP, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = (tmp_path / "cases").read_text().splitlines()
    assert cases[-1] == f"{found['expected'][0]} --result pass"
    assert any(re.fullmatch(r"doctor --result \w+", case) for case in cases)
    assert len([case for case in cases if case.startswith("tests.unit.test_numbers")]) > 5


def test_a_measurement_reaches_lava_with_its_unit(tmp_path) -> None:
    step = loaded("lava-test.yaml")["run"]["steps"][-1]
    (tmp_path / "results").write_text("a pass 7 us\nb skip\n")
    script = f'lava-test-case() {{ echo "$@"; }}\n{step}'
    env = dict(os.environ, RESULTS=str(tmp_path / "results"))
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True)
    assert done.stdout == "a --result pass --measurement 7 --units us\nb --result skip\n"


def test_the_job_of_lava_names_the_definition() -> None:
    actions = {
        name: action for one in loaded("lava-job.yaml")["actions"] for name, action in one.items()
    }
    [definition] = actions["test"]["definitions"]
    assert (TOP / definition["path"]).is_file()


def test_the_files_of_labgrid_speak_of_one_place() -> None:
    place = loaded("labgrid-env.yaml")["targets"]["main"]["resources"]["RemotePlace"]["name"]
    assert set(loaded("labgrid-exporter.yaml")) == {place}
    assert f"labgrid:{place}" in {board.target for board in read_fleet(LAB / "fleet.toml").boards}


def test_gitlab_runs_commands_that_there_are() -> None:
    job = loaded("gitlab-ci.yml")["pyctl-night"]
    for line in (*job["script"], *job["after_script"]):
        words = shlex.split(line.removesuffix("|| true"))
        if words[0] != "scripts/setup":
            check(words)
    assert job["allow_failure"] == {"exit_codes": [4]}


def test_systemd_takes_the_units(tmp_path) -> None:
    program = shutil.which("systemd-analyze")
    if not program:
        pytest.skip("missing on the host: systemd-analyze")
    for name in ("pyctl-lab.service", "pyctl-lab.timer"):
        text = (LAB / name).read_text()
        for line in re.findall(r"^Exec\w+=-?(.*)$", text, re.MULTILINE):
            check(["pyctl", *shlex.split(line)[1:]])
        (tmp_path / name).write_text(text.replace("/srv/pyctl/.venv/bin/pyctl", "/bin/true"))
    units = [str(tmp_path / f"pyctl-lab.{kind}") for kind in ("service", "timer")]
    done = subprocess.run([program, "verify", "--man=no", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
