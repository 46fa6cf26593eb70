# SPDX-License-Identifier: GPL-2.0-only
"""Target tests over ssh, with programs in the place of ssh and of the board's Python."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from pyctl.errors import TargetLost
from tests.harness.ssh import SshTarget

# As ssh and sshd do: what runs over there belongs to the other side, and all that it
# notices of an end here is that its standard input has ended.
SSH = f"""\
#!{sys.executable}
import subprocess, sys, threading, os
there = subprocess.Popen(["sh", "-c", sys.argv[-1]], start_new_session=True,
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

def carry(source, target):
    while data := os.read(source, 65536):
        os.write(target, data)

def send():
    carry(0, there.stdin.fileno())
    there.stdin.close()

threading.Thread(target=send, daemon=True).start()
ways = [threading.Thread(target=carry, args=(pipe.fileno(), fd))
        for pipe, fd in ((there.stdout, 1), (there.stderr, 2))]
for way in ways:
    way.start()
for way in ways:
    way.join()
status = there.wait()
sys.stdout.flush()
os._exit(status if status >= 0 else 255)
"""


class Board:
    """A board whose `python3` is a shell script."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.bin = top / "bin"
        self.bin.mkdir()
        self.program("ssh", SSH)

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def python(self, script: str) -> None:
        self.program("python3", f"#!/bin/sh\ncd {self.top}\n{script}\n")

    def pids(self) -> list[int]:
        """What the script said that it started."""
        return [int(path.name) for path in self.top.glob("[1-9]*")]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}:/usr/bin:/bin")
    return made


@pytest.fixture
def target(board: Board) -> SshTarget:
    made = SshTarget("root@board")
    made.top = str(board.top)
    return made


def test_reports_and_output_come_back_on_ways_of_their_own(board: Board, target: SshTarget) -> None:
    board.python("""echo '{"when": "teardown"}' >&3; echo printed; echo said >&2""")
    assert target.run(None, "test", None, 60) == ([{"when": "teardown"}], "printed\nsaid\n")


def test_no_time_is_lost_when_a_test_has_ended(board: Board, target: SshTarget) -> None:
    board.python("exit 1")
    started = time.monotonic()
    target.run(None, "test", None, 60)
    assert time.monotonic() - started < 5


def test_what_takes_too_long_ends_over_there_as_well(board: Board, target: SshTarget) -> None:
    board.python("sleep 100 & touch $! $$; wait")
    with pytest.raises(TargetLost, match="no result within 1 s"):
        target.run(None, "test", None, 1)
    assert len(board.pids()) == 2
    _, alive = psutil.wait_procs(
        [psutil.Process(pid) for pid in board.pids() if psutil.pid_exists(pid)], 10
    )
    assert alive == []


def test_a_connection_that_breaks_is_a_lost_target(board: Board, target: SshTarget) -> None:
    board.program("ssh", "#!/bin/sh\necho Connection reset >&2; exit 255\n")
    with pytest.raises(TargetLost, match="Connection reset"):
        target.run(None, "test", None, 60)
