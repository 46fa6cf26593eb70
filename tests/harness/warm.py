# SPDX-License-Identifier: GPL-2.0-only
"""The target tests, collected ahead of time, each to run in a fork.

On a virtual board the agent calls ``main`` before the board's snapshot is
taken. Pytest collects all target tests, and where it would run them it goes
on serving the host instead; the command ``pytest-item NODEID`` then runs one
of them in a fork, with nothing left to import or to collect.
"""

import pytest

from pyctl.vm.command import FORKED
from tests.target.conftest import safe_range


class Warm:
    """Takes the place of pytest's loop over the tests."""

    def __init__(self, serve):
        self.serve = serve
        self.items = {}

    def pytest_runtestloop(self, session):
        self.items = {item.nodeid: item for item in session.items}
        # What is the same for all tests of a board is found out once.
        safe_range()
        FORKED["pytest-item"] = self.run_item
        self.serve()

    def run_item(self, arguments):
        item = self.items[arguments[0]]
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        return 0


def main(serve):
    """Collect, then serve; returns only when the tests cannot be collected."""
    pytest.main(
        [
            *("--target=local", "-p", "tests.harness.relay", "-p", "no:cacheprovider"),
            *(
                "--rootdir=/opt/pyctl",
                "--capture=no",
                "-qq",
                "--no-header",
                "/opt/pyctl/tests/target",
            ),
        ],
        plugins=[Warm(serve)],
    )
