# SPDX-License-Identifier: GPL-2.0-only
"""Keeps what pytest reports in a journal as it happens, and writes it in other forms.

One test is one result, whatever its setup, call and teardown said. The forms are
written when a run begins and when it ends: one that is killed leaves a file that says so,
and a journal with all that was known, for `pyctl lab export`.
"""

import re
import shlex
from pathlib import Path

import pytest

from pyctl.errors import UsageError
from pyctl.lab.journal import Journal, read_journal
from pyctl.lab.results import (
    BoardIdentity,
    ItemEvidence,
    ItemKind,
    ItemOutcome,
    ItemResult,
    RunHead,
    now,
)
from pyctl.lab.writers import Outputs

FORMS = ("ktap", "lava", "kcidb")
# What a test shows it shows there; the kernel's log is looked at in the teardown.
SHOWN_IN = ("call", "teardown")
# Of a file that holds a whole run: who wants more reads pytest's own output.
LOG_CHARACTERS = 8000
ENDED_EARLY = {
    pytest.ExitCode.INTERRUPTED: "The run was interrupted, or its tests could not be loaded.",
    pytest.ExitCode.INTERNAL_ERROR: "Pytest failed itself.",
    pytest.ExitCode.USAGE_ERROR: "Pytest was not asked well.",
    pytest.ExitCode.NO_TESTS_COLLECTED: "There was no test to run.",
}
# What paints a terminal.
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def add_options(parser):
    group = parser.getgroup("results", "results for labs")
    group.addoption(
        "--journal",
        type=Path,
        metavar="FILE",
        help="keep each result in this new file as soon as it is known "
        "(default with the options below: FILE.journal beside the first)",
    )
    for name, text in zip(FORMS, ("KTAP", "lines for LAVA", "a report for KCIDB"), strict=True):
        group.addoption(f"--{name}", type=Path, metavar="FILE", help=f"write results as {text}")
    group.addoption("--kcidb-origin", default="", metavar="NAME", help="the lab's name in KCIDB")
    group.addoption(
        "--kcidb-build", default="", metavar="ORIGIN:ID", help="the kernel's build in KCIDB"
    )
    group.addoption(
        "--losses",
        type=int,
        default=0,
        metavar="N",
        help="end the run when the lab had trouble with so many tests (default: never)",
    )
    group.addoption("--board-name", default="", metavar="NAME", help="what results call the board")


def configure(config, where):
    """Keep the results of this run, whose target is ``where``; gives who does, or None."""
    option = config.getoption
    try:
        outputs = Outputs(
            option("ktap"),
            option("lava"),
            option("kcidb"),
            option("kcidb_origin"),
            option("kcidb_build"),
        )
    except UsageError as error:
        raise pytest.UsageError(f"{error.message} {error.hint}") from None
    first = next((option(name) for name in FORMS if option(name)), None)
    path = option("journal") or (first and first.with_name(f"{first.name}.journal"))
    if path is None or hasattr(config, "workerinput"):
        return None
    if option("journal") is None:
        # It is ours alone, as is the file beside it that is written anew.
        path.unlink(missing_ok=True)
    words = [f"--target={where}"]
    for name in ("ssh_config", "boards", "kernel"):
        if value := option(name):
            words.append(f"--{name.replace('_', '-')}={value}")
    board = BoardIdentity(option("board_name") or where, reached=shlex.join(words))
    try:
        journal = Journal(path, RunHead("target", board))
        keeper = Keeper(journal, path, outputs, board, option("losses"))
    except OSError as error:
        raise pytest.UsageError(f"{path} cannot be made: {error.strerror}.") from None
    config.pluginmanager.register(keeper)
    return keeper


class Keeper:
    """Hears what pytest reports, on the process that has the whole of a run."""

    def __init__(self, journal, path, outputs, board, losses):
        self.journal, self.path, self.outputs, self.board = journal, path, outputs, board
        self.losses, self.lost_so_far = losses, 0
        # Why the run ends before all is tried, if it does.
        self.trouble = ""
        self.wants_tests = True
        self.started, self.reports = {}, {}
        self.is_planned = self.is_full = False
        self.session = None
        outputs.write(read_journal(path))

    def pytest_sessionstart(self, session):
        self.session = session

    def keep(self, what, *arguments):
        """Write to the journal; where the disk takes no more, end the run and say so."""
        try:
            getattr(self.journal, what)(*arguments)
        except OSError as error:
            if not self.is_full:
                self.is_full = True
                pytest.exit(f"{self.path} takes no more results: {error.strerror}.", 3)

    def lost(self, why, is_final=False):
        """Count trouble of the lab; where there is too much of it nothing more is tried."""
        self.lost_so_far += 1
        if is_final or self.lost_so_far == self.losses:
            self.trouble = str(why).partition("\n")[0]
            self.session.shouldstop = self.trouble

    def plan(self, nodeids):
        if not self.is_planned:
            self.is_planned = True
            self.keep("plan", ItemKind.TEST, nodeids)

    def pytest_collection_finish(self, session):
        # With pytest-xdist the tests are known to its workers.
        if session.items:
            self.plan([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node, ids):
        self.plan(ids)

    def pytest_runtest_logstart(self, nodeid, location):
        self.started[nodeid] = now()
        self.keep("begin", nodeid, ItemKind.TEST)

    def pytest_runtest_logreport(self, report):
        self.reports.setdefault(report.nodeid, []).append(report)

    def pytest_runtest_logfinish(self, nodeid, location):
        if reports := self.reports.pop(nodeid, None):
            result = result_of(nodeid, reports, self.started.pop(nodeid, ""))
            self.keep("result", result)
            if result.outcome is ItemOutcome.ERROR:
                self.lost(result.reason, any(getattr(one, "is_gone", False) for one in reports))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session, exitstatus):
        for nodeid in list(self.reports):
            # A worker of pytest-xdist that died says no more of its test.
            self.pytest_runtest_logfinish(nodeid, None)
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and not self.wants_tests:
            exitstatus = pytest.ExitCode.OK
        self.keep("end", self.trouble or ENDED_EARLY.get(exitstatus, ""))
        self.journal.close()
        try:
            self.outputs.write(read_journal(self.path))
        except OSError as error:
            pytest.exit(f"The results cannot be written: {error.strerror}.", 3)


def result_of(nodeid, reports, started):
    """The one result of a test's reports."""
    outcome, deciding = ItemOutcome.PASS, None
    for report in reports:
        said = outcome_of(report)
        # The first failure is the cause of the others; trouble of the lab hides them.
        if (
            said is not ItemOutcome.PASS
            and outcome is not ItemOutcome.ERROR
            and (outcome is not ItemOutcome.FAIL or said is ItemOutcome.ERROR)
        ):
            outcome, deciding = said, report
    reason = log = ""
    if deciding is not None:
        reason, log = words_of(deciding, outcome)
    return ItemResult(
        nodeid,
        ItemKind.TEST,
        outcome,
        reason,
        sum(report.duration for report in reports),
        started,
        statement=nodeid.partition("[")[0].rpartition("::")[2].replace("_", " "),
        evidence=ItemEvidence(log, console=getattr(deciding, "console", "")),
    )


def outcome_of(report):
    """What a report says, and of whom.

    A test whose setup failed has shown nothing of firmware: its board was lost there (see
    ``single_report`` of conftest), or a fixture broke. Nor has one whose worker died.
    """
    if report.failed:
        return ItemOutcome.FAIL if report.when in SHOWN_IN else ItemOutcome.ERROR
    return ItemOutcome.SKIP if report.skipped else ItemOutcome.PASS


def words_of(report, outcome):
    """Why a test did not pass, in a sentence, and all that pytest says of it."""
    if outcome is ItemOutcome.SKIP:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        return str(getattr(report, "wasxfail", "") or why).removeprefix("Skipped: "), ""
    text = COLOURS.sub("", report.longreprtext)
    crash = getattr(report.longrepr, "reprcrash", None)
    reason = crash.message if crash else text
    printed = [f"--- {title} ---\n{content}" for title, content in report.sections]
    return reason[:LOG_CHARACTERS], "\n".join([text, *printed])[-LOG_CHARACTERS:]
