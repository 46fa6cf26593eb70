# SPDX-License-Identifier: GPL-2.0-only
"""The main job on the real chain: what a request does, and what it can end as.

Each test compares what the caller is told with what firmware counted and saw.
The provider's own rules are in test_provider, the file's syntax in test_debugfs.
"""

import errno
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pyctl.firmware.settings import parse_setting
from pyctl.target.answers import Fields, Record, Request
from pyctl.target.debugfs import exchange
from pyctl.target.kmod import insert
from pyctl.target.modinfo import find_file
from tests.harness.reports import MISSING, OTHER_KIND
from tests.target.conftest import safe_range
from tests.target.runner import Running, umount
from tests.target.statuses import Status
from tests.target.task_work import Poll

INVALIDATE = Path("/sys/kernel/debug/memregion_test/invalidate")
CACHED = INVALIDATE.with_name("memory_cached")
LOCKDOWN = Path("/sys/kernel/security/lockdown")
SIGNATURES = Path("/sys/module/module/parameters/sig_enforce")
SIZE = 0x1_0000
WAYS = ("memregion", "smccc", "va")
DRY_RUN = 1
KEYS = {
    *("ok", "addr", "size", "via", "count", "threads", "dry_run", "provider", "errno", "error"),
    *("completed", "interrupted", "elapsed_ns", "firmware", "target"),
}


@pytest.fixture
def target(provider, aimed):
    """The words of a command line for a range to aim at; the provider is there."""
    return ("invalidate", *aimed, "--size", hex(SIZE))


def nothing_was_sent(stub):
    return stub.get("clean_inv_calls") == stub.get("log_total") == 0


# -- through the module ----


@pytest.mark.every_board
@pytest.mark.parametrize("via", ["memregion", "smccc"])
def test_threads_call_from_every_cpu(provider, stub, target_range, via):
    record = provider.call(target_range.addr, SIZE, via=via, count=3, threads=8)
    assert (record.errno, record.completed, record.vacuous) == (0, 24, 0)
    log = stub.log()
    assert {(call.base, call.length, call.flags) for call in log} == {(target_range.addr, SIZE, 0)}
    seen = [call.mpidr for call in log]
    online = os.sysconf("SC_NPROCESSORS_ONLN")
    assert len(seen) == 24
    assert len(set(seen)) == online, "threads are spread over all CPUs that are online"
    assert {seen.count(cpu) for cpu in set(seen)} == {24 // online}
    assert {call.conduit for call in log} == {provider.debugfs.info().conduit}


@pytest.mark.parametrize("count", [1, 7, 300])
@pytest.mark.parametrize("threads", [1, 2])
def test_each_thread_makes_count_calls(provider, stub, target_range, count, threads):
    for via, in_firmware in (("memregion", 1), ("smccc", 1), ("va", 0)):
        stub.reset(records_only=True)
        record = provider.call(target_range.addr, SIZE, via=via, count=count, threads=threads)
        assert (record.errno, record.completed) == (0, count * threads), via
        assert stub.get("clean_inv_calls") == count * threads * in_firmware
        if via == "smccc":
            assert record.firmware.calls == count * threads


def test_a_dry_run_reaches_firmware_as_one(provider, stub, target_range):
    for dry_run, flags in ((True, DRY_RUN), (False, 0)):
        stub.reset(records_only=True)
        record = provider.call(target_range.addr, SIZE, via="smccc", dry_run=dry_run)
        [call] = stub.log()
        assert (record.completed, call.flags) == (1, flags)


def test_times_are_those_of_the_calls(provider, stub, target_range):
    duration_us = 3000
    stub.set(parse_setting(f"duration_us={duration_us}"))
    for via in ("memregion", "smccc"):
        stub.reset(records_only=True)
        record = provider.call(target_range.addr, SIZE, via=via, count=20)
        times = record.elapsed
        assert duration_us * 1000 <= times.min <= times.p50 <= times.p99 <= times.max <= times.total
        assert 20 * times.min <= times.total <= 20 * times.max
        assert 19 * times.p50 + times.max >= times.total / 2
        inside_ns = sum(call.left_ns - call.entered_ns for call in stub.log())
        # Firmware's clock ticks coarser than the kernel's.
        assert times.total >= inside_ns - 20 * 1000


def test_the_first_error_stops_the_thread(provider, stub, target_range):
    for via in ("memregion", "smccc"):
        stub.reset(records_only=True)
        stub.queue(Status.SUCCESS, 3)
        stub.queue(Status.INVALID_PARAMETER)
        record = provider.call(target_range.addr, SIZE, via=via, count=10)
        assert (record.errno, record.completed) == (errno.EINVAL, 3)
        assert stub.get("clean_inv_calls") == 4


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.NOT_SUPPORTED, errno.EOPNOTSUPP),
        (Status.NOT_REQUIRED, errno.EIO),
        (Status.INVALID_PARAMETER, errno.EINVAL),
        (Status.RATE_LIMITED, errno.EAGAIN),
        (Status.BUSY, errno.EBUSY),
        (-77, errno.EIO),
        (1, errno.EIO),
    ],
)
def test_a_direct_call_is_never_retried(provider, stub, target_range, status, expected):
    stub.queue(status)
    record = provider.call(target_range.addr, SIZE, via="smccc", count=5)
    assert (record.errno, record.completed) == (expected, 0)
    firmware = record.firmware
    assert (firmware.calls, firmware.last_status) == (1, status) == (stub.get("log_total"), status)
    assert firmware.busy == (status == Status.BUSY)
    assert firmware.rate_limited == (status == Status.RATE_LIMITED)


def test_extreme_ranges_are_passed_on_to_firmware(provider, stub):
    for base, length in ((0, 0), (0, 2**64 - 1), (2**64 - 1, 1), (2**63, 2**63)):
        stub.reset(records_only=True)
        provider.call(base, length, via="smccc")
        [call] = stub.log()
        assert (call.base, call.length) == (base, length)


def test_by_va_the_range_is_checked_and_firmware_left_alone(provider, stub, target_range):
    width = 1 << provider.debugfs.info().pa_bits
    for base, length, expected in (
        (target_range.addr, 0, errno.EINVAL),
        (2**64 - 4096, 4096, errno.EINVAL),
        (2**64 - 1, 2**64 - 1, errno.EINVAL),
        (width - 4096, 8192, errno.EINVAL),
        (width - 8192, 4096, errno.ENXIO),
        # The range ends within nothing; what lies before it may have been cleaned.
        (memory_end() - 4096, 0x40_0000, errno.ENXIO),
    ):
        assert provider.call(base, length, via="va").errno == expected, hex(base)
    assert nothing_was_sent(stub)


# As a device tree and as ACPI call them in /proc/iomem.
REGISTERS = ("pl011", "ARMH0011", "GICD", "PCI ECAM")


def top_level_resources():
    """Where each begins and ends, and its name."""
    for line in Path("/proc/iomem").read_text().splitlines():
        span, _, name = line.partition(" : ")
        if not line.startswith(" "):
            first, last = (int(text, 16) for text in span.split("-"))
            yield first, last + 1, name


def memory_end():
    """Where the last memory that the kernel knows of ends."""
    known = ("System RAM", "reserved")
    return max(end for _addr, end, name in top_level_resources() if name in known)


@pytest.mark.board(boot="uefi", conduit="smc")
def test_by_va_memory_that_firmware_has_kept_is_memory(provider, stub):
    """UEFI's memory map says so; to the kernel it is only "reserved"."""
    for addr, _end, name in top_level_resources():
        if name in ("System RAM", "reserved"):
            record = provider.call(addr, 4096, via="va")
            assert (record.errno, record.completed) == (0, 1), f"{addr:#x} {name}"
    assert nothing_was_sent(stub)


def test_by_va_registers_are_not_taken_for_memory(pyctl, provider, stub):
    """A cacheable mapping of them would let the CPU read from a device as it likes."""
    found = [(addr, name) for addr, _, name in top_level_resources() if name.startswith(REGISTERS)]
    if not found:
        pytest.skip(f"{OTHER_KIND} one with {' or '.join(REGISTERS)} in /proc/iomem")
    for addr, name in found:
        assert provider.call(addr, 4096, via="va").errno == errno.ENXIO, name
        # Long enough to be mapped piece by piece, or not a whole page.
        assert provider.call(addr, 0x40_0000, via="va").errno == errno.ENXIO, name
        assert provider.call(addr + 64, 64, via="va").errno == errno.ENXIO, name
    ended = pyctl("invalidate", "--addr", hex(addr), "--size", "4K", "--force", "--via", "va")
    assert ended.status == 1
    assert "ENXIO: Nothing says of all of this range that it is memory" in ended.message
    assert nothing_was_sent(stub)


@pytest.mark.parametrize("via", WAYS)
def test_no_byte_changes(provider, reserved_range, via):
    """Clean and invalidate keeps what was written, in the range and around it."""
    data = bytes(n * 7 % 251 for n in range(0x3000))
    handle = os.open(CACHED, os.O_RDWR)
    os.pwrite(handle, data, reserved_range.addr)
    assert provider.call(reserved_range.addr + 0x1001, 0xFFD, via=via).completed == 1
    assert os.pread(handle, len(data), reserved_range.addr) == data
    os.close(handle)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("via", ["memregion", "smccc"])
def test_a_signal_stops_between_two_calls(provider, stub, target_range, wait_until, via, threads):
    stub.set(parse_setting("duration_us=20000"))
    text = Request(target_range.addr, SIZE, via, 10000, threads).text()

    def job():
        signal.signal(signal.SIGINT, lambda *_: None)
        print(exchange(INVALIDATE, text.encode()).decode())
        return 0

    process = Running(job)
    wait_until(lambda: stub.get("clean_inv_calls") > 5, "the work began")
    process.kill(signal.SIGINT)
    ended = process.wait()
    record = Record.parse(Fields("invalidate", ended.out))
    assert (record.errno, record.interrupted) == (errno.EINTR, True)
    assert 5 <= record.completed < 1000
    assert record.completed == stub.get("clean_inv_calls"), "no call is cut in two"
    assert record.elapsed.min > 0


def test_a_killed_writer_asks_firmware_nothing_more(provider, stub, target_range, wait_until):
    """The other requests of the same write end as well, before they are prepared."""
    stub.set(parse_setting("duration_us=20000"))
    text = Request(target_range.addr, SIZE, "smccc", 10000).text()
    process = Running(lambda: len(exchange(INVALIDATE, text.encode() * 20)) and 0)
    wait_until(lambda: stub.get("clean_inv_calls") > 3, "the work began")
    process.kill(signal.SIGKILL)
    assert process.wait().status == -signal.SIGKILL
    assert stub.get("attributes_calls") == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_task_work_is_no_signal(provider, stub, target_range, wait_until, threads):
    """Nor is a livepatch that waits for the task: both only want it in user space soon."""
    stub.set(parse_setting("duration_us=20000"))
    text = Request(target_range.addr, SIZE, "smccc", 20, threads).text()
    poll = Poll()

    def fire():
        wait_until(lambda: stub.get("clean_inv_calls") > 1, "the work began")
        poll.fire()

    other = threading.Thread(target=fire)
    other.start()
    record = Record.parse(Fields("invalidate", exchange(INVALIDATE, text.encode()).decode()))
    other.join()
    poll.close()
    assert (record.errno, record.interrupted) == (0, False)
    assert record.completed == stub.get("clean_inv_calls") == 20 * threads


# -- through pyctl: success ----


@pytest.mark.every_conduit
@pytest.mark.parametrize("via", WAYS)
def test_pyctl_tells_what_happened(pyctl, provider, stub, target, via):
    ended = pyctl(*target, "--via", via, "--count", 4, "--threads", 2, "--json")
    answer = ended.json
    assert (ended.status, ended.err.count("pyctl: ")) == (
        0,
        int(os.sysconf("SC_NPROCESSORS_ONLN") < 2),
    )
    assert set(answer) == KEYS
    assert (answer["ok"], answer["errno"], answer["error"]) == (True, None, None)
    assert (answer["completed"], answer["via"], answer["size"]) == (8, via, SIZE)
    assert answer["provider"] == {"registered": True, "name": "smccc_cache"}
    times = [answer["elapsed_ns"][key] for key in ("min", "p50", "p99", "max", "total")]
    assert times[0] > 0
    assert times == sorted(times)
    calls = stub.get("clean_inv_calls")
    if via == "va":
        assert (calls, answer["firmware"]["calls"]) == (0, None)
    else:
        assert answer["firmware"] == {
            "calls": 8,
            "busy": 0,
            "rate_limited": 0,
            "last_status": 0,
            "counted": True,
        }
        assert calls == 8


@pytest.mark.parametrize(("refusals", "calls", "status"), [(4, 5, 0), (5, 5, 1)])
def test_pyctl_tells_of_the_providers_patience(pyctl, stub, target, refusals, calls, status):
    stub.queue(Status.BUSY, refusals)
    ended = pyctl(*target, "--json")
    answer = ended.json
    assert (ended.status, answer["ok"]) == (status, status == 0)
    assert answer["errno"] == ("EBUSY" if status else None)
    assert (answer["firmware"]["calls"], answer["firmware"]["busy"]) == (calls, refusals)
    assert stub.get("clean_inv_calls") == calls


def test_force_lifts_the_refusal_of_unsafe_memory_only(pyctl, provider, stub):
    """Clean and invalidate by firmware loses nothing, so any RAM may be hit if forced."""
    arguments = ("invalidate", "--size", "4K", "--addr", "0x47000000")
    refused = pyctl(*arguments)
    assert refused.status == 2
    assert "System RAM" in refused.message
    assert nothing_was_sent(stub)
    assert pyctl(*arguments, "--force").status == 0
    [call] = stub.log()
    assert (call.base, call.length) == (0x4700_0000, 4096)


def test_a_foreign_success_is_not_believed(pyctl, provider, stub, target):
    """No provider: the kernel's own call would say 0, so it is not even made."""
    provider.unload()
    for extra in ((), ("--count", "3", "--threads", "2"), ("--force",)):
        ended = pyctl(*target, *extra, "--json")
        answer = ended.json
        assert (ended.status, answer["ok"], answer["completed"]) == (3, False, 0)
        assert set(answer) - {"hint"} == KEYS
        assert not answer["provider"]["registered"]
    assert nothing_was_sent(stub)


def test_a_provider_that_vanishes_meanwhile_is_no_success(
    pyctl, provider, stub, target, wait_until
):
    stub.set(parse_setting("duration_us=2000"))
    process = pyctl.start(*target, "--count", 3000, "--json")
    wait_until(lambda: stub.get("clean_inv_calls") > 10, "the work began")
    provider.unload()
    ended = process.wait()
    answer = ended.json
    assert (ended.status, answer["ok"]) == (3, False)
    assert answer["provider"]["registered"] is False
    assert answer["completed"] <= stub.get("clean_inv_calls")


# -- through pyctl: requests that make no sense ----


BAD_RANGES = [
    ("abc", "64K", "not a number"),
    ("", "64K", "empty"),
    ("0x", "64K", "not a number"),
    ("1e9", "64K", "not a number"),
    ("-4096", "64K", "negative"),
    ("0x5f000000", "-1", "negative"),
    ("0x5f000000", "", "empty"),
    ("0x5f000000", "64Q", "suffix"),
    ("0x5f000000", "0", "empty"),
    ("0xffff_ffff_ffff_f000", "8K", "wraps"),
    ("0x1_0000_0000_0000_0000", "4K", "wraps"),
    ("0", "0xffffffffffffffff", "width"),
    ("0xffff_ffff_f000", "8K", "width"),
]


def unsafe_ranges():
    """Ranges of this machine that are somebody's, or nobody's, as in BAD_RANGES."""
    resources = list(top_level_resources())
    for name in ("System RAM", "reserved", *REGISTERS):
        if addrs := [addr for addr, _end, found in resources if found.startswith(name)]:
            yield hex(addrs[0]), "4K", name if name in REGISTERS else "overlaps"
    if found := safe_range():
        yield hex(found.addr - 0x100), "8K", "overlaps"
        yield hex(found.end - 0x1000), "8K", "Nothing on this machine describes"


@pytest.mark.parametrize("via", WAYS)
def test_a_bad_range_is_refused_before_anything_is_sent(pyctl, provider, stub, via):
    for addr, size, words in (*BAD_RANGES, *unsafe_ranges()):
        ended = pyctl("invalidate", "--addr", addr, "--size", size, "--via", via, "--json")
        assert ended.status == 2, (addr, size)
        assert words in ended.message, (addr, size)
        assert ended.json["ok"] is False
        assert words in ended.json["error"]
        assert set(ended.json) - {"hint"} == KEYS
    assert nothing_was_sent(stub)


def test_a_bad_option_is_refused_before_anything_is_sent(pyctl, target, stub):
    for options in (
        ("--count", "0"),
        ("--count", "-1"),
        ("--count", "x"),
        ("--count", ""),
        ("--count", "1000001"),
        ("--threads", "0"),
        ("--threads", "257"),
        ("--threads", "2", "--count", "500001"),
        ("--via", "magic"),
        ("--dry-run",),
        ("--dry-run", "--via", "va"),
        ("--timeout", "0"),
        ("--timeout", "-1"),
        ("--timeout", "nan"),
        ("--colour", "red"),
        ("surplus",),
    ):
        ended = pyctl(*target, *options, "--json")
        assert ended.status == 2, options
        assert ended.message
        assert ended.json["ok"] is False
        assert ended.json["error"] == ended.message
    for arguments in (("invalidate",), ("invalidate", "--addr", "1"), ("invalidat", "--addr", "1")):
        assert pyctl(*arguments).status == 2
    assert nothing_was_sent(stub)


# -- through pyctl: an end before the end ----


def test_ctrl_c_is_130_with_what_was_done(pyctl, stub, target, wait_until):
    stub.set(parse_setting("duration_us=20000"))
    process = pyctl.start(*target, "--count", 10000, "--json")
    wait_until(lambda: stub.get("clean_inv_calls") > 5, "the work began")
    process.kill(signal.SIGINT)
    ended = process.wait()
    answer = ended.json
    assert (ended.status, answer["ok"], answer["errno"]) == (130, False, "EINTR")
    assert answer["interrupted"] is True
    assert 5 <= answer["completed"] == stub.get("clean_inv_calls") < 1000
    assert str(answer["completed"]) in ended.message
    assert answer["firmware"]["calls"] == answer["completed"]


def test_a_timeout_is_1_with_what_was_done(pyctl, stub, target):
    stub.set(parse_setting("duration_us=20000"))
    started = time.monotonic()
    ended = pyctl(*target, "--count", 10000, "--threads", 2, "--timeout", "0.5", "--json")
    assert time.monotonic() - started < 10
    answer = ended.json
    assert (ended.status, answer["ok"], answer["errno"]) == (1, False, "ETIMEDOUT")
    assert 0 < answer["completed"] == stub.get("clean_inv_calls") < 1000


def test_killing_pyctl_ends_its_request(pyctl, stub, target, wait_until):
    stub.set(parse_setting("duration_us=20000"))
    process = pyctl.start(*target, "--count", 10000)
    wait_until(lambda: stub.get("clean_inv_calls") > 5, "the work began")
    process.kill(signal.SIGKILL)
    process.wait()
    refcnt = Path("/sys/module/memregion_test/refcnt")
    wait_until(lambda: refcnt.read_text() == "0\n", "the request ended")


@pytest.mark.pristine_board
def test_firmware_that_never_returns_is_4(irreversible, pyctl, debugfs, stub, target, two_cpus):
    """The CPU is lost to the kernel; the others, and pyctl, go on."""
    stub.set(parse_setting("duration_us=600000000"))
    running = pyctl.start(
        *(*target, "--via", "smccc", "--timeout", "0.5", "--json"),
    )
    # The last CPU's timers will stop, and with them whoever sleeps there.
    os.sched_setaffinity(0, {0})
    ended = running.wait()
    assert (ended.status, ended.json["ok"]) == (4, False)
    assert "never came back" in ended.message


# -- through pyctl: the environment is not ready ----


def refused(ended, words):
    """The end of a command that could not be tried: 3, one sentence, a cure, never ok."""
    assert ended.status == 3, ended.err
    assert words in ended.message
    assert ended.json["ok"] is False
    assert ended.json["hint"]
    assert set(ended.json) - {"hint"} == KEYS
    return True


def test_firmware_without_the_function_is_3(pyctl, stub, target):
    stub.set(parse_setting("clean_inv=0"))
    stub.reset(records_only=True)
    assert refused(pyctl(*target, "--via", "smccc", "--json"), "CLEAN_INV_MEMREGION")
    assert nothing_was_sent(stub)


def test_a_missing_module_is_3(pyctl, stub, target, unloaded):
    for via in WAYS:
        assert refused(pyctl(*target, "--via", via, "--json"), "not loaded")
    assert pyctl("load", "--raw", "--provider", "none").status == 0
    assert nothing_was_sent(stub)


def test_debugfs_that_is_not_mounted_is_3(pyctl, stub, target):
    assert umount("/sys/kernel/debug")
    try:
        ended = pyctl(*target, "--json")
        doctor = pyctl("doctor", "--json")
        loaded = pyctl("load")
    finally:
        subprocess.run(["mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug"], check=True)
    assert refused(ended, "not mounted")
    assert "mount -t debugfs" in ended.json["hint"]
    [check] = [check for check in doctor.json["checks"] if check["name"] == "debugfs"]
    assert (doctor.status, check["state"]) == (3, "missing")
    assert loaded.status == 3
    assert nothing_was_sent(stub)


def test_who_is_not_root_is_told_so(pyctl, stub, target):
    for command in (target, ("status",), ("attributes",), ("load",), ("unload",)):
        ended = pyctl(*command, "--json", uid=65534)
        assert (ended.status, ended.json["ok"]) == (3, False), command
        assert "root" in ended.message
        assert "sudo" in ended.json["hint"]
    assert nothing_was_sent(stub)
    assert Path("/sys/module/smccc_cache").exists()


def patched(system, directory, name, old, new):
    """A copy of a module file with some bytes replaced by as many others."""
    assert len(old) == len(new)
    data = find_file(system, name).path.read_bytes()
    assert old in data
    path = directory / f"{name}.ko"
    path.write_bytes(data.replace(old, new))
    return path


def srcversion(system, name):
    return f"srcversion={find_file(system, name).srcversion}\0".encode()


@pytest.fixture
def other_build(system, tmp_path):
    """Puts both modules, one of them changed, into a directory."""

    def make(name, old, new):
        for module in ("memregion_test", "smccc_cache"):
            shutil.copy(find_file(system, module).path, tmp_path)
        return patched(system, tmp_path, name, old, new)

    return make


@pytest.mark.parametrize("name", ["memregion_test", "smccc_cache"])
def test_a_module_of_another_build_is_noticed(system, pyctl, unloaded, other_build, name):
    """Loaded is one whose source had another checksum than the file that pyctl would load."""
    ours = srcversion(system, name)
    file = other_build(name, ours, ours[:-5] + b"0000\0")
    assert pyctl("load", "--raw", "--modules", file.parent).status == 0
    status = pyctl("status", "--json")
    assert (status.status, status.json["ok"]) == (3, False)
    assert "another build" in status.message
    [entry] = [entry for entry in status.json["modules"] if entry["name"] == name]
    assert entry["build_matches"] is False
    load = pyctl("load", "--json")
    assert (load.status, "another build" in load.message) == (3, True)
    [check] = [c for c in pyctl("doctor", "--json").json["checks"] if c["name"] == name]
    assert (check["state"], check["needed"]) == ("missing", True)
    # What the failed load found loaded is still there.
    assert Path("/sys/module/smccc_cache").exists()


def test_a_module_of_another_version_is_refused(pyctl, target, unloaded, other_build):
    file = other_build("memregion_test", b"0.1.0\0", b"9.9.9\0")
    insert(file, "raw_calls=1")
    for via in WAYS:
        assert refused(pyctl(*target, "--via", via, "--json"), "9.9.9")
    for command in ("status", "attributes"):
        ended = pyctl(command, "--json")
        assert (ended.status, "9.9.9" in ended.message) == (3, True)


def test_a_module_for_another_kernel_is_not_loaded(pyctl, unloaded, other_build):
    release = os.uname().release.encode()
    other = release.replace(b"7.", b"6.", 1) if b"7." in release else b"x" + release[1:]
    file = other_build("memregion_test", b"vermagic=" + release, b"vermagic=" + other)
    ended = pyctl("load", "--modules", file.parent, "--json")
    assert (ended.status, ended.json["ok"]) == (3, False)
    assert other.decode() in ended.message
    assert not Path("/sys/module/memregion_test").exists()


def test_a_file_that_is_no_module_is_3(pyctl, unloaded, tmp_path):
    for content in (b"", b"\x7fELF", b"no module at all\n" * 100, bytes(range(256)) * 64):
        (tmp_path / "memregion_test.ko").write_bytes(content)
        ended = pyctl("load", "--modules", tmp_path)
        assert ended.status == 3
        assert "no kernel module" in ended.message


def check_of(doctor, name):
    """What the doctor says of one prerequisite."""
    return next(check for check in doctor.json["checks"] if check["name"] == name)


@pytest.mark.kernel_log("Lockdown")
@pytest.mark.pristine_board
def test_a_kernel_that_is_locked_down_is_3(irreversible, pyctl, target, debugfs):
    if not LOCKDOWN.exists():
        pytest.skip(f"{MISSING} a kernel that can be locked down")
    LOCKDOWN.write_text("integrity")
    # As with modules that are signed: root may look at them, and ask nothing.
    assert debugfs.info().version
    assert refused(pyctl(*target, "--json"), "locked down")
    doctor = pyctl("doctor", "--json")
    assert (doctor.status, check_of(doctor, "lockdown")["state"]) == (3, "missing")
    assert "integrity" in check_of(doctor, "lockdown")["why"]
    assert not [c for c in doctor.json["checks"] if c["state"] == "ok" and c["fix"]]
    assert pyctl("unload").status == 0
    load = pyctl("load", "--json")
    assert (load.status, load.json["ok"]) == (3, False)
    assert "locked down" in load.message
    assert "lockdown" in load.json["hint"]
    for command in ("status", "attributes"):
        assert pyctl(command).status == 3


@pytest.mark.kernel_log("Lockdown")
@pytest.mark.pristine_board
def test_lockdown_is_noticed_where_the_kernel_does_not_say_so(irreversible, pyctl, debugfs):
    if not LOCKDOWN.exists():
        pytest.skip(f"{MISSING} a kernel that can be locked down")
    LOCKDOWN.write_text("integrity")
    assert umount("/sys/kernel/security")
    doctor = pyctl("doctor", "--json")
    assert (doctor.status, check_of(doctor, "lockdown")["state"]) == (3, "missing")
    assert check_of(doctor, "memregion_test")["state"] == "ok"


@pytest.mark.kernel_log("is rejected")
@pytest.mark.pristine_board
def test_a_kernel_that_insists_on_signed_modules_is_3(irreversible, pyctl, unloaded):
    if not SIGNATURES.exists():
        pytest.skip(f"{MISSING} a kernel that can check signatures of modules")
    SIGNATURES.write_text("Y")
    load = pyctl("load", "--json")
    assert (load.status, load.json["ok"]) == (3, False)
    assert "memregion_test.ko is not signed" in load.message
    assert "mokutil --import" in load.json["hint"]
    doctor = pyctl("doctor", "--json")
    assert (doctor.status, check_of(doctor, "signatures")["state"]) == (3, "missing")
    assert not Path("/sys/module/memregion_test").exists()
