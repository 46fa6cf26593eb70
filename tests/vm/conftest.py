# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the virtual board from outside: each runs `pyctl vm` as a user would."""

import contextlib
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pyctl import __version__
from pyctl.cache import Cache
from pyctl.places import cache_root
from pyctl.vm.factory import BoardFactory
from pyctl.vm.spec import Spec

TOP = Path(__file__).resolve().parents[2]
PYCTL = [sys.executable, "-m", "pyctl"]
# Above everything that the tests wait for on a busy machine.
PATIENCE_S = 300
# The same where packages are fetched and a snapshot is made first.
BOARD_S = 900
OLD_VERSION = "0.0.1"
NAMES = "'(' -name '*pyctl*' -o -name 'memregion_test*' -o -name 'smccc_cache*' ')'"
"""What `find` takes for ours."""
# Every process that a test starts carries it in its environment.
MARK = "PYCTL_TEST_MARK"


class Process(subprocess.Popen):
    """A process that a failed test does not wait for."""

    def __exit__(self, *exc):
        if exc[0] is not None:
            self.kill()
        super().__exit__(*exc)


class Runner:
    """Runs `pyctl` in a process of its own, and knows what that leaves behind."""

    command = PYCTL

    def __init__(self):
        self.mark = uuid.uuid4().hex
        self.env = dict(os.environ) | {MARK: self.mark}

    def start(self, *arguments, **options):
        return Process([*PYCTL, *arguments], env=self.env, cwd=TOP, **options)

    def __call__(self, *arguments, **options):
        """Run to the end; give the completed process with text output."""
        options = {"capture_output": True, "text": True, "timeout": PATIENCE_S} | options
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([*PYCTL, *arguments], env=self.env, cwd=TOP, **options)

    def on_board(self, *command, options=(), **more):
        return self("vm", "run", *options, "--", *command, **more)

    def left_behind(self):
        """The processes that still carry our mark."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def wait_for_child(self, parent, name):
        """Wait until a process has a descendant of this name; give it."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for child in psutil.Process(parent.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if name in child.name():
                        return child
            time.sleep(0.02)
        raise AssertionError(f"no {name} came up")


class NetworkBoard:
    """A board of `pyctl vm serve`, for as long as it is open."""

    def __init__(self, *options, patience_s=BOARD_S):
        self.options = options
        self.patience_s = patience_s
        self.runner = Runner()

    def __enter__(self):
        self.said = tempfile.TemporaryFile("w+")
        self.process = self.runner.start(
            *("vm", "serve", *self.options), stdout=subprocess.DEVNULL, stderr=self.said
        )
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline and self.process.poll() is None:
            listed = json.loads(self.runner("vm", "list", "--json").stdout)["boards"]
            if found := [each for each in listed if each["pid"] == self.process.pid]:
                self.config = Path(found[0]["ssh_config"])
                self.port = found[0]["port"]
                return self
            time.sleep(0.2)
        self.said.seek(0)
        why = self.said.read()
        self.__exit__()
        raise AssertionError(f"the board did not come up: {why}")

    def __exit__(self, *_exc):
        self.process.terminate()
        self.process.wait(30)
        self.said.close()

    def run(self, script, timeout=PATIENCE_S):
        """Run a script on the board; give the completed process."""
        command = ["ssh", "-F", str(self.config), "root@127.0.0.1", "sh", "-c", shlex.quote(script)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout)

    def good(self, script):
        """What a script prints that has to succeed."""
        done = self.run(script)
        assert done.returncode == 0, f"{script}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture
def pyctl():
    """Run `pyctl`; at the end nothing that it started may be left."""
    runner = Runner()
    yield runner
    deadline = time.monotonic() + 10
    while (left := runner.left_behind()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == [], "processes were left behind"


@pytest.fixture
def private_cache(pyctl, tmp_path_factory):
    """A cache of the test's own, to damage: with all that takes long to make."""
    shared = cache_root()
    boards = BoardFactory(Cache(shared))
    # Hard links need the same file system; what lies in "tmp" would be swept.
    own = shared / f"private-{pyctl.mark}"
    own.mkdir()
    for kind in ("guest", "toolchain", "kernel", "stub", "agent", "modules", "project"):
        subprocess.run(["cp", "-al", shared / kind, own], check=True)
    for entry in (boards.base(Spec()), boards.ready(Spec())):
        (own / entry.kind).mkdir()
        subprocess.run(["cp", "-al", entry.path, own / entry.kind], check=True)
    pyctl.env["PYCTL_CACHE"] = str(own)
    yield own
    subprocess.run(["rm", "-rf", own], check=True)


@pytest.fixture
def damage():
    """Damage a file of a private cache, and no other that is linked to it."""

    def make(path, how, keep_time=False):
        info = path.stat()
        copy = path.with_name("copy")
        subprocess.run(["cp", "--sparse=always", path, copy], check=True)
        with copy.open("r+b") as f:
            if how == "truncate":
                f.truncate(random.randrange(info.st_size))
            else:
                f.write(bytes(4096)[: info.st_size])
        copy.rename(path)
        if keep_time:
            os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

    return make


@dataclass(frozen=True)
class Packages:
    """What `scripts/package` has made of this checkout."""

    wheel: Path
    deb: Path


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """The wheel and the Debian package, built once for all workers."""
    top = tmp_path_factory.getbasetemp()
    shared = top.parent if "PYTEST_XDIST_WORKER" in os.environ else top
    made = shared / "packages"
    with Cache(shared / "locks").lock("packages"):
        if not list(made.glob("*.deb")):
            command = [TOP / "scripts/package", made]
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
            assert done.returncode == 0, done.stderr
    [wheel], [deb] = made.glob("*.whl"), made.glob("*.deb")
    return Packages(wheel, deb)


def deb_of_version(packages, version, directory, more=()):
    """The package of this checkout as it would be in another version, with more files in it."""
    top = directory / version
    subprocess.run(["dpkg-deb", "-R", packages.deb, top], check=True)
    for path in sorted(top.rglob("*"), reverse=True):
        if path.is_symlink():
            link = str(path.readlink())
            path.unlink()
            path.symlink_to(link.replace(__version__, version))
        elif path.is_file() and path.suffix in ("", ".py", ".h", ".conf"):
            path.write_text(path.read_text().replace(__version__, version))
        if __version__ in path.name:
            path.rename(path.with_name(path.name.replace(__version__, version)))
    for name in more:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("")
    made = directory / f"pyctl_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", top, made], check=True)
    return made
