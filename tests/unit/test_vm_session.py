# SPDX-License-Identifier: GPL-2.0-only
"""Both ends of the channel against each other, with a process here in place of a board."""

import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from pyctl.errors import TargetLost
from pyctl.vm import session
from pyctl.vm.agent import Agent
from pyctl.vm.channel import INPUT_WINDOW_BYTES
from pyctl.vm.session import Board, Streams


@pytest.fixture
def board():
    """A board whose agent is a process of this machine; ``board.agent_pid`` is its id."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            ours.close()
            theirs.setblocking(False)
            Agent(os.dup(theirs.fileno())).serve()
        os._exit(1)
    theirs.close()
    ours.setblocking(False)
    machine: Any = SimpleNamespace(agent=ours, process=None, ended=lambda: None, console_tail=str)
    made: Any = Board(machine, contextlib.ExitStack())
    made.agent_pid = pid
    yield made
    # A board takes its commands with it; a process leaves them behind.
    for process in psutil.Process(pid).children(recursive=True):
        process.kill()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    ours.close()


def memory_kib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_a_command_that_does_not_read_does_not_fill_the_guests_memory(board, tmp_path):
    before = memory_kib(board.agent_pid)
    board.start(["sleep", "1000"], cwd=str(tmp_path))
    with open("/dev/zero", "rb") as zeros, pytest.raises(TargetLost, match="within 1 s"):
        board.follow(Streams(stdin=zeros.fileno()), timeout_s=1)
    assert memory_kib(board.agent_pid) - before < 16 << 10


def test_a_command_that_has_closed_its_input_is_sent_no_more(board, tmp_path):
    with (tmp_path / "input").open("wb") as f:
        f.truncate(64 << 20)
    board.start(["sh", "-c", "exec <&-; sleep 1"], cwd=str(tmp_path))
    with (tmp_path / "input").open("rb") as data:
        assert board.follow(Streams(stdin=data.fileno()), timeout_s=60) == 0
        assert os.lseek(data.fileno(), 0, os.SEEK_CUR) <= 2 * INPUT_WINDOW_BYTES


def test_all_input_reaches_a_command_that_reads_slowly(board, tmp_path):
    (tmp_path / "input").write_bytes(os.urandom(1 << 20))
    script = "sleep 0.3; head -c 300000; sleep 0.1; cat"
    out = bytearray()
    board.start(["sh", "-c", script], cwd=str(tmp_path))
    with open(tmp_path / "input", "rb") as data:
        status = board.follow(Streams(out.extend, stdin=data.fileno()), timeout_s=60)
    assert (status, bytes(out)) == (0, (tmp_path / "input").read_bytes())


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(session, "PING_INTERVAL_S", 0.1)
    monkeypatch.setattr(session, "HANG_TIMEOUT_S", 0.8)
    monkeypatch.setattr(session, "_LONGEST_LOOK_S", 0.2)


def test_an_agent_that_stands_still_hangs(board, tmp_path, impatient):
    board.start(["sleep", "1000"], cwd=str(tmp_path))
    os.kill(board.agent_pid, signal.SIGSTOP)
    with pytest.raises(TargetLost, match=r"^The virtual board was lost: it hangs"):
        board.follow(Streams(), timeout_s=30)


def test_silence_while_nobody_looked_is_no_hang(board, tmp_path, impatient):
    """Whoever is stopped by Ctrl-Z, or by a pager, comes back to a board that lives."""

    def pager(_data):
        time.sleep(1.2)

    board.start(["sh", "-c", "echo page; sleep 2"], cwd=str(tmp_path))
    assert board.follow(Streams(pager), timeout_s=30) == 0


def test_a_long_silence_of_a_board_that_answers_is_no_hang(board, tmp_path, impatient):
    board.start(["sleep", "1.5"], cwd=str(tmp_path))
    assert board.follow(Streams(), timeout_s=30) == 0
