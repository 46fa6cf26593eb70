# SPDX-License-Identifier: GPL-2.0-only
"""Boards on disk: a file that holds the memory, and one that holds all other state.

The memory is a sparse file, as long as the guest's RAM, with holes where there
are only zeros. A restored board maps it privately and so reads only what it
uses; what it writes is its own. For that the board that becomes a snapshot
keeps its RAM in a memfd, and QEMU leaves shared memory out of its migration
stream (``x-ignore-shared``). The board must be idle (its agent waits for a
request), for whatever is half done would come back half done.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shlex
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Part of every snapshot's key.
FORMAT = 2
_PAGE_BYTES = 4096
CAPABILITIES = {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}


@dataclass(frozen=True)
class Snapshot:
    """The files of a snapshot, in a directory of their own."""

    top: Path

    @property
    def memory(self) -> Path:
        """The file that is the guest's RAM."""
        return self.top / "memory"

    @property
    def state(self) -> Path:
        """QEMU's migration stream: the CPUs and the devices."""
        return self.top / "state"

    def restore_commands(self) -> bytes:
        """What a QEMU that was started with ``-incoming defer`` must be told by QMP."""
        commands: list[dict[str, Any]] = [
            {"execute": "qmp_capabilities"},
            {"execute": "migrate-set-capabilities", "arguments": CAPABILITIES},
            {
                "execute": "migrate-incoming",
                "arguments": {"uri": f"exec:cat {shlex.quote(str(self.state))}"},
            },
        ]
        return b"".join(json.dumps(command).encode() + b"\n" for command in commands)

    def save(self, monitor: socket.socket, memory_fd: int) -> None:
        """Write the board behind a QMP socket; the board stands still afterwards.

        Raises OperationFailed when QEMU cannot.
        """
        # Speaking QMP takes a library that a restored board never needs.
        from pyctl.vm.migrate import save_state

        save_state(monitor, self.state, CAPABILITIES)
        with self.memory.open("wb") as f:
            f.truncate(os.fstat(memory_fd).st_size)
            with mmap.mmap(memory_fd, 0, prot=mmap.PROT_READ) as memory:
                for start, end in _data(memory_fd):
                    for first, last in _used(memory, start, end):
                        f.seek(first)
                        f.write(memory[first:last])


@contextlib.contextmanager
def shared_memory(size_bytes: int, snapshot: Snapshot | None) -> Iterator[int]:
    """A memfd for a guest's RAM, with what a snapshot's memory holds."""
    fd = os.memfd_create("guest-memory")
    try:
        os.truncate(fd, size_bytes)
        if snapshot is not None:
            with snapshot.memory.open("rb") as f:
                for start, end in _data(f.fileno()):
                    os.lseek(fd, start, os.SEEK_SET)
                    while start < end:
                        start += os.sendfile(fd, f.fileno(), start, end - start)
        yield fd
    finally:
        os.close(fd)


def _data(fd: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of what is no hole in a file."""
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            # ENXIO: no data beyond.
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def _used(memory: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of the runs of pages between two offsets that hold more than zeros."""
    zeros = bytes(_PAGE_BYTES)
    first = None
    for page in range(start, end, _PAGE_BYTES):
        if memory[page : page + _PAGE_BYTES] == zeros:
            if first is not None:
                yield first, page
                first = None
        elif first is None:
            first = page
    if first is not None:
        yield first, end
