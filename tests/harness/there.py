# SPDX-License-Identifier: GPL-2.0-only
"""The target tests on a board that ssh reaches, collected once, each run in a fork.

As ``warm`` on a virtual board, but told by ``control`` through standard input: a line of
JSON names a test and its environment. The descriptor that the command line names becomes
number 3, which says when all is collected, which
process runs a test, and when that has ended; between the two come its reports. When
standard input ends, the test at work ends with it.
"""

import json
import os
import select
import signal
import sys

import pytest

from tests.harness import relay


def say(**what):
    os.write(relay.REPORT_FD, (json.dumps(what) + "\n").encode())


class Serve:
    """Takes the place of pytest's loop over the tests."""

    def __init__(self):
        # Why there are no tests of a file, by its name.
        self.not_loaded: dict[str, str] = {}

    def pytest_collectreport(self, report):
        if report.failed:
            self.not_loaded[report.nodeid] = str(report.longrepr)

    def pytest_runtestloop(self, session):
        items = {item.nodeid: item for item in session.items}
        say(ready=len(items))
        for line in iter(sys.stdin.readline, ""):
            request = json.loads(line)
            self.run(items.get(request["nodeid"]), request)
        return True

    def run(self, item, request):
        pid = os.fork()
        if pid == 0:
            self.child(item, request)
        say(pid=pid)
        ended = os.pidfd_open(pid)
        # A line cannot come before this test's end is told, so what wakes us is the end.
        readable = select.select([ended, 0], [], [])[0]
        if ended not in readable:
            os.killpg(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(ended)
        say(ended=status)

    def child(self, item, request):
        os.setsid()
        os.environ |= request["env"]
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        status = 70
        try:
            if item is None:
                nodeid = request["nodeid"]
                why = self.not_loaded.get(nodeid.partition("::")[0])
                say(collection=why or f"There is no test {nodeid}.")
            else:
                item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
                status = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


def main():
    os.dup2(int(sys.argv[1]), relay.REPORT_FD)
    plugins = [Serve(), relay]
    # What tests write goes when the project goes.
    options = ("--target=local", "-p", "no:cacheprovider", "--basetemp=.tests")
    return pytest.main(
        [*options, "--rootdir=.", "--capture=no", "-qq", "--no-header", "tests/target"], plugins
    )


if __name__ == "__main__":
    sys.exit(main())
