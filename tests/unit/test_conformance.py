# SPDX-License-Identifier: GPL-2.0-only
"""Each rule passes on good firmware, of whatever kind, and fails on firmware that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyctl.conformance.outcome import (
    FAIL,
    NOT_RUN,
    OBSERVED,
    PASS,
    RECOMMENDED,
    REQUIRED,
    Blocked,
    Outcome,
)
from pyctl.conformance.prober import UNKNOWN_FIDS, Prober
from pyctl.conformance.questions import _whose_limit, _zeroes
from pyctl.conformance.run import RULES, Finding, Report
from pyctl.errors import TargetLost
from pyctl.ranges import Range
from pyctl.target.answers import RawRequest
from tests.unit.fake_firmware import (
    ATTRIBUTES,
    BUSY,
    FEATURES,
    NOT_SUPPORTED,
    OPERATION,
    PSCI_FEATURES,
    RATE_LIMITED,
    SVE_HINT,
    TARGET,
    VERSION,
    FakeFirmware,
    Tamper,
)

MASK = (1 << 64) - 1
SMC64 = 1 << 30


def findings(firmware: FakeFirmware, risky: bool = False) -> dict[str, Finding]:
    report = Report(firmware, risky)
    found = {finding.rule.id: finding for finding in report.run()}
    assert report.complete
    assert list(found) == [rule.id for rule in RULES]
    return found


def failing(firmware: FakeFirmware) -> set[str]:
    return {id for id, finding in findings(firmware).items() if finding.outcome.result == FAIL}


def check(id: str, prober: Prober) -> Outcome:
    """One rule by itself."""
    [rule] = [rule for rule in RULES if rule.id == id]
    return rule.check(prober)


# -- good firmware --------------------------------------------------------------

GOOD: dict[str, dict[str, Any]] = {
    "plain": {},
    "one CPU": {"cpus": [0]},
    "CPUs with gaps": {"cpus": [1, 5, 7]},
    "more CPUs than a request has threads": {"cpus": [*range(8)], "max_threads": 4},
    "many CPUs, let in one by one": {"cpus": [*range(64)], "duration_us": 500_000},
    "global": {"x1": 1},
    "SMCCC 1.1": {"version": 0x1_0001},
    "SMCCC 1.7": {"version": 0x1_0007},
    "smc": {"conduit": "smc"},
    "a true latency": {"latency_us": 50, "duration_us": 50},
    "a long latency": {"latency_us": 800_000, "duration_us": 700_000},
    "a latency that no rule has time for": {"latency_us": 2_600_000, "duration_us": 2_500_000},
    "the longest latency": {"latency_us": 0xFFFF_FFFF, "duration_us": 3_600_000_000},
    "slow, and says nothing": {"duration_us": 300_000},
    "a rate that is not enforced": {"rate": 30},
    "an enforced rate": {"rate": 100, "limit_per_s": 100},
    "the lowest rate": {"rate": 1, "limit_per_s": 1},
    "the highest rate": {"rate": MASK},
    "a limit that is not stated": {"limit_per_s": 1},
    "a limit that is not stated, of a true latency": {
        "cpus": [*range(8)],
        "limit_per_s": 2,
        "latency_us": 100,
    },
    "all at once": {"rate": 3, "limit_per_s": 3, "latency_us": 10_000, "duration_us": 9_000},
}


@pytest.mark.parametrize("name", GOOD)
def test_good_firmware_is_never_accused(name: str) -> None:
    found = findings(FakeFirmware(**GOOD[name]))
    for finding in found.values():
        assert finding.outcome.result != FAIL, (finding.rule.id, finding.outcome.summary)
        assert not finding.outcome.blocked, (finding.rule.id, finding.outcome.summary)


STATES = st.fixed_dictionaries(
    {
        "version": st.sampled_from([0x1_0001, 0x1_0002, 0x1_0007, 0x7FFF_FFFF]),
        "cpus": st.sampled_from([[0], [0, 1], [3, 4, 9]]),
        "max_threads": st.sampled_from([1, 2, 256]),
        "x1": st.sampled_from([0, 1, MASK]),
        "latency_us": st.integers(0, 0xFFFF_FFFF),
        "rate": st.integers(0, 40) | st.integers(0, MASK),
        "target": st.sampled_from([TARGET, Range(TARGET.addr, TARGET.addr + 64), None]),
        "is_virtual": st.booleans(),
        "idle_lines": st.integers(0, 16),
    }
)
"""What firmware may say of itself, and the machine of itself."""


@given(STATES, st.floats(0, 1), st.booleans())
@settings(max_examples=40)
def test_good_firmware_is_never_accused_whatever_it_states(
    states: dict[str, Any], share: float, enforced: bool
) -> None:
    longest_us = states["latency_us"] or 10_000_000
    states |= {"duration_us": share * longest_us}
    states |= {"limit_per_s": states["rate"] if enforced else 0}
    for finding in findings(FakeFirmware(**states)).values():
        assert finding.outcome.result != FAIL, (finding.rule.id, finding.outcome.summary)


@given(STATES, st.data())
@settings(max_examples=40)
def test_whatever_firmware_answers_every_rule_has_its_turn(
    states: dict[str, Any], data: st.DataObject
) -> None:
    answers = data.draw(
        st.dictionaries(
            st.sampled_from([VERSION, FEATURES, PSCI_FEATURES, OPERATION, ATTRIBUTES]),
            st.lists(st.sampled_from([0, -1, -2, -3, -4, -5, -77, 1]) | st.integers(0, MASK)),
        )
    )
    made = dict.fromkeys(answers, 0)

    def answer(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        """The answers in turn, and in between what good firmware says."""
        if script := answers.get(request.fid):
            made[request.fid] += 1
            turn = made[request.fid] % (2 * len(script))
            if turn < len(script):
                x[0] = script[turn] & MASK
                x[1:5] = [value & MASK for value in (*script, *x[1:5])][:4]

    findings(FakeFirmware(tamper=answer, **states), risky=data.draw(st.booleans()))


def test_firmware_that_leaves_x4_of_attributes_alone_is_not_accused() -> None:
    def keep(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        if request.fid == ATTRIBUTES and len(request.x) > 3:
            x[4] = (*request.x, 0, 0, 0, 0)[3]

    assert failing(FakeFirmware(version=0x1_0001, tamper=keep)) == set()

    firmware = FakeFirmware(version=0x1_0001, tamper=keeps_x4_and_spoils_x5)
    assert failing(firmware) == {"REG-1"}


def test_a_status_whose_upper_half_is_zero_is_not_accused() -> None:
    def zero(_firmware: FakeFirmware, _request: RawRequest, x: list[int]) -> None:
        x[0] &= 0xFFFF_FFFF

    assert failing(FakeFirmware(tamper=zero)) == set()


def test_vectors_may_be_lost_before_smccc_1_2() -> None:
    found = findings(FakeFirmware(version=0x1_0001, loses={0: ("z0", "ZA")}))
    for name in ("REG-8", "REG-9"):
        said = "SMCCC before 1.2 says nothing about SVE and what came after it."
        assert (found[name].outcome.result, found[name].outcome.summary) == (NOT_RUN, said)


def test_vectors_that_no_cpu_has_are_not_judged() -> None:
    found = findings(FakeFirmware(sve_bytes=0, za_bytes=0))
    for name, extension in (("REG-8", "SVE"), ("REG-9", "SME")):
        said = f"No CPU here has {extension}, or the kernel does not use it."
        assert (found[name].outcome.result, found[name].outcome.summary) == (NOT_RUN, said)
        assert not found[name].applies


def test_on_plain_firmware_every_rule_that_applies_passes() -> None:
    found = findings(FakeFirmware(x1=1, latency_us=100, rate=1000))
    for finding in found.values():
        expected = OBSERVED if finding.rule.severity == OBSERVED else PASS
        if finding.rule.id in ("OPEN-5", "OPEN-6", "OPEN-15", "REG-3"):
            expected = NOT_RUN
        assert finding.outcome.result == expected, finding.rule.id


# -- broken firmware --------------------------------------------------------------


def on(fids: int | tuple[int, ...], act: Callable[[list[int]], None], every: int = 1) -> Tamper:
    """Do something to the registers of every n-th call of some functions."""
    wanted = fids if isinstance(fids, tuple) else (fids,)
    seen = 0

    def tamper(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        nonlocal seen
        if request.fid & ~SVE_HINT in wanted:
            seen += 1
            if seen % every == 0:
                act(x)

    return tamper


def on_cpu(cpu: int, fid: int, act: Callable[[list[int]], None]) -> Tamper:
    def tamper(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        if request.fid == fid and request.cpu == cpu:
            act(x)

    return tamper


def returns(status: int) -> Callable[[list[int]], None]:
    def act(x: list[int]) -> None:
        x[0] = status & MASK

    return act


def sets(number: int, value: int) -> Callable[[list[int]], None]:
    def act(x: list[int]) -> None:
        x[number] = value

    return act


def refuse_hint(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
    if request.fid & SVE_HINT:
        x[:] = [NOT_SUPPORTED & MASK, *request.x]


def ignores_dry_run_bit(firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
    if request.fid == OPERATION and request.x[2] == 1:
        x[0] = -3 & MASK


def on_hint(act: Callable[[list[int]], None], every: int) -> Tamper:
    seen = 0

    def tamper(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        nonlocal seen
        if request.fid & SVE_HINT:
            seen += 1
            if seen % every == 0:
                act(x)

    return tamper


def refuses_dry_runs_at_times() -> Tamper:
    seen = 0

    def tamper(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        nonlocal seen
        if request.fid == OPERATION and request.x[2] == 1:
            seen += 1
            if seen % 5 == 0:
                x[0] = -3 & MASK

    return tamper


def announce_alias_at_times() -> Tamper:
    seen = 0

    def tamper(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        nonlocal seen
        if request.fid == FEATURES and request.x[0] == 0x8000_0005:
            seen += 1
            if seen % 5 == 0:
                x[0] = 0

    return tamper


def only_first(act: Callable[[list[int]], None], fid: int) -> Tamper:
    done = False

    def tamper(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        nonlocal done
        if request.fid == fid and not done:
            done = True
            act(x)

    return tamper


def announce_another_owners(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
    if request.fid == FEATURES and request.x[0] == 0xC100_0005:
        x[0] = 0


def late_on(cpu: int, seconds: float) -> Tamper:
    def tamper(firmware: FakeFirmware, request: RawRequest, _x: list[int]) -> None:
        firmware.now += seconds * (request.fid == OPERATION and request.cpu == cpu)

    return tamper


def clobbers(*numbers: int) -> Callable[[list[int]], None]:
    def act(x: list[int]) -> None:
        for number in numbers:
            x[number] = 0x1234

    return act


def keeps_x4(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
    if request.fid & ~SVE_HINT == ATTRIBUTES:
        x[4] = (*request.x, 0, 0, 0, 0)[3]


def keeps_x4_and_spoils_x5(firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
    keeps_x4(firmware, request, x)
    x[5] = 0x1234 if request.fid & ~SVE_HINT == ATTRIBUTES else x[5]


def pages_only(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
    if request.fid == OPERATION and request.x[1] > 4096:
        x[0] = -3 & MASK


def busy_with_a_part_of_a_page(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
    if request.fid == OPERATION and (request.x[0] | request.x[1]) % 4096:
        x[0] = BUSY & MASK


def whole_pages_only(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
    if request.fid == OPERATION and (request.x[0] | request.x[1]) % 4096:
        x[0] = -3 & MASK


def on_what_is_no_dry_run(act: Callable[[list[int]], None]) -> Tamper:
    def tamper(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        if request.fid == OPERATION and not request.x[2]:
            act(x)

    return tamper


def strange_about_nothing(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
    """A status that does not exist, for a length of 0 only."""
    if request.fid == OPERATION and request.x[1] == 0:
        x[0] = -77 & MASK


BROKEN: dict[str, tuple[Callable[[], FakeFirmware], set[str]]] = {
    "no conduit": (lambda: FakeFirmware(conduit="none"), {"DISC-1"}),
    "SMCCC 1.0": (lambda: FakeFirmware(version=0x1_0000), {"DISC-1"}),
    "neither function": (lambda: FakeFirmware(clean_inv=False, attributes=False), {"DISC-2"}),
    "no operation": (lambda: FakeFirmware(clean_inv=False), {"DISC-2", "DISC-3"}),
    "no attributes": (lambda: FakeFirmware(attributes=False), {"DISC-3"}),
    "attributes refused": (lambda: FakeFirmware(tamper=on(ATTRIBUTES, returns(-1))), {"DISC-4"}),
    "attributes unknown status": (
        lambda: FakeFirmware(tamper=on(ATTRIBUTES, returns(-77))),
        {"DISC-4"},
    ),
    "version changes": (
        lambda: FakeFirmware(tamper=on(VERSION, returns(0x1_0001), every=30)),
        {"DISC-5"},
    ),
    "version of one CPU": (
        lambda: FakeFirmware(tamper=on_cpu(3, VERSION, returns(0x1_0001))),
        {"DISC-5"},
    ),
    "features of one CPU": (
        lambda: FakeFirmware(tamper=on_cpu(2, FEATURES, returns(-1))),
        {"DISC-5"},
    ),
    "aliases answered": (
        lambda: FakeFirmware(
            fids=lambda f: (
                (f | SMC64) & ~SVE_HINT if f in (0x8000_0005, 0x8000_0006) else f & ~SVE_HINT
            )
        ),
        {"FID-1"},
    ),
    "one alias answered": (
        lambda: FakeFirmware(fids=lambda f: OPERATION if f == 0x8000_0005 else f & ~SVE_HINT),
        {"FID-1"},
    ),
    "an alias answered by one CPU": (
        lambda: FakeFirmware(tamper=on_cpu(3, 0x8000_0006, returns(0))),
        {"FID-1"},
    ),
    "an alias announced at times": (
        lambda: FakeFirmware(tamper=announce_alias_at_times()),
        {"FID-1"},
    ),
    "high bits ignored": (lambda: FakeFirmware(fids=lambda f: f & 0xFF00_FFFF), {"FID-2"}),
    "bit 19 ignored": (
        lambda: FakeFirmware(fids=lambda f: f & ~SVE_HINT & ~(1 << 19)),
        {"FID-2"},
    ),
    "hint refused": (lambda: FakeFirmware(tamper=refuse_hint), {"FID-3"}),
    "hint refused for the operation": (
        lambda: FakeFirmware(fids=lambda f: f if f == OPERATION | SVE_HINT else f & ~SVE_HINT),
        {"FID-3"},
    ),
    "hint refused at times": (
        lambda: FakeFirmware(tamper=on_hint(returns(NOT_SUPPORTED), every=20)),
        {"FID-3"},
    ),
    "unknown ids succeed": (
        lambda: FakeFirmware(tamper=on((0x8000_0ABC, 0xC000_0ABC), returns(0))),
        {"FID-4"},
    ),
    "an unknown id succeeds on one CPU": (
        lambda: FakeFirmware(tamper=on_cpu(1, 0xC000_0F0F, returns(0))),
        {"FID-4"},
    ),
    "unknown ids are invalid": (
        lambda: FakeFirmware(tamper=on(0xC000_0F0F, returns(-3))),
        {"FID-4"},
    ),
    "numbers of another owner announced": (
        lambda: FakeFirmware(version=0x1_0001, tamper=announce_another_owners),
        {"FID-4"},
    ),
    "attributes change": (
        lambda: FakeFirmware(tamper=on(ATTRIBUTES, sets(2, 77), every=30)),
        {"ATTR-1", "ATTR-2"},
    ),
    "first attributes differ": (
        lambda: FakeFirmware(tamper=only_first(sets(4, 77), ATTRIBUTES)),
        {"ATTR-1", "ATTR-2"},
    ),
    "attributes of one CPU": (
        lambda: FakeFirmware(tamper=on_cpu(3, ATTRIBUTES, sets(1, 1))),
        {"ATTR-2"},
    ),
    "operation refused": (
        lambda: FakeFirmware(tamper=on(OPERATION, returns(-3))),
        {"CALL-1", "CALL-3"},
    ),
    "operation not there": (
        lambda: FakeFirmware(tamper=on(OPERATION, returns(-1))),
        {"CALL-1", "CALL-3", "FID-3"},
    ),
    "busy for ever": (lambda: FakeFirmware(tamper=on(OPERATION, returns(BUSY))), {"CALL-1"}),
    "operation of one CPU": (
        lambda: FakeFirmware(tamper=on_cpu(2, OPERATION, returns(-3))),
        {"CALL-2", "CALL-3"},
    ),
    "large ranges": (lambda: FakeFirmware(tamper=pages_only), {"CALL-3", "CALL-4"}),
    "dry run refused": (lambda: FakeFirmware(tamper=ignores_dry_run_bit), {"DRY-1"}),
    "dry run cleans": (lambda: FakeFirmware(dry_run_acts=True), {"DRY-2"}),
    "dry run cleans what half stays dirty": (
        lambda: FakeFirmware(dry_run_acts=True, idle_lines=8),
        {"DRY-2"},
    ),
    "a global lie": (lambda: FakeFirmware(x1=1, global_lie=True), {"ATTR-3"}),
    "a latency lie": (lambda: FakeFirmware(latency_us=100, duration_us=2000), {"TIME-1"}),
    "a latency lie of one CPU": (
        lambda: FakeFirmware(latency_us=100, tamper=late_on(2, 0.002)),
        {"TIME-1"},
    ),
    "a latency lie of one CPU whose calls must be paced": (
        lambda: FakeFirmware(latency_us=100, rate=50, limit_per_s=50, tamper=late_on(2, 0.002)),
        {"TIME-1"},
    ),
    "a large latency lie": (
        lambda: FakeFirmware(latency_us=10, duration_us=400_000),
        {"TIME-1"},
    ),
    "a rate lie": (lambda: FakeFirmware(rate=1000, limit_per_s=100), {"RATE-1"}),
    "a rate lie by a third": (lambda: FakeFirmware(rate=300, limit_per_s=200), {"RATE-1"}),
    "a rate lie at the bottom": (
        lambda: FakeFirmware(rate=1, tamper=on(OPERATION, returns(RATE_LIMITED), every=2)),
        {"RATE-1"},
    ),
    "x17 changed": (lambda: FakeFirmware(tamper=on(OPERATION, clobbers(17))), {"REG-1"}),
    "x4 of features": (lambda: FakeFirmware(tamper=on(FEATURES, clobbers(4))), {"REG-1"}),
    "x5 of attributes": (lambda: FakeFirmware(tamper=on(ATTRIBUTES, clobbers(5))), {"REG-1"}),
    "x9 once": (
        lambda: FakeFirmware(tamper=only_first(clobbers(9), ATTRIBUTES)),
        {"REG-1"},
    ),
    "x4 to x17 on one CPU": (
        lambda: FakeFirmware(tamper=on_cpu(1, OPERATION, clobbers(*range(4, 18)))),
        {"REG-1"},
    ),
    "x28 lost": (lambda: FakeFirmware(loses={0: ("x28",)}), {"REG-6"}),
    "SP_EL0 lost on a CPU": (lambda: FakeFirmware(loses={3: ("SP_EL0",)}), {"REG-6"}),
    "x18 lost with SMCCC 1.1": (
        lambda: FakeFirmware(version=0x1_0001, loses={0: ("x18",)}),
        {"REG-6"},
    ),
    "a thread's register lost": (lambda: FakeFirmware(loses={1: ("TPIDR_EL0",)}), {"REG-7"}),
    "z31 lost on a CPU": (lambda: FakeFirmware(loses={2: ("z31",)}), {"REG-8"}),
    "p15 and FFR lost": (lambda: FakeFirmware(loses={0: ("p15", "FFR")}), {"REG-8"}),
    "four P lost": (
        lambda: FakeFirmware(loses={0: tuple(f"p{n}" for n in range(4))}),
        {"REG-8"},
    ),
    "all Z lost": (
        lambda: FakeFirmware(loses={0: tuple(f"z{n}" for n in range(32))}),
        {"REG-8"},
    ),
    "FFR lost without SME": (lambda: FakeFirmware(za_bytes=0, loses={0: ("FFR",)}), {"REG-8"}),
    "ZA lost on a CPU": (lambda: FakeFirmware(loses={1: ("ZA",)}), {"REG-9"}),
    "ZA switched off without SVE": (
        lambda: FakeFirmware(sve_bytes=0, loses={0: ("SVCR",)}),
        {"REG-9"},
    ),
    "x4 at SMCCC 1.1": (
        lambda: FakeFirmware(version=0x1_0001, tamper=on(OPERATION, clobbers(4))),
        {"REG-1"},
    ),
    "v8 on one CPU": (lambda: FakeFirmware(spoils={2: ["v8"]}), {"REG-4"}),
    "v31 where SVE is looked at": (lambda: FakeFirmware(loses={3: ("v31",)}), {"REG-4"}),
    "FPSR on one CPU": (lambda: FakeFirmware(spoils={1: ["FPSR"]}), {"REG-5"}),
    "x1 changed": (lambda: FakeFirmware(tamper=on(OPERATION, clobbers(1))), {"REG-2"}),
    "x2, x3 of features": (lambda: FakeFirmware(tamper=on(FEATURES, clobbers(2, 3))), {"REG-2"}),
    "an unknown status": (lambda: FakeFirmware(tamper=strange_about_nothing), {"STAT-1"}),
    "garbage above w0": (
        lambda: FakeFirmware(tamper=on(OPERATION, returns(0xDEAD_BEEF_0000_0000))),
        {"STAT-2"},
    ),
    "busy for ever with a part of a page": (
        lambda: FakeFirmware(tamper=busy_with_a_part_of_a_page),
        {"CALL-4"},
    ),
    "a dry run refused at times": (
        lambda: FakeFirmware(tamper=refuses_dry_runs_at_times()),
        {"CALL-2"},
    ),
    "garbage above a refusal": (
        lambda: FakeFirmware(tamper=on(0x8000_0ABC, returns(0x1_FFFF_FFFF))),
        {"STAT-2"},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_firmware_fails_the_rule_that_it_breaks(name: str) -> None:
    make, expected = BROKEN[name]
    assert failing(make()) == expected


@pytest.mark.parametrize("version", [0x1_0001, 0x1_0002])
def test_registers_are_looked_at_in_calls_of_every_kind_on_every_cpu(version: int) -> None:
    firmware = FakeFirmware(version=version)
    prober = Prober(firmware)
    assert check("REG-1", prober).result == PASS
    made = {(call.request.fid, call.request.x[2:3], call.request.cpu) for call in prober.log}
    for cpu in firmware.cpus:
        assert {(OPERATION, (0,), cpu), (OPERATION, (1,), cpu)} <= made
        called = {fid for fid, _flags, where in made if where == cpu}
        assert {VERSION, FEATURES, ATTRIBUTES, 0x8000_0ABC} <= called


@pytest.mark.parametrize(
    ("version", "tamper", "said"),
    [
        (0x1_0001, on(ATTRIBUTES, clobbers(4)), "x4 was overwritten."),
        (0x1_0001, keeps_x4, "x4 was left as it was."),
        (0x1_0001, keeps_x4_and_spoils_x5, "x4 was left as it was."),
        (0x1_0002, keeps_x4, "From SMCCC 1.2 on, x4 may hold a result."),
    ],
)
def test_what_becomes_of_x4_below_1_2_is_observed(version: int, tamper: Tamper, said: str) -> None:
    outcome = findings(FakeFirmware(version=version, tamper=tamper))["REG-3"].outcome
    assert outcome.summary == said
    assert [call.request.fid for call in outcome.calls] == [ATTRIBUTES] * (version == 0x1_0001)


def test_a_dry_run_is_not_judged_where_no_cache_holds_stores_back() -> None:
    found = findings(FakeFirmware(dry_run_acts=True, idle_lines=16))
    assert found["DRY-2"].as_json()["result"] == "not run"


def test_memory_of_a_real_board_is_stored_to_at_a_risk_only() -> None:
    found = findings(FakeFirmware(x1=1, is_virtual=False))
    for rule in ("DRY-2", "ATTR-3"):
        assert found[rule].outcome.result == NOT_RUN
        assert "--risky" in found[rule].outcome.summary
    found = findings(FakeFirmware(x1=1, is_virtual=False), risky=True)
    assert found["DRY-2"].outcome.result == found["ATTR-3"].outcome.result == PASS


@pytest.mark.parametrize("number", range(1, 12))
@pytest.mark.parametrize("id", ["DRY-1", "CALL-4"])
def test_a_refusal_that_does_not_come_again_is_blamed_on_no_rule_that_compares(
    id: str, number: int
) -> None:
    """A call of theirs meets it by bad luck: firmware that refuses at times breaks CALL-2."""
    seen = 0

    def once(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        nonlocal seen
        if request.fid == OPERATION:
            seen += 1
            if seen == number:
                x[0] = -3 & MASK

    try:
        outcome = check(id, Prober(FakeFirmware(tamper=once, cpus=[0])))
    except Blocked:
        assert number == 1
        return
    assert outcome.result == PASS


def test_statuses_are_compared_once_firmware_is_no_longer_busy() -> None:
    last = 1

    def busy_unless_again(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        nonlocal last
        if request.fid == OPERATION:
            if request.x[2] == 0 != last:
                x[0] = BUSY & MASK
            last = request.x[2]

    # Of 34 operations the second and the third, which comes right after it; all 32 dry runs.
    outcome = check("CALL-2", Prober(FakeFirmware(tamper=busy_unless_again)))
    assert outcome.summary == "SUCCESS in 34 of 66 calls."


# -- time --------------------------------------------------------------------------


def latency(**states: Any) -> tuple[Outcome, int]:
    """What the rule of the latency finds, and how many calls it makes of it."""
    firmware = FakeFirmware(**states)
    prober = Prober(firmware)
    # That many are made, three at most, to see how long one takes.
    assert prober.call_s
    before = len(firmware.made)
    return check("TIME-1", prober), len(firmware.made) - before


@pytest.mark.parametrize(
    ("states", "calls"),
    [
        # 16 in each of 3 rounds on each CPU.
        ({"latency_us": 100}, 16 * 3 * 4),
        ({"latency_us": 100, "cpus": [0]}, 16 * 3),
        # 2.5 s are enough for 62 of them, which are 5 in each round.
        ({"latency_us": 40_000, "duration_us": 40_000}, 5 * 3 * 4),
        # And here for a quarter of one.
        ({"latency_us": 10_000_000, "duration_us": 10_000_000}, 3),
        # 50 calls a second leave 100 of them.
        ({"latency_us": 100, "rate": 50, "limit_per_s": 50}, 8 * 3 * 4),
    ],
)
def test_the_latency_is_looked_at_in_as_many_calls_as_there_is_time_for(
    states: dict[str, Any], calls: int
) -> None:
    outcome, made = latency(**states)
    assert (outcome.result, made) == (PASS, calls)


@pytest.mark.parametrize(
    ("duration_us", "result"), [(999.2, PASS), (2999.2, PASS), (3000.2, FAIL), (5000, FAIL)]
)
def test_a_latency_is_exceeded_by_more_than_double_and_a_millisecond(
    duration_us: float, result: str
) -> None:
    """The loop itself takes 0.8 us."""
    assert latency(latency_us=1000, duration_us=duration_us)[0].result == result


def test_where_a_limit_is_not_stated_there_is_time_for_the_latency_of_one_cpu() -> None:
    firmware = FakeFirmware(cpus=[2, 3, 4], limit_per_s=2, latency_us=100)
    prober = Prober(firmware)
    assert prober.call_s
    assert prober.is_limited
    before = len(firmware.made)
    assert check("TIME-1", prober).result == PASS
    assert {one.cpu for one in firmware.made[before:]} == {2}


def test_refusals_say_nothing_of_the_latency() -> None:
    seen = 0

    def busy_twice(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        nonlocal seen
        if request.fid == OPERATION:
            seen += 1
            if seen % 3:
                x[0] = BUSY & MASK

    assert latency(latency_us=100, tamper=busy_twice)[0].result == PASS
    with pytest.raises(Blocked, match=r"^Not every round had a call that succeeded\.$"):
        latency(latency_us=100, tamper=on(OPERATION, returns(BUSY)))


@pytest.mark.parametrize(("rate", "calls"), [(1, 2), (30, 32), (1000, 400)])
def test_the_rate_is_tried_for_more_than_a_second_where_time_allows(rate: int, calls: int) -> None:
    outcome = findings(FakeFirmware(rate=rate, limit_per_s=rate))["RATE-1"].outcome
    assert outcome.summary.startswith(f"{rate} calls/s are advertised; {calls} calls that came")


def test_how_a_burst_ends_is_told() -> None:
    # Three are made before it, to see how long one takes.
    refused = on(OPERATION, returns(RATE_LIMITED), every=103)
    outcome = check("RATE-2", Prober(FakeFirmware(tamper=refused)))
    assert outcome.summary == "RATE_LIMITED at call 100 of a burst."
    assert dict(outcome.values) == {
        "advertised_per_s": 0,
        "made": 100,
        "completed": 99,
        "total_ns": 100 * 5800,
    }


def test_every_rule_that_judges_can_fail() -> None:
    judging = {rule.id for rule in RULES if rule.severity in (REQUIRED, RECOMMENDED)}
    assert set().union(*(expected for _make, expected in BROKEN.values())) == judging


def test_a_failure_shows_the_registers_of_the_call() -> None:
    found = findings(FakeFirmware(tamper=on_cpu(3, OPERATION, clobbers(9))))
    evidence = found["REG-1"].as_json()["evidence"]
    assert "x9" in evidence["summary"]
    [call] = evidence["calls"]
    assert (call["fid"], call["cpu"]) == ("0xc0000005", 3)
    assert call["out"]["x9"] == "0x1234" != call["in"]["x9"]
    assert set(call["out"]) == {f"x{n}" for n in range(18)}
    assert set(call["in"]) == {f"x{n}" for n in range(1, 18)}


def test_the_function_that_spoils_simd_registers_is_named() -> None:
    found = findings(FakeFirmware(spoils={3: ["v8", "v9", "FPCR"]}))
    assert found["REG-4"].outcome.summary == "On CPU 3, 0xc0000005 changed v8, v9."
    assert found["REG-5"].outcome.summary == "On CPU 3, 0xc0000005 changed FPCR."


# -- what the specification leaves open ---------------------------------------------


@pytest.mark.parametrize("status", [0, -1, -2, -3, -5])
def test_answers_to_open_questions_are_recorded_and_not_judged(status: int) -> None:
    def answer(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        is_dry = request.fid == OPERATION and request.x[2] == 1
        if is_dry and request.x[1] != 4096 and request.x[1] < 1 << 20:
            x[0] = status & MASK

    found = findings(FakeFirmware(tamper=answer))
    for number in (1, 2, 4):
        outcome = found[f"OPEN-{number}"].outcome
        assert outcome.result == OBSERVED
        assert outcome.calls
        assert all(call.status == status for call in outcome.calls)
    assert not [id for id, one in found.items() if one.outcome.result == FAIL]
    seen = found["OPEN-7"].outcome
    assert len(seen.calls) == (4 if status == -2 else 0)


def test_firmware_that_takes_whole_pages_only_is_not_accused() -> None:
    found = findings(FakeFirmware(tamper=whole_pages_only))
    assert not [id for id, one in found.items() if one.outcome.result == FAIL]
    outcome = found["CALL-4"].outcome
    assert (outcome.result, outcome.is_odd) == (OBSERVED, True)
    assert outcome.summary == (
        "INVALID_PARAMETER for one byte, one line, a line's end and the next one's start, a page "
        "and a bit, pages from an odd base: other ranges than whole pages are refused, which the "
        "specification leaves open."
    )
    assert [(call.request.x[1], call.status) for call in outcome.calls] == [(1, -3)]
    assert not findings(FakeFirmware())["CALL-4"].outcome.is_odd


@pytest.mark.parametrize("number", [3, 5, 6])
def test_success_for_what_cannot_be_is_worth_asking_the_vendor(number: int) -> None:
    def accept(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        if request.fid == OPERATION:
            x[0] = 0

    rule = f"OPEN-{number}"
    assert not findings(FakeFirmware(), risky=True)[rule].outcome.is_odd
    assert findings(FakeFirmware(tamper=accept), risky=True)[rule].outcome.is_odd
    # An operation on everything has no use for the range.
    assert not findings(FakeFirmware(tamper=accept, x1=1), risky=True)[rule].outcome.is_odd


@pytest.mark.parametrize("number", [1, 2, 4, 14, 15])
def test_success_for_what_may_be_is_not_worth_asking(number: int) -> None:
    def accept(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        if request.fid == OPERATION:
            x[0] = 0

    outcome = findings(FakeFirmware(tamper=accept), risky=True)[f"OPEN-{number}"].outcome
    assert [call.status for call in outcome.calls] == [0] * len(outcome.calls) != []
    assert outcome.is_odd is False


def test_what_the_operation_and_its_dry_run_take_is_told_of_one_call_each() -> None:
    seen = 0

    def slower_each_time(firmware: FakeFirmware, request: RawRequest, _x: list[int]) -> None:
        nonlocal seen
        if request.fid == OPERATION:
            seen += 1
            firmware.now += seen * (0.03 if request.x[2] else 0.07)

    outcome = check("OPEN-10", Prober(FakeFirmware(tamper=slower_each_time)))
    assert outcome.summary == "The operation took 70006 us, a dry run 60006 us."
    assert dict(outcome.values) == {"operation_ns": 70_005_800, "dry_run_ns": 60_005_800}


def test_what_a_refusal_takes_is_not_what_the_operation_takes() -> None:
    refused = on(OPERATION, returns(BUSY), every=2)
    outcome = check("OPEN-10", Prober(FakeFirmware(tamper=refused)))
    assert outcome.summary == "The operation took 6 us, a dry run 6 us to be refused (EBUSY)."


def test_only_dry_runs_are_counted_against_the_rate() -> None:
    limited = FakeFirmware(tamper=on_what_is_no_dry_run(returns(RATE_LIMITED)))
    assert check("OPEN-11", Prober(limited)).summary.endswith(
        " dry runs in a burst, and none was refused."
    )


def test_which_undefined_bits_are_set_is_told() -> None:
    found = findings(FakeFirmware(x1=0xA1, latency_us=5 << 32 | 100))
    outcome = found["OPEN-9"].outcome
    assert outcome.summary == "x1 without bit 0 is 0xa0, the upper half of x2 is 0x5."
    [call] = outcome.calls
    assert call.x[1:3] == (0xA1, 5 << 32 | 100)


def test_a_call_that_is_refused_far_from_the_lines_is_told() -> None:
    def refuse_far(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        if request.fid == OPERATION and request.x[:2] == (TARGET.end - 4096, 4096):
            x[0] = -3 & MASK

    outcome = findings(FakeFirmware(x1=1, tamper=refuse_far))["ATTR-3"].outcome
    far = f"0xc0000005(0x{TARGET.end - 4096:x}, 0x1000, 0x0)"
    assert outcome.summary == f"{far} on CPU 0 gave INVALID_PARAMETER."
    assert (outcome.result, outcome.blocked) == (NOT_RUN, True)


@pytest.mark.parametrize(
    ("states", "is_odd"),
    [
        ({"duration_us": 1_300_000}, True),
        ({"duration_us": 1_300_000, "latency_us": 1_400_000}, False),
        ({"duration_us": 50}, False),
        ({"target": None}, False),
    ],
)
def test_a_slow_call_of_which_nothing_is_stated_is_worth_asking(
    states: dict[str, Any], is_odd: bool
) -> None:
    outcome = findings(FakeFirmware(**states))["OPEN-8"].outcome
    assert (outcome.result, outcome.is_odd) == (OBSERVED, is_odd)
    assert ("a call took 1.3 s" in outcome.summary) == is_odd


def test_one_slow_moment_is_not_worth_asking() -> None:
    slow = True

    def slow_at_first(firmware: FakeFirmware, request: RawRequest, _x: list[int]) -> None:
        firmware.now += 1.3 * (slow and request.fid == OPERATION)

    firmware = FakeFirmware(tamper=slow_at_first)
    prober = Prober(firmware)
    assert prober.call_s > 1
    before = len(firmware.made)
    assert _zeroes.check(prober).is_odd
    assert len(firmware.made) - before == 1
    slow = False
    assert not _zeroes.check(prober).is_odd


def test_undefined_bits_that_are_set_are_worth_asking() -> None:
    assert not findings(FakeFirmware(x1=1))["OPEN-9"].outcome.is_odd
    assert findings(FakeFirmware(x1=2))["OPEN-9"].outcome.is_odd
    assert findings(FakeFirmware(latency_us=1 << 40 | 100))["OPEN-9"].outcome.is_odd


def test_borders_are_asked_about_in_dry_runs_only() -> None:
    outcome = findings(FakeFirmware(), risky=True)["OPEN-15"].outcome
    asked = {call.request.x for call in outcome.calls}
    assert ((1 << 32) - 4096, 8192, 1) in asked
    assert (TARGET.addr // (1 << 30) + 1 << 30) - 4096 in {x[0] for x in asked}
    assert ((1 << 44) - 4096, 4096, 1) in asked
    assert all(x[2] == 1 for x in asked)
    assert not outcome.is_odd
    # Where the addresses end at one, it is no border.
    outcome = findings(FakeFirmware(pa_bits=32), risky=True)["OPEN-15"].outcome
    asked = {call.request.x for call in outcome.calls}
    assert asked == {(0x7FFF_F000, 8192, 1), (0xFFFF_F000, 4096, 1)}


def test_not_required_for_a_good_range_is_observed_and_no_pass() -> None:
    outcome = findings(FakeFirmware(tamper=on(OPERATION, returns(-2))))["CALL-1"].outcome
    assert (outcome.result, outcome.is_odd) == (OBSERVED, True)
    assert outcome.summary == "NOT_REQUIRED; nobody says what that means here."
    assert [call.status for call in outcome.calls] == [-2]


def test_the_onset_of_the_limit_is_found() -> None:
    found = findings(FakeFirmware(rate=50, limit_per_s=50))
    assert "RATE_LIMITED at call 51" in found["RATE-2"].outcome.summary
    assert found["OPEN-11"].outcome.summary == "50 dry runs in a burst, then EAGAIN."


@pytest.mark.parametrize("per_cpu", [False, True])
@pytest.mark.parametrize("cpus", [[0, 1], [0, 1, 2, 3]])
def test_whose_limit_it_is_is_found(per_cpu: bool, cpus: list[int]) -> None:
    limited = FakeFirmware(rate=50, limit_per_s=50, limit_per_cpu=per_cpu, cpus=cpus)
    evidence = findings(limited)["OPEN-12"].as_json()["evidence"]
    assert evidence["limit"] == ("of each CPU" if per_cpu else "of the system")
    assert evidence["alone"] == [50, 50]
    assert evidence["together"] == [50 * (len(cpus) if per_cpu else 1)] * 2


def test_a_limit_that_is_neither_is_unclear() -> None:
    assert [_whose_limit(100, together, 4) for together in (100, 175, 250, 325, 400)] == [
        "of the system",
        "of the system",
        "unclear",
        "of each CPU",
        "of each CPU",
    ]


def test_a_limit_that_is_now_one_and_now_another_is_unclear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prober = Prober(FakeFirmware())
    prober.is_limited = True
    let_through = iter([100, 100, 100, 400])
    monkeypatch.setattr(prober, "burst", lambda _threads: Mock(completed=next(let_through)))
    outcome = check("OPEN-12", prober)
    assert outcome.summary == (
        "The limit is unclear: it let 100 and 100 calls of one CPU through, and 100 and 400 of "
        "4 CPUs at once."
    )
    assert dict(outcome.values) == {"limit": "unclear", "alone": [100, 100], "together": [100, 400]}


@pytest.mark.parametrize(
    ("cpus", "busy", "said"),
    [
        ((), (0, 0), "0 of 4 CPUs were told BUSY when all called at once; none that called alone"),
        ((1, 3), (2, 0), "2 of 4 CPUs were told BUSY when all called at once; none that called"),
        ((0,), (1, 1), "1 of 4 CPUs were told BUSY when all called at once; one that called alone"),
    ],
)
def test_who_is_told_busy_is_counted(
    cpus: tuple[int, ...], busy: tuple[int, int], said: str
) -> None:
    def refuse(firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        if request.fid == OPERATION and firmware.cpu in cpus:
            x[0] = BUSY & MASK

    outcome = check("OPEN-13", Prober(FakeFirmware(tamper=refuse)))
    assert outcome.summary.startswith(said)
    assert dict(outcome.values) == {"busy": busy[0], "busy_alone": busy[1]}


# -- what a run may do to a machine -------------------------------------------------


def is_safe(request: RawRequest) -> bool:
    """Bytes of the safe range, or a dry run of what begins there or is nothing at all."""
    base, length, flags = request.x[:3]
    inside = TARGET.addr <= base < TARGET.end
    if flags == 1:
        return inside or (base, length) == (0, 0)
    # The byte after the first is for a question that is asked at a risk only.
    is_whole = length > 0 and base != TARGET.addr + 1
    return flags == 0 and inside and is_whole and base + length <= TARGET.end


@pytest.mark.parametrize("risky", [False, True])
def test_only_at_a_risk_firmware_gets_arguments_that_may_be_bad(risky: bool) -> None:
    firmware = FakeFirmware(is_virtual=False)
    found = findings(firmware, risky)
    asked = [request for request in firmware.made if request.fid == OPERATION]
    assert all(is_safe(request) for request in asked) != risky
    for rule in RULES:
        calls = [call.request for call in found[rule.id].outcome.calls]
        # The others store to memory and ask as always.
        if rule.risky and rule.severity == OBSERVED:
            assert any(not is_safe(one) for one in calls) == risky, rule.id


@pytest.mark.parametrize(
    ("is_virtual", "risky", "is_asked"),
    [(True, False, True), (False, True, True), (False, False, False)],
)
def test_all_memory_is_asked_for_where_nothing_can_be_hurt_or_at_a_risk(
    is_virtual: bool, risky: bool, is_asked: bool
) -> None:
    firmware = FakeFirmware(is_virtual=is_virtual)
    outcome = findings(firmware, risky)["OPEN-14"].outcome
    whole = [one.x[2] for one in firmware.made if one.x[:2] == (0, (1 << 64) - 1)]
    assert whole == ([1, 0] if is_asked else [])
    assert outcome.result == (OBSERVED if is_asked else NOT_RUN)
    assert ("NVDIMM" in outcome.summary) == is_asked


@pytest.mark.parametrize(("taken", "is_said"), [((0, 1), False), ((0,), False), ((1,), True)])
def test_nvdimm_is_spoken_of_where_firmware_does_not_take_all_memory(
    taken: tuple[int, ...], is_said: bool
) -> None:
    def accept(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        if request.x[:2] == (0, (1 << 64) - 1) and request.x[2] in taken:
            x[0] = 0

    outcome = findings(FakeFirmware(tamper=accept))["OPEN-14"].outcome
    assert outcome.result == OBSERVED
    assert ("NVDIMM" in outcome.summary) == is_said
    assert not outcome.is_odd


def test_no_function_of_another_service_is_called_but_psci_features() -> None:
    firmware = FakeFirmware()
    findings(firmware, risky=True)
    others = {request.fid for request in firmware.made if request.fid >> 24 & 0x3F}
    assert others == {0x8400_000A}


def test_an_operation_that_is_not_announced_is_not_called() -> None:
    firmware = FakeFirmware(clean_inv=False)
    findings(firmware, risky=True)
    assert OPERATION not in {request.fid for request in firmware.made}


def test_without_safe_memory_the_operation_is_not_called_and_that_is_no_pass() -> None:
    firmware = FakeFirmware(target=None)
    report = Report(firmware, risky=False)
    list(report.run())
    assert not report.broken
    assert {finding.rule.id for finding in report.blocked} >= {"CALL-1", "REG-1"}
    applies = {finding.rule.id: finding.applies for finding in report.findings}
    # Firmware states no latency.
    assert (applies["CALL-1"], applies["TIME-1"]) == (True, False)
    real = [one for one in firmware.made if one.fid == OPERATION and one.x[2] == 0]
    assert not real
    # What may be taken for it is a dry run of nothing.
    unknown = {one.x[:3] for one in firmware.made if one.fid in UNKNOWN_FIDS[1:]}
    assert unknown == {(0, 0, 1)}


def test_a_call_that_is_never_answered_names_the_rule() -> None:
    def hang(_firmware: FakeFirmware, request: RawRequest, _x: list[int]) -> None:
        if request.fid & ~SVE_HINT == OPERATION:
            raise TargetLost("The call never came back.")

    report = Report(FakeFirmware(tamper=hang), risky=False)
    with pytest.raises(TargetLost) as lost:
        list(report.run())
    assert lost.value.message == "FID-3: The call never came back."
    assert not report.complete
    assert [finding.rule.id for finding in report.findings][-1] == "FID-2"


def test_rules_have_distinct_ids_and_name_sections_that_are_known() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert {rule.section for rule in RULES} == {
        "DEN0028 v1.7",
        "DEN0028 v1.7, 7.10",
        "deduced from DEN0028 v1.7, 7.10",
        "deduced from DEN0028 v1.7",
        "DEN0028 v1.7, 7.11",
    }


def test_a_version_that_changes_is_told_as_a_version() -> None:
    firmware = FakeFirmware(tamper=on_cpu(1, VERSION, returns(0x1_0001)))
    summary = findings(firmware)["DISC-5"].outcome.summary
    assert "gave 1.2 and " in summary
    assert summary.endswith("on CPU 1 gave 1.1.")
