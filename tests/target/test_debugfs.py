# SPDX-License-Identifier: GPL-2.0-only
"""The debugfs files of both modules: their text, their refusals, their life.

A request that is not understood changes nothing: not the result that can be
read, not firmware, not the kernel log. What is open belongs to who opened it.
"""

import ctypes
import errno
import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from pyctl.firmware.settings import parse_setting
from pyctl.target.answers import Fields, Request, blocks
from pyctl.target.debugfs import exchange
from pyctl.target.kmod import insert, remove
from pyctl.target.modinfo import find_file
from tests.target.conftest import aimed_range
from tests.target.runner import Running

TOP = Path("/sys/kernel/debug")
TEST, PROVIDER = TOP / "memregion_test", TOP / "smccc_cache"
INVALIDATE, SMCCC = TEST / "invalidate", TEST / "smccc"
MODES = {
    TEST / "info": 0o400,
    TEST / "attributes": 0o400,
    TEST / "invalidate": 0o600,
    TEST / "scratch": 0o600,
    TEST / "reserved": 0o400,
    PROVIDER / "attributes": 0o400,
    PROVIDER / "counters": 0o400,
    PROVIDER / "parameters": 0o400,
}
RAW_MODES = {
    TEST / "smccc": 0o600,
    TEST / "memory_cached": 0o600,
    TEST / "memory_noncached": 0o600,
}
READ_ONLY = [path for path, mode in MODES.items() if mode == 0o400]
MAX_REQUEST_BYTES = 4096
# What is sent to be refused only: no memory of a machine is taken for granted.
GOOD = b"addr=0x5f000000 size=4096 via=smccc"

MALFORMED = [
    *(b"\n", b" \t \n\n", b"=", b"x", b"addr", b"\0", GOOD + b"\0", b"\0" + GOOD),
    *(b"addr=4096", b"size=4096", b"addr=4096 size", b"addr=4096 4096", b"4096 4096"),
    *(b"addr=4096 size=4096 addr=4096", b"addr=4096 size=4096 colour=red", b"Addr=1 size=1"),
    *(b"addr= size=1", b"addr=-1 size=1", b"addr=+1 size=1", b"addr=0x size=1", b"addr=x1 size=1"),
    *(b"addr=1.5 size=1", b"addr=1_0 size=1", b"addr=0b1 size=1", b"addr=12ab size=1"),
    *(
        b"addr=1Q size=1",
        b"addr=1KK size=1",
        b"addr=K size=1",
        b"addr=1k size=1",
        b"addr=1K1 size=1",
    ),
    *(b"addr=18446744073709551616 size=1", b"addr=0x10000000000000000 size=1"),
    *(b"addr=16777216T size=1", b"addr=1 size=1,", b"addr=1,size=1", b"addr=1 size=1\rvia=va"),
    *(GOOD + b" via=va", b"addr=1 size=1 via=", b"addr=1 size=1 via=VA", b"addr=1 size=1 via=vax"),
    *(
        GOOD + b" count=0",
        GOOD + b" count=1000001",
        GOOD + b" count=-1",
        GOOD + b" count=4294967297",
    ),
    *(GOOD + b" threads=0", GOOD + b" threads=257", GOOD + b" count=4000 threads=251"),
    *(GOOD + b" dry_run=2", GOOD + b" dry_run=", b"addr=1 size=1 dry_run=1"),
    *(b"addr=1 size=1 via=va dry_run=1", b"addr=1 size=1 via=memregion dry_run=1"),
    *(GOOD + b"\nnonsense", b"nonsense\n" + GOOD, GOOD + b"\n" + GOOD + b" dry_run=3"),
    *(bytes(range(1, 256)), bytes(range(128, 256)) * 8, b"\xff" * MAX_REQUEST_BYTES),
    *(b"addr=\xc2\xa01 size=1", b"addr=\xd9\xa1 size=1", b"%s%n%x=%p", b"a" * MAX_REQUEST_BYTES),
]
MALFORMED_RAW = [
    *(b"\n", b"x1=1", b"fid", b"fid=", b"fid=-1", b"fid=0x100000000", b"fid=1 fid=1", b"\0fid=1"),
    *(b"fid=0x80000000 x0=1", b"fid=0x80000000 x18=1", b"fid=0x80000000 x1=", b"fid=1 x01=1"),
    *(b"fid=0x80000000 x1=0x10000000000000000", b"fid=0x80000000 conduit=none"),
    *(b"fid=0x80000000 conduit=SMC", b"fid=0x80000000 cpu=-1", b"fid=0x80000000 cpu=4096"),
    *(b"fid=0x80000000 cpu=0x100000000", b"fid=0x80000000\nfid=0x80000000 x1=1 x1=1"),
    *(b"fid=0xc0000005 x1=4096 x2=4096\nnonsense", bytes(range(256)), b"\xff" * MAX_REQUEST_BYTES),
]


class File:
    """An open file of a module."""

    def __init__(self, path, flags=os.O_RDWR):
        self.fd = os.open(path, flags)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def write(self, data):
        """Write once; give the errno, or 0 if all of it was taken."""
        try:
            assert os.write(self.fd, data) == len(data)
        except OSError as error:
            return error.errno
        return 0

    def read(self):
        data = b""
        while part := os.pread(self.fd, 65536, len(data)):
            data += part
        return data


@pytest.fixture
def good(target_range):
    """A request that is carried out."""
    return f"addr={target_range.addr:#x} size=4096 via=smccc".encode()


def firmware_was_called(stub):
    return stub.get("clean_inv_calls") + stub.get("attributes_calls") + stub.get("unknown_calls")


def our_lines(log):
    return [text for _, text in log.read() if "memregion_test" in text or "smccc_cache" in text]


# -- which files there are ----


def test_every_file_is_known_and_for_root_alone(provider):
    found = {path for top in (TEST, PROVIDER) for path in top.iterdir()}
    known = MODES | RAW_MODES
    assert found == set(known)
    for path, mode in known.items():
        info = path.stat()
        assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (mode, 0, 0), path


def test_another_user_opens_nothing(provider):
    # Not even where the directories above were opened to everybody.
    os.chmod(TOP, 0o755)

    def job():
        for path in MODES | RAW_MODES:
            for flags in (os.O_RDONLY, os.O_WRONLY):
                with pytest.raises(PermissionError):
                    os.close(os.open(path, flags))
        return 0

    ended = Running(job, uid=65534).wait()
    os.chmod(TOP, 0o700)
    assert ended.status == 0, ended.err


def test_raw_files_exist_only_if_asked_for(system, provider, pyctl):
    provider.unload()
    remove("memregion_test")
    file = find_file(system, "memregion_test")
    for parameters in ([], ["raw_calls=0"]):
        insert(file.path, *parameters)
        assert {path.name for path in TEST.iterdir()} == {
            *("info", "attributes", "invalidate", "scratch", "reserved")
        }
        assert not provider.debugfs.info().raw_calls
        ended = pyctl("load", "--raw")
        assert (ended.status, "without raw calls" in ended.message) == (3, True)
        remove("memregion_test")
    insert(file.path, "raw_calls=1")
    assert {path.name for path in TEST.iterdir()} == {path.name for path in MODES | RAW_MODES} - {
        "counters",
        "parameters",
    }
    # It cannot be turned on behind the back of whoever loaded the module.
    assert stat.S_IMODE(os.stat("/sys/module/memregion_test/parameters/raw_calls").st_mode) == 0o400


# -- formats ----


def test_info_says_what_the_kernel_says(provider):
    lines = [line.split("=") for line in (TEST / "info").read_text().splitlines()]
    assert [key for key, _ in lines] == [
        *("version", "framework", "provider", "smccc_version", "conduit", "pa_bits"),
        *("page_size", "dcache_line_size", "raw_calls", "max_count", "max_threads"),
        *("max_request_bytes", "scratch_max_bytes"),
    ]
    values = dict(lines)
    assert int(values["page_size"]) == os.sysconf("SC_PAGE_SIZE")
    assert int(values["dcache_line_size"]) in (16, 32, 64, 128, 256)
    assert int(values["pa_bits"]) in (32, 36, 40, 42, 44, 48, 52, 56)
    assert values["framework"] == values["provider"] == values["raw_calls"] == "1"
    assert values["version"] == Path("/sys/module/memregion_test/version").read_text().strip()
    provider.unload()
    assert "provider=0\n" in (TEST / "info").read_text()


def test_the_providers_files_have_the_documented_lines(provider, target_range):
    keys = {
        name: [line.partition("=")[0] for line in (PROVIDER / name).read_text().splitlines()]
        for name in ("attributes", "counters", "parameters")
    }
    assert keys == {
        "attributes": [
            *("smccc_version", "conduit", "status", "x0", "x1", "x2", "x3", "x4"),
            *("global", "latency_us", "rate_per_s", "break_even_bytes", "delay_us"),
        ],
        "counters": [
            *("requests", "calls", "busy", "rate_limited", "errors", "waited_ns", "last_status"),
        ],
        "parameters": ["tries", "delay_default_us", "delay_max_us"],
    }
    text = (PROVIDER / "parameters").read_text()
    assert text == "tries=5\ndelay_default_us=1000\ndelay_max_us=20000\n"


def test_a_result_repeats_its_request_and_says_the_rest(provider, good):
    requests = (
        b"addr=1G size=0x2K via=va\n\n  addr=0x10\tsize=16  via=memregion count=2 threads=3\n"
    )
    requests = requests.replace(b"0x2K", b"2K")
    first, second, third = blocks(exchange(INVALIDATE, requests + good + b" dry_run=1\n").decode())
    common = [
        *("addr", "size", "via", "count", "threads", "dry_run", "errno", "completed", "vacuous"),
        *("interrupted", "provider", "min_ns", "p50_ns", "p99_ns", "max_ns", "total_ns"),
    ]
    firmware = ["fw_calls", "fw_busy", "fw_rate_limited", "fw_last_status"]
    for text, expected in ((first, common), (second, common), (third, common + firmware)):
        assert [line.partition("=")[0] for line in text.splitlines()] == expected
    assert first.startswith("addr=0x40000000\nsize=0x800\nvia=va\ncount=1\nthreads=1\ndry_run=0\n")
    assert second.startswith("addr=0x10\nsize=0x10\nvia=memregion\ncount=2\nthreads=3\ndry_run=0\n")
    assert "dry_run=1\n" in third


# -- requests that are refused ----


def check_refusals(path, good, malformed, stub, kernel_log):
    kernel_log.read()
    with File(path) as file, File(path) as fresh:
        assert file.write(good) == 0
        kept = file.read()
        stub.reset(records_only=True)
        for data in malformed:
            assert file.write(data) == errno.EINVAL, data[:80]
            assert fresh.write(data) == errno.EINVAL, data[:80]
        for data in (
            good + b" " * MAX_REQUEST_BYTES,
            b"\xff" * 65536,
            b"\0" * (MAX_REQUEST_BYTES + 1),
        ):
            assert file.write(data) == errno.E2BIG
        for address in (0, 8, 1 << 47, 0xFFFF_0000_0000_0000):
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.write(file.fd, ctypes.c_void_p(address), 32) == -1
            assert ctypes.get_errno() == errno.EFAULT
        assert file.read() == kept != b""
        assert fresh.read() == b""
    assert our_lines(kernel_log) == []


def test_a_malformed_invalidate_changes_nothing(provider, stub, kernel_log, good):
    check_refusals(INVALIDATE, good, MALFORMED, stub, kernel_log)
    assert firmware_was_called(stub) == 0


def test_a_malformed_raw_call_changes_nothing(provider, stub, kernel_log):
    # An id that nobody knows would be counted.
    malformed = [data.replace(b"fid=1 ", b"fid=0xc600ffff ") for data in MALFORMED_RAW]
    check_refusals(SMCCC, b"fid=0x80000000", malformed, stub, kernel_log)
    assert firmware_was_called(stub) == 0


def test_a_call_on_a_cpu_that_is_offline_is_refused(provider, stub, two_cpus):
    cpu = Path("/sys/devices/system/cpu/cpu1/online")
    cpu.write_text("0")
    with File(SMCCC) as file:
        assert file.write(b"fid=0xc600ffff cpu=1") == errno.ENXIO
        assert file.read() == b""
    assert stub.get("unknown_calls") == 0
    cpu.write_text("1")
    assert b"x0=0xffffffff" in exchange(SMCCC, b"fid=0xc600ffff cpu=1")


def test_the_longest_request_is_taken_whole(provider, stub, good):
    text = good + b"\n"
    text += text * (MAX_REQUEST_BYTES // len(text) - 1)
    text += b" " * (MAX_REQUEST_BYTES - len(text))
    answer = exchange(INVALIDATE, text).decode()
    assert len(list(blocks(answer))) == text.count(b"\n") == stub.get("clean_inv_calls")


def test_what_is_read_only_takes_no_write(provider, stub, kernel_log):
    kernel_log.read()
    for path in READ_ONLY:
        before = path.read_text()
        for data in (b"", b"1", GOOD, b"\xff" * 8192):
            # Root passes the mode; there is nothing behind it that would write.
            with File(path, os.O_WRONLY) as file:
                assert file.write(data) in (0 if not data else errno.EINVAL, errno.EINVAL), path
        assert path.read_text() == before
    assert stub.get("clean_inv_calls") == 0
    assert our_lines(kernel_log) == []


# -- several at once ----


def together(jobs):
    """Run them in threads at the same time; re-raise what one of them raised."""
    errors = []

    def guarded(job):
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - to be raised where pytest sees it
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_users_at_the_same_time_each_get_their_own_result(provider, stub, target_range):
    def user(number):
        def job():
            with File(INVALIDATE) as file:
                for round_number in range(10):
                    size = 0x1000 * (1 + number * 10 + round_number)
                    request = Request(target_range.addr, size, "smccc")
                    assert file.write(request.text().encode()) == 0
                    assert Fields("", file.read().decode()).number("size") == size

        return job

    together([user(number) for number in range(4)])
    assert sorted(call.length for call in stub.log()) == [0x1000 * n for n in range(1, 41)]


def test_writes_through_one_open_file_are_never_mixed(provider, stub, target_range):
    """Each write is a request of its own; a result that is read is one whole result."""
    sizes = range(0x1000, 0x9000, 0x1000)
    with File(INVALIDATE) as file:

        def writer(size):
            def job():
                for _ in range(5):
                    line = Request(target_range.addr, size, "smccc").text().encode()
                    assert file.write(line * 3) == 0
                    assert file.write(b"addr=0x5f000000 ") == errno.EINVAL

            return job

        def reader():
            for _ in range(40):
                # One call, so that the writers cannot come between two parts of it.
                text = os.pread(file.fd, 65536, 0).decode()
                found = [Fields("", block).number("size") for block in blocks(text)]
                assert len(found) in (0, 3)
                assert len(set(found)) <= 1

        together([*(writer(size) for size in sizes), reader])
    seen = [call.length for call in stub.log()]
    assert len(seen) == 5 * 3 * len(sizes)
    for start in range(0, len(seen), 3):
        assert len(set(seen[start : start + 3])) == 1, "the lines of one write stay together"


def test_half_a_request_is_never_completed_by_the_next_write(provider, stub):
    with File(INVALIDATE) as file:
        assert file.write(b"addr=0x5f000000 ") == errno.EINVAL
        assert file.write(b"size=4096") == errno.EINVAL
    assert stub.get("clean_inv_calls") == 0


def test_a_result_belongs_to_the_open_file(provider, good):
    with File(INVALIDATE) as first, File(INVALIDATE) as second:
        assert first.write(good) == 0
        assert second.read() == b""
        assert second.write(good + b" count=2") == 0
        assert b"count=1\n" in first.read()
        with File(INVALIDATE) as third:
            assert third.read() == b""


# -- reading in parts ----


def test_parts_and_seeks_give_the_same_bytes(provider, good, target_range):
    with File(INVALIDATE) as file:
        assert file.write((good + b"\n") * 40) == 0
        whole = file.read()
        assert len(whole) > 8192, "more than a page, so that the kernel prints it in parts"
        by_pieces = b""
        while part := os.read(file.fd, 7):
            by_pieces += part
        assert by_pieces == whole
        for offset in (0, 1, 100, 4095, 4096, len(whole) - 1):
            assert os.lseek(file.fd, offset, os.SEEK_SET) == offset
            assert os.read(file.fd, 50) == whole[offset : offset + 50]
        for offset in (len(whole), len(whole) + 1, 1 << 40):
            assert os.pread(file.fd, 50, offset) == b""
        # A refused write leaves the place of the reader alone, an accepted one goes back.
        os.lseek(file.fd, 10, os.SEEK_SET)
        assert file.write(b"nonsense") == errno.EINVAL
        assert os.read(file.fd, 5) == whole[10:15]
        assert file.write(good) == 0
        first = f"addr={target_range.addr:#x}\n".encode()
        assert os.read(file.fd, len(first)) == first


# -- how it ends ----


def references(module="memregion_test"):
    return int(Path(f"/sys/module/{module}/refcnt").read_text())


def kernel_threads():
    names = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            names.append(path.read_text())
        except OSError:
            continue
    return [name for name in names if name.startswith("memregion_test")]


@pytest.mark.parametrize("threads", [1, 4])
def test_a_killed_process_leaves_nothing_behind(provider, stub, wait_until, threads):
    stub.set(parse_setting("duration_us=20000"))
    with aimed_range(provider.debugfs) as memory:
        request = Request(memory.addr, 4096, "smccc", 10000, threads).text().encode()
        process = Running(lambda: len(exchange(INVALIDATE, request)) and 0)
        wait_until(lambda: stub.get("clean_inv_calls") > 3, "the work began")
        process.kill(signal.SIGKILL)
        assert process.wait().status == -signal.SIGKILL
    assert (kernel_threads(), references()) == ([], 0)
    calls = stub.get("clean_inv_calls")
    assert calls < 1000
    assert calls == stub.get("clean_inv_calls"), "nobody goes on calling"
    provider.unload()
    remove("memregion_test")
    file = find_file(provider.debugfs.system, "memregion_test")
    insert(file.path, "raw_calls=1")


def test_an_open_file_holds_its_module(system, provider, pyctl):
    for path in MODES | RAW_MODES:
        module = path.parent.name
        with File(path, os.O_RDONLY) as file:
            with pytest.raises(BlockingIOError):
                remove(module)
            assert references(module) == 1
            ended = pyctl("unload", "--json")
            assert (ended.status, ended.json["ok"]) == (1, False)
            assert "open" in ended.json["hint"]
            if path.name not in RAW_MODES and not path.name.startswith("memory"):
                file.read()
        if module == "memregion_test":
            # The attempt above has taken the provider, which was free.
            assert not (PROVIDER / "info").exists()
            provider.try_load()
    assert pyctl("unload").status == 0
    assert not TEST.exists()
    assert not PROVIDER.exists()
    assert pyctl("load", "--raw").status == 0


def test_both_modules_can_be_loaded_again_and_again(system, provider, stub):
    files = [find_file(system, name).path for name in ("memregion_test", "smccc_cache")]
    for _ in range(15):
        provider.unload()
        remove("memregion_test")
        assert not TEST.exists()
        assert not PROVIDER.exists()
        insert(files[0], "raw_calls=1")
        insert(files[1])
        with aimed_range(provider.debugfs) as memory:
            assert provider.call(memory.addr, 4096).completed == 1
        assert provider.debugfs.provider_counters().calls == 1
    assert stub.get("clean_inv_calls") == 15


# -- bytes of physical memory ----


def test_both_mappings_show_the_same_memory(provider, reserved_range):
    """True on this board, whose caches are coherent with everything (or modelled elsewhere)."""
    with File(TEST / "memory_cached") as cached, File(TEST / "memory_noncached") as noncached:
        for number, (writer, reader) in enumerate(
            [(cached, cached), (noncached, noncached), (cached, cached)]
        ):
            data = bytes((number + n) % 251 for n in range(5000))
            address = reserved_range.addr + 4093
            assert os.pwrite(writer.fd, data, address) == len(data)
            assert os.pread(reader.fd, len(data), address) == data
        assert len(os.pread(cached.fd, 1 << 20, reserved_range.addr)) == 65536
        assert os.pread(cached.fd, 0, reserved_range.addr) == b""
        os.lseek(cached.fd, reserved_range.addr, os.SEEK_SET)
        assert os.read(cached.fd, 4) + os.read(cached.fd, 4) == os.pread(
            noncached.fd, 8, reserved_range.addr
        )
        assert os.lseek(cached.fd, 0, os.SEEK_CUR) == reserved_range.addr + 8


def iomem(name):
    """The first address of a resource; /proc/iomem shows it to root."""
    for line in Path("/proc/iomem").read_text().splitlines():
        span, _, found = line.strip().partition(" : ")
        if name in found:
            return int(span.split("-")[0], 16)
    raise AssertionError(f"no {name} in /proc/iomem")


def reservation(address):
    """Where what is reserved around an address begins: other reservations may lie before it."""
    for line in Path("/proc/iomem").read_text().splitlines():
        first, _, last = line.strip().partition(" : ")[0].partition("-")
        if line.endswith("reserved") and int(first, 16) <= address <= int(last, 16):
            return int(first, 16)
    raise AssertionError(f"nothing is reserved at {address:#x}")


def test_memory_of_others_is_refused(provider, reserved_range):
    refused = {
        iomem("Kernel code"): errno.EPERM,
        iomem("System RAM"): errno.EPERM,
        # No RAM begins or ends within what is asked for.
        reserved_range.end - 4: errno.ENXIO,
        reservation(reserved_range.addr) - 4: errno.EPERM,
        0: errno.ENXIO,
        iomem("pl011"): errno.ENXIO,
        iomem("PCI ECAM"): errno.ENXIO,
        1 << 52: errno.EINVAL,
        2**63 - 4: errno.EINVAL,
    }
    for name in ("memory_cached", "memory_noncached"):
        with File(TEST / name) as file:
            for address, number in refused.items():
                for act in (
                    lambda fd, at: os.pread(fd, 8, at),
                    lambda fd, at: os.pwrite(fd, bytes(8), at),
                ):
                    with pytest.raises(OSError, match=r".*") as raised:
                        act(file.fd, address)
                    assert raised.value.errno == number, hex(address)
            with pytest.raises(OSError, match="Invalid"):
                os.lseek(file.fd, 0, os.SEEK_END)
            libc = ctypes.CDLL(None, use_errno=True)
            libc.pwrite.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64]
            assert libc.pwrite(file.fd, 8, 64, reserved_range.addr) == -1
            assert ctypes.get_errno() == errno.EFAULT
