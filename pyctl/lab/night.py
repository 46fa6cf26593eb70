# SPDX-License-Identifier: GPL-2.0-only
"""One go over a fleet: a pytest for each board, several at once, their results in the store.

Each board has a process, a journal and a log of its own, so none can hurt another. What
a process has found is in its journal at once and in the store when it ends, whatever
ended it. A process that is stopped has some time to put its board back.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from pyctl.errors import NotReady, UsageError
from pyctl.lab.fleet import TESTS, Fleet, FleetBoard
from pyctl.lab.journal import read_journal
from pyctl.lab.results import BoardIdentity, ItemOutcome, RunHead, RunResults
from pyctl.lab.store import NightRow, Store
from pyctl.vm.process import die_with_parent

TOP = Path(__file__).resolve().parents[2]
# For a board that is told to stop: to put back what was changed on it.
STOP_S = 90.0
# A board that is lost so often is given up on, and not tried to the bitter end.
LOSSES = 3
_POLL_S = 0.2
_TELL_S = 30.0
_NO_JOURNAL = "The board's process ended before it began"


def need_checkout() -> None:
    """Raise NotReady where the suite that runs on boards is not beside this pyctl."""
    if not (TOP / "tests/target").is_dir():
        raise NotReady(
            "The tests that run on boards are not installed with pyctl.",
            "Run `pyctl lab` from a checkout of the project, after `scripts/setup`.",
        )


def pytest_command(board: FleetBoard, journal: Path) -> list[str]:
    """What runs all that a board is asked for."""
    options = [f"--target={board.target}", f"--journal={journal}", f"--board-name={board.name}"]
    options += [f"--steps={','.join(board.steps)}", f"--losses={LOSSES}", f"--back={board.back_s}"]
    for name, value in (
        ("ssh-config", board.ssh_config),
        ("reset", board.reset),
        ("serial", board.serial),
        ("wait", f"{board.wait_s:g}" if board.target.startswith("labgrid:") else ""),
        ("kernel", board.kernel),
        ("boards", board.kind),
    ):
        if value:
            options.append(f"--{name}={value}")
    tests = board.tests if TESTS in board.steps else ("tests/target/test_discovery.py",)
    pytest = [sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider"]
    return [*pytest, *options, *tests]


def environment(board: FleetBoard) -> dict[str, str]:
    """What a board's process finds; faults are planted in a virtual board's firmware only."""
    env = {name: value for name, value in os.environ.items() if name != "PYCTL_FIRMWARE"}
    return env | ({"PYCTL_FIRMWARE": ";".join(board.firmware)} if board.firmware else {})


@dataclass
class _AtWork:
    """A board's process."""

    board: FleetBoard
    process: subprocess.Popen[bytes]
    journal: Path
    log: Path
    lock: IO[str] | None
    give_up_at: float
    stopped: str = ""
    kill_at: float = 0.0
    told_at: float = field(default_factory=time.monotonic)

    def stop(self, why: str) -> None:
        """Have it end in order, once; it is killed if it does not."""
        if not self.stopped:
            self.stopped = why
            self.kill_at = time.monotonic() + STOP_S
            self.process.send_signal(signal.SIGINT)

    def look(self) -> bool:
        """Whether it still runs; one that is over its time is stopped, then killed."""
        if self.process.poll() is not None:
            return False
        if time.monotonic() > self.give_up_at:
            self.stop("Its time was over.")
        if self.stopped and time.monotonic() > self.kill_at:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        return True

    def results(self) -> RunResults:
        """What is known of the board, whatever became of its process."""
        run = journal_of(self.journal, self.board, self.log)
        return replace(run, trouble=self.stopped) if self.stopped and not run.is_complete else run


def journal_of(journal: Path, board: FleetBoard | str, log: Path) -> RunResults:
    """The run in a journal, or where there is none one that says why."""
    name = board if isinstance(board, str) else board.name
    try:
        return read_journal(journal)
    except UsageError:
        said = log.read_text(errors="replace").strip() if log.is_file() else ""
        why = f"{_NO_JOURNAL}: {said[-2000:]}" if said else f"{_NO_JOURNAL}."
        return RunResults(RunHead("target", BoardIdentity(name)), trouble=why)


class Work:
    """The boards of a night that are still to be done, and those that are at work."""

    def __init__(self, fleet: Fleet, store: Store, night: int, say: Callable[[str], None]) -> None:
        self.fleet, self.store, self.night, self.say = fleet, store, night, say
        self.at_work: list[_AtWork] = []
        self.directory = store.directory(night)
        self._waiting_since: dict[str, float] = {}

    def run(self, boards: Sequence[FleetBoard]) -> None:
        """Do all boards. Whatever ends this ends their processes, and keeps what they found."""
        waiting = list(boards)
        ends_at = time.monotonic() + self.fleet.budget_s
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            while waiting or self.at_work:
                if time.monotonic() > ends_at:
                    for board in waiting:
                        self._not_had(board, "The time of the night was over.")
                    waiting = []
                    for one in self.at_work:
                        one.stop("The time of the night was over.")
                for board in list(waiting):
                    if len(self.at_work) < self.fleet.parallel and self._start(board):
                        waiting.remove(board)
                self._look()
                time.sleep(_POLL_S)
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        for one in self.at_work:
            one.stop("The night was ended.")
        if self.at_work:
            self.say(f"Ending {len(self.at_work)} boards; a second Ctrl-C does not wait for them.")
        try:
            while self.at_work:
                # A store that takes no more: the journal keeps it, for ``adopt``.
                with contextlib.suppress(NotReady):
                    self._look()
                time.sleep(_POLL_S)
        finally:
            for one in self.at_work:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(one.process.pid, signal.SIGKILL)

    def _start(self, board: FleetBoard) -> bool:
        """Begin with a board; False where somebody else has it and it is waited for."""
        since = self._waiting_since.setdefault(board.name, time.monotonic())
        lock = self._lock(board)
        if lock is None:
            if time.monotonic() - since < board.wait_s:
                return False
            self._not_had(board, "Another `pyctl lab run` of this host is using it.")
            return True
        journal, log = (self.directory / f"{board.name}.{kind}" for kind in ("journal", "log"))
        journal.unlink(missing_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                pytest_command(board, journal),
                cwd=TOP,
                env=environment(board),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        self.say(f"{board.name}: begun ({board.target})")
        give_up_at = time.monotonic() + board.budget_s
        self.at_work.append(_AtWork(board, process, journal, log, lock, give_up_at))
        return True

    def _lock(self, board: FleetBoard) -> IO[str] | None:
        """What keeps the board for us, until it is closed; None where another has it."""
        where = f"{board.target} {board.ssh_config or ''}"
        name = hashlib.sha256(where.encode()).hexdigest()[:16]
        if board.target == "vm":
            # There are as many of these as one wants.
            name += f"-{os.getpid()}-{board.name}"
        path = self.store.path.with_name(f"{self.store.path.name}.d") / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def _not_had(self, board: FleetBoard, why: str) -> None:
        self._keep(RunResults(RunHead("target", BoardIdentity(board.name)), trouble=why))

    def _look(self) -> None:
        for one in list(self.at_work):
            if one.look():
                if time.monotonic() - one.told_at > _TELL_S:
                    one.told_at = time.monotonic()
                    self.say(f"{one.board.name}: {progress_of(one.results())}")
                continue
            self.at_work.remove(one)
            if one.lock:
                one.lock.close()
            self._keep(one.results())

    def _keep(self, run: RunResults) -> None:
        self.store.add(self.night, run)
        self.say(f"{run.head.board.name}: {progress_of(run)} {run.why_incomplete}".rstrip())


def progress_of(run: RunResults) -> str:
    """How far a run is, in a few words."""
    counts = run.counts
    done = len(run.results) - counts[ItemOutcome.INCOMPLETE]
    bad = ", ".join(
        f"{counts[one]} {word}"
        for one, word in ((ItemOutcome.FAIL, "failed"), (ItemOutcome.ERROR, "lost"))
        if counts[one]
    )
    return f"{done} of {len(run.results)} done{f', {bad}' if bad else ''}."


def adopt(store: Store) -> None:
    """Put into the store what is only in the journals of nights that were broken off."""
    for night in store.nights():
        is_over = bool(night.ended)
        if (is_over and not night.trouble) or (not is_over and _is_running(night)):
            continue
        known = {run.board.name for run in store.runs(night.id)}
        directory = store.directory(night.id)
        for name in night.boards:
            journal = directory / f"{name}.journal"
            # Who ended a night in order has kept all; what was not begun has no journal.
            if name in known or (is_over and not journal.exists()):
                continue
            run = journal_of(journal, name, directory / f"{name}.log")
            if not run.is_complete:
                run = replace(run, trouble=run.trouble or "The night was broken off.")
            store.add(night.id, run)
        if not is_over:
            store.end(night.id, "It was killed.")


def _is_running(night: NightRow) -> bool:
    """Whether the process of a night is there, and is one that could have begun it."""
    try:
        words = Path(f"/proc/{night.pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"lab" in words
