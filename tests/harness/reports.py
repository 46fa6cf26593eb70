# SPDX-License-Identifier: GPL-2.0-only
"""A test's way there and back: the command that runs it, the reports that ``relay`` sends."""

import json

from pyctl.errors import OperationFailed, TargetLost

# How the reason of a skip begins: something is missing that a complete target has, and
# that --require-target wants; or the test asks for a target of another kind, and nothing
# is missing.
MISSING = "missing on the target:"
OTHER_KIND = "for another kind of target:"


class TargetGone(TargetLost):
    """A target that was lost, and did not come back: nothing more can be tried."""


def pytest_arguments(nodeid):
    """The command that runs one test on a target."""
    return [
        *("pytest", "--target=local", "-p", "tests.harness.relay", "-p", "no:cacheprovider"),
        *("--rootdir=.", "-q", "--no-header", "--no-summary", nodeid),
    ]


class Reports:
    """Collects the lines that ``relay`` sends."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data

    def all(self):
        # A line that was cut off says nothing.
        return parsed(bytes(self.buffer).rpartition(b"\n")[0].splitlines())


def parsed(lines):
    """The reports in lines of JSON."""
    reports = [json.loads(line) for line in lines]
    for report in reports:
        # Where and why a test was skipped: pytest wants the tuple that JSON has not.
        if isinstance(report.get("longrepr"), list):
            report["longrepr"] = tuple(report["longrepr"])
    return reports


def demand(report):
    """Make a failure of a skip for which something is missing on the target."""
    if report.skipped and MISSING in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"--require-target: {report.longrepr[2]}"


def complete(reports, printed):
    """Check that a test was run to its end; raise what says that it was not."""
    for report in reports:
        if "collection" in report:
            raise OperationFailed(f"the target could not load the test: {report['collection']}")
    if not reports or reports[-1].get("when") != "teardown":
        raise TargetLost(f"the target's pytest ended before the test did:\n{printed}")
