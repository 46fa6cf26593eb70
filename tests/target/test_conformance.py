# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl conformance` on the board: good firmware passes, and each way to be bad is found.

The rules are tested one by one on firmware made of Python (tests/unit); here it
is shown that they see the same through kernel and module, on real registers,
real CPUs and a real clock.
"""

import json

import pytest

from pyctl.firmware.client import Faults
from pyctl.firmware.faults import parse_faults
from pyctl.firmware.settings import parse_setting


@pytest.fixture
def check(stub, pyctl):
    """Set firmware up and run the command; gives how it ended."""

    def run(settings=(), faults="", *options):
        for setting in settings:
            stub.set(parse_setting(setting))
        if faults:
            Faults(stub).replace(parse_faults(faults))
        return pyctl("conformance", "--json", *options)

    return run


def results(ended, result):
    return {rule["id"] for rule in ended.json["rules"] if rule["result"] == result}


# The rules that a stopwatch decides.
TIMED = {"TIME-1", "RATE-1"}


@pytest.mark.every_board
@pytest.mark.parametrize("settings", [(), ("global=1", "smccc=1.1")], ids=["plain", "global"])
def test_good_firmware_passes_on_every_board(check, debugfs, settings):
    ended = check(settings)
    failed = results(ended, "fail")
    assert failed - TIMED == set()
    assert ended.status == int(bool(failed)), ended.err
    assert ended.json["complete"] is True
    assert ended.json["firmware"]["conduit"] == debugfs.info().conduit
    assert {"DISC-1", "FID-1", "CALL-1", "CALL-3", "REG-1", "REG-4", "STAT-1"} <= results(
        ended, "pass"
    )


@pytest.mark.timing
@pytest.mark.every_board
def test_good_firmware_keeps_the_times_that_it_states(check):
    ended = check(("latency_us=50000", "duration_us=200", "rate=200", "break_even=0x10000"))
    assert results(ended, "fail") == set()
    assert results(ended, "pass") >= TIMED
    assert ended.status == 0, ended.err


def test_good_firmware_with_a_real_rate_limiter_passes(check):
    ended = check(("rate=100",), "rate_limit:100/1000000")
    assert results(ended, "fail") == set()
    evidence = {rule["id"]: rule["evidence"]["summary"] for rule in ended.json["rules"]}
    assert "RATE_LIMITED at call 101" in evidence["RATE-2"]


def test_good_firmware_that_is_busy_at_times_passes(check):
    ended = check((), "busy_inside,status:BUSY@every=7@call=clean_inv")
    assert results(ended, "fail") == set()
    assert ended.status == 0


BROKEN = {
    "smccc": (("smccc=1.0",), "", {"DISC-1"}),
    "nothing": (("clean_inv=0", "attributes=0"), "", {"DISC-2"}),
    "no-operation": (("clean_inv=0",), "", {"DISC-2", "DISC-3"}),
    "no-attributes": (("attributes=0",), "", {"DISC-3"}),
    "attributes-status": (("attributes_status=INVALID_PARAMETER",), "", {"DISC-4"}),
    "features-lie": ((), "features_attributes:NOT_SUPPORTED", {"DISC-3", "DISC-4"}),
    "version-changes": ((), "version:1.1@every=3", {"DISC-5"}),
    "version-of-a-cpu": ((), "version:1.1@cpu=1", {"DISC-5"}),
    "aliases": ((), "smc32_alias", {"FID-1"}),
    "reserved-id-bits": ((), "loose_id", {"FID-2"}),
    "unknown-ids": ((), "answer_unknown", {"FID-1", "FID-2", "FID-4"}),
    "dry-run-acts": ((), "dry_run_acts", {"DRY-2"}),
    "hint": ((), "refuse_sve", {"FID-3"}),
    "attributes-change": ((), "attr_break_even:7@every=3", {"ATTR-1", "ATTR-2"}),
    "attributes-of-a-cpu": ((), "attr_global:1@cpu=1", {"ATTR-2"}),
    "global": ((), "attr_global:1", {"ATTR-3"}),
    "refused": ((), "status:NOT_SUPPORTED", {"FID-3", "CALL-1", "CALL-3"}),
    "refused-by-a-cpu": ((), "status:INVALID_PARAMETER@cpu=1", {"CALL-2", "CALL-3"}),
    "refused-at-times": ((), "status:INVALID_PARAMETER@every=200", {"CALL-3"}),
    "unknown-status": ((), "status:-77", {"CALL-1", "CALL-3", "STAT-1"}),
    "latency": (("latency_us=100",), "latency:5000", {"TIME-1"}),
    "latency-at-times": (("latency_us=100",), "latency:5000@every=8", {"TIME-1"}),
    "rate": (("rate=1000",), "rate_limit:50/1000000", {"RATE-1"}),
    "x4-x17": ((), "clobber_x4_x17", {"REG-1"}),
    "x4-x17-once": ((), "clobber_x4_x17@next=1@call=attributes", {"REG-1"}),
    "simd": ((), "clobber_simd@call=clean_inv", {"REG-4"}),
    "simd-of-attributes-of-a-cpu": ((), "clobber_simd@cpu=1@call=attributes", {"REG-4"}),
    "x4-x17-of-a-cpu": ((), "clobber_x4_x17@cpu=1@call=features", {"REG-1"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_firmware_fails_the_rule_that_it_breaks(check, name, request):
    settings, faults, expected = BROKEN[name]
    if "cpu=1" in faults:
        request.getfixturevalue("two_cpus")
    ended = check(settings, faults)
    assert results(ended, "fail") == expected
    assert ended.status == 1
    assert all(rule in ended.json["error"] for rule in expected)


@pytest.mark.parametrize(("fault", "rule"), [("clobber_x1_x3", "REG-2"), ("x0_garbage", "STAT-2")])
def test_what_is_recommended_only_is_a_warning(check, fault, rule):
    ended = check((), fault)
    assert results(ended, "fail") == {rule}
    assert ended.status == 0
    assert f"warning: {rule}" in ended.err


def test_risky_probes_are_recorded_with_their_registers(check):
    # What a global operation does with a range is another matter.
    ended = check(("global=0",), "", "--risky")
    assert ended.status == 0
    rules = {rule["id"]: rule for rule in ended.json["rules"]}
    for number in range(1, 7):
        rule = rules[f"OPEN-{number}"]
        assert rule["result"] == "observed"
        assert all(len(call["out"]) == 18 for call in rule["evidence"]["calls"])
    flags = {call["in"]["x3"] for call in rules["OPEN-6"]["evidence"]["calls"]}
    assert flags == {"0x2", "0x3", "0x80000000", "0x80000001", hex(1 << 63), hex(1 << 63 | 1)}
    wide = rules["OPEN-5"]["evidence"]["calls"]
    # What this firmware does about them (pyctl/vm/stub/cache.c).
    assert {call["out"]["x0"] for call in wide} == {hex(-3 & (1 << 64) - 1)}


def test_a_ledger_shows_what_another_firmware_broke(check, pyctl, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    assert check((), "", "--ledger", old).status == 0
    assert pyctl("conformance", "diff", old, old).status == 0
    assert check((), "smc32_alias", "--ledger", new).status == 1
    ended = pyctl("conformance", "diff", old, new)
    assert ended.status == 1
    assert "FID-1     pass -> fail  REGRESSION" in ended.out


def test_an_interrupted_run_keeps_what_it_has_observed(pyctl, stub, tmp_path, wait_until):
    ledger = tmp_path / "ledger"
    stub.set(parse_setting("duration_us=20000"))
    running = pyctl.start("conformance", "--json", "--ledger", ledger)
    wait_until(
        lambda: ledger.exists() and len(json.loads(ledger.read_text())["rules"]) >= 10,
        "ten rules were checked",
    )
    running.kill(2)
    ended = running.wait()
    assert ended.status == 130
    for known in (ended.json, json.loads(ledger.read_text())):
        assert known["complete"] is False
        assert {"DISC-1", "FID-4"} <= {rule["id"] for rule in known["rules"]}
        assert "STAT-1" not in {rule["id"] for rule in known["rules"]}
    assert ended.json["ok"] is False
    assert pyctl("conformance", "diff", ledger, ledger).status == 1
