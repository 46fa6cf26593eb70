# SPDX-License-Identifier: GPL-2.0-only
"""Runs target tests on a board that ssh reaches, in a copy of this project."""

import contextlib
import os
import shlex
import subprocess
import tarfile
import tempfile
from pathlib import Path

from pyctl.errors import NotReady, TargetLost
from tests.harness.reports import Reports, pytest_arguments

TOP = Path(__file__).resolve().parents[2]
# How much longer than its time a test may go on over there when the network is gone, too.
LAST_RESORT_S = 60
# Runs a command in a session of its own, with the reports on ssh's standard output and
# all else on its standard error. When the connection ends, so does standard input, and
# with it whatever is left of that session. A board that is cut off ends it later.
LEASH = """\
cd {top} && exec 3>&1 1>&2 4<&0 || exit 255
setsid timeout -s KILL {seconds:g} {command} </dev/null 4<&- &
test=$!
(cat <&4; kill -KILL -$test) >/dev/null 2>&1 3>&- &
leash=$!
wait $test
status=$?
kill $leash
exit $status
"""


class SshTarget:
    """A board that ssh reaches as root without asking anything."""

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
                raise TargetLost(f"{self.destination} did not take the project in 300 s.") from None
        if done.returncode != 0:
            raise NotReady(
                f"{self.destination} cannot be used: {done.stderr.strip()}.",
                "ssh must reach it as root without asking anything; it needs tar and pytest.",
            )
        self.top = done.stdout.strip()

    def run(self, _item, nodeid, _board, timeout_s):
        """Run a test; return its reports and what it printed."""
        self.prepare()
        script = LEASH.format(
            top=shlex.quote(self.top),
            seconds=timeout_s + LAST_RESORT_S,
            command=shlex.join(["python3", "-m", *pytest_arguments(nodeid)]),
        )
        with held_pipe() as leash:
            try:
                done = subprocess.run(
                    [*self.ssh, script], stdin=leash, capture_output=True, timeout=timeout_s
                )
            except subprocess.TimeoutExpired:
                raise TargetLost(
                    f"{self.destination} gave no result within {timeout_s:g} s."
                ) from None
        said = done.stderr.decode(errors="replace")
        if done.returncode == 255:
            self.top = None
            raise TargetLost(f"{self.destination} was lost: {said.strip()}.")
        reports = Reports()
        reports.feed(done.stdout)
        return reports.all(), said

    def close(self):
        """Take the copy away."""
        if self.top is not None:
            subprocess.run([*self.ssh, f"rm -rf {shlex.quote(self.top)}"], timeout=60, check=False)


@contextlib.contextmanager
def held_pipe():
    """Give the end to read of a pipe that nothing comes out of before it is closed."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)
