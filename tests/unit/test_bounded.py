# SPDX-License-Identifier: GPL-2.0-only
"""A call that may never return: answers, errors, timeouts, Ctrl-C and lost children."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest

from pyctl.errors import OperationFailed, TargetLost
from pyctl.target.bounded import _PATIENCE, run_bounded


def until_signalled() -> bytes:
    """As the module does: work until a signal comes, then answer what was done."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    return b"stopped" if signal.sigtimedwait({signal.SIGINT}, 20) else b"finished"


def deaf() -> bytes:
    """As a CPU stuck in firmware: no signal gets through."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    time.sleep(20)
    return b"too late"


def test_an_answer_of_any_size_arrives_whole() -> None:
    data = os.urandom(300_000)
    outcome = run_bounded(lambda: data, 10)
    assert (outcome.data, outcome.timed_out, outcome.interrupted) == (data, False, False)


def test_the_errno_of_the_call_is_the_error() -> None:
    def refuse() -> bytes:
        raise OSError(errno.E2BIG, "what the child said")

    with pytest.raises(OSError, match="too long") as caught:
        run_bounded(refuse, 10)
    assert caught.value.errno == errno.E2BIG


def test_a_child_that_dies_is_no_answer() -> None:
    def die() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b"never"

    with pytest.raises(OperationFailed, match="died"):
        run_bounded(die, 10)


def test_the_timeout_stops_the_work_and_brings_what_was_done() -> None:
    outcome = run_bounded(until_signalled, 0.2)
    assert (outcome.data, outcome.timed_out, outcome.interrupted) == (b"stopped", True, False)


def test_ctrl_c_stops_the_work_and_brings_what_was_done() -> None:
    def interrupt_me() -> bytes:
        os.kill(os.getppid(), signal.SIGINT)
        return until_signalled()

    before = signal.getsignal(signal.SIGINT)
    outcome = run_bounded(interrupt_me, 10)
    assert (outcome.data, outcome.timed_out, outcome.interrupted) == (b"stopped", False, True)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_call_that_never_comes_back_is_given_up_on(tmp_path: Path) -> None:
    def note_and_hang() -> bytes:
        (tmp_path / "pid").write_text(str(os.getpid()))
        return deaf()

    start = time.monotonic()
    with pytest.raises(TargetLost, match="never came back"):
        run_bounded(note_and_hang, 0.3, grace_s=0.3)
    assert time.monotonic() - start < 10
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_whoever_presses_ctrl_c_again_and_again_need_not_wait_for_the_grace() -> None:
    def press_often() -> bytes:
        for _press in range(_PATIENCE + 1):
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(0.15)
        return deaf()

    with pytest.raises(TargetLost, match="interrupted"):
        run_bounded(press_often, 10, grace_s=30)


def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    def note_and_hang() -> bytes:
        (tmp_path / "pid").write_text(str(os.getpid()))
        return deaf()

    parent = os.fork()
    if parent == 0:
        try:
            run_bounded(note_and_hang, 20)
        finally:
            os._exit(1)
    wait_until((tmp_path / "pid").exists)
    wait_until((tmp_path / "pid").read_text)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    wait_until(lambda: has_ended(int((tmp_path / "pid").read_text())))


def has_ended(pid: int) -> bool:
    """Gone, or a zombie that only its new parent has not collected yet."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_who_waits_does_so_on_a_cpu_of_its_own() -> None:
    """Firmware that does not return takes a CPU along, with the timers of those who sleep there."""
    before = os.sched_getaffinity(0)
    taken = min(before)
    parent = os.getpid()

    def job() -> bytes:
        time.sleep(0.2)
        return json.dumps([list(os.sched_getaffinity(pid)) for pid in (0, parent)]).encode()

    for cpus in ((), {taken}):
        child, waiting = json.loads(run_bounded(job, 20, cpus=cpus).data)
        assert len(waiting) == 1
        assert set(waiting) & set(child) == set()
        assert (taken in waiting) == (cpus == ())
    assert os.sched_getaffinity(0) == before
