# SPDX-License-Identifier: GPL-2.0-only
"""A command that the agent runs: its process, its pipes or its terminal.

Commands that are Python programs of this project can be imported beforehand;
then a fork of the agent becomes them, and no interpreter has to start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios

from pyctl.vm.channel import Frame

# Each import here is waited for at every cold boot.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

# Commands that run in a fork of the agent instead of a new interpreter, by
# name. ``Agent.preload`` adds those whose module it has imported.
FORKED: dict[str, Callable[[list[str]], object]] = {}
REPORT_FD = 3
HOME = "/root"
# What a command must not inherit from process 1, or from an interpreter.
DEFAULT_SIGNALS = (
    signal.SIGINT,
    signal.SIGPIPE,
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGXFSZ,
)


class Command:
    """One running command with its pipes or its terminal."""

    def __init__(self, request: int, spec: dict[str, Any]) -> None:
        self.request = request
        self.outputs: dict[int, Frame] = {}
        self.stdin: int | None = None
        self.pending = bytearray()
        self.input_ended = False
        self.pty = bool(spec.get("pty"))
        self.pid = self._start(spec)

    def _start(self, spec: dict[str, Any]) -> int:
        report_r, report_w = os.pipe()
        if self.pty:
            master, slave = os.openpty()
            set_size(master, spec.get("rows", 24), spec.get("columns", 80))
            theirs = [slave, slave, slave]
            self.stdin = os.dup(master)
            self.outputs[master] = Frame.STDOUT
        else:
            in_r, in_w = os.pipe()
            out_r, out_w = os.pipe()
            err_r, err_w = os.pipe()
            theirs = [in_r, out_w, err_w]
            self.stdin = in_w
            self.outputs |= {out_r: Frame.STDOUT, err_r: Frame.STDERR}
        self.outputs[report_r] = Frame.REPORT
        os.set_blocking(self.stdin, False)
        theirs.append(report_w)
        pid = 0 if self.pty else spawn(spec, theirs)
        if not pid:
            pid = fork_unsignalled()
            if not pid:
                try:
                    become(spec, theirs, self.pty)
                finally:
                    os._exit(127)
        for fd in set(theirs):
            os.close(fd)
        return pid

    def feed(self) -> int:
        """Pass on what the host sent for the command's standard input.

        Gives the number of bytes that are done with: taken, or wanted by nobody any more.
        """
        before = len(self.pending)
        try:
            if self.pending and self.stdin is not None:
                del self.pending[: os.write(self.stdin, self.pending)]
        except BlockingIOError:
            return 0
        except OSError:
            # The command has closed its input.
            self.input_ended = True
            self.pending.clear()
        if self.stdin is None:
            self.pending.clear()
        elif self.input_ended and not self.pending:
            if self.pty:
                # End of file on a terminal is a character.
                with contextlib.suppress(OSError):
                    os.write(self.stdin, b"\x04")
            os.close(self.stdin)
            self.stdin = None
        return before - len(self.pending)

    def kill(self, number: int) -> None:
        """Send a signal to the command and what it has started."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # Forked just now, it has no group yet; or it has ended, but is not collected.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close(self) -> None:
        """Let go of every descriptor."""
        for fd in self.outputs:
            os.close(fd)
        self.outputs.clear()
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None


def set_size(fd: int, rows: int, columns: int) -> None:
    """Tell a terminal its size."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def fork_unsignalled() -> int:
    """Fork; whatever signal comes at once waits until the child is ready to take it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, DEFAULT_SIGNALS)
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, DEFAULT_SIGNALS)
    return pid


def spawn(spec: dict[str, Any], fds: list[int]) -> int:
    """Start a program without a copy of this process, which takes long to make.

    Gives 0 where there is no such program, or where it can only be forked.
    """
    name, path = spec["argv"][0], spec["env"].get("PATH", os.defpath)
    if name in FORKED:
        return 0
    names = [name] if "/" in name else [f"{directory}/{name}" for directory in path.split(":")]
    try:
        # There is no other way to say where it shall start.
        os.chdir(spec.get("cwd") or HOME)
        return os.posix_spawn(
            next(name for name in names if os.access(name, os.X_OK)),
            spec["argv"],
            spec["env"],
            # Whatever else is open is closed on exec.
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(fds)],
            setsid=True,
            setsigdef=DEFAULT_SIGNALS,
        )
    except (OSError, StopIteration):
        return 0
    finally:
        os.chdir("/")


def become(spec: dict[str, Any], fds: list[int], pty: bool) -> NoReturn:
    """Turn this forked process into the command; never returns."""
    os.setsid()
    for number in DEFAULT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, DEFAULT_SIGNALS)
    # Move them out of the way first: a source may be one of the targets.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in fds]
    for target, fd in enumerate(high):
        os.dup2(fd, target)
    os.closerange(REPORT_FD + 1, 4096)
    if pty:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.environ.clear()
    os.environ.update(spec["env"])
    argv = spec["argv"]
    try:
        os.chdir(spec.get("cwd") or HOME)
        if program := FORKED.get(argv[0]):
            run_forked(argv, program)
        os.execvpe(argv[0], argv, os.environ)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def run_forked(argv: list[str], program: Callable[[list[str]], object]) -> NoReturn:
    """Run an imported program as if an interpreter had been started for it."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # These live as long as the process; there is nothing to close them for.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False, buffering=1 if os.isatty(1) else -1)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    sys.argv = list(argv)
    status: Any = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = program(argv[1:])
    except SystemExit as end:
        status = end.code
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())
    if status is None:
        status = 0
    elif not isinstance(status, int):
        print(status, file=sys.stderr)  # noqa: T201 - as the interpreter does
        status = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status & 0xFF)
