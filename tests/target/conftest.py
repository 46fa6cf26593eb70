# SPDX-License-Identifier: GPL-2.0-only
"""What every target test gets: a watch on the kernel, and the chain's parts.

These tests run on the target itself. What they need and do not find they name
in a skip; what they change on a machine that others use they put back.
"""

import contextlib
import multiprocessing
import os
import platform
import re
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pyctl.errors import NotReady
from pyctl.firmware.client import Faults, Stub
from pyctl.firmware.settings import parse_setting, parse_settings
from pyctl.target import regions
from pyctl.target.answers import Fields, Record, Request
from pyctl.target.debugfs import Debugfs, exchange
from pyctl.target.kmod import insert, remove
from pyctl.target.modinfo import find_file
from pyctl.target.scratch import scratch
from pyctl.target.system import System
from tests.harness.reports import MISSING, OTHER_KIND
from tests.target.runner import Pyctl

# Out-of-tree and unsigned modules taint the kernel by being what they are
# (Documentation/admin-guide/tainted-kernels.rst).
EXPECTED_TAINT = 1 << 12 | 1 << 13
# What a test is given where no range is safe; any kernel has as much in one piece.
SCRATCH_BYTES = 2 << 20
# Kernel log priorities up to "error"; and what is wrong at any priority.
ERROR_PRIORITY = 3
ALARMS = re.compile(r"BUG|WARNING:|Call trace|Oops|stack-out|KASAN|lockdep|rcu: INFO|hung task")


class KernelLog:
    """Reads what the kernel logs from now on."""

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.fd, 0, os.SEEK_END)

    def read(self):
        """New messages as (priority, text)."""
        messages: list[tuple[int, str]] = []
        while True:
            try:
                record = os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return messages
            except BrokenPipeError:
                # Messages were overwritten before we read them; go on with the next.
                continue
            prefix, _, text = record.partition(";")
            messages.append((int(prefix.split(",")[0]) & 7, text.splitlines()[0]))

    def close(self):
        os.close(self.fd)


def taint():
    with open("/proc/sys/kernel/tainted") as f:
        return int(f.read())


@pytest.fixture(autouse=True)
def on_target():
    """Target tests make sense on an arm64 machine as root only."""
    if platform.machine() != "aarch64":
        pytest.skip(f"{MISSING} an arm64 machine; this is {platform.machine()}")
    if os.geteuid() != 0:
        pytest.skip(f"{MISSING} root")


@pytest.fixture(autouse=True)
def right_kind_of_board(on_target, request):
    """A test that asks for a board of a certain kind says nothing on one that is there anyway.

    Its firmware, kernel or memory need not be what the test takes for granted.
    """
    asked: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("board"))):
        asked |= mark.kwargs
    if 1 < asked.get("cpus", 0) <= os.cpu_count() or asked.get("cpus") == os.cpu_count() == 1:
        del asked["cpus"]
    if asked and "PYCTL_BOARD_AS_ASKED" not in os.environ:
        what = ", ".join(f"{name}={value!r}" for name, value in asked.items())
        pytest.skip(f"{OTHER_KIND} a virtual board with {what}")


@pytest.fixture(autouse=True)
def kernel_is_well(on_target, right_kind_of_board, request):
    """Fail a test during which the kernel complained or became tainted."""
    log, before = KernelLog(), taint()
    yield
    messages = log.read()
    log.close()
    allowed = [mark.args[0] for mark in request.node.iter_markers("kernel_log")]
    bad = [
        text
        for priority, text in messages
        if (priority <= ERROR_PRIORITY or ALARMS.search(text))
        and not any(re.search(pattern, text) for pattern in allowed)
    ]
    assert not bad, "the kernel complained: " + " / ".join(bad)
    new = taint() & ~before & ~EXPECTED_TAINT
    assert not new, f"the test tainted the kernel: {new:#x}"


@pytest.fixture(autouse=True)
def planted_settings(on_target, monkeypatch):
    """Where the suite itself is scored: settings that firmware shall always have.

    What a test makes of them is the score, on good firmware as well; a test that cannot
    meet them, because nothing reaches this firmware or because the test arms faults of its
    own, says nothing.
    """
    texts = os.environ.get("PYCTL_FIRMWARE", "").split(";")
    settings = parse_settings(text for text in texts if text)
    if not settings:
        return
    reset = Stub.reset

    def reset_and_plant(stub, records_only=False):
        reset(stub, records_only)
        if not records_only:
            plant(stub)

    def plant(stub):
        for setting in settings:
            stub.set(setting)

    def replace(_faults, _script):
        pytest.skip("arms faults of its own")

    monkeypatch.setattr(Stub, "reset", reset_and_plant)
    monkeypatch.setattr(Faults, "replace", replace)
    debugfs = Debugfs(System.this())
    try:
        plant(Stub(lambda fid, arguments: debugfs.raw_call(fid, tuple(arguments))))
    except NotReady as error:
        pytest.skip(error.message)


@pytest.fixture
def kernel_log(on_target):
    log = KernelLog()
    yield log
    log.close()


@pytest.fixture
def system(on_target):
    return System.this()


@pytest.fixture
def debugfs(system):
    door = Debugfs(system)
    try:
        door.info()
    except NotReady as error:
        pytest.skip(f"{MISSING} {error.message}")
    return door


@pytest.fixture
def disposable():
    """Whether nobody will use this board after this test: then nothing is put back."""
    return "PYCTL_PRISTINE" in os.environ


@pytest.fixture
def irreversible(disposable):
    """For a test that only a new boot can undo."""
    if not disposable:
        pytest.skip(f"{OTHER_KIND} a virtual board that nobody uses afterwards")


@pytest.fixture
def stub(debugfs, disposable):
    """The virtual board's firmware, as configured at boot."""
    firmware = Stub(lambda fid, arguments: debugfs.raw_call(fid, tuple(arguments)))
    if not debugfs.info().raw_calls:
        pytest.skip(f"{MISSING} raw SMCCC calls (`pyctl load --raw`)")
    try:
        firmware.identify()
    except NotReady as error:
        pytest.skip(f"{OTHER_KIND} {error.message}")
    # Loading the modules has left its records on a pristine board, too.
    firmware.reset()
    yield firmware
    if not disposable:
        firmware.reset()


@cache
def safe_range():
    """The first range of this machine that is safe to target, None if there is none."""
    return next((each.range for each in regions.regions(System.this()) if each.safe), None)


@pytest.fixture
def reserved_range(on_target):
    """A safe range that is nobody's memory, as only boards have it that were made for tests."""
    if (found := safe_range()) is None:
        pytest.skip(f"{OTHER_KIND} one with a range that is reserved for tests")
    return found


@contextlib.contextmanager
def aimed_range(debugfs):
    """A range to aim at: one that is safe, else scratch memory, which holds its module."""
    if found := safe_range():
        yield found
        return
    with scratch(debugfs, SCRATCH_BYTES) as memory:
        yield memory.range


@pytest.fixture
def target_range(debugfs):
    """A range to aim at, which every machine has; see ``aimed_range``."""
    with aimed_range(debugfs) as found:
        yield found


@pytest.fixture
def aimed(on_target):
    """The option that names a safe range; none where a command then takes scratch memory."""
    found = safe_range()
    return ("--addr", hex(found.addr)) if found else ()


class Provider:
    """Our provider, loaded and unloaded at will, with firmware as it shall find it."""

    def __init__(self, system, debugfs, stub):
        self.debugfs = debugfs
        self.stub = stub
        self.file = find_file(system, "smccc_cache")
        # Whether it may not be as it was: unloaded, or loaded on other firmware.
        self.touched = False

    def unload(self):
        """Unload it; that it is not there, or in use, is for the test to see."""
        self.touched = True
        with contextlib.suppress(OSError):
            remove("smccc_cache")

    def try_load(self):
        """Load it; return what the kernel said against it, or None if it was loaded."""
        self.touched = True
        try:
            insert(self.file.path)
        except OSError as error:
            return error.strerror
        return None

    def is_fresh(self):
        """Whether it is loaded and has done nothing yet."""
        try:
            counters = Path("/sys/kernel/debug/smccc_cache/counters").read_text()
        except FileNotFoundError:
            return False
        return all(line.endswith("=0") for line in counters.splitlines())

    def load(self, *settings):
        """Load it on firmware with these settings; count and log from here on."""
        self.unload()
        self.configure(*settings)
        said = self.try_load()
        assert said is None, f"smccc_cache was not loaded: {said}"
        self.stub.reset(records_only=True)

    def configure(self, *settings):
        for setting in settings:
            self.stub.set(parse_setting(setting))

    def call(self, addr, size, **options):
        """Have the kernel invalidate a range; return the module's record."""
        request = Request(addr, size, **options)
        answer = exchange(
            Path("/sys/kernel/debug/memregion_test/invalidate"), request.text().encode()
        )
        return Record.parse(Fields("invalidate", answer.decode()))


@pytest.fixture
def provider(system, debugfs, stub, disposable):
    """Our provider on plain firmware; whatever the test does, it is there afterwards."""
    if not debugfs.info().framework:
        pytest.skip(f"{MISSING} cpu_cache_invalidate_memregion() (Linux 6.19)")
    if find_file(system, "smccc_cache") is None:
        pytest.skip(f"{MISSING} a smccc_cache.ko for this kernel")
    ours = Provider(system, debugfs, stub)
    # Where defects are planted in firmware it has to be asked again.
    if "PYCTL_FIRMWARE" in os.environ or not ours.is_fresh():
        ours.load()
        ours.touched = "PYCTL_FIRMWARE" in os.environ
    yield ours
    if ours.touched and not disposable:
        stub.reset()
        ours.unload()
        ours.try_load()


@pytest.fixture
def pyctl(on_target):
    """Run `pyctl` here as a process of its own."""
    return Pyctl()


@pytest.fixture
def unloaded(provider, pyctl, disposable):
    """A kernel without our modules; afterwards they are back, from the right build."""
    assert pyctl("unload").status == 0
    yield
    if not disposable:
        pyctl("unload")
        assert pyctl("load", "--raw").status == 0


@pytest.fixture
def two_cpus(on_target):
    """For tests that keep or single out one CPU, while another goes on."""
    # Not those that this process may use: other fixtures keep it to one.
    if os.cpu_count() < 2:
        pytest.skip(f"{OTHER_KIND} one with two CPUs")


@pytest.fixture
def one_cpu(on_target):
    """Keep this process, and what it starts, to the first CPU, however many the board has."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def wait_until():
    """Wait for a condition, bounded; for what another process or CPU brings about."""

    def wait(condition, what, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
            time.sleep(0.01)

    return wait


@pytest.fixture
def in_background():
    """Runs functions in processes of their own; ends them with the test.

    This process keeps to the first CPU: the kernel cannot take it off one that is
    held in firmware.
    """
    started = []
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})

    def start(function, *arguments):
        process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
    os.sched_setaffinity(0, before)


@pytest.fixture
def call_on(debugfs, in_background, wait_until, stub, two_cpus):
    """Makes a CLEAN_INV_MEMREGION call on a CPU, in the background, once it is in firmware."""

    def make(cpu, base, size):
        os.sched_setaffinity(0, {cpu})
        debugfs.raw_call(0xC000_0005, (base, size, 0))

    def start(cpu, base, size):
        calls = stub.get("clean_inv_calls")
        process = in_background(make, cpu, base, size)
        wait_until(lambda: stub.get("clean_inv_calls") > calls, "the call reached firmware")
        return process

    return start
