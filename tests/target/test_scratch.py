# SPDX-License-Identifier: GPL-2.0-only
"""Scratch: memory of the test module's own, for who has the open file and for nobody else."""

import contextlib
import errno
import os
import signal
import time
from pathlib import Path

import pytest

from pyctl.firmware.client import Faults, Stub
from pyctl.firmware.faults import parse_faults
from pyctl.firmware.settings import parse_setting
from pyctl.target.answers import Fields, Request, blocks
from pyctl.target.debugfs import Debugfs, exchange
from pyctl.target.kmod import insert, remove
from pyctl.target.modinfo import find_file
from tests.harness.reports import OTHER_KIND
from tests.target.runner import Running

TOP = Path("/sys/kernel/debug/memregion_test")
SCRATCH = TOP / "scratch"
CACHED, NONCACHED = 1 << 60, 1 << 61
GUARD = 64 << 10
MIB = 1 << 20


class Scratch:
    """An open scratch file with memory."""

    def __init__(self, words):
        self.fd = os.open(SCRATCH, os.O_RDWR)
        try:
            os.write(self.fd, words.encode())
        except OSError:
            os.close(self.fd)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    @property
    def answer(self):
        return Fields("scratch", os.pread(self.fd, 4096, 0).decode())

    @property
    def addr(self):
        return self.answer.number("addr")

    def read(self, view, addr, size):
        return os.pread(self.fd, size, view + addr)

    def write(self, view, addr, data):
        return os.pwrite(self.fd, data, view + addr)


def refusal(words):
    """The errno of a request that is refused."""
    try:
        with Scratch(words):
            return 0
    except OSError as error:
        return error.errno


@pytest.fixture
def largest(debugfs):
    """More than this in one piece needs a kernel that gives it to modules."""
    kernel = tuple(int(n) for n in os.uname().release.split(".")[:2])
    return 512 * MIB if kernel >= (7, 2) else MIB


def test_it_is_zeroed_and_says_where_it_is(debugfs):
    size = 320 << 10  # whole pages, also of 64 KiB
    with Scratch("size=320K") as scratch:
        answer = scratch.answer
        assert answer.number("addr") % os.sysconf("SC_PAGE_SIZE") == 0
        assert answer.number("size") == size
        assert answer.number("node") == 0
        assert answer.text("guards") == "intact"
        for view in (CACHED, NONCACHED):
            # The last access reaches beyond the end, and ends there.
            for place in range(0, size, 48 << 10):
                data = scratch.read(view, scratch.addr + place, 64 << 10)
                assert data == bytes(len(data))
                assert len(data) == min(64 << 10, size - place)
    handle = os.open(SCRATCH, os.O_RDWR)
    assert os.pread(handle, 4096, 0) == b""
    os.close(handle)


def test_the_size_is_rounded_up_to_pages(debugfs):
    page = os.sysconf("SC_PAGE_SIZE")
    with Scratch("size=1\n") as scratch:
        assert scratch.answer.number("size") == page


# Where the kernel zeroes whatever it gives, nobody could see who has done it.
@pytest.mark.board(append="init_on_alloc=0")
def test_nobodys_old_bytes_are_in_it(debugfs, largest):
    """Not even its own from before, in either view."""
    seen: set[int] = set()
    looks = 0
    for size in (min(8 * MIB, largest), MIB, 64 << 10):
        for view in (CACHED, NONCACHED) * 3:
            with Scratch(f"size={size}") as scratch:
                places = range(scratch.addr, scratch.addr + size, 64 << 10)
                for at in places:
                    assert not any(scratch.read(CACHED, at, 64 << 10))
                    assert not any(scratch.read(NONCACHED, at, 64 << 10))
                for at in places:
                    scratch.write(view, at, b"\xee" * (64 << 10))
                seen.update(places)
                looks += len(places)
    assert len(seen) < looks, "the same memory comes again"


def test_both_views_are_of_the_same_bytes(debugfs):
    with Scratch("size=128K") as scratch:
        for number, (writer, reader) in enumerate([(CACHED, NONCACHED), (NONCACHED, CACHED)]):
            data = bytes((number + n) % 251 for n in range(5000))
            at = scratch.addr + 4093
            assert scratch.write(writer, at, data) == len(data)
            assert scratch.read(reader, at, len(data)) == data
        assert scratch.read(CACHED, at + len(data), 16) == bytes(16)


def test_nothing_outside_is_reached(debugfs):
    with Scratch("size=64K") as scratch, Scratch("size=64K") as other:
        end = scratch.addr + (64 << 10)
        for view in (CACHED, NONCACHED):
            assert scratch.read(view, end - 8, 64) == bytes(8)
            assert scratch.write(view, end - 8, bytes(64)) == 8
            outside = (0, scratch.addr - 1, scratch.addr - GUARD, end, end + GUARD, other.addr)
            for addr in (*outside, (1 << 60) - 1):
                with pytest.raises(OSError, match="No such device"):
                    scratch.read(view, addr, 8)
                with pytest.raises(OSError, match="No such device"):
                    scratch.write(view, addr, bytes(8))
        assert scratch.answer.text("guards") == "intact"
        # What other files reach it is not.
        for name in ("memory_cached", "memory_noncached"):
            if (TOP / name).exists():
                handle = os.open(TOP / name, os.O_RDWR)
                with pytest.raises(PermissionError):
                    os.pread(handle, 8, scratch.addr)
                os.close(handle)
        # Who has opened the file himself has nothing.
        handle = os.open(SCRATCH, os.O_RDWR)
        with pytest.raises(OSError, match="No such device"):
            os.pread(handle, 8, CACHED + scratch.addr)
        os.close(handle)


def test_a_child_that_inherits_it_has_it(debugfs):
    with Scratch("size=64K") as scratch:
        ended = Running(lambda: scratch.write(CACHED, scratch.addr, b"child") - 5).wait()
        assert (ended.status, scratch.read(CACHED, scratch.addr, 5)) == (0, b"child")


@pytest.mark.parametrize(
    ("words", "number"),
    [
        *((words, errno.EINVAL) for words in ("size=0", "size=", "size", "node=0", "x", "size=-1")),
        *((words, errno.EINVAL) for words in ("size=1 size=1", "size=1\nsize=1", "size=1 node=")),
        ("size=1 node=1", errno.ENXIO),
        ("size=1 node=4095", errno.ENXIO),
        ("size=1 node=18446744073709551615", errno.ENXIO),
        ("size=1025M", errno.E2BIG),
        ("size=0xffffffffffffffff", errno.E2BIG),
        # More than the machine has, and less than the bound.
        ("size=1G", errno.ENOMEM),
    ],
)
def test_what_cannot_be_is_refused(debugfs, largest, words, number):
    if words == "size=1G" and largest < 64 * MIB:
        number = errno.EOPNOTSUPP
    assert refusal(words) == number
    assert refusal(words + " " * 4096) == errno.E2BIG
    with Scratch("size=64K"):
        pass


def test_a_file_has_one_memory(debugfs):
    with Scratch("size=64K") as scratch:
        addr = scratch.addr
        with pytest.raises(OSError, match="busy"):
            os.pwrite(scratch.fd, b"size=64K", 0)
        assert scratch.addr == addr


def test_owners_share_the_bound(system, unloaded):
    insert(find_file(system, "memregion_test").path, "scratch_max_bytes=262144")
    assert Debugfs(system).info().scratch_max_bytes == 262144
    assert refusal("size=260K") == errno.E2BIG
    with Scratch("size=128K"):
        with Scratch("size=128K"):
            assert refusal("size=1") == errno.ENOSPC
        assert refusal("size=132K") == errno.ENOSPC
        with Scratch("size=128K"):
            pass
    with Scratch("size=256K"):
        pass


def test_it_needs_no_raw_calls(system, unloaded):
    insert(find_file(system, "memregion_test").path)
    with Scratch("size=64K") as scratch:
        assert scratch.write(NONCACHED, scratch.addr, b"x") == 1


@pytest.mark.parametrize("via", ["memregion", "smccc", "va"])
def test_it_can_be_invalidated(provider, stub, via):
    with Scratch("size=256K") as scratch:
        data = os.urandom(64 << 10)
        scratch.write(CACHED, scratch.addr, data)
        assert provider.call(scratch.addr, 256 << 10, via=via).completed == 1
        assert scratch.read(CACHED, scratch.addr, len(data)) == data
        assert scratch.answer.text("guards") == "intact"
        if via != "va":
            [call] = stub.log()
            assert (call.base, call.length) == (scratch.addr, 256 << 10)


@pytest.mark.board(append="reserve_mem=1M:1M:memregion reserve_mem=64K:64K:memregion1")
def test_what_was_reserved_by_name_is_told(debugfs):
    first, second = (Fields("reserved", text) for text in blocks((TOP / "reserved").read_text()))
    assert (first.text("name"), first.number("size")) == ("memregion", MIB)
    assert (second.text("name"), second.number("size")) == ("memregion1", 64 << 10)
    for found in (first, second):
        assert found.number("addr") % found.number("size") == 0
        with Scratch("size=64K") as scratch:
            assert not 0 <= scratch.addr - found.number("addr") < found.number("size")


def test_where_nothing_was_reserved_nothing_is_told(debugfs):
    if "reserve_mem=" in Path("/proc/cmdline").read_text():
        pytest.skip(f"{OTHER_KIND} one without reserve_mem= on its command line")
    assert (TOP / "reserved").read_text() == ""


# -- bad days ----


def module_references():
    return int(Path("/sys/module/memregion_test/refcnt").read_text())


def test_it_goes_with_its_owner(debugfs, wait_until):
    """However the owner ends; the same memory then serves the next."""

    def hold():
        with Scratch("size=900M" if free_mib() > 1800 else "size=64K"):
            signal.pause()

    for _ in range(3):
        process = Running(hold)
        wait_until(lambda: module_references() == 1, "the file is open")
        time.sleep(0.05)
        process.kill(signal.SIGKILL)
        assert process.wait().status == -signal.SIGKILL
        assert module_references() == 0
        with Scratch("size=64K") as scratch:
            assert scratch.answer.text("guards") == "intact"


def free_mib():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    raise AssertionError("no MemAvailable in /proc/meminfo")


def test_an_open_file_holds_the_module(debugfs):
    with Scratch("size=64K") as scratch:
        with pytest.raises(BlockingIOError):
            remove("memregion_test")
        assert scratch.write(CACHED, scratch.addr, b"x") == 1
    assert module_references() == 0


def test_memory_stays_while_firmware_may_still_be_in_it(
    system, unloaded, stub_after, wait_until, two_cpus
):
    """The owner and the caller are two processes, and the owner is killed."""
    insert(find_file(system, "memregion_test").path, "raw_calls=1", "scratch_max_bytes=65536")
    stub = stub_after()
    stub.set(parse_setting("duration_us=300000"))
    reader, writer = os.pipe()

    def own():
        with Scratch("size=64K") as scratch:
            os.write(writer, f"{scratch.addr}".encode())
            signal.pause()

    owner = Running(own)
    addr = int(os.read(reader, 20))
    text = Request(addr, 4096, "smccc", 2).text()
    caller = Running(lambda: len(exchange(TOP / "invalidate", text.encode())) and 0)
    wait_until(lambda: stub.get("clean_inv_calls") == 1, "the call is in firmware")
    owner.kill(signal.SIGKILL)
    assert owner.wait().status == -signal.SIGKILL
    assert refusal("size=64K") == errno.ENOSPC, "the memory is still kept"
    assert caller.wait().status == 0
    assert stub.get("clean_inv_calls") == 2
    with Scratch("size=64K") as scratch:
        assert scratch.answer.text("guards") == "intact"


@pytest.fixture
def stub_after(debugfs):
    """The stub, once the module is there again."""

    def identify():
        stub = Stub(lambda fid, arguments: debugfs.raw_call(fid, tuple(arguments)))
        stub.reset()
        return stub

    return identify


@pytest.mark.parametrize("overshoot", [-GUARD, GUARD])
def test_firmware_that_overshoots_is_seen_in_the_guards(provider, stub, overshoot):
    """A modelled cache over scratch and guards: what is invalidated there comes from a device."""
    with Scratch("size=64K") as scratch, Scratch("size=64K") as other:
        stub.start_model(scratch.addr - GUARD, 3 * GUARD, 64)
        other.write(CACHED, other.addr, bytes(64))
        damage = scratch.addr + overshoot + 256
        stub.copy_media(damage, 64, other.addr, to_media=True)
        assert provider.call(scratch.addr, 64 << 10, via="smccc").completed == 1
        assert scratch.answer.text("guards") == "intact"
        Faults(stub).replace(parse_faults(f"wrong_base:{overshoot}"))
        assert provider.call(scratch.addr, 64 << 10, via="smccc").completed == 1
        stub.stop_model()
        # Seen right after the call, and not forgotten.
        assert scratch.answer.text("guards") == "damaged"
        assert scratch.answer.number("first_damage") == damage
        assert other.answer.text("guards") == "intact"


def test_pressure_refuses_and_kills_nobody(debugfs):
    """All that the machine has is taken in pieces; at the end one is refused."""
    number = 0
    with contextlib.ExitStack() as held:
        try:
            for _ in range(1024):
                held.enter_context(Scratch("size=2M"))
        except OSError as error:
            number = error.errno
    assert number in (errno.ENOMEM, errno.ENOSPC)
    with Scratch("size=64K") as scratch:
        assert scratch.answer.text("guards") == "intact"
