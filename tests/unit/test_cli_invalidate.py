# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl invalidate`: nothing unsafe is sent, and nothing vacuous is a success."""

from __future__ import annotations

import errno
import os
import signal
import sys
import types
from pathlib import Path

import pytest

from pyctl.target import bounded, debugfs
from tests.unit.fake_machine import TARGET, TARGET_SIZE, FakeModule, Machine

ARGUMENTS = ("invalidate", "--addr", hex(TARGET), "--size", "64K")
KEYS = {
    "ok",
    "addr",
    "size",
    "via",
    "count",
    "threads",
    "provider",
    "errno",
    "error",
    "completed",
    "elapsed_ns",
    "firmware",
}


def test_a_success_has_all_the_evidence(pyctl, module: FakeModule) -> None:
    ended = pyctl(*ARGUMENTS, "--json")
    assert ended.status == 0
    answer = ended.json
    assert set(answer) >= KEYS
    assert answer["ok"] is True
    assert (answer["addr"], answer["size"], answer["via"]) == ("0x5f000000", 65536, "memregion")
    assert (answer["errno"], answer["error"], answer["completed"]) == (None, None, 1)
    assert answer["provider"] == {"registered": True, "name": "smccc_cache"}
    assert answer["firmware"] == {
        "calls": 1,
        "busy": 0,
        "rate_limited": 0,
        "last_status": 0,
        "counted": True,
    }
    assert set(answer["elapsed_ns"]) == {"min", "p50", "p99", "max", "total"}
    assert ended.err == ""
    assert module.requests == ["addr=0x5f000000 size=0x10000 via=memregion count=1 threads=1"]


def test_the_text_says_the_same_for_people(pyctl, module: FakeModule) -> None:
    ended = pyctl(*ARGUMENTS, "--count", "3")
    assert ended.status == 0
    for words in (
        "64K",
        "3 of 3 calls",
        "smccc_cache",
        "calls 3, busy 0",
        "median 1 us",
        "max 2 ms",
    ):
        assert words in ended.out


@pytest.mark.parametrize(
    ("addr", "size", "words"),
    [
        ("abc", "64K", "not a number"),
        ("-4096", "64K", "negative"),
        ("0x5f000000", "64Q", "suffix"),
        ("0x5f000000", "-1", "negative"),
        ("0x5f000000", "0", "empty"),
        ("0xfffffffffffff000", "8K", "wraps"),
        ("0", "0xffffffffffffffff", "44 bits"),
        ("0xfffffff0000", "1M", "44 bits"),
        ("0x5efff000", "8K", "System RAM"),
        ("0x40200000", "4K", "reserved"),
        ("0x5ffff000", "8K", "Nothing on this machine describes"),
        ("0x09000000", "4K", "pl011"),
    ],
)
@pytest.mark.parametrize("via", ["memregion", "smccc", "va"])
def test_a_bad_range_is_refused_before_anything_is_sent(
    pyctl, module: FakeModule, addr: str, size: str, words: str, via: str
) -> None:
    ended = pyctl("invalidate", "--addr", addr, "--size", size, "--via", via, "--json")
    assert ended.status == 2
    assert words in ended.json["error"]
    assert ended.json["ok"] is False
    assert words in ended.err
    assert module.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--count", "0"], "at least 1"),
        (["--threads", "0"], "at least 1"),
        (["--count", "1000001"], "--count is 1000001; the module allows at most 1000000"),
        (["--count", "1000001"], "Ask for fewer calls."),
        (["--threads", "257"], "--threads is 257; the module allows at most 256"),
        (["--count", "500001", "--threads", "2"], "at most 1000000"),
        (["--dry-run"], "--dry-run exists only with --via smccc"),
        (["--dry-run"], "Add --via smccc."),
        (["--timeout", "0"], "--timeout 0 is no time to wait"),
        (["--timeout", "0"], "Give seconds, more than 0."),
        (["--timeout", "nan"], "--timeout"),
        (["--timeout", "inf"], "--timeout"),
        (["--via", "nonsense"], "--via"),
    ],
)
def test_a_bad_option_is_refused_before_anything_is_sent(
    pyctl, module: FakeModule, arguments: list[str], words: str
) -> None:
    ended = pyctl(*ARGUMENTS, *arguments)
    assert ended.status == 2
    assert words in ended.err
    assert module.requests == []


@pytest.mark.parametrize("addr", ["0x40400000", "0x70000000"])
def test_force_lifts_the_refusal_of_unsafe_memory(pyctl, module, addr: str) -> None:
    ended = pyctl("invalidate", "--addr", addr, "--size", "4K", "--force")
    assert ended.status == 0
    assert len(module.requests) == 1


@pytest.mark.parametrize(
    ("addr", "size"), [("0", "0"), ("0xfffffffffffff000", "8K"), ("0xfffffff0000", "1M")]
)
def test_force_lifts_nothing_else(pyctl, module: FakeModule, addr: str, size: str) -> None:
    ended = pyctl("invalidate", "--addr", addr, "--size", size, "--force")
    assert ended.status == 2
    assert module.requests == []


def test_the_whole_safe_range_may_be_targeted(pyctl, module: FakeModule) -> None:
    assert pyctl("invalidate", "--addr", TARGET, "--size", TARGET_SIZE).status == 0


def test_without_a_provider_nothing_is_called_and_it_is_no_success(
    pyctl, machine: Machine, module: FakeModule
) -> None:
    machine.unload_provider()
    ended = pyctl(*ARGUMENTS, "--json")
    assert ended.status == 3
    assert ended.json["ok"] is False
    assert "No provider" in ended.json["error"]
    assert ended.json["provider"] == {"registered": False, "name": None}
    assert ended.json["hint"]
    assert module.requests == []


def test_without_the_framework_it_is_not_ready(pyctl, machine, module: FakeModule) -> None:
    machine.unload_provider()
    machine.set_info(framework=0)
    ended = pyctl(*ARGUMENTS)
    assert ended.status == 3
    assert "This kernel has no cpu_cache_invalidate_memregion()." in ended.err
    assert "6.19" in ended.err
    assert module.requests == []


@pytest.mark.parametrize("record", [{"vacuous": 1, "completed": 0}, {"provider": 0}])
def test_a_provider_that_goes_away_meanwhile_makes_no_success(
    pyctl, module: FakeModule, record: dict[str, int]
) -> None:
    module.record = record
    ended = pyctl(*ARGUMENTS, "--json")
    assert ended.status == 3
    assert ended.json["ok"] is False
    assert ended.json["provider"]["registered"] is bool(record.get("provider", 1))
    assert "The provider was gone during the request" in ended.json["error"]
    assert "do not unload a provider" in ended.json["hint"]


def test_too_few_firmware_calls_make_no_success(pyctl, module: FakeModule) -> None:
    module.calls_per_request = 0
    ended = pyctl(*ARGUMENTS, "--json")
    assert ended.status == 1
    assert ended.json["ok"] is False
    assert ended.json["firmware"]["calls"] == 0
    assert "firmware was called only 0 times" in ended.json["error"]
    assert "do not trust it" in ended.json["hint"]


def test_too_few_completed_calls_make_no_success(pyctl, module: FakeModule) -> None:
    module.record = {"completed": 4}
    ended = pyctl(*ARGUMENTS, "--count", "5", "--json")
    assert (ended.status, ended.json["ok"], ended.json["completed"]) == (1, False, 4)
    assert "Only 4 of 5 calls were completed" in ended.json["error"]
    assert "a fault of the module" in ended.json["hint"]


def test_a_firmware_status_without_an_errno_is_named(pyctl, module: FakeModule) -> None:
    module.record = {"errno": errno.EIO, "completed": 0, "fw_last_status": -2}
    ended = pyctl(*ARGUMENTS, "--via", "smccc")
    assert "NOT_REQUIRED" in ended.err


def test_firmware_without_the_function_is_not_ready(pyctl, module: FakeModule) -> None:
    module.record = {"errno": errno.EOPNOTSUPP, "completed": 0, "fw_calls": 0}
    ended = pyctl(*ARGUMENTS, "--via", "smccc", "--json")
    assert ended.status == 3
    assert ended.json["errno"] == "EOPNOTSUPP"
    assert "not announce" in ended.json["error"]
    assert "needs firmware support" in ended.json["hint"]
    assert ended.json["firmware"]["last_status"] is None


def test_no_conduit_is_not_ready(pyctl, machine: Machine, module: FakeModule) -> None:
    machine.set_info(conduit="none")
    ended = pyctl(*ARGUMENTS, "--via", "smccc", "--json")
    assert ended.status == 3
    assert "has no SMCCC conduit" in ended.json["error"]
    assert "PSCI 1.0" in ended.json["hint"]
    assert module.requests == []


@pytest.mark.parametrize("most", [["--count", "1000000"], ["--threads", "256"]])
def test_as_much_as_the_module_allows_is_sent(pyctl, module: FakeModule, most: list[str]) -> None:
    pyctl(*ARGUMENTS, *most)
    assert len(module.requests) == 1


def test_a_direct_call_needs_no_provider(pyctl, machine: Machine, module: FakeModule) -> None:
    machine.unload_provider()
    ended = pyctl(*ARGUMENTS, "--via", "smccc", "--dry-run", "--json")
    assert ended.status == 0
    assert ended.json["firmware"]["calls"] == 1
    assert ended.json["provider"] == {"registered": False, "name": None}
    assert module.requests[0].endswith("dry_run=1")


def test_by_va_no_firmware_is_involved(pyctl, machine: Machine, module: FakeModule) -> None:
    machine.unload_provider()
    ended = pyctl(*ARGUMENTS, "--via", "va", "--json")
    assert ended.status == 0
    assert ended.json["firmware"]["counted"] is False
    assert ended.json["firmware"]["calls"] is None


def test_calls_of_a_foreign_provider_are_not_counted(pyctl, machine, module: FakeModule) -> None:
    machine.unload_provider(registered=1)
    ended = pyctl(*ARGUMENTS, "--json")
    assert ended.status == 0
    assert ended.json["provider"] == {"registered": True, "name": None}
    assert ended.json["firmware"]["counted"] is False


class Stub:
    """Stands for the client of the virtual board's firmware."""

    log_file: Path
    """Holds the negated status of each call that it has answered, a byte each."""
    forgets = 0
    answers_as_ours = True

    def __init__(self, raw: object) -> None:
        assert callable(raw)

    def is_ours(self) -> bool:
        return Stub.answers_as_ours

    def get(self, name: str) -> int:
        assert name in ("clean_inv_calls", "log_total")
        return len(Stub.log_file.read_bytes())

    def log(self, first: int) -> list[types.SimpleNamespace]:
        statuses = Stub.log_file.read_bytes()[first + Stub.forgets :]
        return [types.SimpleNamespace(status=-status) for status in statuses]


@pytest.fixture
def stub(machine: Machine, module: FakeModule, monkeypatch, tmp_path) -> type[Stub]:
    """A virtual board whose provider is not ours; each request makes three firmware calls."""
    machine.unload_provider(registered=1)
    machine.set_info(raw_calls=1)
    monkeypatch.setattr(Stub, "log_file", tmp_path / "stub", raising=False)
    Stub.log_file.write_bytes(b"\5\5\0")

    def exchange(path, request: bytes) -> bytes:
        with Stub.log_file.open("ab") as log:
            log.write(b"\5\4\0")
        return module.exchange(path, request)

    monkeypatch.setattr(debugfs, "exchange", exchange)
    monkeypatch.setitem(sys.modules, "pyctl.firmware.client", types.SimpleNamespace(Stub=Stub))
    return Stub


def test_on_a_virtual_board_the_firmware_itself_counts(pyctl, stub) -> None:
    answer = pyctl(*ARGUMENTS, "--json").json
    assert answer["ok"] is True
    assert answer["firmware"] == {
        "calls": 3,
        "busy": 1,
        "rate_limited": 1,
        "last_status": 0,
        "counted": True,
    }


def test_what_the_firmware_has_forgotten_is_not_made_up(pyctl, stub, monkeypatch) -> None:
    monkeypatch.setattr(stub, "forgets", 1)
    assert pyctl(*ARGUMENTS, "--json").json["firmware"] == {
        "calls": 3,
        "busy": None,
        "rate_limited": None,
        "last_status": 0,
        "counted": True,
    }


def test_other_firmware_counts_nothing(pyctl, stub, monkeypatch) -> None:
    monkeypatch.setattr(stub, "answers_as_ours", False)
    answer = pyctl(*ARGUMENTS, "--json").json
    assert answer["ok"] is True
    assert (answer["firmware"]["counted"], answer["firmware"]["calls"]) == (False, None)


def test_a_timeout_reports_what_was_done(pyctl, module: FakeModule, monkeypatch) -> None:
    module.record = {"completed": 2, "interrupted": 1, "errno": errno.EINTR}
    stop_when_signalled(module, monkeypatch)
    ended = pyctl(*ARGUMENTS, "--count", "5", "--timeout", "0.2", "--json")
    assert ended.status == 1
    answer = ended.json
    assert (answer["ok"], answer["errno"], answer["completed"]) == (False, "ETIMEDOUT", 2)
    assert answer["interrupted"] is True


def test_ctrl_c_reports_what_was_done_and_is_130(pyctl, module: FakeModule, monkeypatch) -> None:
    module.record = {"completed": 2, "interrupted": 1}
    stop_when_signalled(module, monkeypatch, press=True)
    ended = pyctl(*ARGUMENTS, "--count", "5", "--json")
    assert ended.status == 130
    answer = ended.json
    assert (answer["ok"], answer["errno"], answer["completed"]) == (False, "EINTR", 2)
    assert "2 of 5" in answer["error"]


def stop_when_signalled(module: FakeModule, monkeypatch, press: bool = False) -> None:
    """The module works until a signal comes; with ``press`` somebody presses Ctrl-C."""

    def exchange(path, request: bytes) -> bytes:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        if press:
            os.kill(os.getppid(), signal.SIGINT)
        assert signal.sigtimedwait({signal.SIGINT}, 20)
        return module.exchange(path, request)

    monkeypatch.setattr(debugfs, "exchange", exchange)


def test_a_call_that_never_comes_back_is_a_lost_target(pyctl, module, monkeypatch) -> None:
    def hang(_path, _request: bytes) -> bytes:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.pause()
        return b""

    monkeypatch.setattr(debugfs, "exchange", hang)
    monkeypatch.setattr(bounded, "GRACE_S", 0.3)
    ended = pyctl(*ARGUMENTS, "--timeout", "0.2", "--json")
    assert ended.status == 4
    assert ended.json["ok"] is False
    assert "never came back" in ended.json["error"]


def test_more_threads_than_cpus_are_said_to_share(pyctl, module, monkeypatch) -> None:
    import psutil

    monkeypatch.setattr(psutil, "cpu_count", lambda: 2)
    assert "share 2 CPUs" in pyctl(*ARGUMENTS, "--threads", "3").err
    assert pyctl(*ARGUMENTS, "--threads", "2").err == ""


def test_an_answer_of_another_module_version_is_not_ready(pyctl, module: FakeModule) -> None:
    module.record = {"completed": "many"}
    ended = pyctl(*ARGUMENTS)
    assert ended.status == 3
    assert "pyctl build" in ended.err
