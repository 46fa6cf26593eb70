# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl lab run` over boards that are programs of a few lines: what ends them, and what is kept.

The transport is not a real one here; tests/vm has boards that are.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pyctl.lab import night
from pyctl.lab.fleet import Fleet, FleetBoard
from pyctl.lab.journal import read_journal
from pyctl.lab.results import ItemOutcome
from pyctl.lab.store import Store

TOP = Path(__file__).resolve().parents[2]
# What is run in place of pytest: the board's name says what becomes of it.
FAKE = """
import os, signal, sys, time
from pathlib import Path
from pyctl.lab.journal import Journal
from pyctl.lab.results import *
path, kind = Path(sys.argv[1]), sys.argv[2].partition("-")[0]
if kind == "broken": sys.exit("usage: no such thing")
journal = Journal(path, RunHead("target", BoardIdentity(sys.argv[2])))
if "DOCTOR" in os.environ:
    found = ItemOutcome.SKIP if kind == "unready" else ItemOutcome.PASS
    why = "There is no debugfs." if kind == "unready" else ""
    journal.result(ItemResult("doctor", ItemKind.TEST, found, why))
    journal.end()
    sys.exit()
journal.plan(ItemKind.TEST, ["one", "two"])
journal.result(ItemResult("one", ItemKind.TEST, ItemOutcome.PASS))
time.sleep(float(os.environ.get("FAKE_S", 0)))
if kind == "dies": os.kill(os.getpid(), signal.SIGKILL)
if kind in ("hangs", "stuck"):
    if kind == "stuck": signal.signal(signal.SIGINT, signal.SIG_IGN)
    (path.parent / "hangs").touch()
    try: time.sleep(600)
    except KeyboardInterrupt: journal.end("It was interrupted."); sys.exit(2)
bad = kind == "bad" or (path.parent.parent / "second").exists() and kind == "worse"
outcome = ItemOutcome.FAIL if bad else ItemOutcome.PASS
journal.result(ItemResult("two", ItemKind.TEST, outcome, "A reason."))
journal.end()
"""
RUN = """
import sys
from tests.lab import test_night
from pyctl.cli.main import main
test_night.plant(test_night.Setter())
sys.exit(main())
"""
PATIENCE_S = 60


class Setter:
    """Sets attributes for good."""

    def setattr(self, where, name, value):
        setattr(where, name, value)


def plant(monkeypatch):
    """Run the program above in place of pytest."""

    def command(board, journal):
        return [sys.executable, "-c", FAKE, str(journal), board.name]

    monkeypatch.setattr(night, "pytest_command", command)


@pytest.fixture
def lab(tmp_path, monkeypatch, pyctl):
    """Run `pyctl lab run` on boards of these names; gives how it ended."""
    plant(monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    monkeypatch.setenv("PYCTL_LAB_STORE", str(tmp_path / "lab.sqlite"))

    def run(*names, options=(), head="", board=""):
        write_fleet(tmp_path, names, head, board)
        return pyctl("lab", "run", tmp_path / "fleet.toml", *options, "--json")

    return run


def write_fleet(directory, names, head="", board=""):
    tables = [f'[board.{name}]\ntarget = "ssh:{name}"\n{board}\n' for name in names]
    (directory / "fleet.toml").write_text(f"{head}\n{''.join(tables)}")


def test_good_boards_are_0(lab) -> None:
    ended = lab("good-1", "good-2")
    assert ended.status == 0
    assert ended.json["verdict"] == "Nothing new is wrong."
    assert "good-2: 2 of 2 done." in ended.err


def test_a_failure_is_new_once_and_then_known(lab) -> None:
    assert lab("good", "bad").status == 1
    ended = lab("good", "bad")
    assert (ended.status, len(ended.json["known"])) == (0, 1)
    assert ended.json["verdict"] == "Nothing new is wrong; 1 known failure still there."


@pytest.mark.parametrize("name", ["dies", "broken"])
def test_a_board_that_is_lost_is_trouble_of_its_own_row_only(lab, name) -> None:
    ended = lab("good", name)
    assert ended.status == 4
    [trouble] = ended.json["troubles"]
    assert trouble["board"] == name
    if name == "broken":
        assert "no such thing" in trouble["why"]
    assert lab("good", name, "bad").status == 1


def test_a_board_whose_time_is_over_is_stopped(lab) -> None:
    ended = lab("good", "hangs", board='budget = "1s"')
    assert ended.status == 4
    assert ended.json["troubles"] == [{"board": "hangs", "why": "Its time was over."}]


def test_a_board_that_does_not_stop_is_killed(lab, monkeypatch) -> None:
    monkeypatch.setattr(night, "STOP_S", 0.2)
    assert lab("stuck", board='budget = "1s"').status == 4


def test_when_the_time_of_the_night_is_over_no_board_is_begun(lab) -> None:
    ended = lab("hangs", "good", head='parallel = 1\nbudget = "1s"')
    assert ended.status == 4
    assert {one["why"] for one in ended.json["troubles"]} == {"The time of the night was over."}


def test_many_boards_lose_no_result(lab, tmp_path) -> None:
    names = [f"good-{number}" for number in range(12)]
    assert lab(*names, head="parallel = 5").status == 0
    with Store(tmp_path / "lab.sqlite") as store:
        runs = store.runs(1)
        assert [run.counts["pass"] for run in runs] == [2] * 12


def test_only_the_boards_that_are_named(lab) -> None:
    assert lab("good", "bad", options=("--board", "good")).status == 0
    assert lab("good", "bad", options=("--board", "x")).status == 2


def test_a_board_that_another_run_uses_is_waited_for_and_then_trouble(lab, tmp_path) -> None:
    with Store(tmp_path / "lab.sqlite") as store:
        fleet = Fleet(tmp_path, ())
        other = night.Work(fleet, store, 0, print)
        board = FleetBoard("good", "ssh:good")
        held = other._lock(board)
        ended = lab("good")
        assert (ended.status, "Another" in ended.json["troubles"][0]["why"]) == (4, True)
        held.close()
        assert lab("good").status == 0


@pytest.mark.parametrize(
    ("names", "status"), [(["good"], 0), (["good", "unready"], 3), (["unready", "broken"], 4)]
)
def test_check_says_what_each_board_lacks(lab, pyctl, tmp_path, monkeypatch, names, status) -> None:
    monkeypatch.setenv("DOCTOR", "1")
    write_fleet(tmp_path, names)
    ended = pyctl("lab", "check", tmp_path / "fleet.toml", "--json")
    assert (ended.status, ended.json["ok"]) == (status, status == 0)
    found = {one["board"]: (one["state"], one["why"]) for one in ended.json["boards"]}
    assert found.keys() == set(names)
    assert found.get("good", ("ready", "")) == ("ready", "")
    assert found.get("unready", ("not ready", "There is no debugfs."))[1] == "There is no debugfs."
    if "broken" in found:
        assert found["broken"][0] == "cannot be had"
    # Nothing is kept.
    assert not (tmp_path / "lab.sqlite").exists()


# -- a night that is ended ---------------------------------------------------------


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Begin a night in a process of its own, and wait until its second board hangs."""
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    monkeypatch.setenv("PYCTL_LAB_STORE", str(tmp_path / "lab.sqlite"))
    write_fleet(tmp_path, ["good", "hangs", "later"], "parallel = 1")
    words = [sys.executable, "-c", RUN, "lab", "run", tmp_path / "fleet.toml"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as begun:
        deadline = time.monotonic() + PATIENCE_S
        while not list(tmp_path.glob("lab.sqlite.d/*/hangs")) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield begun
        begun.kill()


def outcomes_of(tmp_path):
    with Store(tmp_path / "lab.sqlite") as store:
        night.adopt(store)
        return {run.board.name: run.outcome for run in store.runs(1)}, store.nights()[0]


def test_a_night_that_is_ended_keeps_what_it_had(process, tmp_path, lab) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 130
    found, row = outcomes_of(tmp_path)
    assert found == {"good": ItemOutcome.PASS, "hangs": ItemOutcome.INCOMPLETE}
    assert (bool(row.ended), row.trouble) == (True, "It was interrupted.")
    # The board that was stopped could put itself back.
    assert read_journal(next(tmp_path.glob("lab.sqlite.d/1/hangs.journal"))).ended


def test_a_night_that_is_killed_keeps_what_it_had_and_is_gone_on_with(
    process, tmp_path, lab
) -> None:
    children = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    psutil.wait_procs(children, PATIENCE_S)
    assert not any(child.is_running() for child in children)
    found, row = outcomes_of(tmp_path)
    assert found == {
        "good": ItemOutcome.PASS,
        "hangs": ItemOutcome.INCOMPLETE,
        "later": ItemOutcome.INCOMPLETE,
    }
    assert row.trouble == "It was killed."
    ended = lab("good", "worse", "later", options=("--resume",))
    assert (ended.status, ended.json["night"]) == (4, 1)
    assert "good: begun" not in ended.err
    assert "later: begun" in ended.err
    # It came to its end now, so that there is nothing to go on with.
    assert lab("good", options=("--resume",)).json["night"] == 2


FULL = """
from pyctl.errors import NotReady
from pyctl.lab.store import Store
def add(self, night, run): raise NotReady("The store cannot be used: disk is full.", "Make room.")
Store.add = add
"""


def test_a_full_disk_of_the_host_ends_the_night_and_costs_no_result(tmp_path, lab) -> None:
    write_fleet(tmp_path, ["good-1", "good-2"], "parallel = 1")
    words = [sys.executable, "-c", FULL + RUN, "lab", "run", tmp_path / "fleet.toml"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 3
    assert "disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    # There is room again: what the journals kept is taken from there.
    found, row = outcomes_of(tmp_path)
    assert found == {"good-1": ItemOutcome.PASS}
    assert row.trouble
    ended = lab("good-1", "good-2", options=("--resume",))
    assert (ended.status, "good-1: begun" in ended.err) == (0, False)


# -- the nights that are kept ------------------------------------------------------


def test_history_compare_and_prune(lab, pyctl, tmp_path) -> None:
    lab("good", "worse")
    (tmp_path / "lab.sqlite.d/second").touch()
    assert lab("good", "worse").status == 1
    nights = json.loads(pyctl("lab", "history", "--json").out)["nights"]
    assert [(one["night"], one["counts"]["fail"]) for one in nights] == [(2, 1), (1, 0)]
    assert "2 boards: 3 pass, 1 fail" in pyctl("lab", "history").out
    ended = pyctl("lab", "compare", "last-1", "last")
    assert (ended.status, "worse: two" in ended.out) == (1, True)
    assert pyctl("lab", "compare", "last", "1", "--json").json["ok"]
    assert pyctl("lab", "compare", "last", "last").out == "Nothing changed.\n"
    assert pyctl("lab", "compare", "last", "7").status == 2
    assert pyctl("lab", "prune", "--keep", "1").out == "forgot 1 nights\n"
    assert len(pyctl("lab", "history", "--json").json["nights"]) == 1


def test_a_store_that_is_not_there_is_bad_usage(pyctl, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYCTL_LAB_STORE", str(tmp_path / "x"))
    for words in (("history",), ("compare", "1", "2"), ("prune", "--keep", "1")):
        assert pyctl("lab", *words).status == 2
    assert os.listdir(tmp_path) == ["root"]
