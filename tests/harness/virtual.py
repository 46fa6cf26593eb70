# SPDX-License-Identifier: GPL-2.0-only
"""Runs target tests on virtual boards."""

import os

from pyctl.errors import TargetLost
from pyctl.firmware.settings import parse_settings
from tests.harness.reports import Reports, pytest_arguments

# The command of ``warm``, and what a shell says of one that is not there.
COMMAND = "pytest-item"
NOT_FOUND = 127
# Every combination that the provider's rules are checked on.
EVERY_BOARD = {
    f"@{conduit}-{cpus}cpu": {"conduit": conduit, "cpus": cpus}
    for conduit in ("hvc", "smc")
    for cpus in (1, 4)
}
# Tells a test that its board is fresh, and that nobody comes after it.
PRISTINE = {"PYCTL_PRISTINE": "1"}
# Tells it that its board is what its marker asks for.
AS_ASKED = {"PYCTL_BOARD_AS_ASKED": "1"}


def modules_for(release):
    """The modules' files for a kernel of Debian's, for a board that cannot build them.

    Raises PyctlError where there is no such kernel, or it cannot be had.
    """
    from pyctl.cache import Cache
    from pyctl.vm.factory import BoardFactory

    factory = BoardFactory(Cache())
    made = factory.builder.modules(factory.roots.kernel(release))
    return sorted(made.path.glob("*.ko"))


def planted():
    """Firmware settings that every test shall find, for scoring the suite itself."""
    given = {name: os.environ[name] for name in ("PYCTL_FIRMWARE",) if name in os.environ}
    return given | AS_ASKED


class VmTarget:
    """Runs each test on a virtual board."""

    def __init__(self, say, usual=None):
        """``usual`` is the board, as in EVERY_BOARD, of tests that ask for none."""
        from pyctl.cache import Cache
        from pyctl.vm.factory import BoardFactory

        self.usual = usual or {}
        self.factory = BoardFactory(Cache(say=say))
        self.shared = None

    def spec(self, item, board):
        """The board that a test asks for by its markers and its place in the matrix."""
        from pyctl.vm.spec import Spec

        options = dict(self.usual)
        for mark in reversed(list(item.iter_markers("board"))):
            options |= mark.kwargs
        options |= board or {}
        options["firmware"] = tuple(parse_settings(options.get("firmware", ())))
        return Spec(tests=True, **options)

    def run(self, item, nodeid, board, timeout_s):
        """Run a test; return its reports and what it printed.

        The board is a pristine one, or one that other tests have only read from.
        """
        spec, cold = self.spec(item, board), item.config.getoption("cold")
        shared = item.get_closest_marker("shared_board")
        if shared is None or shared.args == (False,):
            with self.factory.boot(spec, cold) as guest:
                return self.run_on(guest, nodeid, timeout_s, PRISTINE)
        if self.shared is None or self.shared[0] != spec:
            self.close()
            self.shared = (spec, self.factory.boot(spec, cold))
        try:
            reports, printed = self.run_on(self.shared[1], nodeid, timeout_s)
        except TargetLost:
            self.close()
            raise
        if any(report.get("outcome") == "failed" for report in reports):
            # Who knows what it has left behind.
            self.close()
        return reports, printed

    def run_on(self, guest, nodeid, timeout_s, env=None):
        """Run a test on a board."""
        from pyctl.vm.session import Streams

        reports, printed = Reports(), bytearray()
        streams = Streams(printed.extend, printed.extend, reports.feed)
        # A board from a snapshot has the tests collected already, unless that
        # failed; then pytest over there says why.
        for command in ([COMMAND, nodeid], pytest_arguments(nodeid)):
            status = guest.run(
                command, streams, timeout_s=timeout_s, cwd="/opt/pyctl", env=planted() | (env or {})
            )
            if status != NOT_FOUND:
                break
            printed.clear()
        return reports.all(), printed.decode(errors="replace")

    def close(self):
        """End the shared board, if there is one."""
        if self.shared is not None:
            self.shared[1].close()
            self.shared = None
