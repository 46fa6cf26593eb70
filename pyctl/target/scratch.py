# SPDX-License-Identifier: GPL-2.0-only
"""Scratch: memory that memregion_test gives to one open file, to be aimed at.

It is zeroed, physically contiguous, and its owner's alone: nobody else's bytes are
in it, so any machine has a range that may be targeted. It goes with the open file,
however its owner ends. On both sides lie guards that tell of firmware that writes
where it must not. The contract of the file stands in module/README.md.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator

from pyctl.errors import NotReady, OperationFailed, PyctlError, UsageError
from pyctl.numbers import size_text
from pyctl.ranges import Range
from pyctl.target.answers import Fields, ScratchState
from pyctl.target.debugfs import Debugfs, read_at, write_at

_CACHED, _NONCACHED = 1 << 60, 1 << 61
"""File offsets of the byte at physical address 0, in either view."""
_ANSWER_BYTES = 4096


class Scratch:
    """The memory of an open scratch file; see ``scratch`` for how it is had."""

    def __init__(self, file: int) -> None:
        self._file = file
        state = self.state()
        self.node = state.node
        self.range = Range(state.addr, state.addr + state.size)

    def state(self) -> ScratchState:
        """What the module says of it now; it looks at the guards for that."""
        text = os.pread(self._file, _ANSWER_BYTES, 0).decode(errors="replace")
        return ScratchState.parse(Fields("memregion_test's file scratch", text))

    def damage(self) -> OperationFailed | None:
        """What has happened to the guards, or None if nothing has."""
        state = self.state()
        if state.first_damage is None:
            return None
        return OperationFailed(
            f"Firmware wrote outside of what it was given: the byte at 0x{state.first_damage:x}, "
            f"outside of {self.range}, has changed.",
            "Reset the target: what else was hit is not known. Do not trust this firmware.",
        )

    def read_memory(self, addr: int, size: int, cached: bool = True) -> bytes:
        """Its bytes through a cacheable, or a Normal non-cacheable, mapping."""
        with _access(addr):
            return read_at(self._file, addr + (_CACHED if cached else _NONCACHED), size)

    def write_memory(self, pieces: Iterable[tuple[int, bytes]], cached: bool = True) -> None:
        """The reverse: stores of bytes at addresses, in order, through either mapping."""
        for addr, data in pieces:
            with _access(addr):
                write_at(self._file, addr + (_CACHED if cached else _NONCACHED), data)


@contextlib.contextmanager
def _access(addr: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperationFailed(
            f"There is no access to scratch memory at 0x{addr:x}: {error.strerror}.",
            "See the kernel log (`dmesg`).",
        ) from None


@contextlib.contextmanager
def scratch(debugfs: Debugfs, size: int, node: int | None = None) -> Iterator[Scratch]:
    """Scratch of ``size`` bytes at least, on a NUMA node if one is named, while this is open.

    Raises UsageError for a size or node that cannot be, NotReady where there is not so
    much now or the module is another one.
    """
    words = f"size=0x{size:x}" + (f" node={node}" if node is not None else "")
    with debugfs.scratch_file() as file:
        try:
            os.write(file, words.encode())
        except OSError as error:
            raise _refusal(debugfs, size, node, error) from None
        yield Scratch(file)


def _refusal(debugfs: Debugfs, size: int, node: int | None, error: OSError) -> PyctlError:
    wanted = f"{size_text(size)} of scratch memory"
    most = size_text(debugfs.info().scratch_max_bytes)
    return {
        errno.E2BIG: UsageError(
            f"The module gives no {wanted}: at most {most}.",
            "Ask for less; the module's parameter scratch_max_bytes sets the limit.",
        ),
        errno.ENXIO: UsageError(
            f"There is no NUMA node {node} with memory.", "See /sys/devices/system/node."
        ),
        errno.ENOSPC: NotReady(
            f"There is no {wanted} now: others use most of the {most} that the module gives.",
            "Ask for less, or wait until they have ended.",
        ),
        errno.ENOMEM: NotReady(
            f"This machine has no {wanted} in one piece now.",
            "Ask for less, end other programs, or try it soon after boot.",
        ),
        errno.EOPNOTSUPP: NotReady(
            f"This kernel gives a module no {wanted} in one piece.",
            "Ask for 1M, which any kernel has; more needs Linux 7.2 or so.",
        ),
    }.get(
        error.errno or 0,
        OperationFailed(f"The module gave no {wanted}: {error.strerror}.", "See `pyctl status`."),
    )
