# SPDX-License-Identifier: GPL-2.0-only
"""What is kept of a pytest run, whatever becomes of it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyctl.lab.journal import NOT_ENDED, NOT_TRIED, read_journal
from pyctl.lab.results import ItemOutcome
from tests.harness.keeper import outcome_of

TOP = Path(__file__).resolve().parents[2]
CONFTEST = """
from tests.harness import keeper
def pytest_addoption(parser):
    keeper.add_options(parser)
    for name in ("--ssh-config", "--boards", "--kernel"): parser.addoption(name)
def pytest_configure(config): keeper.configure(config, "here")
"""
TESTS = """
import os, pytest, signal
@pytest.fixture
def broken(): raise OSError("It is broken.")
@pytest.fixture
def dirty():
    yield
    assert not "a taint"
def test_good(): pass
def test_bad(): print("Evidence."); assert 1 == 2
def test_skipped(): pytest.skip("Nothing is there.")
@pytest.mark.xfail(reason="It is known.")
def test_known(): assert False
def test_no_fixture(broken): pass
def test_dirty(dirty): pass
def test_lost(): pass
def test_killed():
    if "KILL" in os.environ: os.kill(os.getpid(), signal.SIGKILL)
def test_late(): pass
"""
LOST = """
import pytest
from tests.conftest import single_report
from pyctl.errors import TargetLost
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if item.name == "test_lost":
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        lost = TargetLost("The board was lost.", "", "a panic")
        item.ihook.pytest_runtest_logreport(report=single_report(item, "failed", lost, 0))
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True
"""
ONE = ItemOutcome


@pytest.fixture
def run(tmp_path):
    """Run the tests above; gives the exit status and the journal."""

    def run(*options, **more):
        (tmp_path / "conftest.py").write_text(CONFTEST + LOST)
        (tmp_path / "test_it.py").write_text(TESTS)
        words = ["-p", "no:cacheprovider", "-p", "no:randomly", "--rootdir=.", "-q", *options]
        env = dict(os.environ, PYTHONPATH=str(TOP)) | more.pop("env", {})
        env.pop("PYTEST_XDIST_WORKER", None)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words, "--ktap", "ktap", "."],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            **more,
        )
        assert "INTERNALERROR" not in done.stdout
        return done, read_journal(tmp_path / "ktap.journal")

    return run


def outcomes(journal):
    return {result.path.rpartition("_")[2]: result.outcome for result in journal.results}


def test_each_test_has_one_result_that_says_whose_fault_it_is(run, tmp_path):
    done, journal = run()
    assert done.returncode == 1
    assert outcomes(journal) == {
        "good": ONE.PASS,
        "bad": ONE.FAIL,
        "skipped": ONE.SKIP,
        "known": ONE.SKIP,
        "fixture": ONE.ERROR,
        "dirty": ONE.FAIL,
        "lost": ONE.ERROR,
        "killed": ONE.PASS,
        "late": ONE.PASS,
    }
    assert journal.is_complete
    found = {result.path.rpartition("::")[2]: result for result in journal.results}
    assert "Evidence." in found["test_bad"].evidence.log
    assert found["test_skipped"].reason == "Nothing is there."
    assert found["test_lost"].evidence.console == "a panic"
    assert "not ok 10 run-complete # ERROR" in (tmp_path / "ktap").read_text()


def test_a_run_that_was_killed_keeps_what_it_had(run, tmp_path):
    done, journal = run(env={"KILL": "1"})
    assert done.returncode == -signal.SIGKILL
    assert outcomes(journal)["bad"] is ONE.FAIL
    last = {result.path.rpartition("::")[2]: result.reason for result in journal.results[-2:]}
    assert last == {"test_killed": NOT_ENDED, "test_late": NOT_TRIED}
    assert journal.outcome is ONE.INCOMPLETE
    # What was written when the run began is all that there is, and no pass.
    assert (
        (tmp_path / "ktap")
        .read_text()
        .endswith(
            "not ok 1 run-complete # ERROR It did not come to its end. 0 of 0 have no result.\n"
        )
    )


def test_a_worker_that_dies_is_trouble_of_ours():
    # As pytest-xdist reports it.
    died = SimpleNamespace(failed=True, when="???")
    assert outcome_of(died) is ONE.ERROR


@pytest.mark.parametrize("options", [["-x"], ["-k", "no such test"]])
def test_a_run_that_ends_early_is_incomplete(run, options):
    done, journal = run(*options)
    assert done.returncode
    assert journal.outcome is ONE.INCOMPLETE


def test_a_full_disk_ends_the_run_with_a_sentence(run):
    def full():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    done, journal = run(preexec_fn=full)
    assert done.returncode == 3
    assert "takes no more results: File too large." in done.stdout + done.stderr
    assert journal.outcome is ONE.INCOMPLETE
