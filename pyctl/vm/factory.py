# SPDX-License-Identifier: GPL-2.0-only
"""How a board is had: from a snapshot, or by a cold boot.

``BoardFactory.boot`` gives a pristine board, restored from a snapshot where that
is possible and booted cold where it is not.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pyctl.cache import Cache, Entry, digest
from pyctl.errors import TargetLost
from pyctl.firmware.boot import boot_blob
from pyctl.vm.build import Builder
from pyctl.vm.machine import (
    Machine,
    Parts,
    Qemu,
    Spec,
    bootargs,
    machine_arguments,
    resolve_accel,
)
from pyctl.vm.roots import Kernel, Roots
from pyctl.vm.session import GUEST_ENV, Board
from pyctl.vm.snapshot import FORMAT, Snapshot, shared_memory

# As `pyctl load --raw` does, without a Python that would have to start, and without
# kmod, which would have to find its libraries.
_LOAD = f"""\
cd {GUEST_ENV["PYCTL_MODULES"]}
busybox insmod memregion_test.ko raw_calls=1
grep -q ^provider=0 /sys/kernel/debug/memregion_test/info && busybox insmod smccc_cache.ko
"""
# At about 140 MiB each. Every choice of machine and firmware has a ready
# board of its own; a base only spares a boot when the project has changed.
KEPT_READY = 48
KEPT_BASE = 6
# Imported before a snapshot, so that a command need not import them.
BASE_MODULES = ("click", "json", "psutil", "pyudev", "subprocess", "pytest")
READY_MODULES = ("pyctl.cli.everything",)


class BoardFactory:
    """Prepares what boards need and boots them."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        # What took how long, in the order in which it ended; see ``timed``.
        self.phases: list[tuple[str, float]] = []
        self.roots = Roots(self.cache)
        self.builder = Builder(self.cache, self.roots)

    @contextlib.contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Note the time that a phase takes, in seconds."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.phases.append((phase, time.monotonic() - started))

    def parts(self, kernel: Kernel, project: Entry | None) -> Parts:
        """The files for a cold boot, made if need be."""
        return Parts(
            stub=self.builder.stub().path / "stub.elf",
            image=kernel.image,
            initrd=(
                self.roots.guest().path / "base.cpio",
                self.builder.agent().path / "agent.cpio",
                *([project.path / "project.cpio"] if project else []),
            ),
        )

    @contextlib.contextmanager
    def _machine(self, spec: Spec, memory_fd: int | None = None) -> Iterator[Machine]:
        with self.cache.scratch("run") as run_dir:
            machine = Machine(
                Qemu.find(spec.qemu), spec, run_dir, resolve_accel(spec.accel), memory_fd
            )
            try:
                yield machine
            finally:
                machine.close()

    def dry_run(self, spec: Spec) -> str:
        """The exact QEMU command of a cold boot."""
        kernel = self.roots.kernel(spec.kernel, spec.kdir)
        parts = self.parts(kernel, self.builder.project(kernel))
        with self._machine(spec) as machine:
            return machine.dry_run(machine.cold_arguments(parts))

    def boot(self, spec: Spec, cold: bool = False) -> Board:
        """A pristine board that holds the project, with the modules loaded.

        It continues a snapshot, made now if there is none yet, unless ``cold``
        is set or snapshots do not work here.
        """
        with self.timed("find kernel"):
            kernel = self.roots.kernel(spec.kernel, spec.kdir)
        qemu = Qemu.find(spec.qemu)
        accel = resolve_accel(spec.accel)
        if accel != "tcg" and not cold:
            self.cache.say(f"snapshots are not used with {accel}; booting cold")
            cold = True
        if cold:
            with self.timed("find files"):
                project = self.builder.project(kernel)
            board = self._boot_cold(spec, kernel, project)
            try:
                self._load(board, spec)
            except BaseException:
                board.close()
                raise
            return board
        for attempt in (1, 2):
            with self.timed("find snapshot"):
                entry = self._ready(spec, kernel, qemu)
            try:
                return self._restore(spec, entry)
            except TargetLost as error:
                self.cache.remove(entry)
                if attempt == 2:
                    raise
                self.cache.say(f"snapshot {entry.key} cannot be continued ({error.message})")
        raise AssertionError("unreachable")

    def _boot_cold(
        self,
        spec: Spec,
        kernel: Kernel,
        project: Entry | None = None,
        memory_fd: int | None = None,
    ) -> Board:
        """Boot from reset to an agent that answers, with or without the project's files."""
        parts = self.parts(kernel, project)

        def start(machine: Machine) -> None:
            machine.start(machine.cold_arguments(parts))

        return self._run_machine(spec, start, memory_fd)

    def _restore(self, spec: Spec, entry: Entry, memory_fd: int | None = None) -> Board:
        """Continue a snapshot."""
        snapshot = Snapshot(entry.path)
        return self._run_machine(spec, lambda machine: machine.restore(snapshot), memory_fd)

    def _run_machine(
        self, spec: Spec, start: Callable[[Machine], None], memory_fd: int | None
    ) -> Board:
        with contextlib.ExitStack() as stack:
            with self.timed("start QEMU"):
                machine = stack.enter_context(self._machine(spec, memory_fd))
                start(machine)
            board = Board(machine, stack.pop_all())
        try:
            with self.timed("first answer"):
                board.hello()
        except BaseException:
            board.close()
            raise
        return board

    def _install(self, board: Board, project: Entry) -> None:
        """Bring the project's files in."""
        with self.timed("install project"):
            board.put_files(project.path / "project.cpio")

    def _load(self, board: Board, spec: Spec) -> None:
        """Load the modules, as far as kernel and firmware allow."""
        if not spec.load:
            return
        with self.timed("load modules"):
            # What keeps a module from loading is the command's to find out and
            # say; the test module is useful without a provider.
            board.output(["sh", "-c", _LOAD])

    # -- snapshots ------------------------------------------------------------

    def snapshots(self, spec: Spec) -> tuple[Entry, Entry]:
        """The snapshots of a kind of board, booted and ready, made if need be."""
        kernel, qemu = self.roots.kernel(spec.kernel, spec.kdir), Qemu.find(spec.qemu)
        return self._base(spec, kernel, qemu), self._ready(spec, kernel, qemu)

    def _base(self, spec: Spec, kernel: Kernel, qemu: Qemu) -> Entry:
        """The snapshot of a booted board without any project file."""

        def make(work: Path) -> None:
            with (
                shared_memory(spec.ram_mib << 20, None) as memory_fd,
                self._boot_cold(spec, kernel, None, memory_fd) as board,
            ):
                with self.timed("import libraries"):
                    board.preload(BASE_MODULES)
                self._save(board, work, memory_fd)

        self.cache.keep_newest("base", KEPT_BASE)
        return self.cache.get(
            "base", self._base_key(spec, kernel, qemu), "a snapshot of the booted board", make
        )

    def _base_key(self, spec: Spec, kernel: Kernel, qemu: Qemu) -> str:
        return digest(
            kernel.key,
            self.roots.guest().key,
            self.builder.agent().key,
            self.builder.stub().key,
            qemu.key(),
            machine_arguments(spec, "tcg"),
            [spec.memory_mib, spec.target_addr],
            bootargs(spec),
            boot_blob(spec.firmware, spec.conduit),
            BASE_MODULES,
            FORMAT,
        )

    def _ready(self, spec: Spec, kernel: Kernel, qemu: Qemu) -> Entry:
        """The snapshot of a board that is ready for commands."""
        project = self.builder.project(kernel)

        def make(work: Path) -> None:
            base = self._base(spec, kernel, qemu)
            with (
                shared_memory(spec.ram_mib << 20, Snapshot(base.path)) as memory_fd,
                self._restore(spec, base, memory_fd) as board,
            ):
                self._install(board, project)
                with self.timed("import project"):
                    board.preload(READY_MODULES)
                self._load(board, spec)
                if spec.tests:
                    with self.timed("collect tests"):
                        board.preload((), host="tests.harness.warm")
                self._save(board, work, memory_fd)

        self.cache.keep_newest("ready", KEPT_READY)
        key = digest(
            self._base_key(spec, kernel, qemu), project.key, READY_MODULES, spec.load, spec.tests
        )
        return self.cache.get("ready", key, "a snapshot of the ready board", make)

    def _save(self, board: Board, work: Path, memory_fd: int) -> None:
        assert board.machine.monitor is not None
        with self.timed("settle memory"):
            board.settle()
        with self.timed("write snapshot"):
            Snapshot(work).save(board.machine.monitor, memory_fd)
