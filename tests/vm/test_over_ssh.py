# SPDX-License-Identifier: GPL-2.0-only
"""The target tests over ssh, on a board that knows nothing of us.

It has UEFI, ACPI, Debian's packages and sshd, and the stub below. With good firmware
nothing is accused, and nothing is skipped but what asks for another kind of board; with a
defect planted in firmware tests fail. By default that is shown with four CPUs, every
twenty-fourth test and one defect; with ``--full`` also with one CPU, all tests and ten defects.
"""

import contextlib
import os
import re
import subprocess
import sys

import pytest

from tests.harness.reports import MISSING, complete
from tests.harness.ssh import Destination, SshTarget
from tests.harness.virtual import modules_for, result
from tests.mutants import firmware
from tests.vm.conftest import TOP, NetworkBoard

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
# These see most defects, and soon.
LIKELY = re.compile("good_firmware_(passes_on_every_board|is_clean.*cpu)|test_provider")
EVERY = 24
TEST_S = 120
# A pyctl that somebody has installed there, and that nobody may use.
OTHER = "/usr/lib/python3/dist-packages/pyctl"
OTHER_PROGRAM = "/usr/local/bin/pyctl"
PLANT = f"""\
mkdir -p {OTHER} /usr/local/bin
echo 'raise SystemExit("this is another pyctl")' >{OTHER}/__init__.py
printf '#!/bin/sh\\necho this is another pyctl; exit 1\\n' >{OTHER_PROGRAM}
chmod 755 {OTHER_PROGRAM}
"""


def pytest_generate_tests(metafunc):
    cpus = [1, 4] if metafunc.config.getoption("full") else [4]
    ids = [f"{number}cpu" for number in cpus]
    metafunc.parametrize("board", cpus, ids=ids, indirect=True, scope="module")


@pytest.fixture(scope="module")
def board(request):
    """A board with another pyctl on it."""
    with NetworkBoard("--cpus", str(request.param)) as made:
        made.good(PLANT)
        yield made


@contextlib.contextmanager
def connected(board):
    """One connection for many tests; at its end the board is as it was before."""
    look = f"cat {OTHER}/__init__.py; pyctl; cut -d' ' -f1 /proc/modules; ls /tmp; cat /proc/mounts"
    before = board.run(look).stdout
    said: list[str] = []
    made = SshTarget(Destination("root@127.0.0.1", board.config), said.append, modules=modules_for)
    try:
        yield made
    finally:
        made.close()
    assert board.run(look).stdout == before
    assert [text for text in said if "preparing" not in text] == []


def collected():
    """The node ids of all target tests, in their order."""
    command = (sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:randomly")
    env = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    done = subprocess.run(
        [*command, "--target=ssh:x", "tests/target"],
        cwd=TOP,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if "::" in line]


def outcome(target, nodeid):
    """What came of a test, and why."""
    reports, printed = target.run(None, nodeid, None, TEST_S)
    complete(reports, printed)
    assert "another pyctl" not in printed
    return result(reports)


def test_good_firmware_is_not_accused_and_defects_are_found(board, request, monkeypatch):
    """Over one connection, which takes as long to be made as many tests take."""
    nodeids = collected()
    with connected(board) as target:
        outcomes = {nodeid: outcome(target, nodeid) for nodeid in nodeids[::EVERY]}
        against = {
            nodeid: came
            for nodeid, came in outcomes.items()
            if came[0] == "failed" or MISSING in came[1]
        }
        assert not against
        assert sum(came[0] == "passed" for came in outcomes.values()) > len(outcomes) / 2
        nodeids.sort(key=lambda nodeid: LIKELY.search(nodeid) is None)
        for defect in DEFECTS if request.config.getoption("full") else DEFECTS[:1]:
            monkeypatch.setenv("PYCTL_FIRMWARE", f"fault={firmware.DEFECTS[defect]}")
            assert any(outcome(target, nodeid)[0] == "failed" for nodeid in nodeids), defect


def test_the_whole_suite_has_nothing_against_good_firmware(board, request):
    if not request.config.getoption("full"):
        pytest.skip("for another kind of target: with --full only")
    command = (sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider")
    where = ("--target=ssh:root@127.0.0.1", "--ssh-config", board.config, "--require-target")
    done = subprocess.run(
        [*command, *where, "tests/target"], cwd=TOP, capture_output=True, text=True, timeout=7200
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d+ passed", done.stdout)
