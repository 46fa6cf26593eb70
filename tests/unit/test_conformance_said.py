# SPDX-License-Identifier: GPL-2.0-only
"""What a run says of each rule, word by word, and how many calls it shows for it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pyctl.ranges import Range
from tests.unit.fake_firmware import TARGET, FakeFirmware
from tests.unit.test_conformance import (
    BROKEN,
    GOOD,
    findings,
    on_cpu,
    on_what_is_no_dry_run,
    returns,
)

ALL, NOTHING = "0xffffffffffffffff", "0x0"
REFUSED, TAKEN = "INVALID_PARAMETER", "SUCCESS"
HELD = "16 after the call and 0 without"
LEFT = "0 after the call and 0 without"


def rounds(each: str) -> str:
    return f"Of 16 dirty lines were in memory: {each}, {each}, {each} (fake)."


def answers(*ranges: tuple[str, str], flags: tuple[int, ...] = (1, 0), gave: str = REFUSED) -> str:
    """Dry runs of all ranges, then the operation on them; flags go with what is tried."""
    asked = [(one, flag) for flag in flags for one in ranges]
    return (
        "; ".join(
            f"{'dry run of ' * (flag & 1)}({base}, {length}, 0x{flag:x}) {gave}"
            for (base, length), flag in asked
        )
        + "."
    )


ALL_CALLS = "In # calls of # functions on 4 CPUs."
GLOBAL_AND_RISKY: dict[str, tuple[str, int]] = {
    "DISC-1": ("SMCCC 1.2 by hvc.", 0),
    "DISC-2": ("ARCH_FEATURES gave 0.", 0),
    "DISC-3": ("Both are announced.", 0),
    "DISC-4": ("ATTRIBUTES is announced and gave SUCCESS.", 0),
    "DISC-5": ("In repeated calls and on 4 CPUs.", 0),
    "FID-1": ("Neither announced nor answered.", 0),
    "FID-2": ("No such id is announced or answered.", 0),
    "FID-3": ("Both functions are.", 0),
    "FID-4": ("Tried 0x80000abc, 0x80000f0f, 0xc0000abc, 0xc0000f0f.", 0),
    "ATTR-1": ("In 34 calls on CPU 0.", 0),
    "ATTR-2": ("On 4 CPUs.", 0),
    "ATTR-3": (rounds(HELD), 0),
    "CALL-1": ("SUCCESS at try 1.", 0),
    "CALL-2": ("SUCCESS in 65 of 65 calls.", 0),
    "CALL-3": ("1024 of 1024 calls succeeded.", 0),
    "CALL-4": ("9 shapes were accepted.", 0),
    "DRY-1": ("Both gave SUCCESS.", 0),
    "DRY-2": (rounds(LEFT), 0),
    "TIME-1": (
        "100 us are advertised; the worst of each round on CPU 0, the slowest of 4: 6, 6, 6 us.",
        0,
    ),
    "RATE-1": (
        "1000 calls/s are advertised; 400 calls that came more slowly were all let through.",
        0,
    ),
    "RATE-2": ("Not within a burst of 1000 calls.", 0),
    "OPEN-1": (answers(("0x5f000000", NOTHING)), 2),
    "OPEN-2": (answers((NOTHING, NOTHING)), 2),
    "OPEN-3": (answers(("0x5f000000", ALL)), 2),
    "OPEN-4": (answers(("0x5f000001", "0x1"), ("0x5f000001", "0xfff"), gave=TAKEN), 4),
    "OPEN-5": (answers(("0x100000000000", "0x1000"), ("0xffffffff000", "0x2000")), 4),
    "OPEN-6": (
        answers(
            ("0x5f000000", "0x1000"),
            flags=(3, 1 << 31 | 1, 1 << 63 | 1, 2, 1 << 31, 1 << 63),
        ),
        6,
    ),
    "OPEN-7": ("0 of # calls gave NOT_REQUIRED.", 0),
    "OPEN-8": ("The latency is 100 us, the rate 1000/s.", 1),
    "OPEN-9": ("x1 without bit 0 is 0x0, the upper half of x2 is 0x0.", 1),
    "OPEN-10": ("The operation took 6 us, a dry run 6 us.", 0),
    "OPEN-11": ("1000 dry runs in a burst, and none was refused.", 0),
    "OPEN-12": ("The limit was not reached.", 0),
    "OPEN-15": (
        answers(
            ("0x7ffff000", "0x2000"),
            ("0xfffff000", "0x2000"),
            ("0xffffffff000", "0x1000"),
            flags=(1,),
            gave=TAKEN,
        ),
        3,
    ),
    "OPEN-13": (
        "0 of 4 CPUs were told BUSY when all called at once; none that called alone was.",
        0,
    ),
    "OPEN-14": (
        answers((NOTHING, ALL))
        + " Linux's NVDIMM drivers ask so, and where it is refused they invalidate nothing.",
        2,
    ),
    "REG-1": (ALL_CALLS, 0),
    "REG-2": (ALL_CALLS, 0),
    "REG-3": ("From SMCCC 1.2 on, x4 may hold a result.", 0),
    "REG-4": ("In calls of 6 kinds on 4 CPUs.", 0),
    "REG-5": ("In calls of 6 kinds on 4 CPUs.", 0),
    "REG-6": (ALL_CALLS, 0),
    "REG-7": (ALL_CALLS, 0),
    "REG-8": ("In # calls of # functions; SVE has vectors of # bytes.", 0),
    "REG-9": ("In # calls of # functions; SME has vectors of # bytes.", 0),
    "STAT-1": ("In # calls.", 0),
    "STAT-2": ("In # calls.", 0),
}
"""Of firmware that is global, states 100 us and 1000/s, and may be asked anything.

``#`` stands for a number of one or more.
"""

NUMBERS: dict[str, dict[str, Any]] = {
    "TIME-1": {"advertised_us": 100, "cpu": 0, "worst_ns": [5800] * 3},
    "RATE-2": {
        "advertised_per_s": 1000,
        "made": 1000,
        "completed": 1000,
        "total_ns": 5_800_000,
    },
    "OPEN-10": {"operation_ns": 5800, "dry_run_ns": 5800},
    "OPEN-11": {"completed": 1000},
    "OPEN-13": {"busy": 0, "busy_alone": 0},
}
"""Of the same firmware, what machines get beside the sentence."""


def says(summary: str, words: str) -> bool:
    return bool(re.fullmatch(re.escape(words).replace(r"\#", "[1-9][0-9]*"), summary))


def test_what_is_said_of_good_firmware() -> None:
    found = findings(FakeFirmware(x1=1, latency_us=100, rate=1000), risky=True)
    assert list(found) == list(GLOBAL_AND_RISKY)
    for id, (words, calls) in GLOBAL_AND_RISKY.items():
        outcome = found[id].outcome
        assert says(outcome.summary, words), (id, outcome.summary)
        assert (id, len(outcome.calls), outcome.is_odd) == (id, calls, False)
        assert dict(outcome.values) == NUMBERS.get(id, {}), id


@pytest.mark.parametrize(
    ("firmware", "id", "words"),
    [
        (FakeFirmware(), "ATTR-3", "Firmware does not say that the operation is global."),
        (FakeFirmware(), "TIME-1", "Firmware states no latency (0)."),
        (FakeFirmware(), "RATE-1", "Firmware states no rate (0)."),
        (FakeFirmware(), "OPEN-5", "Only with --risky."),
        (FakeFirmware(), "OPEN-6", "Only with --risky."),
        (FakeFirmware(), "OPEN-15", "Only with --risky."),
        (
            FakeFirmware(is_virtual=False),
            "OPEN-14",
            "Only with --risky, or on the virtual board.",
        ),
        (
            FakeFirmware(is_virtual=False),
            "DRY-2",
            "Only with --risky, or on the virtual board: it stores to memory.",
        ),
        (FakeFirmware(**GOOD["one CPU"]), "ATTR-2", "Only one CPU is online."),
        (FakeFirmware(**GOOD["one CPU"]), "DISC-5", "In repeated calls and on 1 CPU."),
        (
            FakeFirmware(clean_inv=False, attributes=False),
            "DISC-3",
            "Neither is announced.",
        ),
        (
            FakeFirmware(clean_inv=False, attributes=False),
            "DISC-4",
            "ATTRIBUTES is not announced and gave NOT_SUPPORTED.",
        ),
        (
            FakeFirmware(clean_inv=False, attributes=False),
            "CALL-1",
            "Firmware does not announce CLEAN_INV_MEMREGION (DISC-2).",
        ),
        (
            FakeFirmware(clean_inv=False, attributes=False),
            "ATTR-1",
            "Firmware gave no attributes (DISC-3, DISC-4).",
        ),
        (
            FakeFirmware(version=0x1_0000),
            "DISC-3",
            "This SMCCC version has no ARCH_FEATURES (DISC-1).",
        ),
        (
            FakeFirmware(version=0x1_0000),
            "REG-1",
            "SMCCC 1.0 allows every call to change x4 to x17.",
        ),
        (BROKEN["busy for ever"][0](), "CALL-2", "There was nothing but BUSY and RATE_LIMITED."),
        (
            FakeFirmware(tamper=on_cpu(3, 0xC000_0005, returns(-5))),
            "CALL-3",
            "768 of 1024 calls succeeded; the first other answer was EBUSY.",
        ),
        (
            FakeFirmware(tamper=on_what_is_no_dry_run(returns(-3))),
            "CALL-4",
            "Not even the first of the memory can be cleaned and invalidated (CALL-1).",
        ),
        (
            FakeFirmware(target=Range(TARGET.addr, TARGET.addr + 1)),
            "CALL-4",
            "The memory that is safe to target is too small.",
        ),
        (
            BROKEN["busy for ever"][0](),
            "DRY-1",
            "The operation itself gave nothing but BUSY.",
        ),
        (BROKEN["dry run refused"][0](), "DRY-2", "A dry run gives INVALID_PARAMETER."),
        (
            FakeFirmware(idle_lines=16),
            "DRY-2",
            "No cache holds stores back long enough to tell. "
            + rounds("16 after the call and 16 without"),
        ),
    ],
)
def test_what_is_said_where_a_rule_has_less_to_say(
    firmware: FakeFirmware, id: str, words: str
) -> None:
    assert findings(firmware)[id].outcome.summary == words


OPERATION, DRY = "0xc0000005(0x5f000000, 0x1000, 0x0)", "0xc0000005(0x5f000000, 0x1000, 0x1)"
HINTED, HINTED_ATTRIBUTES = "0xc0010005(0x5f000000, 0x1000, 0x1)", "0xc0010006()"
AS_A_DRY_RUN = "(0x5f000000, 0x1000, 0x1)"
VERSIONS = "0x80000000() on CPU 0 gave 1.2 and 0x80000000() on CPU 3 gave 1.1."
ATTRIBUTES = "x0=0x0 x1=0x0 x2=0x0 x3=0x0 x4=0x0 on CPU 0"
SECOND = f"There was {ATTRIBUTES} and x0=0x0 x1=0x0 x2=0x4d x3=0x0 x4=0x0 on CPU 0."
FIRST = f"There was x0=0x0 x1=0x0 x2=0x0 x3=0x0 x4=0x4d on CPU 0 and {ATTRIBUTES}."
SLOW = "us are advertised; the worst of each round on CPU"
AGAIN = "again and again."

Said = tuple[str, str, int]

BROKEN_SAID: dict[str, list[Said]] = {
    "no conduit": [
        (
            "DISC-1",
            "The kernel found no conduit, so firmware offers no SMCCC 1.1 through PSCI.",
            0,
        ),
    ],
    "SMCCC 1.0": [("DISC-1", "SMCCC 1.0 by hvc.", 1)],
    "neither function": [("DISC-2", "ARCH_FEATURES gave NOT_SUPPORTED.", 1)],
    "no operation": [
        ("DISC-2", "ARCH_FEATURES gave NOT_SUPPORTED.", 1),
        ("DISC-3", "The attributes function is announced, the operation function is not.", 2),
    ],
    "no attributes": [
        ("DISC-3", "The operation function is announced, the attributes function is not.", 2),
    ],
    "attributes refused": [("DISC-4", "ATTRIBUTES is announced and gave NOT_SUPPORTED.", 1)],
    "attributes unknown status": [
        ("DISC-4", "ATTRIBUTES is announced and gave unknown status -77.", 1),
    ],
    "version changes": [("DISC-5", VERSIONS, 2)],
    "version of one CPU": [("DISC-5", VERSIONS, 2)],
    "features of one CPU": [
        (
            "DISC-5",
            "0x80000001(0xc0000005) on CPU 0 gave SUCCESS and "
            "0x80000001(0xc0000005) on CPU 2 gave NOT_SUPPORTED.",
            2,
        ),
    ],
    "aliases answered": [("FID-1", f"0x80000006{AS_A_DRY_RUN} on CPU 0 gave SUCCESS.", 16)],
    "one alias answered": [("FID-1", f"0x80000005{AS_A_DRY_RUN} on CPU 0 gave SUCCESS.", 8)],
    "an alias answered by one CPU": [
        ("FID-1", f"0x80000006{AS_A_DRY_RUN} on CPU 3 gave SUCCESS.", 2),
    ],
    "an alias announced at times": [("FID-1", "ARCH_FEATURES announces 0x80000005.", 1)],
    "high bits ignored": [("FID-2", f"0xc0020006{AS_A_DRY_RUN} on CPU 0 gave SUCCESS.", 56)],
    "bit 19 ignored": [("FID-2", f"0xc0080006{AS_A_DRY_RUN} on CPU 0 gave SUCCESS.", 8)],
    "hint refused": [("FID-3", f"{HINTED_ATTRIBUTES} on CPU 0 gave NOT_SUPPORTED.", 64)],
    "hint refused for the operation": [("FID-3", f"{HINTED} on CPU 0 gave NOT_SUPPORTED.", 32)],
    "hint refused at times": [("FID-3", f"{HINTED_ATTRIBUTES} on CPU 2 gave NOT_SUPPORTED.", 3)],
    "unknown ids succeed": [("FID-4", f"0x80000abc{AS_A_DRY_RUN} on CPU 0 gave SUCCESS.", 8)],
    "an unknown id succeeds on one CPU": [
        ("FID-4", f"0xc0000f0f{AS_A_DRY_RUN} on CPU 1 gave SUCCESS.", 1),
    ],
    "unknown ids are invalid": [
        ("FID-4", f"0xc0000f0f{AS_A_DRY_RUN} on CPU 0 gave INVALID_PARAMETER.", 4),
    ],
    "numbers of another owner announced": [("FID-4", "ARCH_FEATURES announces 0xc1000005.", 4)],
    "attributes change": [("ATTR-1", SECOND, 2), ("ATTR-2", SECOND, 2)],
    "first attributes differ": [("ATTR-1", FIRST, 2), ("ATTR-2", FIRST, 2)],
    "attributes of one CPU": [
        (
            "ATTR-2",
            f"There was {ATTRIBUTES} and x0=0x0 x1=0x1 x2=0x0 x3=0x0 x4=0x0 on CPU 3.",
            2,
        ),
    ],
    "operation refused": [
        ("CALL-1", f"{OPERATION} on CPU 0 gave INVALID_PARAMETER at try 1.", 1),
        ("CALL-3", "0 of 1024 calls succeeded, then there was EINVAL.", 0),
    ],
    "operation not there": [
        ("CALL-1", f"{OPERATION} on CPU 0 gave NOT_SUPPORTED at try 1.", 1),
        ("CALL-3", "0 of 1024 calls succeeded, then there was EOPNOTSUPP.", 0),
        ("FID-3", f"{HINTED} on CPU 0 gave NOT_SUPPORTED.", 32),
    ],
    "busy for ever": [("CALL-1", f"{OPERATION} on CPU 0 gave BUSY at try 17.", 1)],
    "operation of one CPU": [
        (
            "CALL-2",
            f"{OPERATION} on CPU 0 gave SUCCESS; {OPERATION} on CPU 2 gave INVALID_PARAMETER.",
            2,
        ),
        ("CALL-3", "768 of 1024 calls succeeded, then there was EINVAL.", 0),
    ],
    "large ranges": [
        ("CALL-3", "0 of 1024 calls succeeded, then there was EINVAL.", 0),
        (
            "CALL-4",
            "For three pages: 0xc0000005(0x5f7ff000, 0x3000, 0x0) on CPU 0 gave "
            f"INVALID_PARAMETER, {AGAIN}",
            1,
        ),
    ],
    "dry run refused": [
        ("DRY-1", "The operation gave SUCCESS, its dry run INVALID_PARAMETER.", 2),
    ],
    "dry run cleans": [("DRY-2", rounds(HELD), 3)],
    "dry run cleans what half stays dirty": [
        ("DRY-2", rounds("16 after the call and 8 without"), 3),
    ],
    "a global lie": [("ATTR-3", rounds(LEFT), 3)],
    "a latency lie": [("TIME-1", f"100 {SLOW} 0, the slowest of 4: 2001, 2001, 2001 us.", 0)],
    "a latency lie of one CPU": [
        ("TIME-1", f"100 {SLOW} 2, the slowest of 4: 2006, 2006, 2006 us.", 0),
    ],
    "a latency lie of one CPU whose calls must be paced": [
        ("TIME-1", f"100 {SLOW} 2, the slowest of 4: 2006, 2006, 2006 us.", 0),
    ],
    "a large latency lie": [
        ("TIME-1", f"10 {SLOW} 0, the slowest of 4: 400001, 400001, 400001 us.", 0),
    ],
    "a rate lie": [
        (
            "RATE-1",
            "1000 calls/s are advertised; call 101 of a slower sequence was too many.",
            1,
        ),
    ],
    "a rate lie by a third": [
        (
            "RATE-1",
            "300 calls/s are advertised; call 201 of a slower sequence was too many.",
            1,
        ),
    ],
    "a rate lie at the bottom": [
        ("RATE-1", "1 calls/s are advertised; call 1 of a slower sequence was too many.", 1),
    ],
    "x17 changed": [("REG-1", f"{HINTED} on CPU 0 gave SUCCESS and changed x17.", 1)],
    "x4 of features": [
        ("REG-1", "0x80000001(0xc0000005) on CPU 0 gave SUCCESS and changed x4.", 1),
    ],
    "x5 of attributes": [("REG-1", "0xc0000006() on CPU 0 gave SUCCESS and changed x5.", 1)],
    "x9 once": [("REG-1", "0xc0000006() on CPU 0 gave SUCCESS and changed x9.", 1)],
    "x4 to x17 on one CPU": [
        (
            "REG-1",
            f"{OPERATION} on CPU 1 gave SUCCESS and changed "
            f"{', '.join(f'x{n}' for n in range(4, 18))}.",
            1,
        ),
    ],
    "x28 lost": [("REG-6", f"{OPERATION} on CPU 0 gave SUCCESS and changed x28.", 1)],
    "SP_EL0 lost on a CPU": [
        ("REG-6", f"{OPERATION} on CPU 3 gave SUCCESS and changed SP_EL0.", 1)
    ],
    "x18 lost with SMCCC 1.1": [
        ("REG-6", f"{OPERATION} on CPU 0 gave SUCCESS and changed x18.", 1),
    ],
    "a thread's register lost": [
        ("REG-7", f"{OPERATION} on CPU 1 gave SUCCESS and changed TPIDR_EL0.", 1),
    ],
    "z31 lost on a CPU": [("REG-8", f"{OPERATION} on CPU 2 gave SUCCESS and changed z31.", 1)],
    "p15 and FFR lost": [
        ("REG-8", f"{OPERATION} on CPU 0 gave SUCCESS and changed p15, FFR.", 1),
    ],
    "four P lost": [
        ("REG-8", f"{OPERATION} on CPU 0 gave SUCCESS and changed p0, p1, p2, p3.", 1),
    ],
    "all Z lost": [
        (
            "REG-8",
            f"{OPERATION} on CPU 0 gave SUCCESS and changed z0, z1, z2, z3 and 28 more.",
            1,
        ),
    ],
    "FFR lost without SME": [("REG-8", f"{OPERATION} on CPU 0 gave SUCCESS and changed FFR.", 1)],
    "ZA lost on a CPU": [("REG-9", f"{OPERATION} on CPU 1 gave SUCCESS and changed ZA.", 1)],
    "ZA switched off without SVE": [
        ("REG-9", f"{OPERATION} on CPU 0 gave SUCCESS and changed SVCR.", 1),
    ],
    "x4 at SMCCC 1.1": [("REG-1", f"{HINTED} on CPU 0 gave SUCCESS and changed x4.", 1)],
    "v8 on one CPU": [("REG-4", "On CPU 2, 0xc0000005 changed v8.", 0)],
    "v31 where SVE is looked at": [
        ("REG-4", f"{OPERATION} on CPU 3 gave SUCCESS and changed v31.", 1),
    ],
    "FPSR on one CPU": [("REG-5", "On CPU 1, 0xc0000005 changed FPSR.", 0)],
    "x1 changed": [("REG-2", f"{HINTED} on CPU 0 gave SUCCESS and changed x1.", 1)],
    "x2, x3 of features": [
        ("REG-2", "0x80000001(0xc0000005) on CPU 0 gave SUCCESS and changed x2, x3.", 1),
    ],
    "an unknown status": [
        (
            "STAT-1",
            "0xc0000005(0x5f000000, 0x0, 0x1) on CPU 0 gave unknown status -77.",
            1,
        ),
    ],
    "garbage above w0": [("STAT-2", "x0 is 0xdeadbeef00000000.", 1)],
    "busy for ever with a part of a page": [
        (
            "CALL-4",
            f"For one byte: 0xc0000005(0x5f800001, 0x1, 0x0) on CPU 0 gave BUSY, {AGAIN}",
            1,
        ),
    ],
    "a dry run refused at times": [
        ("CALL-2", f"{DRY} on CPU 0 gave SUCCESS; {DRY} on CPU 0 gave INVALID_PARAMETER.", 2),
    ],
    "garbage above a refusal": [("STAT-2", "x0 is 0x00000001ffffffff.", 1)],
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_said_of_broken_firmware_and_shown_for_it(name: str) -> None:
    make, expected = BROKEN[name]
    found = findings(make())
    assert {id for id, _words, _calls in BROKEN_SAID[name]} == expected
    for id, words, calls in BROKEN_SAID[name]:
        outcome = found[id].outcome
        assert (outcome.summary, len(outcome.calls)) == (words, calls)
