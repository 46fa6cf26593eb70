# SPDX-License-Identifier: GPL-2.0-only
"""A run of coherency: what it aims at, and what it says of firmware and of itself."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

import pytest

from pyctl.coherency.run import Calls, Plan, _is_blind, target_of
from pyctl.errors import OperationFailed
from pyctl.ranges import Range
from pyctl.target import debugfs as door
from pyctl.target.aim import Wish
from pyctl.target.debugfs import Debugfs
from pyctl.target.observers import ModelObserver, Observer
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
        calls = Calls(debugfs, debugfs.info(), Plan(window, LINE, "alias", 1, 10, scratch))
        for call in (calls.bounded, calls.unbounded):
            if damage is None:
                call(window)
                continue
            with pytest.raises(OperationFailed, match="wrote outside of what it was given"):
                call(window)
