# SPDX-License-Identifier: GPL-2.0-only
"""What a command aims at where nobody names an address, and what it says of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from pyctl.errors import NotReady, UsageError
from pyctl.ranges import Range
from pyctl.target import aim as aiming
from pyctl.target import debugfs as door
from pyctl.target.aim import Wish, aim
from pyctl.target.answers import ScratchState
from pyctl.target.debugfs import Debugfs
from pyctl.target.scratch import Scratch
from tests.unit.fake_firmware import FakeFirmware
from tests.unit.fake_machine import TARGET, TARGET_SIZE, FakeModule, Machine, lines
from tests.unit.test_cli_conformance import serve

ADDR = 0x4480_0000


@dataclass
class FakeScratch(Scratch):
    """Scratch whose file is made up."""

    size: int
    node: int
    damaged_at: int | None = None

    def __post_init__(self) -> None:
        self.range = Range(ADDR, ADDR + self.size)

    def state(self) -> ScratchState:
        guards = "intact" if self.damaged_at is None else "damaged"
        return ScratchState(ADDR, self.size, self.node, guards, self.damaged_at)


@dataclass
class Giver:
    """Gives fake scratch and remembers it."""

    given: list[tuple[int, int | None]] = field(default_factory=list)
    open_files: int = 0
    damaged_at: int | None = None

    @contextlib.contextmanager
    def scratch(self, _debugfs: Debugfs, size: int, node: int | None = None) -> Iterator[Scratch]:
        self.given.append((size, node))
        self.open_files += 1
        yield FakeScratch(size, node or 0, self.damaged_at)
        self.open_files -= 1


@pytest.fixture
def giver(monkeypatch: pytest.MonkeyPatch) -> Giver:
    made = Giver()
    monkeypatch.setattr(aiming, "scratch", made.scratch)
    return made


@pytest.fixture
def debugfs(machine: Machine) -> Debugfs:
    return Debugfs(machine.system)


def reserve_nothing(machine: Machine) -> None:
    machine.remove("/proc/device-tree")


def test_a_safe_range_comes_before_scratch(debugfs: Debugfs, giver: Giver) -> None:
    with aim(debugfs, Wish(size=4096), 4096) as target:
        assert (target.range, target.kind) == (Range(TARGET, TARGET + 4096), "region")
    assert giver.given == []


@pytest.mark.parametrize("reason", ["no safe range", "no room", "unfit"])
def test_scratch_is_taken_where_no_range_will_do(
    machine: Machine, debugfs: Debugfs, giver: Giver, reason: str
) -> None:
    size = TARGET_SIZE + 1 if reason == "no room" else 4096
    if reason == "no safe range":
        reserve_nothing(machine)
    with aim(debugfs, Wish(size=size), 1, spare=64, is_fit=lambda _: reason != "unfit") as target:
        assert (target.range, target.kind) == (Range(ADDR, ADDR + size), "scratch")
        assert giver.open_files == 1
    assert giver.given == [(size + 64, None)]
    assert giver.open_files == 0


@pytest.mark.parametrize(
    ("wish", "given", "length"),
    [
        (Wish(scratch=8192), (8192, None), 8192),
        (Wish(scratch=8192, size=64), (8192, None), 64),
        (Wish(node=1), (100, 1), 100),
        (Wish(node=0, size=64), (64, 0), 64),
    ],
)
def test_scratch_can_be_asked_for(
    debugfs: Debugfs, giver: Giver, wish: Wish, given: tuple[int, int | None], length: int
) -> None:
    with aim(debugfs, wish, 100) as target:
        assert target.range == Range(ADDR, ADDR + length)
    assert giver.given == [given]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(addr=TARGET, scratch=4096), "no scratch memory"),
        (Wish(addr=TARGET, node=0), "no scratch memory"),
        (Wish(scratch=0), "empty"),
        (Wish(size=0), "empty"),
        (Wish(addr=(1 << 64) - 4096, size=8192), "wraps"),
        (Wish(scratch=4096, size=4097), "more than --scratch"),
    ],
)
def test_what_contradicts_itself_is_refused(
    debugfs: Debugfs, giver: Giver, wish: Wish, words: str
) -> None:
    with pytest.raises(UsageError, match=words), aim(debugfs, wish, 1):
        pass
    assert giver.given == []


def test_an_older_module_has_no_scratch(machine: Machine, debugfs: Debugfs) -> None:
    reserve_nothing(machine)
    with pytest.raises(NotReady, match="has no file scratch"), aim(debugfs, Wish(size=1), 1):
        pass


def test_invalidate_says_what_memory_it_was(pyctl, machine, module: FakeModule, giver) -> None:
    answer = pyctl("invalidate", "--size", "64K", "--json").json
    assert answer["addr"] == hex(TARGET)
    assert (answer["target"]["kind"], answer["target"]["guards"]) == ("region", None)
    reserve_nothing(machine)
    for words in (("--size", "64K"), ("--scratch", "64K"), ("--node", "0", "--size", "64K")):
        ended = pyctl("invalidate", *words, "--json")
        assert (ended.status, ended.json["ok"], ended.json["addr"]) == (0, True, hex(ADDR))
        assert ended.json["size"] == 64 << 10
        assert ended.json["target"] == {
            "kind": "scratch",
            "name": None,
            "node": 0,
            "guards": "intact",
            "first_damage": None,
        }
        assert module.requests[-1].startswith(f"addr={ADDR:#x} size=0x10000 ")
    assert "scratch    memory of node 0, guards intact" in pyctl("invalidate", "--size", "1").out


def test_firmware_that_writes_beside_its_range_is_no_success(
    pyctl, module: FakeModule, giver: Giver
) -> None:
    giver.damaged_at = ADDR + 0x1_0040
    ended = pyctl("invalidate", "--scratch", "64K", "--json")
    assert (ended.status, ended.json["ok"]) == (1, False)
    assert "wrote outside of what it was given: the byte at 0x44810040" in ended.json["error"]
    assert ended.json["target"]["guards"] == "damaged"
    assert ended.json["target"]["first_damage"] == "0x44810040"


def test_invalidate_must_be_told_how_much(pyctl, module: FakeModule) -> None:
    ended = pyctl("invalidate", "--json")
    assert ended.status == 2
    assert "--size or --scratch" in ended.json["hint"]
    assert module.requests == []


def test_regions_says_whether_there_is_scratch(pyctl, machine: Machine) -> None:
    answer = pyctl("regions", "--json").json
    assert (answer["scratch"]["possible"], answer["scratch"]["max_bytes"]) == (True, 1 << 30)
    assert "up to 1G" in pyctl("regions").out
    machine.unload_test_module()
    ended = pyctl("regions", "--json")
    assert (ended.status, ended.json["scratch"]["possible"]) == (0, None)
    assert "not loaded" in ended.json["scratch"]["why"]


def test_what_the_command_line_reserves_for_tests_is_safe(pyctl, machine: Machine) -> None:
    """It lies in System RAM, in a part that the kernel calls reserved."""
    reserve_nothing(machine)
    machine.write(
        "/sys/kernel/debug/memregion_test/reserved",
        lines({"name": "memregion", "addr": "0x48000000", "size": "0x100000"})
        + "\n"
        + lines({"name": "memregion1", "addr": "0x48200000", "size": "0x1000"}),
    )
    found = [region for region in pyctl("regions", "--json").json["regions"] if region["safe"]]
    assert [(region["addr"], region["size"], region["name"]) for region in found] == [
        ("0x48000000", 0x10_0000, "memregion"),
        ("0x48200000", 0x1000, "memregion1"),
    ]
    assert "reserve_mem=" in found[0]["why"]


@pytest.fixture
def raw_module(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A module whose raw calls good firmware answers."""
    fake = FakeFirmware(cpus=[0])
    machine.set_info(raw_calls=1)
    monkeypatch.setattr(
        door, "exchange", lambda path, request: serve(fake, path.name, request.decode()).encode()
    )
    # Machine code of the target; tests/target has it run.
    monkeypatch.setattr(Debugfs, "vectors_changed_by", lambda *_: [])
    return machine


def test_conformance_aims_at_scratch_where_no_range_is_safe(
    pyctl, raw_module: Machine, giver: Giver
) -> None:
    answer = pyctl("conformance", "--json").json
    found = (answer["target"]["kind"], answer["target"]["addr"], answer["target"]["size"])
    assert found == ("region", hex(TARGET), TARGET_SIZE)
    reserve_nothing(raw_module)
    for words in ((), ("--scratch", "1M")):
        ended = pyctl("conformance", *words, "--json")
        assert (ended.status, ended.json["complete"]) == (0, True), ended.err
        found = ended.json["target"]
        assert (found["kind"], found["addr"], found["size"]) == ("scratch", hex(ADDR), 1 << 20)
    assert f"aimed at {ADDR:#x} (scratch memory of node 0) + 1M" in pyctl("conformance").out


def test_conformance_names_damage_and_the_rule_that_met_it(
    pyctl, raw_module: Machine, giver: Giver
) -> None:
    giver.damaged_at = ADDR - 64
    ended = pyctl("conformance", "--scratch", "1M", "--json")
    assert (ended.status, ended.json["ok"], ended.json["complete"]) == (1, False, False)
    assert "DISC-1: Firmware wrote outside of what it was given" in ended.json["error"]


def test_conformance_without_any_memory_blocks_rules_but_not_the_run(
    pyctl, raw_module: Machine
) -> None:
    reserve_nothing(raw_module)
    ended = pyctl("conformance", "--json")
    assert (ended.status, ended.json["complete"], ended.json["target"]) == (3, True, None)
    assert "could not be run" in ended.json["error"]
    asked = pyctl("conformance", "--scratch", "1M", "--json")
    assert (asked.status, asked.json["rules"]) == (3, [])
    assert "has no file scratch" in asked.json["error"]
