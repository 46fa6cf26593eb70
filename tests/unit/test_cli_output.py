# SPDX-License-Identifier: GPL-2.0-only
"""Output that nobody takes: a full disk, a closed descriptor. No command ends in a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyctl.cli.main import COMMANDS, main
from pyctl.target.system import System
from tests.unit.fake_machine import TARGET, FakeModule, Kernel, Machine

OBJECT = "--json"
LINES = {
    "doctor": (OBJECT,),
    "build": (OBJECT,),
    "load": (OBJECT,),
    "unload": (OBJECT,),
    "status": (OBJECT,),
    "attributes": (OBJECT,),
    "regions": (OBJECT,),
    "invalidate": ("--addr", hex(TARGET), "--size", "4K", OBJECT),
    "conformance": (OBJECT,),
    "coherency": (OBJECT,),
    "report": ("--no-calls", OBJECT),
    "watch": (OBJECT, "--", "true"),
    "fault": ("list", OBJECT),
    "lab": ("export", os.devnull, "--ktap", "-", OBJECT),
    "vm": ("clean",),
}
"""What each command is asked for; more than this is not printed on the fake machine."""
RUN = "import sys; from pyctl.cli.main import main; sys.exit(main())"


def run_with(closed: dict[int, int | None], words: list[str], system: System, err: Path) -> int:
    """Run a command line in a fork with descriptors replaced or closed, as at a shell."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
        for number, other in closed.items():
            if other is None:
                os.close(number)
            else:
                os.dup2(other, number)
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            mode = "w" if number else "r"
            is_closed = closed.get(number, 0) is None
            setattr(sys, name, None if is_closed else os.fdopen(number, mode, closefd=False))
        status = main(words, system)
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


@pytest.fixture
def ready(machine: Machine, module: FakeModule, kernel: Kernel) -> Machine:
    """A machine on which every command that can do its work does it."""
    return machine


@pytest.mark.parametrize("name", COMMANDS)
def test_no_room_for_the_answer_is_a_sentence(name: str, ready: Machine, tmp_path: Path) -> None:
    words = [name, *LINES[name]]
    full = os.open("/dev/full", os.O_WRONLY)
    status = run_with({1: full}, words, ready.system, tmp_path / "err")
    os.close(full)
    text = (tmp_path / "err").read_text()
    assert "Traceback" not in text
    assert "No space left on device." in text
    assert status in (1, 2, 3)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("closed", [{1: None}, {0: None, 1: None}])
def test_a_closed_output_changes_no_status(
    name: str, closed: dict[int, int | None], ready: Machine, tmp_path: Path
) -> None:
    words = [name, *LINES[name]]
    heard = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    usual = run_with({1: heard}, words, ready.system, tmp_path / "usual")
    os.close(heard)
    status = run_with(closed, words, ready.system, tmp_path / "err")
    assert "Traceback" not in (tmp_path / "err").read_text()
    # A second `unload` finds nothing, and so on; but none of them fails for want of output.
    assert status == usual


@pytest.mark.parametrize("stderr", [None, "/dev/full"])
def test_diagnostics_that_nobody_takes_change_no_status(
    stderr: str | None, ready: Machine, tmp_path: Path
) -> None:
    ready.unload_test_module()
    full = os.open(stderr, os.O_WRONLY) if stderr else None
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    status = run_with({1: out, 2: full}, ["status", "--json"], ready.system, tmp_path / "err")
    assert status == 3
    assert json.loads((tmp_path / "out").read_text())["ok"] is False


@pytest.mark.parametrize(("redirection", "expected"), [(">/dev/full", 1), (">&-", 0)])
def test_the_interpreter_has_nothing_to_add_at_its_end(redirection: str, expected: int) -> None:
    script = f'"$1" -c "$2" --help {redirection}'
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, RUN], capture_output=True, text=True
    )
    assert done.returncode == expected
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert ("No space left" in done.stderr) == (expected == 1)
