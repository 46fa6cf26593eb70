# SPDX-License-Identifier: GPL-2.0-only
"""The one child that can be given up on, for what may never return.

A request to the module ends up in firmware, and firmware may not come back. The
call is therefore made in a forked child. A signal makes the module stop between
two calls and report what it has done so far; where even that brings nothing the
child is left to its fate and the target counts as lost. Nothing here waits for a
child without a limit, not even when this process ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import select
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from pyctl.errors import OperationFailed, PyctlError, TargetLost

T = TypeVar("T")

GRACE_S = 5.0
"""How long a call that was told to stop may take until the target counts as lost."""
_NUDGE_S = 0.1
"""Between two signals: one that arrives just before the system call stops nothing."""
_PATIENCE = 2
"""More presses of Ctrl-C than this mean: do not wait for the call any longer."""
_REAP_S = 1.0
"""How long a child that was killed may take to end before it counts as stuck."""
_LENGTH_BYTES = 8
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Child(Generic[T]):
    """A forked process at work on a job; leaving it as a context manager gives it up."""

    def __init__(
        self, job: Callable[[], T], cpus: Collection[int] = (), is_kept: bool = False
    ) -> None:
        """Start ``job``, on ``cpus`` if any are given.

        What the job returns or raises must be something that pickle can carry. A child that
        ``is_kept`` for more jobs has none of this process's files open. Raises
        OperationFailed where the kernel gives no process.
        """
        self._data = bytearray()
        self._status: int | None = None
        self._parent = os.getpid()
        self._requests = self._answers = -1
        ends: list[int] = []
        # A Ctrl-C between the fork and the child's own handler would end the child.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            ends += os.pipe()
            ends += os.pipe()
            self.pid = os.fork()
            if self.pid == 0:
                _serve(job, cpus, ends, self._parent, mask, is_kept)
        except OSError as error:
            for end in ends:
                os.close(end)
            raise OperationFailed(
                f"No process could be started for the call: {error.strerror}.",
                "End other processes, or raise the limits (`ulimit -a`).",
            ) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs, self._requests, self._answers, sender = ends
        os.close(theirs)
        os.close(sender)

    def __enter__(self) -> Child[T]:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.give_up()

    def __del__(self) -> None:
        self.give_up()

    @property
    def is_ours(self) -> bool:
        """Whether it is this process's child, and not one of a process that has forked us."""
        return self._parent == os.getpid()

    def start(self, job: Callable[[], T], cpus: Collection[int]) -> None:
        """Start another job, once the one before has ended; pickle must be able to carry it."""
        self._data.clear()
        with contextlib.suppress(BrokenPipeError):
            _send(self._requests, pickle.dumps((job, cpus)))

    def wait(self, timeout_s: float) -> bool:
        """Whether the job's end is known, now or within ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        while self._status is None and not self._is_whole():
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._answers], [], [], left)[0]:
                return False
            part = os.read(self._answers, 1 << 16)
            self._data += part
            if not part:
                self._reap()
                return True
        return True

    def _is_whole(self) -> bool:
        size = len(self._data) - _LENGTH_BYTES
        return size >= 0 and size >= int.from_bytes(self._data[:_LENGTH_BYTES], "little")

    def interrupt(self) -> None:
        """Have the system call that the job is in return."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)

    @property
    def is_alive(self) -> bool:
        """Whether the child has brought the end of its job, and can be given another."""
        return self._status is None and self._is_whole()

    def result(self) -> T:
        """What a job that has ended returned; raises what it raised.

        Raises OperationFailed if the child died before it could say.
        """
        if not self.is_alive:
            raise OperationFailed(
                f"The process that made the call {_end_text(self._status)} before it could say "
                "what happened.",
                "See the kernel log (`dmesg`).",
            )
        value: T | Exception = pickle.loads(self._data[_LENGTH_BYTES:])
        if not isinstance(value, Exception):
            return value
        try:
            raise value
        finally:
            # The error holds this frame, which must not hold the error: it would keep the child.
            del value

    def give_up(self) -> None:
        """End the child; one that is stuck in firmware cannot be ended, nor waited for."""
        if self._answers < 0 or not self.is_ours:
            return
        for end in (self._requests, self._answers):
            os.close(end)
        self._requests = self._answers = -1
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        """Collect the child if it ends in a moment."""
        end = os.pidfd_open(self.pid)
        try:
            if select.select([end], [], [], _REAP_S)[0]:
                self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        finally:
            os.close(end)


def _serve(
    job: Callable[[], object],
    cpus: Collection[int],
    ends: Sequence[int],
    parent: int,
    mask: Collection[int],
    is_kept: bool,
) -> NoReturn:
    """Do one job after the other and send what comes of them; never return."""
    status = 1
    try:
        # A handler, so that a signal ends a system call, and no more than that.
        signal.signal(signal.SIGINT, lambda _number, _frame: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # A parent that is killed must not leave its request running.
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        requests, _theirs, _ours, answers = ends
        _let_go_of_files({requests, answers}, is_kept)
        while os.getppid() == parent:
            if cpus:
                os.sched_setaffinity(0, cpus)
            _send(answers, _outcome(job))
            job, cpus = pickle.loads(_receive(requests))
    except EOFError:
        status = 0
    finally:
        os._exit(status)


def _let_go_of_files(ours: set[int], all_others: bool) -> None:
    """Close what would stay open with a child that never ends: whoever reads our output waits."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        if number not in ours:
            os.dup2(nothing, number)
    if all_others:
        first = 3
        for number in sorted(ours):
            os.closerange(first, number)
            first = max(first, number + 1)
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _outcome(job: Callable[[], object]) -> bytes:
    """What the job returns or raises, pickled."""
    try:
        return pickle.dumps(job())
    except (OSError, PyctlError) as error:
        return pickle.dumps(error)
    except Exception as error:  # noqa: BLE001 - a mistake of ours must show where it is looked for
        return pickle.dumps(RuntimeError(f"in the child: {error!r}"))


def _send(end: int, data: bytes) -> None:
    data = len(data).to_bytes(_LENGTH_BYTES, "little") + data
    while data:
        data = data[os.write(end, data) :]


def _receive(end: int) -> bytes:
    """One message; EOFError where nobody will send one."""
    data, wanted = b"", _LENGTH_BYTES
    while len(data) < wanted:
        part = os.read(end, wanted - len(data))
        if not part:
            raise EOFError
        data += part
        if len(data) == _LENGTH_BYTES == wanted:
            wanted += int.from_bytes(data, "little")
    return data[_LENGTH_BYTES:]


def _end_text(status: int | None) -> str:
    if status is None:
        return "fell silent"
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


@dataclass(frozen=True)
class Ending(Generic[T]):
    """What a job brought back, and why it was told to stop, if it was."""

    value: T
    timed_out: bool = False
    interrupted: bool = False


class Caller:
    """Makes one call after the other in a child, which is kept as long as it behaves.

    Where there are many calls, a fork for each would cost more than all of them.
    """

    def __init__(self) -> None:
        self._child: Child[Any] | None = None

    def run(
        self,
        job: Callable[[], T],
        timeout_s: float,
        cpus: Collection[int] = (),
    ) -> Ending[T]:
        """Run ``job`` for at most ``timeout_s`` seconds and return what it returned.

        Pickle must be able to carry the job. ``cpus`` are those that it binds its calls to.
        After the timeout or a Ctrl-C it gets signals until it returns. Raises what it raised,
        TargetLost when nothing comes back within GRACE_S of the first signal, and
        OperationFailed if the child dies.
        """
        # Before the child: a Ctrl-C is for the call from now on.
        with (
            _noting_interrupts() as interrupts,
            waiting_beside(cpus) as others,
            contextlib.ExitStack() as stack,
        ):
            child, self._child = self._child, None
            if child and child.is_ours:
                child.start(job, others)
            else:
                child = Child(job, others, is_kept=True)
            stack.enter_context(child)
            timed_out = _finish([child], timeout_s, interrupts)
            # A signal that comes late must not meet another call.
            if child.is_alive and not timed_out and not interrupts:
                stack.pop_all()
                self._child = child
            return Ending(child.result(), timed_out, bool(interrupts))


def finish(children: Sequence[Child[T]], timeout_s: float) -> list[T]:
    """See ``children`` through, all of them, and return what their jobs returned.

    After ``timeout_s`` seconds or a Ctrl-C they get signals until their jobs return.
    Raises KeyboardInterrupt after a Ctrl-C, TargetLost when something does not come back
    within GRACE_S of the first signal, and what the jobs raised.
    """
    with _noting_interrupts() as interrupts:
        _finish(children, timeout_s, interrupts)
    if interrupts:
        raise KeyboardInterrupt
    return [child.result() for child in children]


def _finish(children: Sequence[Child[T]], timeout_s: float, interrupts: list[int]) -> bool:
    """Wait for all children, and signal them on timeout or Ctrl-C; whether the time ran out."""
    deadline = time.monotonic() + timeout_s
    stopped_at: float | None = None
    timed_out = False
    while not all(child.wait(_NUDGE_S) for child in children):
        now = time.monotonic()
        if stopped_at is None and (interrupts or now > deadline):
            stopped_at, timed_out = now, not interrupts
        if stopped_at is None:
            continue
        if now > stopped_at + GRACE_S or len(interrupts) > _PATIENCE:
            raise TargetLost(
                f"The call never came back: it was {'given up' if timed_out else 'interrupted'}"
                f", and {now - stopped_at:.1f} s after the signal to stop there is no answer.",
                "Firmware seems to hold a CPU: reset the target.",
            )
        for child in children:
            if not child.wait(0):
                child.interrupt()
    return timed_out


@contextlib.contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Collect presses of Ctrl-C instead of being ended by one."""
    interrupts: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def waiting_beside(cpus: Collection[int]) -> Iterator[set[int]]:
    """Keep this process to one CPU, none of ``cpus`` where that can be; gives those for a child.

    Firmware that does not return takes a CPU with it, and the timers of whoever waits there.
    """
    allowed = os.sched_getaffinity(0)
    ours = min(allowed - set(cpus) or allowed)
    os.sched_setaffinity(0, {ours})
    try:
        yield allowed - {ours} or allowed
    finally:
        os.sched_setaffinity(0, allowed)
