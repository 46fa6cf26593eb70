# SPDX-License-Identifier: GPL-2.0-only
"""Conformance on the board: good firmware passes, and each way to be bad is found.

The rules are tested one by one on firmware made of Python (tests/unit); here it
is shown that they see the same through kernel and module, on real registers,
real CPUs and a real clock. Most of it is shown in the test's own process, which
spares a process for each of a rule's calls; some tests run the whole command.
"""

import json
import os
import re
import time
from pathlib import Path

import pytest

from pyctl.conformance import prober
from pyctl.conformance.access import ModuleAccess, target_of
from pyctl.conformance.outcome import FAIL, OBSERVED, PASS
from pyctl.conformance.questions import ALL
from pyctl.conformance.run import Report
from pyctl.firmware.client import Faults
from pyctl.firmware.faults import parse_faults
from pyctl.firmware.settings import parse_setting
from pyctl.lab.answers import identity_in, results_of
from pyctl.lab.replay import replay_of
from pyctl.lab.results import BoardIdentity
from pyctl.target.aim import Wish
from pyctl.target.debugfs import exchange
from pyctl.target.raw import registers
from pyctl.target.vectors import changed_by_write

# The rule that there is where the CPU has SVE, whose registers have v0 to v31 for a part.
OF_SVE = {"REG-8"} if " sve " in Path("/proc/cpuinfo").read_text() else set()
SMCCC = Path("/sys/kernel/debug/memregion_test/smccc")
# Of a write, which may have 4096 bytes.
CALLS_PER_WRITE = 8


class DirectAccess(ModuleAccess):
    """Calls from this very process: a test that does not come back is ended with its board."""

    def calls(self, requests, interval_s, timeout_s):
        answers = []
        step = 1 if interval_s else CALLS_PER_WRITE
        for start in range(0, len(requests), step):
            time.sleep(interval_s if start else 0)
            part = requests[start : start + step]
            text = "".join(request.text() for request in part)
            answers += registers(exchange(SMCCC, text.encode()), len(part))
        return answers

    def vectors(self, requests, cpu, timeout_s):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {cpu})
        text = "".join(request.text() for request in requests)
        try:
            with SMCCC.open("r+b", buffering=0) as file:
                written, changed = changed_by_write(file.fileno(), text.encode())
        finally:
            os.sched_setaffinity(0, before)
        assert written == len(text)
        return changed

    def invalidate(self, request, timeout_s, cpu):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, before if cpu is None else {cpu})
        try:
            return self._debugfs.invalidate_unbounded(request)
        finally:
            os.sched_setaffinity(0, before)


@pytest.fixture
def configure(stub):
    """Set firmware up and arm faults."""

    def configure(settings=(), faults=""):
        for setting in settings:
            stub.set(parse_setting(setting))
        if faults:
            Faults(stub).replace(parse_faults(faults))

    return configure


@pytest.fixture
def command(configure, pyctl):
    """Set firmware up and run the command; gives how it ended."""

    def run(settings=(), faults="", *options):
        configure(settings, faults)
        return pyctl("conformance", "--json", *options)

    return run


@pytest.fixture
def check(configure, debugfs):
    """Set firmware up and go through all rules; gives what came of each."""

    def run(settings=(), faults="", risky=False):
        configure(settings, faults)
        with target_of(debugfs, Wish()) as target:
            report = Report(DirectAccess(debugfs, debugfs.info(), target), risky)
            found = {finding.rule.id: finding.outcome for finding in report.run()}
        assert report.complete
        return found

    return run


@pytest.fixture
def in_a_hurry(monkeypatch):
    """Shorter waits, for firmware whose limit has a window of a tenth of a second."""
    monkeypatch.setattr(prober, "WINDOW_S", 0.1)
    monkeypatch.setattr(prober, "BACKOFF_S", (0.001, 0.01, 0.1, 0.1))
    monkeypatch.setattr(prober, "PATIENCE_S", 0.5)


def results(ended, result):
    return {rule["id"] for rule in ended.json["rules"] if rule["result"] == result}


def having(found, result):
    return {rule for rule, outcome in found.items() if outcome.result == result}


# The rules that a stopwatch decides.
TIMED = {"TIME-1", "RATE-1"}
# What applies to every firmware that has the function.
COMMON = {"DISC-1", "FID-1", "CALL-1", "CALL-3", "REG-1", "REG-4", "STAT-1"}


@pytest.mark.every_conduit
def test_good_firmware_passes_on_every_board(command, debugfs):
    ended = command()
    failed = results(ended, "fail")
    assert failed - TIMED == set()
    assert ended.status == int(bool(failed)), ended.err
    assert ended.json["complete"] is True
    assert ended.json["firmware"]["conduit"] == debugfs.info().conduit
    assert results(ended, "pass") >= COMMON


@pytest.mark.board(boot="uefi", conduit="smc")
def test_a_board_without_a_range_for_it_leaves_no_required_rule_unrun(command, stub):
    # Rules of what firmware states are for firmware that states it.
    ended = command(("global=1", "latency_us=50000", "rate=200"))
    failed = results(ended, "fail")
    assert failed - TIMED == set()
    assert ended.status == int(bool(failed)), ended.err
    assert ended.json["target"]["kind"] == "scratch"
    assert ended.json["target"]["guards"] == "intact"
    rules = [rule for rule in ended.json["rules"] if rule["severity"] == "required"]
    not_run = {rule["id"] for rule in rules if rule["result"] == "not run"}
    # The one compares CPUs, and the other is about what not every CPU has.
    expected = {"ATTR-2"} if os.cpu_count() == 1 else set()
    assert not_run == expected | ({"REG-8"} - OF_SVE)
    base = int(ended.json["target"]["addr"], 16)
    # On a virtual board all memory is asked for, too (OPEN-14).
    calls = [call for call in stub.log() if (call.base, call.length) != (0, ALL)]
    aimed = {call.base - base for call in calls if call.length}
    assert aimed
    assert all(0 <= offset < ended.json["target"]["size"] for offset in aimed)


@pytest.mark.every_board
def test_good_firmware_of_another_kind_passes_on_every_board(check):
    found = check(("global=1", "smccc=1.1"))
    assert having(found, FAIL) - TIMED == set()
    assert having(found, PASS) >= {"ATTR-3", *COMMON}


@pytest.mark.timing
@pytest.mark.every_board
def test_good_firmware_keeps_the_times_that_it_states(check):
    found = check(("latency_us=50000", "duration_us=200", "rate=200", "break_even=0x10000"))
    assert having(found, FAIL) == set()
    assert having(found, PASS) >= TIMED
    assert not [rule for rule, outcome in found.items() if outcome.blocked]


def test_good_firmware_with_a_real_rate_limiter_passes(check, in_a_hurry):
    found = check(("rate=200",), "rate_limit:20/100000")
    assert having(found, FAIL) == set()
    # The burst may take longer than one window, but hardly ten.
    number = re.search(r"RATE_LIMITED at call (\d+)", found["RATE-2"].summary)[1]
    assert 20 < int(number) <= 200


def test_good_firmware_that_is_busy_at_times_passes(check):
    found = check((), "busy_inside,status:BUSY@every=7@call=clean_inv")
    assert having(found, FAIL) == set()
    assert not [rule for rule, outcome in found.items() if outcome.blocked]


def test_good_firmware_that_is_unlike_most_passes(check):
    found = check(
        ("break_even=0x200000", "smccc=1.1"),
        "over_flush:4096,x0_garbage:0,status:BUSY@every=7,keep_x4",
    )
    assert having(found, FAIL) == set()
    assert {rule for rule, outcome in found.items() if outcome.is_odd} <= {"OPEN-8"}
    assert not [rule for rule, outcome in found.items() if outcome.blocked]


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("refuse_unaligned", {"CALL-4"}),
        ("refuse_unaligned:64", {"CALL-4"}),
        ("accept_anything", {"OPEN-3"}),
    ],
)
def test_what_is_left_open_is_worth_asking_and_no_failure(check, kind, odd):
    found = check((), kind)
    assert having(found, FAIL) == set()
    assert {rule for rule, outcome in found.items() if outcome.is_odd} - {"OPEN-8"} == odd


def test_our_provider_passes_the_rules_of_the_series(pyctl, provider, stub):
    provider.load("latency_us=2000")
    ended = pyctl("conformance", "--provider", "--json")
    assert (ended.status, results(ended, "fail")) == (0, set()), ended.err
    assert len(results(ended, "pass")) == 10
    assert ended.json["ask_vendor"] == []
    assert stub.get("queue_length") == 0
    assert Faults(stub).armed() == []


def test_a_provider_that_is_not_there_cannot_be_checked(pyctl, provider):
    provider.unload()
    ended = pyctl("conformance", "--provider", "--json")
    assert ended.status == 3
    assert "No provider is registered" in ended.json["error"]


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
    "unknown-status": ((), "status:-77", {"CALL-1", "CALL-3", "STAT-1"}),
    "latency": (("latency_us=100",), "latency:5000", {"TIME-1"}),
    "latency-at-times": (("latency_us=100",), "latency:5000@every=8", {"TIME-1"}),
    "latency-of-a-cpu": (("latency_us=100",), "latency:5000@cpu=1", {"TIME-1"}),
    "rate": (("rate=200",), "rate_limit:2/100000", {"RATE-1"}),
    "busy-with-long-ranges": ((), "busy_over", {"CALL-4"}),
    "whole-blocks-only": ((), "refuse_unaligned:0x2000", {"CALL-1"}),
    "x4-x17": ((), "clobber_x4_x17", {"REG-1"}),
    "x4-x17-once": ((), "clobber_x4_x17@next=1@call=attributes", {"REG-1"}),
    "simd": ((), "clobber_simd@call=clean_inv", {"REG-4", *OF_SVE}),
    "x18-x30": ((), "clobber_x18_x30", {"REG-6"}),
    "x18-x30-of-a-cpu": ((), "clobber_x18_x30@cpu=1", {"REG-6"}),
    "thread": ((), "clobber_thread", {"REG-6", "REG-7"}),
    "fpcr-of-a-cpu": ((), "clobber_fpcr@cpu=1@call=clean_inv", {"REG-5"}),
    "simd-of-attributes-of-a-cpu": ((), "clobber_simd@cpu=1@call=attributes", {"REG-4", *OF_SVE}),
    "x4-x17-of-a-cpu": ((), "clobber_x4_x17@cpu=1@call=features", {"REG-1"}),
    "x1-x3": ((), "clobber_x1_x3", {"REG-2"}),
    "x0-garbage": ((), "x0_garbage", {"STAT-2"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_firmware_fails_the_rule_that_it_breaks(check, in_a_hurry, name, request):
    settings, faults, expected = BROKEN[name]
    if "cpu=1" in faults:
        request.getfixturevalue("two_cpus")
    if os.cpu_count() == 1:
        # This rule compares CPUs.
        expected = expected - {"ATTR-2"}
    assert having(check(settings, faults), FAIL) == expected


@pytest.mark.parametrize("name", ["no-operation", "unknown-status", "x4-x17"])
def test_a_replay_breaks_the_same_rules_again(command, check, name):
    """What `pyctl lab replay` makes of a run, in the place of the firmware that it was of."""
    settings, faults, expected = BROKEN[name]
    ended = command(settings, faults)
    board = identity_in(ended.json, BoardIdentity("a"))
    made = replay_of(board, results_of("conformance", ended.json, ended.status))
    assert made.cannot == () or name == "unknown-status"
    again = [setting for setting in made.firmware if not setting.startswith("fault=")]
    faults = "".join(made.firmware[len(again) :]).removeprefix("fault=")
    assert having(check(again, faults), FAIL) == expected


def test_a_call_that_is_refused_among_many_at_once_is_found(check, stub, monkeypatch):
    """Of the calls of all CPUs at once, and of no others, however these are scheduled."""
    all_at_once = prober.Prober.all_at_once

    def refusing_one(self):
        Faults(stub).replace(parse_faults("status:INVALID_PARAMETER@every=20@next=1"))
        try:
            return all_at_once(self)
        finally:
            Faults(stub).clear()

    monkeypatch.setattr(prober, "PATIENCE_S", 30)
    monkeypatch.setattr(prober.Prober, "all_at_once", refusing_one)
    assert having(check(), FAIL) == {"CALL-3"}


def test_a_risky_run_records_the_registers_and_warns_of_what_is_recommended(command):
    # What a global operation does with a range is another matter.
    ended = command(("global=0",), "clobber_x1_x3", "--risky")
    assert (ended.status, results(ended, "fail")) == (0, {"REG-2"})
    assert "warning: REG-2" in ended.err
    rules = {rule["id"]: rule for rule in ended.json["rules"]}
    for number in range(1, 7):
        rule = rules[f"OPEN-{number}"]
        assert rule["result"] == OBSERVED
        assert all(len(call["out"]) == 18 for call in rule["evidence"]["calls"])
    flags = {call["in"]["x3"] for call in rules["OPEN-6"]["evidence"]["calls"]}
    assert flags == {"0x2", "0x3", "0x80000000", "0x80000001", hex(1 << 63), hex(1 << 63 | 1)}
    wide = rules["OPEN-5"]["evidence"]["calls"]
    # What this firmware does about them (pyctl/vm/stub/cache.c).
    assert {call["out"]["x0"] for call in wide} == {hex(-3 & (1 << 64) - 1)}


@pytest.mark.parametrize(
    ("whole", "status"), [("refuse", -3 & (1 << 64) - 1), ("accept", 0), ("clamp", 0)]
)
def test_what_firmware_makes_of_all_memory_is_observed(check, whole, status):
    outcome = check(("global=0", f"whole={whole}"))["OPEN-14"]
    assert outcome.result == OBSERVED
    assert [call.x[0] for call in outcome.calls] == [status] * 2
    assert ("NVDIMM" in outcome.summary) == (whole == "refuse")


def test_a_ledger_shows_what_another_firmware_broke(command, pyctl, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    assert command((), "", "--ledger", old).status == 0
    assert pyctl("conformance", "diff", old, old).status == 0
    assert command((), "smc32_alias", "--ledger", new).status == 1
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
