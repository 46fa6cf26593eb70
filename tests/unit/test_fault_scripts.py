# SPDX-License-Identifier: GPL-2.0-only
"""Fault scripts: what people write, what the firmware gets, what is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyctl
from pyctl.errors import UsageError
from pyctl.firmware import faults, numbers
from pyctl.firmware.client import Faults, Stub
from pyctl.firmware.fault_kinds import CALLS, KINDS, FaultKind
from pyctl.firmware.faults import Fault, parse_fault, parse_faults, script_words
from pyctl.firmware.settings import READINGS, parse_setting

STUB_SOURCES = Path(pyctl.__file__).parent / "vm" / "stub"
PARAMETERS = {"status": "BUSY", "rate_limit": "3/1000", "version": "1.1", "attr_global": "1"}


def written(kind: FaultKind) -> str:
    """The kind with a good parameter where it needs one."""
    return f"{kind.name}:{PARAMETERS.get(kind.name, '7')}" if kind.initial is None else kind.name


@pytest.mark.parametrize(
    ("text", "parameter", "count", "every", "cpu", "calls"),
    [
        ("hang", 0, 0, 1, None, ("clean_inv",)),
        ("status:busy@next=3", (1 << 64) - 5, 3, 1, None, ("clean_inv",)),
        ("status:-77@every=2@cpu=1", (1 << 64) - 77, 0, 2, 1, ("clean_inv",)),
        ("status:1@call=attributes", 1, 0, 1, None, ("attributes",)),
        ("latency:1K@call=attributes+clean_inv", 1024, 0, 1, None, ("clean_inv", "attributes")),
        ("rate_limit:10/1_000_000", 10 << 32 | 1_000_000, 0, 1, None, ("clean_inv",)),
        ("only_below", 1 << 32, 0, 1, None, ("clean_inv",)),
        ("only_below:0x5f00_1000", 0x5F00_1000, 0, 1, None, ("clean_inv",)),
        ("wrong_base:-64", (1 << 64) - 64, 0, 1, None, ("clean_inv",)),
        ("x0_garbage", 0xDEAD_BEEF, 0, 1, None, ("clean_inv", "attributes")),
        ("version:1.0", 0x1_0000, 0, 1, None, ("version",)),
        ("smc32_alias", 0, 0, 1, None, ("alias",)),
    ],
)
def test_fault_means_what_it_says(
    text: str, parameter: int, count: int, every: int, cpu: int | None, calls: tuple[str, ...]
) -> None:
    fault = parse_fault(text)
    assert (fault.parameter, fault.count, fault.every) == (parameter, count, every)
    assert (fault.cpu, fault.calls) == (cpu, calls)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("when", ["", "@next=1", "@every=9", "@cpu=63", "@next=2@every=3@cpu=0"])
def test_what_is_shown_can_be_written_again(kind: FaultKind, when: str) -> None:
    fault = parse_fault(written(kind) + when)
    assert parse_fault(str(fault)) == fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "HANG",
        "hang:1",
        "hang:",
        "status",
        "status:",
        "status:LATE",
        "status:2147483648",
        "latency",
        "latency:600000001",
        "latency:-1",
        "rate_limit:10",
        "rate_limit:0/1000",
        "rate_limit:10/0",
        "rate_limit:4294967296/1",
        "only_below:0",
        "wrong_base:0",
        "attr_global:2",
        "x0_garbage:0x1_0000_0000",
        "hang@",
        "hang@next",
        "hang@next=0",
        "hang@next=x",
        "hang@every=0",
        "hang@every=4294967296",
        "hang@cpu=64",
        "hang@cpu=-1",
        "hang@often=3",
        "hang@next=1@next=2",
        "hang@call=version",
        "hang@call=",
        "noop@call=attributes",
        "noop,,latency:1",
        "noop,",
    ],
)
def test_malformed_script_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_faults(text)
    with pytest.raises(UsageError, match="setting fault cannot be"):
        parse_setting(f"fault={text}")


@pytest.mark.parametrize(
    "text",
    [
        "noop,noop",
        "hang,status:BUSY",
        "hang,latency:5",
        "noop,skip_first_line",
        "noop,wrong_base",
        "clean_only,invalidate_only",
        "busy_inside,skip_queued",
        "status:BUSY@next=1,status:-1@every=2",
        "status:BUSY@cpu=1,status:-1",
        "attr_rate:1@every=2,attr_rate:2",
    ],
)
def test_contradiction_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="contradict"):
        parse_faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "status:BUSY@cpu=0,status:-1@cpu=1",
        "status:BUSY@call=attributes,status:-1",
        "status:BUSY@every=3,latency:50,x0_garbage,clobber_x4_x17,clobber_simd",
        "skip_first_line,skip_last_line,clean_only,lose_partial,hold:10",
        "rate_limit:5/1000,busy_inside",
        "attr_rate:1,attr_global:0,features_clean_inv:-1,version:1.0",
    ],
)
def test_what_does_not_contradict_itself_can_be_combined(text: str) -> None:
    assert ",".join(str(fault) for fault in parse_faults(text)).count(",") == text.count(",")


def test_more_faults_than_slots_are_refused() -> None:
    script = ",".join(f"hold@cpu={cpu}" for cpu in range(numbers.SLOTS))
    assert len(parse_faults(script)) == numbers.SLOTS
    with pytest.raises(UsageError, match="more than"):
        parse_faults(script + ",hold_early")


@given(st.integers(0, 63))
def test_cpu_numbers_and_affinities_are_the_same_thing(cpu: int) -> None:
    assert faults.cpu_of(faults.affinity(cpu)) == cpu


class Table:
    """Raw calls to a stub that knows nothing but its fault table."""

    def __init__(self) -> None:
        self.staged: dict[tuple[int, int], int] = {}
        self.armed: dict[tuple[int, int], int] = {}
        self.commits: list[int] = []

    def __call__(self, fid: int, args: Sequence[int]) -> list[int]:
        if fid == numbers.CALL_UID:
            return [*numbers.UUID_WORDS, *[0] * 14]
        if fid == numbers.CALL_REVISION:
            return [1, *[0] * 17]
        if fid == numbers.GET:
            key, slot = args[:2]
            value = 1 if key == READINGS["counter_hz"] else self.armed.get((key, slot), 0)
            return [0, value, *[0] * 16]
        assert fid == numbers.SET
        key, slot, value = args
        if key == numbers.KEY_COMMIT:
            self.commit(value)
        else:
            self.staged[key, slot] = value
        return [0] * 18

    def commit(self, value: int) -> None:
        self.commits.append(value)
        for slot in range(32):
            for key in range(numbers.KEY_KIND, numbers.KEY_COMMIT):
                if value >> slot & 1:
                    self.armed[key, slot] = self.staged.pop((key, slot))
                elif value >> 32 + slot & 1:
                    self.armed.pop((key, slot), None)


def test_armed_faults_are_read_back_as_written() -> None:
    table = Table()
    board = Faults(Stub(table))
    script = parse_faults("status:-77@next=2@cpu=17,clobber_simd@every=3@call=version")
    board.replace(script)
    assert [one.fault for one in board.armed()] == list(script)
    assert table.commits == [0b11 | 0xFFFC << 32]


def test_one_write_arms_the_whole_script_and_comes_last() -> None:
    words = script_words(parse_faults("hold,latency:1,smc32_alias"))
    assert [key for key, _slot, _value in words].count(numbers.KEY_COMMIT) == 1
    assert words[-1][0] == numbers.KEY_COMMIT


def test_adding_keeps_what_is_armed_and_clearing_takes_only_what_it_names() -> None:
    board = Faults(Stub(Table()))
    board.replace(parse_faults("latency:1,clean_only"))
    board.clear([0])
    assert board.add(parse_faults("hold,x0_garbage")) == [0, 2]
    assert [one.fault.kind.name for one in board.armed()] == ["hold", "clean_only", "x0_garbage"]
    board.clear()
    assert board.armed() == []


@pytest.mark.parametrize("script", ["invalidate_only", "noop@next=1"])
def test_adding_what_contradicts_the_armed_changes_nothing(script: str) -> None:
    table = Table()
    board = Faults(Stub(table))
    board.replace(parse_faults("clean_only"))
    with pytest.raises(UsageError, match="contradict"):
        board.add(parse_faults(script))
    assert len(table.commits) == 1
    assert not table.staged


def enumerators() -> dict[str, int]:
    """Kinds of the stub, by number, in the order of its enumeration."""
    text = (STUB_SOURCES / "fault.h").read_text()
    body = re.sub(r"/\*.*?\*/", "", text[text.index("enum fault_kind") :], flags=re.S)
    names = re.findall(r"^\tFAULT_(\w+),", body, re.M)
    return {name: number for number, name in enumerate(names) if name not in ("NONE", "KINDS")}


def test_kinds_are_those_of_the_stub() -> None:
    aliases = {"refuse_sve": "refuse_hint"}
    ours = {aliases.get(kind.name, kind.name).upper(): kind.number for kind in KINDS}
    assert ours == enumerators()


def test_numbers_are_those_of_the_stub() -> None:
    text = "".join((STUB_SOURCES / name).read_text() for name in ("fault.h", "value.h", "cpu.h"))
    stub = {
        name: int(number, 0)
        for name, number in re.findall(r"^#define (\w+)\s+(0x[0-9a-f]+|[0-9]+)U?L?\b", text, re.M)
    }
    for name in ("KIND", "PARAMETER", "COUNT", "EVERY", "CPU", "CALLS", "COMMIT", "SEEN", "FIRED"):
        assert stub[f"KEY_FAULT_{name}"] == getattr(numbers, f"KEY_{name}")
    for name, bit in CALLS.items():
        assert stub[f"FAULT_ON_{name.upper()}"] == bit
    assert stub["FAULT_SLOTS"] == numbers.SLOTS
    assert stub["MAX_CPUS"] == numbers.MAX_CPUS
    assert stub["DURATION_LIMIT_US"] == numbers.DURATION_LIMIT_US


def test_every_kind_says_what_it_does() -> None:
    for kind in KINDS:
        assert kind.help.endswith(".")
        assert set(kind.usual) <= set(kind.calls)
        assert isinstance(parse_fault(written(kind)), Fault)
