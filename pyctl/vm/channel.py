# SPDX-License-Identifier: GPL-2.0-only
"""The wire format between the host and the agent inside a virtual board.

One virtio-serial port carries frames: a header of type, request number and
payload length, then the payload. It exists beside the QEMU guest agent, which
can only hand over a command's output after the command has ended, because
people and test reports need the output while it is made. This module is
imported on both sides and therefore needs nothing but the standard library.
"""

from __future__ import annotations

import enum
import json
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PORT_NAME = "pyctl.agent"
PROTOCOL = 1
MAX_PAYLOAD_BYTES = 64 * 1024
# What the host sends of a command's input before the guest has said that it was taken.
# A command that does not read must fill neither the guest's memory nor the channel.
INPUT_WINDOW_BYTES = 2 * MAX_PAYLOAD_BYTES
# Far above what either side sends: a length beyond it means lost framing.
_MAX_FRAME_BYTES = 1024 * 1024
_HEADER = struct.Struct("<BII")


class Frame(enum.IntEnum):
    """What a frame is. Below 64: host to guest. From 64: guest to host."""

    HELLO = 1  # JSON: nonce, time_ns, entropy (hex); also sent after a restore
    RUN = 2  # JSON: argv, env, cwd, pty, rows, columns
    STDIN = 3  # bytes for the command; empty means end of input
    SIGNAL = 4  # JSON: signal number for the command's process group
    RESIZE = 5  # JSON: rows, columns of the terminal
    PING = 6
    FILES = 7  # a piece of a cpio archive to unpack over /; empty ends it
    PRELOAD = 8  # JSON: modules to import in the agent, host (one to serve from within)
    SETTLE = 9  # JSON: clear (also what is free); get ready for a snapshot

    READY = 64  # JSON: nonce, protocol, pid of the agent, release
    STDOUT = 65
    STDERR = 66
    REPORT = 67  # what the command writes to its descriptor 3
    EXIT = 68  # JSON: status (0..255), or signal
    PONG = 69
    ERROR = 70  # JSON: message; the request was not carried out
    DONE = 71  # FILES, PRELOAD or SETTLE was carried out
    TAKEN = 72  # JSON: bytes of STDIN that the command took, or that nobody will; more: wanted?
    AWAKE = 73  # of request 0: the agent has begun, and has heard nothing that was sent before


_KINDS = frozenset(int(kind) for kind in Frame)


class ProtocolError(Exception):
    """The bytes on the channel are not frames."""


def encode(kind: Frame, request: int, payload: bytes | dict[str, Any] = b"") -> bytes:
    """One frame."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return _HEADER.pack(kind, request, len(data)) + data


def split(kind: Frame, request: int, data: bytes) -> Iterator[bytes]:
    """The frames that carry any amount of data."""
    for start in range(0, len(data), MAX_PAYLOAD_BYTES):
        yield encode(kind, request, data[start : start + MAX_PAYLOAD_BYTES])


class Decoder:
    """Turns a stream of bytes back into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Frame, int, bytes]]:
        """Take what was received; yield (type, request, payload) of each whole frame."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            kind, request, length = _HEADER.unpack_from(self._buffer)
            if length > _MAX_FRAME_BYTES or kind not in _KINDS:
                raise ProtocolError(f"frame of type {kind} with {length} bytes")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield Frame(kind), request, payload
