# SPDX-License-Identifier: GPL-2.0-only
"""Where target tests run when they do not run here: virtual boards, or ssh.

A target runs one test by its node id with pytest over there, and hands back
the reports that pytest made. Whatever happens to the target meanwhile ends as
``TargetLost`` for that test; the next test gets a fresh one.
"""

import json
import os
import shlex
import subprocess
import tarfile
import tempfile
from pathlib import Path

from pyctl.errors import NotReady, OperationFailed, TargetLost
from pyctl.firmware.settings import parse_settings

# The command of ``warm``, and what a shell says of one that is not there.
COMMAND = "pytest-item"
NOT_FOUND = 127
TOP = Path(__file__).resolve().parents[2]
# For a test that never ends; a test with a bound of its own sets it by marker.
TEST_TIMEOUT_S = 120.0
# Every combination that the provider's rules are checked on.
EVERY_BOARD = {
    f"@{conduit}-{cpus}cpu": {"conduit": conduit, "cpus": cpus}
    for conduit in ("hvc", "smc")
    for cpus in (1, 4)
}
# Tells a test that its board is fresh, and that nobody comes after it.
PRISTINE = {"PYCTL_PRISTINE": "1"}


def pytest_arguments(nodeid):
    """The command that runs one test on a target."""
    return [
        *("pytest", "--target=local", "-p", "tests.harness.relay", "-p", "no:cacheprovider"),
        *("--rootdir=.", "-q", "--no-header", "--no-summary", nodeid),
    ]


def planted():
    """Firmware settings that every test shall find, for scoring the suite itself."""
    return {name: os.environ[name] for name in ("PYCTL_FIRMWARE",) if name in os.environ}


class Reports:
    """Collects the lines that ``relay`` sends."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data

    def all(self):
        reports = [json.loads(line) for line in bytes(self.buffer).splitlines()]
        for report in reports:
            # Where and why a test was skipped: pytest wants the tuple that JSON has not.
            if isinstance(report.get("longrepr"), list):
                report["longrepr"] = tuple(report["longrepr"])
        return reports


class VmTarget:
    """Runs each test on a virtual board."""

    def __init__(self, say, usual=None):
        """``usual`` is the board, as in EVERY_BOARD, of tests that ask for none."""
        from pyctl.cache import Cache
        from pyctl.vm.factory import BoardFactory

        self.usual = usual or {}
        self.factory = BoardFactory(Cache(say=say))
        self.shared = None

    def spec(self, item, board):
        """The board that a test asks for by its markers and its place in the matrix."""
        from pyctl.vm.spec import Spec

        options = dict(self.usual)
        for mark in reversed(list(item.iter_markers("board"))):
            options |= mark.kwargs
        options |= board or {}
        options["firmware"] = tuple(parse_settings(options.get("firmware", ())))
        return Spec(tests=True, **options)

    def run(self, item, nodeid, board, timeout_s):
        """Run a test; return its reports and what it printed.

        The board is a pristine one, or one that other tests have only read from.
        """
        spec, cold = self.spec(item, board), item.config.getoption("cold")
        shared = item.get_closest_marker("shared_board")
        if shared is None or shared.args == (False,):
            with self.factory.boot(spec, cold) as guest:
                return self.run_on(guest, nodeid, timeout_s, PRISTINE)
        if self.shared is None or self.shared[0] != spec:
            self.close()
            self.shared = (spec, self.factory.boot(spec, cold))
        try:
            reports, printed = self.run_on(self.shared[1], nodeid, timeout_s)
        except TargetLost:
            self.close()
            raise
        if any(report.get("outcome") == "failed" for report in reports):
            # Who knows what it has left behind.
            self.close()
        return reports, printed

    def run_on(self, guest, nodeid, timeout_s, env=None):
        """Run a test on a board."""
        from pyctl.vm.session import Streams

        reports, printed = Reports(), bytearray()
        streams = Streams(printed.extend, printed.extend, reports.feed)
        # A board from a snapshot has the tests collected already, unless that
        # failed; then pytest over there says why.
        for command in ([COMMAND, nodeid], pytest_arguments(nodeid)):
            status = guest.run(
                command, streams, timeout_s=timeout_s, cwd="/opt/pyctl", env=planted() | (env or {})
            )
            if status != NOT_FOUND:
                break
            printed.clear()
        return reports.all(), printed.decode(errors="replace")

    def close(self):
        """End the shared board, if there is one."""
        if self.shared is not None:
            self.shared[1].close()
            self.shared = None


class SshTarget:
    """Runs each test on a board that ssh reaches, in a copy of this project."""

    def __init__(self, destination):
        self.ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", destination]
        self.destination = destination
        self.top = None

    def prepare(self):
        """Copy the project over, once."""
        if self.top is not None:
            return
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                for name in ("Kbuild", "module", "pyctl", "tests", "pyproject.toml"):
                    tar.add(TOP / name, arcname=name)
            archive.seek(0)
            script = "d=$(mktemp -d /tmp/pyctl.XXXXXX) && tar -x -C $d && echo $d"
            try:
                done = subprocess.run(
                    [*self.ssh, script], stdin=archive, capture_output=True, text=True, timeout=300
                )
            except subprocess.TimeoutExpired:
                raise TargetLost(f"{self.destination} did not take the project in 300 s") from None
        if done.returncode != 0:
            raise NotReady(
                f"{self.destination} cannot be used: {done.stderr.strip()}",
                "ssh must reach it as root without asking anything; it needs tar and pytest",
            )
        self.top = done.stdout.strip()

    def run(self, _item, nodeid, _board, timeout_s):
        self.prepare()
        command = shlex.join(["python3", "-m", *pytest_arguments(nodeid)])
        # Reports alone travel on ssh's standard output.
        script = f"cd {shlex.quote(self.top)} && exec 3>&1 1>&2 && exec {command}"
        try:
            done = subprocess.run([*self.ssh, script], capture_output=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise TargetLost(f"{self.destination}: no result within {timeout_s:g} s") from None
        if done.returncode == 255:
            self.top = None
            raise TargetLost(f"{self.destination}: {done.stderr.decode(errors='replace').strip()}")
        reports = Reports()
        reports.feed(done.stdout)
        return reports.all(), done.stderr.decode(errors="replace")

    def close(self):
        """Take the copy away."""
        if self.top is not None:
            subprocess.run([*self.ssh, f"rm -rf {shlex.quote(self.top)}"], timeout=60, check=False)


def complete(reports, printed):
    """Check that a test was run to its end; raise what says that it was not."""
    for report in reports:
        if "collection" in report:
            raise OperationFailed(f"the target could not load the test: {report['collection']}")
    if not reports or reports[-1].get("when") != "teardown":
        raise TargetLost(f"the target's pytest ended before the test did:\n{printed}")
