# SPDX-License-Identifier: GPL-2.0-only
"""Discovery: what is asked of firmware, in which order, and what is told of the answers.

Each row of the way to the two functions (Arm DEN0028 v1.7, sections 7.10 and
7.11): SMCCC 1.1 and a conduit, ARCH_FEATURES for both, ATTRIBUTES status 0.
What a missing row makes senseless must not be asked.
"""

from pathlib import Path

import pytest

from pyctl.firmware.client import Stub
from pyctl.firmware.settings import parse_setting
from pyctl.target.answers import Fields
from pyctl.target.debugfs import exchange
from pyctl.target.kmod import insert
from pyctl.target.modinfo import find_file
from tests.target.statuses import Status

FILES = Path("/sys/kernel/debug/memregion_test")
ATTRIBUTES = 0xC000_0006
PSCI_FEATURES = 0x8400_000A
U64 = 2**64 - 1
X1_GLOBAL = 1
ASKED = (
    "smccc_version_calls",
    "arch_features_calls",
    "attributes_calls",
    "clean_inv_calls",
    "unknown_calls",
    "other_conduit_calls",
)


def raw_by_hvc(fid, arguments):
    """A raw call on a kernel that knows no conduit, because SMCCC is too old."""
    words = "".join(f" x{n}=0x{value:x}" for n, value in enumerate(arguments, 1))
    answer = exchange(FILES / "smccc", f"fid=0x{fid:x} conduit=hvc{words}".encode())
    fields = Fields("smccc", answer.decode())
    return [fields.number(f"x{n}") for n in range(18)]


def keys(text):
    return [line.partition("=")[0] for line in text.splitlines()]


def read(name):
    return (FILES / name).read_text()


def asked(stub):
    """What firmware was asked since the last reset, in the order of ASKED."""
    return tuple(stub.get(name) for name in ASKED)


# -- a firmware that has it all -------------------------------------------------


@pytest.mark.every_conduit
def test_every_answer_is_shown_as_it_came(system, provider, stub):
    """Values that a too narrow variable anywhere on the way would cut."""
    x1, x2, x3, x4 = X1_GLOBAL, 0xFFFF_FFFF, 0xFFFF_FFFF_0000_0001, 0x8765_4321_0FED_CBA9
    for name, value in (("global", 1), ("latency_us", x2), ("rate", x3), ("break_even", x4)):
        stub.set(parse_setting(f"{name}={value}"))
    conduit = provider.debugfs.info().conduit
    assert conduit == system.psci_conduit
    assert read("attributes").splitlines() == [
        "smccc_version=0x10002",
        f"conduit={conduit}",
        "features_clean_inv=0",
        "features_attributes=0",
        "status=0",
        "x0=0x0",
        f"x1=0x{x1:x}",
        f"x2=0x{x2:x}",
        f"x3=0x{x3:x}",
        f"x4=0x{x4:x}",
    ]


@pytest.mark.every_conduit
def test_each_question_is_asked_once_by_the_announced_conduit_only(provider, stub):
    stub.reset(records_only=True)
    read("attributes")
    # A row is ARCH_FEATURES, once for each function; nothing else is called.
    assert asked(stub) == (1, 2, 1, 0, 0, 0)


def test_every_read_asks_anew(debugfs, stub):
    for latency_us in (7, 8):
        stub.set(parse_setting(f"latency_us={latency_us}"))
        assert debugfs.discovery().latency_us == latency_us
    stub.set(parse_setting("clean_inv=0"))
    assert debugfs.discovery().clean_inv == Status.NOT_SUPPORTED


def test_the_registers_are_those_of_the_call_itself(debugfs, stub):
    for setting in ("attributes_status=BUSY", "attributes_status=0x7fffffff"):
        stub.set(parse_setting(setting))
        discovery = debugfs.discovery()
        assert list(discovery.raw) == debugfs.raw_call(ATTRIBUTES, ())[:5]


# -- rows that are missing --------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "lines", "questions"),
    [
        # The attributes can be asked for whatever the other function's answer.
        ("clean_inv=0", {"features_clean_inv": -1, "features_attributes": 0, "status": 0}, 1),
        # A function that is not announced is never called.
        ("attributes=0", {"features_clean_inv": 0, "features_attributes": -1}, 0),
        ("attributes_status=NOT_SUPPORTED", {"status": -1}, 1),
        ("attributes_status=RATE_LIMITED", {"status": -4}, 1),
        ("attributes_status=-2147483648", {"status": -(2**31)}, 1),
        ("attributes_status=1", {"status": 1}, 1),
    ],
)
def test_a_missing_row_is_shown_and_ends_the_questions(debugfs, stub, setting, lines, questions):
    stub.set(parse_setting(setting))
    stub.reset(records_only=True)
    text = read("attributes")
    fields = Fields("attributes", text)
    assert {key: fields.number(key) for key in lines} == lines
    assert ("status" in fields, "x0" in fields, "x4" in fields) == (questions == 1,) * 3
    assert asked(stub) == (1, 2, questions, 0, 0, 0)


@pytest.mark.parametrize(
    "settings", [("clean_inv=0",), ("attributes=0",), ("attributes_status=-5",)]
)
def test_via_smccc_never_calls_what_discovery_did_not_find(provider, stub, settings, target_range):
    provider.configure(*settings)
    stub.reset(records_only=True)
    record = provider.call(target_range.addr, 4096, via="smccc")
    assert (record.errno, record.completed, record.firmware.calls) == (95, 0, 0)
    assert stub.get("clean_inv_calls") == stub.get("unknown_calls") == 0


def test_a_version_that_falls_while_running_ends_the_questions(debugfs, stub):
    stub.set(parse_setting("smccc=1.0"))
    stub.reset(records_only=True)
    assert keys(read("attributes")) == ["smccc_version", "conduit"]
    assert Fields("attributes", read("attributes")).number("smccc_version") == 0x1_0000
    assert asked(stub)[1:4] == (0, 0, 0)


# -- what firmware was at boot ----------------------------------------------------


@pytest.mark.parametrize(
    ("fid", "is_there"),
    [
        # Of PSCI, and where SMCCC begins (DEN0022, 5.15): nothing else, be it there or not.
        *((0xC400_0003, True), (0x8400_0008, True), (0x8000_0000, True)),
        *((0x8400_00FF, False), (0xC000_0005, False), (0x8600_FF01, False)),
    ],
)
def test_psci_features_knows_the_functions_of_psci(stub, debugfs, fid, is_there):
    assert (debugfs.raw_call(PSCI_FEATURES, (fid,))[0] == 0) == is_there


def check_too_old(system, pyctl, aimed):
    """Nothing of a firmware below SMCCC 1.1 is asked or called, by anybody."""
    stub = Stub(raw_by_hvc)
    stub.reset(records_only=True)
    assert Fields("info", read("info")).text("conduit") == "none"
    assert read("attributes").splitlines() == ["smccc_version=0x10000", "conduit=none"]

    file = find_file(system, "smccc_cache")
    with pytest.raises(OSError, match="No such device"):
        insert(file.path)
    assert not Path("/sys/module/smccc_cache").exists()

    doctor = pyctl("doctor", "--json")
    missing = {check["name"]: check["why"] for check in doctor.json["checks"] if check["fix"]}
    assert doctor.status == 3
    assert "1.0" in missing["smccc"]
    assert {"function", "provider"} <= set(missing)
    for via in ("memregion", "smccc"):
        ended = pyctl("invalidate", *aimed, "--size", "4K", "--via", via, "--json")
        assert (ended.status, ended.json["ok"]) == (3, False)
    attributes = pyctl("attributes", "--json")
    assert attributes.status == 3
    assert attributes.json["smccc_version"] == "1.0"
    assert attributes.json["clean_inv"] is attributes.json["raw"]["x0"] is None
    assert asked(stub)[:5] == (0, 0, 0, 0, 0)


@pytest.mark.board(firmware=["smccc=none"], cpus=1)
def test_firmware_without_smccc_version_is_asked_nothing(system, debugfs, pyctl, aimed):
    check_too_old(system, pyctl, aimed)


@pytest.mark.board(firmware=["smccc=1.0"])
def test_firmware_with_smccc_1_0_is_asked_nothing(system, debugfs, pyctl, aimed):
    check_too_old(system, pyctl, aimed)


@pytest.mark.board(firmware=["smccc=1.1"], conduit="smc")
def test_smccc_1_1_is_enough(provider, stub, target_range):
    info, discovery = provider.debugfs.info(), provider.debugfs.discovery()
    assert (info.smccc_version, info.conduit, info.provider) == (0x1_0001, "smc", True)
    assert (discovery.smccc_version, discovery.clean_inv, discovery.attributes) == (0x1_0001, 0, 0)
    assert provider.call(target_range.addr, 4096).completed == 1
    assert provider.call(target_range.addr, 4096, via="smccc").completed == 1
    assert [call.conduit for call in stub.log()] == ["smc", "smc"]
