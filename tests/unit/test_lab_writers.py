# SPDX-License-Identifier: GPL-2.0-only
"""Results in the forms that labs read; tests/vm has the kernel's own reader of KTAP."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pyctl.errors import UsageError
from pyctl.lab.answers import COMMANDS, read_run, results_of
from pyctl.lab.journal import Journal
from pyctl.lab.results import (
    BoardIdentity,
    ItemEvidence,
    ItemKind,
    ItemOutcome,
    ItemResult,
    Quantity,
    RunHead,
    RunResults,
)
from pyctl.lab.writers import Outputs, kcidb, ktap, lava
from tests.unit.test_cli_conformance import firmware  # noqa: F401 - a fixture
from tests.unit.test_lab_results import BOARD, RESULTS, head

ONE = ItemOutcome
LAVA_LINE = re.compile(r"[A-Za-z0-9_.-]+ (pass|fail|skip)( [-+.e0-9]+ \S+)?")
NASTY = "\n# Subtest: x\nok 9 y # SKIP\n1..7\nKTAP version 1\0\ud800\x1b[31m #"


def run_of(*results: ItemResult, ended: str = "now") -> RunResults:
    return RunResults(head(), results, ended)


def item(outcome: ItemOutcome, path: str = "", **rest) -> ItemResult:
    return ItemResult(path or f"t.py::test_{outcome}", ItemKind.TEST, outcome, **rest)


def statuses(report: str) -> dict[str, str]:
    return {test["path"]: test["status"] for test in json.loads(report)["tests"]}


def nasty_run() -> RunResults:
    evidence = ItemEvidence(NASTY * 1000, (NASTY,), NASTY)
    results = [
        ItemResult(
            NASTY, kind, outcome, NASTY, 1.0, "", NASTY, evidence, {NASTY: Quantity(1e9, NASTY)}
        )
        for kind in ItemKind
        for outcome in ItemOutcome
    ]
    board = BoardIdentity(NASTY, NASTY, (NASTY, "a,b"), NASTY)
    return RunResults(RunHead("target", board), results, "now")


def test_kcidb_takes_every_outcome_and_whatever_text() -> None:
    kcidb_io = pytest.importorskip("kcidb_io")
    for run in (run_of(*RESULTS), run_of(), nasty_run()):
        report = kcidb(run, "a_lab", "a_lab:7.3")
        kcidb_io.schema.V5_3.validate(json.loads(report))
        report.encode()
    found = statuses(kcidb(run_of(*map(item, ONE)), "a_lab", "a_lab:7.3"))
    assert found == {
        "pyctl.t.py.test_pass": "PASS",
        "pyctl.t.py.test_fail": "FAIL",
        "pyctl.t.py.test_skip": "SKIP",
        "pyctl.t.py.test_error": "ERROR",
        "pyctl.t.py.test_incomplete": "MISS",
        "pyctl.run-complete": "MISS",
    }


def test_lava_gets_one_line_for_each_name_and_every_number() -> None:
    numbers = {"p50": Quantity(3, "us"), "p99": Quantity(12.5, "calls per s")}
    run = run_of(
        item(ONE.PASS, "a[1+2]", numbers={"p99": Quantity(7)}),
        item(ONE.FAIL, "a[1-2]"),
        item(ONE.FAIL, "a[1/2]", numbers=numbers),
    )
    assert lava(run).splitlines() == [
        "a.1.2 pass 7 count",
        "a.1-2 fail",
        "a.1.2-2 fail",
        "a.1.2.p50 fail 3 us",
        "a.1.2.p99 fail 12.5 calls_per_s",
        "run-complete pass",
    ]
    for line in lava(nasty_run()).splitlines():
        assert LAVA_LINE.fullmatch(line)


def test_trouble_of_the_lab_fails_no_test_and_is_no_pass() -> None:
    for outcome in (ONE.ERROR, ONE.INCOMPLETE):
        run = run_of(item(ONE.PASS, "a"), item(outcome, "b"))
        assert lava(run).splitlines() == ["a pass", "b skip", "run-complete fail"]
        assert "not ok 2 b # ERROR" in ktap(run)
        assert "not ok 3 run-complete # ERROR" in ktap(run)
        assert statuses(kcidb(run, "a_lab", "a_lab:1"))["pyctl.run-complete"] != "PASS"


def test_a_run_that_was_killed_or_has_no_results_is_not_complete() -> None:
    for run in (run_of(), run_of(item(ONE.PASS), ended="")):
        assert lava(run).endswith("run-complete fail\n")
        assert "not ok" in ktap(run)
        assert statuses(kcidb(run, "a_lab", "a_lab:1"))["pyctl.run-complete"] == "MISS"


def test_ktap_has_its_plan_first_and_no_line_that_means_something_else() -> None:
    run = nasty_run()
    lines = ktap(run).splitlines()
    assert lines[:2] == ["KTAP version 1", f"1..{len(run.results) + 1}"]
    told = [line for line in lines[2:] if line[:4] != "#   " and line != "#"]
    assert len(told) == len(run.results) + 1
    for number, line in enumerate(told, 1):
        assert re.fullmatch(rf"(not )?ok {number} [^#]+( # (SKIP|ERROR)( [^#]*)?)?", line)


def test_a_file_is_replaced_as_a_whole_and_a_terminal_is_written_to(tmp_path) -> None:
    run, path = run_of(*RESULTS), tmp_path / "a.ktap"
    path.write_text("old")
    Outputs(path, lava=Path("/dev/stderr")).write(run)
    assert path.read_text() == ktap(run)
    assert list(tmp_path.iterdir()) == [path]
    # Nobody opens a directory for writing, whoever they are.
    with pytest.raises(OSError, match="directory"):
        Outputs(tmp_path).write(run)


@pytest.mark.parametrize(("origin", "build"), [("", "a:1"), ("A", "a:1"), ("a", ""), ("a", "1")])
def test_what_kcidb_would_refuse_is_refused_before_the_run(tmp_path, origin, build) -> None:
    with pytest.raises(UsageError, match="KCIDB does not know"):
        Outputs(kcidb=tmp_path / "x", origin=origin, build_id=build)


# -- pyctl lab export ------------------------------------------------------------


def test_export_writes_a_journal_in_every_form(pyctl, tmp_path) -> None:
    journal = tmp_path / "journal"
    with Journal(journal, head()) as file:
        for result in RESULTS:
            file.result(result)
        file.end()
    words = [word for form in ("ktap", "lava", "kcidb") for word in (f"--{form}", tmp_path / form)]
    ended = pyctl(
        "lab", "export", journal, *words, "--kcidb-origin=a", "--kcidb-build=a:1", "--json"
    )
    assert ended.status == 0
    assert ended.json["counts"] == {"pass": 1, "fail": 1, "skip": 1, "error": 1, "incomplete": 0}
    assert (ended.json["board"], ended.json["outcome"]) == (BOARD.name, "error")
    for form in ("ktap", "lava", "kcidb"):
        assert "run-complete" in (tmp_path / form).read_text()


def test_export_of_what_holds_no_results_is_bad_usage(pyctl, tmp_path) -> None:
    path = tmp_path / "x"
    assert pyctl("lab", "export", path).status == 2
    for text in ("", "[]", "{}", '{"rules": 1}', '{"cases": [{}], "shown": true}'):
        path.write_text(text)
        ended = pyctl("lab", "export", path, "--ktap", tmp_path / "y")
        assert (ended.status, "neither a journal" in ended.err) == (2, True)
    assert not (tmp_path / "y").exists()


def test_a_ledger_says_what_its_command_said(pyctl, firmware_run, tmp_path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text(json.dumps(firmware_run))
    run = read_run(ledger, "grace-7")
    found = {result.path: result.outcome for result in run.results}
    assert found == {
        "A-1": ONE.PASS,
        "A-2": ONE.FAIL,
        "A-3": ONE.SKIP,
        "A-4": ONE.SKIP,
        "A-5": ONE.SKIP,
        "conformance": ONE.PASS,
    }
    assert run.is_complete
    assert run.head.board.firmware.version == "1.4"
    assert run.results[1].evidence.registers[0].startswith("0x86000011 on CPU 1: x1=0x1 -> x0=")
    # Another command's exit status, and a run that broke off.
    ledger.write_text(json.dumps(firmware_run | {"complete": False, "error": "It broke off."}))
    run = read_run(ledger)
    assert run.outcome is ONE.INCOMPLETE
    assert run.why_incomplete == "It broke off."


@pytest.fixture
def firmware_run():
    call = {"fid": "0x86000011", "cpu": 1, "in": {"x1": "0x1"}, "out": {"x0": "0x0"}}

    def rule(number, result, severity):
        evidence = {"summary": "Why.", "calls": [call]}
        words = {"section": "7.10", "statement": "It holds.", "evidence": evidence}
        return {"id": f"A-{number}", "result": result, "severity": severity} | words

    return {
        "complete": True,
        "kernel": "7.3",
        "date": "2026-01-01T00:00:00+00:00",
        "firmware": {"bios": {"bios_version": "1.4"}, "attributes": {"x0": "0x0"}},
        "rules": [
            rule(1, "pass", "required"),
            rule(2, "fail", "required"),
            rule(3, "fail", "recommended"),
            rule(4, "observed", "observed"),
            rule(5, "not run", "required"),
        ],
    }


def test_a_command_that_broke_off_accuses_nobody(firmware_run) -> None:
    for status, outcome in ((1, ONE.INCOMPLETE), (4, ONE.ERROR), (130, ONE.INCOMPLETE)):
        answer = firmware_run | {"complete": False, "rules": [], "error": "It broke off."}
        [found] = results_of("conformance", answer, status)
        assert (found.outcome, found.reason) == (outcome, "It broke off.")


def coherency_answer(shown, **case):
    lines = {"good": 4, "stale": 0, "lost": 0, "damaged": 0}
    usual = {"name": "a", "addr": "0x1", "size": 1, "lines": lines, "skipped": None, "error": None}
    return {"ok": False, "shown": shown, "cases": [usual | {"bad": []} | case]}


@pytest.mark.parametrize(
    ("answer", "case", "whole"),
    [
        (coherency_answer(True) | {"ok": True}, ONE.PASS, ONE.PASS),
        (coherency_answer(True, lines={"good": 1, "stale": 1}), ONE.FAIL, ONE.PASS),
        (coherency_answer(True, error="It failed."), ONE.FAIL, ONE.PASS),
        (coherency_answer(True, skipped="It is refused."), ONE.SKIP, ONE.SKIP),
        # Nobody could have seen a bad line.
        (coherency_answer(False), ONE.SKIP, ONE.SKIP),
        # It broke off.
        (coherency_answer(None), ONE.SKIP, ONE.INCOMPLETE),
    ],
)
def test_coherency_says_what_its_command_said(tmp_path, answer, case, whole) -> None:
    path = tmp_path / "answer"
    path.write_text(json.dumps(answer))
    found = {result.path: result.outcome for result in read_run(path).results}
    assert found == {"coherency: a": case, "coherency": whole}


CALLS = {"elapsed_ns": {"min": 0, "p50": 2500, "p99": 3000, "max": 4000}, "interrupted": False}


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        ({"ok": True, "errno": None}, ONE.PASS),
        ({"ok": False, "errno": "EIO", "error": "It failed."}, ONE.FAIL),
        ({"ok": False, "errno": None, "error": "No provider."}, ONE.SKIP),
        ({"ok": False, "errno": "EINTR", "interrupted": True}, ONE.INCOMPLETE),
        ({"ok": False, "errno": "ETIMEDOUT", "error": "Too slow."}, ONE.INCOMPLETE),
    ],
)
def test_what_calls_took_is_measured(tmp_path, answer, whole) -> None:
    path = tmp_path / "answer"
    path.write_text(json.dumps(CALLS | answer))
    [found] = read_run(path).results
    assert (found.path, found.outcome) == ("invalidate", whole)
    us = {name: quantity.value for name, quantity in found.numbers.items()}
    assert us == {"p50": 2.5, "p99": 3.0, "max": 4.0}


def test_the_answers_of_the_commands_are_understood(pyctl, firmware, tmp_path) -> None:  # noqa: F811
    firmware()
    for command in ("invalidate", "doctor", "attributes", "conformance"):
        path = tmp_path / command
        path.write_text(pyctl(command, *COMMANDS[command], "--json").out)
        run = read_run(path)
        assert run.results[-1].path == command
        assert run.is_complete
    assert run.head.board.firmware.smccc_version == "1.2"
