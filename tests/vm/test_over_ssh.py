# SPDX-License-Identifier: GPL-2.0-only
"""The target tests over ssh, on a board that knows nothing of us.

It has UEFI, ACPI, Debian's packages and sshd, and the stub below. With good firmware
nothing is accused, and nothing is skipped but what asks for another kind of board; with a
defect planted in firmware the same tests fail. By default that is shown with four CPUs and
a fixed part of the suite, with ``--full`` also with one CPU, with all of it and with ten
defects.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

import pytest

from tests.harness.reports import MISSING
from tests.mutants import firmware
from tests.vm.conftest import PATIENCE_S, TOP, Runner

PART = ("tests/target/test_discovery.py", "tests/target/test_provider.py")
DEFECTS = (
    "an unknown status, now and then",
    "success without doing anything",
    "last line left out",
    "clean without invalidating",
    "dirty bytes beside a partly covered line lost",
    "x4-x17 not preserved",
    "latency differs on one CPU",
    "SMC32 aliases answered",
    "dry runs carried out",
    "wrong base",
)


def pytest_generate_tests(metafunc):
    cpus = [1, 4] if metafunc.config.getoption("full") else [4]
    ids = [f"{number}cpu" for number in cpus]
    metafunc.parametrize("ssh_config", cpus, ids=ids, indirect=True, scope="module")


@pytest.fixture(scope="module")
def ssh_config(request):
    """How a board is reached that listens meanwhile."""
    runner = Runner()
    command = ("vm", "serve", "--boot", "uefi", "--cpus", str(request.param))
    with (
        tempfile.TemporaryFile("w+") as said,
        runner.start(*command, stdout=subprocess.DEVNULL, stderr=said) as process,
    ):
        deadline = time.monotonic() + PATIENCE_S
        found: list[dict[str, str]] = []
        while not found and time.monotonic() < deadline:
            if process.poll() is not None:
                said.seek(0)
                raise AssertionError(f"The board did not come up: {said.read()}")
            listed = json.loads(runner("vm", "list", "--json").stdout)["boards"]
            found = [each for each in listed if each["pid"] == process.pid]
            time.sleep(0.2)
        yield found[0]["ssh_config"]
        process.terminate()


def target_suite(ssh_config, tests, *options, settings=""):
    """Run target tests on the board; give the completed pytest."""
    command = [
        *(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rs",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
        ),
        *("--require-target", "--target=ssh:root@127.0.0.1", "--ssh-config", ssh_config),
        *options,
        *tests,
    ]
    env = dict(os.environ) | ({"PYCTL_FIRMWARE": settings} if settings else {})
    env.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(command, cwd=TOP, env=env, capture_output=True, text=True, timeout=3600)


def test_good_firmware_is_not_accused(ssh_config, request):
    tests = ["tests/target"] if request.config.getoption("full") else PART
    done = target_suite(ssh_config, tests)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d+ passed", done.stdout)
    assert MISSING not in done.stdout


def test_defects_of_firmware_are_found(ssh_config, request):
    full = request.config.getoption("full")
    tests = ["tests/target"] if full else PART
    for defect in DEFECTS if full else DEFECTS[:1]:
        done = target_suite(ssh_config, tests, "-x", settings=f"fault={firmware.DEFECTS[defect]}")
        assert done.returncode == 1, f"{defect}: {done.stdout[-3000:]}"
        assert re.search(r"\d+ failed", done.stdout), f"{defect}: {done.stdout[-3000:]}"
