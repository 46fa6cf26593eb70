# SPDX-License-Identifier: GPL-2.0-only
"""The one door to debugfs: what it reads, and what it says when it cannot."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from pyctl.errors import NotReady, OperationFailed, PyctlError
from pyctl.target import debugfs
from pyctl.target.answers import RawRequest
from pyctl.target.debugfs import Debugfs
from pyctl.target.raw import leaving_a_cpu, registers


def error_of(machine, action=lambda door: door.info()) -> PyctlError:
    with pytest.raises(PyctlError) as caught:
        action(Debugfs(machine.system))
    return caught.value


def test_info_and_discovery_are_read_from_the_module(machine) -> None:
    machine.set_info(pa_bits=48, conduit="smc")
    info = Debugfs(machine.system).info()
    assert (info.pa_bits, info.conduit, info.smccc_version) == (48, "smc", 0x10002)
    assert Debugfs(machine.system).discovery().latency_us == 250


def test_not_root(machine) -> None:
    machine.become(euid=1000)
    machine.hide_debugfs()
    error = error_of(machine)
    assert isinstance(error, NotReady)
    assert "root" in error.message
    assert "sudo" in error.hint


def test_debugfs_not_mounted(machine) -> None:
    machine.write("/proc/mounts", "proc /proc proc rw 0 0\n")
    machine.hide_debugfs()
    error = error_of(machine)
    assert isinstance(error, NotReady)
    assert "not mounted" in error.message
    assert "mount -t debugfs" in error.hint


def test_module_not_loaded(machine) -> None:
    machine.unload_test_module()
    error = error_of(machine)
    assert isinstance(error, NotReady)
    assert "not loaded" in error.message
    assert "pyctl load" in error.hint


@pytest.mark.parametrize(
    ("state", "words"), [("none [integrity] confidentiality", "is locked down"), (None, "may be")]
)
def test_lockdown(machine, monkeypatch, state, words) -> None:
    if state:
        machine.write("/sys/kernel/security/lockdown", state)
    else:
        machine.remove("/sys/kernel/security/lockdown")

    monkeypatch.setattr(Debugfs, "_path", lambda *_: _Refusing())
    error = error_of(machine)
    assert isinstance(error, NotReady)
    assert words in error.message
    assert "Secure Boot" in error.hint


class _Refusing:
    def read_text(self, **_options: object) -> str:
        raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_module_of_another_version_is_refused(machine) -> None:
    machine.set_info(version="0.0.1")
    error = error_of(machine)
    assert isinstance(error, NotReady)
    assert "0.0.1" in error.message
    assert "pyctl build" in error.hint


def test_a_module_without_the_file_is_another_version(machine) -> None:
    machine.remove("/sys/kernel/debug/memregion_test/attributes")
    error = error_of(machine, lambda door: door.discovery())
    assert isinstance(error, NotReady)
    assert "another version" in error.message


def test_raw_calls_that_are_not_enabled_say_how_to_enable_them(machine) -> None:
    error = error_of(machine, lambda door: door.raw_call(0x8000_0000, ()))
    assert isinstance(error, NotReady)
    assert "--raw" in error.hint


def test_a_raw_call_passes_arguments_and_gives_all_registers(machine, monkeypatch) -> None:
    def answer(_path: Path, request: bytes) -> bytes:
        assert request == b"fid=0xc6000001 x1=0x20 x2=0x0\n"
        return "".join(f"x{n}=0x{n * 3:x}\n" for n in range(18)).encode()

    monkeypatch.setattr(debugfs, "exchange", answer)
    registers = Debugfs(machine.system).raw_call(0xC600_0001, (0x20, 0))
    assert registers == [n * 3 for n in range(18)]


def test_registers_that_a_raw_call_should_have_kept_are_told_with_it() -> None:
    text = "".join(f"x{n}=0x{n:x}\n" for n in range(18))
    kept, lost = registers(f"{text}\n{text}lost_x28=0x7\nlost_SP_EL0=0x0\n".encode(), 2)
    assert kept.x == lost.x == tuple(range(18))
    assert (kept.lost, lost.lost) == ((), (("x28", 7), ("SP_EL0", 0)))
    assert (kept.sve_bytes, kept.za_bytes) == (0, 0)


def test_vector_state_that_a_raw_call_should_have_kept_is_told_with_it() -> None:
    text = "".join(f"x{n}=0x{n:x}\n" for n in range(18))
    [answer] = registers(f"{text}sve_bytes=32\nza_bytes=64\nlost_p3=0x1\n".encode(), 1)
    assert (answer.sve_bytes, answer.za_bytes) == (32, 64)
    assert answer.lost == (("p3", 1),)


def test_a_raw_call_that_was_not_made_is_an_error(machine, monkeypatch) -> None:
    monkeypatch.setattr(debugfs, "exchange", lambda *_: b"errno=4\n")
    error = error_of(machine, lambda door: door.raw_call(1, ()))
    assert isinstance(error, OperationFailed)
    assert os.strerror(errno.EINTR) in error.message


def answer_fids(path: Path, request: bytes) -> bytes:
    """A module that answers each line with its fid in x0, and notes what was written."""
    # The writer is a child: a file is what it can leave behind.
    with (path.parent / "writes").open("ab") as log:
        log.write(request + b"--")
    texts = []
    for line in request.decode().splitlines():
        fid = line.split()[0].partition("=")[2]
        texts.append(f"x0={fid}\n" + "".join(f"x{n}=0x1\n" for n in range(1, 18)))
    return "\n".join(texts).encode()


def test_raw_calls_fill_writes_up_to_what_the_module_takes(machine, monkeypatch) -> None:
    machine.set_info(max_request_bytes=72)
    monkeypatch.setattr(debugfs, "exchange", answer_fids)
    requests = [RawRequest(fid, (fid,), cpu=0) for fid in range(1, 8)]
    answers = Debugfs(machine.system).raw_calls(requests, 20)
    assert [answer.x[0] for answer in answers] == list(range(1, 8))
    assert all(len(answer.x) == 18 and not answer.lost for answer in answers)
    path = machine.system.path("/sys/kernel/debug/memregion_test/writes")
    *writes, rest = path.read_bytes().split(b"--")
    assert rest == b""
    assert b"".join(writes) == b"".join(request.text().encode() for request in requests)
    assert [write.count(b"\n") for write in writes] == [3, 3, 1]


@pytest.mark.parametrize(
    ("cpus", "allowed", "parts"),
    [
        ([0, 0, 1, 1], {0, 1}, [[0, 0], [1, 1]]),
        ([0, 1, 2, 3], {0, 1, 2, 3}, [[0, 1, 2], [3]]),
        ([3, 0, 0, 1, 2], {0, 1, 2, 3}, [[3, 0, 0, 1], [2]]),
        ([0, 1, 0, 1], {0, 1, 2}, [[0, 1, 0, 1]]),
        ([0, None, 1], {0, 1}, [[0, None], [1]]),
        ([0, 0], {0}, [[0, 0]]),
        ([None, None], {0, 1}, [[None, None]]),
    ],
)
def test_no_part_of_a_batch_is_bound_to_every_cpu(cpus, allowed, parts) -> None:
    requests = [RawRequest(n, cpu=cpu) for n, cpu in enumerate(cpus)]
    made = list(leaving_a_cpu(requests, allowed))
    assert [[one.cpu for one in part] for part in made] == parts
    assert [one for part in made for one in part] == requests


def test_raw_calls_with_time_between_them_are_written_one_by_one(machine, monkeypatch) -> None:
    monkeypatch.setattr(debugfs, "exchange", answer_fids)
    started = time.monotonic()
    Debugfs(machine.system).raw_calls([RawRequest(1)] * 3, 20, interval_s=0.1)
    assert time.monotonic() - started >= 0.2
    path = machine.system.path("/sys/kernel/debug/memregion_test/writes")
    assert path.read_bytes() == b"fid=0x1\n--" * 3


def test_fewer_answers_than_raw_calls_are_an_error(machine, monkeypatch) -> None:
    monkeypatch.setattr(debugfs, "exchange", lambda *_: b"")
    error = error_of(machine, lambda door: door.raw_calls([RawRequest(1)] * 2, 20))
    assert isinstance(error, OperationFailed)
    assert "0 of 2" in error.message


def test_ctrl_c_in_raw_calls_is_ctrl_c(machine, monkeypatch) -> None:
    def press(*_arguments: object) -> bytes:
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(0.3)
        return b""

    monkeypatch.setattr(debugfs, "exchange", press)
    with pytest.raises(KeyboardInterrupt):
        Debugfs(machine.system).raw_calls([RawRequest(1)], 20)


def test_an_exchange_answers_through_the_same_open_file(tmp_path: Path) -> None:
    # A plain file answers with what was written to it: from its beginning, all of it.
    file = tmp_path / "invalidate"
    file.write_bytes(b"")
    request = b"addr=0x0 size=0x1\n" * 20_000
    assert debugfs.exchange(file, request) == request


def test_an_exchange_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    file = tmp_path / "invalidate"
    file.write_bytes(b"")
    before = os.listdir("/proc/self/fd")
    debugfs.exchange(file, b"x")
    with pytest.raises(FileNotFoundError):
        debugfs.exchange(tmp_path / "missing", b"x")
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("number", [errno.EINVAL, errno.E2BIG])
def test_a_refused_request_is_a_failure_with_the_errno(machine, monkeypatch, number) -> None:
    def refuse(*_arguments: object) -> bytes:
        raise OSError(number, "")

    from pyctl.target.answers import Request

    monkeypatch.setattr(debugfs, "exchange", refuse)
    error = error_of(machine, lambda door: door.invalidate(Request(0, 1), 5))
    assert isinstance(error, OperationFailed)
    assert os.strerror(number) in error.message
