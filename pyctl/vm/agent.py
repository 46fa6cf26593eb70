# SPDX-License-Identifier: GPL-2.0-only
"""Process 1 of a virtual board: runs what the host asks for and reports back.

Started by /init once the file systems are mounted. It serves one command at
a time over the virtio-serial port: live output, exact exit status, signals, a
terminal if wanted. Commands that are Python programs of this project can be
imported beforehand (PRELOAD), so that a board restored from a snapshot forks
instead of starting an interpreter. If the agent dies the kernel panics, and
the host sees a lost board; nothing here tries to hide a failure.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import struct
import sys
import time

from pyctl.vm import channel
from pyctl.vm.channel import Frame
from pyctl.vm.command import FORKED, Command, set_size

# Each import here is waited for at every cold boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn


def _program(module: str, function: str) -> Callable[[list[str]], object]:
    def run(_arguments: list[str]) -> object:
        return getattr(sys.modules[module], function)()

    return run


_PROGRAMS = {"pyctl": ("pyctl.cli.main", "main"), "pytest": ("pytest", "console_main")}
_RNDADDENTROPY = 0x40085203  # include/uapi/linux/random.h
_RNDRESEEDCRNG = 0x5207
_READ_BYTES = 32 * 1024


def find_port() -> str:
    """The device of the host's port (there is no udev to make a link)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            for entry in os.scandir("/sys/class/virtio-ports"):
                with open(f"{entry.path}/name") as f:
                    if f.read().strip() == channel.PORT_NAME:
                        return f"/dev/{entry.name}"
        time.sleep(0.01)
    raise SystemExit(f"no virtio-serial port named {channel.PORT_NAME}")


class Agent:
    """Serves the host's requests, one command at a time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.decoder = channel.Decoder()
        self.command: Command | None = None
        self.archive: int | None = None
        self.handlers: dict[Frame, Callable[[int, bytes], None]] = {
            Frame.HELLO: self.hello,
            Frame.RUN: self.run,
            Frame.STDIN: self.stdin,
            Frame.SIGNAL: self.signal,
            Frame.RESIZE: self.resize,
            Frame.PING: lambda request, _data: self.send(Frame.PONG, request),
            Frame.FILES: self.files,
            Frame.PRELOAD: self.preload,
            Frame.SETTLE: self.settle,
        }
        # Wakes the main loop when a child ends.
        self.wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(wake_w, False)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        # The console is not a keyboard; a stray Ctrl-C must not end process 1.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def send(self, kind: Frame, request: int, payload: bytes | dict[str, Any] = b"") -> None:
        """Write one frame whole."""
        data = memoryview(channel.encode(kind, request, payload))
        while data:
            try:
                data = data[os.write(self.port, data) :]
            except BlockingIOError:
                select.select([], [self.port], [])

    # -- requests ----------------------------------------------------------

    def hello(self, request: int, data: bytes) -> None:
        """Put right what a restored guest must not inherit, then say that we are here."""
        spec = json.loads(data)
        self.drop_command()
        time.clock_settime_ns(time.CLOCK_REALTIME, spec["time_ns"])
        entropy = bytes.fromhex(spec["entropy"])
        with open("/dev/random", "wb", buffering=0) as random:
            block = struct.pack("ii", len(entropy) * 8, len(entropy)) + entropy
            fcntl.ioctl(random, _RNDADDENTROPY, block)
            fcntl.ioctl(random, _RNDRESEEDCRNG)
        self.send(
            Frame.READY,
            request,
            {
                "nonce": spec["nonce"],
                "protocol": channel.PROTOCOL,
                "release": os.uname().release,
                "uptime_s": time.clock_gettime(time.CLOCK_BOOTTIME),
            },
        )

    def run(self, request: int, data: bytes) -> None:
        if self.command is not None:
            self.send(Frame.ERROR, request, {"message": "a command is already running"})
            return
        self.command = Command(request, json.loads(data))

    def stdin(self, _request: int, data: bytes) -> None:
        if self.command is not None:
            self.command.pending += data
            self.command.input_ended |= not data
            self.feed(self.command)

    def signal(self, _request: int, data: bytes) -> None:
        if self.command is not None:
            self.command.kill(json.loads(data)["signal"])

    def resize(self, _request: int, data: bytes) -> None:
        if self.command is not None and self.command.pty and self.command.stdin is not None:
            size = json.loads(data)
            set_size(self.command.stdin, size["rows"], size["columns"])

    def files(self, request: int, data: bytes) -> None:
        """Collect a cpio archive and unpack it over the root, where process 1 stands."""
        if self.archive is None:
            self.archive = os.memfd_create("files")
        os.write(self.archive, data)
        if data:
            return
        os.lseek(self.archive, 0, os.SEEK_SET)
        pid = os.posix_spawn(
            "/usr/bin/busybox",
            # With their times, by which pytest knows the tests that its bytecode is of.
            ["cpio", "-i", "-d", "-u", "-m"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, self.archive, 0)],
        )
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(self.archive)
        self.archive = None
        if status:
            raise OSError(f"cpio ended with {status}")
        importlib.invalidate_caches()
        self.send(Frame.DONE, request)

    def preload(self, request: int, data: bytes) -> None:
        """Import, so that commands need not.

        A ``host`` module goes further: its ``main`` is called and serves from
        within whatever it has set up.
        """
        spec = json.loads(data)
        import site

        # What the interpreter was told to leave out at its start.
        site.main()
        for name in spec["modules"]:
            importlib.import_module(name)
        for name, (module, function) in _PROGRAMS.items():
            if module in sys.modules:
                FORKED[name] = _program(module, function)

        def serve() -> NoReturn:
            self.send(Frame.DONE, request)
            self.serve()

        if spec.get("host"):
            with contextlib.suppress(Exception):
                importlib.import_module(spec["host"]).main(serve)
            # It could not set itself up; whoever needs it will find out why.
        self.send(Frame.DONE, request)

    def settle(self, request: int, data: bytes) -> None:
        """Put memory in order for many forks: what is there now is not looked at again."""
        gc.collect()
        gc.freeze()
        if json.loads(data)["clear"]:
            # Each import at the top is waited for at every cold boot.
            from pyctl.vm.clearing import clear_free_memory

            clear_free_memory()
        self.send(Frame.DONE, request)

    # -- the running command -----------------------------------------------

    def feed(self, command: Command) -> None:
        """Pass input on, and let the host send as much again."""
        if taken := command.feed():
            more = command.stdin is not None
            self.send(Frame.TAKEN, command.request, {"bytes": taken, "more": more})

    def output(self, fd: int) -> None:
        """Pass on what the command printed."""
        command = self.command
        if command is None or fd not in command.outputs:
            return
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            # A terminal reports EIO when its last user has gone.
            data = b""
        if data:
            self.send(command.outputs[fd], command.request, data)
        else:
            del command.outputs[fd]
            os.close(fd)

    def reap(self) -> None:
        """Collect ended children (process 1 inherits orphans) and report the command's end."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wake_r, 512):
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.command is not None and pid == self.command.pid:
                self.finish(status)

    def finish(self, status: int) -> None:
        """Send the rest of the output, then the exit status."""
        command = self.command
        assert command is not None
        while ready := select.select(list(command.outputs), [], [], 0)[0]:
            for fd in ready:
                self.output(fd)
        end = (
            {"signal": os.WTERMSIG(status)}
            if os.WIFSIGNALED(status)
            else {"status": os.WEXITSTATUS(status)}
        )
        self.send(Frame.EXIT, command.request, end)
        command.close()
        self.command = None

    def drop_command(self) -> None:
        """Forget a command that belongs to a host that is gone."""
        if self.command is not None:
            self.command.kill(signal.SIGKILL)
            self.command.close()
            self.command = None

    def serve(self) -> NoReturn:
        """Serve for as long as the board lives."""
        while True:
            command = self.command
            watched = [self.port, self.wake_r, *(command.outputs if command else ())]
            wants_input = [command.stdin] if command and command.stdin and command.pending else []
            readable, writable, _ = select.select(watched, wants_input, [])
            if writable and command is not None:
                self.feed(command)
            for fd in readable:
                if fd not in (self.port, self.wake_r):
                    self.output(fd)
            if self.wake_r in readable:
                self.reap()
            if self.port in readable:
                self.receive()

    def receive(self) -> None:
        """Carry out what has arrived from the host."""
        try:
            data = os.read(self.port, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            # No host at the other end (a snapshot is being taken): the port
            # stays readable, so wait a little instead of spinning.
            time.sleep(0.005)
            return
        for kind, request, payload in self.decoder.feed(data):
            try:
                self.handlers[kind](request, payload)
            except Exception as error:  # noqa: BLE001 - the host must hear of it
                self.send(Frame.ERROR, request, {"message": f"{type(error).__name__}: {error}"})


def main() -> NoReturn:
    """Serve the port; as process 1 this is the life of the board."""
    port = os.open(find_port(), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    # What /init left running in the background.
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    agent = Agent(port)
    agent.send(Frame.AWAKE, 0)
    agent.serve()
