# SPDX-License-Identifier: GPL-2.0-only
"""Runs `pyctl` on the target in a fork, as a user would: own output, signals, user.

A fork has everything imported already; a new interpreter would cost each
command most of a second on an emulated board.
"""

import ctypes
import json
import os
import signal
import sys
import tempfile
import time

from pyctl.cli.main import main


class Ended:
    """A command that has ended: exit status and output."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def json(self):
        assert self.out, f"it printed nothing; status {self.status}: {self.err}"
        return json.loads(self.out)

    @property
    def message(self):
        """The one sentence for people; fails where there is none, or a traceback."""
        assert "Traceback" not in self.err
        [line] = [line for line in self.err.splitlines() if line.startswith("pyctl: ")]
        return line.removeprefix("pyctl: ")


class Running:
    """A function that runs in a forked process with its output in files."""

    def __init__(self, function, uid=0):
        self.files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(function, uid)

    def _child(self, function, uid):
        status = 70
        try:
            for number, file in enumerate(self.files, 1):
                os.dup2(file.fileno(), number)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if uid:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            status = function()
        except BaseException:  # noqa: BLE001 - as the interpreter does
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def kill(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds=60):
        """Wait for the end; a process that was killed has the signal's number, negative."""
        deadline = time.monotonic() + seconds
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            assert time.monotonic() < deadline, f"it did not end within {seconds} s"
            time.sleep(0.005)
        out, err = (self._text(file) for file in self.files)
        return Ended(os.waitstatus_to_exitcode(ended[1]), out, err)

    def _text(self, file):
        file.seek(0)
        with file:
            return file.read().decode(errors="replace")


class Pyctl:
    """Runs one `pyctl` command."""

    def start(self, *arguments, uid=0):
        return Running(lambda: main([str(argument) for argument in arguments]), uid)

    def __call__(self, *arguments, uid=0):
        return self.start(*arguments, uid=uid).wait()


def umount(point):
    """Take a mount away even while files in it are open; gives False where it fails."""
    return ctypes.CDLL(None, use_errno=True).umount2(point.encode(), 2) == 0
