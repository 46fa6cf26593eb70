# SPDX-License-Identifier: GPL-2.0-only
"""The one door to the kernel's tracing: an instance of our own, and probes that are named ours.

Whatever is made here belongs to one process, whose number is in its names, and is taken
back by a guardian: a process that does nothing but wait for the other's end, however that
comes. What stays behind even so (somebody has killed both) the next one takes away.
See Linux Documentation/trace/kprobetrace.rst and ftrace.rst, "Instances".
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from pyctl.errors import NotReady
from pyctl.target.debugfs import LOCKDOWN_FIX
from pyctl.target.system import System

MOUNT_POINT = "/sys/kernel/tracing"
NO_TRACING = "The kernel cannot be watched: it lacks CONFIG_KPROBE_EVENTS."
NO_TRACING_FIX = "Boot a kernel with CONFIG_KPROBE_EVENTS=y, as all distributions have it."
# struct trace_probe's limit: KRETPROBE_MAXACTIVE_MAX is 4096; more calls than this at once
# (or than the kernel has by itself) are counted as missed.
_CALLS_AT_ONCE = 512
_BUFFER_KIB, _BUFFERS_KIB = 4 << 10, 256 << 10
"""A CPU's buffer, enough for 10 000 calls that nobody reads meanwhile; and all of them."""
_NOT_FOUND = (errno.EINVAL, errno.ENOENT, errno.EADDRNOTAVAIL, errno.EOPNOTSUPP)
"""What the kernel answers for a function or an argument that it does not find, or not once."""
_BUSY_S = 5.0
"""How long an instance may be held by files of a process that is about to be gone."""
_LOOK_S = 1.0
"""How long tracefs may be in use by somebody who only looks at it."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_OURS = re.compile(r":pyctl_(\d+)/(\w+)")


def tracefs_at(system: System) -> str | None:
    """Where tracefs is mounted; None if nowhere."""
    mounts = (line.split() for line in (system.text("/proc/mounts") or "").splitlines())
    return next((words[1] for words in mounts if words[2:3] == ["tracefs"]), None)


def _unmount() -> None:
    """Unmount what we have mounted, unless somebody else goes on using it."""
    deadline = time.monotonic() + _LOOK_S
    while _LIBC.umount2(MOUNT_POINT.encode(), 0) and time.monotonic() < deadline:
        time.sleep(0.01)


@dataclass
class Tracing:
    """Probes and a trace of this process; use as a context manager.

    Raises NotReady where the kernel does not trace, or not for us.
    """

    system: System
    owner: int = field(default_factory=os.getpid)
    _top: Path = field(init=False)
    _is_mounted_by_us: bool = False
    _lifeline: int = -1
    _guardian: int = 0

    @property
    def instance(self) -> Path:
        """The directory of our own trace."""
        return self._instance_of(self.owner)

    def __enter__(self) -> Tracing:
        self._top = self._find()
        self._start_guardian()
        try:
            for owner in self._owners():
                if owner == self.owner or not os.path.exists(f"/proc/{owner}"):
                    self._take_back(owner)
            self.instance.mkdir()
        except OSError as error:
            self.__exit__()
            raise self._refusal(error) from None
        return self

    def __exit__(self, *_exc: object) -> None:
        """Let the guardian take everything back, and wait for it."""
        os.close(self._lifeline)
        os.waitpid(self._guardian, 0)

    def probe(self, event: str, function: str, *fetched: str, at_return: bool = False) -> bool:
        """Have ``event`` recorded where ``function`` begins or returns; whether it could be.

        ``function`` is ``NAME`` or ``MODULE:NAME``; the latter need not be loaded, and is
        found whenever it is. ``fetched`` are arguments as the kernel's probes take them.
        """
        kind = f"r{_CALLS_AT_ONCE}" if at_return else "p"
        words = [f"{kind}:pyctl_{self.owner}/{event}", function, *fetched]
        try:
            self._append(" ".join(words))
        except OSError as error:
            if error.errno in _NOT_FOUND:
                return False
            raise self._refusal(error) from None
        return True

    def start(self) -> int:
        """Begin to record; gives the trace as an open file that never waits."""
        kib = min(_BUFFER_KIB, _BUFFERS_KIB // (os.cpu_count() or 1))
        try:
            (self.instance / "buffer_size_kb").write_text(f"{kib}")
            pipe = os.open(self.instance / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
            self._switch(True)
        except OSError as error:
            raise self._refusal(error) from None
        return pipe

    def stop(self) -> None:
        """Record nothing more; what is in the trace can still be read."""
        self._switch(False)

    def missed(self) -> int:
        """How often a probe was hit and could not record, since it was made."""
        text = (self._top / "kprobe_profile").read_text()
        rows = (line.split() for line in text.splitlines())
        names = self._names(self.owner)
        return sum(int(row[-1]) for row in rows if row and row[0] in names)

    # -- the files -----------------------------------------------------------

    def _find(self) -> Path:
        """The directory of tracefs, mounted by us if nobody has done so."""
        if self.system.euid != 0:
            raise NotReady("Only root can trace the kernel.", "Run this with sudo.")
        if not self.system.offers("tracefs"):
            raise NotReady(NO_TRACING, NO_TRACING_FIX)
        place = tracefs_at(self.system)
        if place is None:
            place = MOUNT_POINT
            if _LIBC.mount(b"tracefs", place.encode(), b"tracefs", 0, None):
                why = os.strerror(ctypes.get_errno())
                raise NotReady(
                    f"The kernel does not let tracefs be mounted at {place}: {why}.",
                    f"Run `mount -t tracefs tracefs {place}`.",
                )
            self._is_mounted_by_us = True
        top = self.system.path(place)
        if not (top / "kprobe_events").exists():
            raise NotReady(NO_TRACING, NO_TRACING_FIX)
        return top

    def _append(self, lines: str) -> None:
        # Neither truncated, which would remove everybody's probes, nor sought in.
        file = os.open(self._top / "kprobe_events", os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, f"{lines}\n".encode())
        finally:
            os.close(file)

    def _switch(self, on: bool) -> None:
        (self.instance / f"events/pyctl_{self.owner}/enable").write_text(f"{on:d}")

    def _instance_of(self, owner: int) -> Path:
        return self._top / f"instances/pyctl-{owner}"

    def _defined(self) -> list[tuple[int, str]]:
        """Owner and name of every probe that is named as ours are."""
        text = (self._top / "kprobe_events").read_text()
        return [(int(owner), name) for owner, name in _OURS.findall(text)]

    def _names(self, owner: int) -> list[str]:
        return [name for other, name in self._defined() if other == owner]

    def _owners(self) -> set[int]:
        """Processes that have something here, or had."""
        instances = self._top.glob("instances/pyctl-*")
        numbers = (path.name.rpartition("-")[2] for path in instances)
        return {int(text) for text in numbers if text.isdigit()} | {
            owner for owner, _name in self._defined()
        }

    def _take_back(self, owner: int) -> None:
        """Remove what a process has here, which is at its end."""
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                self._instance_of(owner).rmdir()
            except FileNotFoundError:
                break
            except OSError as error:
                # Its files close one after the other.
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        if names := self._names(owner):
            self._append("\n".join(f"-:pyctl_{owner}/{name}" for name in names))

    def _start_guardian(self) -> None:
        held, self._lifeline = os.pipe()
        self._guardian = os.fork()
        if self._guardian == 0:
            self._guard(held)
        os.close(held)

    def _guard(self, held: int) -> NoReturn:
        """Wait for the end of the process that we are a copy of, then take everything back."""
        try:
            # Nobody's signal is for us, and no file of theirs is ours.
            os.setsid()
            for deaf in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(deaf, signal.SIG_IGN)
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(nothing, number)
            os.dup2(held, 3)
            os.closerange(4, os.sysconf("SC_OPEN_MAX"))
            os.read(3, 1)
            self._take_back(self.owner)
        finally:
            if self._is_mounted_by_us:
                _unmount()
            os._exit(0)

    def _refusal(self, error: OSError) -> NotReady:
        """Why the kernel did not let us."""
        if error.errno == errno.EPERM:
            known = "it is locked down" if self.system.is_locked_down else "it may be locked down"
            return NotReady(f"The kernel does not let root trace it: {known}.", LOCKDOWN_FIX)
        where = f" ({error.filename})" if error.filename else ""
        return NotReady(
            f"The kernel refused to trace: {error.strerror}{where}.",
            "See the kernel log (`dmesg`), and the file error_log in tracefs.",
        )
