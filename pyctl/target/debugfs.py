# SPDX-License-Identifier: GPL-2.0-only
"""The one door to debugfs: every file of our modules is opened here and nowhere else.

So there is one place that knows why a file cannot be opened (not root, debugfs
not mounted, lockdown, module missing or another version of it) and says it with
the cure.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from pyctl import __version__
from pyctl.errors import NotReady, OperationFailed
from pyctl.target.answers import (
    Counters,
    Discovery,
    Fields,
    Info,
    NamedRange,
    ProviderAttributes,
    RawAnswer,
    RawRequest,
    Record,
    Request,
    blocks,
)
from pyctl.target.bounded import Caller, Ending
from pyctl.target.raw import cpus_of, joined, leaving_a_cpu, registers
from pyctl.target.system import System

MOUNT_POINT = "/sys/kernel/debug"
TEST_MODULE = "memregion_test"
PROVIDER_MODULE = "smccc_cache"
NO_DEBUGFS = "The kernel has no debugfs: CONFIG_DEBUG_FS is off, or debugfs= on its command line."
NO_DEBUGFS_FIX = (
    "Boot a kernel with CONFIG_DEBUG_FS=y, and without debugfs=off: the modules have no other door."
)
LOCKDOWN_FIX = (
    "Turn Secure Boot off, or boot without lockdown=. Signing the modules does not help: lockdown "
    "closes debugfs, too."
)
_RAW_FILES = {
    "smccc": "Raw SMCCC calls are",
    "memory_cached": "Access to physical memory is",
    "memory_noncached": "Access to physical memory is",
}
"""Files that exist only with raw_calls=1, and what is amiss without."""
_NO_ACCESS = {
    errno.EPERM: "some of it is System RAM",
    errno.EBUSY: "a driver has claimed some of it",
    errno.ENXIO: "nobody says of all of it that it is memory",
}
"""Why bytes cannot be read or written, by the module's errno."""


class Debugfs:
    """The files of memregion_test and smccc_cache on one system.

    Every method raises NotReady where the file cannot be reached, with the
    reason and the cure, and OperationFailed where the module refuses a request.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self._caller = Caller()

    def info(self) -> Info:
        """What memregion_test says about itself; refuses another version than ours."""
        info = Info.parse(self._fields(TEST_MODULE, "info"))
        if info.version != __version__:
            raise NotReady(
                f"memregion_test is loaded in version {info.version}, this pyctl is {__version__}.",
                "Run `pyctl unload`, `pyctl build` and `pyctl load`.",
            )
        return info

    def require_requests(self) -> None:
        """Raise NotReady where the kernel lets nobody ask anything.

        Lockdown forbids that, and yet lets root read what the module says of itself
        (debugfs_locked_down() in fs/debugfs/file.c).
        """
        os.close(self._open("invalidate"))

    def discovery(self) -> Discovery:
        """Ask firmware, through memregion_test, for its functions and attributes."""
        return Discovery.parse(self._fields(TEST_MODULE, "attributes"))

    def has_provider_module(self) -> bool:
        """Whether our provider is loaded."""
        return self.system.path(f"/sys/module/{PROVIDER_MODULE}").exists()

    def provider_attributes(self) -> ProviderAttributes:
        """What our provider has taken from firmware."""
        return ProviderAttributes.parse(self._fields(PROVIDER_MODULE, "attributes"))

    def provider_counters(self) -> Counters:
        """Our provider's counters."""
        return Counters.parse(self._fields(PROVIDER_MODULE, "counters"))

    def invalidate(
        self, request: Request, timeout_s: float, cpu: int | None = None
    ) -> tuple[Record, Ending[bytes]]:
        """Have memregion_test carry out ``request``, written from ``cpu`` if one is given.

        Gives what came of it and whether a timeout or a Ctrl-C cut it short.
        Raises TargetLost where the call never comes back.
        """
        path = self._path(TEST_MODULE, "invalidate")
        try:
            job = partial(_exchange_from, path, request.text().encode(), cpu)
            ending = self._caller.run(job, timeout_s, cpus=() if cpu is None else {cpu})
        except OSError as error:
            raise self._refusal(TEST_MODULE, "invalidate", error) from error
        return _record(ending.value), ending

    def invalidate_unbounded(self, request: Request) -> Record:
        """The same in this very process, which somebody else must watch."""
        path = self._path(TEST_MODULE, "invalidate")
        try:
            return _record(exchange(path, request.text().encode()))
        except OSError as error:
            raise self._refusal(TEST_MODULE, "invalidate", error) from error

    def raw_call(self, function_id: int, arguments: Sequence[int]) -> list[int]:
        """Make one raw SMCCC call with ``arguments`` in x1...; gives x0 to x17.

        Exists only where memregion_test was loaded with raw_calls=1.
        """
        request = RawRequest(function_id, tuple(arguments)).text()
        try:
            answer = exchange(self._path(TEST_MODULE, "smccc"), request.encode())
        except OSError as error:
            raise self._refusal(TEST_MODULE, "smccc", error) from error
        return list(registers(answer, 1)[0].x)

    def raw_calls(
        self, requests: Sequence[RawRequest], timeout_s: float, interval_s: float = 0
    ) -> list[RawAnswer]:
        """Make raw SMCCC calls one after the other; gives what each returned.

        At least ``interval_s`` seconds lie between two calls. Raises KeyboardInterrupt on a
        Ctrl-C, OperationFailed where the time runs out between two calls, and TargetLost
        where one never comes back.
        """
        limit = 1 if interval_s else self.info().max_request_bytes
        answers: list[RawAnswer] = []
        # Somebody must be left to notice that a CPU does not come back.
        for part in leaving_a_cpu(requests, os.sched_getaffinity(0)):
            if answers:
                time.sleep(interval_s)
            answers += self._raw_calls(part, timeout_s, interval_s, limit)
        return answers

    def _raw_calls(
        self, requests: Sequence[RawRequest], timeout_s: float, interval_s: float, limit: int
    ) -> list[RawAnswer]:
        path = self._path(TEST_MODULE, "smccc")
        writes = list(joined([request.text().encode() for request in requests], limit))
        try:
            job = partial(_exchanges, path, writes, interval_s)
            ending = self._caller.run(job, timeout_s, cpus=cpus_of(requests))
        except OSError as error:
            raise self._refusal(TEST_MODULE, "smccc", error) from error
        if ending.interrupted:
            raise KeyboardInterrupt
        return registers(ending.value, len(requests))

    def vectors_changed_by(
        self, requests: Sequence[RawRequest], cpu: int, timeout_s: float
    ) -> list[str]:
        """The names of the SIMD and floating-point registers that raw calls from ``cpu`` change.

        Raises what ``raw_calls`` raises. The calls must name no CPU: another thread would
        make them, with registers of its own.
        """
        path = self._path(TEST_MODULE, "smccc")
        data = "".join(request.text() for request in requests).encode()
        try:
            ending = self._caller.run(partial(_vectors, path, data, cpu), timeout_s, cpus={cpu})
        except OSError as error:
            raise self._refusal(TEST_MODULE, "smccc", error) from error
        if ending.interrupted:
            raise KeyboardInterrupt
        return ending.value

    def read_memory(self, addr: int, size: int, cached: bool = True) -> bytes:
        """Physical memory through a cacheable, or a Normal non-cacheable, mapping.

        Exists, as does ``write_memory``, only where memregion_test was loaded with
        raw_calls=1, and for memory that neither the kernel nor a driver owns.
        """
        with self._memory(cached) as file:
            return read_at(file, addr, size)

    def write_memory(self, pieces: Iterable[tuple[int, bytes]], cached: bool = True) -> None:
        """The reverse: stores of bytes at addresses, in order, through either kind of mapping."""
        with self._memory(cached) as file:
            for addr, data in pieces:
                write_at(file, addr, data)

    @contextlib.contextmanager
    def memory_lock(self) -> Iterator[None]:
        """Keep all others out who ask for this lock, for a use of memory that takes two steps."""
        with self._memory(cached=True) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def scratch_file(self) -> Iterator[int]:
        """A newly opened file through which memory is had; see ``pyctl.target.scratch``."""
        file = self._open("scratch")
        try:
            yield file
        finally:
            os.close(file)

    def reserved(self) -> list[NamedRange]:
        """Memory that the kernel's command line has set aside for tests."""
        text = self._text(TEST_MODULE, "reserved")
        source = "memregion_test's file reserved"
        return [NamedRange.parse(Fields(source, block)) for block in blocks(text)]

    @contextlib.contextmanager
    def _memory(self, cached: bool) -> Iterator[int]:
        file = self._open("memory_cached" if cached else "memory_noncached")
        try:
            yield file
        except OSError as error:
            why = _NO_ACCESS.get(error.errno or 0, error.strerror)
            raise OperationFailed(
                f"memregion_test gives no access to this memory: {why}.",
                "Choose memory that `pyctl regions` marks safe, or scratch memory.",
            ) from error
        finally:
            os.close(file)

    def _open(self, name: str) -> int:
        try:
            return os.open(self._path(TEST_MODULE, name), os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise self._refusal(TEST_MODULE, name, error) from error

    def _path(self, module: str, name: str) -> Path:
        return self.system.path(f"{MOUNT_POINT}/{module}/{name}")

    def _text(self, module: str, name: str) -> str:
        try:
            return self._path(module, name).read_text(errors="replace")
        except OSError as error:
            raise self._refusal(module, name, error) from error

    def _fields(self, module: str, name: str) -> Fields:
        return Fields(f"{module}'s file {name}", self._text(module, name))

    def _refusal(self, module: str, name: str, error: OSError) -> NotReady | OperationFailed:
        """Why a file did not open, or what the module meant by the errno that it gave."""
        return unreachable(self.system, module) or self._module_errno(module, name, error)

    def _module_errno(self, module: str, name: str, error: OSError) -> NotReady | OperationFailed:
        if error.errno == errno.EPERM:
            return NotReady(
                f"The kernel does not let root open {module}'s file {name}: "
                + (
                    "it is locked down." if self.system.is_locked_down else "it may be locked down."
                ),
                LOCKDOWN_FIX,
            )
        if error.errno == errno.ENOENT and name in _RAW_FILES:
            return NotReady(
                f"{_RAW_FILES[name]} not enabled.", "Run `pyctl unload` and `pyctl load --raw`."
            )
        if error.errno == errno.ENOENT:
            return NotReady(
                f"{module} is loaded but has no file {name}: it is another version.",
                "Run `pyctl unload`, `pyctl build` and `pyctl load`.",
            )
        return OperationFailed(
            f"{module}'s file {name} refused the request: {os.strerror(error.errno or 0)}.",
            "Module and pyctl may be of different versions; see `pyctl status`.",
        )


def unreachable(system: System, module: str) -> NotReady | None:
    """Why nothing of ``module`` can be reached in debugfs, or None if it can."""
    if system.euid != 0:
        return NotReady(
            "Only root can reach the module: its files are in debugfs.", "Run this with sudo."
        )
    if not system.offers("debugfs"):
        return NotReady(NO_DEBUGFS, NO_DEBUGFS_FIX)
    if not system.has_mount(MOUNT_POINT, "debugfs"):
        return NotReady(
            f"debugfs is not mounted at {MOUNT_POINT}.",
            f"Run `mount -t debugfs debugfs {MOUNT_POINT}`.",
        )
    if not system.path(f"/sys/module/{module}").exists():
        return NotReady(f"The module {module} is not loaded.", "Run `pyctl load`.")
    return None


def _record(answer: bytes) -> Record:
    """The one record in an answer of the file ``invalidate``."""
    return Record.parse(Fields("memregion_test's file invalidate", answer.decode(errors="replace")))


def read_at(file: int, offset: int, size: int) -> bytes:
    """All of ``size`` bytes, of which one access may bring a part only."""
    data = b""
    while len(data) < size:
        data += os.pread(file, size - len(data), offset + len(data))
    return data


def write_at(file: int, offset: int, data: bytes) -> None:
    """The reverse."""
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], offset + done)


def _exchanges(path: Path, writes: Sequence[bytes], interval_s: float = 0) -> bytes:
    """The answers to several writes, at least ``interval_s`` seconds apart."""
    answers: list[bytes] = []
    for write in writes:
        if answers:
            time.sleep(interval_s)
        answers.append(exchange(path, write))
    return b"\n".join(answers)


def _exchange_from(path: Path, request: bytes, cpu: int | None) -> bytes:
    """The answer to a request that is made from a CPU; in a child, which is bound for each job."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    return exchange(path, request)


def _vectors(path: Path, request: bytes, cpu: int) -> list[str]:
    """Names of the SIMD and floating-point registers that a request from ``cpu`` has changed."""
    from pyctl.target.vectors import changed_by_write

    os.sched_setaffinity(0, {cpu})
    with path.open("r+b", buffering=0) as file:
        written, changed = changed_by_write(file.fileno(), request)
    if written < 0:
        raise OSError(-written, os.strerror(-written))
    return changed


def exchange(path: Path, request: bytes) -> bytes:
    """Write a request to a file and read the answer through the same open file.

    The modules keep the state of a request with the open file, so the answer
    is that of this request whoever else is at work.
    """
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(handle, request)
        # Whether the module moves the file position on a write is its own business.
        with contextlib.suppress(OSError):
            os.lseek(handle, 0, os.SEEK_SET)
        answer = b""
        while part := os.read(handle, 65536):
            answer += part
        return answer
    finally:
        os.close(handle)
