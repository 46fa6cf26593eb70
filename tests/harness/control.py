# SPDX-License-Identifier: GPL-2.0-only
"""The far end of an ssh target: prepares the board, and watches the pytest that runs there.

This file is sent by ``ssh`` and runs in execnet's worker on the board before anything
else of the project is there, so it imports nothing of it. Each request on the channel is
(name, arguments...) and gets one answer. When the channel ends, however that comes about,
whatever was started here ends, too, and what was changed is put back.
"""

import contextlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

DEBUGFS = "/sys/kernel/debug"
MODULES = ("smccc_cache", "memregion_test")
# How long a test that was killed may take to be gone; what is longer is stuck in firmware.
GONE_S = 15


class Board:
    """The board, with the project's copy and one pytest that has collected its tests."""

    def __init__(self):
        self.top = None
        self.pytest = None
        self.is_mounted = False
        self.loaded_before = [name for name in MODULES if os.path.exists(f"/sys/module/{name}")]

    # -- requests ----------------------------------------------------------

    def install(self, archive):
        """Unpack the project; gives None, or why that is not possible."""
        try:
            self.top = tempfile.mkdtemp(prefix="pyctl-")
        except OSError as error:
            return f"no temporary directory: {error.strerror or error}"
        # Tests become other users, too, and go on importing.
        os.chmod(self.top, 0o755)
        # Python says in one word what is wrong, and the board needs no tar.
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                # It is our own archive; a Python that is too old for filters ignores this.
                tar.extraction_filter = lambda member, _path: member
                tar.extractall(self.top)
        except OSError as error:
            return error.strerror or str(error)
        return None

    def build(self):
        """Build the modules here; gives None, or why that is not possible."""
        done = self.run("pyctl", "build", "--output", self.path("modules"))
        return None if done.returncode == 0 else done.stderr

    def take(self, name, data):
        """Take a module that was built elsewhere."""
        os.makedirs(self.path("modules"), exist_ok=True)
        with open(self.path("modules", name), "wb") as file:
            file.write(data)

    def load(self):
        """Load the modules with raw calls, instead of whatever is loaded; gives why not."""
        if not os.path.ismount(DEBUGFS):
            subprocess.run(["mount", "-t", "debugfs", "debugfs", DEBUGFS], check=False)
            self.is_mounted = True
        self.run("pyctl", "unload")
        done = self.run("pyctl", "load", "--raw")
        return None if done.returncode == 0 else done.stderr

    def collect(self):
        """Start pytest and have it collect the target tests; gives what it printed if it fails."""
        self.pytest = Pytest(self.top, self.environment())
        return self.pytest.wait_until_ready()

    def test(self, nodeid, environment, timeout_s):
        """Run one test: how it ended, the reports as lines, what it printed."""
        return self.pytest.run(nodeid, environment, timeout_s)

    def command(self, words):
        """Run pyctl with these words: its exit status, and what it wrote."""
        done = self.run("pyctl", *words)
        return done.returncode, done.stdout, done.stderr

    # -- the rest ------------------------------------------------------------

    def path(self, *names):
        return os.path.join(self.top, *names)

    def environment(self):
        return dict(
            os.environ,
            PYTHONPATH=self.top,
            PYCTL_MODULES=self.path("modules"),
            PYCTL_CACHE=self.path("cache"),
            LC_ALL="C.UTF-8",
        )

    def run(self, module, *arguments):
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.top,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def close(self):
        """Put back what was changed; gives what could not be."""
        left = []
        if self.pytest is not None:
            self.pytest.close()
        if self.top is not None:
            self.run("pyctl", "unload")
            for name in reversed(self.loaded_before):
                # Ours took its place; a board that has it installed gets it back.
                if subprocess.run(["modprobe", name], check=False).returncode:
                    left.append(name)
            shutil.rmtree(self.top, ignore_errors=True)
            self.top = None
        if self.is_mounted:
            subprocess.run(["umount", DEBUGFS], check=False)
        return left


class Pytest:
    """One pytest that runs each test it is told in a fork; see ``there``."""

    def __init__(self, top, environment):
        self.reports, reports_end = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.there", str(reports_end)],
            cwd=top,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(reports_end,),
            start_new_session=True,
        )
        os.close(reports_end)
        self.lines = b""
        self.printed = b""

    def wait_until_ready(self):
        """None once all tests are collected, else what pytest printed."""
        for line in self.read(time.monotonic() + 300):
            if "ready" in json.loads(line):
                return None
        return self.printed.decode(errors="replace") or "pytest ended without a word"

    def run(self, nodeid, environment, timeout_s):
        self.printed = b""
        reports: list[str] = []
        pid, how = None, "died"
        request = json.dumps({"nodeid": nodeid, "env": environment}) + "\n"
        with contextlib.suppress(OSError):
            self.process.stdin.write(request.encode())
            self.process.stdin.flush()
        for how, deadline in (("ended", timeout_s), ("late", GONE_S)):
            for line in self.read(time.monotonic() + deadline):
                said = json.loads(line)
                if "pid" in said:
                    pid = said["pid"]
                elif "ended" in said:
                    return how, reports, self.printed.decode(errors="replace")
                else:
                    reports.append(line.decode())
            if self.process.poll() is not None:
                return "died", reports, self.printed.decode(errors="replace")
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        return "stuck", reports, self.printed.decode(errors="replace")

    def read(self, deadline):
        """Lines of reports as they come, until the deadline or pytest's end."""
        sources = [self.reports, self.process.stdout.fileno()]
        while sources:
            while b"\n" in self.lines:
                line, _, self.lines = self.lines.partition(b"\n")
                yield line
            left = deadline - time.monotonic()
            if left <= 0:
                return
            for source in select.select(sources, [], [], left)[0]:
                data = os.read(source, 65536)
                if not data:
                    sources.remove(source)
                elif source == self.reports:
                    self.lines += data
                else:
                    self.printed += data

    def close(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(GONE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process.stdout.close()
        os.close(self.reports)


def serve(channel):
    board = Board()
    try:
        for name, *arguments in channel:
            if name == "close":
                channel.send(board.close())
                return
            channel.send(getattr(board, name)(*arguments))
    finally:
        board.close()


if __name__ == "__channelexec__":
    serve(channel)  # type: ignore[name-defined] # noqa: F821 - execnet puts it there
