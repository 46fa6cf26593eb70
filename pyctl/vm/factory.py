# SPDX-License-Identifier: GPL-2.0-only
"""How a board is had: from a snapshot, or by a cold boot.

``BoardFactory.boot`` makes a plan of what was asked for and gives a pristine board,
restored from a snapshot where that is possible and booted cold where it is not.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pyctl.cache import Cache, Entry
from pyctl.errors import TargetLost
from pyctl.vm.build import Builder
from pyctl.vm.machine import QemuProcess
from pyctl.vm.plan import BASE_MODULES, READY_MODULES, BoardPlan, Recipe
from pyctl.vm.process import need_libraries
from pyctl.vm.qemu import Qemu, resolve_accel
from pyctl.vm.recipes import DeviceTreeBoot, UefiBoot
from pyctl.vm.roots import DEVICE_PACKAGES, Roots
from pyctl.vm.session import Board
from pyctl.vm.snapshot import Snapshot, shared_memory
from pyctl.vm.spec import QEMU, Spec

# Both modules; the test module is useful without a provider, where none can register.
_LOAD = (("pyctl", "load", "--raw"), ("pyctl", "load", "--raw", "--provider", "none"))
# At about 140 MiB each. Every choice of machine and firmware has a ready
# board of its own; a base only spares a boot when the project has changed.
KEPT_READY = 48
KEPT_BASE = 6


class BoardFactory:
    """Prepares what boards need and boots them."""

    def __init__(self, cache: Cache) -> None:
        # They are needed in the middle only, after minutes of work.
        need_libraries()
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

    def plan(self, spec: Spec) -> BoardPlan:
        """Everything that the board takes, made if need be."""
        with self.timed("find files"):
            qemu, accel = self._qemu(spec), resolve_accel(spec.accel)
            kernel = self.roots.kernel(spec.kernel, spec.kdir)
            recipe = self._recipe(spec)
            return BoardPlan(
                spec=spec,
                recipe=recipe,
                qemu=qemu,
                accel=accel,
                kernel=kernel,
                stub=self.builder.stub(spec.stub),
                guest=self.roots.guest(DEVICE_PACKAGES if recipe.drivers else ()),
                agent=self.builder.agent(kernel, recipe.drivers),
                project=self.builder.project(kernel),
            )

    def _qemu(self, spec: Spec) -> Qemu:
        """The QEMU that was asked for, or a newer one where it must be and was not named."""
        # CXL on this machine came with QEMU 10.1.
        if spec.cxl_mib and spec.qemu == QEMU:
            return Qemu(self.roots.qemu().path / QEMU)
        return Qemu.find(spec.qemu)

    def _recipe(self, spec: Spec) -> Recipe:
        if spec.boot == "uefi":
            return UefiBoot(spec, self.roots.uefi())
        return DeviceTreeBoot(spec)

    @contextlib.contextmanager
    def _process(self, plan: BoardPlan, memory_fd: int | None = None) -> Iterator[QemuProcess]:
        with self.cache.scratch("run") as run_dir:
            process = QemuProcess(plan, run_dir, memory_fd)
            try:
                yield process
            finally:
                process.close()

    def dry_run(self, spec: Spec) -> str:
        """The exact QEMU command of a cold boot."""
        with self._process(self.plan(spec)) as process:
            return process.dry_run()

    def boot(self, spec: Spec, cold: bool = False) -> Board:
        """A pristine board that holds the project, with the modules loaded.

        It continues a snapshot, made now if there is none yet, unless ``cold``
        is set or snapshots do not work here.
        """
        plan = self.plan(spec)
        # QEMU's snapshots leave out what a kernel has written into CXL devices.
        without = "CXL" if spec.cxl_mib else plan.accel if plan.accel != "tcg" else None
        if without and not cold:
            self.cache.say(f"Snapshots are not used with {without}; booting cold.")
            cold = True
        return self._boot_ready(plan) if cold else self._continue_ready(plan)

    def _boot_ready(self, plan: BoardPlan) -> Board:
        board = self._boot(plan, with_project=True)
        try:
            self.load(board, plan.spec)
        except BaseException:
            board.close()
            raise
        return board

    def _continue_ready(self, plan: BoardPlan) -> Board:
        for attempt in (1, 2):
            with self.timed("find snapshot"):
                entry = self._ready(plan)
            try:
                return self._restore(plan, entry)
            except TargetLost as error:
                self.cache.remove(entry)
                if attempt == 2:
                    raise
                self.cache.say(f"Snapshot {entry.key} cannot be continued. {error.message}")
        raise AssertionError("unreachable")

    def _boot(self, plan: BoardPlan, with_project: bool, memory_fd: int | None = None) -> Board:
        """Boot from reset to an agent that answers, with or without the project's files."""
        return self._first_answer(
            plan, lambda process: process.boot(plan.root(with_project)), memory_fd, is_asleep=True
        )

    def _restore(self, plan: BoardPlan, entry: Entry, memory_fd: int | None = None) -> Board:
        """Continue a snapshot."""
        snapshot = Snapshot(entry.path)
        return self._first_answer(plan, lambda process: process.restore(snapshot), memory_fd)

    def _first_answer(
        self,
        plan: BoardPlan,
        start: Callable[[QemuProcess], None],
        memory_fd: int | None,
        is_asleep: bool = False,
    ) -> Board:
        with contextlib.ExitStack() as stack:
            with self.timed("start QEMU"):
                process = stack.enter_context(self._process(plan, memory_fd))
                start(process)
            board = Board(process, stack.pop_all())
        try:
            with self.timed("first answer"):
                if is_asleep:
                    board.awake()
                board.hello()
        except BaseException:
            board.close()
            raise
        return board

    def load(self, board: Board, spec: Spec) -> None:
        """Load the modules that are there, as far as kernel and firmware allow."""
        if not spec.load:
            return
        with self.timed("load modules"):
            # What keeps a module from loading is the command's to find out and say.
            for command in _LOAD:
                if board.output(command)[0] == 0:
                    break

    # -- snapshots ------------------------------------------------------------

    def base(self, spec: Spec) -> Entry:
        """The snapshot of a booted board of a kind, made if need be."""
        return self._base(self.plan(spec))

    def ready(self, spec: Spec) -> Entry:
        """The snapshot of a board of a kind that is ready for commands, made if need be."""
        return self._ready(self.plan(spec))

    def _base(self, plan: BoardPlan) -> Entry:
        """The snapshot of a booted board without any project file."""

        def make(work: Path) -> None:
            with (
                shared_memory(plan.recipe.ram_mib << 20, None) as memory_fd,
                self._boot(plan, False, memory_fd) as board,
            ):
                with self.timed("import libraries"):
                    board.preload(BASE_MODULES)
                # Clearing memory takes seconds, once, and the copies the place of another board.
                self._save(board, work, memory_fd, clear=plan.recipe.leaves_copies)

        self.cache.keep_newest("base", KEPT_BASE)
        return self.cache.get("base", plan.base_key, "a snapshot of the booted board", make)

    def _ready(self, plan: BoardPlan) -> Entry:
        """The snapshot of a board that is ready for commands."""

        def make(work: Path) -> None:
            base = self._base(plan)
            with (
                shared_memory(plan.recipe.ram_mib << 20, Snapshot(base.path)) as memory_fd,
                self._restore(plan, base, memory_fd) as board,
            ):
                with self.timed("install project"):
                    board.put_files(plan.project.path / "project.cpio")
                with self.timed("import project"):
                    board.preload(READY_MODULES)
                self.load(board, plan.spec)
                if plan.spec.tests:
                    with self.timed("collect tests"):
                        board.preload((), host="tests.harness.warm")
                self._save(board, work, memory_fd)

        self.cache.keep_newest("ready", KEPT_READY)
        return self.cache.get("ready", plan.ready_key, "a snapshot of the ready board", make)

    def _save(self, board: Board, work: Path, memory_fd: int, clear: bool = False) -> None:
        assert board.machine.monitor is not None
        with self.timed("settle memory"):
            board.settle(clear)
        with self.timed("write snapshot"):
            Snapshot(work).save(board.machine.monitor, memory_fd)
