# SPDX-License-Identifier: GPL-2.0-only
"""Target tests over ssh, with programs in the place of ssh and of what a board has."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pyctl.errors import NotReady
from tests.harness.control import Pytest
from tests.harness.reports import MISSING, OTHER_KIND, TargetGone, demand, parsed
from tests.harness.ssh import Destination, SshTarget

TOP = Path(__file__).resolve().parents[2]
# As ssh: all words behind the destination are one line for a shell over there.
SSH = """\
#!/bin/sh
while [ "$1" != root@board ]; do shift; done
shift
PATH={there}:/usr/bin:/bin exec sh -c "$*"
"""
UNAME = '#!/bin/sh\n[ "$1" = -m ] && echo aarch64 || echo 9.9.9\n'


class Board:
    """A board: programs that stand before those of this machine."""

    def __init__(self, top: Path) -> None:
        self.here, self.there = top / "here", top / "there"
        self.here.mkdir()
        self.there.mkdir()
        self.program(self.here / "ssh", SSH.format(there=self.there))
        self.program(self.there / "uname", UNAME)
        self.program(self.there / "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')

    def program(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board(tmp_path)
    monkeypatch.setenv("PATH", f"{made.here}:/usr/bin:/bin")
    return made


@pytest.fixture
def target() -> SshTarget:
    return SshTarget(Destination("root@board"))


def ssh_that_says(words: str) -> str:
    return f"#!/bin/sh\necho '{words}' >&2\nexit 255\n"


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("root@board: Permission denied (publickey).", "does not accept our key"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "another host key"),
        ("ssh: connect to host board port 22: Connection refused", "nothing answers"),
        ("ssh: connect to host board port 22: Connection timed out", "does not answer"),
        ("ssh: Could not resolve hostname board: Name or service not known", "name is not known"),
        ("something new.", "cannot be reached: something new."),
    ],
)
def test_what_ssh_says_becomes_a_sentence(
    board: Board, target: SshTarget, said: str, meaning: str
) -> None:
    board.program(board.here / "ssh", ssh_that_says(said))
    with pytest.raises(NotReady, match=meaning) as caught:
        target.run(None, "test", None, 60)
    assert "root@board" in caught.value.message
    assert "must work without asking" in caught.value.hint


@pytest.mark.parametrize(
    ("program", "text", "meaning"),
    [
        ("uname", "#!/bin/sh\necho x86_64\n", "no arm64 machine, but x86_64"),
        ("id", "#!/bin/sh\necho 1000\n", "not as root"),
        ("python3", "#!/bin/sh\nexit 127\n", "has no python3"),
        ("python3", "#!/bin/sh\necho python=3.9\n", "has Python 3.9, and 3.11 is needed"),
        ("python3", "#!/bin/sh\necho python=3.11\n", "has no click, psutil or pyudev"),
        (
            "python3",
            '#!/bin/sh\ncase "$2" in *pytest*) exit 1;; *click*) echo libraries=1;; '
            "*) echo python=3.13;; esac\n",
            "has no pytest",
        ),
    ],
)
def test_what_a_board_lacks_is_named(
    board: Board, target: SshTarget, program: str, text: str, meaning: str
) -> None:
    board.program(board.there / program, text)
    with pytest.raises(NotReady, match=meaning):
        target.run(None, "test", None, 60)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("1235", "its serial number is 1234, and not 1235"), ("1234", "is no arm64 machine")],
)
def test_another_board_at_the_same_address_is_refused(
    board: Board, target: SshTarget, wanted: str, message: str
) -> None:
    board.program(board.there / "cat", "#!/bin/sh\necho 1234\n")
    board.program(board.there / "uname", "#!/bin/sh\necho x86_64\n")
    target.serial = wanted
    with pytest.raises(NotReady, match=message):
        target.run(None, "test", None, 60)


@pytest.mark.parametrize(("off_s", "said"), [(3600, []), (-864000, ["wrong by 10 days"])])
def test_a_board_whose_clock_is_wrong_is_told(
    target: SshTarget, off_s: int, said: list[str]
) -> None:
    told: list[str] = []
    target.say = told.append
    target.say_of_clock({"clock": f"{time.time() + off_s:.0f}"})
    assert len(told) == len(said)
    assert all(words in text for words, text in zip(said, told, strict=True))


def test_a_port_and_a_configuration_go_to_ssh() -> None:
    words = Destination("root@board:2222", Path("/x/config")).arguments()
    assert words[:2] == ["-F", "/x/config"]
    assert words[-3:] == ["-p", "2222", "root@board"]


def test_a_lost_board_is_reset_and_looked_for_again(
    board: Board, target: SshTarget, tmp_path: Path
) -> None:
    """Until it answers; here it does not, for it is off until the reset."""
    target.back_s = 20.0
    works = (board.here / "ssh").read_text()
    board.program(board.here / "ssh", ssh_that_says("Connection refused"))
    board.program(board.here / "works", works)
    board.program(board.there / "uname", "#!/bin/sh\necho back\n")
    target.reset = f"sleep 1; cp {board.here}/works {board.here}/ssh"
    target.was_lost = True
    with pytest.raises(NotReady, match="no arm64 machine, but back"):
        target.run(None, "test", None, 60)


def test_a_board_that_does_not_come_back_is_lost(board: Board, target: SshTarget) -> None:
    target.back_s = 0.0
    board.program(board.here / "ssh", ssh_that_says("Connection refused"))
    target.was_lost = True
    with pytest.raises(TargetGone, match="did not come back within 0 s"):
        target.run(None, "test", None, 60)


def test_a_full_disk_is_named(board: Board, target: SshTarget) -> None:
    """The archive does not fit; here because no file may be longer than a block."""
    board.program(board.there / "python3", f'#!/bin/sh\nulimit -f 1\nexec {sys.executable} "$@"\n')
    with pytest.raises(NotReady, match="does not take the project: File too large") as caught:
        target.run(None, "test", None, 60)
    assert "disk full" in caught.value.hint
    assert target.group is None


# -- what runs over there ------------------------------------------------------

TESTS = """\
import os, pathlib, subprocess, time, pytest

def test_passes(): print("printed")
def test_fails(): assert 1 == 2
def test_skips(): pytest.skip("a reason")
def test_dies(): os._exit(3)
def test_sees(): assert os.environ["PYCTL_SEEN"] == "yes"
def test_hangs():
    child = subprocess.Popen(["sleep", "1000"])
    pathlib.Path("child").write_text(str(child.pid))
    time.sleep(1000)
"""


@contextlib.contextmanager
def started(top: Path) -> Iterator[Pytest]:
    """A pytest that has collected tests of its own."""
    (top / "tests/target").mkdir(parents=True)
    for name in ("__init__.py", "conftest.py", "harness"):
        whole = TOP / "tests" / name
        copy = shutil.copytree if whole.is_dir() else shutil.copy
        copy(whole, top / "tests" / name)
    shutil.copy(TOP / "pyproject.toml", top)
    (top / "tests/target/__init__.py").touch()
    (top / "tests/target/test_it.py").write_text(TESTS)
    made = Pytest(str(top), dict(os.environ) | {"PYTHONPATH": f"{top}:{TOP}"})
    assert made.wait_until_ready() is None
    yield made
    made.let_go()
    made.end()
    assert made.process.poll() is not None


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("there") / "project"


@pytest.fixture(scope="module")
def over_there(project: Path) -> Iterator[Pytest]:
    """One for many tests, as on a board."""
    with started(project) as made:
        yield made


def node(name: str) -> str:
    return f"tests/target/test_it.py::test_{name}"


@pytest.mark.parametrize("name", ["passes", "fails", "skips", "sees"])
def test_reports_come_back(over_there: Pytest, name: str) -> None:
    how, lines, printed = over_there.run(node(name), {"PYCTL_SEEN": "yes"}, 60)
    reports = parsed(lines)
    outcome = {"fails": "failed", "skips": "skipped"}.get(name, "passed")
    assert how == "ended"
    assert [report["when"] for report in reports] == ["setup", "call", "teardown"]
    assert reports[1]["outcome"] == outcome
    assert ("printed" in printed) == (name == "passes")


def test_a_test_that_ends_pytest_leaves_no_teardown_and_the_next_runs(over_there: Pytest) -> None:
    how, lines, _ = over_there.run(node("dies"), {}, 60)
    assert (how, [report["when"] for report in parsed(lines)]) == ("ended", ["setup"])
    assert over_there.run(node("passes"), {}, 60)[0] == "ended"


def test_a_test_that_is_not_there_says_so(over_there: Pytest) -> None:
    _, lines, _ = over_there.run(node("nothing"), {}, 60)
    assert "There is no test" in parsed(lines)[0]["collection"]


def test_what_takes_too_long_ends_over_there_with_all_it_started(
    over_there: Pytest, project: Path
) -> None:
    how, lines, _ = over_there.run(node("hangs"), {}, 2)
    assert (how, [report["when"] for report in parsed(lines)]) == ("late", ["setup"])
    child = int((project / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.wait_procs([psutil.Process(child)], 10)[1] == []
    assert over_there.run(node("passes"), {}, 60)[0] == "ended"


def test_a_test_at_work_ends_when_nobody_listens(tmp_path: Path) -> None:
    """As when the connection breaks: pytest's standard input ends, and all ends with it."""
    mark = tmp_path / "project/child"
    with started(tmp_path / "project") as there:
        assert there.process.stdin is not None
        there.process.stdin.write(f'{{"nodeid": "{node("hangs")}", "env": {{}}}}\n'.encode())
        there.process.stdin.flush()
        deadline = time.monotonic() + 30
        while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        child = psutil.Process(int(mark.read_text()))
        there.process.stdin.close()
        assert there.process.wait(20) is not None
        assert psutil.wait_procs([child], 10)[1] == []


@pytest.mark.parametrize(
    ("why", "outcome"),
    [
        (f"Skipped: {MISSING} root", "failed"),
        (f"Skipped: {OTHER_KIND} one with two CPUs", "skipped"),
        ("Skipped: of the test's own", "skipped"),
    ],
)
def test_a_skip_for_what_is_missing_fails_where_a_target_is_required(
    why: str, outcome: str
) -> None:
    report = pytest.TestReport(
        "a", ("a", 1, "a"), {}, "skipped", ("file", 1, why), "setup", duration=0
    )
    demand(report)
    assert report.outcome == outcome
    assert (MISSING in str(report.longrepr)) == (outcome == "failed")
