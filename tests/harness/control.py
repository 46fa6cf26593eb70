# SPDX-License-Identifier: GPL-2.0-only
"""The far end of an ssh target: prepares the board, and watches the pytest that runs there.

This file is sent by ``ssh`` and runs in execnet's worker on the board before anything
else of the project is there, so it imports nothing of it. Each request on the channel is
(name, arguments...) and gets one answer. When the channel ends, however that comes about,
whatever was started here ends, too, and what was changed is put back: by a process of its
own, for execnet gives its worker only seconds to end. Until that is done the board is
claimed, so that nobody loads modules which somebody else is about to unload.
"""

import contextlib
import fcntl
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
# How often it is looked whether anybody is still there to wait for a test.
LOOK_S = 0.5


class Board:
    """The board, with the project's copy and one pytest that has collected its tests."""

    def __init__(self, is_left=lambda: False):
        """``is_left`` says whether the connection has ended, and nobody waits for an answer."""
        self.is_left = is_left
        # Where the copy goes. Who locks the directory has the board: that leaves nothing
        # behind, and nobody takes the copy for old and cleans it up.
        self.place = os.open(tempfile.gettempdir(), os.O_RDONLY)
        self.top = None
        self.pytest = None
        self.is_mounted = False
        self.is_changed = False
        self.loaded_before: list[str] = []

    # -- requests ----------------------------------------------------------

    def claim(self, patience_s):
        """Have the board for this run alone; gives whether that came about in time."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(self.place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.1)
        self.loaded_before = [name for name in MODULES if os.path.exists(f"/sys/module/{name}")]
        return True

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
        """Take a module that was built elsewhere; gives None, or why that is not possible."""
        try:
            os.makedirs(self.path("modules"), exist_ok=True)
            with open(self.path("modules", name), "wb") as file:
                file.write(data)
        except OSError as error:
            return error.strerror or str(error)
        return None

    def load(self):
        """Load the modules with raw calls, instead of whatever is loaded; gives why not."""
        if not os.path.ismount(DEBUGFS):
            # Where that fails, what comes next says what it lacks.
            mount = ["mount", "-t", "debugfs", "debugfs", DEBUGFS]
            self.is_mounted = subprocess.run(mount, check=False).returncode == 0
        self.is_changed = True
        self.run("pyctl", "unload")
        done = self.run("pyctl", "load", "--raw")
        return None if done.returncode == 0 else done.stderr

    def collect(self):
        """Start pytest and have it collect the target tests; gives what it printed if it fails."""
        self.pytest = Pytest(self.top, self.environment(), self.is_left)
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
        """Put back what was changed; gives what could not be, in sentences."""
        left: list[str] = []
        # From the last to the first, and each also where another one failed.
        with contextlib.ExitStack() as steps:
            if self.is_mounted:
                steps.callback(subprocess.run, ["umount", DEBUGFS], check=False)
            if self.top is not None:
                steps.callback(shutil.rmtree, self.top, ignore_errors=True)
            if self.is_changed:
                steps.callback(self.put_modules_back, left)
            if self.pytest is not None:
                steps.callback(self.pytest.end)
        return left

    def put_modules_back(self, left):
        if self.run("pyctl", "unload").returncode:
            left.append("the modules could not be unloaded")
        for name in reversed(self.loaded_before):
            # Ours took its place; a board that has it installed gets it back.
            if subprocess.run(["modprobe", name], check=False).returncode:
                left.append(f"{name} had been loaded before and could not be again")

    def close_apart(self):
        """Have ``close`` done by a process that outlives this one.

        Gives a descriptor from which its answer is read, a line of JSON.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self.pytest is not None:
            self.pytest.let_go()
        answer, answer_end = os.pipe()
        if os.fork() == 0:
            try:
                os.setsid()
                null = os.open(os.devnull, os.O_RDWR)
                for fd in (0, 1, 2):
                    os.dup2(null, fd)
                # What else is open is the connection's, which ends when nobody has it.
                kept = {0, 1, 2, answer_end, self.place}
                for fd in {int(name) for name in os.listdir("/proc/self/fd")} - kept:
                    with contextlib.suppress(OSError):
                        os.close(fd)
                os.write(answer_end, json.dumps(self.close()).encode())
            finally:
                os._exit(0)
        os.close(answer_end)
        os.close(self.place)
        return answer


class Pytest:
    """One pytest that runs each test it is told in a fork; see ``there``."""

    def __init__(self, top, environment, is_left=lambda: False):
        self.is_left = is_left
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
        """Lines of reports as they come, until the deadline, pytest's end or the connection's."""
        sources = [self.reports, self.process.stdout.fileno()]
        while sources:
            while b"\n" in self.lines:
                line, _, self.lines = self.lines.partition(b"\n")
                yield line
            left = deadline - time.monotonic()
            if left <= 0 or self.is_left():
                return
            for source in select.select(sources, [], [], min(left, LOOK_S))[0]:
                data = os.read(source, 65536)
                if not data:
                    sources.remove(source)
                elif source == self.reports:
                    self.lines += data
                else:
                    self.printed += data
        # Nobody has the pipes any more: pytest is about to be gone.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GONE_S)

    def let_go(self):
        """Have it end, and what it runs: it does when nobody holds its standard input."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()
        os.close(self.reports)

    def end(self):
        """Wait for its end, or bring it about; any process may."""
        with contextlib.suppress(ProcessLookupError):
            ended = os.pidfd_open(self.process.pid)
            if not select.select([ended], [], [], GONE_S)[0]:
                os.killpg(self.process.pid, signal.SIGKILL)
                select.select([ended], [], [], GONE_S)
            os.close(ended)


def serve(channel):
    def is_left():
        try:
            channel.waitclose(0)
        except channel.TimeoutError:
            return False
        except EOFError:
            pass
        return True

    board = Board(is_left)
    name = ""
    try:
        for name, *arguments in channel:
            if name == "close":
                break
            channel.send(getattr(board, name)(*arguments))
    finally:
        answer = board.close_apart()
    if name == "close":
        with os.fdopen(answer) as file:
            channel.send(json.load(file))


if __name__ == "__channelexec__":
    serve(channel)  # type: ignore[name-defined] # noqa: F821 - execnet puts it there
