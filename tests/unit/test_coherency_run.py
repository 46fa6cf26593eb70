# SPDX-License-Identifier: GPL-2.0-only
"""A run of coherency: what it aims at, and what it says of firmware and of itself."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from pyctl.coherency.calls import Calls, Refused, patience_s
from pyctl.coherency.race import _not_reached
from pyctl.coherency.run import REFUSED, Plan, Run, _is_blind
from pyctl.coherency.window import BORDER, DEFAULT_SIZE, place, target_of
from pyctl.errors import NotReady, OperationFailed
from pyctl.ranges import Range
from pyctl.target import aim as aiming
from pyctl.target import debugfs as door
from pyctl.target.aim import Wish
from pyctl.target.answers import Discovery, Request
from pyctl.target.bounded import Child
from pyctl.target.debugfs import Debugfs
from pyctl.target.invalidate import Result
from pyctl.target.observers import ModelObserver, Observer, buffer_beside
from pyctl.target.provider import Provider
from tests.unit.fake_machine import TARGET, FakeModule, Machine
from tests.unit.test_aim import ADDR, FakeScratch, Giver, giver

__all__ = ["giver"]
LINE = 64


class Memory(Observer):
    """Both sides of made-up memory; ``held_back`` is what hides the CPU's, or the device's."""

    name = "made up"
    line_size = LINE
    limits = ()

    def __init__(self, held_back: str = "") -> None:
        self.held_back = held_back
        self.sides = {"cpu": bytearray(1 << 16), "device": bytearray(1 << 16)}

    def prepare(self, addr: int, data: bytes) -> None:
        for side in self.sides.values():
            side[addr : addr + len(data)] = data

    def _write(self, writer: str, pieces: Iterable[tuple[int, bytes]]) -> None:
        for addr, data in pieces:
            for name, side in self.sides.items():
                if name == writer or self.held_back != writer:
                    side[addr : addr + len(data)] = data

    def cpu_write(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        self._write("cpu", pieces)

    def device_write(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        self._write("device", pieces)

    def cpu_read(self, addr: int, size: int) -> bytes:
        return bytes(self.sides["cpu"][addr : addr + size])

    def device_read(self, addr: int, size: int) -> bytes:
        return bytes(self.sides["device"][addr : addr + size])


@pytest.mark.parametrize(("held_back", "blind"), [("", True), ("cpu", False), ("device", False)])
def test_who_sees_every_store_at_once_sees_nothing(held_back: str, blind: bool) -> None:
    assert _is_blind(Memory(held_back), Range(4096, 8192)) == blind
    assert _is_blind(Memory(held_back), Range(4096, 4096 + 16 * LINE)) == blind


def test_a_safe_range_that_shows_no_bytes_is_passed_over(
    machine: Machine, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of System RAM, which the kernel's command line has set aside."""
    debugfs = Debugfs(machine.system)

    def refuse(_file: int, _offset: int, _size: int) -> bytes:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    # What the module lacks altogether is said where a plan is checked, and not by another window.
    with target_of(debugfs, Wish(size=4096)) as target:
        assert target.kind == "region"
    machine.write("/sys/kernel/debug/memregion_test/memory_cached", "")
    monkeypatch.setattr(door, "read_at", lambda _file, _offset, size: bytes(size))
    with target_of(debugfs, Wish(size=4096)) as target:
        assert (target.kind, target.range.addr) == ("region", TARGET)
    monkeypatch.setattr(door, "read_at", refuse)
    with pytest.raises(OperationFailed, match="some of it is System RAM"):
        debugfs.read_memory(TARGET, 1)
    with target_of(debugfs, Wish(size=4096)) as target:
        assert (target.kind, target.range) == ("scratch", Range(ADDR, ADDR + 4096))
    assert giver.given == [(4096 + ModelObserver.SPARE_BYTES, None)]


def test_damage_beside_scratch_is_an_error_of_the_call(
    machine: Machine, module: FakeModule
) -> None:
    debugfs = Debugfs(machine.system)
    window = Range(ADDR, ADDR + 4096)
    for damage in (None, ADDR - 8):
        scratch = FakeScratch(4096, 0, damage)
        calls = Calls(debugfs, debugfs.info(), scratch, 10)
        for call in (calls.bounded, calls.unbounded):
            if damage is None:
                call(window)
                continue
            with pytest.raises(OperationFailed, match="wrote outside of what it was given"):
                call(window)


class Interrupted(Exception):
    """A KeyboardInterrupt that does not end all tests where it comes unexpected."""


@pytest.fixture
def calls(machine: Machine, module: FakeModule, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Calls of a machine whose firmware states 250 us and 100 calls a second."""
    monkeypatch.setattr("pyctl.coherency.calls.KeyboardInterrupt", Interrupted, raising=False)
    debugfs = Debugfs(machine.system)
    return Calls(debugfs, debugfs.info(), None, 60)


def answering(calls: Calls, request: Range, numbers: list[int]) -> Callable[[], Result]:
    """Results of one call after the other, by their errnos; the last one again and again."""
    asked = Request(request.addr, request.size)
    record = calls.debugfs.invalidate_unbounded(asked)

    def once() -> Result:
        number = numbers.pop(0) if len(numbers) > 1 else numbers[0]
        answer = replace(record, errno=number, completed=0 if number else 1)
        return Result(asked, answer, Provider(), None, False, False)

    return once


PAGES = Range(TARGET, TARGET + 8192)


def test_a_call_that_is_refused_for_now_is_made_again(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("pyctl.coherency.calls.time.sleep", waits.append)
    calls._settle(answering(calls, PAGES, [errno.EBUSY, errno.EAGAIN] * 6 + [0]))
    # Soon, and then more and more seldom.
    assert waits == [min(0.001 * 2**number, 0.5) for number in range(12)]


def test_firmware_that_never_accepts_a_call_loses_patience_once(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("pyctl.coherency.calls.time.sleep", sleep)
    monkeypatch.setattr("pyctl.coherency.calls.time.monotonic", lambda: now)
    with pytest.raises(OperationFailed, match=r"EBUSY.* It was so for 5\.\d s") as raised:
        calls._settle(answering(calls, PAGES, [errno.EBUSY]))
    assert raised.value.hint
    before = now
    with pytest.raises(OperationFailed, match="EBUSY") as raised:
        calls._settle(answering(calls, PAGES, [errno.EBUSY]))
    assert now == before
    assert raised.value.hint


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [(None, 5), ((0, 0, 0, 0, 0), 5), ((0, 0, 250_000, 4, 0), 9), ((0, 0, 0, 1, 0), 13)],
)
def test_patience_follows_from_what_firmware_states(
    raw: tuple[int, ...] | None, seconds: float
) -> None:
    stated = Discovery(0x1_0002, "hvc", 0, 0, 0 if raw else None, raw)
    assert patience_s(stated) == seconds


def test_a_ctrl_c_in_a_call_ends_the_run_and_not_the_case(calls: Calls) -> None:
    made = answering(calls, PAGES, [0])()
    cut_short = replace(made, interrupted=True, record=replace(made.record, interrupted=True))
    with pytest.raises(Interrupted):
        calls._settle(lambda: cut_short)
    # One that came when all calls had been made has changed nothing.
    calls._settle(lambda: replace(made, interrupted=True))


def test_only_what_is_not_of_pages_may_be_refused(calls: Calls) -> None:
    for request, kind in (
        (PAGES, OperationFailed),
        (Range(TARGET, TARGET + 64), Refused),
        (Range(TARGET + 64, TARGET + 64 + 4096), Refused),
        (Range(TARGET + 1, TARGET + 1 + 4096), Refused),
        (Range(TARGET, TARGET + 4097), Refused),
    ):
        with pytest.raises(OperationFailed, match="INVALID_PARAMETER") as raised:
            calls._settle(answering(calls, request, [errno.EINVAL]))
        assert type(raised.value) is kind
        assert raised.value.hint
    with pytest.raises(OperationFailed) as raised:
        calls._settle(answering(calls, Range(TARGET, TARGET + 64), [errno.EOPNOTSUPP]))
    assert type(raised.value) is OperationFailed


@pytest.mark.parametrize(
    ("memory", "window"),
    [
        # The most aligned border of those that fit.
        ((0x5F00_0000, 0x6000_0000), (0x5F7D_0000, 0x5F81_0000)),
        ((0x4450_0000, 0x4474_0000), (0x445D_0000, 0x4461_0000)),
        ((0xFF00_0000, 0x1_0100_0000), (0xFFFD_0000, 0x1_0001_0000)),
        # It just fits.
        ((0x5F10_0000, 0x5F21_0000), (0x5F1D_0000, 0x5F21_0000)),
        # None does, and one of 1 MiB is none.
        ((0x5F00_0000, 0x5F1F_0000), (0x5F00_0000, 0x5F04_0000)),
        ((0x5F00_0000, 0x5F10_0000), (0x5F00_0000, 0x5F04_0000)),
        ((0x5F00_0000, 0x5F00_4000), (0x5F00_0000, 0x5F00_4000)),
    ],
)
def test_the_window_lies_across_a_border_where_memory_has_one(
    memory: tuple[int, int], window: tuple[int, int]
) -> None:
    placed = place(Range(*memory))
    assert placed == Range(*window)
    # An address that is a float is equal, and shown as one.
    assert isinstance(placed.end, int)


def test_scratch_is_large_enough_to_have_a_border(machine: Machine, giver: Giver) -> None:
    machine.remove("/proc/device-tree")
    with target_of(Debugfs(machine.system), Wish()) as target:
        assert target.range.size == DEFAULT_SIZE
        border = target.range.addr + DEFAULT_SIZE * 3 // 4
        assert border % BORDER == 0
    [(size, _node)] = giver.given
    assert size == BORDER + DEFAULT_SIZE + ModelObserver.SPARE_BYTES
    assert giver.open_files == 0


def test_a_machine_that_gives_less_scratch_is_tried_without_a_border(
    machine: Machine, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.remove("/proc/device-tree")
    give = giver.scratch

    def scarce(debugfs: Debugfs, size: int, node: int | None = None) -> object:
        if size > 1 << 20:
            raise NotReady("There is not so much.")
        return give(debugfs, size, node)

    monkeypatch.setattr(aiming, "scratch", scarce)
    with target_of(Debugfs(machine.system), Wish()) as target:
        assert target.range == Range(ADDR, ADDR + DEFAULT_SIZE)


class Refusing(Memory):
    """Memory whose firmware takes whole pages; ``refusals`` is how often it says so."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals

    def call(self, request: Range) -> None:
        if (request.addr | request.size) % 4096 and self.refusals:
            self.refusals -= 1
            raise Refused("EINVAL: Firmware does not accept this range.")


@pytest.mark.parametrize(("refusals", "errors"), [(1000, 0), (3, 1)])
def test_what_is_refused_is_not_tried_and_must_be_refused_again(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, refusals: int, errors: int
) -> None:
    observer = Refusing(refusals)
    plan = Plan(Range(0x4000, 0xC000), LINE, "alias", 1, 10)
    monkeypatch.setattr(calls, "bounded", observer.call)
    monkeypatch.setattr(calls, "unbounded", observer.call)
    monkeypatch.setattr("pyctl.coherency.run.run_from_cpu", lambda *_args: None)
    cases = {case.name: case for case in Run(observer, plan, calls).cases()}
    assert cases["one line"].skipped == REFUSED
    assert not cases["a page"].skipped
    assert not cases["a page"].error
    assert cases["a call from CPU 0"].request.size == (4096 if errors == 0 else 4 * LINE)
    again = cases["refused ranges, once more"]
    assert bool(again.error) == bool(errors)
    assert not again.skipped


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ("EOPNOTSUPP", "EOPNOTSUPP: The call was not made, since firmware does not offer it now"),
        ("EIO", "The first call ended with EIO and did not reach firmware."),
        (None, "The first call ended with success and did not reach firmware."),
    ],
)
def test_a_call_that_did_not_come_to_firmware_says_why(ended: str | None, said: str) -> None:
    with Child(lambda: ended) as caller:
        assert caller.wait(20)
        assert _not_reached(caller).startswith(said)


def test_a_call_that_goes_on_has_not_come_to_firmware() -> None:
    def stuck() -> str | None:
        time.sleep(60)
        return None

    with Child(stuck) as caller:
        assert _not_reached(caller) == "The first call did not reach firmware."


@pytest.mark.parametrize(
    ("window", "free", "expected"),
    [
        # Beside the window, above it if possible.
        (range(0x10_0000, 0x14_0000), range(0x10_0000, 0x100_0000), 0x14_0000),
        (range(0xFC_0000, 0x100_0000), range(0x10_0000, 0x100_0000), 0xFB_0000),
        # A window elsewhere has other people's memory beside it.
        (range(0x4000_0000, 0x4004_0000), range(0x10_0000, 0x100_0000), 0xFF_0000),
        (range(0x4000_0000, 0x4004_0000), range(0x5000_0000, 0x5001_0000), 0x5000_0000),
        # Nowhere.
        (range(0x10_0000, 0x14_0000), range(0x10_0000, 0x14_0000), None),
        (range(0x4000_0000, 0x4004_0000), range(0), None),
    ],
)
def test_a_buffer_lies_in_free_memory_and_outside_of_the_window(
    window: range, free: range, expected: int | None
) -> None:
    assert buffer_beside(window, free) == expected
