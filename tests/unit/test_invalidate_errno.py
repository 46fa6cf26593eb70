# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl invalidate`: what an errno means, what is asked before a call, and calls that are lost."""

from __future__ import annotations

import errno

import pytest

from pyctl.errors import NotReady, TargetLost, UsageError
from pyctl.target import invalidate
from pyctl.target.answers import Request
from pyctl.target.debugfs import Debugfs
from pyctl.target.invalidate import prepare, run
from tests.unit.fake_machine import TARGET, FakeModule, Machine
from tests.unit.test_cli_invalidate import ARGUMENTS


@pytest.mark.parametrize(
    "number",
    [
        errno.EBUSY,
        errno.EAGAIN,
        errno.EINVAL,
        errno.EOPNOTSUPP,
        errno.EIO,
        errno.ENXIO,
        errno.EFAULT,
        errno.ENOMEM,
        errno.EDOM,
    ],
)
@pytest.mark.parametrize("via", ["memregion", "smccc", "va"])
def test_every_errno_is_named_and_explained(pyctl, module: FakeModule, number: int, via) -> None:
    module.record = {"errno": number, "completed": 0}
    ended = pyctl(*ARGUMENTS, "--via", via, "--json")
    assert ended.status == 1
    answer = ended.json
    assert answer["ok"] is False
    name = "EOPNOTSUPP" if number == errno.EOPNOTSUPP else errno.errorcode[number]
    assert answer["errno"] == name
    assert answer["error"].startswith(f"{name}: ")
    assert "0 of 1 calls" in answer["error"]
    assert answer["hint"]


@pytest.mark.parametrize(
    ("via", "number", "words"),
    [
        ("smccc", errno.EBUSY, "Firmware was busy (BUSY)."),
        ("memregion", errno.EBUSY, "through all tries of the provider"),
        ("va", errno.EINVAL, "The module cannot map this range."),
        ("va", errno.EIO, "EIO: "),
        ("memregion", errno.EINVAL, "INVALID_PARAMETER"),
        ("memregion", errno.EDOM, "The call failed with EDOM."),
    ],
)
def test_an_errno_is_explained_by_who_gave_it(
    pyctl, module: FakeModule, via: str, number: int, words: str
) -> None:
    module.record = {"errno": number, "completed": 0, "fw_last_status": -5}
    ended = pyctl(*ARGUMENTS, "--via", via, "--json")
    assert words in ended.json["error"]
    if (via, number) != ("va", errno.EINVAL):
        assert "cannot map" not in ended.json["error"]


def test_a_request_is_prepared_by_all_that_can_be_asked_first(
    machine: Machine, module: FakeModule
) -> None:
    asked = Request(TARGET, 4096)
    assert prepare(machine.system, asked, force=False).provider
    with pytest.raises(UsageError, match="kernel itself"):
        prepare(machine.system, Request(0x40400000, 4096), force=False)
    prepare(machine.system, Request(0x40400000, 4096), force=True)
    machine.unload_provider()
    with pytest.raises(NotReady, match="No provider is registered"):
        prepare(machine.system, asked, force=False)
    assert module.requests == []


@pytest.mark.parametrize(
    ("raw_calls", "inside", "words"),
    [
        (1, ["CPU 2: it is inside."], "It never came back. CPU 2: it is inside."),
        (1, [], "It never came back."),
        # Where firmware cannot be asked.
        (0, ["CPU 2: it is inside."], "It never came back."),
    ],
)
def test_a_call_that_is_lost_is_told_with_the_cpu_that_is_inside(
    machine: Machine,
    module: FakeModule,
    monkeypatch: pytest.MonkeyPatch,
    raw_calls: int,
    inside: list[str],
    words: str,
) -> None:
    machine.set_info(raw_calls=raw_calls)
    debugfs = Debugfs(machine.system)
    asked: list[object] = []

    def lost(_request: Request, _timeout_s: float) -> None:
        raise TargetLost("It never came back.", "Reset it.")

    def calls_inside(one: object) -> list[str]:
        asked.append(one)
        return inside

    monkeypatch.setattr(debugfs, "invalidate", lost)
    monkeypatch.setattr(invalidate, "calls_inside", calls_inside)
    with pytest.raises(TargetLost) as raised:
        run(debugfs, Request(TARGET, 4096, "smccc"), debugfs.info(), 1)
    assert (raised.value.message, raised.value.hint) == (words, "Reset it.")
    assert asked == ([debugfs] if raw_calls else [])


def test_a_provider_that_took_its_counters_along_leaves_the_record_to_tell(
    machine: Machine, module: FakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise NotReady("There are no counters.")

    debugfs = Debugfs(machine.system)
    monkeypatch.setattr(invalidate, "start_counting", lambda _debugfs, _info: gone)
    made = run(debugfs, Request(TARGET, 4096), debugfs.info(), 10)
    assert made.firmware == made.record.firmware
