# SPDX-License-Identifier: GPL-2.0-only
"""A call that may never return: answers, errors, timeouts, Ctrl-C and lost children."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from pyctl.errors import OperationFailed, TargetLost
from pyctl.target import bounded
from pyctl.target.bounded import _PATIENCE, Caller, Child, finish


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
    ending = Caller().run(lambda: data, 10)
    assert (ending.value, ending.timed_out, ending.interrupted) == (data, False, False)


def test_the_errno_of_the_call_is_the_error() -> None:
    def refuse() -> bytes:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))

    with pytest.raises(OSError, match="too long") as caught:
        Caller().run(refuse, 10)
    assert caught.value.errno == errno.E2BIG


def test_a_child_that_dies_is_no_answer() -> None:
    def die() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b"never"

    with pytest.raises(OperationFailed, match="killed by SIGKILL before"):
        Caller().run(die, 10)


def test_the_timeout_stops_the_work_and_brings_what_was_done() -> None:
    ending = Caller().run(until_signalled, 0.2)
    assert (ending.value, ending.timed_out, ending.interrupted) == (b"stopped", True, False)


def test_ctrl_c_stops_the_work_and_brings_what_was_done() -> None:
    def interrupt_me() -> bytes:
        os.kill(os.getppid(), signal.SIGINT)
        return until_signalled()

    before = signal.getsignal(signal.SIGINT)
    ending = Caller().run(interrupt_me, 10)
    assert (ending.value, ending.timed_out, ending.interrupted) == (b"stopped", False, True)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_call_that_never_comes_back_is_given_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "GRACE_S", 0.3)

    def note_and_hang() -> bytes:
        (tmp_path / "pid").write_text(str(os.getpid()))
        return deaf()

    start = time.monotonic()
    with pytest.raises(TargetLost, match="never came back"):
        Caller().run(note_and_hang, 0.3)
    assert time.monotonic() - start < 10
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_whoever_presses_ctrl_c_again_and_again_need_not_wait_for_the_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded, "GRACE_S", 30)

    def press_often() -> bytes:
        for _press in range(_PATIENCE + 1):
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(0.15)
        return deaf()

    with pytest.raises(TargetLost, match="interrupted"):
        Caller().run(press_often, 10)


def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    def note_and_hang() -> bytes:
        (tmp_path / "pid").write_text(str(os.getpid()))
        return deaf()

    parent = os.fork()
    if parent == 0:
        try:
            Caller().run(note_and_hang, 20)
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
        child, waiting = json.loads(Caller().run(job, 20, cpus=cpus).value)
        assert len(waiting) == 1
        assert set(waiting) & set(child) == set()
        assert (taken in waiting) == (cpus == ())
    assert os.sched_getaffinity(0) == before


def exit_with_7() -> None:
    os._exit(7)


def test_how_a_child_ended_is_told() -> None:
    with pytest.raises(OperationFailed, match="ended with status 7 before"):
        Caller().run(exit_with_7, 10)


def test_a_mistake_in_the_job_is_no_silence() -> None:
    with pytest.raises(RuntimeError, match="KeyError"):
        Caller().run(lambda: os.environ["PYCTL_MISSING"], 10)


def test_a_call_that_gets_no_process_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    handler, cpus = signal.getsignal(signal.SIGINT), os.sched_getaffinity(0)
    # What an earlier test has left for the collector may not go meanwhile.
    gc.collect()
    files = os.listdir("/proc/self/fd")
    with pytest.raises(OperationFailed, match="No process could be started"):
        Caller().run(os.getpid, 10)
    assert os.listdir("/proc/self/fd") == files
    assert signal.getsignal(signal.SIGINT) is handler
    assert os.sched_getaffinity(0) == cpus
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_one_child_makes_one_call_after_the_other() -> None:
    caller = Caller()
    first = caller.run(os.getpid, 10).value
    assert first != os.getpid()
    for size in (1, 300_000):
        assert caller.run(partial(bytes, size), 10).value == bytes(size)
    with pytest.raises(FileNotFoundError):
        caller.run(partial(os.stat, "/nonexistent"), 10)
    assert caller.run(os.getpid, 10).value == first
    del caller
    assert has_ended(first)


def test_a_child_that_was_told_to_stop_makes_no_other_call() -> None:
    """A signal that comes late would meet it."""
    caller = Caller()
    stopped = caller.run(until_signalled, 0.2)
    assert stopped.timed_out
    assert caller.run(until_signalled_once, 10).value == b"finished"


def until_signalled_once() -> bytes:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    return b"stopped" if signal.sigtimedwait({signal.SIGINT}, 0.3) else b"finished"


def test_a_child_that_has_died_is_replaced() -> None:
    caller = Caller()
    with pytest.raises(OperationFailed):
        caller.run(exit_with_7, 10)
    assert caller.run(os.getpid, 10).value != os.getpid()


def test_a_child_that_dies_between_two_calls_is_no_answer() -> None:
    caller = Caller()
    os.kill(caller.run(os.getpid, 10).value, signal.SIGKILL)
    with pytest.raises(OperationFailed, match="killed by SIGKILL"):
        caller.run(partial(bytes, 300_000), 10)
    assert caller.run(os.getpid, 10).value != os.getpid()


def test_a_fork_of_ours_makes_its_calls_in_a_child_of_its_own() -> None:
    caller = Caller()
    first = caller.run(os.getpid, 10).value
    with Child(lambda: caller.run(os.getpid, 10).value) as fork:
        assert finish([fork], 10)[0] != first
    assert caller.run(os.getpid, 10).value == first


def test_a_kept_child_has_no_file_of_ours_open(tmp_path: Path) -> None:
    """A module would be in use, and memory not freed, for as long as the child is kept."""
    with (tmp_path / "file").open("w") as ours:
        caller = Caller()
        names = caller.run(open_files, 10).value
        assert str(tmp_path / "file") not in names
        with Child(open_files) as child:
            assert str(tmp_path / "file") in finish([child], 10)[0]
    assert ours.closed


def open_files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return found


STUCK = """
import os, signal, sys, time
from pyctl.errors import TargetLost
from pyctl.target import bounded

bounded.GRACE_S = bounded._REAP_S = 0.2
kill, signals = os.kill, []
os.kill = lambda _pid, number: signals.append(number)  # As if no signal got through.
children = [bounded.Child(lambda: time.sleep(20)) for _ in range(3)]
try:
    bounded.finish(children, 0.2)
except TargetLost:
    for child in children:
        child.give_up()
    assert signal.SIGKILL in signals
    print("lost", flush=True)
    sys.exit(4)
"""


def test_a_process_ends_and_lets_go_of_its_output_though_children_are_stuck() -> None:
    """As it leaves for a user's shell: with all that Python does at exit."""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (4, "lost\n", "")
    assert time.monotonic() - start < 15
