# SPDX-License-Identifier: GPL-2.0-only
"""Commands of pyctl that run on the target before its tests, their answers kept as results.

So one preparation of a board serves all that a lab wants to know of it. What a board
says of itself in the answers becomes the identity of the run.
"""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyctl.errors import NotReady, OperationFailed, PyctlError
from pyctl.lab.answers import COMMANDS, identity_in, results_of
from pyctl.lab.fleet import STEPS, TESTS
from pyctl.lab.results import ItemEvidence, ItemKind, ItemOutcome, ItemResult, now

TOP = Path(__file__).resolve().parents[2]
# One that takes longer has a board that is lost, or so slow that nobody waits for it.
STEP_TIMEOUT_S = 900.0


def add_options(parser):
    parser.getgroup("results").addoption(
        "--steps",
        type=lambda text: text.split(","),
        metavar="COMMANDS",
        default=[],
        help="commands of pyctl to run on the target before its tests, their answers kept as "
        f"results, too: any of {','.join(COMMANDS)}; the tests follow where {TESTS} is one of them",
    )


def configure(config, keeper, target):
    """Run the steps that are asked for; ``target`` gives the target of this run."""
    if names := config.getoption("steps"):
        if unknown := [name for name in names if name not in STEPS]:
            raise pytest.UsageError(f"--steps {unknown[0]}: none of {', '.join(STEPS)}")
        if keeper is None or getattr(config.option, "numprocesses", None):
            raise pytest.UsageError("--steps needs --journal, --ktap or the like, and no -n")
        config.pluginmanager.register(Steps(config, names, keeper, target))


class Steps:
    """Runs them, and leaves the tests to pytest."""

    def __init__(self, config, names, keeper, target):
        self.config, self.keeper, self.target = config, keeper, target
        self.names = [name for name in names if name != TESTS]
        keeper.wants_tests = TESTS in names
        self.board = keeper.board

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        if not self.keeper.wants_tests:
            config.hook.pytest_deselected(items=list(items))
            items.clear()

    def pytest_collection_finish(self):
        self.keeper.keep("plan", ItemKind.TEST, self.names)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        for name in self.names:
            self.keeper.keep("begin", name, ItemKind.TEST)
            started, since = now(), time.monotonic()
            results = self.run(name)
            took_s = time.monotonic() - since
            for result in results:
                whole = took_s if result.path == name else 0.0
                result = dataclasses.replace(result, started=started, duration_s=whole)
                self.keeper.keep("result", result)
            self.say(f"{name}: {result.outcome} {result.reason}".rstrip())
            if self.keeper.trouble:
                raise session.Interrupted(self.keeper.trouble)

    def run(self, name):
        """Run one; gives its results."""
        try:
            status, out, err = self.target().command(
                (name, *COMMANDS[name], "--json"), STEP_TIMEOUT_S
            )
            try:
                answer = json.loads(out)
                results = results_of(name, answer, status)
            except (ValueError, KeyError, TypeError):
                raise OperationFailed(
                    f"`pyctl {name}` gave no answer, but ended with status {status}:\n{err}"
                ) from None
        except PyctlError as error:
            self.keeper.lost(error, isinstance(error, NotReady))
            evidence = ItemEvidence(console=getattr(error, "console", ""))
            why = f"{error.message} {error.hint}".strip()
            return [ItemResult(name, ItemKind.TEST, ItemOutcome.ERROR, why, evidence=evidence)]
        self.board = identity_in(answer, self.board)
        self.keeper.keep("board", self.board)
        return results

    def say(self, text):
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.ensure_newline()
            reporter.write_line(f"step: {text}")


class LocalTarget:
    """The machine that pytest runs on."""

    def command(self, words, timeout_s):
        """Run pyctl with these words; gives its exit status and what it wrote."""
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pyctl", *words],
                cwd=TOP,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise OperationFailed(f"`pyctl {words[0]}` did not end in {timeout_s:g} s.") from None
        return done.returncode, done.stdout, done.stderr
