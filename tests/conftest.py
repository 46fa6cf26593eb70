# SPDX-License-Identifier: GPL-2.0-only
"""Theory of operation of the test suite.

``tests/unit`` needs nothing, ``tests/lab`` no board, ``tests/vm`` boots virtual boards, and
the tests in ``tests/target`` run *on the target*. On an arm64 machine as root they run
here; elsewhere this file collects them, sends each to a target (``harness.virtual``
or ``harness.ssh``) that runs it with pytest over there (``harness.relay``), and reports
the result as if it had run here. So each test has its own line, duration and result.

A target that is lost is an error of the test that lost it. A target that
cannot be had is a skip that names what is missing, or a failure under
``--require-target``.
"""

import os
import platform
import signal
import time
import traceback
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.harness import keeper, steps

TARGET_TESTS = Path(__file__).parent / "target"
BOARD = pytest.StashKey[Any]()
# For a test that never ends; a test with a bound of its own sets it by marker.
TEST_TIMEOUT_S = 120.0
REMOTE = pytest.StashKey[str | None]()


def pytest_addoption(parser):
    group = parser.getgroup("target")
    group.addoption(
        "--target",
        default="auto",
        metavar="WHERE",
        help="where target tests run: auto, local, vm, ssh:USER@HOST[:PORT], or labgrid:PLACE "
        "(default: auto)",
    )
    group.addoption(
        "--ssh-config",
        type=Path,
        metavar="FILE",
        help="ssh's configuration for --target ssh:... (default: the user's)",
    )
    group.addoption(
        "--reset",
        metavar="COMMAND",
        help="a shell command that gives a lost board of --target ssh:... a fresh start",
    )
    group.addoption(
        "--back",
        type=float,
        default=180.0,
        metavar="SECONDS",
        help="how long such a board may take to answer again (default: 180)",
    )
    group.addoption(
        "--serial",
        default="",
        metavar="TEXT",
        help="the serial number that a board of --target ssh:... or labgrid:... must have",
    )
    group.addoption(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long somebody else may still have the place of --target labgrid:... (default: 0)",
    )
    group.addoption(
        "--require-target",
        action="store_true",
        help="fail, instead of skip, where a target cannot be had or lacks something",
    )
    group.addoption(
        "--full",
        action="store_true",
        help="tests for every board: on each of the matrix, not on some of them by turns",
    )
    group.addoption(
        "--boards",
        metavar="NAMES",
        help="tests for every board: on each of these, comma-separated, as in test ids; "
        "tests that ask for no board get the first",
    )
    group.addoption(
        "--modules",
        type=Path,
        metavar="DIR",
        help="test these built modules on virtual boards, and not the project's own",
    )
    group.addoption(
        "--stub",
        type=Path,
        metavar="DIR",
        help="build the firmware of virtual boards from this source, not from the project's own",
    )
    group.addoption(
        "--kernel",
        metavar="WHICH",
        help="the kernel of virtual boards, as for `pyctl vm run`: a flavour, a version, or an "
        "Image with --kdir (default: the newest)",
    )
    group.addoption("--kdir", type=Path, metavar="DIR", help="build tree of --kernel PATH")
    group.addoption("--cold", action="store_true", help="boot boards cold, without snapshots")
    keeper.add_options(parser)
    steps.add_options(parser)


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell starts background jobs so, and all that we start would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for line in (
        "every_board: holds for each combination of conduit and number of CPUs; runs on all of "
        "them with --full, else on one of them",
        "every_conduit: as every_board, but by default once for each conduit",
        "pristine_board: the test leaves behind what its fixtures do not put back, or needs "
        "a board that nobody has used",
        "board(**spec): the virtual board that the test needs (see pyctl.vm.spec.Spec; "
        "firmware is a list of KEY=VALUE)",
        "duration(seconds): give the target up after this time",
        "timing: the test decides by the time that firmware measured",
        "kernel_log(pattern): a message that the kernel may log during the test",
    ):
        config.addinivalue_line("markers", line)
    where = config.getoption("target")
    if where == "auto" and getattr(config.option, "lg_env", None):
        # What labgrid's own pytest plugin was given.
        where = "labgrid:"
    if where == "auto":
        on_target = platform.machine() == "aarch64" and os.geteuid() == 0
        where = "local" if on_target else "vm"
    if where not in ("local", "vm") and not where.startswith(("ssh:", "labgrid:")):
        raise pytest.UsageError(
            f"--target {where}: not auto, local, vm, ssh:USER@HOST[:PORT] or labgrid:PLACE"
        )
    config.stash[REMOTE] = None if where == "local" else where
    steps.configure(config, keeper.configure(config, where), lambda: the_target(config))


def is_target_test(path):
    return TARGET_TESTS in Path(path).parents


def pytest_generate_tests(metafunc):
    """Multiply the tests that are marked so by boards of the matrix."""
    if metafunc.config.stash[REMOTE] == "vm" and is_target_test(metafunc.definition.path):
        marks = {mark.name for mark in metafunc.definition.iter_markers()}
        if marks & {"every_board", "every_conduit"}:
            names = boards_for(metafunc.config, metafunc.definition.nodeid, marks)
            metafunc.fixturenames.append("_board")
            metafunc.parametrize("_board", names, ids=names)


def boards_for(config, nodeid, marks):
    """The boards of the matrix that a test shall run on."""
    from tests.harness.virtual import BOARDS, EVERY_BOARD

    names = list(EVERY_BOARD)
    if wanted := config.getoption("boards"):
        if unknown := [name for name in wanted.split(",") if name not in BOARDS]:
            raise pytest.UsageError(f"--boards {unknown[0]}: none of {', '.join(BOARDS)}")
        return wanted.split(",")
    if config.getoption("full"):
        return names
    # Which ones is the same for every process of a run, and in the next run.
    turn = zlib.crc32(nodeid.encode()) % len(names)
    if "every_conduit" not in marks:
        return [names[turn]]
    # The other conduit, and the other number of CPUs.
    return sorted([names[turn], names[len(names) - 1 - turn]])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Run the tests of one kind of board after each other, for a worker keeps its board.

    First come those that are no target tests and have boards of their own: they take longest.
    """

    def kind(item):
        if not is_target_test(item.path):
            return ""
        marks = [sorted(mark.kwargs.items()) for mark in item.iter_markers("board")]
        return f"board {over_there(item)[1]} {marks}"

    items.sort(key=kind)


@pytest.fixture
def _board():
    """Only a name for the matrix; the test itself does not see it."""


def over_there(item):
    """The node id by which the target knows a test, and the board from the matrix."""
    from tests.harness.virtual import BOARDS

    board = item.callspec.params.get("_board") if hasattr(item, "callspec") else None
    nodeid = item.nodeid
    if board:
        for left, right in ((f"[{board}]", ""), (f"-{board}", ""), (f"{board}-", "")):
            if left in nodeid:
                nodeid = nodeid.replace(left, right)
                break
    return nodeid, BOARDS.get(board)


def usual_board(config):
    """The virtual board of a test that asks for none, as options of ``pyctl.vm.spec.Spec``."""
    from tests.harness.virtual import BOARDS

    only = (config.getoption("boards") or "").split(",")[0]
    named = {name: config.getoption(name) for name in ("kernel", "kdir", "stub")}
    return named | BOARDS.get(only, {})


def the_target(config):
    """The one target of this run, made when the first test needs it."""
    where = config.stash[REMOTE]
    if where is None:
        return steps.LocalTarget()
    # What a board does not have: it is the target itself.
    from tests.harness.place import EnvTarget, PlaceTarget
    from tests.harness.ssh import Destination, SshTarget
    from tests.harness.virtual import VmTarget, modules_for

    if BOARD not in config.stash:
        reporter = config.pluginmanager.get_plugin("terminalreporter")

        def say(text):
            return reporter and reporter.write_line(f"board: {text}")

        if where == "vm":
            config.stash[BOARD] = VmTarget(say, usual_board(config), config.getoption("modules"))
        elif where.startswith("labgrid:"):
            back_s, serial = config.getoption("back"), config.getoption("serial")
            common = (config.getoption("ssh_config"), say, modules_for, back_s, serial)
            place = where.removeprefix("labgrid:")
            config.stash[BOARD] = (
                PlaceTarget(place, *common, config.getoption("wait"))
                if place
                else EnvTarget(labgrid_env(config), *common)
            )
        else:
            config.stash[BOARD] = SshTarget(
                Destination(where.removeprefix("ssh:"), config.getoption("ssh_config")),
                say,
                config.getoption("reset"),
                modules_for,
                config.getoption("back"),
                config.getoption("serial"),
            )
    return config.stash[BOARD]


def labgrid_env(config):
    """The environment that labgrid's pytest plugin has loaded."""
    from labgrid.pytestplugin.hooks import LABGRID_ENV_KEY

    return config.stash[LABGRID_ENV_KEY]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """Send a target test to its target and report what comes back."""
    if not (item.config.stash[REMOTE] and is_target_test(item.path)):
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in remote_reports(item):
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """The same demand on this machine, where it is the target."""
    from tests.harness.reports import demand

    outcome = yield
    if item.config.getoption("require_target") and is_target_test(item.path):
        demand(outcome.get_result())


def remote_reports(item):
    """Run a test on its target; give its reports, or one that says why there are none."""
    from pyctl.errors import NotReady, PyctlError
    from tests.harness.reports import complete, demand

    config = item.config
    mark = item.get_closest_marker("duration")
    nodeid, board = over_there(item)
    started = time.time()
    try:
        sent, printed = the_target(config).run(
            item, nodeid, board, mark.args[0] if mark else TEST_TIMEOUT_S
        )
        complete(sent, printed)
    except NotReady as error:
        skip = not config.getoption("require_target")
        return [single_report(item, "skipped" if skip else "failed", error, started)]
    except PyctlError as error:
        return [single_report(item, "failed", error, started)]
    except Exception:  # noqa: BLE001 - a fault of ours is this test's, not the run's
        fault = PyctlError(traceback.format_exc())
        return [single_report(item, "failed", fault, started)]
    reports = []
    for data in sent:
        report = config.hook.pytest_report_from_serializable(config=config, data=data)
        report.nodeid, report.location = item.nodeid, item.location
        if config.getoption("require_target"):
            demand(report)
        reports.append(report)
    if any(report.failed for report in reports):
        reports[-1].sections.append(("printed on the target", printed))
    return reports


def single_report(item, outcome, error, started):
    """A report for a test whose target let it down; 'setup' makes a failure an error.

    So it is trouble of the lab, which nobody takes for a failure of firmware.
    """
    from tests.harness.reports import TargetGone

    text = error.message + (f"\n{error.hint}" if error.hint else "")
    console = getattr(error, "console", "")
    if console:
        text += f"\n--- the console's last lines ---\n{console}"
    path, line, _name = item.location
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome=outcome,
        longrepr=(path, line or 0, f"no target: {text}") if outcome == "skipped" else text,
        when="setup",
        start=started,
        stop=time.time(),
        duration=time.time() - started,
        is_gone=isinstance(error, TargetGone),
        console=console,
    )


def pytest_unconfigure(config):
    close = getattr(config.stash.get(BOARD, None), "close", None)
    if close:
        close()
