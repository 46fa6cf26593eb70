# SPDX-License-Identifier: GPL-2.0-only
"""The lab's results: what they say of a run, and what is left of one that was killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from pyctl.errors import UsageError
from pyctl.lab.journal import FORMAT_VERSION, Journal, read_journal
from pyctl.lab.results import (
    BoardIdentity,
    FirmwareIdentity,
    ItemEvidence,
    ItemKind,
    ItemOutcome,
    ItemResult,
    Quantity,
    RunHead,
    RunResults,
)

BOARD = BoardIdentity(
    "grace-7", "A <b>model</b>", ("a,b", "a"), "7.3.4", FirmwareIdentity("A vendor", "1.4")
)
NUMBERS = {"p99": Quantity(12.5, "us")}
EVIDENCE = ItemEvidence("a line\n\ud800", ("x0=0x0",), "a panic")
STARTED = "2026-01-02T03:04:05.678+00:00"
RESULTS = [
    ItemResult("CI-01", ItemKind.RULE, ItemOutcome.PASS, numbers=NUMBERS, started=STARTED),
    ItemResult("t.py::test_a[x]", ItemKind.TEST, ItemOutcome.FAIL, "It is stale.", 2.5),
    ItemResult("t.py::test_b", ItemKind.TEST, ItemOutcome.ERROR, evidence=EVIDENCE),
    ItemResult("t.py::test_c", ItemKind.TEST, ItemOutcome.SKIP, "There is none."),
]


def head() -> RunHead:
    return RunHead("target", BOARD)


def outcome(*outcomes: ItemOutcome, **rest: str) -> ItemOutcome:
    results = [ItemResult(one, ItemKind.TEST, one) for one in outcomes]
    return RunResults(head(), results, **{"ended": "now", **rest}).outcome


def test_a_run_is_what_its_worst_result_is() -> None:
    one = ItemOutcome
    assert outcome(one.PASS, one.SKIP) is one.PASS
    assert outcome(one.PASS, one.FAIL, one.SKIP) is one.FAIL
    assert outcome(one.ERROR, one.FAIL, one.PASS) is one.ERROR
    assert outcome(one.INCOMPLETE, one.FAIL) is one.INCOMPLETE


def test_a_run_in_which_nothing_passed_is_no_pass() -> None:
    assert outcome() is ItemOutcome.SKIP
    assert outcome(ItemOutcome.SKIP) is ItemOutcome.SKIP


def test_an_incomplete_run_is_never_a_pass() -> None:
    for incomplete in ({"ended": ""}, {"trouble": "Its time was over."}):
        assert outcome(ItemOutcome.PASS, **incomplete) is ItemOutcome.INCOMPLETE
    assert outcome(ItemOutcome.PASS) is ItemOutcome.PASS


def test_what_was_planned_and_has_no_result_is_named(tmp_path) -> None:
    path = tmp_path / "journal"
    with Journal(path, head()) as journal:
        journal.plan(ItemKind.TEST, [result.path for result in RESULTS[1:]])
        # What was tried twice does not stand for what was not tried.
        for result in (RESULTS[1], RESULTS[1], RESULTS[2]):
            journal.result(result)
        journal.end()
    run = read_journal(path)
    assert run.outcome is ItemOutcome.INCOMPLETE
    assert [r.path for r in run.results if r.outcome is ItemOutcome.INCOMPLETE] == ["t.py::test_c"]
    assert run.why_incomplete == "1 of 4 have no result."


def test_a_journal_gives_back_what_was_put_into_it(tmp_path) -> None:
    path = tmp_path / "journal"
    with Journal(path, RunHead("target", BoardIdentity("grace-7"))) as journal:
        journal.board(BOARD)
        for result in RESULTS:
            journal.begin(result.path, result.kind)
            journal.result(result)
        journal.end()
    run = read_journal(path)
    assert list(run.results) == RESULTS
    assert run.head.board == BOARD
    assert run.is_complete
    assert run.outcome is ItemOutcome.ERROR
    assert run.counts[ItemOutcome.SKIP] == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from pyctl.lab.journal import Journal
from pyctl.lab.results import *
journal = Journal(Path(sys.argv[1]), RunHead("target", BoardIdentity("a")))
journal.result(ItemResult("one", ItemKind.TEST, ItemOutcome.PASS))
journal.begin("two", ItemKind.TEST)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_keeps_what_it_had_and_is_incomplete(tmp_path) -> None:
    path = tmp_path / "journal"
    done = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert done.returncode == -signal.SIGKILL
    run = read_journal(path)
    found = {result.path: result.outcome for result in run.results}
    assert found == {"one": ItemOutcome.PASS, "two": ItemOutcome.INCOMPLETE}
    assert run.outcome is ItemOutcome.INCOMPLETE


def test_a_journal_cut_off_anywhere_is_never_a_pass(tmp_path) -> None:
    whole = tmp_path / "whole"
    with Journal(whole, head()) as journal:
        journal.result(RESULTS[0])
        journal.end()
    text, part = whole.read_bytes(), tmp_path / "part"
    assert read_journal(whole).outcome is ItemOutcome.PASS
    start = text.index(b"\n", 1)
    for length in range(start, len(text) - 1):
        part.write_bytes(text[:length])
        assert read_journal(part).outcome is ItemOutcome.INCOMPLETE


def test_a_line_that_a_full_disk_cut_off_costs_no_other(tmp_path) -> None:
    path = tmp_path / "journal"
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with Journal(path, head()) as journal:
            resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path) + 20, old[1]))
            with pytest.raises(OSError, match="File too large"):
                journal.result(RESULTS[1])
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            journal.result(RESULTS[0])
            journal.end()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    run = read_journal(path)
    assert list(run.results) == RESULTS[:1]
    assert run.trouble == "A part of the journal cannot be read."
    assert run.outcome is ItemOutcome.INCOMPLETE


def test_a_journal_of_a_later_version_is_refused(tmp_path) -> None:
    path = tmp_path / "journal"
    path.write_text(json.dumps({"format": FORMAT_VERSION + 1, "run": head().as_json()}))
    with pytest.raises(UsageError, match="later version"):
        read_journal(path)


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"format": 1, "run": {}}'])
def test_what_is_no_journal_is_refused(tmp_path, text) -> None:
    path = tmp_path / "journal"
    path.write_text(text)
    with pytest.raises(UsageError, match="not a journal"):
        read_journal(path)


def test_keys_of_a_later_pyctl_are_passed_over(tmp_path) -> None:
    path = tmp_path / "journal"
    with Journal(path, head()) as journal:
        journal.result(RESULTS[0])
        journal.end()
    path.write_text(path.read_text().replace('"path":', '"colour": "red", "path":'))
    assert list(read_journal(path).results) == RESULTS[:1]
