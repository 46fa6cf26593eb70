# SPDX-License-Identifier: GPL-2.0-only
"""A board behind ssh is put back, however a run ends: programs take the place of ssh's and its."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pyctl.errors import NotReady, OperationFailed, PyctlError, TargetLost
from tests.harness import control
from tests.harness.ssh import Destination, SshTarget

TOP = Path(__file__).resolve().parents[2]
SSH = """\
#!/bin/sh
while [ "$1" != root@board ]; do shift; done
shift
PATH={there}:/usr/bin:/bin exec sh -c "$*"
"""
# Says what a board is asked first without importing all that.
PYTHON = """\
case "$2" in *print*) echo python=3.11; echo pytest=9; echo libraries=1;;
*) exec {python} "$@";;
esac"""
# What stands for the command: it notes what it is asked, fails if told so, and can be held.
PYCTL = """\
import os, pathlib, sys, time
top, command = pathlib.Path(os.environ["BOARD"]), sys.argv[1]
with (top / "log").open("a") as log:
    print(command, file=log)
while command == "unload" and (top / "held").exists():
    time.sleep(0.02)
sys.exit(command in os.environ.get("BOARD_FAILS", "").split() and "for a reason")
"""
# All else of the package is the real one.
REAL = TOP / "pyctl"
PACKAGE = f"{(REAL / '__init__.py').read_text()}\n__path__.append({str(REAL)!r})\n"
TESTS = """\
import os, time
def test_passes(): pass
def test_pytest_dies(): os.kill(os.getppid(), 9)
def test_waits():
    open(os.environ["BOARD"] + "/waits", "w").close()
    time.sleep(1000)
"""
PASSES, PYTEST_DIES, WAITS = (
    f"tests/target/test_it.py::test_{name}" for name in ("passes", "pytest_dies", "waits")
)


def project(tests: str = TESTS, **more: str) -> bytes:
    """An archive like ``ssh.archive``'s, with a command and tests that need no board."""
    buffer = io.BytesIO()
    texts = more | {"pyctl/__main__.py": PYCTL, "tests/target/test_it.py": tests}
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("pyproject.toml", "tests/__init__.py", "tests/conftest.py", "tests/harness"):
            tar.add(TOP / name, arcname=name)
        for name, text in (
            texts | {"pyctl/__init__.py": PACKAGE, "tests/target/__init__.py": ""}
        ).items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Board:
    """A board: programs before those of this machine, and a directory of its own for the copy."""

    def __init__(self, top: Path) -> None:
        self.top, self.tmp = top, top / "tmp"
        self.here, self.there = top / "here", top / "there"
        for directory in (self.tmp, self.here, self.there):
            directory.mkdir()
        self.program("python3", PYTHON.format(python=sys.executable))
        self.program("uname", "[ $1 = -m ] && echo aarch64 || echo 9.9.9")
        for name in ("mount", "umount", "modprobe"):
            self.program(name, f"echo {name} >>{top}/mounts")
        ssh = self.here / "ssh"
        ssh.write_text(SSH.format(there=self.there))
        ssh.chmod(0o755)

    def program(self, name: str, script: str) -> None:
        path = self.there / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @property
    def log(self) -> list[str]:
        return self.noted("log")

    @property
    def mounts(self) -> list[str]:
        return self.noted("mounts")

    def noted(self, name: str) -> list[str]:
        path = self.top / name
        return path.read_text().split() if path.exists() else []

    @property
    def is_clean(self) -> bool:
        """Nothing of ours is left, and the last that was done was to unload."""
        return not list(self.tmp.iterdir()) and self.log[-1] == "unload"


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board(tmp_path)
    for name, value in {
        "PATH": f"{made.here}:/usr/bin:/bin",
        "BOARD": str(tmp_path),
        "TMPDIR": str(made.tmp),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tests.harness.ssh.archive", project)
    return made


@pytest.fixture
def connect(board: Board) -> Iterator[Callable[[], SshTarget]]:
    """Makes a target, as of a run of its own, with what it says in ``said``."""
    made: list[SshTarget] = []

    def make() -> SshTarget:
        said: list[str] = []
        target: Any = SshTarget(Destination("root@board"), said.append)
        target.said = said
        made.append(target)
        return target

    yield make
    (board.top / "held").unlink(missing_ok=True)
    for target in made:
        target.close()


def outcome(target: SshTarget, nodeid: str) -> str:
    reports, _printed = target.run(None, nodeid, None, 60)
    return str(reports[-2]["outcome"]) if len(reports) == 3 else "incomplete"


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def worker_over_there() -> psutil.Process:
    """The process that serves a connection over there."""
    [pytest_there] = [
        child
        for child in psutil.Process().children(recursive=True)
        if child.cmdline()[1:3] == ["-m", "tests.harness.there"]
    ]
    return pytest_there.parent()


def test_a_run_that_ends_well_puts_the_board_back(board: Board, connect: Any) -> None:
    target = connect()
    assert outcome(target, PASSES) == "passed"
    assert not board.is_clean
    target.close()
    assert board.is_clean
    assert board.log == ["build", "unload", "load", "unload"]


@pytest.mark.parametrize(
    ("fails", "more", "error", "words"),
    [
        ("load", {}, NotReady, "does not load the modules: for a reason"),
        ("build", {"modules": ""}, NotReady, "does not take the modules: File exists"),
        ("build", {}, NotReady, "cannot build the modules .for a reason., and neither can this"),
        ("", {"tests/target/conftest.py": "import nothing"}, OperationFailed, "'nothing'"),
    ],
)
def test_a_board_that_is_refused_late_is_put_back_first(
    board: Board,
    connect: Any,
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
    more: dict[str, str],
    error: type[PyctlError],
    words: str,
) -> None:
    monkeypatch.setenv("BOARD_FAILS", fails)
    monkeypatch.setattr("tests.harness.ssh.archive", lambda: project(**more))

    def modules(_release: str) -> list[Path]:
        if not more:
            raise NotReady("There is no such kernel.")
        return [TOP / "Kbuild"]

    target = connect()
    target.modules = modules
    with pytest.raises(error, match=words):
        target.run(None, PASSES, None, 60)
    assert not list(board.tmp.iterdir())
    assert board.log[-1] == ("build" if fails == "build" else "unload")
    # It would be the same for each of many tests, so the board is not asked again.
    before = board.log
    with pytest.raises(error, match=words):
        target.run(None, PASSES, None, 60)
    assert board.log == before


def test_a_file_that_cannot_be_loaded_there_is_said_of_its_tests(
    board: Board, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.harness.ssh.archive", lambda: project("import nothing"))
    [report], _ = connect().run(None, PASSES, None, 60)
    assert "'nothing'" in report["collection"]


def test_what_cannot_be_put_back_is_said_and_the_rest_is(
    board: Board, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOARD_FAILS", "unload")
    target = connect()
    assert outcome(target, PASSES) == "passed"
    target.close()
    assert board.is_clean
    assert "root@board: the modules could not be unloaded" in target.said


def test_the_board_is_put_back_when_the_worker_has_no_time(board: Board, connect: Any) -> None:
    """Execnet ends its worker after the connection; until all is put back, nobody has the board."""
    target = connect()
    assert outcome(target, PASSES) == "passed"
    worker = worker_over_there()
    (board.top / "held").touch()
    target.drop()
    until(lambda: board.log.count("unload") == 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.harness.ssh.PUT_BACK_S", 0.0)
        other = connect()
        with pytest.raises(NotReady, match="is in use"):
            other.run(None, PASSES, None, 60)
    if worker.is_running():
        worker.kill()
    (board.top / "held").unlink()
    until(lambda: board.is_clean)
    assert outcome(connect(), PASSES) == "passed"


def test_when_pytest_dies_over_there_the_next_test_has_another(board: Board, connect: Any) -> None:
    target = connect()
    assert outcome(target, PYTEST_DIES) == "passed"
    assert board.is_clean
    assert outcome(target, PASSES) == "passed"
    assert not [text for text in target.said if "lost" in text]


def test_a_board_that_reboots_in_a_test_is_lost_and_had_again(board: Board, connect: Any) -> None:
    board.program("cat", "echo before")
    target = connect()
    assert outcome(target, PASSES) == "passed"
    board.program("cat", "echo after")
    worker = worker_over_there()

    def reboot() -> None:
        until((board.top / "waits").exists)
        for process in (*worker.children(recursive=True), worker):
            process.kill()

    thread = threading.Thread(target=reboot)
    thread.start()
    with pytest.raises(TargetLost, match="root@board was lost: the connection broke"):
        target.run(None, WAITS, None, 60)
    thread.join()
    assert outcome(target, PASSES) == "passed"
    assert "root@board: is back, and has rebooted" in target.said


def test_an_interrupt_ends_the_test_at_work_and_puts_the_board_back(
    board: Board, connect: Any
) -> None:
    target = connect()
    main = threading.get_ident()

    def interrupt() -> None:
        until((board.top / "waits").exists)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        target.run(None, WAITS, None, 60)
    thread.join()
    target.close()
    until(lambda: board.is_clean)
    assert "ends, and the board is put back" in target.said[-1]


def test_a_reset_that_fails_is_said_once(board: Board, connect: Any) -> None:
    target = connect()
    target.was_lost, target.reset = True, f"echo reset >>{board.top}/log; exit 3"
    for _ in range(2):
        with pytest.raises(TargetLost, match=r"could not be reset: `echo .*` ended with 3"):
            target.run(None, PASSES, None, 60)
    assert board.log == ["reset"]


@pytest.mark.parametrize("status", [0, 1])
def test_only_what_was_mounted_is_unmounted(
    board: Board, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("PATH", f"{board.there}:/usr/bin:/bin")
    monkeypatch.setattr(control, "DEBUGFS", str(board.tmp))
    board.program("mount", f"exit {status}")
    there = control.Board()
    done = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(there, "run", lambda *_: done)
    assert there.load() is None
    assert there.close() == []
    assert board.mounts == ([] if status else ["umount"])
