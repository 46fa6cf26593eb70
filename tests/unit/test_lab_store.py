# SPDX-License-Identifier: GPL-2.0-only
"""All nights in one file: whole after a crash, two at once, other versions; and what is new."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from pyctl.errors import NotReady, UsageError
from pyctl.lab import store as store_module
from pyctl.lab.compare import compare_nights, judge
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
from pyctl.lab.store import MIGRATIONS, Store
from tests.unit.test_lab_results import BOARD, RESULTS, head

ONE = ItemOutcome
P, F, S, E, N = ONE.PASS, ONE.FAIL, ONE.SKIP, ONE.ERROR, ONE.INCOMPLETE


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "lab.sqlite") as made:
        yield made


def run_of(
    board: str, trouble: str = "", version: str = "1", **outcomes: ItemOutcome
) -> RunResults:
    results = [ItemResult(path, ItemKind.TEST, one, "Why.") for path, one in outcomes.items()]
    identity = BoardIdentity(board, firmware=FirmwareIdentity(version=version))
    return RunResults(RunHead("target", identity), results, "now", trouble)


def night(store: Store, *runs: RunResults, boards: tuple[str, ...] = ()) -> int:
    number = store.begin("fleet", [*boards, *(run.head.board.name for run in runs)])
    for run in runs:
        store.add(number, run)
    store.end(number)
    return number


def test_a_run_comes_back_as_it_was(store) -> None:
    number = night(store, RunResults(head(), RESULTS, "now"))
    [run] = store.runs(number)
    assert run.board == BOARD
    assert run.outcome is E
    assert run.counts == {"pass": 1, "fail": 1, "skip": 1, "error": 1, "incomplete": 0}
    found = store.results(run.id)
    for result in RESULTS:
        # When a pass began is of no use any more.
        assert found[result.path] == (
            replace(result, started="") if result.outcome is P else result
        )
    assert store.numbers(run.id) == {"CI-01": {"p99": {"value": 12.5, "unit": "us"}}}


def test_a_thing_that_was_tried_twice_is_what_the_worst_was(store) -> None:
    results = [ItemResult("a", ItemKind.TEST, one) for one in (P, F, S)]
    number = night(store, RunResults(head(), results, "now"))
    assert store.outcome(store.runs(number)[0].id, "a") is F


def test_a_run_takes_the_place_of_the_one_before_it_in_its_night(store) -> None:
    number = night(store, run_of("a", x=F, y=F), run_of("b", x=P))
    store.add(number, run_of("a", x=P))
    assert [run.board.name for run in store.runs(number)] == ["a", "b"]
    assert store.outcome(store.runs(number)[0].id, "y") is None


KILLED = """
import os, sys
from pathlib import Path
from pyctl.lab.store import Store
from tests.unit.test_lab_store import *
store = Store(Path(sys.argv[1]))
number = night(store, run_of("a", x=P))
real = store_module._values
def die(result):
    if result.path == "z": os.kill(os.getpid(), signal.SIGKILL)
    return real(result)
store_module._values = die
store.add(number, run_of("a", x=F, z=F))
"""


def test_a_run_that_is_killed_while_it_writes_leaves_what_was_there(tmp_path) -> None:
    path = tmp_path / "lab.sqlite"
    done = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert done.returncode == -signal.SIGKILL
    with Store(path) as store:
        [run] = store.runs(1)
        assert store.outcome(run.id, "x") is P


def test_two_that_write_at_once_wait_for_each_other(store) -> None:
    number = night(store, run_of("a", x=P))
    with closing(sqlite3.connect(store.path, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        ended = threading.Timer(0.3, other.commit)
        ended.start()
        store.add(number, run_of("a", x=F))
        ended.join()
    assert store.runs(number)[0].outcome is F


def test_a_full_disk_is_not_ready_and_keeps_what_was_there(store, tmp_path) -> None:
    number = night(store, run_of("a", x=P))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = os.path.getsize(f"{store.path}-wal")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
        with pytest.raises(NotReady, match="cannot be used"):
            store.add(number, run_of("a", **{f"y{n}": F for n in range(2000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert store.outcome(store.runs(number)[0].id, "x") is P
    store.add(number, run_of("a", x=F))


def test_a_store_of_a_later_version_is_refused_and_untouched(store, tmp_path) -> None:
    with sqlite3.connect(store.path) as db:
        db.execute("PRAGMA user_version = 99")
    before = store.path.read_bytes()
    with pytest.raises(UsageError, match="later version"):
        Store(store.path)
    assert store.path.read_bytes() == before


def test_a_store_of_an_earlier_version_is_migrated_and_a_copy_kept(store, monkeypatch) -> None:
    number = night(store, run_of("a", x=P))
    more = (*MIGRATIONS, "CREATE TABLE more (x)")
    monkeypatch.setattr(store_module, "MIGRATIONS", more)
    with Store(store.path) as migrated:
        assert migrated.runs(number)
        assert migrated._version() == len(more)
    monkeypatch.setattr(store_module, "MIGRATIONS", MIGRATIONS)
    with Store(store.path.with_name("lab.sqlite.version1")) as copy:
        assert copy.runs(number)


def test_what_is_no_store_is_bad_usage(tmp_path) -> None:
    path = tmp_path / "x"
    path.write_text("This is no database. " * 100)
    with pytest.raises(UsageError, match="not a store"):
        Store(path)


def test_nights_are_named_by_number_and_from_the_last(store) -> None:
    numbers = [night(store, run_of("a", x=P)) for _ in range(3)]
    for word, number in {"last": 2, "last-0": 2, "last-2": 0, str(numbers[1]): 1}.items():
        assert store.night(word).id == numbers[number]
    for word in ("last-3", "9", "", "last-x", "first"):
        with pytest.raises(UsageError, match="no night"):
            store.night(word)


def test_prune_keeps_the_newest(store) -> None:
    numbers = [night(store, run_of("a", x=P)) for _ in range(3)]
    store.directory(numbers[0]).mkdir(parents=True)
    assert store.prune(1) == numbers[1::-1]
    assert [one.id for one in store.nights()] == numbers[2:]
    assert not store.directory(numbers[0]).exists()
    assert store._rows("SELECT count(*) AS n FROM result")[0]["n"] == 1


# -- what is new -----------------------------------------------------------------


def test_what_is_new_is_what_was_not_known_to_fail(store) -> None:
    night(store, run_of("a", bad=F, mended=F, broken=P, lost=F, quiet=P))
    # Of these two nothing is found out, which makes nothing new.
    night(store, run_of("a", bad=E, mended=S, broken=N, quiet=P))
    number = night(store, run_of("a", bad=F, mended=P, broken=F, first=F, lost=E, quiet=S))
    verdict = judge(store, number)
    assert {one.path for one in verdict.new} == {"broken", "first"}
    assert {one.path for one in verdict.known} == {"bad"}
    assert {one.path for one in verdict.fixed} == {"mended"}
    assert [one.board for one in verdict.troubles] == ["a"]
    assert verdict.exit_status == 1


@pytest.mark.parametrize(
    ("run", "status"),
    [
        (run_of("a", x=P, y=F), 0),
        (run_of("a", x=F, y=F), 1),
        (run_of("a", x=P, y=F, z=E), 4),
        (run_of("a", trouble="It was lost.", x=P), 4),
        (run_of("a", trouble="It was lost.", x=F), 1),
        (run_of("b", x=P), 4),
    ],
)
def test_the_exit_status_says_whose_fault_it_is(store, run, status) -> None:
    night(store, run_of("a", x=P, y=F))
    assert judge(store, night(store, run, boards=("a",))).exit_status == status


def test_what_is_no_longer_tried_is_told_and_a_night_of_skips_is_no_pass(store) -> None:
    night(store, run_of("a", kept=P, skipped=P, gone=F, never=S))
    verdict = judge(store, night(store, run_of("a", kept=P, skipped=S, never=S)))
    assert {(one.path, one.old, one.new) for one in verdict.silent} == {
        ("skipped", P, S),
        ("gone", F, None),
    }
    assert verdict.sentence == "Nothing new is wrong; 2 no longer tried."
    assert verdict.exit_status == 0
    # Of a board that was lost it is said once, and not of each thing.
    verdict = judge(store, night(store, run_of("a", trouble="It was lost.", other=P)))
    assert (verdict.silent, verdict.exit_status) == ((), 4)
    verdict = judge(store, night(store, run_of("a", other=P, kept=S)))
    assert [one.path for one in verdict.silent] == ["kept"]
    verdict = judge(store, night(store, run_of("a", kept=S)))
    assert [one.why for one in verdict.troubles] == ["Nothing was found out: all was skipped."]
    assert verdict.exit_status == 4


def test_what_goes_to_and_fro_on_one_firmware_is_flaky(store) -> None:
    for outcome in (P, F, P):
        night(store, run_of("a", x=outcome, y=P))
    [found] = judge(store, night(store, run_of("a", x=F, y=F))).new[:1]
    assert (found.path, found.is_flaky) == ("x", True)
    changes = compare_nights(store, 3, 4).changes
    assert {one.path: one.is_flaky for one in changes} == {"x": True, "y": False}
    # Another firmware may fail for good.
    [found] = judge(store, night(store, run_of("a", version="2", x=P), run_of("b", x=P))).fixed
    assert not found.is_flaky


def test_two_nights_are_compared_board_by_board(store) -> None:
    def run(version, latency, register, **outcomes):
        made = run_of("a", version=version, **outcomes)
        numbers = {"latency_us": Quantity(latency, "us")}
        evidence = ItemEvidence(registers=(register,))
        more = [
            ItemResult("attributes", ItemKind.TEST, P, numbers=numbers),
            ItemResult("OPEN-1", ItemKind.RULE, S, "Observed.", evidence=evidence),
        ]
        return replace(made, results=[*made.results, *more])

    answers = ("0xc0000005: x1=0x5000 -> x0=0x0 x1=0x5000", "0xc0000005: x1=0x5000 -> x0=0x1")
    old = night(store, run("1.3", 100, answers[0], x=P, y=P), run_of("gone", x=P))
    new = night(store, run("1.4", 200, answers[1], x=F, z=P), run_of("come", x=P))
    found = compare_nights(store, old, new)
    assert {(one.path, one.old, one.new) for one in found.changes} == {
        ("x", P, F),
        ("y", P, None),
        ("z", None, P),
    }
    assert [one.path for one in found.observed] == ["OPEN-1"]
    assert found.moved == (("a", "attributes latency_us", 100.0, 200.0, "us"),)
    assert found.identities == (("a", "firmware", "1.3", "1.4"),)
    assert [board for board, _ in found.boards] == ["gone", "come"]


@pytest.mark.parametrize(
    ("register", "is_other"),
    [
        ("0xc0000005: x1=0x5000 x2=0x0 -> x0=0x0 x1=0x5000 x2=0x0", False),
        # Memory lies elsewhere this night.
        ("0xc0000005: x1=0x9000 x2=0x0 -> x0=0x0 x1=0x9000 x2=0x0", False),
        ("0xc0000005: x1=0x9000 x2=0x0 -> x0=0x1 x1=0x9000 x2=0x0", True),
        ("0xc0000005: x1=0x9000 x2=0x0 -> x0=0x0 x1=0x8000 x2=0x0", True),
        ("0xc0000006: x1=0x5000 x2=0x0 -> x0=0x0 x1=0x5000 x2=0x0", True),
        ("0xc0000005 on CPU 1: x1=0x5000 x2=0x0 -> x0=0x0 x1=0x5000 x2=0x0", True),
    ],
)
def test_firmware_answers_otherwise_where_the_same_question_gets_another_answer(
    store, register, is_other
) -> None:
    def run(text):
        evidence = ItemEvidence(registers=(text,))
        made = run_of("a", x=P)
        rule = ItemResult("OPEN-1", ItemKind.RULE, S, "Observed.", evidence=evidence)
        return replace(made, results=[*made.results, rule])

    first = "0xc0000005: x1=0x5000 x2=0x0 -> x0=0x0 x1=0x5000 x2=0x0"
    nights = night(store, run(first)), night(store, run(register))
    assert bool(compare_nights(store, *nights).observed) == is_other
