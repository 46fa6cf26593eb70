# SPDX-License-Identifier: GPL-2.0-only
"""Runs target tests on virtual boards."""

import os
import shutil
from dataclasses import dataclass, field
from typing import Any

from pyctl.errors import OperationFailed, TargetLost
from pyctl.firmware.settings import parse_settings
from tests.harness.reports import Reports, complete, pytest_arguments

# The command of ``warm``, and what a shell says of one that is not there.
COMMAND = "pytest-item"
NOT_FOUND = 127
# Every combination that the provider's rules are checked on.
EVERY_BOARD = {
    f"@{conduit}-{cpus}cpu": {"conduit": conduit, "cpus": cpus}
    for conduit in ("hvc", "smc")
    for cpus in (1, 4)
}
# Boards that --boards knows, too: those that nobody made for tests.
BOARDS = EVERY_BOARD | {
    f"@uefi-{cpus}cpu": {"boot": "uefi", "conduit": "smc", "cpus": cpus} for cpus in (1, 4)
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


# Begins the message for a test that only fails where others have been.
NOT_ISOLATED = "This is no result of a pristine board"


def planted():
    """Firmware settings that every test shall find, for scoring the suite itself."""
    return {name: os.environ[name] for name in ("PYCTL_FIRMWARE",) if name in os.environ}


def result(reports):
    """What came of a test (failed, skipped or passed), and why."""
    for outcome in ("failed", "skipped"):
        for report in reports:
            if report["outcome"] == outcome:
                why = report["longrepr"]
                return outcome, why["reprcrash"]["message"] if isinstance(why, dict) else str(why)
    return "passed", ""


@dataclass
class Shared:
    """A running board, and the tests that it has seen."""

    spec: Any
    guest: Any
    tests: list[str] = field(default_factory=list)


class VmTarget:
    """Runs each test on a virtual board."""

    def __init__(self, say, usual=None, modules=None):
        """``usual`` is the board, as in BOARDS, of tests that ask for none.

        ``modules`` is a directory of built modules that take the place of the project's own.
        """
        from pyctl.cache import Cache
        from pyctl.vm.factory import BoardFactory

        self.usual = usual or {}
        self.factory = BoardFactory(Cache(say=say))
        self.modules = modules
        self.shared = None

    def boot(self, spec, cold):
        """A pristine board with the modules that are to be tested."""
        guest = self.factory.boot(spec, cold)
        if self.modules is None:
            return guest
        try:
            self.exchange_modules(guest, spec)
        except BaseException:
            guest.close()
            raise
        return guest

    def exchange_modules(self, guest, spec):
        """Put other modules in the place of those that came with the board."""
        from pyctl.vm.build import GUEST_TOP
        from pyctl.vm.roots import make_cpio

        with self.factory.cache.scratch("modules") as scratch:
            shutil.copytree(self.modules, scratch / "root" / GUEST_TOP / "modules")
            make_cpio(scratch / "root", scratch / "modules.cpio")
            guest.put_files(scratch / "modules.cpio")
        if spec.load:
            guest.output(("pyctl", "unload"))
            self.factory.load(guest, spec)

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
        """Run a test to its end; return its reports and what it printed.

        A test that asks for a pristine board has one; others share theirs. One that does
        not pass where others have been is run again where nobody has, and both results are
        told: only if they are the same they say something about the test.
        """
        spec, cold = self.spec(item, board), item.config.getoption("cold")
        if item.get_closest_marker("pristine_board"):
            return self.run_on_pristine(spec, cold, nodeid, timeout_s)
        if self.shared is None or self.shared.spec != spec:
            self.close()
            self.shared = Shared(spec, self.boot(spec, cold))
        guest, before = self.shared.guest, list(self.shared.tests)
        self.shared.tests.append(nodeid)
        try:
            reports, printed = self.run_on(guest, nodeid, timeout_s)
            outcome, why = result(reports)
        except TargetLost as error:
            if not before:
                self.close()
                raise
            outcome, why = "failed", error.message
        if outcome == "failed":
            # Who knows what it has left behind.
            self.close()
        # A skip says that something is missing, perhaps because somebody took it away. With
        # planted faults many tests skip themselves.
        if not before or outcome == "passed" or (outcome == "skipped" and planted()):
            return reports, printed
        reports, printed = self.run_on_pristine(spec, cold, nodeid, timeout_s)
        if result(reports)[0] != outcome:
            raise OperationFailed(
                f"{NOT_ISOLATED}: there the test {result(reports)[0]}, but where others had been "
                f"it {outcome}: {why}\nThe tests before it, the last one last:\n  "
                + "\n  ".join(before)
            )
        return reports, f"{printed}\n(Where other tests had been, it {outcome}, too: {why})"

    def run_on_pristine(self, spec, cold, nodeid, timeout_s):
        """Run a test on a board of its own."""
        with self.boot(spec, cold) as guest:
            return self.run_on(guest, nodeid, timeout_s, PRISTINE)

    def run_on(self, guest, nodeid, timeout_s, env=None):
        """Run a test on a board."""
        from pyctl.vm.session import Streams

        reports, printed = Reports(), bytearray()
        streams = Streams(printed.extend, printed.extend, reports.feed)
        # A board from a snapshot has the tests collected already, unless that
        # failed; then pytest over there says why.
        env = planted() | AS_ASKED | (env or {})
        for command in ([COMMAND, nodeid], pytest_arguments(nodeid)):
            status = guest.run(command, streams, timeout_s=timeout_s, cwd="/opt/pyctl", env=env)
            if status != NOT_FOUND:
                break
            printed.clear()
        text = printed.decode(errors="replace")
        complete(reports.all(), text)
        return reports.all(), text

    def command(self, words, timeout_s):
        """Run pyctl with these words on a pristine board; its exit status, and what it wrote."""
        from pyctl.vm.spec import Spec

        settings = list(filter(None, planted().get("PYCTL_FIRMWARE", "").split(";")))
        options = self.usual | {"firmware": tuple(parse_settings(settings))}
        with self.boot(Spec(tests=True, **options), False) as guest:
            return guest.output(("pyctl", *words), timeout_s)

    def close(self):
        """End the shared board, if there is one."""
        if self.shared is not None:
            self.shared.guest.close()
            self.shared = None
