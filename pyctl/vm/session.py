# SPDX-License-Identifier: GPL-2.0-only
"""A running board: commands, input and output, and what ends it.

``Board.run`` runs a command with live output. Whatever ends a board before its
command has ended is TargetLost, with the console's last lines; a board never
answers for one that is gone. ``factory`` says how a board is had.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyctl.errors import TargetLost
from pyctl.vm import channel
from pyctl.vm.channel import Frame
from pyctl.vm.machine import QemuProcess

BOOT_TIMEOUT_S = 120.0
# No answer to a ping for this long means that the guest hangs. Far above
# anything that a busy two-core host does to an emulated guest.
HANG_TIMEOUT_S = 60.0
PING_INTERVAL_S = 5.0
# The longest time that ``pump`` is asked to wait for anything.
_LONGEST_LOOK_S = 1.0
GUEST_ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PYTHONPATH": "/opt/pyctl",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYCTL_MODULES": "/opt/pyctl/modules",
}


@dataclass
class Streams:
    """Where a command's output goes and its input comes from.

    ``stdin`` is a file descriptor to read, or None for no input.
    """

    stdout: Callable[[bytes], None] = lambda _data: None
    stderr: Callable[[bytes], None] = lambda _data: None
    report: Callable[[bytes], None] = lambda _data: None
    stdin: int | None = None


class Board:
    """A running board. Use as a context manager."""

    def __init__(self, machine: QemuProcess, cleanup: contextlib.ExitStack) -> None:
        self.machine = machine
        self._cleanup = cleanup
        self._decoder = channel.Decoder()
        self._frames: list[tuple[Frame, int, bytes]] = []
        self._request = 0
        self._outgoing = bytearray()
        # How long the guest has been silent under our eyes, since it was last heard or asked.
        self._silent_s = 0.0
        self._looked = time.monotonic()
        self._asked = False

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the board, whatever state it is in."""
        self._cleanup.close()

    # -- the channel --------------------------------------------------------

    @property
    def _socket(self) -> socket.socket:
        assert self.machine.agent is not None
        return self.machine.agent

    def post(self, kind: Frame, payload: bytes | dict[str, Any] = b"") -> None:
        """Queue a frame that belongs to the current request."""
        if isinstance(payload, bytes) and len(payload) > channel.MAX_PAYLOAD_BYTES:
            for frame in channel.split(kind, self._request, payload):
                self._outgoing += frame
        else:
            self._outgoing += channel.encode(kind, self._request, payload)

    def begin(self, kind: Frame, payload: bytes | dict[str, Any] = b"") -> None:
        """Queue a frame that begins a new request."""
        self._request += 1
        self.post(kind, payload)

    def lost(self, why: str) -> TargetLost:
        """The error for a board that is gone."""
        return TargetLost(
            f"The virtual board was lost: {why}.",
            "The console's last lines tell more; the next run starts a fresh board.",
            self.machine.console_tail(),
        )

    def pump(self, timeout_s: float, extra: int | None = None) -> bool:
        """Exchange data for at most ``timeout_s``; say whether ``extra`` has become readable.

        Raises TargetLost when QEMU has ended or the guest answers no ping.
        """
        wants_write = [self._socket] if self._outgoing else []
        watched: list[Any] = [self._socket] if extra is None else [self._socket, extra]
        readable, writable, _ = select.select(watched, wants_write, [], timeout_s)
        if writable:
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                del self._outgoing[: self._socket.send(self._outgoing)]
        if self._socket in readable:
            self._receive()
        self._watch_for_hang(self._socket in readable)
        return extra is not None and extra in readable

    def _receive(self) -> None:
        try:
            data = self._socket.recv(256 * 1024)
        except (BlockingIOError, ConnectionResetError):
            data = b""
        if not data:
            if self.machine.process is not None:
                with contextlib.suppress(Exception):
                    self.machine.process.wait(5)
            raise self.lost(self.machine.ended() or "QEMU closed the channel")
        try:
            self._frames += self._decoder.feed(data)
        except channel.ProtocolError as error:
            raise self.lost(f"its agent sent garbage ({error})") from None

    def _watch_for_hang(self, heard: bool) -> None:
        """Ask a guest that is silent whether it lives; raise TargetLost where it does not say."""
        now = time.monotonic()
        # While nobody looks (we are stopped, or held up by a pager that takes no output),
        # silence means nothing.
        self._silent_s += min(now - self._looked, _LONGEST_LOOK_S)
        self._looked = now
        if heard:
            self._silent_s, self._asked = 0.0, False
        elif self._asked and self._silent_s > HANG_TIMEOUT_S:
            raise self.lost(f"it hangs (no answer for {HANG_TIMEOUT_S:.0f} s)")
        elif not self._asked and self._silent_s > PING_INTERVAL_S:
            self._silent_s, self._asked = 0.0, True
            self.post(Frame.PING)

    def take(self) -> Iterator[tuple[Frame, bytes]]:
        """What has arrived for the current request."""
        frames, self._frames = self._frames, []
        for kind, request, payload in frames:
            if request == self._request:
                yield kind, payload

    def wait_for(self, wanted: Frame, deadline: float, what: str) -> bytes:
        """Wait for one frame of the current request."""
        while True:
            for kind, payload in self.take():
                if kind == wanted:
                    return payload
                if kind == Frame.ERROR:
                    raise self.lost(f"its agent could not {what}: {json.loads(payload)['message']}")
            if (left := deadline - time.monotonic()) <= 0:
                raise self.lost(f"no answer while it should {what}")
            self.pump(min(left, _LONGEST_LOOK_S))

    # -- what the agent does --------------------------------------------------

    def awake(self) -> None:
        """Wait for the agent of a board that was switched on just now.

        Until then the port is nobody's, or UEFI's, which swallows what is sent.
        """
        self.wait_for(Frame.AWAKE, time.monotonic() + BOOT_TIMEOUT_S, "start")

    def hello(self, timeout_s: float = BOOT_TIMEOUT_S) -> dict[str, Any]:
        """Greet the agent, which sets clock and entropy and forgets any former host."""
        nonce = os.urandom(8).hex()
        self.begin(
            Frame.HELLO,
            {"nonce": nonce, "time_ns": time.time_ns(), "entropy": os.urandom(64).hex()},
        )
        deadline = time.monotonic() + timeout_s
        while True:
            answer: dict[str, Any] = json.loads(self.wait_for(Frame.READY, deadline, "start"))
            if answer["nonce"] == nonce:
                return answer

    def put_files(self, archive: Path) -> None:
        """Unpack a cpio archive over the guest's root."""
        self._request += 1
        self.post(Frame.FILES, archive.read_bytes())
        self.post(Frame.FILES, b"")
        self.wait_for(Frame.DONE, time.monotonic() + BOOT_TIMEOUT_S, "unpack the project's files")

    def preload(self, modules: Sequence[str], host: str | None = None) -> None:
        """Import Python modules in the agent, for commands to inherit.

        The agent goes on serving from within ``host``'s function ``main``.
        """
        self.begin(Frame.PRELOAD, {"modules": list(modules), "host": host})
        self.wait_for(Frame.DONE, time.monotonic() + BOOT_TIMEOUT_S, "import the project")

    def settle(self, clear: bool) -> None:
        """Have the agent put memory in order for a snapshot; ``clear`` also what is free."""
        self.begin(Frame.SETTLE, {"clear": clear})
        self.wait_for(Frame.DONE, time.monotonic() + BOOT_TIMEOUT_S, "settle its memory")

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        pty: tuple[int, int] | None = None,
    ) -> None:
        """Start a command; ``pty`` is (rows, columns) of a terminal to give it."""
        spec: dict[str, Any] = {
            "argv": list(argv),
            "env": GUEST_ENV | dict(env or {}),
            "cwd": cwd,
            "pty": pty is not None,
        }
        if pty is not None:
            spec |= {"rows": pty[0], "columns": pty[1]}
        self.begin(Frame.RUN, spec)

    def follow(
        self,
        streams: Streams,
        timeout_s: float | None = None,
        poll: Callable[[], None] | None = None,
    ) -> int:
        """See the started command to its end; return its exit status (128 + n for signal n).

        Raises TargetLost when the board goes, or when ``timeout_s`` passes.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        stdin, unread_bytes = streams.stdin, 0
        if stdin is None:
            self.post(Frame.STDIN, b"")
        sinks = {
            Frame.STDOUT: streams.stdout,
            Frame.STDERR: streams.stderr,
            Frame.REPORT: streams.report,
        }
        while True:
            for kind, payload in self.take():
                if kind in sinks:
                    sinks[kind](payload)
                elif kind == Frame.TAKEN:
                    taken = json.loads(payload)
                    unread_bytes -= taken["bytes"]
                    stdin = stdin if taken["more"] else None
                elif kind == Frame.EXIT:
                    end = json.loads(payload)
                    return 128 + end["signal"] if "signal" in end else int(end["status"])
                elif kind == Frame.ERROR:
                    raise self.lost(f"its agent refused: {json.loads(payload)['message']}")
            if poll is not None:
                poll()
            if deadline is not None and time.monotonic() > deadline:
                raise self.lost(f"the command did not end within {timeout_s:g} s")
            # The command sets the pace.
            room = channel.INPUT_WINDOW_BYTES - unread_bytes
            if self.pump(0.1, stdin if room else None) and stdin is not None:
                data = os.read(stdin, min(room, channel.MAX_PAYLOAD_BYTES))
                self.post(Frame.STDIN, data)
                unread_bytes += len(data)
                if not data:
                    stdin = None

    def run(
        self,
        argv: Sequence[str],
        streams: Streams | None = None,
        *,
        timeout_s: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> int:
        """Run a command to its end; see ``start`` and ``follow``."""
        self.start(argv, env=env, cwd=cwd)
        return self.follow(streams or Streams(), timeout_s)

    def output(self, argv: Sequence[str], timeout_s: float = 120.0) -> tuple[int, str, str]:
        """Run a command; return its exit status, standard output and standard error."""
        out, err = bytearray(), bytearray()
        status = self.run(argv, Streams(out.extend, err.extend), timeout_s=timeout_s)
        return status, out.decode(errors="replace"), err.decode(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal to the running command's process group."""
        self.post(Frame.SIGNAL, {"signal": number})
