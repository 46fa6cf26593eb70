# SPDX-License-Identifier: GPL-2.0-only
"""Settings, boot configuration and vendor calls of the virtual board's firmware."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyctl
from pyctl.errors import NotReady, OperationFailed, UsageError
from pyctl.firmware import numbers
from pyctl.firmware.boot import GuestMap, boot_blob, fnv1a_64
from pyctl.firmware.client import Stub
from pyctl.firmware.numbers import SLOTS, ConfigEntry
from pyctl.firmware.settings import READINGS, SETTINGS, parse_queue, parse_setting, parse_settings

STUB_SOURCES = Path(pyctl.__file__).parent / "vm" / "stub"
HZ = 24_000_000


def unpack(blob: bytes) -> list[ConfigEntry]:
    """Entries of a boot configuration, checked as the stub checks it."""
    magic, count = struct.unpack_from("<QQ", blob)
    assert magic == int.from_bytes(b"PTLCFG01", "little")
    assert len(blob) == 16 + 16 * count + 8
    assert struct.unpack("<Q", blob[-8:])[0] == fnv1a_64(blob[:-8])
    pairs = struct.iter_unpack("<QQ", blob[16:-8])
    return [ConfigEntry(key & 0xFFFF_FFFF, key >> 32, value) for key, value in pairs]


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("smccc=none", [(0x01, 0, 0)]),
        ("smccc=1.0", [(0x01, 0, 0x10000)]),
        ("smccc=1.1", [(0x01, 0, 0x10001)]),
        ("smccc=1.2", [(0x01, 0, 0x10002)]),
        ("clean_inv=0", [(0x02, 0, 0)]),
        ("attributes=1", [(0x03, 0, 1)]),
        ("global=1", [(0x04, 0, 1)]),
        ("latency_us=0xffffffff", [(0x05, 0, 0xFFFF_FFFF)]),
        ("rate=18446744073709551615", [(0x06, 0, (1 << 64) - 1)]),
        ("break_even=2M", [(0x07, 0, 2 << 20)]),
        ("whole=clamp", [(0x10, 0, 2)]),
        ("duration_us=600000000", [(0x08, 0, 600_000_000)]),
        ("attributes_status=NOT_REQUIRED", [(0x09, 0, (1 << 64) - 2)]),
        ("attributes_status=7", [(0x09, 0, 7)]),
        ("status=busy", [(0x0A, 0, 0xFFFF_FFFB)]),
        (
            "fault=noop@cpu=1",
            [
                *((0x40, 0, 8), (0x41, 0, 0), (0x42, 0, 0), (0x43, 0, 1)),
                *((0x44, 0, 1), (0x45, 0, 1), (0x46, 0, 1 | 0xFFFE << 32)),
            ],
        ),
        (
            "status=BUSY*4,SUCCESS,-77",
            [(0x0A, 3, 0xFFFF_FFFB), (0x0A, 0, 0), (0x0A, 0, 0xFFFF_FFB3)],
        ),
    ],
)
def test_every_setting_becomes_its_entries(text: str, entries: list[tuple[int, int, int]]) -> None:
    setting = parse_setting(text)
    assert [(e.key, e.index, e.value) for e in setting.entries] == entries
    assert str(setting) == text


@pytest.mark.parametrize(
    "text",
    [
        "smccc=1.3",
        "smccc=",
        "clean_inv=2",
        "attributes=yes",
        "global=-1",
        "latency_us=0x100000000",
        "latency_us=ten",
        "rate=18446744073709551616",
        "rate=-5",
        "break_even=1.5M",
        "whole=2",
        "duration_us=600000001",
        "attributes_status=LATE",
        "attributes_status=2147483648",
        "attributes_status=-2147483649",
        "status=",
        "status=BUSY,",
        "status=BUSY*0",
        "status=BUSY*-1",
        "status=BUSY*x",
        "status=BUSY*4294967296",
        "status=" + ",".join(["BUSY", "SUCCESS"] * 33),
    ],
)
def test_value_that_a_key_does_not_take_is_refused_by_name(text: str) -> None:
    name = text.partition("=")[0]
    with pytest.raises(UsageError, match=f"setting {name} cannot be") as refused:
        parse_setting(text)
    assert refused.value.hint.startswith(f"Write {name}=")


@pytest.mark.parametrize("text", ["latncy_us=1", "conduit=hvc", "=1", "SMCCC=1.2", "rate"])
def test_unknown_key_lists_the_good_ones(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_settings(["rate=1", text])
    assert repr(text.partition("=")[0]) in refused.value.message
    for kind in SETTINGS:
        assert kind.name in refused.value.hint


def test_key_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="given twice: rate=1 and rate=2"):
        parse_settings(["rate=1", "global=1", "rate=2"])


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(1, 2**32 - 1)), min_size=1))
def test_queue_text_is_what_the_queue_gets(runs: list[tuple[int, int]]) -> None:
    runs = runs[: numbers.QUEUE_RUNS]
    assert parse_queue(",".join(f"{status}*{repeat}" for status, repeat in runs)) == runs


def test_checksum_is_fnv1a_64() -> None:
    # The published test vectors of the algorithm.
    assert fnv1a_64(b"") == 0xCBF29CE484222325
    assert fnv1a_64(b"a") == 0xAF63DC4C8601EC8C
    assert fnv1a_64(b"foobar") == 0x85944171F73967E8


@pytest.mark.parametrize(("conduit", "number"), [("hvc", 0), ("smc", 1)])
def test_boot_blob_holds_conduit_and_settings(conduit: str, number: int) -> None:
    guest = GuestMap(0x4040_0000, 512 << 20, range(0x5F00_0000, 0x6000_0000))
    blob = boot_blob(parse_settings(["rate=100", "status=BUSY*2"]), conduit, guest)
    assert unpack(blob) == [
        ConfigEntry(0x0F, 0, number),
        ConfigEntry(0x0B, 0, 0x4040_0000),
        ConfigEntry(0x0C, 0, 0x2000_0000),
        ConfigEntry(0x0D, 0, 0x5F00_0000),
        ConfigEntry(0x0E, 0, 0x100_0000),
        ConfigEntry(0x06, 0, 100),
        ConfigEntry(0x0A, 1, 0xFFFF_FFFB),
    ]


def test_largest_boot_blob_fits() -> None:
    longest = "status=" + ",".join(["BUSY", "SUCCESS"] * (numbers.QUEUE_RUNS // 2))
    faults = "fault=" + ",".join(f"hold@cpu={cpu}" for cpu in range(SLOTS))
    others = {kind.name for kind in SETTINGS} - {"smccc", "status", "fault", "whole"}
    texts = ["smccc=1.1", "whole=clamp", *(f"{name}=1" for name in others)]
    blob = boot_blob(parse_settings([*texts, longest, faults]), "hvc", GuestMap())
    assert len(blob) <= numbers.CONFIG_SIZE


def c_numbers(*names: str) -> dict[str, int]:
    """Every ``#define NAME number`` of the stub's headers."""
    text = "".join((STUB_SOURCES / name).read_text() for name in names)
    found = re.findall(r"^#define (\w+)\s+(0x[0-9a-f]+|[0-9]+)U?L?\b", text, re.M)
    return {name: int(number, 0) for name, number in found}


def test_keys_are_those_of_the_stub() -> None:
    stub = c_numbers("settings.h", "vendor.h", "fault.h")
    aliases = {"smccc": "smccc_version", "status": "queued_status", "fault": "fault_commit"}
    for kind in SETTINGS:
        assert stub[f"KEY_{aliases.get(kind.name, kind.name).upper()}"] == kind.key
    for name in ("log_total", "queue_length", "counter_hz", "cpus_online"):
        assert stub[f"KEY_{name.upper()}"] == READINGS[name]
    assert stub["KEY_COUNTERS"] == READINGS["clean_inv_calls"]
    assert stub["KEY_OTHER_CONDUIT"] == READINGS["other_conduit_calls"]
    for name in ("CONDUIT", "GUEST_ENTRY", "MEMORY_SIZE", "TARGET_BASE", "TARGET_SIZE"):
        assert stub[f"KEY_{name}"] == getattr(numbers, f"KEY_{name}")


def test_limits_are_those_of_the_stub() -> None:
    stub = c_numbers("value.h", "queue.c", "record.c", "config.c", "layout.h")
    assert stub["DURATION_LIMIT_US"] == numbers.DURATION_LIMIT_US
    assert stub["RUNS"] == numbers.QUEUE_RUNS
    assert stub["RECORDS"] == numbers.LOG_RECORDS
    assert stub["CONFIG_MAGIC"] == numbers.CONFIG_MAGIC
    assert stub["CONFIG_SIZE"] == numbers.CONFIG_SIZE


def padded(*registers: int) -> list[int]:
    return [*registers, *[0] * (18 - len(registers))]


Answer = Callable[[Sequence[int]], list[int]]


class Wire:
    """Answers raw calls from a table and remembers them; unknown ids as SMCCC says."""

    def __init__(self, answers: dict[int, Answer]) -> None:
        self.calls: list[tuple[int, tuple[int, ...]]] = []
        self._answers: dict[int, Answer] = {
            numbers.CALL_UID: lambda _: padded(*numbers.UUID_WORDS),
            numbers.CALL_REVISION: lambda _: padded(1, 0),
            numbers.GET: lambda args: padded(0, HZ if args[0] == 0x27 else args[0]),
        } | answers

    def __call__(self, fid: int, args: Sequence[int]) -> list[int]:
        self.calls.append((fid, tuple(args)))
        return self._answers[fid](args) if fid in self._answers else padded((1 << 64) - 1)


IDENTIFY = [(numbers.CALL_UID, ()), (numbers.CALL_REVISION, ()), (numbers.GET, (0x27, 0))]


def test_identification_comes_before_any_other_vendor_call() -> None:
    wire = Wire({})
    stub = Stub(wire)
    assert stub.get("rate") == 0x06
    assert stub.get("clean_inv_calls") == 0x20
    assert wire.calls == [*IDENTIFY, (numbers.GET, (0x06, 0)), (numbers.GET, (0x20, 0))]


@pytest.mark.parametrize(
    "registers",
    [
        padded((1 << 64) - 1),
        padded(0xB66FB428, 0xE911C52E, 0x564BCAA9, 0x743A004D),
        padded(*numbers.UUID_WORDS[:3], 0),
    ],
)
@pytest.mark.parametrize("action", ["identify", "get", "queue", "reset", "log", "state"])
def test_foreign_firmware_gets_no_call_but_the_uid(registers: list[int], action: str) -> None:
    wire = Wire({numbers.CALL_UID: lambda _: registers})
    stub = Stub(wire)
    arguments = {"get": ("rate",), "queue": (-5,)}.get(action, ())
    with pytest.raises(NotReady, match="not the stub"):
        getattr(stub, action)(*arguments)
    assert wire.calls == [(numbers.CALL_UID, ())]


def test_another_revision_of_the_stub_is_refused() -> None:
    wire = Wire({numbers.CALL_REVISION: lambda _: padded(2, 0)})
    with pytest.raises(NotReady, match="revision 2"):
        Stub(wire).identify()
    assert wire.calls == IDENTIFY[:2]


def test_call_that_cannot_be_made_means_not_ready() -> None:
    def refuse(_args: Sequence[int]) -> list[int]:
        raise OperationFailed("No conduit.")

    with pytest.raises(NotReady, match="No conduit"):
        Stub(Wire({numbers.CALL_UID: refuse})).identify()


def test_set_and_queue_send_what_the_boot_blob_would_hold() -> None:
    ok = {numbers.SET: lambda _: padded(0), numbers.QUEUE: lambda _: padded(0, 60)}
    wire = Wire(ok)
    stub = Stub(wire)
    stub.set(parse_setting("latency_us=70"))
    stub.set(parse_setting("status=BUSY*4,-77"))
    assert wire.calls[len(IDENTIFY) :] == [
        (numbers.SET, (0x05, 0, 70)),
        (numbers.QUEUE, (0xFFFF_FFFB, 4)),
        (numbers.QUEUE, (0xFFFF_FFB3, 1)),
    ]
    assert stub.queue(-1, 2) == 60


@pytest.mark.parametrize(("records_only", "what"), [(False, 0), (True, 1)])
def test_reset_says_how_much(records_only: bool, what: int) -> None:
    wire = Wire({numbers.RESET: lambda _: padded(0)})
    Stub(wire).reset(records_only=records_only)
    assert wire.calls[-1] == (numbers.RESET, (what,))


def test_refusal_names_what_was_asked_and_the_status() -> None:
    wire = Wire({numbers.SET: lambda _: padded((1 << 64) - 3)})
    with pytest.raises(OperationFailed, match="set rate=1: INVALID_PARAMETER"):
        Stub(wire).set(parse_setting("rate=1"))


def test_reading_what_does_not_exist_lists_what_does() -> None:
    wire = Wire({})
    with pytest.raises(UsageError, match="'bogus'") as refused:
        Stub(wire).get("bogus")
    assert "clean_inv_calls" in refused.value.hint
    assert wire.calls == []


def log_wire(total: int, lost: Sequence[int] = (), running: Sequence[int] = ()) -> Wire:
    """A log of ``total`` calls, one every 16 ticks."""

    def record(args: Sequence[int]) -> list[int]:
        seq = args[0]
        if seq in lost:
            return padded((1 << 64) - 3)
        left = 0 if seq in running else 16 * seq + 8
        busy = (1 << 64) - 5
        return padded(0, seq, 0xC000_0005, 0x8000_0000, 64, 1, 3, 16 * seq, left, busy, 1)

    def get(args: Sequence[int]) -> list[int]:
        return padded(0, {0x25: total, 0x27: HZ}[args[0]])

    return Wire({numbers.LOG: record, numbers.GET: get})


def test_log_entry_has_times_in_ns_and_the_status() -> None:
    (entry,) = Stub(log_wire(1000)).log(first=999)
    assert (entry.seq, entry.fid, entry.base, entry.length) == (999, 0xC000_0005, 0x8000_0000, 64)
    assert (entry.status, entry.dry_run, entry.mpidr, entry.conduit) == (-5, True, 3, "smc")
    # 24 MHz: 3 ticks are 125 ns.
    assert (entry.entered_ns, entry.left_ns) == (666_000, 666_333)


def test_log_gives_what_the_firmware_still_remembers() -> None:
    assert [entry.seq for entry in Stub(log_wire(1000)).log()] == list(range(744, 1000))
    assert [entry.seq for entry in Stub(log_wire(3)).log()] == [0, 1, 2]
    assert Stub(log_wire(3)).log(first=3) == []


def test_log_leaves_out_what_was_overwritten_meanwhile() -> None:
    assert [e.seq for e in Stub(log_wire(300, lost=(44, 45))).log()] == list(range(46, 300))


def test_call_still_in_the_firmware_has_no_end() -> None:
    first, second = Stub(log_wire(2, running=(1,))).log()
    assert first.left_ns == 333
    assert second.left_ns is None


def test_state_is_json_with_every_setting_and_reading() -> None:
    values = {0x01: 0x10001, 0x09: (1 << 64) - 2, 0x27: HZ}
    wire = Wire({numbers.GET: lambda args: padded(0, values.get(args[0], 1))})
    state = json.loads(json.dumps(Stub(wire).state()))
    assert state["settings"] == {
        "smccc": "1.1",
        "clean_inv": 1,
        "attributes": 1,
        "global": 1,
        "latency_us": 1,
        "rate": 1,
        "break_even": 1,
        "duration_us": 1,
        "attributes_status": "NOT_REQUIRED",
        "whole": "accept",
    }
    assert set(state["readings"]) == set(READINGS)
    assert state["readings"]["counter_hz"] == HZ
