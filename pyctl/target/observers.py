# SPDX-License-Identifier: GPL-2.0-only
"""Two eyes on the same memory: what the CPU sees, and what a device would see.

On the virtual board the device's side is the memory behind a modelled cache in
the firmware; nothing but a clean or an invalidate moves bytes between the two.
On a real board it is a Normal non-cacheable mapping of the same memory, which
needs no help from firmware, but cannot see everything; see ``AliasObserver``.
Either looks at memory that nobody uses, or at scratch memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from pyctl.errors import OperationFailed
from pyctl.firmware.client import Stub
from pyctl.firmware.numbers import (
    MEDIA_BYTES_PER_CALL,
    MEDIA_BYTES_PER_COPY,
    MEDIA_READ,
    MEDIA_WRITE,
)
from pyctl.smccc import signed32
from pyctl.target.answers import Request
from pyctl.target.debugfs import Debugfs
from pyctl.target.scratch import Scratch

_CLEAN_TIMEOUT_S = 120.0
_WORD = 8
# More than this a device moves through a buffer instead of through registers.
_FEW_BYTES = 256

Piece = tuple[int, bytes]
"""Bytes and the physical address at which they are."""


class Observer(Protocol):
    """Access to memory from both sides; addresses are physical."""

    name: str
    line_size: int
    limits: Sequence[str]
    """What it cannot show, and what it does to the memory, in sentences."""

    def prepare(self, addr: int, data: bytes) -> None:
        """Let ``data`` be there for both sides, and no line be dirty."""

    def cpu_write(self, pieces: Iterable[Piece]) -> None:
        """Store through the cache."""

    def cpu_read(self, addr: int, size: int) -> bytes:
        """Load through the cache."""

    def device_write(self, pieces: Iterable[Piece]) -> None:
        """Store behind the CPU's back."""

    def device_read(self, addr: int, size: int) -> bytes:
        """Load what the caches have let go of."""


def buffer_beside(window: range, free: range) -> int | None:
    """Where there is room for a buffer in ``free`` memory, outside of ``window``; None if nowhere.

    Near the window, if that is free memory itself: of CXL memory, what is further away may
    not be there. Never anywhere else: the buffer is overwritten.
    """
    for start in (
        window.stop,
        window.start - MEDIA_BYTES_PER_COPY,
        free.stop - MEDIA_BYTES_PER_COPY,
        free.start,
    ):
        end = start + MEDIA_BYTES_PER_COPY
        is_outside = end <= window.start or window.stop <= start
        if is_outside and free.start <= start and end <= free.stop:
            return start
    return None


class _CpuSide:
    """The CPU's side is the same for both; scratch memory has a door of its own."""

    def __init__(self, debugfs: Debugfs, scratch: Scratch | None) -> None:
        self.debugfs = debugfs
        self.memory = scratch or debugfs

    def cpu_write(self, pieces: Iterable[Piece]) -> None:
        """Store through the cache."""
        self.memory.write_memory(joined(pieces))

    def cpu_read(self, addr: int, size: int) -> bytes:
        """Load through the cache."""
        return self.memory.read_memory(addr, size)


class ModelObserver(_CpuSide):
    """The virtual board's modelled cache, running while this is open.

    Use as a context manager. Raises NotReady where the firmware is not our stub.
    """

    name = "model"
    SPARE_BYTES = MEDIA_BYTES_PER_COPY
    """What it needs of scratch memory beyond the window."""

    def __init__(
        self,
        debugfs: Debugfs,
        base: int,
        size: int,
        line_size: int,
        scratch: Scratch | None = None,
    ) -> None:
        super().__init__(debugfs, scratch)
        self.stub = Stub(debugfs.raw_call)
        self.base, self.size, self.line_size = base, size, line_size
        self._buffer = self._buffer_in(scratch)
        self.limits: Sequence[str] = (
            "The cache is a model: a line leaves it when firmware cleans or invalidates it, never "
            "by itself.",
            "All bytes of the window are overwritten, and 64 KiB beside it.",
        )

    def _buffer_in(self, scratch: Scratch | None) -> int | None:
        """Where a device's bytes go through, if there is such a place."""
        if scratch:
            return scratch.range.end - MEDIA_BYTES_PER_COPY
        return buffer_beside(range(self.base, self.base + self.size), self.stub.target())

    def __enter__(self) -> ModelObserver:
        self._start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stub.stop_model()

    def _start(self) -> None:
        self.stub.start_model(self.base, self.size, self.line_size)

    def prepare(self, addr: int, data: bytes) -> None:
        """A model that starts takes the CPU's bytes for both sides."""
        self.cpu_write([(addr, data)])
        self._start()

    def device_write(self, pieces: Iterable[Piece]) -> None:
        """Store into the memory behind the model."""
        whole = joined(pieces)
        if self._buffer is not None and sum(len(data) for _, data in whole) > _FEW_BYTES:
            for group in _spans(whole):
                self._write_span(group)
            return
        for start, data in whole:
            for addr, part in _chunks(start, data, MEDIA_BYTES_PER_CALL):
                self._call(MEDIA_WRITE, addr, len(part), *_words(part))

    def device_read(self, addr: int, size: int) -> bytes:
        """Load from the memory behind the model."""
        if self._buffer is not None and size > _FEW_BYTES:
            spans = range(addr, addr + size, MEDIA_BYTES_PER_COPY)
            sizes = (min(MEDIA_BYTES_PER_COPY, addr + size - start) for start in spans)
            return b"".join(map(self._read_span, spans, sizes))
        data = b""
        while len(data) < size:
            length = min(MEDIA_BYTES_PER_CALL, size - len(data))
            registers = self._call(MEDIA_READ, addr + len(data), length)[1:9]
            data += b"".join(word.to_bytes(_WORD, "little") for word in registers)[:length]
        return data

    def _read_span(self, addr: int, size: int) -> bytes:
        assert self._buffer is not None
        with self.debugfs.memory_lock():
            self.stub.copy_media(addr, size, self._buffer, to_media=False)
            return self.memory.read_memory(self._buffer, size)

    def _write_span(self, pieces: Sequence[Piece]) -> None:
        assert self._buffer is not None
        start, end = pieces[0][0], pieces[-1][0] + len(pieces[-1][1])
        span = bytearray(self._read_span(start, end - start))
        for addr, data in pieces:
            span[addr - start : addr - start + len(data)] = data
        with self.debugfs.memory_lock():
            self.memory.write_memory([(self._buffer, bytes(span))])
            self.stub.copy_media(start, len(span), self._buffer, to_media=True)

    def _call(self, fid: int, *arguments: int) -> Sequence[int]:
        registers = self.debugfs.raw_call(fid, arguments)
        if signed32(registers[0]):
            raise OperationFailed(
                f"The modelled cache refused an access of the device's to 0x{arguments[0]:x}.",
                "Is another `pyctl coherency` running? It has one window only.",
            )
        return registers


class AliasObserver(_CpuSide):
    """A range, mapped cacheable and Normal non-cacheable at once."""

    name = "alias"
    limits: Sequence[str] = (
        "The device's side is a non-cacheable mapping of the same CPU. It shows what CPU caches "
        "hold back; it cannot show what a system or memory-side cache holds back, because "
        "non-cacheable accesses may be served from there, too.",
        "A cache may drop or write back any line at any time. So a bad line is proof of a fault, "
        "but a good one may be luck: repeat, and do not take it for proof.",
        "A call cannot be held inside firmware here, so the under-flush race is not tried.",
        "All bytes of the range are overwritten.",
    )

    def __init__(self, debugfs: Debugfs, line_size: int, scratch: Scratch | None = None) -> None:
        super().__init__(debugfs, scratch)
        self.line_size = line_size

    def prepare(self, addr: int, data: bytes) -> None:
        """Clean and invalidate by virtual address, so without what is under test."""
        self.cpu_write([(addr, data)])
        record, _ending = self.debugfs.invalidate(
            Request(addr, len(data), via="va"), _CLEAN_TIMEOUT_S
        )
        if record.errno or not record.completed:
            raise OperationFailed(
                f"The range at 0x{addr:x} cannot be cleaned by virtual address.",
                "Choose memory that `pyctl regions` marks safe.",
            )
        # What the CPU has not read it would not hold back.
        self.cpu_read(addr, len(data))

    def device_write(self, pieces: Iterable[Piece]) -> None:
        """Store past the caches."""
        self.memory.write_memory(joined(pieces), cached=False)

    def device_read(self, addr: int, size: int) -> bytes:
        """Load past the caches."""
        return self.memory.read_memory(addr, size, cached=False)


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same bytes with adjacent pieces joined, so that it takes fewer accesses."""
    result: list[tuple[int, bytearray]] = []
    for addr, data in sorted(pieces):
        if result and result[-1][0] + len(result[-1][1]) == addr:
            result[-1][1].extend(data)
        else:
            result.append((addr, bytearray(data)))
    return [(addr, bytes(data)) for addr, data in result]


def _spans(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Pieces in groups, none of which reaches over more than one copy may."""
    group: list[Piece] = []
    for start, data in pieces:
        for addr, part in _chunks(start, data, MEDIA_BYTES_PER_COPY):
            if group and addr + len(part) - group[0][0] > MEDIA_BYTES_PER_COPY:
                yield group
                group = []
            group.append((addr, part))
    if group:
        yield group


def _chunks(addr: int, data: bytes, size: int) -> Iterator[Piece]:
    for offset in range(0, len(data), size):
        yield addr + offset, data[offset : offset + size]


def _words(data: bytes) -> Iterator[int]:
    for offset in range(0, len(data), _WORD):
        yield int.from_bytes(data[offset : offset + _WORD], "little")
