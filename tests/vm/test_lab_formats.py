# SPDX-License-Identifier: GPL-2.0-only
"""KTAP as the kernel's own reader of it sees it (tools/testing/kunit/kunit_parser.py)."""

import importlib
import io
import sys

import pytest

from pyctl.cache import Cache
from pyctl.lab.results import ItemKind, ItemOutcome, ItemResult, RunHead, RunResults
from pyctl.lab.writers import ktap
from pyctl.vm.checkpatch import checkpatch
from tests.unit.test_lab_results import BOARD, RESULTS
from tests.unit.test_lab_writers import nasty_run


@pytest.fixture(scope="module")
def parse():
    """Read KTAP; gives the tests by name, and whether the reader found fault with it."""
    sys.path.insert(0, str(checkpatch(Cache()).path))
    try:
        parser = importlib.import_module("kunit_parser")
        printer = importlib.import_module("kunit_printer")
    finally:
        del sys.path[0]

    def read(text):
        said = io.StringIO()
        test = parser.parse_run_tests(text.splitlines(), printer.Printer(output=said))
        assert test.counts.errors == 0, said.getvalue()
        return [(one.name, one.status.name) for one in test.subtests]

    return read


def test_the_kernels_reader_understands_every_outcome(parse):
    run = RunResults(RunHead("target", BOARD), RESULTS, "now")
    assert parse(ktap(run)) == [
        ("CI-01", "SUCCESS"),
        ("t.py::test_a[x]", "FAILURE"),
        ("t.py::test_b", "FAILURE"),
        ("t.py::test_c", "SKIPPED"),
        ("run-complete", "FAILURE"),
    ]


def test_the_kernels_reader_finds_no_results_in_what_a_board_printed(parse):
    run = nasty_run()
    assert len(parse(ktap(run))) == len(run.results) + 1


def test_a_run_without_results_is_no_pass_to_the_kernels_reader(parse):
    assert parse(ktap(RunResults(RunHead("target", BOARD)))) == [("run-complete", "FAILURE")]
    one = ItemResult("a", ItemKind.TEST, ItemOutcome.PASS)
    killed = ktap(RunResults(RunHead("target", BOARD), [one]))
    assert parse(killed) == [("a", "SUCCESS"), ("run-complete", "FAILURE")]
